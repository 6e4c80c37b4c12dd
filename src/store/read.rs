//! How a stretch of the log becomes a page.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::{Duration, SystemTime},
};

use actors::{
    alarm::{Batch, FeedName, Page, Position, Round, Translation},
    change::{Change, Entry, rows_at},
};
use rusqlite::{CachedStatement, Connection, OptionalExtension, Row, params};
use tokio::time::Instant;

use super::{
    Last, Opened,
    busy::{self, ENTRIES_MAX},
    head, milliseconds,
    row::{Raw, Reading},
    table::Table,
};

/// Bytes of text in a page, at most; but one alarm at least.
const BYTES_MAX: usize = 512 << 10;

/// Reads rows and entries of one alarm after another.
struct Alarms<'c> {
    connection: &'c Connection,
    rows: CachedStatement<'c>,
    entries: CachedStatement<'c>,
    later: CachedStatement<'c>,
}

impl<'c> Alarms<'c> {
    fn new(connection: &'c Connection, table: &Table) -> rusqlite::Result<Self> {
        const ENTRIES: &str = "SELECT seq, existed, lang, message, isn_dt, user_id FROM alarm_log WHERE alarm_id = ?1";
        Ok(Self {
            connection,
            rows: connection.prepare_cached(&rows_sql(table))?,
            entries: connection
                .prepare_cached(&format!("{ENTRIES} AND seq > ?2 AND seq <= ?3 ORDER BY seq LIMIT ?4"))?,
            later: connection.prepare_cached(&format!("{ENTRIES} AND seq > ?2 ORDER BY seq"))?,
        })
    }

    /// The rows as they were just after `seq`.
    fn rows_at(
        &mut self,
        id: &Raw,
        shown: &str,
        seq: u64,
        reading: &mut Reading<'_>,
    ) -> rusqlite::Result<Vec<Translation>> {
        let now: Vec<Translation> =
            self.rows.query_map([id], |row| reading.translation(shown, row, 0))?.collect::<Result<_, _>>()?;
        // The first entry of each row tells what it was; it may have changed very often since.
        let (mut firsts, mut seen) = (Vec::new(), HashSet::new());
        let mut later = self.later.query(params![id, seq])?;
        while let Some(row) = later.next()? {
            if seen.insert(super::row::text(row.get_ref(2)?).0) {
                firsts.push(entry(row, 0, shown, reading)?);
            }
        }
        Ok(rows_at(&firsts, &now))
    }

    /// What happened to one in a round, and its rows after that.
    fn change(
        &mut self,
        id: &Raw,
        shown: Arc<str>,
        (feed, round): (FeedName, Round),
        after: Vec<Translation>,
        reading: &mut Reading<'_>,
    ) -> rusqlite::Result<Change> {
        let most = ENTRIES_MAX.min(reading.page);
        let entries = self
            .entries
            .query_map(params![id, round.start, round.end, most], |row| entry(row, 0, &shown, reading))?
            .collect::<rusqlite::Result<Vec<Entry>>>()?;
        if entries.len() < most {
            return Ok(Change::new(shown, entries, after));
        }
        let (entries, sights) = busy::abridged(self.connection, (feed, round), (id, &shown), &after, reading)?;
        Ok(Change::abridged(shown, entries, sights, after))
    }
}

pub(super) fn rows_sql(table: &Table) -> String {
    format!(
        "SELECT a.lang, a.message, {}, {} FROM alarm AS a WHERE {} ORDER BY a.lang",
        table.time(),
        table.user(),
        table.is_of("a", "?1")
    )
}

/// The entry in the columns seq, existed, lang, message, isn_dt, user_id that begin at `first`.
pub(super) fn entry(row: &Row<'_>, first: usize, id: &str, reading: &mut Reading<'_>) -> rusqlite::Result<Entry> {
    let existed = row.get::<_, u8>(first + 1)? != 0;
    let before = if existed { Some(reading.translation(id, row, first + 2)?) } else { None };
    let lang = match &before {
        Some(before) => before.lang.clone(),
        None => super::row::text(row.get_ref(first + 2)?).0.into(),
    };
    Ok(Entry { seq: row.get(first)?, lang, before })
}

