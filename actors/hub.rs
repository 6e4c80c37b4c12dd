//! HubActor: user → session. The parent of all sessions; all openings pass here, in order, and all pages of the log.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use ractor::{Actor, ActorId, ActorProcessingErr, ActorRef, RpcReplyPort, SupervisionEvent};
use tokio::time::{Instant, sleep};
use tracing::{error, info};
use uuid::Uuid;

use crate::{
    alarm::{Batch, Position, Round},
    archive::ArchiveMessage,
    claim::{Claim, ClaimClock, Tenure},
    cluster::ClusterMessage,
    exchange::{Clock, Note},
    histogram::Histogram,
    sink::{Event, Reason, Status},
    tally::{Ending, Tally},
    user_session::{Elsewhere, Pulled, Receipt, SessionArguments, SessionMessage, UserSessionActor},
};

mod log;
mod message;
mod roster;

use log::{Log, Since};
pub use message::{Answer, Counts, HubMessage, Opening, Session, Settings};
use roster::Roster;

/// How often what is remembered of absent users is looked through.
const FORGET: Duration = Duration::from_secs(60);

/// The parent of all sessions.
pub struct HubActor;

/// What a hub starts with.
pub struct HubArguments {
    /// The settings of all sessions.
    pub settings: Settings,
    /// Whom to ask for what lies back.
    pub archive: ActorRef<ArchiveMessage>,
    /// Claims revoked less than a day ago.
    pub revoked: Vec<(Arc<str>, Claim)>,
    /// What was noted of the clock of claims.
    pub noted: Duration,
    /// Where it says how many messages it has handled.
    pub handled: Arc<AtomicU64>,
}

/// A hub's state.
pub struct HubState {
    settings: Settings,
    archive: ActorRef<ArchiveMessage>,
    myself: ActorRef<HubMessage>,
    origin: Instant,
    claims: ClaimClock,
    log: Log,
    roster: Roster,
    status: Status,
    cluster: Option<ActorRef<ClusterMessage>>,
    clock: Option<Clock>,
    fenced: bool,
    draining: bool,
    tally: Tally,
    delays: Arc<Histogram>,
    handled: Arc<AtomicU64>,
}

impl HubState {
    /// Somebody who comes back may be known elsewhere; whoever opens anew is served at once.
    async fn asked(&mut self, opening: Opening, reply: RpcReplyPort<Answer>) {
        match &self.cluster {
            Some(cluster) if opening.claim.is_some() => {
                let _ = cluster.cast(ClusterMessage::Judge(opening, reply)); // one that failed drops the reply
            }
            _ => self.connect(opening, false, None, reply).await,
        }
    }

    async fn connect(&mut self, opening: Opening, refused: bool, newest: Option<Claim>, reply: RpcReplyPort<Answer>) {
        let head = match self.log.at() {
            Some(head) if !self.draining && !self.fenced => head,
            _ => {
                let retry = crate::spread(Duration::from_secs(1), Duration::from_secs(3));
                let _ = reply.send(Answer::Busy(retry)); // whoever asked may have given up
                return;
            }
        };
        let user = opening.user.clone();
        if let Some(rest) = self.roster.rests(&user, self.origin.elapsed()) {
            let _ = reply.send(Answer::Busy(rest)); // whoever asked may have given up
            return;
        }
        if !self.roster.has(&user) {
            let tenure = self.roster.remembered(&user);
            match self.spawn(user.clone(), tenure).await {
                Ok(actor) => self.roster.enter(user.clone(), actor, tenure),
                Err(cause) => {
                    error!(user.id = &*user, %cause, "cannot start a session");
                    let _ = reply.send(Answer::Busy(Duration::from_secs(3))); // whoever asked may have given up
                    return;
                }
            }
        }
        let clock = match self.clock {
            Some(shared) => Duration::from_micros(shared.shared(Instant::now())),
            None => self.note_clock(),
        };
        let elsewhere = self.cluster.as_ref().map(|_| Box::new(Elsewhere { refused, newest }));
        let (opening, status) = (Box::new(opening), self.status);
        let connect = SessionMessage::Connect { opening, clock, head, status, elsewhere, reply };
        self.roster.connect(&user, head.seq, connect);
    }

    /// What the clock of claims shows; noted if it was not for long.
    fn note_clock(&mut self) -> Duration {
        let (clock, note) = self.claims.read(self.origin.elapsed(), since_1970());
        if note {
            let _ = self.archive.cast(ArchiveMessage::NoteClock(clock)); // restarted: noted with the next one
        }
        clock
    }

    async fn spawn(&mut self, user: Arc<str>, tenure: Tenure) -> Result<ActorRef<SessionMessage>, ractor::SpawnErr> {
        let (origin, settings, hub) = (self.origin, self.settings, self.myself.clone());
        let arguments = SessionArguments { user, tenure, origin, settings, delays: self.delays.clone(), hub };
        // Starting a session only moves its arguments: this waits for a turn of the scheduler and nothing else.
        let (actor, _) = Actor::spawn_linked(None, UserSessionActor, arguments, self.myself.get_cell()).await?;
        Ok(actor)
    }

