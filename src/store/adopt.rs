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

/// What brings the tables from one version to the next. The step at index 0 starts from the first release, which said
/// no version.
const MIGRATIONS: &[Step] = &[Step {
    before: "DROP INDEX IF EXISTS alarm_log_by_alarm;
             ALTER TABLE alarm_log RENAME TO alarm_log_before;
             ALTER TABLE alarm_index RENAME TO alarm_index_before;",
    after: "INSERT INTO alarm_log (seq, alarm_id, lang, existed, message, isn_dt, user_id, at)
            SELECT seq, alarm_id, lang, existed, message, isn_dt, user_id, at * 1000 FROM alarm_log_before;
            DELETE FROM sqlite_sequence WHERE name = 'alarm_log';
            UPDATE sqlite_sequence SET name = 'alarm_log' WHERE name = 'alarm_log_before';
            DROP TABLE alarm_log_before;
            INSERT INTO alarm_index (seq, alarm_id, user_id)
            SELECT seq, alarm_id, (SELECT row.user_id FROM alarm AS row WHERE {is_of} LIMIT 1) FROM alarm_index_before AS i;
            DROP TABLE alarm_index_before;
            INSERT INTO alarm_audience (user_id, seq)
            SELECT DISTINCT row.user_id, i.seq FROM alarm_index AS i JOIN alarm AS row ON {is_of}
            WHERE row.user_id IS NOT i.user_id;
            INSERT INTO hub_meta (key, value)
            SELECT 'pruned', gone FROM (SELECT coalesce((SELECT min(seq) - 1 FROM alarm_log), seq) AS gone
                                        FROM sqlite_sequence WHERE name = 'alarm_log')
            WHERE gone > (SELECT value FROM hub_meta WHERE key = 'adopted');",
}];

/// One step of a migration.
struct Step {
    /// What is done while the tables are as they were, without triggers.
    before: &'static str,
    /// What is done once the tables of this version are there.
    after: &'static str,
}

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
            write(connection, &table, &schema, existed)?;
        }
        let feed: String =
            connection.query_row("SELECT value FROM hub_meta WHERE key = 'feed'", [], |row| row.get(0))?;
        let feed = FeedName(u32::from_str_radix(&feed, 16).unwrap_or(0));
        Ok(Ok((feed, meta(connection, "adopted")?.unwrap_or(0))))
    };
    let (feed, history) = read(connection)
        .map_err(|cause| failure(&cause))?
        .map_err(|newer| unusable(format!("{path} {}", by_newer(newer))))?;
    Ok(Adopted { table, feed, history })
}

/// The version of the hub's tables; `None`: there are none.
pub(super) fn version(connection: &Connection) -> rusqlite::Result<Option<i64>> {
    let sql = "SELECT EXISTS (SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'hub_meta')";
    if !connection.query_row(sql, [], |row| row.get(0))? {
        return Ok(None);
    }
    Ok(Some(meta(connection, "schema")?.unwrap_or(0)))
}

/// The database's name.
pub(super) fn feed(connection: &Connection) -> rusqlite::Result<Option<FeedName>> {
    let feed: Option<String> = meta(connection, "feed")?;
    Ok(feed.and_then(|feed| u32::from_str_radix(&feed, 16).ok()).map(FeedName))
}

/// Why tables of that version are left alone, if they are newer than this release.
pub(super) fn newer(connection: &Connection) -> rusqlite::Result<Option<String>> {
    Ok(meta(connection, "schema")?.filter(|version| *version > VERSION).map(by_newer))
}

fn by_newer(version: i64) -> String {
    format!(
        "was written by a newer alarm-hub (version {version} of its tables, this one knows {VERSION}): update this one"
    )
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

/// The names of all triggers.
fn triggers(schema: &str) -> impl Iterator<Item = &str> {
    let triggers = schema.split("CREATE TRIGGER IF NOT EXISTS ").skip(1);
    triggers.map(|trigger| trigger.split(' ').next().unwrap_or_default())
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
fn write(connection: &mut Connection, table: &Table, schema: &str, existed: bool) -> rusqlite::Result<()> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let version = version(&transaction)?;
    let steps = version.and_then(|version| MIGRATIONS.get(usize::try_from(version).ok()?..)).unwrap_or_default();
    // A table that is renamed takes the triggers that speak of it along: all of them are made again.
    let stale = if steps.is_empty() { stale(&transaction, schema)? } else { triggers(schema).collect() };
    for trigger in &stale {
        transaction.execute_batch(&format!("DROP TRIGGER IF EXISTS {trigger}"))?;
    }
    for step in steps {
        transaction.execute_batch(step.before)?;
    }
    transaction.execute_batch(schema)?;
    for step in steps {
        let after = step.after.replace("{is_of}", &table.is_of("row", "i.alarm_id"));
        transaction
            .execute_batch(&after.replace("row.user_id", if table.has_user { "row.user_id" } else { "NULL" }))?;
    }
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
        None if !steps.is_empty() => {
            info!(
                from = version,
                to = VERSION,
                "brought the hub's tables forward; the table alarm is compared with them"
            )
        }
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
