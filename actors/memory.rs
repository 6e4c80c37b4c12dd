//! What the hub remembers of the log: recent pages, bounded, so that a storm of resumes does not touch the database.

use std::{
    borrow::Cow,
    collections::{HashMap, VecDeque},
    sync::Arc,
};

use crate::{
    alarm::{Batch, Round, Translation},
    change::{Change, Meaning},
    language::Tag,
};

/// Changes that are remembered at most.
const CHANGES_MAX: usize = 16_384;

/// Pages that are remembered at most.
const BULLETINS_MAX: usize = 4_096;

/// Bytes of translations that are remembered at most.
const BYTES_MAX: usize = 32 << 20;

/// The languages that an alarm has, in the order of its rows; `None`: one that cannot be read. Two alarms of the same
/// shape share it, so that each reader's choice among them is made once.
pub type Shape = [Option<Tag>];

/// Shapes that are remembered at most.
const SHAPES_MAX: usize = 64;

/// The shapes that alarms lately had.
#[derive(Debug, Default)]
pub struct Shapes(Vec<Arc<Shape>>);

impl Shapes {
    /// The shape of these rows; `None`: some are for one user only, so that it is not the same for everybody.
    fn of(&mut self, rows: &[Translation]) -> Option<Arc<Shape>> {
        if rows.iter().any(|row| row.audience.is_some()) {
            return None;
        }
        let known = self.0.iter().find(|shape| shape.iter().eq(rows.iter().map(|row| &row.tag)));
        if let Some(shape) = known {
            return Some(shape.clone());
        }
        if self.0.len() == SHAPES_MAX {
            self.0.clear();
        }
        let shape: Arc<Shape> = rows.iter().map(|row| row.tag.clone()).collect();
        self.0.push(shape.clone());
        Some(shape)
    }
}

/// What one change means to a user.
#[derive(Clone, Debug)]
pub struct Told {
    /// What it means, and where in the log that lies.
    pub meaning: Meaning,
    /// The languages of the alarm after it, where they are the same for everybody.
    pub shape: Option<Arc<Shape>>,
    change: usize,
}

/// A page of the log, with an index of whom each change may concern. Made once and shared by all sessions.
#[derive(Debug)]
pub struct Bulletin {
    /// The page.
    pub batch: Batch,
    /// What it means to all users that it does not name, in the order in which that is to be told.
    others: Vec<Told>,
    /// The users that it names and the changes that do.
    named: HashMap<Arc<str>, Vec<usize>>,
    bytes: usize,
}

impl Bulletin {
    /// Indexes a page.
    pub fn new(batch: Batch, shapes: &mut Shapes) -> Self {
        let (mut others, mut named) = (Vec::new(), HashMap::<Arc<str>, Vec<usize>>::new());
        let mut bytes = 0;
        for (index, change) in batch.changes.iter().enumerate() {
            let rows = change.entries.iter().filter_map(|entry| entry.before.as_ref()).chain(&change.after);
            bytes += rows.map(|row| row.body.len() + 64).sum::<usize>();
            for meaning in change.meanings_for_others() {
                others.push(Told { meaning, shape: shapes.of(&change.after), change: index });
            }
            for user in change.users() {
                named.entry(user.clone()).or_default().push(index);
            }
        }
        others.retain(|told| told.meaning.seq() > batch.from && told.meaning.seq() <= batch.to);
        others.sort_by_key(|told| told.meaning.seq());
        Self { batch, others, named, bytes }
    }

    /// Whether there is something in it for users that it does not name.
    pub fn is_for_everyone(&self) -> bool {
        self.batch.gap || !self.others.is_empty()
    }

    /// The bytes of all translations in it, about.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// The users that it names.
    pub fn users(&self) -> impl Iterator<Item = &Arc<str>> {
        self.named.keys()
    }

    /// What it means to `user` after the position `after`, in the order in which that is to be told.
    pub fn for_user(&self, user: &str, after: u64) -> Cow<'_, [Told]> {
        let lies_behind = |told: &Told| told.meaning.seq() <= after;
        let Some(named) = self.named.get(user) else {
            return Cow::Borrowed(&self.others[self.others.partition_point(lies_behind)..]);
        };
        let others = self.others.iter().filter(|told| !named.contains(&told.change)).cloned();
        let here = |meaning: &Meaning| meaning.seq() > self.batch.from && meaning.seq() <= self.batch.to;
        let own = named.iter().flat_map(|index| {
            let meanings = self.batch.changes[*index].meanings_for(user).filter(here);
            meanings.map(|meaning| Told { meaning, shape: None, change: *index })
        });
        let mut told: Vec<Told> = others.chain(own).filter(|told| !lies_behind(told)).collect();
        told.sort_by_key(|told| told.meaning.seq());
        Cow::Owned(told)
    }

    /// The page for a reader that came with a position in the midst of its round. A hub that decided in other rounds
    /// may have given it that: what changed since is decided anew, from there. `None`: nothing is otherwise.
    pub fn for_reader(&self, came: u64) -> Option<Self> {
        if came <= self.batch.round.start || came >= self.batch.round.end {
            return None;
        }
        let mut changed = false;
        let changes = self.batch.changes.iter().map(|change| {
            let later = change.since(came).filter(|later| later.entries.len() < change.entries.len());
            changed |= later.is_some();
            later.unwrap_or_else(|| change.clone())
        });
        let changes = changes.collect();
        changed.then(|| Self::new(Batch { changes, ..self.batch.clone() }, &mut Shapes::default()))
    }

    /// The change that is told of.
    pub fn change(&self, told: &Told) -> &Change {
        &self.batch.changes[told.change]
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
