//! Makes a database one that the hub can read: its tables and triggers, and nothing else. A table that is there is
//! adopted as it is; one that cannot be is left as it is.

use actors::alarm::{Failure, Fault, FeedName};
use rusqlite::{Connection, OptionalExtension, Transaction, TransactionBehavior, params};
use tracing::{info, warn};

use super::{
    Make, Options, chores, failure,
    table::{Found, Table},
};

const SCHEMA: &str = include_str!("../../schema.sql");

/// The version of the hub's own tables, in `hub_meta`. Whoever changes one of them raises it and adds a step to
/// [`MIGRATIONS`].
const VERSION: i64 = 1;

/// What brings the tables from one version to the next: the step at index 0 starts from version 1.
const MIGRATIONS: &[&str] = &[];

/// What an adopted database is.
pub(super) struct Adopted {
    pub(super) table: Table,
    pub(super) feed: FeedName,
    /// Positions up to this one are history.
    pub(super) history: u64,
}

/// Adopts the database if that has not been done. Writes only then, in short transactions.
pub(super) fn adopt(connection: &mut Connection, options: &Options) -> Result<Adopted, Failure> {
    let found = Table::find(connection).map_err(|cause| failure(&cause))?;
    let path = options.path.display();
    let unusable = |cause: String| Failure { fault: Fault::Unusable, cause };
    let (table, existed) = match found {
        Found::Table(table) => (table, true),
        Found::Unfit(why) => return Err(unusable(format!("the table alarm of {path} cannot be adopted: {why}"))),
        Found::Nothing if options.make != Make::Nothing => (Table::OWN, false),
        Found::Nothing => return Err(unusable(format!("there is no table alarm in {path}"))),
    };
    let schema = table.fit(SCHEMA);
    let read = |connection: &mut Connection| -> rusqlite::Result<Result<(FeedName, u64), i64>> {
        let version = version(connection)?;
        if version.is_some_and(|version| version > VERSION) {
            return Ok(Err(version.unwrap_or_default()));
        }
        if version != Some(VERSION) || !stale(connection, &schema)?.is_empty() {
            write(connection, &schema, existed)?;
        }
        let feed: String =
            connection.query_row("SELECT value FROM hub_meta WHERE key = 'feed'", [], |row| row.get(0))?;
        let feed = FeedName(u32::from_str_radix(&feed, 16).unwrap_or(0));
        Ok(Ok((feed, meta(connection, "adopted")?.unwrap_or(0))))
    };
    let (feed, history) = read(connection).map_err(|cause| failure(&cause))?.map_err(|newer| {
        unusable(format!(
            "{path} was written by a newer alarm-hub (version {newer} of its tables, this one knows {VERSION}): update this one"
        ))
    })?;
    Ok(Adopted { table, feed, history })
}

/// The version of the hub's tables; `None`: there are none.
fn version(connection: &Connection) -> rusqlite::Result<Option<i64>> {
    let sql = "SELECT EXISTS (SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'hub_meta')";
    if !connection.query_row(sql, [], |row| row.get(0))? {
        return Ok(None);
    }
    meta(connection, "schema")
}

/// The database's name.
pub(super) fn feed(connection: &Connection) -> rusqlite::Result<Option<FeedName>> {
    let feed: Option<String> = meta(connection, "feed")?;
    Ok(feed.and_then(|feed| u32::from_str_radix(&feed, 16).ok()).map(FeedName))
}

/// A value of `hub_meta`.
pub(super) fn meta<T: rusqlite::types::FromSql>(connection: &Connection, key: &str) -> rusqlite::Result<Option<T>> {
    let mut value = connection.prepare_cached("SELECT value FROM hub_meta WHERE key = ?1")?;
    value.query_row([key], |row| row.get(0)).optional()
}

