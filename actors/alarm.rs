//! What an alarm is to the hub, and how a stretch of the log changes it.
//!
//! The log holds, for each change of a row, the row *as it was before*. So the table at any position still in the
//! log can be told from the table now, and what a reader gets between two positions is a pure function of the two.

use std::{
    fmt,
    sync::Arc,
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use tokio::time::Instant;

use crate::language::{Primary, Tag};

/// Names one database for ever: 8 hex digits in text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FeedName(pub u32);

impl fmt::Display for FeedName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}", self.0)
    }
}

/// A place in the log of one database: everything up to and including `seq` lies behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// Which database.
    pub feed: FeedName,
    /// The last `seq` that lies behind. 0: nothing does.
    pub seq: u64,
}

/// One row `(id, lang)` of the table, ready to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Translation {
    /// The language as the row spells it: together with the alarm's id, which row this is.
    pub lang: Arc<str>,
    /// The language that it means; `None` if it cannot be read: a translation of last resort.
    pub tag: Option<Tag>,
    /// The only user that may see it; `None`: everyone.
    pub audience: Option<Arc<str>>,
    /// What every reader of this row is sent, encoded once. Actors compare it and never look inside.
    pub body: Bytes,
}

impl Translation {
    /// Whether `user` may see this row.
    pub fn is_for(&self, user: &str) -> bool {
        self.audience.as_deref().is_none_or(|only| only == user)
    }
}

/// One line of the log.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Its place in the log.
    pub seq: u64,
    /// Which row of the alarm changed, as the row spells its language.
    pub lang: Arc<str>,
    /// The row before the change; `None`: there was none.
    pub before: Option<Translation>,
}

/// States of an alarm within a round that are looked at: one that changed more often is told again in any case.
const EARLIER_MAX: usize = 16;

/// Everything that happened to one alarm during one [`Round`].
#[derive(Clone, Debug)]
pub struct Change {
    /// The alarm's id, as text.
    pub id: Arc<str>,
    /// The last entry of this alarm in the round.
    pub last: u64,
    /// Its rows when the round started, by their `lang`.
    pub before: Vec<Translation>,
    /// Its rows when the round ended, by their `lang`.
    pub after: Vec<Translation>,
    /// What the log tells of it in the round, in order; nothing if the log tells nothing.
    pub entries: Vec<Entry>,
    /// The first entry of this alarm in the round.
    first: u64,
    /// When it came into sight and went out of it, for each user that a row names and for everybody else (`None`).
    sights: Vec<Sight>,
}

#[derive(Clone, Debug)]
struct Sight {
    user: Option<Arc<str>>,
    /// When it last came into sight.
    arrived: Option<u64>,
    /// When it first went out of sight.
    left: Option<u64>,
}

impl Meaning {
    /// The place in the log at which a reader is told of it.
    pub fn seq(self) -> u64 {
        let (Self::Arrived(seq) | Self::Stayed(seq) | Self::Left(seq)) = self;
        seq
    }
}

/// What a change means to one user, whatever that user's language.
///
/// Its `seq` is the place in the round where it is told, with what the alarm is at the end of the round. A reader that
/// is cut off before it and comes back there is told from what the alarm was at that place: so that nothing is missed,
/// nothing of what is told may lie before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Meaning {
    /// It came into sight at this `seq`.
    Arrived(u64),
    /// It was and is in sight; something of it may differ since this `seq`, its first change.
    Stayed(u64),
    /// It went out of sight, at this `seq` first.
    Left(u64),
}

