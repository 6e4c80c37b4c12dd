//! HubActor: user → session. The parent of all sessions; all openings pass here, in order, and all pages of the log.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use ractor::{Actor, ActorId, ActorProcessingErr, ActorRef, RpcReplyPort, SupervisionEvent};
use tokio::{
    sync::mpsc,
    time::{Instant, sleep},
};
use tracing::{error, info, warn};
use uuid::Uuid;

use crate::{
    alarm::{Batch, Position, Round},
    archive::ArchiveMessage,
    claim::{Claim, ClaimClock, Tenure},
    cluster::ClusterMessage,
    exchange::{Clock, Note},
    histogram::Histogram,
    language::Languages,
    memory::{Bulletin, Memory, Shapes},
    sink::{Event, Feed, Reason, Status},
    tally::{Ending, Tally},
    user_session::{Elsewhere, Pulled, Receipt, SessionArguments, SessionMessage, UserSessionActor},
};

/// Changes that a session is handed at once when it asks for what lies back.
const PAGE: usize = 512;

/// How far a session may be told behind, in entries of the log: what its reader's next resume has to skip.
const PASS_AFTER: u64 = 4_096;

/// How often what is remembered of absent users is looked through.
const FORGET: Duration = Duration::from_secs(60);

/// Absent users of whom something is remembered at most, at some 250 bytes each. Of further ones a superseded page may
/// come back once.
const ABSENT_MAX: usize = 1_000_000;

/// User → session.
pub struct HubActor;

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
    at: Option<Position>,
    memory: Memory,
    shapes: Shapes,
    /// Everybody was told that the log is so far, at least.
    passed: u64,
    status: Status,
    cluster: Option<ActorRef<ClusterMessage>>,
    clock: Option<Clock>,
    fenced: bool,
    draining: bool,
    sessions: HashMap<Arc<str>, Slot>,
    users: HashMap<ActorId, Arc<str>>,
    absent: HashMap<Arc<str>, Tenure>,
    tally: Tally,
    delays: Arc<Histogram>,
    handled: Arc<AtomicU64>,
}

