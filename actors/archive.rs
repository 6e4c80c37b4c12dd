//! ArchiveActor: everything that must wait for the database.

use std::sync::Arc;

use ractor::RpcReplyPort;

use crate::alarm::{Failure, History, Refusal, Write, Written};

/// Why the archive did not answer.
#[derive(Clone, Debug)]
pub enum Unavailable {
    /// Too many wait already: come back in a second.
    Busy,
    /// The database did not answer.
    Failed(Failure),
}

/// What the archive can be asked from outside.
#[derive(Debug)]
pub enum ArchiveMessage {
    /// Part of a user's history, newest first.
    History {
        /// Whose.
        user: Arc<str>,
        /// Older than this place.
        before: Option<u64>,
        /// At most so many.
        limit: u16,
        /// The answer.
        reply: RpcReplyPort<Result<History, Unavailable>>,
    },
    /// Write something; whatever waits together is one transaction. A [`Refusal::Failed`] with
    /// [`crate::alarm::Fault::Locked`] means: too much waits already.
    Write(Write, RpcReplyPort<Result<Written, Refusal>>),
}
