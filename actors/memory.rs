//! What the hub remembers of the log: recent pages, bounded, so that a storm of resumes does not touch the database.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
};

use crate::alarm::{Batch, Change, Meaning, Round};

/// Changes that are remembered at most.
const CHANGES_MAX: usize = 16_384;

/// Pages that are remembered at most.
const BULLETINS_MAX: usize = 4_096;

/// Bytes of translations that are remembered at most.
const BYTES_MAX: usize = 32 << 20;

/// A page of the log, with an index of whom each change may concern. Made once and shared by all sessions.
#[derive(Debug)]
pub struct Bulletin {
    /// The page.
    pub batch: Batch,
    everyone: Vec<usize>,
    named: HashMap<Arc<str>, Vec<usize>>,
    bytes: usize,
}

impl Bulletin {
    /// Indexes a page.
    pub fn new(batch: Batch) -> Self {
        let (mut everyone, mut named) = (Vec::new(), HashMap::<Arc<str>, Vec<usize>>::new());
        let mut bytes = 0;
        for (index, change) in batch.changes.iter().enumerate() {
            bytes += change.before.iter().chain(&change.after).map(|row| row.body.len() + 64).sum::<usize>();
            if change.is_for_everyone() {
                everyone.push(index);
            } else {
                for user in change.users() {
                    named.entry(user.clone()).or_default().push(index);
                }
            }
        }
        Self { batch, everyone, named, bytes }
    }

    /// What it means to `user` after the position `after`: the changes in the order in which they are to be told.
    pub fn for_user(&self, user: &str, after: u64) -> Vec<(u64, Meaning, &Change)> {
        let named = self.named.get(user).map_or(&[][..], Vec::as_slice);
        let mut told: Vec<(u64, Meaning, &Change)> = Vec::with_capacity(self.everyone.len() + named.len());
        for index in self.everyone.iter().chain(named) {
            let change = &self.batch.changes[*index];
            let Some(meaning) = change.meaning_for(user) else { continue };
            let (Meaning::Arrived(seq) | Meaning::Stayed(seq) | Meaning::Left(seq)) = meaning;
            if seq > after.max(self.batch.from) && seq <= self.batch.to {
                told.push((seq, meaning, change));
            }
        }
        if !told.is_sorted_by_key(|(seq, ..)| *seq) {
            told.sort_unstable_by_key(|(seq, ..)| *seq);
        }
        told
    }
}

/// The newest pages, without a hole, oldest first. It begins where a round begins: a reader that comes from further
/// back knows the table as it was at the start of a round, never in the middle of one.
#[derive(Debug, Default)]
pub struct Memory {
    bulletins: VecDeque<Arc<Bulletin>>,
    changes: usize,
    bytes: usize,
    /// The round of the newest page.
    round: Option<Round>,
}

impl Memory {
    /// Adds the next page and forgets what is too much, whole rounds of it.
    pub fn remember(&mut self, bulletin: Arc<Bulletin>) {
        self.round = Some(bulletin.batch.round);
        if !self.bulletins.is_empty() || bulletin.batch.from == bulletin.batch.round.start {
            self.changes += bulletin.batch.changes.len();
            self.bytes += bulletin.bytes;
            self.bulletins.push_back(bulletin);
        }
        while self.is_too_much() || self.begins_within_a_round() {
            if let Some(oldest) = self.bulletins.pop_front() {
                self.changes -= oldest.batch.changes.len();
                self.bytes -= oldest.bytes;
            }
        }
    }

    fn is_too_much(&self) -> bool {
        self.changes > CHANGES_MAX || self.bytes > BYTES_MAX || self.bulletins.len() > BULLETINS_MAX
    }

    fn begins_within_a_round(&self) -> bool {
        self.bulletins.front().is_some_and(|first| first.batch.from != first.batch.round.start)
    }

    /// Where it begins, or would begin if the round at hand had not been too large for it; `None`: nothing was ever
    /// remembered.
    pub fn floor(&self) -> Option<u64> {
        let round = self.round?;
        Some(self.bulletins.front().map_or(round.start, |first| first.batch.from))
    }

    /// The round of the newest page.
    pub fn round(&self) -> Option<Round> {
        self.round
    }

    /// The pages from the one that goes on after `seq`, at most `limit` changes of them (one page at least);
    /// `None`: it does not hold them.
    pub fn since(&self, seq: u64, limit: usize) -> Option<Vec<Arc<Bulletin>>> {
        if self.bulletins.front()?.batch.from > seq {
            return None;
        }
        let first = self.bulletins.partition_point(|bulletin| bulletin.batch.to <= seq);
        let mut changes = 0;
        let page = self.bulletins.iter().skip(first).take_while(|bulletin| {
            let fits = changes < limit;
            changes += bulletin.batch.changes.len();
            fits
        });
        Some(page.cloned().collect())
    }
}
