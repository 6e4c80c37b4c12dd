//! The supervision tree: start, stop and restart of the actors, in one place.
//!
//! ```text
//! TreeActor
//! ├── ArchiveActor
//! ├── HubActor ── UserSessionActor (one a user)
//! ├── PollerActor
//! └── ClusterActor (if there are other hubs)
//! ```
//!
//! Each depends on those above it. When one ends, those below it are ended too and all of them are started again, in
//! this order (Erlang calls it rest-for-one), after a pause that grows while it happens again and again. Sessions
//! that end with their hub end their connections without a word: the clients come back and resume.

use std::{
    sync::{Arc, atomic::AtomicU64},
    time::Duration,
};

use ractor::{Actor, ActorCell, ActorId, ActorProcessingErr, ActorRef, RpcReplyPort, SupervisionEvent};
use tokio::{
    sync::watch,
    task::spawn_blocking,
    time::{Instant, sleep},
};
use tracing::{error, warn};

use crate::{
    alarm::{Failure, Source},
    archive::{ArchiveActor, ArchiveMessage, OpenArchive},
    claim::Claim,
    cluster::{ClusterActor, ClusterMessage, OpenCluster},
    hub::{HubActor, HubArguments, HubMessage, Settings},
    poller::{PollerActor, PollerArguments, PollerMessage},
};

/// The first pause before a restart, and the longest.
const PAUSE: Duration = Duration::from_millis(50);
const PAUSE_MAX: Duration = Duration::from_secs(5);

/// How long things must go well before the pause is short again.
const WELL: Duration = Duration::from_secs(60);

/// The actors that requests are sent to.
#[derive(Clone, Debug)]
pub struct Actors {
    /// Streams and sessions.
    pub hub: ActorRef<HubMessage>,
    /// History and writes.
    pub archive: ActorRef<ArchiveMessage>,
    /// Wake-ups and health.
    pub poller: ActorRef<PollerMessage>,
    /// Other hubs, if there are any.
    pub cluster: Option<ActorRef<ClusterMessage>>,
    /// Messages that the hub has handled, since the first start.
    pub handled: Arc<AtomicU64>,
    /// Restarts until now.
    pub restarts: u64,
}

/// Makes the poller's source.
pub type OpenSource = Arc<dyn Fn() -> Box<dyn Source> + Send + Sync>;

/// What a tree is made of.
#[derive(Clone)]
pub struct TreeArguments {
    /// Makes the poller's source.
    pub source: OpenSource,
    /// Makes the archive's connections.
    pub archive: OpenArchive,
    /// Makes the way to other hubs, if there are any.
    pub cluster: Option<OpenCluster>,
    /// The settings of all sessions.
    pub settings: Settings,
    /// The longest pause between two looks at the database.
    pub interval: Duration,
}

/// The root.
pub struct TreeActor;

/// What the root can be told.
#[derive(Debug)]
pub enum TreeMessage {
    /// The actors as they are now; `changed` when they are others.
    Actors(RpcReplyPort<watch::Receiver<Actors>>),
    /// It is time to start again what ended.
    Restart,
    /// End everything. Answered when all connections have their `bye`; the actors end with the root.
    Stop(RpcReplyPort<()>),
}

/// The root's state.
pub struct TreeState {
    arguments: TreeArguments,
    myself: ActorRef<TreeMessage>,
    actors: watch::Sender<Actors>,
    restart_from: Option<Child>,
    pause: Duration,
    restarted: Instant,
    stopping: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Child {
    Archive,
    Hub,
    Poller,
    Cluster,
}

impl TreeArguments {
    async fn start_archive(&self, parent: ActorCell) -> Result<ActorRef<ArchiveMessage>, ActorProcessingErr> {
        Ok(Actor::spawn_linked(None, ArchiveActor, self.archive.clone(), parent).await?.0)
    }

    async fn start_hub(
        &self,
        archive: ActorRef<ArchiveMessage>,
        handled: Arc<AtomicU64>,
        parent: ActorCell,
    ) -> Result<ActorRef<HubMessage>, ActorProcessingErr> {
        let open = self.archive.clone();
        let read = move || {
            let mut archive = open();
            Ok((archive.revoked()?, archive.noted_clock()?))
        };
        let (revoked, noted) = spawn_blocking(read).await?.unwrap_or_else(|failure: Failure| {
            warn!(cause = %failure, "cannot read which claims were revoked; superseded pages may come back once");
            (Vec::new(), Duration::ZERO)
        });
        let revoked = revoked.into_iter().filter_map(|(user, claim)| Some((user, Claim::from_u128(claim)?))).collect();
        let arguments = HubArguments { settings: self.settings, archive, revoked, noted, handled };
        Ok(Actor::spawn_linked(None, HubActor, arguments, parent).await?.0)
    }

    async fn start_poller(
        &self,
        hub: ActorRef<HubMessage>,
        parent: ActorCell,
    ) -> Result<ActorRef<PollerMessage>, ActorProcessingErr> {
        let arguments = PollerArguments { source: (self.source)(), hub, interval: self.interval };
        Ok(Actor::spawn_linked(None, PollerActor, arguments, parent).await?.0)
    }