struct Slot {
    actor: ActorRef<SessionMessage>,
    connects: u64,
    /// How far it was told that the log is.
    told: u64,
    /// As the session told last.
    tenure: Tenure,
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
        let head = match self.at {
            Some(head) if !self.draining && !self.fenced => head,
            _ => {
                let retry = crate::spread(Duration::from_secs(1), Duration::from_secs(3));
                let _ = reply.send(Answer::Busy(retry)); // whoever asked may have given up
                return;
            }
        };
        let user = opening.user.clone();
        if !self.sessions.contains_key(&user) {
            let tenure = self.absent.get(&user).copied().unwrap_or_default();
            match self.spawn(user.clone(), tenure).await {
                Ok(actor) => {
                    self.absent.remove(&user);
                    self.users.insert(actor.get_id(), user.clone());
                    self.sessions.insert(user.clone(), Slot { actor, connects: 0, told: head.seq, tenure });
                }
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
        let Some(slot) = self.sessions.get_mut(&user) else { return };
        slot.connects += 1;
        slot.told = head.seq;
        let elsewhere = self.cluster.as_ref().map(|_| Box::new(Elsewhere { refused, newest }));
        let (opening, status) = (Box::new(opening), self.status);
        let connect = SessionMessage::Connect { opening, clock, head, status, elsewhere, reply };
        let _ = slot.actor.cast(connect); // a session that failed drops the reply, and the client comes back
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
        let go_on = match self.at {
            Some(at) if at.feed == head.feed && at.seq <= head.seq => {
                (at, self.memory.round().filter(|round| at.seq < round.end))
            }
            before => {
                self.at = Some(head);
                self.passed = head.seq;
                self.memory = Memory::default();
                if let Some(before) = before {
                    warn!(feed = %head.feed, feed.before = %before.feed, "another database: all positions are void");
                    self.tell_all(|| SessionMessage::Reset(head));
                    self.sessions.values_mut().for_each(|slot| slot.told = head.seq);
                }
                (head, None)
            }
        };
        let _ = reply.send(go_on); // the poller that asked may have failed; the next one asks again
    }

    fn news(&mut self, batch: Batch, reply: RpcReplyPort<()>) {
        if self.at.is_none_or(|at| at.feed != batch.feed || at.seq != batch.from) {
            return; // from a poller that was restarted meanwhile; dropping the reply tells it to ask where to go on
        }
        self.at = Some(Position { feed: batch.feed, seq: batch.to });
        let to = batch.to;
        let bulletin = Arc::new(Bulletin::new(batch, &mut self.shapes));
        self.memory.remember(bulletin.clone());
        self.tell_cluster(|| ClusterMessage::Grew);
        let receipt = Receipt::new(reply);
        let tell = |slot: &mut Slot| {
            let after = std::mem::replace(&mut slot.told, to);
            let news = SessionMessage::News { after, bulletin: bulletin.clone(), receipt: receipt.clone() };
            let _ = slot.actor.cast(news); // one that failed is about to be removed
        };
        if bulletin.is_for_everyone() {
            self.sessions.values_mut().for_each(tell);
            self.passed = to;
        } else {
            // Whom it does not concern learns only now and then how far the log is: an alarm for one user shall not
            // cost a message to each.
            bulletin.users().for_each(|user| {
                if let Some(slot) = self.sessions.get_mut(user) {
                    tell(slot);
                }
            });
            if to > self.passed + PASS_AFTER {
                self.pass();
            }
        }
    }

    /// Tells whoever does not know it yet how far the log is: what lies between does not concern them.
    fn pass(&mut self) {
        let Some(Position { seq: to, .. }) = self.at else { return };
        for slot in self.sessions.values_mut().filter(|slot| slot.told < to) {
            let from = std::mem::replace(&mut slot.told, to);
            let _ = slot.actor.cast(SessionMessage::Passed { from, to }); // one that failed is about to be removed
        }
        self.passed = to;
    }

    fn pull(&self, session: ActorRef<SessionMessage>, conn: Uuid, at: Position, round: Option<Round>) {
        let floor = match self.at {
            Some(position) if position.feed == at.feed => self.memory.floor().unwrap_or(position.seq),
            _ => {
                let _ = session.cast(SessionMessage::Pulled(conn, Pulled::Failed)); // it may have ended
                return;
            }
        };
        if let Some(pages) = self.memory.since(at.seq, PAGE) {
            let _ = session.cast(SessionMessage::Pulled(conn, Pulled::Pages(pages, false))); // it may have ended
            return;
        }
        // What lies below the floor is read up to it, where a round begins; what lies above it and is not in memory
        // belongs to a round that was too large for it.
        let (until, round) = if at.seq < floor { (floor, round) } else { (u64::MAX, self.memory.round()) };
        let _ = self.archive.cast(ArchiveMessage::Page { session, conn, at, until, round }); // restarted, asked again
    }

    fn idle(&mut self, user: &Arc<str>, connects: u64) {
        if self.sessions.get(user).is_none_or(|slot| slot.connects != connects) {
            return; // a connect is on its way to it
        }
        if let Some(Slot { actor, tenure, .. }) = self.sessions.remove(user) {
            self.users.remove(&actor.get_id());
            let _ = actor.drain(); // it answers what it was asked before; one that ended needs no end
            self.keep(user.clone(), tenure);
        }
    }

    fn tenure(&mut self, user: Arc<str>, tenure: Tenure) {
        let Some(slot) = self.sessions.get_mut(&user) else { return };
        let before = std::mem::replace(&mut slot.tenure, tenure);
        if let Some((claim, _)) = tenure.revoked
            && before.revoked.is_none_or(|(revoked, _)| revoked < claim)
        {
            self.tell_cluster(|| ClusterMessage::Revoked(user.clone(), claim));
            let _ = self.archive.cast(ArchiveMessage::Revoke { user, claim }); // at worst a day's protection is lost
        }
    }

    /// Remembers what still counts of a user who is not there.
    fn keep(&mut self, user: Arc<str>, tenure: Tenure) {
        let room = self.absent.len() < ABSENT_MAX;
        if room && !tenure.is_forgettable(self.origin.elapsed()) {
            self.absent.insert(user, tenure);
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
            self.tell_all(|| SessionMessage::End { reason: Reason::Busy, spread, receipt: None, reply: None });
        }
    }

    fn tell_status(&self) {
        self.tell_all(|| SessionMessage::Tell(Event::Status(self.status)));
    }

    fn forget(&mut self) {
        let now = self.origin.elapsed();
        self.absent.retain(|_, tenure| !tenure.is_forgettable(now));
        self.absent.shrink_to(self.absent.len() * 2);
    }

    fn sessions(&self, reply: RpcReplyPort<Vec<Session>>) {
        let (to, mut described) = mpsc::channel(self.sessions.len().max(1));
        self.tell_all(|| SessionMessage::Describe(to.clone()));
        drop(to);
        tokio::spawn(async move {
            let mut sessions = Vec::new();
            while let Some(session) = described.recv().await {
                sessions.push(session);
            }
            sessions.sort_unstable_by(|a: &Session, b| a.user.cmp(&b.user));
            let _ = reply.send(sessions); // whoever asked may have given up
        });
    }

    fn session(&self, user: &str, reply: RpcReplyPort<Option<Session>>) {
        let (to, mut described) = mpsc::channel(1);
        if let Some(slot) = self.sessions.get(user) {
            let _ = slot.actor.cast(SessionMessage::Describe(to)); // one that ended has no connection
        }
        tokio::spawn(async move {
            let _ = reply.send(described.recv().await); // whoever asked may have given up
        });
    }

    fn end(&self, user: &str, reason: Reason, reply: RpcReplyPort<bool>) {
        match self.sessions.get(user) {
            Some(slot) => {
                let end = SessionMessage::End { reason, spread: Duration::ZERO, receipt: None, reply: Some(reply) };
                let _ = slot.actor.cast(end); // a session that failed has no connection
            }
            None => {
                let _ = reply.send(false); // whoever asked may have given up
            }
        }
    }

    /// Lets all sessions tell what they counted. What a session tells before it drops the receipt, or before it ends,
    /// has come when the answer is put together: a count never falls.
    fn counts(&self, waiting: u64, reply: RpcReplyPort<Counts>) {
        let (told, all_told) = ractor::concurrency::oneshot();
        let receipt = Receipt::new(told.into());
        self.tell_all(|| SessionMessage::Count(receipt.clone()));
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
        info!(sessions = self.sessions.len(), "ending all connections");
        // So that no more than five hundred come back in a second, but nobody waits for more than half a minute.
        let spread = (Duration::from_secs(1) + Duration::from_millis(self.sessions.len() as u64 * 2))
            .clamp(Duration::from_secs(3), Duration::from_secs(30));
        let receipt = Receipt::new(reply);
        self.tell_all(|| SessionMessage::End {
            reason: Reason::Shutdown,
            spread,
            receipt: Some(receipt.clone()),
            reply: None,
        });
    }

    fn tell_all(&self, message: impl Fn() -> SessionMessage) {
        for slot in self.sessions.values() {
            let _ = slot.actor.cast(message()); // one that failed is about to be removed
        }
    }

    /// A session ended that was not asked to: its connection with it.
    fn ended(&mut self, id: ActorId) {
        if let Some(user) = self.users.remove(&id)
            && let Some(Slot { mut tenure, .. }) = self.sessions.remove(&user)
        {
            tenure.end(self.origin.elapsed());
            self.tell_cluster(|| ClusterMessage::Ended(user.clone(), None));
            self.keep(user, tenure);
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
            at: None,
            memory: Memory::default(),
            shapes: Shapes::default(),
            passed: 0,
            status: Status::default(),
            cluster: None,
            clock: None,
            fenced: false,
            draining: false,
            sessions: HashMap::new(),
            users: HashMap::new(),
            absent: HashMap::new(),
            tally: Tally::default(),
            delays: Arc::default(),
            handled: arguments.handled,
        };
        state.note_clock(); // now, and not beside the first write of a program that starts with the hub
        for (user, claim) in arguments.revoked {
            state.absent.entry(user).or_default().revoke(claim, Duration::ZERO);
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
                    state.tell_status();
                }
            }
            HubMessage::Cluster(cluster) => {
                state.cluster = Some(cluster);
                state.tell_all(|| SessionMessage::Announce);
            }
            HubMessage::Clock(clock) => state.clock = Some(clock),
            HubMessage::Alone { since, fence } => state.alone(since, fence),
            HubMessage::Began { user, conn, claim, fresh } => {
                state.tell_cluster(|| ClusterMessage::Began { user, conn, claim, fresh });
            }
            HubMessage::Ended(user, conn) => state.tell_cluster(|| ClusterMessage::Ended(user, Some(conn))),
            HubMessage::Superseded { user, conn, by } => {
                if let Some(slot) = state.sessions.get(&user) {
                    let _ = slot.actor.cast(SessionMessage::Superseded { conn, by }); // one that ended has no connection
                }
            }
            HubMessage::Pull { session, conn, at, round } => state.pull(session, conn, at, round),
            HubMessage::Origin { session, conn, user, count } => {
                let ask = ArchiveMessage::Origin { session, conn, user, count };
                let _ = state.archive.cast(ask); // restarted: the client's hello is late until it comes back
            }
            HubMessage::Tenure { user, tenure } => state.tenure(user, tenure),
            HubMessage::Idle { user, connects } => state.idle(&user, connects),
            HubMessage::Counted(tally) => state.tally.add(&tally),
            HubMessage::Acknowledged { user, id, acknowledged } => {
                if let Some(slot) = state.sessions.get(&user) {
                    let told = SessionMessage::Tell(Event::Acknowledged { id, acknowledged });
                    let _ = slot.actor.cast(told); // one that ended has nobody to tell
                } else {
                    let note = Note::Acknowledged { user: user.clone(), id, acknowledged };
                    state.tell_cluster(|| ClusterMessage::Tell(user, note));
                }
            }
            HubMessage::Sessions(reply) => state.sessions(reply),
            HubMessage::Session(user, reply) => state.session(&user, reply),
            HubMessage::Kick(user, reply) => state.end(&user, Reason::Kicked, reply),
            HubMessage::Counts { handled: before, reply } => state.counts(handled.saturating_sub(before), reply),
            HubMessage::Count(counts, reply) => {
                let connections = state.sessions.len() as u64;
                let (tally, delays) = (state.tally.clone(), state.delays.clone());
                let _ = reply.send(Counts { connections, tally, delays, ..counts }); // whoever asked may have given up
            }
            HubMessage::Drain(reply) => state.drain(reply),
            HubMessage::Forget => {
                state.forget();
                state.pass();
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
                let user = state.users.get(&actor.get_id()).map_or("", |user| user);
                error!(user.id = user, %cause, "a session failed; its client comes back by itself");
                state.tally.end(Ending::Failed);
                state.ended(actor.get_id());
            }
            SupervisionEvent::ActorTerminated(actor, ..) => state.ended(actor.get_id()),
            _ => {}
        }
        Ok(())
    }
}
