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