    async fn start_cluster(
        &self,
        hub: ActorRef<HubMessage>,
        parent: ActorCell,
    ) -> Result<Option<ActorRef<ClusterMessage>>, ActorProcessingErr> {
        let Some(open) = &self.cluster else { return Ok(None) };
        Ok(Some(Actor::spawn_linked(None, ClusterActor, open(hub), parent).await?.0))
    }
}

impl TreeState {
    fn child(&self, id: ActorId) -> Option<Child> {
        let actors = self.actors.borrow();
        [
            (Child::Archive, actors.archive.get_id()),
            (Child::Hub, actors.hub.get_id()),
            (Child::Poller, actors.poller.get_id()),
        ]
        .into_iter()
        .chain(actors.cluster.as_ref().map(|cluster| (Child::Cluster, cluster.get_id())))
        .find_map(|(child, of)| (of == id).then_some(child))
    }

    fn ended(&mut self, id: ActorId, cause: &str) {
        if self.stopping {
            return;
        }
        let Some(child) = self.child(id) else { return };
        error!(actor = ?child, cause, "an actor ended; it is started again");
        if self.restarted.elapsed() > WELL {
            self.pause = PAUSE;
        }
        self.restart_later(child);
    }

    fn restart_later(&mut self, from: Child) {
        if self.restart_from.is_none() {
            let (pause, myself) = (self.pause, self.myself.clone());
            tokio::spawn(async move {
                sleep(pause).await;
                let _ = myself.cast(TreeMessage::Restart); // a root that ended starts nothing
            });
        }
        self.restart_from = Some(self.restart_from.map_or(from, |before| before.min(from)));
    }

    async fn restart(&mut self) {
        let Some(from) = self.restart_from.take() else { return };
        self.pause = (self.pause * 2).min(PAUSE_MAX);
        self.restarted = Instant::now();
        let old = self.actors.borrow().clone();
        if let Some(cluster) = &old.cluster {
            cluster.stop(None);
        }
        if from <= Child::Poller {
            old.poller.stop(None);
        }
        if from <= Child::Hub {
            old.hub.stop(None);
        }
        let mut next = from;
        if let Err(cause) = self.start(&mut next).await {
            error!(actor = ?next, %cause, "an actor cannot be started; it is tried again");
            return self.restart_later(next);
        }
        self.actors.send_modify(|actors| actors.restarts += 1);
    }

    /// Starts this child and those that depend on it; after an error `next` is the one that could not be started.
    async fn start(&mut self, next: &mut Child) -> Result<(), ActorProcessingErr> {
        let parent = self.myself.get_cell();
        if *next == Child::Archive {
            let archive = self.arguments.start_archive(parent.clone()).await?;
            self.actors.send_modify(|actors| actors.archive = archive);
            *next = Child::Hub;
        }
        let Actors { archive, handled, .. } = self.actors.borrow().clone();
        if *next == Child::Hub {
            let hub = self.arguments.start_hub(archive, handled, parent.clone()).await?;
            self.actors.send_modify(|actors| actors.hub = hub);
            *next = Child::Poller;
        }
        let hub = self.actors.borrow().hub.clone();
        if *next == Child::Poller {
            let poller = self.arguments.start_poller(hub.clone(), parent.clone()).await?;
            self.actors.send_modify(|actors| actors.poller = poller);
            *next = Child::Cluster;
        }
        let cluster = self.arguments.start_cluster(hub, parent).await?;
        self.actors.send_modify(|actors| actors.cluster = cluster);
        Ok(())
    }
}

impl Actor for TreeActor {
    type Msg = TreeMessage;
    type State = TreeState;
    type Arguments = TreeArguments;

    async fn pre_start(
        &self,
        myself: ActorRef<TreeMessage>,
        arguments: TreeArguments,
    ) -> Result<TreeState, ActorProcessingErr> {
        let parent = myself.get_cell();
        let archive = arguments.start_archive(parent.clone()).await?;
        let handled = Arc::default();
        let hub = arguments.start_hub(archive.clone(), Arc::clone(&handled), parent.clone()).await?;
        let poller = arguments.start_poller(hub.clone(), parent.clone()).await?;
        let cluster = arguments.start_cluster(hub.clone(), parent).await?;
        let (actors, _) = watch::channel(Actors { hub, archive, poller, cluster, handled, restarts: 0 });
        let restarted = Instant::now();
        Ok(TreeState { arguments, myself, actors, restart_from: None, pause: PAUSE, restarted, stopping: false })
    }

    async fn handle(
        &self,
        _: ActorRef<TreeMessage>,
        message: TreeMessage,
        state: &mut TreeState,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            TreeMessage::Actors(reply) => {
                let _ = reply.send(state.actors.subscribe()); // whoever asked may have given up
            }
            TreeMessage::Restart => state.restart().await,
            TreeMessage::Stop(reply) => {
                state.stopping = true;
                let _ = state.actors.borrow().hub.cast(HubMessage::Drain(reply)); // without a hub there is nobody to tell
            }
        }
        Ok(())
    }

    async fn handle_supervisor_evt(
        &self,
        _: ActorRef<TreeMessage>,
        event: SupervisionEvent,
        state: &mut TreeState,
    ) -> Result<(), ActorProcessingErr> {
        match event {
            SupervisionEvent::ActorFailed(actor, cause) => state.ended(actor.get_id(), &cause.to_string()),
            SupervisionEvent::ActorTerminated(actor, _, reason) => {
                state.ended(actor.get_id(), reason.as_deref().unwrap_or("stopped"));
            }
            _ => {}
        }
        Ok(())
    }
}