impl Change {
    /// Puts together what the log and the table tell of one alarm.
    ///
    /// `entries` are all of this alarm's in the round, in order, at least one; `after` are its rows at the end of it.
    pub fn new(id: Arc<str>, entries: &[Entry], mut after: Vec<Translation>) -> Self {
        let first = entries.first().map_or(0, |entry| entry.seq);
        let last = entries.last().map_or(0, |entry| entry.seq);
        let mut rows = rows_before(entries, &after);
        let mut before: Vec<Translation> = rows.iter().filter_map(|(_, row)| row.clone()).collect();

        let mut users: Vec<Option<Arc<str>>> = vec![None];
        let named = entries.iter().filter_map(|entry| entry.before.as_ref()).chain(&after);
        for row in named {
            if row.audience.is_some() && !users.contains(&row.audience) {
                users.push(row.audience.clone());
            }
        }
        let in_sight = |rows: &[(Arc<str>, Option<Translation>)], user: &Option<Arc<str>>| {
            rows.iter().filter_map(|(_, row)| row.as_ref()).any(|row| row.audience.is_none() || row.audience == *user)
        };
        let mut seen: Vec<bool> = users.iter().map(|user| in_sight(&rows, user)).collect();
        let mut sights: Vec<Sight> = users.into_iter().map(|user| Sight { user, arrived: None, left: None }).collect();
        for (index, entry) in entries.iter().enumerate() {
            let row_after = entries[index + 1..]
                .iter()
                .find(|later| later.lang == entry.lang)
                .map_or_else(|| after.iter().find(|row| row.lang == entry.lang).cloned(), |later| later.before.clone());
            if let Some(slot) = rows.iter_mut().find(|(lang, _)| *lang == entry.lang) {
                slot.1 = row_after;
            }
            for (sight, seen) in sights.iter_mut().zip(&mut seen) {
                let now = in_sight(&rows, &sight.user);
                match (*seen, now) {
                    (false, true) => sight.arrived = Some(entry.seq),
                    (true, false) => sight.left = sight.left.or(Some(entry.seq)),
                    _ => {}
                }
                *seen = now;
            }
        }
        sort(&mut before);
        sort(&mut after);
        Self { id, last, before, after, entries: entries.to_vec(), first, sights }
    }

    /// What of it came after `seq`; `None`: nothing did.
    pub fn since(&self, seq: u64) -> Option<Self> {
        let later = &self.entries[self.entries.partition_point(|entry| entry.seq <= seq)..];
        (!later.is_empty()).then(|| Self::new(self.id.clone(), later, self.after.clone()))
    }

    /// An alarm that the log no longer (or never) tells of: it is simply there, since `seq`.
    pub fn standing(id: Arc<str>, seq: u64, mut rows: Vec<Translation>) -> Self {
        sort(&mut rows);
        let sight = |user: Option<Arc<str>>, arrived| Sight { user, arrived, left: None };
        let for_everyone = rows.iter().any(|row| row.audience.is_none());
        let mut sights = vec![sight(None, for_everyone.then_some(seq))];
        for user in rows.iter().filter_map(|row| row.audience.as_ref()).filter(|_| !for_everyone) {
            if sights.iter().all(|named| named.user.as_ref() != Some(user)) {
                sights.push(sight(Some(user.clone()), Some(seq)));
            }
        }
        Self { id, last: seq, before: Vec::new(), after: rows, entries: Vec::new(), first: seq, sights }
    }

    /// What this change means to `user`, in the order in which that is told: at most that it left and that it came.
    pub fn meanings_for(&self, user: &str) -> impl Iterator<Item = Meaning> + use<> {
        self.meanings(Some(user))
    }

    /// What it means to every user that no row of it names.
    pub fn meanings_for_others(&self) -> impl Iterator<Item = Meaning> + use<> {
        self.meanings(None)
    }

    fn meanings(&self, user: Option<&str>) -> impl Iterator<Item = Meaning> + use<> {
        let sees = |rows: &[Translation]| {
            rows.iter().any(|row| row.audience.is_none() || user.is_some_and(|user| row.is_for(user)))
        };
        let named = |user| self.sights.iter().find(|sight| sight.user.as_deref() == Some(user));
        let sight = user.and_then(named).or(self.sights.first());
        let (arrived, left) = sight.map_or((None, None), |sight| (sight.arrived, sight.left));
        // One that left and came again is told of twice: a reader that is cut in between still shows the former one.
        let left = left.filter(|_| sees(&self.before)).map(Meaning::Left);
        let came = arrived.map_or(Meaning::Stayed(self.first), Meaning::Arrived);
        left.into_iter().chain(Some(came).filter(|_| sees(&self.after)))
    }

    /// Its rows at each time in the round but its end; `None`: it had too many.
    ///
    /// A reader that is cut in the midst of a round may have been told of the end of it already. If it goes on in another
    /// round, which ends as it begins, only what was between tells that the reader does not know it as it is.
    pub fn earlier(&self) -> Option<impl Iterator<Item = Vec<Translation>>> {
        let before = |index: usize| {
            let mut rows = rows_at(&self.entries[index..], &self.after);
            sort(&mut rows);
            rows
        };
        (self.entries.len() <= EARLIER_MAX).then(|| (0..self.entries.len()).map(before))
    }

    /// The users that a row of it names, now or before.
    pub fn users(&self) -> impl Iterator<Item = &Arc<str>> {
        self.sights.iter().filter_map(|sight| sight.user.as_ref())
    }
}

/// Puts the rows of an alarm into the one order that they have everywhere, so that the choice among equals is the same
/// however they were put together.
fn sort(rows: &mut [Translation]) {
    rows.sort_unstable_by(|a, b| a.lang.cmp(&b.lang));
}

