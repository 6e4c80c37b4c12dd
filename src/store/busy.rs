//! An alarm that changed very often: of its entries in a round, those that can make a difference to a reader. So neither
//! memory nor time grows with how often it changed.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
};

use actors::alarm::{Entry, FeedName, Round};
use rusqlite::{Connection, params};

use super::{
    read::entry,
    row::{Raw, Reading},
};

/// Entries of one alarm in a round that are read as they are.
pub(super) const ENTRIES_MAX: usize = 256;

/// The newest entries are kept, so that [`actors::alarm::Change::earlier`] sees that there are many.
const NEWEST: usize = 32;

/// Alarms whose entries are remembered: each page of a round asks for them again.
const REMEMBERED: usize = 16;

/// What was found out lately.
#[derive(Debug, Default)]
pub(super) struct Busy(VecDeque<(FeedName, Round, Arc<str>, Vec<Entry>)>);

/// The row of one language, as the walk through the log saw it last.
struct Seen {
    seq: u64,
    /// Whether it was there, and for whom.
    sight: Option<Raw>,
}

/// The entries of an alarm in a round: the first of each row, those at which it may have come into sight or gone out of
/// it, and the newest.
pub(super) fn entries(
    connection: &Connection,
    (feed, round): (FeedName, Round),
    (id, shown): (&Raw, &Arc<str>),
    reading: &mut Reading<'_>,
) -> rusqlite::Result<Vec<Entry>> {
    let known = reading.busy.0.iter().find(|known| (known.0, known.1, &known.2) == (feed, round, shown));
    if let Some((.., entries)) = known {
        return Ok(entries.clone());
    }
    let mut kept = Vec::new();
    for seq in kept_of(connection, round, id)? {
        let mut one = connection
            .prepare_cached("SELECT seq, existed, lang, message, isn_dt, user_id FROM alarm_log WHERE seq = ?1")?;
        kept.push(one.query_row([seq], |row| entry(row, 0, shown, reading))?);
    }
    reading.busy.0.truncate(REMEMBERED - 1);
    reading.busy.0.push_front((feed, round, shown.clone(), kept.clone()));
    Ok(kept)
}

fn kept_of(connection: &Connection, round: Round, id: &Raw) -> rusqlite::Result<Vec<u64>> {
    let mut walk = connection.prepare_cached(
        "SELECT seq, existed, lang, user_id FROM alarm_log WHERE alarm_id = ?1 AND seq > ?2 AND seq <= ?3 ORDER BY seq",
    )?;
    let mut rows = walk.query(params![id, round.start, round.end])?;
    let (mut firsts, mut turns, mut newest) = (Vec::new(), VecDeque::new(), VecDeque::new());
    let mut seen: HashMap<Arc<str>, Seen> = HashMap::new();
    while let Some(row) = rows.next()? {
        let (seq, existed): (u64, u8) = (row.get(0)?, row.get(1)?);
        let sight = if existed == 0 { None } else { Some(row.get(3)?) };
        newest.push_back(seq);
        if newest.len() > NEWEST {
            newest.pop_front();
        }
        let lang = super::row::text(row.get_ref(2)?).0;
        match seen.get_mut(lang.as_str()) {
            None => {
                firsts.push(seq);
                seen.insert(lang.into(), Seen { seq, sight });
            }
            Some(before) => {
                if before.sight != sight {
                    turns.push_back(before.seq);
                }
                // Of very many the first and the last count: when it was first away, and came last.
                if turns.len() > ENTRIES_MAX {
                    turns.remove(ENTRIES_MAX / 2);
                }
                *before = Seen { seq, sight };
            }
        }
    }
    let last_of_each = seen.into_values().map(|seen| seen.seq);
    let mut kept: Vec<u64> = firsts.into_iter().chain(turns).chain(newest).chain(last_of_each).collect();
    kept.sort_unstable();
    kept.dedup();
    Ok(kept)
}
