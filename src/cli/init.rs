//! `init`: a database that `serve` can be pointed at.

use actors::alarm::Source;
use clap::Args;

use super::{Database, Failure, configure, print};
use crate::{
    config::Config,
    log::Log,
    store::{Make, Options, Store},
};

/// What `init` is told.
#[derive(Args, Debug)]
pub struct Arguments {
    #[command(flatten)]
    database: Database,
}

pub fn run(arguments: Arguments) -> Result<(), Failure> {
    let config = configure(arguments.database.into())?;
    // What is added to a table that is there is told; the audit trail is the hub's, and a file of the hub's user.
    let config = Config { audit_log: None, ..config };
    let _log = Log::begin(&config)?;
    let db = config.db.display().to_string();
    let existed = config.db.exists();
    let options = Options { path: config.db, make: Make::File, aliases: config.aliases, retention: config.retention };
    let position = Store::new(options).open().map_err(|failure| Failure::Failed(failure.cause))?;
    let what = if existed { "is ready" } else { "was made" };
    print(&format!("{db} {what} (feed {})", position.feed))
}