/// The rows at the start of the stretch that `entries` cover: each touched row as its first entry tells, in the order
/// of those entries, the others as they are.
fn rows_before(entries: &[Entry], after: &[Translation]) -> Vec<(Arc<str>, Option<Translation>)> {
    let mut rows: Vec<(Arc<str>, Option<Translation>)> = Vec::new();
    for entry in entries {
        if !rows.iter().any(|(lang, _)| *lang == entry.lang) {
            rows.push((entry.lang.clone(), entry.before.clone()));
        }
    }
    for row in after {
        if !rows.iter().any(|(lang, _)| *lang == row.lang) {
            rows.push((row.lang.clone(), Some(row.clone())));
        }
    }
    rows
}

/// The table as it was just after `seq`: `now` undone by the entries that follow (only those with a higher `seq`).
pub fn rows_at(later: &[Entry], now: &[Translation]) -> Vec<Translation> {
    rows_before(later, now).into_iter().filter_map(|(_, row)| row).collect()
}

/// A stretch of the log that is decided together: what one read of it saw. It may be handed over in several pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Round {
    /// The position from which it was read.
    pub start: u64,
    /// The head of the log at that time.
    pub end: u64,
}

/// One page of a round: the changes of which some entry has a `seq` in `from + 1 ..= to`.
///
/// A change that has entries in several pages is, word for word, in each of them; a reader is told of it in the page
/// where the `seq` of its [`Meaning`] lies.
#[derive(Clone, Debug)]
pub struct Batch {
    /// Which database.
    pub feed: FeedName,
    /// The position before the page.
    pub from: u64,
    /// The position after it; the end of the round in its last page.
    pub to: u64,
    /// The round it belongs to. Finished when `to == round.end`.
    pub round: Round,
    /// Part of what happened in it is not known any more: readers are told so before the rest.
    pub gap: bool,
    /// In no particular order.
    pub changes: Vec<Change>,
    /// The languages that the table lately had alarms in.
    pub recent: Arc<[Primary]>,
    /// When the hub first saw these changes.
    pub seen: Instant,
    /// When the oldest of them was made, as the log tells; not after `seen`.
    pub made: Instant,
}

/// What a [`Source`] found.
#[derive(Debug)]
pub enum Look {
    /// Nothing new.
    Nothing,
    /// The next page.
    News(Batch),
    /// The database is another one, or was rolled back: positions up to now mean nothing any more. The new head.
    Replaced(Position),
}

/// Why the database did not answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// A writer holds it.
    Locked,
    /// There is no file.
    Missing,
    /// It is no database, it is damaged, or its table cannot be adopted.
    Unusable,
    /// The disk is full.
    Full,
    /// It may only be read.
    ReadOnly,
    /// Anything else.
    Other,
}

/// A [`Fault`] with the words for the operator.
#[derive(Clone, Debug)]
pub struct Failure {
    /// What to do about it.
    pub fault: Fault,
    /// What is wrong and what would be right; no full stop.
    pub cause: String,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.cause)
    }
}

impl std::error::Error for Failure {}

/// The poller's port: the log as it grows. Its methods block; they run off the async threads, one at a time.
pub trait Source: Send + 'static {
    /// Opens the database, or opens it again, adopts its table if that has not been done, and tells its head.
    fn open(&mut self) -> Result<Position, Failure>;

    /// What came after `after`; within `round` if the page before did not finish it. Cheap when nothing did.
    fn look(&mut self, after: Position, round: Option<Round>) -> Result<Look, Failure>;

    /// Rows until now that could not be read as they should, and were told as well as they can be.
    fn odd_rows(&self) -> u64 {
        0
    }

    /// Positions that are known to follow the last page, of a source that others fill; `None`: it is the log itself.
    fn behind(&self) -> Option<u64> {
        None
    }
}

/// A page of the past, for a reader that is further back than the hub's memory.
#[derive(Debug)]
pub struct Page {
    /// What happened.
    pub batch: Batch,
    /// Part of what happened after the position asked for is no longer in the log. Alarms that still stand are in
    /// the page all the same.
    pub expired: bool,
}

/// One alarm of the history.
#[derive(Clone, Debug)]
pub struct Standing {
    /// The alarm's id.
    pub id: Arc<str>,
    /// Its place in the order.
    pub seq: u64,
    /// The rows that the user may see; never empty.
    pub rows: Vec<Translation>,
    /// Whether the user acknowledged it.
    pub acknowledged: bool,
}

