//! The only SQL: the alarm table, its log of before-images, and how a stretch of the log becomes a page.

use std::{
    collections::HashMap,
    path::PathBuf,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use actors::{
    alarm::{
        Archive, Batch, Change, Entry, Failure, Fault, FeedName, History, Look, Page, Position, Refusal, Round, Source,
        Translation, Write, Written, rows_at,
    },
    language::{Aliases, Primary},
};
use rusqlite::{
    Connection, ErrorCode, OpenFlags, OptionalExtension, Row, TransactionBehavior, params, types::ValueRef,
};
use tokio::time::Instant;
use tracing::info;

pub mod inspect;
pub mod send;

use crate::wire;

const SCHEMA: &str = include_str!("../schema.sql");

/// Entries of the log in a page, at most.
const PAGE: u64 = 2_000;

/// Bytes of a text that are delivered.
const TEXT_MAX: usize = 65_536;

/// How many of the newest alarms tell which languages the table lately had.
const RECENT: u32 = 200;

/// How a database is to be opened.
#[derive(Clone, Debug)]
pub struct Options {
    /// The file.
    pub path: PathBuf,
    /// Whether a missing file is made, the first time.
    pub create: bool,
    /// What tags mean.
    pub aliases: Aliases,
    /// How long the log is kept.
    pub retention: Duration,
}

/// A connection to the database, opened when it is first needed.
pub struct Store {
    options: Options,
    open: Option<Opened>,
    recent: Arc<[Primary]>,
}

struct Opened {
    connection: Connection,
    feed: FeedName,
    version: i64,
}

fn failure(cause: &rusqlite::Error) -> Failure {
    let fault = match cause.sqlite_error_code() {
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Fault::Locked,
        Some(ErrorCode::CannotOpen) => Fault::Missing,
        Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt) => Fault::Unusable,
        Some(ErrorCode::DiskFull) => Fault::Full,
        Some(ErrorCode::ReadOnly) => Fault::ReadOnly,
        _ => Fault::Other,
    };
    Failure { fault, cause: cause.to_string() }
}

impl Store {
    /// A store that has not been opened.
    pub fn new(options: Options) -> Self {
        Self { options, open: None, recent: Arc::new([]) }
    }

    fn opened(&mut self) -> Result<&mut Opened, Failure> {
        if self.open.is_none() {
            self.open = Some(connect(&self.options)?);
        }
        self.open.as_mut().ok_or_else(|| Failure { fault: Fault::Other, cause: "the database is not open".to_owned() })
    }

    fn page_of(&mut self, from: u64, until: u64, round: Option<Round>) -> Result<Option<Batch>, Failure> {
        let (aliases, recent) = (self.options.aliases.clone(), self.recent.clone());
        let opened = self.opened()?;
        let feed = opened.feed;
        let transaction = opened.connection.transaction().map_err(|cause| failure(&cause))?;
        let read = || -> rusqlite::Result<Option<Batch>> {
            let head = head(&transaction)?;
            let round = round.unwrap_or(Round { start: from, end: head.min(until) });
            if from >= round.end {
                return Ok(None);
            }
            let mut touched = transaction.prepare_cached(
                "SELECT seq, alarm_id FROM alarm_log WHERE seq > ?1 AND seq <= ?2 ORDER BY seq LIMIT ?3",
            )?;
            let touched: Vec<(u64, String)> = touched
                .query_map(params![from, round.end, PAGE], |row| Ok((row.get(0)?, text(row.get_ref(1)?).0)))?
                .collect::<Result<_, _>>()?;
            let full = touched.len() as u64 == PAGE;
            let to = touched.last().filter(|_| full).map_or(round.end, |(seq, _)| *seq);
            let mut ids: Vec<String> = touched.into_iter().map(|(_, id)| id).collect();
            ids.sort_unstable();
            ids.dedup();
            let mut changes = Vec::with_capacity(ids.len());
            for id in ids {
                let id: Arc<str> = id.into();
                let now = rows(&transaction, &id, &aliases)?;
                let entries = entries(&transaction, &id, round.start, &aliases)?;
                let split = entries.partition_point(|entry| entry.seq <= round.end);
                let after = rows_at(&entries[split..], &now);
                changes.push(Change::new(id, &entries[..split], after));
            }
            let seen = Instant::now();
            Ok(Some(Batch { feed, from, to, round, changes, recent, seen, made: seen }))
        };
        read().map_err(|cause| failure(&cause))
    }

