//! The alarm-hub command.

use std::{error::Error, io::Write, net::SocketAddr, path::PathBuf};

use alarm_hub::{Config, Hub};
use clap::Parser;
use tokio::signal::unix::{SignalKind, signal};

/// Sends alarms from a SQLite table to browsers, each user in the language that user reads now.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    /// The database [default: ./alarms.db, made if it is missing]
    #[arg(long, env = "ALARM_HUB_DB")]
    db: Option<PathBuf>,
    /// Where to listen; a loopback address
    #[arg(long, env = "ALARM_HUB_LISTEN", default_value = "127.0.0.1:5000")]
    listen: SocketAddr,
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error + Send + Sync>> {
    tracing_subscriber::fmt().with_writer(std::io::stderr).init();
    let arguments = Arguments::parse();
    let create = arguments.db.is_none();
    let db = arguments.db.unwrap_or_else(|| "alarms.db".into());
    let hub = Hub::start(Config { db: db.clone(), create, listen: arguments.listen }).await?;
    let insert = "INSERT INTO alarm (id, lang, message) VALUES ('1', 'ja', 'こんにちは'), ('1', 'en-US', 'hello')";
    let address = hub.address;
    // Whoever reads this may have left: that is no reason to end.
    let _ = writeln!(
        std::io::stdout(),
        "dashboard: http://{address}/?user=tiaz&lang=ja\nfirst alarm: sqlite3 {} \"{insert}\"",
        db.display()
    );
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        _ = terminate.recv() => {}
        interrupted = tokio::signal::ctrl_c() => interrupted?,
    }
    hub.stop().await;
    Ok(())
}
