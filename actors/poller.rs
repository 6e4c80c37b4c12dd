//! PollerActor.

use std::time::SystemTime;

use ractor::RpcReplyPort;

use crate::alarm::{Failure, Position};

/// How the poller is, for `/readyz` and metrics.
#[derive(Clone, Debug)]
pub struct Health {
    /// How far it has read; `None`: the database was never open.
    pub at: Option<Position>,
    /// When it last looked with success.
    pub looked: Option<SystemTime>,
    /// Why the last look failed, and since when looks fail.
    pub failing: Option<(SystemTime, Failure)>,
}

/// What the poller can be told; this is the part that requests from outside use.
#[derive(Debug)]
pub enum PollerMessage {
    /// Look now: something was written.
    Wake,
    /// How are you?
    Health(RpcReplyPort<Health>),
}
