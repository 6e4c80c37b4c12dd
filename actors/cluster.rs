//! ClusterActor: makes several hubs behave as one. It mirrors what this hub's sessions do into the register that all
//! hubs share, closes the connections that the register gave to another hub, and carries what concerns a user to the
//! hub that serves that user.
//!
//! No connection waits for it: sessions decide at once, and the register corrects them. What is to be said is told
//! from the state when it is said, so that what waits is at most one word a user; one exchange is under way at a time.

mod mirror;
mod questions;

use std::{
    collections::VecDeque,
    mem,
    sync::Arc,
    time::{Duration, SystemTime},
};

use ractor::{Actor, ActorProcessingErr, ActorRef, RpcReplyPort, rpc::CallResult};
use tokio::{
    sync::{mpsc, watch},
    time::{Instant, sleep},
};
use tracing::{info, warn};
use uuid::Uuid;

use crate::{
    claim::Claim,
    exchange::{Ask, Away, Clock, Exchange, Mailbox, Note, Reply},
    hub::{Answer, HubMessage, Opening, Session},
    register::{Bid, Close, RENEW, SAY_AGAIN, Step, Verdict},
    spread,
};
use mirror::Mirror;
use questions::{OTHERS, Question, Questions};

/// What is asked in one exchange, at most.
const TOGETHER: usize = 512;

/// What waits besides the users' own words, at most.
const WAITING_MAX: usize = 4_096;

/// How often the clocks are compared again.
const COMPARE: Duration = Duration::from_secs(60);

/// How often to look whose word is due.
const TICK: Duration = Duration::from_secs(1);

/// How long the register may be away before readers are told that this hub goes on alone.
const ALONE_AFTER: Duration = Duration::from_secs(2);

/// The pauses between two attempts to reach it, besides [`SAY_AGAIN`].
const AGAIN: Duration = Duration::from_millis(20);
const AGAIN_MAX: Duration = Duration::from_secs(1);

/// Makes several hubs behave as one.
pub struct ClusterActor;

/// How the connection to the other hubs is.
#[derive(Clone, Debug, Default)]
pub struct Standing {
    /// Since when the register cannot be reached, and why.
    pub away: Option<(SystemTime, String)>,
    /// How often it was reached again.
    pub reconnects: u64,
    /// Connections that were closed because another hub had a newer one.
    pub conflicts: u64,
    /// Users of which this hub has something to say.
    pub waiting: u64,
    /// How far other hubs have been told of the alarms, if this hub has a database.
    pub fed: Option<Fed>,
}

/// What the cluster actor can be told.
#[derive(Debug)]
pub enum ClusterMessage {
    /// A connection began on this hub.
    Began {
        /// Whose.
        user: Arc<str>,
        /// Which.
        conn: Uuid,
        /// Under which claim.
        claim: Claim,
        /// It is a deliberate opening and no resume.
        fresh: bool,
    },
    /// A connection of this hub ended; `None`: whichever this user had.
    Ended(Arc<str>, Option<Uuid>),
    /// Claims of this user up to this one are worth nothing any more.
    Revoked(Arc<str>, Claim),
    /// Somebody comes back with a claim: may he? The answer goes to the hub, as [`HubMessage::Judged`].
    Judge(Opening, RpcReplyPort<Answer>),
    /// Tell the hub that serves this user, if it is another one.
    Tell(Arc<str>, Note),
    /// End the connection of this user, wherever it is; whether there was one.
    Kick(Arc<str>, RpcReplyPort<bool>),
    /// The live connections of all hubs.
    Sessions(RpcReplyPort<Vec<Session>>),
    /// The live connection of one user, wherever it is.
    Session(Arc<str>, RpcReplyPort<Option<Session>>),
    /// The log grew: other hubs are to be told.
    Grew,
    /// Where the hubs can be asked that have a database; empty if none is there or that cannot be told.
    Origins(RpcReplyPort<Vec<Arc<str>>>),
    /// How are you?
    Standing(RpcReplyPort<Standing>),
    /// An exchange is over.
    Exchanged(Exchanged),
    /// Notes of other hubs. Answered when they are handled.
    Notes(Vec<Note>, RpcReplyPort<()>),
    /// It is time to see whose word is due.
    Tick,
    /// The mailbox cannot be read: whether all is away is found out by saying something.
    Unread,
    /// It is time to try again.
    Again,
    /// Other hubs had long enough to answer.
    Overdue(u64),
    /// What this hub itself adds to an answer.
    Here(u64, Vec<Session>),
}

