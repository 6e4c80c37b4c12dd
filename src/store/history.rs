//! The history of one user, by place: as fast for the millionth row as for the first, also for a user that few rows
//! are for.

use actors::alarm::{History, Position, Standing, Translation, UNREAD_MAX};
use rusqlite::{CachedStatement, Connection, params};

use super::{
    Opened, head,
    read::rows_sql,
    row::{Raw, Reading},
};

/// Bytes of text in one answer, at most; but one alarm at least.
const BYTES_MAX: usize = 8 << 20;

/// The places of the alarms that a row for the user ?1 or for everyone has or had, newest first, between ?2 and ?3.
/// Four ranges of two indexes, merged as they are read: nothing is sorted, and whoever stops early reads no more.
const PLACES: &str = "
    SELECT seq FROM alarm_index WHERE user_id IS NULL AND seq > ?2 AND seq < ?3
    UNION SELECT seq FROM alarm_index WHERE user_id = ?1 AND seq > ?2 AND seq < ?3
    UNION SELECT seq FROM alarm_audience WHERE user_id IS NULL AND seq > ?2 AND seq < ?3
    UNION SELECT seq FROM alarm_audience WHERE user_id = ?1 AND seq > ?2 AND seq < ?3
    ORDER BY seq DESC";

/// Below and above every place.
const START: i64 = -1;
const END: i64 = i64::MAX;

/// Goes through the alarms that a user can see, newest first.
struct Walk<'c> {
    places: CachedStatement<'c>,
    alarm: CachedStatement<'c>,
}

/// What a [`Walk`] comes by.
struct Seen {
    seq: u64,
    id: Raw,
    acknowledged: bool,
}

impl<'c> Walk<'c> {
    fn new(connection: &'c Connection, opened: &Opened) -> rusqlite::Result<Self> {
        let user = if opened.table.has_user { "a.user_id" } else { "NULL" };
        let alarm = format!(
            "SELECT i.alarm_id, EXISTS (SELECT 1 FROM alarm_ack AS k WHERE k.user_id = ?1 AND k.alarm_id = i.alarm_id)
             FROM alarm_index AS i
             WHERE i.seq = ?2 AND EXISTS (SELECT 1 FROM alarm AS a WHERE {} AND ({user} IS NULL OR {user} = ?1))",
            opened.table.is_of("a", "i.alarm_id")
        );
        Ok(Self { places: connection.prepare_cached(PLACES)?, alarm: connection.prepare_cached(&alarm)? })
    }

    /// Hands over the alarms between two places until `enough` says so.
    fn each(
        &mut self,
        user: &str,
        after: i64,
        before: i64,
        mut enough: impl FnMut(Seen) -> rusqlite::Result<bool>,
    ) -> rusqlite::Result<()> {
        let mut places = self.places.query(params![user, after, before])?;
        while let Some(place) = places.next()? {
            let seq: u64 = place.get(0)?;
            let mut alarm = self.alarm.query(params![user, seq])?;
            if let Some(row) = alarm.next()?
                && enough(Seen { seq, id: row.get(0)?, acknowledged: row.get(1)? })?
            {
                break;
            }
        }
        Ok(())
    }
}

/// The position just before the newest `count` alarms of the user; the head if there are none.
pub(super) fn before_newest(opened: &Opened, user: &str, count: u16) -> rusqlite::Result<Position> {
    let transaction = opened.connection.unchecked_transaction()?;
    let (mut left, mut first) = (count, None);
    Walk::new(&transaction, opened)?.each(user, START, END, |seen| {
        if left > 0 {
            first = Some(seen.seq);
        }
        left = left.saturating_sub(1);
        Ok(left == 0)
    })?;
    let seq = match first {
        Some(first) => first.saturating_sub(1),
        None => head(&transaction)?,
    };
    Ok(Position { feed: opened.feed, seq })
}

