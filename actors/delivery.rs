//! What one reader gets: a pure function of the log, a position, the user and the languages.
//!
//! Live and replay are one path. Pages of the log wait here, without a hole, and blocks are taken from them as there
//! is room; how the pages came makes no difference, but for one: an alarm that came live may wait a moment for the
//! reader's first language (`settle`).

#[cfg(test)]
mod model;
#[cfg(test)]
mod tests;

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use tokio::time::Instant;

use crate::{
    alarm::{Position, Round, Translation},
    change::{Change, Meaning},
    language::{Choice, Languages, Primary},
    memory::{Bulletin, Shape},
    sink::{Block, Event, room_for},
    tally::Tally,
};

/// Pages that wait at most, and bytes of translations in them (one page may always wait): a reader that takes nothing
/// keeps no more alive. What comes then is fetched later, by position.
const PENDING_MAX: usize = 64;
const PENDING_BYTES_MAX: usize = 512 << 10;

/// Choices that are remembered at most: alarms differ little in the languages they have.
const CHOICES_MAX: usize = 8;

/// A reader's place in the log and what lies directly before it.
#[derive(Debug)]
pub struct Delivery {
    user: Arc<str>,
    languages: Languages,
    /// The one that it would like best.
    first: Option<Primary>,
    settle: Duration,
    at: Position,
    pending: VecDeque<Waiting>,
    /// Alarms of which there is nothing to tell up to this `seq`, though that lies further on in `pending`.
    told: HashMap<Arc<str>, u64>,
    /// The round of the page that was added last.
    round: Option<Round>,
    /// What is chosen from alarms of these shapes.
    choices: Vec<(Arc<Shape>, Choice)>,
    /// The position that it came with, if it did.
    came: Option<u64>,
    /// What was taken until now and has not been handed on.
    pub tally: Tally,
}

