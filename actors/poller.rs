//! PollerActor: reads the log as it grows and hands it to the hub, one page in flight.
//!
//! It looks when it is woken and, because a wake-up can be lost, every interval as well, counted from the end of the
//! look before. A look runs off the async threads; the source travels there and back.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use ractor::{Actor, ActorProcessingErr, ActorRef, RpcReplyPort, concurrency::JoinHandle};
use tokio::{
    task::spawn_blocking,
    time::{Instant, sleep, timeout},
};
use tracing::{info, warn};

use crate::{
    alarm::{Failure, Fault, Look, Position, Round, Source},
    histogram::Histogram,
    hub::HubMessage,
};

/// A commit becomes visible a little later than the file tells of it, much later if its writer is interrupted just then:
/// so soon after a wake-up it is looked for again, and then after twice the time again and again, up to the interval.
const LOOK_AGAIN: Duration = Duration::from_micros(500);

/// How long a writer may hold the database, or a look be under way, before readers are told that nothing can be read.
const FOR_LONG: Duration = Duration::from_secs(10);

/// The longest pause between two looks that fail.
const FAILING_PAUSE_MAX: Duration = Duration::from_secs(2);

/// Reads the log as it grows.
pub struct PollerActor;

/// How the poller is, for `/readyz` and metrics.
#[derive(Clone, Debug, Default)]
pub struct Health {
    /// How far it has read; `None`: the database was never open.
    pub at: Option<Position>,
    /// When it last looked with success.
    pub looked: Option<SystemTime>,
    /// When the last look ended, whatever came of it: a poller that hangs has an old one.
    pub ended: Option<Instant>,
    /// Why the last look failed, and since when looks fail.
    pub failing: Option<(SystemTime, Failure)>,
    /// Looks that succeeded.
    pub looks: u64,
    /// Looks that failed.
    pub errors: u64,
    /// Changes of alarms read.
    pub changes: u64,
    /// Rows that could not be read as they should.
    pub odd_rows: u64,
    /// How far it is behind what others tell it, in positions; `None`: it reads the log itself.
    pub behind: Option<u64>,
    /// How long looks took, without handing over what they found.
    pub durations: Arc<Histogram>,
}

/// What the poller can be told.
#[derive(Debug)]
pub enum PollerMessage {
    /// Look now: something may have been written. Answered at once, so that whoever tells has one on its way at most.
    Wake(RpcReplyPort<()>),
    /// It is time to look.
    Look,
    /// A look came back.
    Looked(Looked),
    /// A look has not come back for a long time: a disk may hang.
    Hangs,
    /// How are you?
    Health(RpcReplyPort<Health>),
}

/// What came of a look, and the source on its way back.
pub struct Looked {
    source: Box<dyn Source>,
    found: Result<Found, Failure>,
    took: Duration,
}

impl std::fmt::Debug for Looked {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Looked").field("found", &self.found).finish_non_exhaustive()
    }
}

/// What a look found, after the hub took it.
#[derive(Debug)]
enum Found {
    Nothing,
    /// The hub took a page with so many changes.
    Page(Position, Option<Round>, usize),
    /// The hub says where to read on.
    Opened(Position, Option<Round>),
    /// The hub did not take it: ask it where to read on.
    Lost,
}

/// What a poller starts with.
pub struct PollerArguments {
    /// The log.
    pub source: Box<dyn Source>,
    /// Whom to tell.
    pub hub: ActorRef<HubMessage>,
    /// The longest pause between two looks.
    pub interval: Duration,
}

/// A poller's state.
pub struct PollerState {
    hub: ActorRef<HubMessage>,
    interval: Duration,
    myself: ActorRef<PollerMessage>,
    /// Away while a look is under way.
    source: Option<Box<dyn Source>>,
    at: Option<(Position, Option<Round>)>,
    /// The next pause, if nothing is found.
    pause: Duration,
    timer: Option<JoinHandle<()>>,
    failing_since: Option<Instant>,
    told_down: bool,
    health: Health,
}

impl PollerState {
    fn wake(&mut self) {
        self.pause = LOOK_AGAIN.min(self.interval);
        self.look();
    }

    fn look(&mut self) {
        let Some(source) = self.source.take() else { return };
        if let Some(timer) = self.timer.take() {
            timer.abort();
        }
        let (hub, at, myself) = (self.hub.clone(), self.at, self.myself.clone());
        // A poller that was started anew does not know what the one before it told.
        let may_be_down = self.told_down || at.is_none();
        let look = tokio::spawn(async move {
            let looked = look(source, at, may_be_down, &hub, &myself).await;
            let _ = myself.cast(PollerMessage::Looked(looked)); // a poller that ended looks no more
        });
        let failed = self.myself.clone();
        tokio::spawn(async move {
            if look.await.is_err() {
                failed.stop(Some(PANICKED.to_owned())); // the source is lost with it: start anew
            }
        });
    }

    fn looked(&mut self, looked: Looked) {
        self.source = Some(looked.source);
        self.health.durations.observe(looked.took);
        self.health.ended = Some(Instant::now());
        if let Some(source) = &self.source {
            (self.health.odd_rows, self.health.behind) = (source.odd_rows(), source.behind());
        }
        let pause = match looked.found {
            Ok(found) => {
                self.succeeded();
                match found {
                    Found::Nothing => {
                        let pause = self.pause;
                        self.pause = (pause * 2).min(self.interval);
                        pause
                    }
                    Found::Page(at, round, changes) => {
                        self.at = Some((at, round));
                        self.health.changes += changes as u64;
                        Duration::ZERO
                    }
                    Found::Opened(at, round) => {
                        self.at = Some((at, round));
                        Duration::ZERO
                    }
                    Found::Lost => {
                        self.at = None;
                        self.interval
                    }
                }
            }
            Err(failure) => self.failed(failure),
        };
        self.health.at = self.at.map(|(at, _)| at);
        if pause.is_zero() {
            return self.look();
        }
        let myself = self.myself.clone();
        self.timer = Some(tokio::spawn(async move {
            sleep(pause).await;
            let _ = myself.cast(PollerMessage::Look); // a poller that ended looks no more
        }));
    }

