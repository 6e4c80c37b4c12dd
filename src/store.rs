//! The only SQL: the alarm table, its log of before-images, and everything that the hub keeps beside them.

use std::{
    path::PathBuf,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use actors::{
    alarm::{Archive, Failure, Fault, FeedName, History, Look, Page, Position, Refusal, Round, Source, Write, Written},
    language::Aliases,
};
use rusqlite::{Connection, ErrorCode, ffi};
use tokio::{sync::watch, time::Instant};
use tracing::warn;

mod adopt;
pub mod backup;
mod busy;
mod chores;
mod file;
mod history;
pub mod inspect;
mod opening;
mod prune;
mod read;
mod recent;
mod row;
pub mod send;
mod table;
mod ticket;
mod write;

use busy::Busy;
use file::{Files, Paths};
use recent::Recent;
use row::{Oddities, Raw, Reading};
use table::Table;

/// How long another program may hold the database before that is a [`Failure`].
const PATIENCE: Duration = Duration::from_secs(1);

/// How long a chore may wait for other writers: it can be done at any time, and keeps the log from being read.
const PATIENCE_OF_CHORES: Duration = Duration::from_millis(20);

/// How long the pause between two chores is at least.
const CHORES_REST: Duration = Duration::from_millis(20);

/// Entries of the log in a page, at most: what a reader that takes nothing keeps alive.
const PAGE: usize = 1_000;

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
    /// What tags mean from now on, if that can change.
    meant: Option<watch::Receiver<Aliases>>,
    paths: Paths,
    open: Option<Opened>,
    /// The files when they were last looked at. Kept when they are gone or cannot be opened.
    files: Option<Files>,
    /// What is open is not to be trusted any more: it only keeps its inode from being given to another file.
    suspect: bool,
    odd: Oddities,
    busy: Busy,
    recent: Recent,
    /// The entry of the log that was read last, and whether the database was opened since.
    last: Option<Last>,
    reopened: bool,
    page: usize,
    /// No chore is done before: other programs want to write, too.
    rests_until: Instant,
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

/// By this a log is known again that goes on.
#[derive(Debug)]
struct Last {
    seq: u64,
    id: Raw,
    at: i64,
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
    let cause = match fault {
        // As SQLite says it, nobody sees that the directory matters as well.
        Fault::Missing | Fault::ReadOnly => {
            format!("{cause}: the hub has to write to the database's file and to the directory that it lies in")
        }
        _ => cause.to_string(),
    };
    Failure { fault, cause }
}

impl Store {
    /// A store that has not been opened.
    pub fn new(options: Options) -> Self {
        Self {
            paths: Paths::new(&options.path),
            options,
            meant: None,
            open: None,
            files: None,
            suspect: false,
            odd: Oddities::default(),
            busy: Busy::default(),
            recent: Recent::default(),
            last: None,
            reopened: false,
            page: PAGE,
            rests_until: Instant::now(),
        }
    }

    /// Reads so many entries of the log at once, at most: what is told must not depend on it.
    pub fn with_pages_of(self, entries: usize) -> Self {
        Self { page: entries.max(1), ..self }
    }

    /// Reads tags as `meant` says, also when that changes: rows that are read from then on.
    pub fn with_aliases_of(mut self, meant: watch::Receiver<Aliases>) -> Self {
        self.options.aliases = meant.borrow().clone();
        Self { meant: Some(meant), ..self }
    }

    /// Whether tags mean something else since the last time.
    fn tags_changed(&mut self) -> bool {
        let changed = self.meant.as_mut().filter(|meant| meant.has_changed().unwrap_or(false));
        let Some(meant) = changed else { return false };
        self.options.aliases = meant.borrow_and_update().clone();
        true
    }

    /// What is open, checked and adopted.
    fn opened(&mut self) -> Result<&mut Opened, Failure> {
        self.tags_changed();
        self.check(false)?;
        self.keep_adopted()
    }

    /// Adopts the table again if anything was made or dropped in the database, as a migration does that rebuilds it.
    fn keep_adopted(&mut self) -> Result<&mut Opened, Failure> {
        let schema = self.read_open(|opened, _| {
            opened.feed = adopt::feed(&opened.connection)?.unwrap_or(opened.feed);
            number(&opened.connection, "PRAGMA schema_version")
        })?;
        let opened = self.open.as_mut().ok_or_else(not_open)?;
        if schema != opened.schema {
            let adopted = adopt::adopt(&mut opened.connection, &self.options)?;
            (opened.feed, opened.table, opened.history) = (adopted.feed, adopted.table, adopted.history);
            // As it was before: what was made meanwhile, here or elsewhere, is looked at next time.
            (opened.schema, opened.version) = (schema, 0);
        }
        Ok(opened)
    }

    /// Checks, and reads.
    fn read<T>(
        &mut self,
        read: impl FnOnce(&mut Opened, &mut Reading<'_>) -> rusqlite::Result<T>,
    ) -> Result<T, Failure> {
        self.opened()?;
        self.read_open(read)
    }

    /// Reads what is open, with what is needed to read rows.
    fn read_open<T>(
        &mut self,
        read: impl FnOnce(&mut Opened, &mut Reading<'_>) -> rusqlite::Result<T>,
    ) -> Result<T, Failure> {
        let Self { options, open: Some(opened), odd, busy, page, .. } = self else { return Err(not_open()) };
        read(opened, &mut Reading { aliases: &options.aliases, odd, busy, page: *page }).map_err(|cause| {
            let failure = failure(&cause);
            // Damage may be mended in place: then only a new connection sees it.
            self.suspect |= matches!(failure.fault, Fault::Unusable | Fault::Missing | Fault::Other);
            failure
        })
    }

    /// Finds out which languages the newest alarms are in.
    fn note_languages(&mut self) -> Result<(), Failure> {
        self.recent = self.read_open(|opened, reading| Recent::read(opened, reading.aliases))?;
        Ok(())
    }
}

fn number(connection: &Connection, pragma: &str) -> rusqlite::Result<i64> {
    connection.prepare_cached(pragma)?.query_row([], |row| row.get(0))
}

/// Does a page of what is to be done, unless other writers are quicker; whether anything was.
fn chore(connection: &mut Connection, table: &Table) -> rusqlite::Result<bool> {
    connection.busy_timeout(PATIENCE_OF_CHORES)?;
    let done = chores::step(connection, table);
    connection.busy_timeout(PATIENCE)?;
    done
}

fn not_open() -> Failure {
    Failure { fault: Fault::Other, cause: "the database is not open".to_owned() }
}

/// The end of the log, also when it is empty by now. A statement that fails halfway and keeps what it did (OR FAIL) does
/// not get to move `sqlite_sequence`.
fn head(connection: &Connection) -> rusqlite::Result<u64> {
    let sql = "SELECT max(coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'alarm_log'), 0),
                          coalesce((SELECT max(seq) FROM alarm_log), 0))";
    connection.prepare_cached(sql)?.query_row([], |row| row.get(0))
}

impl Store {
    /// Whether the log is the one that was read up to `after`, and goes on there; if not, the database gets a new name:
    /// it was put back to what it was once, or to something else, and positions in it mean something else.
    fn is_continued(&mut self, after: Position) -> Result<bool, Failure> {
        let (reopened, last) = (self.reopened, self.last.take());
        let continued = self.read_open(|opened, _| {
            if opened.feed != after.feed {
                return Ok(false);
            }
            let known = match &last {
                Some(last) if reopened => read::knows(&opened.connection, last)?,
                _ => true,
            };
            if known && head(&opened.connection)? >= after.seq {
                return Ok(true);
            }
            let name = adopt::new_feed();
            warn!(feed = %name, feed.before = %opened.feed, "the database was put back: it gets another name");
            adopt::set_meta(&opened.connection, "feed", name.to_string())?;
            opened.feed = name;
            Ok(false)
        });
        self.last = last;
        self.reopened &= continued.is_err();
        continued
    }

    fn at_head(&mut self) -> Result<Position, Failure> {
        self.read_open(|opened, _| Ok(Position { feed: opened.feed, seq: head(&opened.connection)? }))
    }
}

impl Source for Store {
    fn open(&mut self) -> Result<Position, Failure> {
        self.check(true)?;
        self.keep_adopted()?;
        self.options.make = Make::Nothing;
        self.note_languages()?;
        self.at_head()
    }

    fn look(&mut self, after: Position, round: Option<Round>) -> Result<Look, Failure> {
        self.check(true)?;
        if self.tags_changed() {
            self.note_languages()?;
        }
        let (version, seen) =
            self.read_open(|opened, _| Ok((number(&opened.connection, "PRAGMA data_version")?, opened.version)))?;
        if version == seen && round.is_none() {
            return Ok(Look::Nothing);
        }
        self.keep_adopted()?;
        if !self.is_continued(after)? {
            return self.at_head().map(Look::Replaced);
        }
        match self.read_open(|opened, reading| read::page(opened, reading, after.seq, u64::MAX, round))? {
            Some(mut batch) => {
                self.last = self.read_open(|opened, _| read::last(&opened.connection, batch.to))?;
                batch.recent = self.recent.note(&batch.changes);
                Ok(Look::News(batch))
            }
            None => {
                // One page a look, and only when nothing else is to be done.
                let begun = Instant::now();
                if begun < self.rests_until {
                    return Ok(Look::Nothing);
                }
                let done = self.read_open(|opened, _| {
                    let done = chore(&mut opened.connection, &opened.table)?;
                    opened.version = if done { 0 } else { version };
                    Ok(done)
                });
                if !matches!(done, Ok(false)) {
                    self.rests_until = Instant::now() + CHORES_REST.max(begun.elapsed() * 3);
                }
                match done {
                    // What cannot be written, or not now, can be read all the same.
                    Err(Failure { fault: Fault::Locked | Fault::Full | Fault::ReadOnly, .. }) | Ok(_) => {
                        Ok(Look::Nothing)
                    }
                    Err(failure) => Err(failure),
                }
            }
        }
    }

    fn odd_rows(&self) -> u64 {
        self.odd.rows
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

    fn noted_clock(&mut self) -> Result<Duration, Failure> {
        self.read(|opened, _| ticket::noted_clock(&opened.connection))
    }

    fn missing_triggers(&mut self) -> Result<Vec<String>, Failure> {
        if self.check(false).is_err() || self.open.is_none() {
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