/// What came of an exchange, and the exchange on its way back.
pub struct Exchanged {
    exchange: Box<dyn Exchange>,
    outcome: Outcome,
}

enum Outcome {
    Compared(Result<Clock, Away>),
    Asked(Vec<Asked>, Result<Vec<Reply>, Away>),
}

impl std::fmt::Debug for Exchanged {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Exchanged")
    }
}

/// What was asked, and whom the answer is for.
enum Asked {
    Bid(Arc<str>, Step, Bid),
    Judge(Opening, RpcReplyPort<Answer>),
    /// A note, and the question it belongs to.
    Note(Option<u64>),
    Hubs(u64),
    Origins(RpcReplyPort<Vec<Arc<str>>>),
}

/// How far other hubs have been told of the alarms.
#[derive(Clone, Debug, Default)]
pub struct Fed {
    /// Positions that they have not been told of.
    pub behind: u64,
    /// Why they cannot be told.
    pub refused: Option<String>,
}

/// Whoever tells other hubs of the alarms. It ends with the cluster actor.
pub struct Feeding {
    /// Tells it that the log grew.
    pub grew: mpsc::Sender<()>,
    /// How far it is.
    pub fed: watch::Receiver<Fed>,
}

/// What a cluster actor starts with.
pub struct ClusterArguments {
    /// The name of this hub: never that of another one, or of an earlier start.
    pub name: Arc<str>,
    /// The register.
    pub exchange: Box<dyn Exchange>,
    /// Where other hubs write to this one.
    pub mailbox: Box<dyn Mailbox>,
    /// Whom to tell.
    pub hub: ActorRef<HubMessage>,
    /// Whether this hub closes its connections while it is alone.
    pub fence: bool,
    /// Who tells other hubs of the alarms, if this hub has a database.
    pub feeding: Option<Feeding>,
}

/// Makes what a cluster actor starts with, to tell this hub.
pub type OpenCluster = Arc<dyn Fn(ActorRef<HubMessage>) -> ClusterArguments + Send + Sync>;

/// A cluster actor's state.
pub struct ClusterState {
    name: Arc<str>,
    hub: ActorRef<HubMessage>,
    myself: ActorRef<ClusterMessage>,
    fence: bool,
    feeding: Option<Feeding>,
    exchange: Option<Box<dyn Exchange>>,
    clock: Option<Clock>,
    compared: Instant,
    listed: Instant,
    pause: Duration,
    alone_since: Option<(Instant, bool)>,
    mirror: Mirror,
    /// Everything else that is to be asked.
    asks: VecDeque<(Ask, Asked)>,
    questions: Questions,
    standing: Standing,
}

impl ClusterState {
    fn ask(&mut self, ask: Ask, asked: Asked) {
        if self.clock.is_some() && self.asks.len() < WAITING_MAX {
            self.asks.push_back((ask, asked));
        } else {
            self.unasked(asked);
        }
    }

    /// What becomes of a question that cannot be asked.
    fn unasked(&mut self, asked: Asked) {
        match asked {
            Asked::Judge(opening, reply) => self.judged(opening, false, None, reply),
            Asked::Note(Some(question)) => self.questions.answer(question),
            Asked::Hubs(question) => self.questions.expect(question, 0), // this one's own sessions are all there are
            Asked::Origins(reply) => {
                let _ = reply.send(Vec::new()); // whoever asked may have given up
            }
            Asked::Note(None) | Asked::Bid(..) => {}
        }
    }

    /// Begins the next exchange, if none is under way.
    fn go_on(&mut self) {
        let Some(clock) = self.clock else { return };
        let compare = self.compared.elapsed() >= COMPARE;
        if !compare && self.mirror.waiting() == 0 && self.asks.is_empty() {
            return;
        }
        let Some(mut exchange) = self.exchange.take() else { return };
        let myself = self.myself.clone();
        if compare {
            return self.compare(exchange);
        }
        let (mut asks, mut asked) = (Vec::new(), Vec::new());
        while asks.len() < TOGETHER
            && let Some((user, step, bid)) = self.mirror.word(&clock)
        {
            asks.push(Ask::Bid(user.clone(), step, bid.clone()));
            asked.push(Asked::Bid(user, step, bid));
        }
        let rest = self.asks.len().min(TOGETHER);
        for (ask, answer) in self.asks.drain(..rest) {
            asks.push(ask);
            asked.push(answer);
        }
        tokio::spawn(async move {
            let replies = exchange.ask(asks).await;
            let exchanged = Exchanged { exchange, outcome: Outcome::Asked(asked, replies) };
            let _ = myself.cast(ClusterMessage::Exchanged(exchanged)); // a cluster actor that ended asks no more
        });
    }

