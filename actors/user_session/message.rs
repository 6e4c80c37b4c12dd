//! What a session can be told, and what it starts with.

use std::{sync::Arc, time::Duration};

use ractor::{ActorRef, RpcReplyPort};
use tokio::{sync::mpsc, time::Instant};
use uuid::Uuid;

use crate::{
    alarm::Position,
    claim::{Claim, Tenure},
    connection::Tick,
    histogram::Histogram,
    hub::{Answer, HubMessage, Opening, Session, Settings},
    memory::Bulletin,
    sink::{Event, Reason, Status},
};

/// What a session can be told.
#[derive(Debug)]
pub enum SessionMessage {
    /// Somebody asks for this stream.
    Connect {
        /// Who and how. In a box: what is rare shall not make every message large.
        opening: Box<Opening>,
        /// What the clock of claims shows.
        clock: Duration,
        /// How far the hub has read.
        head: Position,
        /// What is wrong with the hub.
        status: Status,
        /// What other hubs have to say to it; `None`: there are no others.
        elsewhere: Option<Box<Elsewhere>>,
        /// The answer.
        reply: RpcReplyPort<Answer>,
    },
    /// The log has grown by this page.
    News {
        /// Nothing for this user lies between there and the page.
        after: u64,
        /// The page.
        bulletin: Arc<Bulletin>,
        /// Tells that it was handled.
        receipt: Arc<Receipt>,
    },
    /// The log has grown, and nothing in it is for this user.
    Passed {
        /// From here.
        from: u64,
        /// To here.
        to: u64,
    },
    /// The pages that this connection asked for.
    Pulled(Uuid, Pulled),
    /// Where `?history` begins for this connection; `None`: it cannot be read.
    Origin(Uuid, Option<Position>),
    /// Something that this connection waited for has happened.
    Tick(Uuid, Tick),
    /// The feed of this connection was dropped.
    Gone(Uuid),
    /// Tell the reader, at the place where it is.
    Tell(Event),
    /// All positions up to now are void; this is the head.
    Reset(Position),
    /// End the live connection; whether there was one.
    End {
        /// Why.
        reason: Reason,
        /// When to come back at the latest.
        spread: Duration,
        /// Tells that it was handled.
        receipt: Option<Arc<Receipt>>,
        /// The answer.
        reply: Option<RpcReplyPort<bool>>,
    },
    /// Another hub has a newer connection of this user, or (if the claim is the same) the same page.
    Superseded {
        /// The connection that is over.
        conn: Uuid,
        /// The claim of the other one.
        by: Claim,
    },
    /// Tell the hub of the live connection once more: whoever tells other hubs was started again.
    Announce,
    /// Describe the live connection, if there is one.
    Describe(mpsc::Sender<Session>),
    /// Hand what was counted to the hub.
    Count(Arc<Receipt>),
    /// Refusals need not be remembered any longer: offer to be ended, if nobody is connected.
    Rest,
}

/// What other hubs have to say to a connect.
#[derive(Clone, Copy, Debug)]
pub struct Elsewhere {
    /// The claim belongs to an opening that is over.
    pub refused: bool,
    /// The newest claim of this user that is known elsewhere.
    pub newest: Option<Claim>,
}

/// The answer to a [`HubMessage::Pull`].
#[derive(Debug)]
pub enum Pulled {
    /// What comes next, and whether part of what was missed is no longer in the log.
    Pages(Vec<Arc<Bulletin>>, bool),
    /// It cannot be read now.
    Failed,
}

/// Travels with a page to every session; the last one to drop it tells that all have handled the page. That is what
/// bounds the mailboxes: the next page is not read before.
#[derive(Debug)]
pub struct Receipt(Option<RpcReplyPort<()>>);

impl Receipt {
    /// Answers `port` once every clone is dropped.
    pub fn new(port: RpcReplyPort<()>) -> Arc<Self> {
        Arc::new(Self(Some(port)))
    }
}

impl Drop for Receipt {
    fn drop(&mut self) {
        if let Some(port) = self.0.take() {
            let _ = port.send(()); // whoever asked may have given up
        }
    }
}

/// What a session starts with.
pub struct SessionArguments {
    /// Whose it is.
    pub user: Arc<str>,
    /// What is remembered of the user's connections before.
    pub tenure: Tenure,
    /// The instant from which a tenure counts.
    pub origin: Instant,
    /// The settings of all sessions.
    pub settings: Settings,
    /// Where the delays of all connections are counted.
    pub delays: Arc<Histogram>,
    /// Its parent.
    pub hub: ActorRef<HubMessage>,
}
