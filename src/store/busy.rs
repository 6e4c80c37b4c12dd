//! An alarm that changed very often: of its entries in a round, those that can make a difference to a reader. So neither
//! memory nor time grows with how often it changed, but for 8 bytes each time that it came into sight or went out of it.

use std::{collections::HashMap, sync::Arc};

use actors::{
    alarm::{FeedName, Round, Translation},
    change::{Backwards, EARLIER_MAX, Entry, Sights},
};
use rusqlite::{Connection, params, types::ValueRef};

use super::{
    read::entry,
    row::{Raw, Reading, text},
};

/// Entries of one alarm in a round that are read as they are, at most.
pub(super) const ENTRIES_MAX: usize = 64;

/// Bytes that are remembered, about: each page of a round asks for the same alarms again.
const BYTES_MAX: usize = 16 << 20;

/// One alarm in one round.
type Of = (FeedName, Round, Arc<str>);

/// What was found out lately.
#[derive(Debug, Default)]
pub(super) struct Busy {
    known: HashMap<Of, (Vec<Entry>, Sights)>,
    bytes: usize,
}

impl Busy {
    fn remember(&mut self, of: Of, entries: Vec<Entry>, sights: Sights) {
        let bodies = entries.iter().filter_map(|entry| entry.before.as_ref()).map(|row| row.body.len());
        let turns = sights.0.iter().map(|sight| size_of::<u64>() * sight.turns.len());
        self.bytes += bodies.chain(turns).sum::<usize>() + size_of::<Entry>() * entries.len();
        if self.bytes > BYTES_MAX {
            *self = Self::default();
        }
        self.known.insert(of, (entries, sights));
    }
}

/// The entries of an alarm in a round that [`actors::change::Change::abridged`] needs, and its sights.
pub(super) fn abridged(
    connection: &Connection,
    (feed, round): (FeedName, Round),
    (id, shown): (&Raw, &Arc<str>),
    after: &[Translation],
    reading: &mut Reading<'_>,
) -> rusqlite::Result<(Vec<Entry>, Sights)> {
    let of = (feed, round, shown.clone());
    if let Some(known) = reading.busy.known.get(&of) {
        return Ok(known.clone());
    }
    let (kept, sights) = walk(connection, round, id, after)?;
    let mut one = connection
        .prepare_cached("SELECT seq, existed, lang, message, isn_dt, user_id FROM alarm_log WHERE seq = ?1")?;
    let mut entries = Vec::with_capacity(kept.len());
    for seq in kept {
        entries.push(one.query_row([seq], |row| entry(row, 0, shown, reading))?);
    }
    reading.busy.remember(of, entries.clone(), sights.clone());
    Ok((entries, sights))
}

/// The first entry of each row and the newest, and what all of them say.
fn walk(
    connection: &Connection,
    round: Round,
    id: &Raw,
    after: &[Translation],
) -> rusqlite::Result<(Vec<u64>, Sights)> {
    let mut walk = connection.prepare_cached(
        "SELECT seq, existed, lang, user_id FROM alarm_log WHERE alarm_id = ?1 AND seq > ?2 AND seq <= ?3
         ORDER BY seq DESC",
    )?;
    let mut rows = walk.query(params![id, round.start, round.end])?;
    let (mut firsts, mut newest, mut sights) = (HashMap::new(), Vec::new(), Backwards::new(after));
    while let Some(row) = rows.next()? {
        let (seq, existed, lang): (u64, bool, String) = (row.get(0)?, row.get(1)?, text(row.get_ref(2)?).0);
        let audience = match row.get_ref(3)? {
            ValueRef::Null => None,
            user => Some(text(user).0),
        };
        sights.undo(seq, &lang, existed.then_some(audience.as_deref()));
        if newest.len() <= EARLIER_MAX {
            newest.push(seq);
        }
        firsts.insert(lang, seq);
    }
    let mut kept: Vec<u64> = firsts.into_values().chain(newest).collect();
    kept.sort_unstable();
    kept.dedup();
    Ok((kept, sights.finish()))
}