    /// Reaches the register, if that is needed, and compares the clocks.
    fn compare(&mut self, mut exchange: Box<dyn Exchange>) {
        let myself = self.myself.clone();
        tokio::spawn(async move {
            let clock = exchange.clock().await;
            let exchanged = Exchanged { exchange, outcome: Outcome::Compared(clock) };
            let _ = myself.cast(ClusterMessage::Exchanged(exchanged)); // a cluster actor that ended asks no more
        });
    }

    fn exchanged(&mut self, exchanged: Exchanged) {
        self.exchange = Some(exchanged.exchange);
        match exchanged.outcome {
            Outcome::Compared(Ok(clock)) => self.compared(clock),
            Outcome::Compared(Err(away)) => self.away(away),
            Outcome::Asked(asked, Ok(replies)) => {
                for (asked, reply) in asked.into_iter().zip(replies) {
                    self.replied(asked, reply);
                }
            }
            Outcome::Asked(asked, Err(away)) => {
                self.away(away);
                for asked in asked {
                    self.unasked(asked);
                }
            }
        }
    }

    fn compared(&mut self, clock: Clock) {
        self.compared = Instant::now();
        let _ = self.hub.cast(HubMessage::Clock(clock)); // without a hub there is nobody to tell
        if self.clock.replace(clock).is_some() {
            return;
        }
        self.pause = AGAIN;
        self.list();
        if let Some((since, _)) = self.standing.away.take() {
            self.standing.reconnects += 1;
            let seconds = since.elapsed().unwrap_or_default().as_secs_f32();
            info!(seconds, users = self.mirror.users(), "redis is there again");
        } else {
            info!(hub = &*self.name, "redis is there");
        }
        if let Some((_, true)) = self.alone_since.take() {
            let _ = self.hub.cast(HubMessage::Alone { since: None, fence: false }); // as above
        }
        self.mirror.speak_of_all();
    }

    fn away(&mut self, away: Away) {
        self.clock = None;
        if self.standing.away.as_ref().is_none_or(|(_, before)| *before != away.0) {
            warn!(cause = away.0, "redis is away; this hub goes on alone");
        }
        let since = self.standing.away.take().map_or_else(SystemTime::now, |(since, _)| since);
        self.standing.away = Some((since, away.0));
        self.alone_since.get_or_insert_with(|| (Instant::now(), false));
        for (_, asked) in mem::take(&mut self.asks) {
            self.unasked(asked);
        }
        self.later(SAY_AGAIN + spread(Duration::ZERO, self.pause), ClusterMessage::Again);
        self.pause = (self.pause * 2).min(AGAIN_MAX);
    }

    fn replied(&mut self, asked: Asked, reply: Reply) {
        match (asked, reply) {
            (Asked::Bid(user, step, bid), Reply::Verdict(verdict)) => self.heard(user, step, &bid, verdict),
            (Asked::Judge(opening, reply), Reply::Register(register, now)) => {
                let claim = opening.claim;
                let refused = |claim| register.as_ref().is_some_and(|register| register.refuses(claim, now));
                let newest = register.as_ref().map(|register| register.claim);
                self.judged(opening, claim.is_some_and(refused), newest, reply);
            }
            (Asked::Origins(reply), Reply::Hubs(origins)) => {
                let _ = reply.send(origins); // whoever asked may have given up
            }
            (Asked::Hubs(question), Reply::Hubs(hubs)) => self.ask_hubs(question, hubs),
            (Asked::Note(Some(question)), Reply::Posted(false)) => self.questions.answer(question),
            (Asked::Note(_), Reply::Posted(_) | Reply::Hubs(_)) => {}
            (asked, _) => self.unasked(asked),
        }
    }