/// Part of the history of one user, newest first.
#[derive(Clone, Debug)]
pub struct History {
    /// Which database.
    pub feed: FeedName,
    /// Newest first.
    pub alarms: Vec<Standing>,
    /// Whether there are older ones.
    pub more: bool,
    /// What came after adoption and is not acknowledged, counted up to [`UNREAD_MAX`].
    pub unread: u32,
    /// Whether there are more than that.
    pub unread_more: bool,
}

/// Where counting the unread stops.
pub const UNREAD_MAX: u32 = 1_000;

/// An alarm to be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewAlarm {
    /// Its id.
    pub id: String,
    /// The only user it is for; `None`: everyone.
    pub user: Option<String>,
    /// Its time as text; `None`: now.
    pub isn_dt: Option<String>,
    /// `(language, text)`, at least one.
    pub messages: Vec<(String, String)>,
}

/// A change asked of the hub. Several are one transaction; each succeeds or fails alone.
#[derive(Clone, Debug)]
pub enum Write {
    /// New alarms, all or none. The same again is [`Written::Unchanged`], the same id with other content a
    /// [`Refusal::Conflict`].
    Publish(Vec<NewAlarm>),
    /// Make this alarm be exactly this.
    Replace(NewAlarm),
    /// Delete every row of this alarm.
    Clear(String),
    /// Acknowledge, or take it back.
    Acknowledge {
        /// By whom.
        user: Arc<str>,
        /// Which alarm.
        id: String,
        /// `false` takes it back.
        acknowledged: bool,
    },
    /// Claims of each of these users up to this one are worth nothing for a day.
    Revoke(Vec<(Arc<str>, u128)>),
    /// Claims have been made up to this time (since 1970).
    NoteClock(Duration),
    /// Keep a ticket.
    IssueTicket {
        /// A digest of it: the ticket itself is not kept.
        digest: [u8; 32],
        /// Whose stream it opens.
        user: Arc<str>,
        /// How long it may be used first.
        until: SystemTime,
        /// How long what it opened may last.
        expires: Option<SystemTime>,
    },
    /// Use a ticket, once; or again by the claim that it opened.
    RedeemTicket {
        /// A digest of it.
        digest: [u8; 32],
        /// Whose stream is asked for.
        user: Arc<str>,
        /// The claim that an automatic reconnect carries.
        claim: Option<u128>,
    },
    /// Say which claim a ticket opened.
    BindTicket {
        /// A digest of it.
        digest: [u8; 32],
        /// The claim.
        claim: u128,
    },
}

/// What became of a [`Write`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Written {
    /// It is in the database; the log's head afterwards.
    Done(Position),
    /// It was so already; the log's head.
    Unchanged(Position),
    /// The ticket holds; what it opens may last so long.
    Redeemed(Option<SystemTime>),
}

/// Why a [`Write`] was not done.
#[derive(Clone, Debug)]
pub enum Refusal {
    /// The id exists with other content.
    Conflict(String),
    /// There is no such alarm (for this user), or no such ticket.
    NotFound,
    /// It cannot be done with this table; what is wrong.
    Impossible(String),
    /// Too much waits to be written already.
    Busy,
    /// The database did not take it.
    Failed(Failure),
}

/// The archive's port: everything that must wait for the database, aside from the log's growing end. Its methods
/// block; they run off the async threads, one at a time for each of the two lanes (reads and writes).
pub trait Archive: Send + 'static {
    /// The changes after `from` and up to `until` at most (the hub's memory begins there), a page of them.
    fn page(&mut self, from: Position, until: Option<u64>, round: Option<Round>) -> Result<Page, Failure>;

    /// The position just before the newest `count` alarms of this user.
    fn before_newest(&mut self, user: &str, count: u16) -> Result<Position, Failure>;

    /// The newest `limit` alarms of this user before the place `before`.
    fn history(&mut self, user: &str, before: Option<u64>, limit: u16) -> Result<History, Failure>;

    /// Does all of these in one transaction; one answer each, in order.
    fn write(&mut self, writes: Vec<Write>) -> Vec<Result<Written, Refusal>>;

    /// Claims revoked less than a day ago.
    fn revoked(&mut self) -> Result<Vec<(Arc<str>, u128)>, Failure>;

    /// What was noted last of the clock of claims (since 1970); zero: nothing.
    fn noted_clock(&mut self) -> Result<Duration, Failure>;

    /// Which of the triggers that fill the log are not there: without them nothing is delivered.
    fn missing_triggers(&mut self) -> Result<Vec<String>, Failure>;

    /// Deletes what is older than it need be, in short transactions; whether there is more to do.
    fn prune(&mut self) -> Result<bool, Failure>;
}
