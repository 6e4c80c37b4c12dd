//! What takes long, in short transactions, so that no writer waits for it: giving the rows of an adopted table their
//! places in the order, and comparing a table whose triggers were gone with `alarm_index`.
//!
//! How far a chore has come is kept in `hub_meta`: a hub that is started again goes on with it.

use rusqlite::{Connection, Transaction, TransactionBehavior, params, params_from_iter};
use tracing::info;

use super::{
    adopt::{meta, set_meta},
    row::Raw,
    table::Table,
};

/// Rows of one transaction.
const PAGE: usize = 1_000;

/// The rows of an adopted table, newest first, so that the newest are in the history first.
const SEED: &str = "seed";
/// Alarms that the way back missed because their rows were replaced meanwhile, oldest row first.
const MISSED: &str = "missed";
/// Rows of alarms that nobody knew of: they are news.
const NEWS: &str = "news";
/// Alarms of which no row is left: they are cleared.
const SWEEP: &str = "sweep";

/// Begins to give `rows` rows their places.
pub(super) fn seed(connection: &Connection, rows: i64) -> rusqlite::Result<()> {
    set_meta(connection, "chore_place", rows)?;
    begin(connection, SEED)
}

/// Begins to compare the table with `alarm_index`. What has no place yet keeps its right to one as history.
pub(super) fn compare(connection: &Connection) -> rusqlite::Result<()> {
    match meta::<String>(connection, "chore")?.as_deref() {
        Some(SEED | MISSED) => Ok(()),
        _ => begin(connection, NEWS),
    }
}

fn begin(connection: &Connection, chore: &str) -> rusqlite::Result<()> {
    connection.execute("DELETE FROM hub_meta WHERE key IN ('chore_at', 'chore_lang')", [])?;
    set_meta(connection, "chore", chore)
}

/// Does the next page of what is to be done; whether anything was.
pub(super) fn step(connection: &mut Connection, table: &Table) -> rusqlite::Result<bool> {
    if meta::<String>(connection, "chore")?.is_none() {
        return Ok(false);
    }
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let chore: String = meta(&transaction, "chore")?.unwrap_or_default();
    let walked = match &*chore {
        SEED => seed_page(&transaction, table, true)?,
        MISSED => seed_page(&transaction, table, false)?,
        NEWS => news_page(&transaction, table)?,
        SWEEP => sweep_page(&transaction, table)?,
        _ => 0,
    };
    let next = match &*chore {
        _ if walked == PAGE => Some(&*chore),
        SEED => Some(MISSED),
        NEWS => Some(SWEEP),
        _ => None,
    };
    match next {
        Some(next) if next == chore => {}
        Some(next) => begin(&transaction, next)?,
        None => {
            transaction.execute("DELETE FROM hub_meta WHERE key LIKE 'chore%'", [])?;
        }
    }
    transaction.commit()?;
    if next.is_none() {
        info!("every alarm of the table has its place");
    }
    Ok(true)
}

/// A row that a walk came by.
struct Passed {
    /// The alarm's id as text.
    id: Raw,
    user: Raw,
    /// Whether no other row of the alarm lies further back.
    is_first: bool,
}

/// The next rows in the order of the table.
fn walk(connection: &Connection, table: &Table, back: bool) -> rusqlite::Result<Vec<Passed>> {
    let (beyond, order) = if back { ("<", "DESC") } else { (">", "ASC") };
    let (key, place, others) = if table.has_rowid {
        ("rowid, NULL", "rowid", "b.rowid < a.rowid")
    } else {
        ("id, lang", "(id, lang)", "b.lang < a.lang")
    };
    let mut at: Vec<Raw> = Vec::with_capacity(2);
    at.extend(meta(connection, "chore_at")?);
    if !table.has_rowid {
        at.extend(meta(connection, "chore_lang")?);
    }
    let start = match at.len() {
        0 => String::new(),
        1 => format!("WHERE {place} {beyond} ?1"),
        _ => format!("WHERE {place} {beyond} (?1, ?2)"),
    };
    let order = place.trim_matches(['(', ')']).replace(',', &format!(" {order},")) + " " + order;
    let sql = format!(
        "SELECT {key}, CAST(id AS TEXT), {}, NOT EXISTS (SELECT 1 FROM alarm AS b WHERE b.id = a.id AND {others})
         FROM alarm AS a {start} ORDER BY {order} LIMIT {PAGE}",
        table.user()
    );
    let mut statement = connection.prepare(&sql)?;
    let mut rows = statement.query(params_from_iter(at))?;
    let (mut passed, mut last) = (Vec::with_capacity(PAGE), None);
    while let Some(row) = rows.next()? {
        passed.push(Passed { id: row.get(2)?, user: row.get(3)?, is_first: row.get(4)? });
        if passed.len() == PAGE {
            last = Some((row.get::<_, Raw>(0)?, row.get::<_, Raw>(1)?));
        }
    }
    if let Some((at, lang)) = last {
        set_meta(connection, "chore_at", at)?;
        set_meta(connection, "chore_lang", lang)?;
    }
    Ok(passed)
}

