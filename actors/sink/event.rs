//! What a reader is told, and how much room it takes on the way.

use std::{
    fmt,
    sync::Arc,
    time::{Duration, SystemTime},
};

use bytes::Bytes;

use crate::alarm::Position;

/// How many bytes of a body count as one alarm.
const ALARM_BYTES: usize = 4096;

/// One event and the position that is reached with it.
#[derive(Clone, Debug)]
pub struct Block {
    /// What to tell.
    pub event: Event,
    /// Everything up to here has been delivered once this block has.
    pub at: Position,
}

/// What a reader is told.
#[derive(Clone, Debug)]
pub enum Event {
    /// The first block.
    Hello {
        /// The user, as the hub understood it.
        user: Arc<str>,
        /// The languages that the reader asked for, best first, canonical.
        languages: Arc<[String]>,
        /// Whether this is a resume.
        resumed: bool,
        /// How often a ping comes at least.
        heartbeat: Duration,
        /// When to come back after an end without a `bye`.
        retry: Duration,
    },
    /// An alarm that the reader has not seen.
    Alarm {
        /// See [`crate::alarm::Translation::body`].
        body: Bytes,
        /// None of the reader's own languages was there.
        fallback: bool,
    },
    /// An alarm sent before that now reads otherwise.
    Updated {
        /// See [`crate::alarm::Translation::body`].
        body: Bytes,
        /// None of the reader's own languages was there.
        fallback: bool,
    },
    /// An alarm that is no longer there.
    Cleared {
        /// Which.
        id: Arc<str>,
    },
    /// Somebody acknowledged an alarm in this user's name, or took it back.
    Acknowledged {
        /// Which.
        id: Arc<str>,
        /// `false`: taken back.
        acknowledged: bool,
    },
    /// Part of what was missed is no longer in the log.
    Gap,
    /// The position asked for belongs to another database or lies beyond its head.
    Reset,
    /// What is wrong now, or that nothing is any more.
    Status(Status),
    /// Nothing happened.
    Ping,
    /// The last block.
    Bye {
        /// Why.
        reason: Reason,
        /// When to come back, for the reasons that ask for it.
        retry: Option<Duration>,
    },
}

/// What readers are told of the hub's own health: silence must not look like all is well.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Status {
    /// Since when the database cannot be read.
    pub down_since: Option<SystemTime>,
    /// Since when this hub hears nothing of the others, and goes on alone.
    pub alone_since: Option<SystemTime>,
}

/// Why a connection ends with a `bye`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reason {
    /// The user opened another one.
    Superseded,
    /// An operator ended it.
    Kicked,
    /// The token that opened it ran out.
    Expired,
    /// It was too slow.
    Lagging,
    /// The hub cannot serve it now.
    Busy,
    /// The hub stops.
    Shutdown,
}

impl Reason {
    /// Whether the client shall come back by itself.
    pub fn reconnect(self) -> bool {
        matches!(self, Self::Lagging | Self::Busy | Self::Shutdown)
    }

    /// As it is written on the wire and in logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Superseded => "superseded",
            Self::Kicked => "kicked",
            Self::Expired => "expired",
            Self::Lagging => "lagging",
            Self::Busy => "busy",
            Self::Shutdown => "shutdown",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// How much room an event takes: 1 for each begun 4 KiB.
pub fn room_for(event: &Event) -> u32 {
    let bytes = match event {
        Event::Alarm { body, .. } | Event::Updated { body, .. } => body.len(),
        Event::Cleared { id } | Event::Acknowledged { id, .. } => id.len(),
        _ => 0,
    };
    u32::try_from(1 + bytes / ALARM_BYTES).unwrap_or(u32::MAX)
}
