//! The ports through which hubs hear of each other: the register that they share, and a mailbox each.

#[cfg(any(test, feature = "probe"))]
pub mod local;

use std::{pin::Pin, sync::Arc};

use tokio::time::Instant;

use crate::{
    hub::Session,
    register::{Bid, Register, Stamp, Step, Verdict},
};

/// What is there later.
pub type Later<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// The register cannot be reached; why, no full stop.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Away(pub String);

/// The shared time at an instant.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    /// The instant.
    pub at: Instant,
    /// What the shared clock said then.
    pub shared: Stamp,
}

impl Clock {
    /// The shared time at another instant: how long it is between them is known by this machine's own steady clock.
    pub fn shared(&self, at: Instant) -> Stamp {
        let micros = |time: std::time::Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        match at.checked_duration_since(self.at) {
            Some(after) => self.shared.saturating_add(micros(after)),
            None => self.shared.saturating_sub(micros(self.at.duration_since(at))),
        }
    }
}

/// What is asked of what hubs share.
#[derive(Clone, Debug)]
pub enum Ask {
    /// Apply this to a user's register, and write [`Note::Look`] to the hub that it names. Answered by a verdict.
    Bid(Arc<str>, Step, Bid),
    /// A user's register. Answered by it and the shared time.
    Look(Arc<str>),
    /// Write to a hub. Answered when that is done.
    Post(Arc<str>, Note),
    /// Write to the hub that serves this user; whether there is one other than the one named second.
    PostOwner(Arc<str>, Arc<str>, Note),
    /// Where the hubs can be asked that have a database. Answered as [`Ask::Hubs`] is.
    Origins,
    /// Which hubs there are. Whoever asks is one from then on for a while.
    Hubs,
}

/// The answer to an [`Ask`].
#[derive(Clone, Debug)]
pub enum Reply {
    /// To [`Ask::Bid`].
    Verdict(Verdict),
    /// To [`Ask::Look`].
    Register(Option<Register>, Stamp),
    /// To [`Ask::Post`] and [`Ask::PostOwner`]: whether it was written.
    Posted(bool),
    /// To [`Ask::Hubs`] and [`Ask::Origins`].
    Hubs(Vec<Arc<str>>),
}

/// What one hub tells another. It carries no authority over a connection but that of an operator.
#[derive(Clone, Debug)]
pub enum Note {
    /// Look at the register of this user again.
    Look(Arc<str>),
    /// Tell the user that an alarm was acknowledged, or no longer is.
    Acknowledged {
        /// Whom.
        user: Arc<str>,
        /// Which alarm.
        id: Arc<str>,
        /// `false`: taken back.
        acknowledged: bool,
    },
    /// End this user's connection with `bye kicked`, and answer with [`Note::Kicked`].
    Kick {
        /// Whose.
        user: Arc<str>,
        /// The question to answer.
        question: u64,
        /// Whom to answer.
        from: Arc<str>,
    },
    /// The answer: whether there was one.
    Kicked {
        /// Which question.
        question: u64,
        /// Whether there was one.
        done: bool,
    },
    /// Describe the live connections, or that of one user, and answer with [`Note::Sessions`].
    Describe {
        /// Only this user's.
        user: Option<Arc<str>>,
        /// The question to answer.
        question: u64,
        /// Whom to answer.
        from: Arc<str>,
    },
    /// Part of the answer.
    Sessions {
        /// Which question.
        question: u64,
        /// Some of the live connections.
        sessions: Vec<Session>,
        /// These are the last.
        last: bool,
    },
}

/// The register's port, and the way to other hubs' mailboxes.
pub trait Exchange: Send + 'static {
    /// Connects, unless that is done, and compares the clocks.
    fn clock(&mut self) -> Later<'_, Result<Clock, Away>>;

    /// Asks all of these, in this order; one reply each. After a failure some may have been done.
    fn ask(&mut self, asks: Vec<Ask>) -> Later<'_, Result<Vec<Reply>, Away>>;
}

/// The port of a hub's own mailbox.
pub trait Mailbox: Send + 'static {
    /// The notes that came; waits for one, not for ever.
    fn read(&mut self) -> Later<'_, Result<Vec<Note>, Away>>;
}