#[derive(Debug)]
struct Waiting {
    bulletin: Arc<Bulletin>,
    live: bool,
    /// How far it goes, with what follows it and is of no interest to this reader.
    end: u64,
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
        let (pending, told, tally) = (VecDeque::new(), HashMap::new(), Tally::default());
        let (choices, first) = (Vec::new(), languages.first().copied());
        Self { user, languages, first, settle, at, pending, told, round: None, choices, came: None, tally }
    }

    /// The reader came with its position, and may have got it from another hub.
    pub fn resumed(self) -> Self {
        Self { came: Some(self.at.seq), ..self }
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
        self.pending.back().map_or(self.at.seq, |waiting| waiting.end)
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
        self.came = None;
    }

    /// The round that the next page must go on with, if the last one did not finish it.
    pub fn round(&self) -> Option<Round> {
        self.round.filter(|round| self.end() < round.end)
    }

    /// Adds a page, if it goes on where the others end and there are not too many; whether it did. A page that begins
    /// further back fits only if it is of the same round, or the first one: of another round it would be decided
    /// otherwise than what the reader was told.
    pub fn push(&mut self, bulletin: Arc<Bulletin>, live: bool) -> bool {
        let batch = &bulletin.batch;
        let end = self.end();
        let overlaps = batch.from < end && self.round.is_none_or(|round| round == batch.round);
        let follows = batch.feed == self.at.feed && (batch.from == end || overlaps) && end < batch.to;
        if follows && !self.is_full() {
            self.round = Some(batch.round);
            let end = batch.to;
            let own = self.came.and_then(|came| bulletin.for_reader(came));
            let bulletin = own.map_or(bulletin, Arc::new);
            self.pending.push_back(Waiting { bulletin, live, end });
            return true;
        }
        false
    }

    /// Whether no more pages may wait.
    fn is_full(&self) -> bool {
        let bytes = self.pending.iter().map(|waiting| waiting.bulletin.bytes()).sum::<usize>();
        self.pending.len() >= PENDING_MAX || bytes >= PENDING_BYTES_MAX
    }

    /// Takes note that nothing for this reader lies between these two positions.
    pub fn pass(&mut self, from: u64, to: u64) {
        let end = self.end();
        if from <= end && end < to {
            match self.pending.back_mut() {
                Some(last) => last.end = to,
                None => self.at.seq = to,
            }
        }
    }

    /// Takes the next blocks, as many as `room` holds; a block larger than `capacity`, all the room there ever is,
    /// counts as that.
    pub fn take(&mut self, room: u32, capacity: u32, now: Instant) -> (Vec<Block>, Stop) {
        let (mut blocks, mut left) = (Vec::new(), room);
        let waited = self.waited();
        let changes = waited.iter().flat_map(|bulletin| &bulletin.batch.changes);
        let latest: Option<HashMap<&str, &Change>> =
            (!waited.is_empty()).then(|| changes.map(|change| (&*change.id, change)).collect());
        let few = !self.is_full();
        while let Some(Waiting { bulletin, live, end }) = self.pending.front() {
            let (bulletin, may_wait, end) = (bulletin.clone(), *live && few, *end);
            if bulletin.batch.gap && self.at.seq <= bulletin.batch.from {
                if left == 0 {
                    return (blocks, Stop::Room(1));
                }
                left -= 1;
                blocks.push(Block { event: Event::Gap, at: self.at });
            }
            let all = bulletin.for_user(&self.user, self.at.seq);
            let most = all.len().min(left as usize);
            if blocks.is_empty() {
                blocks = Vec::with_capacity(most);
            } else {
                blocks.reserve(most);
            }
            for told in all.iter() {
                let change = bulletin.change(told);
                if self.told.get(&change.id).is_some_and(|known| told.meaning.seq() <= *known) {
                    continue;
                }
                let arrived = matches!(told.meaning, Meaning::Arrived(_));
                let newest = latest
                    .as_ref()
                    .filter(|_| arrived)
                    .and_then(|latest| latest.get(&*change.id).copied())
                    .unwrap_or(change);
                if newest.last > change.last
                    && let Some(Meaning::Arrived(again)) = newest.meanings_for(&self.user).last()
                {
                    // It went before it was told, and came again: that is told, at its place.
                    self.told.insert(change.id.clone(), again - 1);
                    continue;
                }
                let shape = told.shape.as_ref().filter(|_| std::ptr::eq(newest, change));
                let chosen = self.chosen(&newest.after, shape);
                if arrived
                    && may_wait
                    && chosen.is_some_and(|(row, _)| self.lacks_first_language(&bulletin, row))
                    && now < bulletin.batch.seen + self.settle
                {
                    return (blocks, Stop::Settle(bulletin.batch.seen + self.settle));
                }
                let event = self.event(told.meaning, change, chosen);
                let needed = event.as_ref().map_or(0, room_for).min(capacity);
                if needed > left {
                    return (blocks, Stop::Room(needed));
                }
                left -= needed;
                if newest.last > change.last {
                    self.told.insert(change.id.clone(), newest.last);
                }
                if let Some(event) = event {
                    if let (Event::Alarm { fallback, .. } | Event::Updated { fallback, .. }, Some((row, _))) =
                        (&event, chosen)
                    {
                        self.tally.deliver(row, *fallback, self.first.as_ref());
                    }
                    self.at.seq = told.meaning.seq();
                    blocks.push(Block { event, at: self.at });
                }
            }
            self.at.seq = end;
            if let Some(last) = blocks.last_mut()
                && last.at.seq > bulletin.batch.from
            {
                last.at = self.at;
            }
            self.pending.pop_front();
        }
        if self.round().is_none() {
            self.told.clear();
        }
        (blocks, Stop::Empty)
    }

    /// The pages that waited together for a language: what settles then is decided together, by the last that is
    /// known of each alarm.
    fn waited(&self) -> Vec<Arc<Bulletin>> {
        let waited = self.pending.len() > 1 && self.pending.front().is_some_and(|first| first.live);
        self.pending.iter().filter(|_| waited).map(|waiting| waiting.bulletin.clone()).collect()
    }

    /// What to tell; for a change of an alarm in sight `chosen` is the row to tell of.
    fn event(&self, meaning: Meaning, change: &Change, chosen: Option<(&Translation, bool)>) -> Option<Event> {
        match meaning {
            Meaning::Arrived(_) => chosen.map(|(row, fallback)| Event::Alarm { body: row.body.clone(), fallback }),
            Meaning::Stayed(_) => {
                let (row, fallback) = chosen?;
                let reads_so =
                    |rows: Vec<Translation>| self.choose(&rows).is_some_and(|(earlier, _)| earlier.body == row.body);
                let same = change.earlier().is_some_and(|mut earlier| earlier.all(reads_so));
                (!same).then(|| Event::Updated { body: row.body.clone(), fallback })
            }
            Meaning::Left(_) => Some(Event::Cleared { id: change.id.clone() }),
        }
    }

    /// The row for this reader and whether it is none of the reader's own languages; `None`: no row is in sight.
    /// Among alarms of one `shape` the choice is made once.
    fn chosen<'a>(&mut self, rows: &'a [Translation], shape: Option<&Arc<Shape>>) -> Option<(&'a Translation, bool)> {
        let Some(shape) = shape else { return self.choose(rows) };
        let known = self.choices.iter().find(|(known, _)| Arc::ptr_eq(known, shape));
        let choice = match known {
            Some((_, choice)) => *choice,
            None => {
                let choice = self.languages.choose(shape.iter().map(Option::as_ref))?;
                if self.choices.len() == CHOICES_MAX {
                    self.choices.clear();
                }
                self.choices.push((shape.clone(), choice));
                choice
            }
        };
        rows.get(choice.index).map(|row| (row, choice.fallback))
    }

    fn choose<'a>(&self, rows: &'a [Translation]) -> Option<(&'a Translation, bool)> {
        let mut in_sight = rows.iter().filter(|row| row.is_for(&self.user));
        let choice = self.languages.choose(in_sight.clone().map(|row| row.tag.as_ref()))?;
        in_sight.nth(choice.index).map(|row| (row, choice.fallback))
    }

    /// Whether the table lately had alarms in the reader's first language, and this row is in another (yet).
    fn lacks_first_language(&self, bulletin: &Bulletin, row: &Translation) -> bool {
        let Some(first) = &self.first else { return false };
        row.tag.as_ref().is_none_or(|tag| tag.primary() != first) && bulletin.batch.recent.contains(first)
    }
}