    fn opened(&mut self, head: Position, reply: RpcReplyPort<(Position, Option<Round>)>) {
        let go_on = self.log.opened(head).unwrap_or_else(|| {
            self.roster.restart(head.seq);
            self.roster.tell_all(|| SessionMessage::Reset(head));
            (head, None)
        });
        let _ = reply.send(go_on); // the poller that asked may have failed; the next one asks again
    }

    fn news(&mut self, batch: Batch, reply: RpcReplyPort<()>) {
        let Some(bulletin) = self.log.grow(batch) else {
            return; // from a poller that was restarted meanwhile; dropping the reply tells it to ask where to go on
        };
        self.tell_cluster(|| ClusterMessage::Grew);
        self.roster.spread(&bulletin, reply);
    }

    fn pull(&self, session: ActorRef<SessionMessage>, conn: Uuid, at: Position, round: Option<Round>) {
        let pulled = match self.log.since(at, round) {
            Since::Pages(pages) => Pulled::Pages(pages, false),
            Since::Archived { until, round } => {
                let ask = ArchiveMessage::Page { session, conn, at, until, round };
                let _ = self.archive.cast(ask); // restarted: the session asks again
                return;
            }
            Since::Void => Pulled::Failed,
        };
        let _ = session.cast(SessionMessage::Pulled(conn, pulled)); // it may have ended
    }

    fn tenure(&mut self, user: Arc<str>, tenure: Tenure) {
        if let Some(claim) = self.roster.tenure(&user, tenure) {
            self.tell_cluster(|| ClusterMessage::Revoked(user.clone(), claim));
            let _ = self.archive.cast(ArchiveMessage::Revoke { user, claim }); // at worst a day's protection is lost
        }
    }

    fn tell_cluster(&self, message: impl FnOnce() -> ClusterMessage) {
        if let Some(cluster) = &self.cluster {
            let _ = cluster.cast(message()); // one that failed is started again, and told everything
        }
    }

    fn alone(&mut self, since: Option<SystemTime>, fence: bool) {
        self.status.alone_since = since;
        self.fenced = fence;
        self.tell_status();
        if fence {
            let spread = Duration::from_secs(10);
            self.roster.tell_all(|| SessionMessage::End { reason: Reason::Busy, spread, receipt: None, reply: None });
        }
    }

    fn tell_status(&self) {
        self.roster.tell_all(|| SessionMessage::Tell(Event::Status(self.status)));
    }

    fn kick(&self, user: &str, reply: RpcReplyPort<bool>) {
        if self.roster.has(user) {
            let (reason, spread) = (Reason::Kicked, Duration::ZERO);
            self.roster.tell(user, SessionMessage::End { reason, spread, receipt: None, reply: Some(reply) });
        } else {
            let _ = reply.send(false); // whoever asked may have given up
        }
    }

    /// Lets all sessions tell what they counted. What a session tells before it drops the receipt, or before it ends,
    /// has come when the answer is put together: a count never falls.
    fn counts(&self, waiting: u64, reply: RpcReplyPort<Counts>) {
        let (told, all_told) = ractor::concurrency::oneshot();
        let receipt = Receipt::new(told.into());
        self.roster.tell_all(|| SessionMessage::Count(receipt.clone()));
        drop(receipt);
        let counts = Counts { waiting, ..Counts::default() };
        let myself = self.myself.clone();
        tokio::spawn(async move {
            let _ = all_told.await; // it is answered in any case
            let _ = myself.cast(HubMessage::Count(counts, reply)); // a hub that ended has no counts
        });
    }

    fn drain(&mut self, reply: RpcReplyPort<()>) {
        self.draining = true;
        info!(sessions = self.roster.len(), "ending all connections");
        // So that no more than five hundred come back in a second, but nobody waits for more than half a minute.
        let spread = (Duration::from_secs(1) + Duration::from_millis(self.roster.len() as u64 * 2))
            .clamp(Duration::from_secs(3), Duration::from_secs(30));
        let receipt = Receipt::new(reply);
        self.roster.tell_all(|| SessionMessage::End {
            reason: Reason::Shutdown,
            spread,
            receipt: Some(receipt.clone()),
            reply: None,
        });
    }

    /// A session ended that was not asked to: its connection with it.
    fn ended(&mut self, id: ActorId) {
        if let Some(user) = self.roster.lose(id, self.origin.elapsed()) {
            self.tell_cluster(|| ClusterMessage::Ended(user.clone(), None));
        }
    }
}

fn since_1970() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

impl Actor for HubActor {
    type Msg = HubMessage;
    type State = HubState;
    type Arguments = HubArguments;

