//! HubActor: user → session.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use ractor::RpcReplyPort;
use uuid::Uuid;

use crate::{alarm::Position, claim::Claim, language::Languages, sink::Feed};

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
    /// How far it has come.
    pub at: Position,
    /// Alarms that wait to be written.
    pub queued: u32,
}

/// What the hub can be told; this is the part that requests from outside use.
#[derive(Debug)]
pub enum HubMessage {
    /// See [`Opening`].
    Connect(Opening, RpcReplyPort<Answer>),
    /// All live connections.
    Sessions(RpcReplyPort<Vec<Session>>),
    /// The live connection of one user.
    Session(Arc<str>, RpcReplyPort<Option<Session>>),
    /// End the live connection of a user with `bye kicked`; whether there was one.
    Kick(Arc<str>, RpcReplyPort<bool>),
    /// Tell the user's stream that an alarm was acknowledged, or no longer is.
    Acknowledged {
        /// Whose.
        user: Arc<str>,
        /// Which alarm.
        id: Arc<str>,
        /// `false`: taken back.
        acknowledged: bool,
    },
}
