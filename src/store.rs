//! The only SQL: the alarm table, its log of before-images, and everything that the hub keeps beside them.

use std::{
    path::PathBuf,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use actors::{
    alarm::{
        Archive, Change, Failure, Fault, FeedName, History, Look, Page, Position, Refusal, Round, Source, Write,
        Written,
    },
    language::{Aliases, Primary},
};
use rusqlite::{Connection, ErrorCode, OpenFlags, OptionalExtension, ffi};
use tokio::time::Instant;

mod adopt;
mod chores;
mod history;
pub mod inspect;
mod prune;
mod read;
mod row;
pub mod send;
mod table;
mod ticket;
mod write;

use row::{Oddities, Reading};
use table::Table;

/// How long another program may hold the database before that is a [`Failure`].
const PATIENCE: Duration = Duration::from_secs(1);

/// How long opening may take care of [`chores`], so that a small table is ready at once.
const CHORES_AT_ONCE: Duration = Duration::from_millis(100);

/// How many of the newest alarms tell which languages the table lately had.
const RECENT: u32 = 200;

/// What is made if it is missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Make {
    /// Nothing: the hub runs, and what is missing was there before.
    Nothing,
    /// The table alarm, in a file that is there.
    Table,
    /// The file as well.
    File,
}

/// How a database is to be opened.
#[derive(Clone, Debug)]
pub struct Options {
    /// The file.
    pub path: PathBuf,
    /// What is made if it is missing.
    pub make: Make,
    /// What tags mean.
    pub aliases: Aliases,
    /// How long the log is kept.
    pub retention: Duration,
}

/// A connection to the database, opened when it is first needed.
pub struct Store {
    options: Options,
    open: Option<Opened>,
    odd: Oddities,
    lately: Lately,
}

struct Opened {
    connection: Connection,
    feed: FeedName,
    table: Table,
    /// Positions up to this one are history.
    history: u64,
    /// The `schema_version` for which the table was found adopted.
    schema: i64,
    /// The `data_version` up to which the log was read.
    version: i64,
}

impl Opened {
    /// Adopts the table again if anything was made or dropped in the database, as a migration does that rebuilds it.
    fn keep_adopted(&mut self, options: &Options) -> Result<(), Failure> {
        let schema = number(&self.connection, "PRAGMA schema_version").map_err(|cause| failure(&cause))?;
        if schema == self.schema {
            return Ok(());
        }
        let adopted = adopt::adopt(&mut self.connection, options)?;
        (self.feed, self.table, self.history) = (adopted.feed, adopted.table, adopted.history);
        // As it was before: what was made meanwhile, here or elsewhere, is looked at next time.
        (self.schema, self.version) = (schema, 0);
        Ok(())
    }
}

fn number(connection: &Connection, pragma: &str) -> rusqlite::Result<i64> {
    connection.prepare_cached(pragma)?.query_row([], |row| row.get(0))
}

fn failure(cause: &rusqlite::Error) -> Failure {
    let extended = cause.sqlite_error().map(|error| error.extended_code);
    let fault = match cause.sqlite_error_code() {
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Fault::Locked,
        Some(ErrorCode::CannotOpen) => Fault::Missing,
        Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt) => Fault::Unusable,
        Some(ErrorCode::DiskFull) => Fault::Full,
        _ if extended == Some(ffi::SQLITE_IOERR_SHMSIZE) => Fault::Full,
        Some(ErrorCode::ReadOnly) => Fault::ReadOnly,
        _ => Fault::Other,
    };
    Failure { fault, cause: cause.to_string() }
}

impl Store {
    /// A store that has not been opened.
    pub fn new(options: Options) -> Self {
        Self { options, open: None, odd: Oddities::default(), lately: Lately::default() }
    }

    fn opened(&mut self) -> Result<&mut Opened, Failure> {
        match self.open.take() {
            None => self.open = Some(connect(&self.options)?),
            Some(mut opened) => {
                let adopted = opened.keep_adopted(&self.options);
                self.open = Some(opened);
                adopted?;
            }
        }
        self.open.as_mut().ok_or_else(|| Failure { fault: Fault::Other, cause: "the database is not open".to_owned() })
    }

    /// Reads with what is needed to read rows.
    fn read<T>(
        &mut self,
        read: impl FnOnce(&mut Opened, &mut Reading<'_>) -> rusqlite::Result<T>,
    ) -> Result<T, Failure> {
        self.opened()?;
        let Self { options, open: Some(opened), odd, .. } = self else {
            return Err(Failure { fault: Fault::Other, cause: "the database is not open".to_owned() });
        };
        read(opened, &mut Reading { aliases: &options.aliases, odd }).map_err(|cause| failure(&cause))
    }

    /// Which languages the newest alarms have: asked once, then told by what is read.
    fn note_languages(&mut self) -> Result<(), Failure> {
        self.lately = self.read(|opened, reading| {
            let mut newest = opened.connection.prepare(&format!(
                "SELECT DISTINCT a.lang FROM (SELECT alarm_id FROM alarm_index ORDER BY seq DESC LIMIT {RECENT}) AS i
                 CROSS JOIN alarm AS a ON {}",
                opened.table.is_of("a", "i.alarm_id")
            ))?;
            let mut lately = Lately::default();
            let mut rows = newest.query([])?;
            while let Some(row) = rows.next()? {
                if let Some(tag) = reading.aliases.tag(&row::text(row.get_ref(0)?).0) {
                    lately.note(tag.primary());
                }
            }
            Ok(lately)
        })?;
        Ok(())
    }
}

/// The languages that the newest [`RECENT`] alarms have.
#[derive(Default)]
struct Lately {
    /// Each with the number of the last alarm that had it.
    languages: Vec<(Primary, u64)>,
    alarms: u64,
}

impl Lately {
    fn note(&mut self, language: &Primary) {
        match self.languages.iter_mut().find(|(known, _)| known == language) {
            Some((_, last)) => *last = self.alarms,
            None => self.languages.push((language.clone(), self.alarms)),
        }
    }

