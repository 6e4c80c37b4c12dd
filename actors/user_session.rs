//! UserSessionActor: one user's stream. It owns exactly one active sink, and the user's place in the log.
//!
//! A page of the log is only a hint that the log has grown: what the reader gets depends on its position. What is
//! live comes with the hint; what lies further back is asked for by position ([`HubMessage::Pull`]).

use std::{
    collections::VecDeque,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use ractor::{Actor, ActorProcessingErr, ActorRef, RpcReplyPort, concurrency::JoinHandle};
use tokio::{
    sync::mpsc,
    time::{Instant, sleep},
};
use tracing::info;
use uuid::Uuid;

use crate::{
    alarm::Position,
    claim::{Claim, Decision, Tenure},
    delivery::{Delivery, Stop},
    histogram::Histogram,
    hub::{Answer, HubMessage, Opening, Session, Settings},
    memory::Bulletin,
    sink::{self, Block, Event, Reason, Sink},
    spread,
    tally::{Ending, Tally},
};

/// How long a full sink may stay without moving before its connection is ended.
pub const STALL: Duration = Duration::from_secs(5);

/// How long an answer to a [`HubMessage::Pull`] may take before it is asked again.
const PULL_AGAIN: Duration = Duration::from_secs(5);

/// How long to wait before asking again for what could not be read.
const PULL_LATER: Duration = Duration::from_secs(1);

/// Control events that wait for room at most.
const OWED_MAX: usize = 64;

/// Refusals after which a client that comes back all the same is made to wait, and how soon they must follow.
const REFUSALS: u32 = 3;
const REFUSALS_WITHIN: Duration = Duration::from_secs(10);

/// One user's stream.
pub struct UserSessionActor;

/// What a session can be told.
#[derive(Debug)]
pub enum SessionMessage {
    /// Somebody asks for this stream. `head` is how far the hub has read, `down_since` since when it cannot.
    Connect {
        /// Who and how.
        opening: Opening,
        /// How far the hub has read.
        head: Position,
        /// Since when the database cannot be read.
        down_since: Option<SystemTime>,
        /// The answer.
        reply: RpcReplyPort<Answer>,
    },
    /// The log has grown by this page.
    News(Arc<Bulletin>, Arc<Receipt>),
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
    /// Describe the live connection, if there is one.
    Describe(mpsc::Sender<Session>),
    /// Hand what was counted to the hub.
    Count(Arc<Receipt>),
}

/// The answer to a [`HubMessage::Pull`].
#[derive(Debug)]
pub enum Pulled {
    /// What comes next, and whether part of what was missed is no longer in the log.
    Pages(Vec<Arc<Bulletin>>, bool),
    /// It cannot be read now.
    Failed,
}

/// What a connection waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tick {
    /// The next ping is due.
    Beat,
    /// The sink has room again.
    Room,
    /// An alarm waited long enough for the reader's first language.
    Settled,
    /// The sink was full this long; the number of the wait.
    Stalled(u64),
    /// The answer to this pull should be there, or it is time to ask again.
    Pull(u64),
    /// The permission ends.
    Expired,
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

/// A session's state.
pub struct SessionState {
    arguments: SessionArguments,
    myself: ActorRef<SessionMessage>,
    tenure: Tenure,
    /// Connects handled: the hub ends an idle session only if it has sent no more.
    connects: u64,
    refusals: u32,
    refused: Option<Instant>,
    live: Option<Live>,
}

/// The one live connection.
struct Live {
    conn: Uuid,
    claim: Claim,
    sink: Sink,
    delivery: Delivery,
    head: u64,
    since: SystemTime,
    took_over: bool,
    delivered: u64,
    /// When the oldest change was made that came live and may not have been offered yet.
    fresh: Option<Instant>,
    /// The hello that waits until `?history` is known to begin somewhere.
    greeting: Option<Event>,
    /// Whether a page of the past may have to be announced as incomplete.
    gap_matters: bool,
    owed: VecDeque<Event>,
    waits_for_room: bool,
    waits: u64,
    settles: Option<Instant>,
    pull: Option<u64>,
    pulls: u64,
    timers: Vec<JoinHandle<()>>,
}

impl SessionState {
    fn now(&self) -> Duration {
        self.arguments.origin.elapsed()
    }

    fn connect(
        &mut self,
        opening: Opening,
        head: Position,
        down_since: Option<SystemTime>,
        reply: RpcReplyPort<Answer>,
    ) {
        self.connects += 1;
        let clock = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let decision = self.tenure.decide(opening.claim, self.now(), clock, Uuid::new_v4());
        let (claim, resumed) = match decision {
            Decision::Refuse => return self.refuse(reply),
            Decision::Open(claim) => (claim, false),
            Decision::Resume(claim) => (claim, true),
        };
        if !opening.explicit && self.live.as_ref().is_some_and(|live| live.claim != claim) {
            let _ = reply.send(Answer::NotExplicit); // whoever asked may have given up
            return;
        }
        let conn = Uuid::new_v4();
        let (myself, settings) = (self.myself.clone(), self.arguments.settings);
        let (sink, feed) = sink::open(conn, claim, settings.queue, self.arguments.delays.clone(), move || {
            let _ = myself.cast(SessionMessage::Gone(conn)); // a session that ended has no live connection
        });
        let hello = Event::Hello {
            user: opening.user.clone(),
            languages: opening.languages.tags(),
            resumed,
            heartbeat: settings.heartbeat,
            retry: spread(Duration::from_secs(1), Duration::from_secs(3)),
        };
        if let Err(unsent) = reply.send(Answer::Open(feed)) {
            drop(unsent); // nobody is there any more: it never was a connection
            return self.idle();
        }
        let took_over = self.replace(claim);
        let known = opening.position.filter(|position| position.feed == head.feed && position.seq <= head.seq);
        let history = if opening.position.is_none() { opening.history } else { 0 };
        info!(target: "audit", { user.id = &*opening.user, conn = %conn.simple(), resumed, took_over }, "connected");
        let mut live = Live {
            conn,
            claim,
            sink,
            delivery: Delivery::new(opening.user.clone(), opening.languages, settings.settle, known.unwrap_or(head)),
            head: head.seq,
            since: SystemTime::now(),
            took_over,
            delivered: 0,
            fresh: None,
            greeting: Some(hello),
            gap_matters: known.is_some(),
            owed: VecDeque::new(),
            waits_for_room: false,
            waits: 0,
            settles: None,
            pull: None,
            pulls: 0,
            timers: Vec::new(),
        };
        if opening.position.is_some() && known.is_none() {
            live.owed.push_back(Event::Reset);
        }
        if down_since.is_some() {
            live.owed.push_back(Event::Status { down_since });
        }
        self.count(Tally::opened());
        self.tenure.begin(claim, self.now());
        self.live = Some(live);
        self.beat();
        if let Some(expires) = opening.expires {
            self.after(expires.duration_since(SystemTime::now()).unwrap_or_default(), Tick::Expired);
        }
        if history > 0 {
            let ask = HubMessage::Origin { session: self.myself.clone(), conn, user: opening.user, count: history };
            let _ = self.arguments.hub.cast(ask); // without its parent a session is about to end
        } else {
            self.greet();
        }
    }

    /// Lets go of the live connection for one with this claim; whether it was another one's.
    fn replace(&mut self, claim: Claim) -> bool {
        let Some(mut live) = self.live.take() else { return false };
        let superseded = live.claim != claim;
        if superseded {
            self.dismiss(live, Reason::Superseded, None);
        } else {
            self.count_end(&mut live, Ending::Resumed);
            live.stop().close(); // the same page is back
        }
        superseded
    }

    fn refuse(&mut self, reply: RpcReplyPort<Answer>) {
        self.count(Tally::refused());
        let recent = self.refused.is_some_and(|last| last.elapsed() < REFUSALS_WITHIN);
        self.refusals = if recent { self.refusals + 1 } else { 1 };
        self.refused = Some(Instant::now());
        let hold = if self.refusals > REFUSALS {
            spread(Duration::from_secs(2), Duration::from_secs(5))
        } else {
            Duration::ZERO
        };
        tokio::spawn(async move {
            sleep(hold).await;
            let _ = reply.send(Answer::Refused); // whoever asked may have given up
        });
        self.idle();
    }

    /// Says hello and goes on from there.
    fn greet(&mut self) {
        let Some(live) = &mut self.live else { return };
        let Some(hello) = live.greeting.take() else { return };
        let blocks = vec![Block { event: hello, at: live.delivery.at() }];
        if live.sink.greet(blocks).is_err() {
            return self.end(Reason::Lagging, Duration::ZERO);
        }
        self.advance();
    }

    /// Takes what there is, as far as there is room, and arranges to be woken for the rest.
    fn advance(&mut self) {
        let Some(live) = &mut self.live else { return };
        if live.greeting.is_some() || live.waits_for_room {
            return;
        }
        let (at, room, owed) =
            (live.delivery.at(), live.sink.room(), u32::try_from(live.owed.len()).unwrap_or(u32::MAX));
        if room < owed {
            return self.wait_for_room(owed);
        }
        let mut blocks: Vec<Block> = live.owed.drain(..).map(|event| Block { event, at }).collect();
        let (more, stop) = live.delivery.take(room - owed, live.sink.capacity(), Instant::now());
        live.delivered += more.len() as u64;
        let made = live.fresh.filter(|_| !more.is_empty());
        if stop == Stop::Empty {
            live.fresh = None;
        }
        blocks.extend(more);
        if !blocks.is_empty() && live.sink.offer(blocks, made).is_err() {
            return self.end(Reason::Lagging, Duration::ZERO); // the feed is gone; that there is room was made sure of
        }
        match stop {
            Stop::Empty if live.delivery.at().seq < live.head && live.pull.is_none() => self.pull(),
            Stop::Empty => {}
            Stop::Room(needed) => self.wait_for_room(needed),
            Stop::Settle(until) if live.settles == Some(until) => {}
            Stop::Settle(until) => {
                live.settles = Some(until);
                self.after(until.duration_since(Instant::now()), Tick::Settled);
            }
        }
    }

    fn wait_for_room(&mut self, needed: u32) {
        let Some(live) = &mut self.live else { return };
        live.waits_for_room = true;
        live.waits += 1;
        // Half of it, so that a reader is not woken for each alarm that it takes.
        let room = live.sink.room_again(needed.max(live.sink.capacity() / 2));
        let (conn, wait, myself) = (live.conn, live.waits, self.myself.clone());
        live.timers.retain(|timer| !timer.is_finished());
        live.timers.push(tokio::spawn(async move {
            room.await;
            let _ = myself.cast(SessionMessage::Tick(conn, Tick::Room)); // a session that ended needs none
        }));
        self.after(STALL, Tick::Stalled(wait));
    }

    fn pull(&mut self) {
        let Some(live) = &mut self.live else { return };
        live.pulls += 1;
        live.pull = Some(live.pulls);
        let ask = HubMessage::Pull {
            session: self.myself.clone(),
            conn: live.conn,
            at: Position { feed: live.delivery.at().feed, seq: live.delivery.end() },
            round: live.delivery.round(),
        };
        let pull = live.pulls;
        let _ = self.arguments.hub.cast(ask); // without its parent a session is about to end
        self.after(PULL_AGAIN, Tick::Pull(pull));
    }

    fn pulled(&mut self, pulled: Pulled) {
        let Some(live) = &mut self.live else { return };
        let Some(pull) = live.pull.take() else { return };
        match pulled {
            Pulled::Pages(pages, expired) => {
                if expired && live.gap_matters {
                    live.owed.push_back(Event::Gap);
                }
                live.gap_matters = false;
                for page in pages {
                    live.head = live.head.max(page.batch.to);
                    live.delivery.push(page, false);
                }
                self.advance();
            }
            Pulled::Failed => {
                live.pull = Some(pull);
                self.after(PULL_LATER, Tick::Pull(pull));
            }
        }
    }

    fn news(&mut self, bulletin: Arc<Bulletin>) {
        let Some(live) = &mut self.live else { return };
        if bulletin.batch.feed != live.delivery.at().feed {
            return;
        }
        live.head = live.head.max(bulletin.batch.to);
        if live.pull.is_none() && live.greeting.is_none() {
            live.fresh.get_or_insert(bulletin.batch.made);
            live.delivery.push(bulletin, true);
        }
        self.advance();
    }

    fn tick(&mut self, tick: Tick) {
        let Some(live) = &mut self.live else { return };
        match tick {
            Tick::Beat => {
                if live.greeting.is_none() {
                    let ping = Block { event: Event::Ping, at: live.delivery.at() };
                    let _ = live.sink.offer(vec![ping], None); // a full sink shows that there is life
                }
                self.beat();
            }
            Tick::Room => {
                live.waits_for_room = false;
                self.advance();
            }
            Tick::Settled => {
                live.settles = None;
                self.advance();
            }
            Tick::Stalled(wait) if live.waits_for_room && live.waits == wait => {
                self.end(Reason::Lagging, Duration::ZERO)
            }
            Tick::Pull(pull) if live.pull == Some(pull) => self.pull(),
            Tick::Stalled(_) | Tick::Pull(_) => {}
            Tick::Expired => self.end(Reason::Expired, Duration::ZERO),
        }
    }

    fn tell(&mut self, event: Event) {
        let Some(live) = &mut self.live else { return };
        if let Event::Status { .. } = event {
            live.owed.retain(|owed| !matches!(owed, Event::Status { .. }));
        }
        live.owed.push_back(event);
        if live.owed.len() > OWED_MAX {
            return self.end(Reason::Lagging, Duration::ZERO);
        }
        self.advance();
    }

    fn reset(&mut self, head: Position) {
        let Some(live) = &mut self.live else { return };
        live.delivery.jump(head);
        live.head = head.seq;
        live.pull = None;
        live.gap_matters = false;
        self.tell(Event::Reset);
    }

    /// Ends the live connection with a `bye`.
    fn end(&mut self, reason: Reason, longest: Duration) {
        if let Some(live) = self.live.take() {
            let retry = reason.reconnect().then(|| spread(Duration::from_secs(1), longest.max(Duration::from_secs(3))));
            self.tenure.end(self.now());
            self.dismiss(live, reason, retry);
            self.idle();
        }
    }

    fn dismiss(&mut self, mut live: Live, reason: Reason, retry: Option<Duration>) {
        info!(target: "audit", { user.id = &*self.arguments.user, conn = %live.conn.simple(), reason = reason.as_str() }, "connection ended");
        self.count_end(&mut live, Ending::Bye(reason));
        if !reason.reconnect() {
            self.tenure.revoke(live.claim, self.now());
            let revoked = HubMessage::Revoked { user: self.arguments.user.clone(), claim: live.claim };
            let _ = self.arguments.hub.cast(revoked); // without its parent a session is about to end
        }
        let at = live.delivery.at();
        live.stop().bye(Block { event: Event::Bye { reason, retry }, at });
    }

    fn gone(&mut self, conn: Uuid) {
        if self.live.as_ref().is_some_and(|live| live.conn == conn)
            && let Some(mut live) = self.live.take()
        {
            info!(target: "audit", { user.id = &*self.arguments.user, conn = %conn.simple() }, "connection gone");
            self.count_end(&mut live, Ending::Gone);
            live.stop().close();
            self.tenure.end(self.now());
            self.idle();
        }
    }

    /// Offers itself to be ended, unless a connection is live.
    fn idle(&self) {
        if self.live.is_none() {
            let (user, tenure) = (self.arguments.user.clone(), self.tenure);
            let idle = HubMessage::Idle { user, connects: self.connects, tenure };
            let _ = self.arguments.hub.cast(idle); // without its parent a session is about to end
        }
    }

    fn count(&self, tally: Tally) {
        let _ = self.arguments.hub.cast(HubMessage::Counted(tally)); // without its parent a session is about to end
    }

    fn count_end(&self, live: &mut Live, ending: Ending) {
        let mut tally = live.delivery.tally.take();
        tally.end(ending);
        self.count(tally);
    }

    fn describe(&self, to: &mpsc::Sender<Session>) {
        if let Some(live) = &self.live {
            let session = Session {
                user: self.arguments.user.clone(),
                conn: live.conn,
                languages: live.delivery.languages().tags(),
                since: live.since,
                took_over: live.took_over,
                delivered: live.delivered,
                at: live.delivery.at(),
                queued: live.sink.queued(),
            };
            let _ = to.try_send(session); // whoever asked may have given up
        }
    }

    fn beat(&mut self) {
        let heartbeat = self.arguments.settings.heartbeat;
        self.after(spread(heartbeat.mul_f32(0.8), heartbeat), Tick::Beat);
    }

    fn after(&mut self, delay: Duration, tick: Tick) {
        let Some(live) = &mut self.live else { return };
        let (conn, myself) = (live.conn, self.myself.clone());
        live.timers.retain(|timer| !timer.is_finished());
        live.timers.push(tokio::spawn(async move {
            sleep(delay).await;
            let _ = myself.cast(SessionMessage::Tick(conn, tick)); // a session that ended needs none
        }));
    }
}

impl Live {
    /// Ends what waits on its behalf and hands out the sink.
    fn stop(self) -> Sink {
        for timer in &self.timers {
            timer.abort();
        }
        self.sink
    }
}

impl Actor for UserSessionActor {
    type Msg = SessionMessage;
    type State = SessionState;
    type Arguments = SessionArguments;

    async fn pre_start(
        &self,
        myself: ActorRef<SessionMessage>,
        arguments: SessionArguments,
    ) -> Result<SessionState, ActorProcessingErr> {
        let tenure = arguments.tenure;
        Ok(SessionState { arguments, myself, tenure, connects: 0, refusals: 0, refused: None, live: None })
    }

    async fn handle(
        &self,
        _: ActorRef<SessionMessage>,
        message: SessionMessage,
        state: &mut SessionState,
    ) -> Result<(), ActorProcessingErr> {
        let is_live = |conn: Uuid| state.live.as_ref().is_some_and(|live| live.conn == conn);
        match message {
            SessionMessage::Connect { opening, head, down_since, reply } => {
                state.connect(opening, head, down_since, reply);
            }
            SessionMessage::News(bulletin, _receipt) => state.news(bulletin),
            SessionMessage::Pulled(conn, pulled) if is_live(conn) => state.pulled(pulled),
            SessionMessage::Origin(conn, at) if is_live(conn) => {
                if let (Some(live), Some(at)) = (&mut state.live, at) {
                    live.delivery.jump(at);
                }
                state.greet();
            }
            SessionMessage::Tick(conn, tick) if is_live(conn) => state.tick(tick),
            SessionMessage::Pulled(..) | SessionMessage::Origin(..) | SessionMessage::Tick(..) => {}
            SessionMessage::Gone(conn) => state.gone(conn),
            SessionMessage::Tell(event) => state.tell(event),
            SessionMessage::Reset(head) => state.reset(head),
            SessionMessage::End { reason, spread, receipt: _receipt, reply } => {
                let was_live = state.live.is_some();
                state.end(reason, spread);
                if let Some(reply) = reply {
                    let _ = reply.send(was_live); // whoever asked may have given up
                }
            }
            SessionMessage::Describe(to) => state.describe(&to),
            SessionMessage::Count(_receipt) => {
                if let Some(tally) = state.live.as_mut().map(|live| live.delivery.tally.take()) {
                    state.count(tally);
                }
            }
        }
        Ok(())
    }
}
