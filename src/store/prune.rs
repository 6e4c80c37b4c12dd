//! Forgets what is older than it need be: never a row of the table, only what the hub itself keeps.

use std::time::{Duration, SystemTime};

use rusqlite::{OptionalExtension, TransactionBehavior, params};

use super::{
    Opened,
    adopt::{meta, set_meta},
    milliseconds, ticket,
};

/// Entries of the log that one transaction deletes.
const PAGE: u32 = 1_000;

/// Deletes the next page of the log's old end; whether there is more to delete.
pub(super) fn prune(opened: &mut Opened, retention: Duration) -> rusqlite::Result<bool> {
    let oldest = SystemTime::now().checked_sub(retention).map_or(0, milliseconds);
    // In the order of the log, so that nothing is searched for: what was logged later is not older.
    let old = "SELECT seq FROM alarm_log WHERE at < ?1 AND seq <= (SELECT min(seq) FROM alarm_log) + ?2
               ORDER BY seq DESC LIMIT 1";
    let last: Option<i64> =
        opened.connection.prepare_cached(old)?.query_row(params![oldest, PAGE], |row| row.get(0)).optional()?;
    let transaction = opened.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    ticket::forget(&transaction)?;
    if let Some(last) = last {
        let pruned: i64 = meta(&transaction, "pruned")?.unwrap_or(0);
        set_meta(&transaction, "pruned", last.max(pruned))?;
        transaction.execute("DELETE FROM alarm_log WHERE seq <= ?1", [last])?;
        // It may lag behind (see `head`): no place is given out twice.
        transaction.execute("UPDATE sqlite_sequence SET seq = ?1 WHERE name = 'alarm_log' AND seq < ?1", [last])?;
    }
    transaction.commit()?;
    Ok(last.is_some())
}