    fn note_languages(&mut self) -> Result<(), Failure> {
        let aliases = self.options.aliases.clone();
        let opened = self.opened()?;
        let read = || -> rusqlite::Result<Vec<Primary>> {
            let mut newest =
                opened.connection.prepare_cached("SELECT alarm_id FROM alarm_index ORDER BY seq DESC LIMIT ?1")?;
            let ids: Vec<String> = newest.query_map([RECENT], |row| row.get(0))?.collect::<Result<_, _>>()?;
            let mut seen = Vec::new();
            for id in ids {
                for row in rows(&opened.connection, &id.into(), &aliases)? {
                    if let Some(tag) = row.tag
                        && !seen.contains(tag.primary())
                    {
                        seen.push(tag.primary().clone());
                    }
                }
            }
            Ok(seen)
        };
        let seen = read().map_err(|cause| failure(&cause))?;
        self.recent = seen.into();
        Ok(())
    }
}

/// Opens the file and adopts its table, in one transaction: nothing is changed if that cannot be done.
fn connect(options: &Options) -> Result<Opened, Failure> {
    let path = options.path.display();
    let exists = options.path.exists();
    if !exists && !options.create {
        let cause = format!("there is no database {path}; make one with: alarm-hub init --db {path}");
        return Err(Failure { fault: Fault::Missing, cause });
    }
    let mut flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    flags.set(OpenFlags::SQLITE_OPEN_CREATE, !exists);
    let open = || -> rusqlite::Result<Connection> {
        let connection = Connection::open_with_flags(&options.path, flags)?;
        connection.busy_timeout(Duration::from_secs(1))?;
        if !exists {
            connection.pragma_update(None, "journal_mode", "wal")?;
        }
        Ok(connection)
    };
    let mut connection = open().map_err(|cause| failure(&cause))?;
    let columns = columns(&connection).map_err(|cause| failure(&cause))?;
    let has = |name: &str| columns.iter().any(|column| column.eq_ignore_ascii_case(name));
    let missing: Vec<&str> =
        ["id", "lang", "message"].into_iter().filter(|name| !columns.is_empty() && !has(name)).collect();
    if !missing.is_empty() {
        let cause = format!("the table alarm of {path} cannot be adopted: it has no column {}", missing.join(", "));
        return Err(Failure { fault: Fault::Unusable, cause });
    }
    let mut schema = SCHEMA.to_owned();
    for optional in ["user_id", "isn_dt"].into_iter().filter(|name| !columns.is_empty() && !has(name)) {
        schema = schema.replace(&format!("OLD.{optional}"), "NULL").replace(&format!("NEW.{optional}"), "NULL");
    }
    let feed = adopt(&mut connection, &schema, !columns.is_empty()).map_err(|cause| failure(&cause))?;
    Ok(Opened { connection, feed, version: 0 })
}

fn columns(connection: &Connection) -> rusqlite::Result<Vec<String>> {
    connection.prepare("SELECT name FROM pragma_table_info('alarm')")?.query_map([], |row| row.get(0))?.collect()
}

