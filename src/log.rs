//! What the hub says about itself, to the standard error output. No token, ticket or text of an alarm is ever logged.

use std::{
    error::Error,
    io::{IsTerminal, stderr},
};

use tracing_subscriber::EnvFilter;

use crate::config::{Config, LogFormat};

/// Begins to log as the settings say. Once a process.
///
/// # Errors
/// If something else logs already.
pub fn begin(config: &Config) -> Result<(), Box<dyn Error + Send + Sync>> {
    let filter = EnvFilter::try_new(&config.log)?;
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(stderr);
    match config.log_format {
        LogFormat::Pretty => lines.with_ansi(stderr().is_terminal()).try_init(),
        LogFormat::Json => {
            // A panic that prints itself would be the only line that is no JSON.
            std::panic::set_hook(Box::new(|panic| {
                let place = panic.location().map(ToString::to_string);
                let said = panic.payload_as_str().unwrap_or("a value that is no text");
                tracing::error!(panic.place = place, panic.said = said, "panicked");
            }));
            lines.json().flatten_event(true).try_init()
        }
    }
}
