//! The file under the path is what is open: replaced, deleted, cut or put back, it is noticed and opened anew.

use std::{path::Path, time::Duration};

use actors::alarm::{Failure, Fault};
use rusqlite::{Connection, OpenFlags, config::DbConfig};
use tokio::time::Instant;
use tracing::warn;

use super::{
    Make, Opened, Options, PATIENCE, Store, adopt, chore, failure,
    file::{Fate, Files},
    number,
};

/// How long another program may hold the database when the hub starts.
const PATIENCE_AT_START: Duration = Duration::from_secs(10);

/// How long opening may take care of [`super::chores`], so that a small table is ready at once.
const CHORES_AT_ONCE: Duration = Duration::from_millis(100);

impl Store {
    /// Makes sure that what is open is what lies under the path. One of all stores, the poller's, puts aside what a
    /// file that was replaced left behind; the others wait for that.
    pub(super) fn check(&mut self, puts_aside: bool) -> Result<(), Failure> {
        let Some(now) = self.paths.look()? else {
            return match self.files {
                None if self.options.make == Make::File => self.connect(None),
                _ => Err(self.missing()),
            };
        };
        let Some(known) = self.files else { return self.connect(Some(now)) };
        match known.fate(&now) {
            Fate::Same if !self.suspect => {
                self.files = Some(now); // a -wal may have come
                Ok(())
            }
            Fate::Written if !self.suspect && self.is_sound()? => {
                self.files = Some(now);
                Ok(())
            }
            Fate::Stale if !puts_aside => {
                let cause =
                    format!("{} was replaced; what it left behind is being put aside", self.paths.main.display());
                Err(Failure { fault: Fault::Other, cause })
            }
            Fate::Stale => {
                self.put_aside(&known)?;
                self.connect(Some(now))
            }
            Fate::Suspect if known.have_lost(&now) => Err(self.let_go(now)),
            _ => self.connect(Some(now)),
        }
    }

    fn missing(&self) -> Failure {
        let path = self.paths.main.display();
        let cause = if self.files.is_some() {
            format!("the database {path} is gone; put it back: while the hub runs, none is made in its place")
        } else {
            format!("there is no database {path}; make one with: alarm-hub init --db {path}")
        };
        Failure { fault: Fault::Missing, cause }
    }

    /// Whether the file, read anew, is still this database.
    fn is_sound(&mut self) -> Result<bool, Failure> {
        self.read_open(|opened, _| {
            opened.connection.execute_batch("PRAGMA shrink_memory")?;
            opened.connection.prepare_cached("SELECT max(seq) FROM alarm_log")?.query_row([], |_| Ok(()))?;
            Ok(adopt::feed(&opened.connection)? == Some(opened.feed))
        })
    }

    /// What lies beside the new file belongs to the one that is still open: it gets there, and then out of the way.
    fn put_aside(&mut self, known: &Files) -> Result<(), Failure> {
        // At best it is complete now, wherever it was moved; at worst the -wal is there for whoever needs it.
        self.checkpoint();
        let path = self.paths.main.display();
        let kept = self.paths.put_aside(known).map_err(|cause| Failure {
            fault: Fault::Other,
            cause: format!("{path} was replaced, and what it left behind cannot be put aside: {cause}"),
        })?;
        warn!(?kept, "the database was replaced; the -wal beside it belongs to the one before and was put aside");
        Ok(())
    }

    /// The `-wal` or `-shm` was taken away from under this connection. What they held is known to whoever has them open,
    /// and gets into the file if nobody has begun anew; then they are let go of, so that a new connection finds new ones.
    fn let_go(&mut self, now: Files) -> Failure {
        if now.lack_the_wal() {
            self.checkpoint();
        }
        if let Some(Opened { connection, .. }) = self.open.take() {
            let _ = connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true); // as in `connect`
        }
        (self.files, self.suspect) = (Some(now), true);
        let cause = format!(
            "the -wal or -shm of {} was taken away while the database was in use; it is opened anew",
            self.paths.main.display()
        );
        Failure { fault: Fault::Other, cause }
    }

    /// Writes what the `-wal` of the open database holds into its file, as far as that can be done.
    fn checkpoint(&self) {
        if let Some(opened) = &self.open {
            let _ = opened.connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(())); // as far as it goes
        }
    }

    /// Opens the file anew. What was open before stays until then, so that no other file gets its inode.
    fn connect(&mut self, now: Option<Files>) -> Result<(), Failure> {
        if let Some(before) = &self.open {
            // Closing it must not write old pages into what lies there now.
            let _ = before.connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true);
            self.suspect = true;
        }
        if now.is_some_and(|now| now.is_empty()) && self.options.make == Make::Nothing {
            let cause = format!("{} is empty: it was truncated", self.paths.main.display());
            return Err(Failure { fault: Fault::Unusable, cause });
        }
        let opened = connect(&self.options, now.is_none())?;
        let files = self.paths.look()?;
        if now.is_some_and(|now| !files.is_some_and(|files| files.is_same_as(&now))) {
            let cause = format!("{} is being replaced", self.paths.main.display());
            return Err(Failure { fault: Fault::Other, cause });
        }
        if files.is_some_and(|files| files.are_torn()) {
            let cause = format!("the -shm of {} was taken away, and is still in use", self.paths.main.display());
            return Err(Failure { fault: Fault::Other, cause });
        }
        (self.open, self.files, self.suspect, self.reopened) = (Some(opened), files, false, true);
        Ok(())
    }
}

/// Why the file at `path` cannot be opened, by its name.
pub(super) fn unopened(path: &Path, cause: &rusqlite::Error) -> Failure {
    let (path, Failure { fault, cause }) = (path.display().to_string(), failure(cause));
    // Where there is no file to open, the name is said already.
    Failure { fault, cause: if cause.contains(&path) { cause } else { format!("{path}: {cause}") } }
}

/// Opens the file and adopts its table: nothing is changed if that cannot be done.
fn connect(options: &Options, create: bool) -> Result<Opened, Failure> {
    if create {
        // SQLite would make it writable for its owner alone, whatever the umask allows.
        let path = options.path.display();
        let made = std::fs::File::create_new(&options.path);
        made.map_err(|cause| Failure { fault: Fault::Missing, cause: format!("{path} cannot be made: {cause}") })?;
    }
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let open = || -> rusqlite::Result<Connection> {
        let connection = Connection::open_with_flags(&options.path, flags)?;
        // At the start nobody else can try again later.
        connection.busy_timeout(if options.make == Make::Nothing { PATIENCE } else { PATIENCE_AT_START })?;
        // Without it SQLite plans a statement anew whenever a bound position differs: half the cost of a look.
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
        if create {
            connection.pragma_update(None, "journal_mode", "wal")?;
        }
        Ok(connection)
    };
    let unopened = |cause| unopened(&options.path, &cause);
    let mut connection = open().map_err(unopened)?;
    let schema = number(&connection, "PRAGMA schema_version").map_err(unopened)?;
    let adopted = adopt::adopt(&mut connection, options)?;
    connection.busy_timeout(PATIENCE).map_err(|cause| failure(&cause))?;
    let begun = Instant::now();
    while begun.elapsed() < CHORES_AT_ONCE && chore(&mut connection, &adopted.table).is_ok_and(|done| done) {}
    Ok(Opened { connection, feed: adopted.feed, table: adopted.table, history: adopted.history, schema, version: 0 })
}