fn adopt(connection: &mut Connection, schema: &str, existed: bool) -> rusqlite::Result<FeedName> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let meta = "SELECT name FROM sqlite_master WHERE type = 'table' AND name = 'hub_meta'";
    let ours = transaction.query_row(meta, [], |_| Ok(())).optional()?.is_some();
    transaction.execute_batch(schema)?;
    if !ours {
        let feed = u32::try_from(uuid::Uuid::new_v4().as_u128() >> 96).unwrap_or(1);
        transaction.execute("INSERT INTO hub_meta VALUES ('feed', ?1)", [format!("{feed:08x}")])?;
        // What stands in an adopted table is history: it gets the places before the log begins.
        let adopted = transaction.execute(
            "INSERT INTO alarm_index (alarm_id, seq)
             SELECT CAST(id AS TEXT), row_number() OVER (ORDER BY min(rowid)) FROM alarm
             WHERE id IS NOT NULL GROUP BY CAST(id AS TEXT)",
            [],
        )?;
        transaction.execute("INSERT INTO sqlite_sequence (name, seq) VALUES ('alarm_log', ?1)", [adopted])?;
        transaction.execute("INSERT INTO hub_meta VALUES ('adopted', ?1)", [adopted])?;
        if existed {
            info!(alarms = adopted, "adopted the table alarm: added the hub's tables and its triggers");
        }
    }
    let feed: String = transaction.query_row("SELECT value FROM hub_meta WHERE key = 'feed'", [], |row| row.get(0))?;
    transaction.commit()?;
    Ok(FeedName(u32::from_str_radix(&feed, 16).unwrap_or(0)))
}

fn head(connection: &Connection) -> rusqlite::Result<u64> {
    let sql = "SELECT seq FROM sqlite_sequence WHERE name = 'alarm_log'";
    Ok(connection.prepare_cached(sql)?.query_row([], |row| row.get(0)).optional()?.unwrap_or(0))
}

/// Text of whatever a column holds, and whether it was cut.
fn text(value: ValueRef<'_>) -> (String, bool) {
    let mut text = match value {
        ValueRef::Null => String::new(),
        ValueRef::Integer(number) => number.to_string(),
        ValueRef::Real(number) => number.to_string(),
        ValueRef::Text(bytes) | ValueRef::Blob(bytes) => String::from_utf8_lossy(bytes).into_owned(),
    };
    let cut = text.len() > TEXT_MAX;
    if cut {
        text.truncate(text.floor_char_boundary(TEXT_MAX));
    }
    (text, cut)
}

/// A translation from the columns lang, message, isn_dt, user_id that begin at `first`.
fn translation(id: &str, row: &Row<'_>, first: usize, aliases: &Aliases) -> rusqlite::Result<Translation> {
    let (lang, _) = text(row.get_ref(first)?);
    let (message, truncated) = text(row.get_ref(first + 1)?);
    let optional = |index: usize| -> rusqlite::Result<Option<String>> {
        let value = row.get_ref(index)?;
        Ok((value != ValueRef::Null).then(|| text(value).0))
    };
    let tag = aliases.tag(&lang);
    let shown = tag.as_ref().map_or_else(|| lang.clone(), ToString::to_string);
    let body = wire::body(id, &shown, &message, optional(first + 2)?.as_deref(), truncated);
    Ok(Translation { lang: lang.into(), tag, audience: optional(first + 3)?.map(Into::into), body })
}

fn rows(connection: &Connection, id: &Arc<str>, aliases: &Aliases) -> rusqlite::Result<Vec<Translation>> {
    let columns = columns_cached(connection)?;
    let isn_dt = if columns.0 { "isn_dt" } else { "NULL" };
    let user = if columns.1 { "user_id" } else { "NULL" };
    // An id may be stored as text or as a number: both are looked up, by the table's own index.
    let sql = format!("SELECT lang, message, {isn_dt}, {user} FROM alarm WHERE id IN (?1, ?2) ORDER BY lang");
    let number = id.parse::<i64>().ok().filter(|number| number.to_string() == **id);
    let mut statement = connection.prepare_cached(&sql)?;
    statement.query_map(params![&**id, number], |row| translation(id, row, 0, aliases))?.collect()
}

fn columns_cached(connection: &Connection) -> rusqlite::Result<(bool, bool)> {
    let sql = "SELECT sum(lower(name) = 'isn_dt'), sum(lower(name) = 'user_id') FROM pragma_table_info('alarm')";
    connection.prepare_cached(sql)?.query_row([], |row| Ok((row.get(0)?, row.get(1)?)))
}

fn entries(connection: &Connection, id: &Arc<str>, after: u64, aliases: &Aliases) -> rusqlite::Result<Vec<Entry>> {
    let mut statement = connection.prepare_cached(
        "SELECT seq, existed, lang, message, isn_dt, user_id FROM alarm_log WHERE alarm_id = ?1 AND seq > ?2 ORDER BY seq",
    )?;
    let read = statement.query_map(params![&**id, after], |row| {
        let before = translation(id, row, 2, aliases)?;
        let existed: i64 = row.get(1)?;
        Ok(Entry { seq: row.get(0)?, lang: before.lang.clone(), before: (existed != 0).then_some(before) })
    })?;
    read.collect()
}

