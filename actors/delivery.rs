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
    tally::Tally,
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
    /// What was taken until now and has not been handed on.
    pub tally: Tally,
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
        let (pending, told, tally) = (VecDeque::new(), HashMap::new(), Tally::default());
        Self { user, languages, settle, at, pending, told, round: None, tally }
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
                let (event, row) = self.event(meaning, change, newest).unzip();
                let needed = event.as_ref().map_or(0, room_for).min(capacity);
                if needed > left {
                    return (blocks, Stop::Room(needed));
                }
                left -= needed;
                if newest.last > change.last {
                    self.told.insert(change.id.clone(), newest.last);
                }
                if let Some(event) = event {
                    if let (Event::Alarm { fallback, .. } | Event::Updated { fallback, .. }, Some(Some(row))) =
                        (&event, row)
                    {
                        self.tally.deliver(row, *fallback, self.languages.first());
                    }
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

    /// What to tell, and the row that it tells of.
    fn event<'a>(
        &self,
        meaning: Meaning,
        change: &'a Change,
        newest: &'a Change,
    ) -> Option<(Event, Option<&'a Translation>)> {
        match meaning {
            Meaning::Arrived(_) => {
                let (row, fallback) = self.chosen(&newest.after)?;
                Some((Event::Alarm { body: row.body.clone(), fallback }, Some(row)))
            }
            Meaning::Stayed(_) => {
                let (row, fallback) = self.chosen(&change.after)?;
                let same = self.chosen(&change.before).is_some_and(|(before, _)| before.body == row.body);
                (!same).then(|| (Event::Updated { body: row.body.clone(), fallback }, Some(row)))
            }
            Meaning::Left(_) => Some((Event::Cleared { id: change.id.clone() }, None)),
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

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::{
        alarm::{Batch, Entry, FeedName},
        language::Aliases,
    };

    const FEED: FeedName = FeedName(7);

    /// What another program wrote: `(alarm, language)`, in the order of the log.
    const WRITTEN: [(&str, &str); 4] = [("A", "ko"), ("B", "ko"), ("A", "ja"), ("B", "ja")];

    fn row(id: &str, lang: &str) -> Translation {
        let body = Bytes::from(format!("{id}-{lang}"));
        Translation { lang: lang.into(), tag: Aliases::default().tag(lang), audience: None, body }
    }

    /// One read of the log from `start` to `end`.
    fn read(start: usize, end: usize, seen: Instant) -> Arc<Bulletin> {
        let change = |id: &str| {
            let of_it = |range: std::ops::Range<usize>| range.filter(|index| WRITTEN[*index].0 == id);
            let entries = of_it(start..end).map(|index| Entry {
                seq: index as u64 + 1,
                lang: WRITTEN[index].1.into(),
                before: None,
            });
            let entries: Vec<Entry> = entries.collect();
            let after = of_it(0..end).map(|index| row(id, WRITTEN[index].1)).collect();
            (!entries.is_empty()).then(|| Change::new(id.into(), &entries, after))
        };
        let aliases = Aliases::default();
        let recent = ["ko", "ja"].iter().filter_map(|lang| Some(aliases.tag(lang)?.primary().clone())).collect();
        let (from, to) = (start as u64, end as u64);
        let round = Round { start: from, end: to };
        let changes = ["A", "B"].into_iter().filter_map(change).collect();
        Arc::new(Bulletin::new(Batch { feed: FEED, from, to, round, changes, recent, seen, made: seen }))
    }

    fn reader(lang: &str, seq: u64) -> Delivery {
        let aliases = Aliases::default();
        let languages = Languages::new(Some(lang.as_bytes()), &[], aliases.list("en").unwrap(), &aliases);
        Delivery::new("tiaz".into(), languages, Duration::from_millis(250), Position { feed: FEED, seq })
    }

    fn told(blocks: &[Block]) -> Vec<(String, u64)> {
        let text = |event: &Event| match event {
            Event::Alarm { body, .. } => format!("alarm {}", String::from_utf8_lossy(body)),
            Event::Updated { body, .. } => format!("updated {}", String::from_utf8_lossy(body)),
            other => format!("{other:?}"),
        };
        blocks.iter().map(|block| (text(&block.event), block.at.seq)).collect()
    }

    fn tell(said: &[(&str, u64)]) -> Vec<(String, u64)> {
        said.iter().map(|(text, seq)| ((*text).to_owned(), *seq)).collect()
    }

    #[test]
    fn a_cut_between_two_alarms_and_a_resume_in_another_language_lose_nothing_and_repeat_no_alarm() {
        let now = Instant::now();
        let mut korean = reader("ko", 0);
        assert!(korean.push(read(0, 4, now), false));
        let (blocks, _) = korean.take(256, 256, now);
        assert_eq!(told(&blocks), tell(&[("alarm A-ko", 1), ("alarm B-ko", 4)]));

        let cut = blocks[0].at.seq;
        let mut japanese = reader("ja", cut);
        assert!(japanese.push(read(1, 4, now), false));
        let (blocks, stop) = japanese.take(256, 256, now);
        assert_eq!(told(&blocks), tell(&[("alarm B-ja", 2), ("updated A-ja", 4)]));
        assert_eq!((stop, japanese.at().seq), (Stop::Empty, 4));

        let mut same_read = reader("ja", cut);
        assert!(same_read.push(read(0, 4, now), false));
        assert_eq!(told(&same_read.take(256, 256, now).0), tell(&[("alarm B-ja", 4)]));
    }

    #[test]
    fn a_reader_without_room_goes_on_where_it_stopped() {
        let now = Instant::now();
        let mut reader = reader("ko", 0);
        assert!(reader.push(read(0, 4, now), false));
        let (blocks, stop) = reader.take(1, 256, now);
        assert_eq!((told(&blocks), stop), (tell(&[("alarm A-ko", 1)]), Stop::Room(1)));
        assert_eq!(told(&reader.take(256, 256, now).0), tell(&[("alarm B-ko", 4)]));
    }

    #[test]
    fn a_live_alarm_waits_for_the_first_language_and_then_comes_once() {
        let now = Instant::now();
        let until = now + Duration::from_millis(250);
        let mut reader = reader("ja", 0);
        assert!(reader.push(read(0, 2, now), true));
        assert_eq!(reader.take(256, 256, now).1, Stop::Settle(until));
        assert!(reader.push(read(2, 4, now), true));
        let (blocks, stop) = reader.take(256, 256, now);
        assert_eq!((told(&blocks), stop), (tell(&[("alarm A-ja", 1), ("alarm B-ja", 2)]), Stop::Empty));
        assert_eq!(reader.at().seq, 4);
    }

    #[test]
    fn an_alarm_waits_no_longer_than_it_may_and_replay_never_does() {
        let now = Instant::now();
        let mut live = reader("ja", 0);
        assert!(live.push(read(0, 2, now), true));
        let late = now + Duration::from_millis(250);
        assert_eq!(told(&live.take(256, 256, late).0), tell(&[("alarm A-ko", 1), ("alarm B-ko", 2)]));
        let mut replay = reader("ja", 0);
        assert!(replay.push(read(0, 2, now), false));
        assert_eq!(replay.take(256, 256, now).0.len(), 2);
    }

    #[test]
    fn a_page_that_does_not_go_on_where_the_reader_stands_is_not_taken() {
        let now = Instant::now();
        assert!(!reader("ko", 0).push(read(1, 4, now), true));
        assert!(!reader("ko", 4).push(read(0, 4, now), true));
    }
}
