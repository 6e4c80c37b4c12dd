//! What one reader gets: a pure function of the log, a position, the user and the languages.
//!
//! Live and replay are one path. Pages of the log wait here, without a hole, and blocks are taken from them as there
//! is room; how the pages came makes no difference, but for one: an alarm that came live may wait a moment for the
//! reader's first language (`settle`).

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use tokio::time::Instant;

use crate::{
    alarm::{Change, Meaning, Position, Round, Translation},
    language::Languages,
    memory::Bulletin,
    sink::{Block, Event, room_for},
};

/// Pages that wait at most; what comes then is fetched later, by position.
const PENDING_MAX: usize = 64;

/// A reader's place in the log and what lies directly before it.
#[derive(Debug)]
pub struct Delivery {
    user: Arc<str>,
    languages: Languages,
    settle: Duration,
    at: Position,
    pending: VecDeque<Waiting>,
    /// Alarms that were told as they were after the entry with this `seq`, though it lies further on in `pending`.
    told: HashMap<Arc<str>, u64>,
    /// The round of the page that was added last.
    round: Option<Round>,
}

#[derive(Debug)]
struct Waiting {
    bulletin: Arc<Bulletin>,
    live: bool,
}

/// Why no more blocks were taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// Nothing is pending.
    Empty,
    /// The next block needs so much room.
    Room(u32),
    /// The next alarm may wait until then for the reader's first language.
    Settle(Instant),
}

impl Delivery {
    /// A reader at a position.
    pub fn new(user: Arc<str>, languages: Languages, settle: Duration, at: Position) -> Self {
        Self { user, languages, settle, at, pending: VecDeque::new(), told: HashMap::new(), round: None }
    }

    /// Everything up to here has been taken.
    pub fn at(&self) -> Position {
        self.at
    }

    /// The languages of the reader.
    pub fn languages(&self) -> &Languages {
        &self.languages
    }

    /// Where the pages that wait end: the next one must go on there.
    pub fn end(&self) -> u64 {
        self.pending.back().map_or(self.at.seq, |waiting| waiting.bulletin.batch.to)
    }

    /// Whether there is nothing to take.
    pub fn is_empty(&self) -> bool {
        self.pending.is_empty()
    }

    /// Starts again elsewhere.
    pub fn jump(&mut self, at: Position) {
        self.at = at;
        self.pending.clear();
        self.told.clear();
        self.round = None;
    }

    /// The round that the next page must go on with, if the last one did not finish it.
    pub fn round(&self) -> Option<Round> {
        self.round.filter(|round| self.end() < round.end)
    }

    /// Adds a page, if it goes on where the others end and there are not too many; whether it did.
    pub fn push(&mut self, bulletin: Arc<Bulletin>, live: bool) -> bool {
        let batch = &bulletin.batch;
        let end = self.end();
        let follows = batch.feed == self.at.feed && batch.from <= end && end < batch.to;
        if follows && self.pending.len() < PENDING_MAX {
            self.round = Some(batch.round);
            self.pending.push_back(Waiting { bulletin, live });
            return true;
        }
        false
    }

    /// Takes the next blocks, as many as `room` holds; a block larger than `capacity`, all the room there ever is,
    /// counts as that.
    pub fn take(&mut self, room: u32, capacity: u32, now: Instant) -> (Vec<Block>, Stop) {
        let (mut blocks, mut left) = (Vec::new(), room);
        let pending: Vec<Arc<Bulletin>> = self.pending.iter().map(|waiting| waiting.bulletin.clone()).collect();
        let latest = self.latest(&pending);
        for bulletin in &pending {
            let may_wait = self.pending.front().is_some_and(|first| first.live) && pending.len() < PENDING_MAX;
            for (seq, meaning, change) in bulletin.for_user(&self.user, self.at.seq) {
                if self.told.get(&change.id).is_some_and(|told| change.last <= *told) {
                    continue;
                }
                let arrived = matches!(meaning, Meaning::Arrived(_));
                let newest = latest.get(&*change.id).copied().filter(|_| arrived).unwrap_or(change);
                if arrived
                    && may_wait
                    && self.lacks_first_language(bulletin, newest)
                    && now < bulletin.batch.seen + self.settle
                {
                    return (blocks, Stop::Settle(bulletin.batch.seen + self.settle));
                }
                let event = self.event(meaning, change, newest);
                let needed = event.as_ref().map_or(0, room_for).min(capacity);
                if needed > left {
                    return (blocks, Stop::Room(needed));
                }
                left -= needed;
                if newest.last > change.last {
                    self.told.insert(change.id.clone(), newest.last);
                }
                if let Some(event) = event {
                    self.at.seq = seq;
                    blocks.push(Block { event, at: self.at });
                }
            }
            self.at.seq = bulletin.batch.to;
            if let Some(last) = blocks.last_mut()
                && last.at.seq > bulletin.batch.from
            {
                last.at = self.at;
            }
            self.pending.pop_front();
        }
        self.told.clear();
        (blocks, Stop::Empty)
    }

    /// The last that is known of each alarm, where pages waited together: what settles then is decided together.
    fn latest<'a>(&self, pending: &'a [Arc<Bulletin>]) -> HashMap<&'a str, &'a Change> {
        let waited = pending.len() > 1 && self.pending.front().is_some_and(|first| first.live);
        let changes = pending.iter().filter(|_| waited).flat_map(|bulletin| &bulletin.batch.changes);
        changes.map(|change| (&*change.id, change)).collect()
    }

    fn event(&self, meaning: Meaning, change: &Change, newest: &Change) -> Option<Event> {
        match meaning {
            Meaning::Arrived(_) => {
                let (row, fallback) = self.chosen(&newest.after)?;
                Some(Event::Alarm { body: row.body.clone(), fallback })
            }
            Meaning::Stayed(_) => {
                let (row, fallback) = self.chosen(&change.after)?;
                let same = self.chosen(&change.before).is_some_and(|(before, _)| before.body == row.body);
                (!same).then(|| Event::Updated { body: row.body.clone(), fallback })
            }
            Meaning::Left(_) => Some(Event::Cleared { id: change.id.clone() }),
        }
    }

    /// The row for this reader and whether it is none of the reader's own languages; `None`: no row is in sight.
    fn chosen<'a>(&self, rows: &'a [Translation]) -> Option<(&'a Translation, bool)> {
        let mut in_sight = rows.iter().filter(|row| row.is_for(&self.user));
        let choice = self.languages.choose(in_sight.clone().map(|row| row.tag.as_ref()))?;
        in_sight.nth(choice.index).map(|row| (row, choice.fallback))
    }

    /// Whether the table lately had alarms in the reader's first language, and this one is not (yet).
    fn lacks_first_language(&self, bulletin: &Bulletin, change: &Change) -> bool {
        let Some(first) = self.languages.first() else { return false };
        let speaks = |row: &Translation| row.tag.as_ref().is_some_and(|tag| tag.primary() == first);
        bulletin.batch.recent.contains(first) && self.chosen(&change.after).is_some_and(|(row, _)| !speaks(row))
    }
}
