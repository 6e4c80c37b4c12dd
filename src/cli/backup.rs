//! `backup`: a copy of the database that can be put in its place.

use std::path::PathBuf;

use clap::Args;

use super::{Database, Failure, configure, print, serve};
use crate::store::backup::backup;

/// What `backup` is told.
#[derive(Args, Debug)]
pub struct Arguments {
    #[command(flatten)]
    database: Database,
    /// The new file; it must not exist yet
    #[arg(value_name = "FILE")]
    to: PathBuf,
}

pub fn run(arguments: Arguments) -> Result<(), Failure> {
    let config = configure(arguments.database.into())?;
    if !config.db.exists() {
        return Err(Failure::Failed(serve::missing(&config.db)));
    }
    backup(&config.db, &arguments.to).map_err(|failure| Failure::Failed(failure.cause))?;
    print(&format!("{} is a copy of {}", arguments.to.display(), config.db.display()))
}