    fn heard(&mut self, user: Arc<str>, step: Step, bid: &Bid, verdict: Verdict) {
        if let Some(Close::Superseded(conn, by)) = self.mirror.heard(&user, step, bid, verdict) {
            self.standing.conflicts += 1;
            let _ = self.hub.cast(HubMessage::Superseded { user, conn, by }); // without a hub there is no connection
        }
    }

    fn judged(&self, opening: Opening, refused: bool, newest: Option<Claim>, reply: RpcReplyPort<Answer>) {
        let _ = self.hub.cast(HubMessage::Judged { opening, refused, newest, reply }); // the reply is dropped with it
    }

    /// Says that this hub is there: without it no other asks it for its sessions.
    fn list(&mut self) {
        self.listed = Instant::now();
        self.ask(Ask::Hubs, Asked::Note(None)); // whoever asks is one of them
    }

    fn tick(&mut self) {
        self.later(TICK, ClusterMessage::Tick);
        if self.clock.is_some() && self.listed.elapsed() >= RENEW {
            self.list();
        }
        if let Some((since, told)) = &mut self.alone_since
            && !*told
            && since.elapsed() >= ALONE_AFTER
        {
            *told = true;
            let since = self.standing.away.as_ref().map(|(since, _)| *since);
            let _ = self.hub.cast(HubMessage::Alone { since, fence: self.fence }); // without a hub there is nobody to tell
        }
        if self.clock.is_none() {
            return;
        }
        self.mirror.renew();
    }

    fn question(&mut self, question: Question) -> u64 {
        let number = self.questions.ask(question);
        self.later(OTHERS, ClusterMessage::Overdue(number));
        number
    }

    fn kick(&mut self, user: Arc<str>, reply: RpcReplyPort<bool>) {
        let question = self.question(Question::Kick(reply));
        let note = Note::Kick { user: user.clone(), question, from: self.name.clone() };
        self.ask(Ask::PostOwner(user, self.name.clone(), note), Asked::Note(Some(question)));
    }

    fn session(&mut self, user: Arc<str>, reply: RpcReplyPort<Option<Session>>) {
        let question = self.question(Question::Session(reply));
        let note = Note::Describe { user: Some(user.clone()), question, from: self.name.clone() };
        self.ask(Ask::PostOwner(user, self.name.clone(), note), Asked::Note(Some(question)));
    }

    fn sessions(&mut self, reply: RpcReplyPort<Vec<Session>>) {
        let question = self.question(Question::sessions(reply));
        tokio::spawn(questions::here(self.hub.clone(), self.myself.clone(), question));
        self.ask(Ask::Hubs, Asked::Hubs(question));
    }

    fn ask_hubs(&mut self, question: u64, hubs: Vec<Arc<str>>) {
        let others: Vec<Arc<str>> = hubs.into_iter().filter(|hub| *hub != self.name).collect();
        self.questions.expect(question, others.len());
        for hub in others {
            let note = Note::Describe { user: None, question, from: self.name.clone() };
            self.ask(Ask::Post(hub, note), Asked::Note(None));
        }
    }

    fn note(&mut self, note: Note) {
        match note {
            Note::Look(user) => self.mirror.speak(user),
            Note::Acknowledged { user, id, acknowledged } => {
                let told = HubMessage::Acknowledged { user, id, acknowledged };
                let _ = self.hub.cast(told); // without a hub there is no connection
            }
            Note::Kick { user, question, from } => {
                tokio::spawn(questions::kick(self.hub.clone(), self.myself.clone(), user, question, from));
            }
            Note::Kicked { question, done } => self.questions.kicked(question, done),
            Note::Describe { user, question, from } => {
                tokio::spawn(questions::describe(self.hub.clone(), self.myself.clone(), user, question, from));
            }
            Note::Sessions { question, sessions, last } => self.questions.found(question, sessions, last),
        }
    }

    /// To whoever a note is for: a hub, if it answers that hub's question, else the one that serves the user.
    fn tell(&mut self, to: Arc<str>, note: Note) {
        let ask = match note {
            Note::Kicked { .. } | Note::Sessions { .. } => Ask::Post(to, note),
            _ => Ask::PostOwner(to, self.name.clone(), note),
        };
        self.ask(ask, Asked::Note(None));
    }

    fn later(&self, delay: Duration, message: ClusterMessage) {
        let myself = self.myself.clone();
        tokio::spawn(async move {
            sleep(delay).await;
            let _ = myself.cast(message); // one that ended has nothing left to do
        });
    }
}

