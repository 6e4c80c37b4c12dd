//! The alarm-hub command.

use std::{error::Error, io::Write};

use alarm_hub::{
    Hub,
    config::{Config, Flags, Sources},
    log,
};
use clap::Parser;
use tokio::signal::unix::{SignalKind, signal};

/// Sends alarms from a SQLite table to browsers, each user in the language that user reads now.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    #[command(flatten)]
    settings: Flags,
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error + Send + Sync>> {
    let config = Config::from_sources(&Sources::read(Arguments::parse().settings, std::env::vars_os())?)?;
    log::begin(&config)?;
    let hub = Hub::start(config).await?;
    // Whoever reads this may have left: that is no reason to end.
    let _ = writeln!(std::io::stdout(), "dashboard: http://{}/?user=tiaz&lang=ja", hub.addresses()[0]);
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        _ = terminate.recv() => {}
        interrupted = tokio::signal::ctrl_c() => interrupted?,
    }
    hub.drain().await;
    Ok(())
}