    async fn pre_start(
        &self,
        myself: ActorRef<HubMessage>,
        arguments: HubArguments,
    ) -> Result<HubState, ActorProcessingErr> {
        let _ = myself.cast(HubMessage::Forget); // to oneself, at the start
        let mut state = HubState {
            settings: arguments.settings,
            archive: arguments.archive,
            myself,
            origin: Instant::now(),
            claims: ClaimClock::start(arguments.noted, since_1970()),
            log: Log::default(),
            roster: Roster::default(),
            status: Status::default(),
            cluster: None,
            clock: None,
            fenced: false,
            draining: false,
            tally: Tally::default(),
            delays: Arc::default(),
            handled: arguments.handled,
        };
        state.note_clock(); // now, and not beside the first write of a program that starts with the hub
        for (user, claim) in arguments.revoked {
            state.roster.revoke(user, claim);
        }
        Ok(state)
    }

    async fn handle(
        &self,
        myself: ActorRef<HubMessage>,
        message: HubMessage,
        state: &mut HubState,
    ) -> Result<(), ActorProcessingErr> {
        let handled = state.handled.fetch_add(1, Ordering::Relaxed);
        match message {
            HubMessage::Connect(opening, reply) => state.asked(opening, reply).await,
            HubMessage::Judged { opening, refused, newest, reply } => {
                state.connect(opening, refused, newest, reply).await;
            }
            HubMessage::Opened(head, reply) => state.opened(head, reply),
            HubMessage::News(batch, reply) => state.news(batch, reply),
            HubMessage::Source { down_since } => {
                if state.status.down_since != down_since {
                    state.status.down_since = down_since;
                    if down_since.is_some() {
                        let _ = state.archive.cast(ArchiveMessage::LookAfter); // one that failed has none open
                    }
                    state.tell_status();
                }
            }
            HubMessage::Cluster(cluster) => {
                state.cluster = Some(cluster);
                state.roster.tell_all(|| SessionMessage::Announce);
            }
            HubMessage::Clock(clock) => state.clock = Some(clock),
            HubMessage::Alone { since, fence } => state.alone(since, fence),
            HubMessage::Began { user, conn, claim, fresh } => {
                state.tell_cluster(|| ClusterMessage::Began { user, conn, claim, fresh });
            }
            HubMessage::Ended(user, conn) => state.tell_cluster(|| ClusterMessage::Ended(user, Some(conn))),
            HubMessage::Superseded { user, conn, by } => {
                state.roster.tell(&user, SessionMessage::Superseded { conn, by });
            }
            HubMessage::Pull { session, conn, at, round } => state.pull(session, conn, at, round),
            HubMessage::Origin { session, conn, user, count } => {
                let ask = ArchiveMessage::Origin { session, conn, user, count };
                let _ = state.archive.cast(ask); // restarted: the client's hello is late until it comes back
            }
            HubMessage::Tenure { user, tenure, tally } => {
                state.tally.add(&tally);
                state.tenure(user, tenure);
            }
            HubMessage::Idle { user, connects } => state.roster.leave(&user, connects, state.origin.elapsed()),
            HubMessage::Counted(tally) => state.tally.add(&tally),
            HubMessage::Acknowledged { user, id, acknowledged } => {
                if state.roster.has(&user) {
                    let told = Event::Acknowledged { id, acknowledged };
                    state.roster.tell(&user, SessionMessage::Tell(told));
                } else {
                    let note = Note::Acknowledged { user: user.clone(), id, acknowledged };
                    state.tell_cluster(|| ClusterMessage::Tell(user, note));
                }
            }
            HubMessage::Sessions(reply) => state.roster.describe_all(reply),
            HubMessage::Session(user, reply) => state.roster.describe(&user, reply),
            HubMessage::Kick(user, reply) => state.kick(&user, reply),
            HubMessage::Counts { handled: before, reply } => state.counts(handled.saturating_sub(before), reply),
            HubMessage::Count(counts, reply) => {
                let connections = state.roster.len() as u64;
                let (tally, delays) = (state.tally.clone(), state.delays.clone());
                let _ = reply.send(Counts { connections, tally, delays, ..counts }); // whoever asked may have given up
            }
            HubMessage::Drain(reply) => state.drain(reply),
            HubMessage::Forget => {
                state.roster.forget(state.origin.elapsed());
                if let Some(at) = state.log.at() {
                    state.roster.pass(at.seq);
                }
                tokio::spawn(async move {
                    sleep(FORGET).await;
                    let _ = myself.cast(HubMessage::Forget); // a hub that ended forgets all
                });
            }
        }
        Ok(())
    }

    async fn handle_supervisor_evt(
        &self,
        _: ActorRef<HubMessage>,
        event: SupervisionEvent,
        state: &mut HubState,
    ) -> Result<(), ActorProcessingErr> {
        match event {
            SupervisionEvent::ActorFailed(actor, cause) => {
                let user = state.roster.user(actor.get_id()).unwrap_or_default();
                error!(user.id = user, %cause, "a session failed; its client comes back by itself");
                state.tally.end(Ending::Failed);
                state.roster.note_failure(actor.get_id(), state.origin.elapsed());
                state.ended(actor.get_id());
            }
            SupervisionEvent::ActorTerminated(actor, ..) => state.ended(actor.get_id()),
            _ => {}
        }
        Ok(())
    }
}