/// Reads a mailbox for as long as its owner is there.
async fn read(mut mailbox: Box<dyn Mailbox>, owner: ActorRef<ClusterMessage>) {
    let mut pause = AGAIN;
    loop {
        match mailbox.read().await {
            Ok(notes) => {
                pause = AGAIN;
                let handled = owner.call(|reply| ClusterMessage::Notes(notes, reply), None).await;
                if !matches!(handled, Ok(CallResult::Success(()))) {
                    return;
                }
            }
            // The exchange tells of it, and asks anew what a lost note would have told.
            Err(_) => {
                if owner.cast(ClusterMessage::Unread).is_err() {
                    return;
                }
                sleep(spread(Duration::ZERO, pause)).await;
                pause = (pause * 2).min(AGAIN_MAX);
                if owner.get_status() >= ractor::ActorStatus::Stopping {
                    return;
                }
            }
        }
    }
}

impl Actor for ClusterActor {
    type Msg = ClusterMessage;
    type State = ClusterState;
    type Arguments = ClusterArguments;

    async fn pre_start(
        &self,
        myself: ActorRef<ClusterMessage>,
        arguments: ClusterArguments,
    ) -> Result<ClusterState, ActorProcessingErr> {
        let ClusterArguments { name, exchange, mailbox, hub, fence, feeding } = arguments;
        let mut state = ClusterState {
            mirror: Mirror::new(name.clone()),
            name,
            hub,
            myself: myself.clone(),
            fence,
            feeding,
            exchange: None,
            clock: None,
            compared: Instant::now(),
            listed: Instant::now(),
            pause: AGAIN,
            alone_since: None,
            asks: VecDeque::new(),
            questions: Questions::default(),
            standing: Standing::default(),
        };
        state.compare(exchange);
        tokio::spawn(read(mailbox, myself.clone()));
        let _ = myself.cast(ClusterMessage::Tick); // to oneself, at the start
        let _ = state.hub.cast(HubMessage::Cluster(myself)); // without a hub the parent starts both again
        Ok(state)
    }

    async fn handle(
        &self,
        _: ActorRef<ClusterMessage>,
        message: ClusterMessage,
        state: &mut ClusterState,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            ClusterMessage::Began { user, conn, claim, fresh } => state.mirror.began(user, conn, claim, fresh),
            ClusterMessage::Ended(user, conn) => state.mirror.ended(user, conn),
            ClusterMessage::Revoked(user, claim) => state.mirror.revoked(user, claim),
            ClusterMessage::Judge(opening, reply) => {
                let user = opening.user.clone();
                state.ask(Ask::Look(user), Asked::Judge(opening, reply));
            }
            ClusterMessage::Tell(to, note) => state.tell(to, note),
            ClusterMessage::Kick(user, reply) => state.kick(user, reply),
            ClusterMessage::Sessions(reply) => state.sessions(reply),
            ClusterMessage::Session(user, reply) => state.session(user, reply),
            ClusterMessage::Grew => {
                let feeding = state.feeding.as_ref().map(|feeding| feeding.grew.try_send(()));
                if let Some(Err(mpsc::error::TrySendError::Closed(()))) = feeding {
                    return Err("whoever tells other hubs of the alarms ended".into());
                }
            }
            ClusterMessage::Origins(reply) => state.ask(Ask::Origins, Asked::Origins(reply)),
            ClusterMessage::Standing(reply) => {
                state.standing.fed = state.feeding.as_ref().map(|feeding| feeding.fed.borrow().clone());
                state.standing.waiting = state.mirror.waiting() as u64;
                let _ = reply.send(state.standing.clone()); // whoever asked may have given up
            }
            ClusterMessage::Exchanged(exchanged) => state.exchanged(exchanged),
            ClusterMessage::Notes(notes, reply) => {
                notes.into_iter().for_each(|note| state.note(note));
                let _ = reply.send(()); // the reader ends with its owner
            }
            ClusterMessage::Tick => state.tick(),
            ClusterMessage::Unread => state.list(),
            ClusterMessage::Again => {
                if let Some(exchange) = state.exchange.take() {
                    state.compare(exchange);
                }
            }
            ClusterMessage::Overdue(question) => state.questions.answer(question),
            ClusterMessage::Here(question, sessions) => state.questions.found(question, sessions, true),
        }
        state.go_on();
        Ok(())
    }
}