/// Sets a value of `hub_meta`.
pub(super) fn set_meta(connection: &Connection, key: &str, value: impl rusqlite::ToSql) -> rusqlite::Result<()> {
    let sql = "INSERT OR REPLACE INTO hub_meta (key, value) VALUES (?1, ?2)";
    connection.prepare_cached(sql)?.execute(params![key, value]).map(|_| ())
}

/// The triggers that are not there as they should be.
fn stale<'a>(connection: &Connection, schema: &'a str) -> rusqlite::Result<Vec<&'a str>> {
    let mut stale = Vec::new();
    let mut there =
        connection.prepare("SELECT sql, lower(tbl_name) FROM sqlite_master WHERE type = 'trigger' AND name = ?1")?;
    for trigger in schema.split("CREATE TRIGGER IF NOT EXISTS ").skip(1) {
        let name = trigger.split(' ').next().unwrap_or_default();
        let text = trigger.split_inclusive("\nEND").next().unwrap_or_default();
        let on = if text.contains("ON alarm_index\n") { "alarm_index" } else { "alarm" };
        let there =
            there.query_row([name], |row| Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?))).optional()?;
        let expected = (format!("CREATE TRIGGER {text}"), on.to_owned());
        if there != Some(expected) {
            stale.push(name);
        }
    }
    Ok(stale)
}

/// The names of the triggers without which a change of the table goes unseen.
pub(super) fn missing_triggers(connection: &Connection, table: &Table) -> rusqlite::Result<Vec<String>> {
    Ok(stale(connection, &table.fit(SCHEMA))?.into_iter().map(str::to_owned).collect())
}

/// All or nothing, in one short transaction: what takes long is left to [`chores`].
fn write(connection: &mut Connection, schema: &str, existed: bool) -> rusqlite::Result<()> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let version = version(&transaction)?;
    for step in MIGRATIONS.iter().skip(version.map_or(MIGRATIONS.len(), |version| version as usize - 1)) {
        transaction.execute_batch(step)?;
    }
    let stale = stale(&transaction, schema)?;
    for trigger in &stale {
        transaction.execute_batch(&format!("DROP TRIGGER IF EXISTS {trigger}"))?;
    }
    transaction.execute_batch(schema)?;
    let news = match version {
        None => Some(begin(&transaction, existed)?),
        Some(_) if stale.iter().any(|trigger| *trigger != FORGET) => {
            chores::compare(&transaction)?;
            None
        }
        Some(_) => None,
    };
    set_meta(&transaction, "schema", VERSION)?;
    transaction.commit()?;
    match news {
        Some(rows) if existed => info!(
            rows,
            "adopted the table alarm: added the tables alarm_log, alarm_index, alarm_audience, alarm_ack, hub_claim, \
             hub_ticket, hub_meta and the triggers alarm_hub_…; its rows are history"
        ),
        Some(_) => {}
        None => {
            warn!(triggers = stale.join(" "), "triggers of the table alarm were gone; made again, comparing the table")
        }
    }
    Ok(())
}

/// Its loss alone loses no change of the table.
const FORGET: &str = "alarm_hub_forget";

/// What stands in an adopted table is history: it gets the places before the log begins. The number of its rows.
fn begin(transaction: &Transaction<'_>, existed: bool) -> rusqlite::Result<i64> {
    set_meta(transaction, "feed", new_feed().to_string())?;
    let rows: i64 =
        if existed { transaction.query_row("SELECT count(*) FROM alarm", [], |row| row.get(0))? } else { 0 };
    transaction.execute("DELETE FROM sqlite_sequence WHERE name = 'alarm_log'", [])?;
    transaction.execute("INSERT INTO sqlite_sequence (name, seq) VALUES ('alarm_log', ?1)", [rows])?;
    set_meta(transaction, "adopted", rows)?;
    if rows > 0 {
        chores::seed(transaction, rows)?;
    }
    Ok(rows)
}

/// A name that no other database has.
pub(super) fn new_feed() -> FeedName {
    FeedName(u32::try_from(uuid::Uuid::new_v4().as_u128() >> 96).unwrap_or(1))
}