/// The page of the log after `from`: of `round`, or of one that begins there and ends at the head or at `until`.
/// `None`: nothing comes.
pub(super) fn page(
    opened: &Opened,
    reading: &mut Reading<'_>,
    from: u64,
    until: u64,
    round: Option<Round>,
) -> rusqlite::Result<Option<Batch>> {
    let transaction = opened.connection.unchecked_transaction()?;
    let head = head(&transaction)?;
    let round = round.unwrap_or(Round { start: from, end: head.min(until) });
    if from >= round.end {
        return Ok(None);
    }
    // What is scanned for the page is then all that there is of its alarms.
    let whole = from == round.start && round.end == head && head - from < reading.page as u64;
    let mut touched = transaction.prepare_cached(
        "SELECT alarm_id, seq, existed, lang, message, isn_dt, user_id, at FROM alarm_log
         WHERE seq > ?1 AND seq <= ?2 ORDER BY seq LIMIT ?3",
    )?;
    let mut rows = touched.query(params![from, round.end, reading.page])?;
    let mut order: Vec<(Raw, Arc<str>, u64)> = Vec::new();
    let mut scanned: HashMap<Arc<str>, Vec<Entry>> = HashMap::new();
    let (mut count, mut to, mut made) = (0, from, i64::MAX);
    while let Some(row) = rows.next()? {
        count += 1;
        let (id, seq): (Raw, u64) = (row.get(0)?, row.get(1)?);
        to = seq;
        made = made.min(row.get(7)?);
        if id == Raw::Null {
            reading.odd.note("", "it has no id; it is nobody's alarm".to_owned());
            continue;
        }
        let shown = id.text();
        if !scanned.contains_key(&shown) {
            order.push((id, shown.clone(), seq));
        }
        let entries = scanned.entry(shown.clone()).or_default();
        if whole {
            entries.push(entry(row, 1, &shown, reading)?);
        }
    }
    if count < reading.page {
        to = round.end;
    }
    let mut alarms = Alarms::new(&transaction, &opened.table)?;
    let (mut changes, mut bytes) = (Vec::with_capacity(order.len()), 0);
    for (id, shown, first) in order {
        if first > to {
            break;
        }
        if bytes > BYTES_MAX {
            to = first - 1;
            break;
        }
        let after = alarms.rows_at(&id, &shown, round.end, reading)?;
        let change = match scanned.remove(&shown) {
            Some(scanned) if whole => Change::new(shown, scanned, after),
            _ => alarms.change(&id, shown, (opened.feed, round), after, reading)?,
        };
        let rows = change.entries.iter().filter_map(|entry| entry.before.as_ref()).chain(&change.after);
        bytes += rows.map(|row| row.body.len()).sum::<usize>();
        changes.push(change);
    }
    let seen = Instant::now();
    let age = u64::try_from(milliseconds(SystemTime::now()) - made).unwrap_or(0);
    let made = seen.checked_sub(Duration::from_millis(age)).unwrap_or(seen);
    Ok(Some(Batch { feed: opened.feed, from, to, round, gap: false, changes, recent: Arc::new([]), seen, made }))
}

/// The page after `from` for a reader that is far behind; what the log no longer tells, or never told, is told by the
/// alarms that stand.
pub(super) fn past(
    opened: &Opened,
    reading: &mut Reading<'_>,
    from: Position,
    until: u64,
    round: Option<Round>,
) -> rusqlite::Result<Option<Page>> {
    let first: Option<u64> = opened.connection.query_row("SELECT min(seq) FROM alarm_log", [], |row| row.get(0))?;
    let gone = match first {
        Some(first) => first - 1,
        None => head(&opened.connection)?,
    };
    let tail = gone.min(until);
    if from.seq >= tail {
        let batch = page(opened, reading, from.seq, until, round)?;
        return Ok(batch.map(|batch| Page { batch, expired: false }));
    }
    // Places up to the adoption were never in the log; what else it lacks at its beginning, somebody deleted.
    let batch = standing(opened, reading, from.seq, tail)?;
    Ok(Some(Page { batch, expired: gone > opened.history }))
}

/// The alarms that came after `from` and stood at `tail`, where the log begins.
fn standing(opened: &Opened, reading: &mut Reading<'_>, from: u64, tail: u64) -> rusqlite::Result<Batch> {
    let transaction = opened.connection.unchecked_transaction()?;
    let mut index = transaction
        .prepare_cached("SELECT alarm_id, seq FROM alarm_index WHERE seq > ?1 AND seq <= ?2 ORDER BY seq LIMIT ?3")?;
    let places: Vec<(Raw, u64)> = index
        .query_map(params![from, tail, reading.page], |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect::<Result<_, _>>()?;
    let mut to = places.last().filter(|_| places.len() == reading.page).map_or(tail, |(_, seq)| *seq);
    let mut alarms = Alarms::new(&transaction, &opened.table)?;
    let (mut changes, mut bytes) = (Vec::with_capacity(places.len()), 0);
    for (id, seq) in places {
        if bytes > BYTES_MAX {
            to = seq - 1;
            break;
        }
        let shown = id.text();
        let rows = alarms.rows_at(&id, &shown, tail, reading)?;
        bytes += rows.iter().map(|row| row.body.len()).sum::<usize>();
        changes.push(Change::standing(shown, seq, rows));
    }
    let round = Round { start: from, end: to };
    let seen = Instant::now();
    Ok(Batch { feed: opened.feed, from, to, round, gap: false, changes, recent: Arc::new([]), seen, made: seen })
}

/// The last entry up to `seq`; `None`: the log has none.
pub(super) fn last(connection: &Connection, seq: u64) -> rusqlite::Result<Option<Last>> {
    let mut last = connection
        .prepare_cached("SELECT seq, alarm_id, at FROM alarm_log WHERE seq <= ?1 ORDER BY seq DESC LIMIT 1")?;
    last.query_row([seq], |row| Ok(Last { seq: row.get(0)?, id: row.get(1)?, at: row.get(2)? })).optional()
}

/// Whether the log has this entry, or has deleted it since.
pub(super) fn knows(connection: &Connection, last: &Last) -> rusqlite::Result<bool> {
    let mut entry = connection.prepare_cached("SELECT alarm_id IS ?2 AND at IS ?3 FROM alarm_log WHERE seq = ?1")?;
    match entry.query_row(params![last.seq, last.id, last.at], |row| row.get(0)).optional()? {
        Some(same) => Ok(same),
        None => Ok(super::adopt::meta::<u64>(connection, "pruned")?.is_some_and(|pruned| pruned >= last.seq)),
    }
}
