//! What the hub can be told, and what it answers.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use ractor::{ActorRef, RpcReplyPort};
use uuid::Uuid;

use crate::{
    alarm::{Batch, Position, Round},
    claim::{Claim, Tenure},
    cluster::ClusterMessage,
    exchange::Clock,
    histogram::Histogram,
    language::Languages,
    sink::Feed,
    tally::Tally,
    user_session::SessionMessage,
};

/// The settings that sessions share.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Alarms that a connection may be behind.
    pub queue: u32,
    /// How often a ping comes at least.
    pub heartbeat: Duration,
    /// How long a live alarm may wait for the reader's first language.
    pub settle: Duration,
}

/// Somebody asks for a user's stream. Whoever sends it has made sure that he may.
#[derive(Clone, Debug)]
pub struct Opening {
    /// Whose stream.
    pub user: Arc<str>,
    /// In which languages.
    pub languages: Languages,
    /// The claim that an automatic reconnect carries in its `Last-Event-ID` header.
    pub claim: Option<Claim>,
    /// Where to go on, from the header or the parameter.
    pub position: Option<Position>,
    /// How many of the newest alarms to begin with, if there is no position.
    pub history: u16,
    /// Whether the request said by itself that it wants an event stream: only such a one may displace a live one.
    pub explicit: bool,
    /// When the permission ends.
    pub expires: Option<SystemTime>,
}

/// What becomes of an [`Opening`].
#[derive(Debug)]
pub enum Answer {
    /// The stream.
    Open(Feed),
    /// 204: a newer opening owns this user, do not come back.
    Refused,
    /// 406: it would displace a live connection and did not say that it wants an event stream.
    NotExplicit,
    /// The hub cannot serve it now: `bye busy`, come back after this.
    Busy(Duration),
}

/// A live connection, as the operator sees it.
#[derive(Clone, Debug)]
pub struct Session {
    /// Whose.
    pub user: Arc<str>,
    /// Its name.
    pub conn: Uuid,
    /// The languages asked for.
    pub languages: Arc<[String]>,
    /// Since when it is live.
    pub since: SystemTime,
    /// Whether it displaced another.
    pub took_over: bool,
    /// Alarms handed to it (`alarm` and `updated`).
    pub delivered: u64,
    /// When the last of them was; `None`: there was none yet.
    pub last_alarm: Option<SystemTime>,
    /// How far it has come.
    pub at: Position,
    /// Alarms that wait to be written.
    pub queued: u32,
}

/// What was counted since the hub started.
#[derive(Clone, Debug, Default)]
pub struct Counts {
    /// Connections now (also those about to end).
    pub connections: u64,
    /// What happened on connections.
    pub tally: Tally,
    /// From the change of a row to the writing of it, for each write of what is live, by the oldest change in it.
    pub delays: Arc<Histogram>,
    /// Messages that lay before the question in the hub's mailbox.
    pub waiting: u64,
}

/// What the hub can be told.
#[derive(Debug)]
pub enum HubMessage {
    /// Somebody asks for a stream.
    Connect(Opening, RpcReplyPort<Answer>),
    /// What other hubs say to somebody who comes back with a claim: connect him now.
    Judged {
        /// Who asks.
        opening: Opening,
        /// A newer opening owns this user, there.
        refused: bool,
        /// The newest claim of this user that is known there.
        newest: Option<Claim>,
        /// The answer.
        reply: RpcReplyPort<Answer>,
    },
    /// The poller opened the database, for the first time or again, or found another one: this is its head. Answered
    /// with where to read on.
    Opened(Position, RpcReplyPort<(Position, Option<Round>)>),
    /// The next page of the log. Answered once every session has handled it.
    News(Batch, RpcReplyPort<()>),
    /// The database cannot be read since then, or can again.
    Source {
        /// Since when.
        down_since: Option<SystemTime>,
    },
    /// A session asks for what comes after its position.
    Pull {
        /// Who asks.
        session: ActorRef<SessionMessage>,
        /// For which connection.
        conn: Uuid,
        /// Where it stands.
        at: Position,
        /// The round that it stands in, if that is not finished.
        round: Option<Round>,
    },
    /// A session asks where the newest `count` alarms of its user begin.
    Origin {
        /// Who asks.
        session: ActorRef<SessionMessage>,
        /// For which connection.
        conn: Uuid,
        /// Whose alarms.
        user: Arc<str>,
        /// How many.
        count: u16,
    },
    /// A session tells who owns the stream and what is revoked.
    Tenure {
        /// Whose stream.
        user: Arc<str>,
        /// As it is now.
        tenure: Tenure,
        /// What was counted on the way there.
        tally: Tally,
    },
    /// A session has no live connection; it may be ended if it was sent no more than these connects.
    Idle {
        /// Whose.
        user: Arc<str>,
        /// Connects that it handled.
        connects: u64,
    },
    /// There are other hubs: this is who speaks with them. Once more when it was started again.
    Cluster(ActorRef<ClusterMessage>),
    /// The time that all hubs share.
    Clock(Clock),
    /// The other hubs are out of reach since then, or are there again.
    Alone {
        /// Since when.
        since: Option<SystemTime>,
        /// Serve nobody for that long.
        fence: bool,
    },
    /// A session's connection began, and other hubs are to hear of it.
    Began {
        /// Whose.
        user: Arc<str>,
        /// Which.
        conn: Uuid,
        /// Under which claim.
        claim: Claim,
        /// It is no resume.
        fresh: bool,
    },
    /// That connection ended.
    Ended(Arc<str>, Uuid),
    /// Another hub has a newer connection of this user, or (if the claim is the same) the same page.
    Superseded {
        /// Whose.
        user: Arc<str>,
        /// The connection that is over.
        conn: Uuid,
        /// The claim of the other one.
        by: Claim,
    },
    /// Something was counted.
    Counted(Tally),
    /// Tell the user's stream that an alarm was acknowledged, or no longer is.
    Acknowledged {
        /// Whose.
        user: Arc<str>,
        /// Which alarm.
        id: Arc<str>,
        /// `false`: taken back.
        acknowledged: bool,
    },
    /// All live connections.
    Sessions(RpcReplyPort<Vec<Session>>),
    /// The live connection of one user.
    Session(Arc<str>, RpcReplyPort<Option<Session>>),
    /// End the live connection of a user with `bye kicked`; whether there was one.
    Kick(Arc<str>, RpcReplyPort<bool>),
    /// What was counted, by all sessions too.
    Counts {
        /// What [`crate::tree::Actors::handled`] said when this was sent.
        handled: u64,
        /// The answer.
        reply: RpcReplyPort<Counts>,
    },
    /// All sessions have told: answer.
    Count(Counts, RpcReplyPort<Counts>),
    /// Take no more connections and end those there are with `bye shutdown`. Answered once that is done.
    Drain(RpcReplyPort<()>),
    /// Look through what is remembered of absent users.
    Forget,
}