    /// With the changes of a page as the newest ones.
    fn after(&mut self, changes: &[Change]) -> Arc<[Primary]> {
        for change in changes {
            self.alarms += 1;
            change.after.iter().filter_map(|row| row.tag.as_ref()).for_each(|tag| self.note(tag.primary()));
        }
        self.languages.retain(|(_, last)| last + u64::from(RECENT) > self.alarms);
        self.languages.iter().map(|(language, _)| language.clone()).collect()
    }
}

/// Opens the file and adopts its table: nothing is changed if that cannot be done.
fn connect(options: &Options) -> Result<Opened, Failure> {
    let path = options.path.display();
    let exists = options.path.exists();
    if !exists && options.make != Make::File {
        let cause = format!("there is no database {path}; make one with: alarm-hub init --db {path}");
        return Err(Failure { fault: Fault::Missing, cause });
    }
    if !exists {
        // SQLite would make it writable for its owner alone, whatever the umask allows.
        let made = std::fs::File::create_new(&options.path);
        made.map_err(|cause| Failure { fault: Fault::Missing, cause: format!("{path} cannot be made: {cause}") })?;
    }
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let open = || -> rusqlite::Result<Connection> {
        let connection = Connection::open_with_flags(&options.path, flags)?;
        connection.busy_timeout(PATIENCE)?;
        if !exists {
            connection.pragma_update(None, "journal_mode", "wal")?;
        }
        Ok(connection)
    };
    let mut connection = open().map_err(|cause| failure(&cause))?;
    let schema = number(&connection, "PRAGMA schema_version").map_err(|cause| failure(&cause))?;
    let adopted = adopt::adopt(&mut connection, options)?;
    let begun = Instant::now();
    while begun.elapsed() < CHORES_AT_ONCE
        && chores::step(&mut connection, &adopted.table).map_err(|cause| failure(&cause))?
    {}
    Ok(Opened { connection, feed: adopted.feed, table: adopted.table, history: adopted.history, schema, version: 0 })
}

fn head(connection: &Connection) -> rusqlite::Result<u64> {
    let sql = "SELECT seq FROM sqlite_sequence WHERE name = 'alarm_log'";
    Ok(connection.prepare_cached(sql)?.query_row([], |row| row.get(0)).optional()?.unwrap_or(0))
}

impl Source for Store {
    fn open(&mut self) -> Result<Position, Failure> {
        self.open = None;
        let at = self.read(|opened, _| Ok(Position { feed: opened.feed, seq: head(&opened.connection)? }))?;
        self.options.make = Make::Nothing;
        self.note_languages()?;
        Ok(at)
    }

    fn look(&mut self, after: Position, round: Option<Round>) -> Result<Look, Failure> {
        let opened = self.opened()?;
        let version = number(&opened.connection, "PRAGMA data_version").map_err(|cause| failure(&cause))?;
        if version == opened.version && round.is_none() {
            return Ok(Look::Nothing);
        }
        match self.read(|opened, reading| read::page(opened, reading, after.seq, u64::MAX, round))? {
            Some(mut batch) => {
                batch.recent = self.lately.after(&batch.changes);
                Ok(Look::News(batch))
            }
            None => {
                // One page a look, and only when nothing else is to be done.
                let done = self.read(|opened, _| chores::step(&mut opened.connection, &opened.table))?;
                self.opened()?.version = if done { 0 } else { version };
                Ok(Look::Nothing)
            }
        }
    }
}

impl Archive for Store {
    fn page(&mut self, from: Position, until: Option<u64>, round: Option<Round>) -> Result<Page, Failure> {
        let until = until.unwrap_or(u64::MAX);
        let page = self.read(|opened, reading| read::past(opened, reading, from, until, round))?;
        page.ok_or_else(|| Failure { fault: Fault::Other, cause: "nothing follows this position".to_owned() })
    }

    fn before_newest(&mut self, user: &str, count: u16) -> Result<Position, Failure> {
        self.read(|opened, _| history::before_newest(opened, user, count))
    }

    fn history(&mut self, user: &str, before: Option<u64>, limit: u16) -> Result<History, Failure> {
        self.read(|opened, reading| history::history(opened, reading, user, before, limit))
    }

    fn write(&mut self, writes: Vec<Write>) -> Vec<Result<Written, Refusal>> {
        match self.opened() {
            Ok(opened) => write::write(opened, writes),
            Err(failure) => writes.iter().map(|_| Err(Refusal::Failed(failure.clone()))).collect(),
        }
    }

    fn revoked(&mut self) -> Result<Vec<(Arc<str>, u128)>, Failure> {
        self.read(|opened, _| ticket::revoked(&opened.connection))
    }

    fn missing_triggers(&mut self) -> Result<Vec<String>, Failure> {
        if self.open.is_none() {
            self.opened()?;
        }
        // As it is found: not made again before it is told.
        let missing = self.open.as_ref().map(|opened| adopt::missing_triggers(&opened.connection, &opened.table));
        missing.unwrap_or(Ok(Vec::new())).map_err(|cause| failure(&cause))
    }

    fn prune(&mut self) -> Result<bool, Failure> {
        let retention = self.options.retention;
        self.read(|opened, _| prune::prune(opened, retention))
    }
}

/// Milliseconds since 1970.
fn milliseconds(time: SystemTime) -> i64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |since| i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}