impl Source for Store {
    fn open(&mut self) -> Result<Position, Failure> {
        self.open = None;
        let opened = self.opened()?;
        let seq = head(&opened.connection).map_err(|cause| failure(&cause))?;
        let at = Position { feed: opened.feed, seq };
        self.options.create = false;
        self.note_languages()?;
        Ok(at)
    }

    fn look(&mut self, after: Position, round: Option<Round>) -> Result<Look, Failure> {
        let opened = self.opened()?;
        let version = opened
            .connection
            .prepare_cached("PRAGMA data_version")
            .and_then(|mut pragma| pragma.query_row([], |row| row.get::<_, i64>(0)))
            .map_err(|cause| failure(&cause))?;
        if version == opened.version && round.is_none() {
            return Ok(Look::Nothing);
        }
        match self.page_of(after.seq, u64::MAX, round)? {
            Some(batch) => {
                self.note_languages()?;
                Ok(Look::News(batch))
            }
            None => {
                self.opened()?.version = version;
                Ok(Look::Nothing)
            }
        }
    }
}

impl Archive for Store {
    fn page(&mut self, from: Position, until: Option<u64>, round: Option<Round>) -> Result<Page, Failure> {
        let until = until.unwrap_or(u64::MAX);
        let aliases = self.options.aliases.clone();
        let opened = self.opened()?;
        let feed = opened.feed;
        let read = || -> rusqlite::Result<(u64, Vec<(String, u64)>)> {
            let head = head(&opened.connection)?;
            let first: Option<u64> =
                opened.connection.query_row("SELECT min(seq) FROM alarm_log", [], |row| row.get(0))?;
            let tail = first.map_or(head, |first| first - 1).min(until);
            let mut statement = opened.connection.prepare_cached(
                "SELECT alarm_id, seq FROM alarm_index WHERE seq > ?1 AND seq <= ?2 ORDER BY seq LIMIT ?3",
            )?;
            let standing = statement
                .query_map(params![from.seq, tail, PAGE], |row| Ok((row.get(0)?, row.get(1)?)))?
                .collect::<Result<_, _>>()?;
            Ok((tail, standing))
        };
        let (tail, standing) = read().map_err(|cause| failure(&cause))?;
        if from.seq < tail {
            // No longer (or never) in the log: what stands is given all the same.
            let full = standing.len() as u64 == PAGE;
            let to = standing.last().filter(|_| full).map_or(tail, |(_, seq)| *seq);
            let read = || -> rusqlite::Result<Vec<Change>> {
                let change = |(id, seq): (String, u64)| {
                    let id: Arc<str> = id.into();
                    let rows = rows(&opened.connection, &id, &aliases)?;
                    Ok(Change::standing(id, seq, rows))
                };
                standing.into_iter().map(change).collect()
            };
            let changes = read().map_err(|cause| failure(&cause))?;
            let round = Round { start: from.seq, end: to };
            let (recent, seen) = (self.recent.clone(), Instant::now());
            let batch = Batch { feed, from: from.seq, to, round, changes, recent, seen, made: seen };
            return Ok(Page { batch, expired: true });
        }
        match self.page_of(from.seq, until, round)? {
            Some(batch) => Ok(Page { batch, expired: false }),
            None => Err(Failure { fault: Fault::Other, cause: "nothing follows this position".to_owned() }),
        }
    }

