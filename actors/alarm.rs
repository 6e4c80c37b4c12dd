//! What an alarm is to the hub, where it stands in the log, and the ports to the database that holds both.

use std::{
    fmt,
    sync::Arc,
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use tokio::time::Instant;

use crate::{
    change::Change,
    language::{Primary, Tag},
};

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

/// A stretch of the log that is decided together: what one read of it saw. It may be handed over in several pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
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