/// The newest `limit` alarms of the user before a place.
pub(super) fn history(
    opened: &Opened,
    reading: &mut Reading<'_>,
    user: &str,
    before: Option<u64>,
    limit: u16,
) -> rusqlite::Result<History> {
    let transaction = opened.connection.unchecked_transaction()?;
    let mut walk = Walk::new(&transaction, opened)?;
    let mut rows_of = transaction.prepare_cached(&rows_sql(&opened.table))?;
    let mut alarms: Vec<Standing> = Vec::new();
    let (mut more, mut bytes) = (false, 0);
    let before = before.map_or(END, |before| i64::try_from(before).unwrap_or(END));
    walk.each(user, START, before, |seen| {
        if alarms.len() >= usize::from(limit) || bytes > BYTES_MAX {
            more = true;
            return Ok(true);
        }
        let id = seen.id.text();
        let mut rows: Vec<Translation> =
            rows_of.query_map([&seen.id], |row| reading.translation(&id, row, 0))?.collect::<Result<_, _>>()?;
        rows.retain(|row| row.is_for(user));
        bytes += rows.iter().map(|row| row.body.len()).sum::<usize>();
        alarms.push(Standing { id, seq: seen.seq, rows, acknowledged: seen.acknowledged });
        Ok(false)
    })?;
    alarms.retain(|alarm| !alarm.rows.is_empty());
    let mut unread = 0;
    walk.each(user, i64::try_from(opened.history).unwrap_or(END), END, |seen| {
        unread += u32::from(!seen.acknowledged);
        Ok(unread > UNREAD_MAX)
    })?;
    let (unread, unread_more) = (unread.min(UNREAD_MAX), unread > UNREAD_MAX);
    Ok(History { feed: opened.feed, alarms, more, unread, unread_more })
}

#[cfg(test)]
mod tests {
    use actors::{alarm::Source, language::Aliases};
    use rusqlite::StatementStatus;

    use super::*;
    use crate::store::{Make, Options, Store};

    fn store() -> (tempfile::TempDir, Store) {
        let folder = tempfile::tempdir().unwrap();
        let (path, aliases) = (folder.path().join("alarms.db"), Aliases::default());
        let retention = std::time::Duration::from_secs(60);
        let mut store = Store::new(Options { path, make: Make::File, aliases, retention });
        store.open().unwrap();
        (folder, store)
    }

    #[test]
    fn the_history_is_read_by_ranges_of_indexes_and_nothing_is_sorted_or_gone_through() {
        let (_folder, mut store) = store();
        let opened = store.opened().unwrap();
        for sql in [PLACES, Walk::new(&opened.connection, opened).unwrap().alarm.expanded_sql().unwrap().as_str()] {
            let mut plan = opened.connection.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
            let nulls = vec![None::<i64>; plan.parameter_count()];
            let plan: Vec<String> = plan
                .query_map(rusqlite::params_from_iter(nulls), |row| row.get(3))
                .unwrap()
                .map(Result::unwrap)
                .collect();
            assert!(plan.iter().any(|step| step.starts_with("SEARCH")), "{plan:#?}");
            assert!(!plan.iter().any(|step| step.starts_with("SCAN") || step.contains("TEMP B-TREE")), "{plan:#?}");
        }
    }

    #[test]
    fn a_page_of_the_history_takes_as_many_steps_at_its_far_end_and_for_whom_few_rows_are_as_at_the_near_one() {
        let (_folder, mut store) = store();
        let opened = store.opened().unwrap();
        opened
            .connection
            .execute_batch(
                "PRAGMA synchronous = off;
                 WITH RECURSIVE n (i) AS (VALUES (1) UNION ALL SELECT i + 1 FROM n WHERE i < 20000)
                 INSERT INTO alarm (id, lang, message, user_id)
                 SELECT i, 'ko', 'x', CASE WHEN i % 5000 = 7 THEN 'few' WHEN i % 2 THEN 'many' END FROM n;
                 DELETE FROM alarm WHERE user_id IS NULL AND CAST(id AS INTEGER) > 100",
            )
            .unwrap();
        let steps = |user: &str, before: i64, count: usize| {
            let mut walk = Walk::new(&opened.connection, opened).unwrap();
            walk.places.reset_status(StatementStatus::VmStep);
            let mut left = count;
            walk.each(user, START, before, |_| {
                left -= 1;
                Ok(left == 0)
            })
            .unwrap();
            assert_eq!(left, 0);
            walk.places.reset_status(StatementStatus::VmStep)
        };
        let near = steps("many", END, 20);
        assert!(near > 0);
        assert!(steps("many", 1_000, 20) <= near + 50, "as far back as one likes");
        assert!(steps("few", END, 4) <= near, "twenty thousand alarms of another user lie between");
    }
}
