//! A probe: an actor of any message type whose mailbox a test can read.

use ractor::{Actor, ActorProcessingErr, ActorRef, Message};
use tokio::sync::mpsc;

/// What a probe was sent and a test has not read yet, at most.
const UNREAD_MAX: usize = 65_536;

struct ProbeActor<M>(std::marker::PhantomData<fn(M)>);

/// The reading end of a probe.
pub struct Probe<M> {
    /// Hand this to whatever is tested.
    pub actor: ActorRef<M>,
    messages: mpsc::Receiver<M>,
}

impl<M: Message> Probe<M> {
    /// Starts a probe.
    pub async fn start() -> Self {
        let (sender, messages) = mpsc::channel(UNREAD_MAX);
        let spawned = Actor::spawn(None, ProbeActor(std::marker::PhantomData), sender).await;
        let actor = spawned.expect("a probe starts without conditions").0;
        Self { actor, messages }
    }

    /// The next message; waits for it.
    pub async fn next(&mut self) -> M {
        self.messages.recv().await.expect("the probe lives as long as its reading end")
    }

    /// The next message, if it is there already.
    pub fn try_next(&mut self) -> Option<M> {
        self.messages.try_recv().ok()
    }
}

impl<M: Message> Actor for ProbeActor<M> {
    type Msg = M;
    type State = mpsc::Sender<M>;
    type Arguments = mpsc::Sender<M>;

    async fn pre_start(&self, _: ActorRef<M>, sender: mpsc::Sender<M>) -> Result<mpsc::Sender<M>, ActorProcessingErr> {
        Ok(sender)
    }

    async fn handle(&self, _: ActorRef<M>, message: M, sender: &mut mpsc::Sender<M>) -> Result<(), ActorProcessingErr> {
        sender.try_send(message).map_err(|_| "the probe is full or nobody reads it")?;
        Ok(())
    }
}