    fn succeeded(&mut self) {
        self.health.looks += 1;
        self.health.looked = Some(SystemTime::now());
        self.failing_since = None;
        if let Some((since, _)) = self.health.failing.take() {
            let seconds = since.elapsed().unwrap_or_default().as_secs_f32();
            info!(seconds, "the database can be read again");
        }
        self.told_down = false; // the look has told it
    }

    /// Takes note of it and says how long to wait.
    fn failed(&mut self, failure: Failure) -> Duration {
        self.health.errors += 1;
        let failing = *self.failing_since.get_or_insert_with(Instant::now);
        let since = self.health.failing.as_ref().map_or_else(SystemTime::now, |(since, _)| *since);
        if self.health.failing.as_ref().is_none_or(|(_, before)| before.cause != failure.cause) {
            warn!(cause = %failure, "cannot read the database");
        }
        let locked = failure.fault == Fault::Locked;
        if !self.told_down && (!locked || failing.elapsed() >= FOR_LONG) {
            self.told_down = true;
            let down = HubMessage::Source { down_since: Some(since) };
            let _ = self.hub.cast(down); // without a hub there is nobody to tell
        }
        self.health.failing = Some((since, failure));
        self.interval.max(failing.elapsed() / 4).min(FAILING_PAUSE_MAX.max(self.interval))
    }

    /// Whoever waits for alarms is told that none can come; the look itself tells when it comes back.
    fn hangs(&mut self) {
        let cause = format!("a look at the database has not come back for {FOR_LONG:?}: does its disk answer?");
        warn!(%cause, "cannot read the database");
        let (since, _) =
            self.health.failing.get_or_insert((SystemTime::now() - FOR_LONG, Failure { fault: Fault::Other, cause }));
        self.told_down = true;
        let _ = self.hub.cast(HubMessage::Source { down_since: Some(*since) }); // without a hub there is nobody to tell
    }
}

/// Why a poller that lost its source ends.
const PANICKED: &str = "a look panicked";

/// Looks once and hands the hub what was found.
async fn look(
    mut source: Box<dyn Source>,
    at: Option<(Position, Option<Round>)>,
    may_be_down: bool,
    hub: &ActorRef<HubMessage>,
    poller: &ActorRef<PollerMessage>,
) -> Looked {
    let begun = Instant::now();
    let mut blocking = spawn_blocking(move || {
        let found = match at {
            Some((at, round)) => source.look(at, round),
            None => source.open().map(Look::Replaced),
        };
        (source, found)
    });
    let (blocking, hung) = match timeout(FOR_LONG, &mut blocking).await {
        Ok(done) => (done, false),
        Err(_) => {
            let _ = poller.cast(PollerMessage::Hangs); // a poller that ended tells nobody
            (blocking.await, true)
        }
    };
    let (source, found) = match blocking {
        Ok(done) => done,
        Err(panicked) => std::panic::resume_unwind(panicked.into_panic()),
    };
    let took = begun.elapsed();
    if (may_be_down || hung) && found.is_ok() {
        // Before what was found, so that nobody is told an alarm of a database that is said to be down.
        let _ = hub.cast(HubMessage::Source { down_since: None }); // without a hub there is nobody to tell
    }
    let found = match found {
        Ok(Look::Nothing) => Ok(Found::Nothing),
        Ok(Look::Replaced(head)) => {
            let answer = hub.call(|reply| HubMessage::Opened(head, reply), None).await;
            Ok(match answer {
                Ok(ractor::rpc::CallResult::Success((at, round))) => Found::Opened(at, round),
                _ => Found::Lost,
            })
        }
        Ok(Look::News(batch)) => {
            let (to, round, changes) = (batch.to, batch.round, batch.changes.len());
            let at = Position { feed: batch.feed, seq: to };
            let taken = hub.call(|reply| HubMessage::News(batch, reply), None).await;
            Ok(match taken {
                Ok(ractor::rpc::CallResult::Success(())) => {
                    Found::Page(at, Some(round).filter(|_| to < round.end), changes)
                }
                _ => Found::Lost,
            })
        }
        Err(failure) => Err(failure),
    };
    Looked { source, found, took }
}

impl Actor for PollerActor {
    type Msg = PollerMessage;
    type State = PollerState;
    type Arguments = PollerArguments;

    async fn pre_start(
        &self,
        myself: ActorRef<PollerMessage>,
        arguments: PollerArguments,
    ) -> Result<PollerState, ActorProcessingErr> {
        let _ = myself.cast(PollerMessage::Look); // to oneself, at the start
        Ok(PollerState {
            hub: arguments.hub,
            interval: arguments.interval,
            myself,
            source: Some(arguments.source),
            at: None,
            pause: arguments.interval,
            timer: None,
            failing_since: None,
            told_down: false,
            health: Health::default(),
        })
    }

    async fn handle(
        &self,
        _: ActorRef<PollerMessage>,
        message: PollerMessage,
        state: &mut PollerState,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            PollerMessage::Wake(reply) => {
                state.wake();
                let _ = reply.send(()); // whoever told it may have given up
            }
            PollerMessage::Look => state.look(),
            PollerMessage::Looked(looked) => state.looked(looked),
            PollerMessage::Hangs => state.hangs(),
            PollerMessage::Health(reply) => {
                let _ = reply.send(state.health.clone()); // whoever asked may have given up
            }
        }
        Ok(())
    }
}