    fn before_newest(&mut self, user: &str, count: u16) -> Result<Position, Failure> {
        let opened = self.opened()?;
        let feed = opened.feed;
        let read = || -> rusqlite::Result<u64> {
            let audience = if columns_cached(&opened.connection)?.1 { "user_id" } else { "NULL" };
            let sql = format!(
                "SELECT seq FROM alarm_index AS i WHERE EXISTS (SELECT 1 FROM alarm
                   WHERE id IN (i.alarm_id, CASE WHEN CAST(CAST(i.alarm_id AS INTEGER) AS TEXT) = i.alarm_id
                                            THEN CAST(i.alarm_id AS INTEGER) END)
                     AND ({audience} IS NULL OR {audience} = ?1))
                 ORDER BY seq DESC LIMIT ?2"
            );
            let mut newest = opened.connection.prepare_cached(&sql)?;
            let seqs: Vec<u64> = newest.query_map(params![user, count], |row| row.get(0))?.collect::<Result<_, _>>()?;
            let head = head(&opened.connection)?;
            Ok(seqs.last().map_or(head, |seq| seq - 1))
        };
        read().map(|seq| Position { feed, seq }).map_err(|cause| failure(&cause))
    }

    fn history(&mut self, _: &str, _: Option<u64>, _: u16) -> Result<History, Failure> {
        Err(Failure { fault: Fault::Other, cause: "this version serves no history".to_owned() })
    }

    fn write(&mut self, writes: Vec<Write>) -> Vec<Result<Written, Refusal>> {
        let now = since_1970().as_secs();
        let one = |store: &mut Self, write: Write| {
            let Write::Revoke { user, claim } = write else {
                return Err(Refusal::Impossible("this version only reads the alarm table".to_owned()));
            };
            let opened = store.opened().map_err(Refusal::Failed)?;
            let (feed, revoked) = (opened.feed, format!("{claim:032x}"));
            let written = opened.connection.execute(
                "INSERT INTO hub_claim (user_id, revoked, at) VALUES (?1, ?2, ?3)
                 ON CONFLICT (user_id) DO UPDATE SET revoked = max(revoked, excluded.revoked), at = excluded.at",
                params![&*user, revoked, now],
            );
            written.map_err(|cause| Refusal::Failed(failure(&cause)))?;
            let seq = head(&opened.connection).map_err(|cause| Refusal::Failed(failure(&cause)))?;
            Ok(Written::Done(Position { feed, seq }))
        };
        writes.into_iter().map(|write| one(self, write)).collect()
    }

    fn revoked(&mut self) -> Result<Vec<(Arc<str>, u128)>, Failure> {
        let since = since_1970().as_secs().saturating_sub(86_400);
        let opened = self.opened()?;
        let read = || -> rusqlite::Result<HashMap<String, String>> {
            let mut statement = opened.connection.prepare("SELECT user_id, revoked FROM hub_claim WHERE at > ?1")?;
            statement.query_map([since], |row| Ok((row.get(0)?, row.get(1)?)))?.collect()
        };
        let revoked = read().map_err(|cause| failure(&cause))?;
        let claim = |(user, claim): (String, String)| Some((user.into(), u128::from_str_radix(&claim, 16).ok()?));
        Ok(revoked.into_iter().filter_map(claim).collect())
    }

    fn missing_triggers(&mut self) -> Result<Vec<String>, Failure> {
        let opened = self.opened()?;
        let read = || -> rusqlite::Result<Vec<String>> {
            let sql = "SELECT name FROM sqlite_master WHERE type = 'trigger' AND lower(tbl_name) = 'alarm'";
            let mut statement = opened.connection.prepare_cached(sql)?;
            statement.query_map([], |row| row.get(0))?.collect()
        };
        let there = read().map_err(|cause| failure(&cause))?;
        let ours = SCHEMA.lines().filter_map(|line| line.strip_prefix("CREATE TRIGGER IF NOT EXISTS "));
        let names = ours.filter_map(|rest| rest.split(' ').next()).map(str::to_owned);
        Ok(names.filter(|name| !there.contains(name)).collect())
    }

    fn prune(&mut self) -> Result<bool, Failure> {
        let oldest = since_1970().saturating_sub(self.options.retention).as_secs();
        let sql =
            "DELETE FROM alarm_log WHERE seq IN (SELECT seq FROM alarm_log WHERE at < ?1 ORDER BY seq LIMIT 1000)";
        let opened = self.opened()?;
        let pruned = opened.connection.execute(sql, [oldest]).map_err(|cause| failure(&cause))?;
        Ok(pruned == 1000)
    }
}

fn since_1970() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}