fn seed_page(transaction: &Transaction<'_>, table: &Table, back: bool) -> rusqlite::Result<usize> {
    let mut place: i64 = meta(transaction, "chore_place")?.unwrap_or(0);
    let mut index =
        transaction.prepare("INSERT OR IGNORE INTO alarm_index (seq, alarm_id, user_id) VALUES (?1, ?2, ?3)")?;
    let passed = walk(transaction, table, back)?;
    for row in &passed {
        if row.id != Raw::Null && (row.is_first || !back) && place > 0 {
            place -= index.execute(params![place, row.id, row.user])? as i64;
        }
    }
    set_meta(transaction, "chore_place", place)?;
    note_audiences(transaction, table, &passed)?;
    Ok(passed.len())
}

/// Remembers whom the rows are for, where that differs from whom the alarm's first row is for.
fn note_audiences(transaction: &Transaction<'_>, table: &Table, passed: &[Passed]) -> rusqlite::Result<()> {
    if !table.has_user {
        return Ok(());
    }
    let mut note = transaction.prepare(
        "INSERT INTO alarm_audience (user_id, seq) SELECT ?2, i.seq FROM alarm_index AS i
         WHERE i.alarm_id = ?1 AND i.user_id IS NOT CAST(?2 AS TEXT)
           AND NOT EXISTS (SELECT 1 FROM alarm_audience AS a WHERE a.seq = i.seq AND a.user_id IS CAST(?2 AS TEXT))",
    )?;
    passed.iter().try_for_each(|row| note.execute(params![row.id, row.user]).map(|_| ()))
}

fn news_page(transaction: &Transaction<'_>, table: &Table) -> rusqlite::Result<usize> {
    let mut known = transaction.prepare("SELECT EXISTS (SELECT 1 FROM alarm_index WHERE alarm_id = ?1)")?;
    let mut log = transaction.prepare(&format!(
        "INSERT INTO alarm_log (alarm_id, lang, existed) SELECT ?1, lang, 0 FROM alarm AS a WHERE {}",
        table.is_of("a", "?1")
    ))?;
    let mut index = transaction.prepare(
        "INSERT OR IGNORE INTO alarm_index (seq, alarm_id, user_id) VALUES ((SELECT max(seq) FROM alarm_log), ?1, ?2)",
    )?;
    let passed = walk(transaction, table, false)?;
    for row in &passed {
        // All rows of an alarm at once: it is one piece of news, not an alarm and its other translations.
        if row.id != Raw::Null && !known.query_row([&row.id], |row| row.get(0))? && log.execute([&row.id])? > 0 {
            index.execute(params![row.id, row.user])?;
        }
    }
    note_audiences(transaction, table, &passed)?;
    Ok(passed.len())
}

fn sweep_page(transaction: &Transaction<'_>, table: &Table) -> rusqlite::Result<usize> {
    let at: i64 = meta(transaction, "chore_at")?.unwrap_or(-1);
    let mut walk = transaction.prepare(&format!(
        "SELECT i.seq, EXISTS (SELECT 1 FROM alarm AS a WHERE {}) FROM alarm_index AS i
         WHERE i.seq > ?1 ORDER BY i.seq LIMIT {PAGE}",
        table.is_of("a", "i.alarm_id")
    ))?;
    let passed: Vec<(i64, bool)> =
        walk.query_map([at], |row| Ok((row.get(0)?, row.get(1)?)))?.collect::<Result<_, _>>()?;
    // Nobody knows what it said any more, only whom it was for: a row for each.
    let mut log = transaction.prepare(
        "INSERT INTO alarm_log (alarm_id, lang, existed, user_id)
         SELECT alarm_id, 'und', 1, user_id FROM alarm_index WHERE seq = ?1
         UNION ALL
         SELECT i.alarm_id, 'und-x-' || a.rowid, 1, a.user_id FROM alarm_index AS i JOIN alarm_audience AS a ON a.seq = i.seq
         WHERE i.seq = ?1",
    )?;
    let mut forget = transaction.prepare("DELETE FROM alarm_index WHERE seq = ?1")?;
    for (seq, _) in passed.iter().filter(|(_, stands)| !stands) {
        log.execute([seq])?;
        forget.execute([seq])?;
    }
    if let Some((seq, _)) = passed.last() {
        set_meta(transaction, "chore_at", seq)?;
    }
    Ok(passed.len())
}
