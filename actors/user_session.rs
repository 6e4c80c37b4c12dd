//! UserSessionActor: one user's stream. It owns exactly one active sink, and the user's place in the log.
//!
//! A page of the log is only a hint that the log has grown: what the reader gets depends on its position. What is
//! live comes with the hint; what lies further back is asked for by position ([`HubMessage::Pull`]).

use std::time::Duration;

use ractor::{Actor, ActorProcessingErr, ActorRef, RpcReplyPort};
use tokio::time::{Instant, sleep};
use tracing::info;
use uuid::Uuid;

use crate::{
    alarm::Position,
    claim::{Claim, Decision, Tenure},
    connection::{Beginning, Connection},
    hub::{Answer, HubMessage, Opening},
    sink::{self, Event, Reason, Status},
    spread,
    tally::{Ending, Tally},
};

mod message;

pub use message::{Elsewhere, Pulled, Receipt, SessionArguments, SessionMessage};

/// Refusals after which a client that comes back all the same is made to wait, and how soon they must follow.
const REFUSALS: u32 = 3;
const REFUSALS_WITHIN: Duration = Duration::from_secs(10);

/// One user's stream.
pub struct UserSessionActor;

/// A session's state.
pub struct SessionState {
    arguments: SessionArguments,
    myself: ActorRef<SessionMessage>,
    tenure: Tenure,
    /// Connects handled: the hub ends an idle session only if it has sent no more.
    connects: u64,
    refusals: u32,
    refused: Option<Instant>,
    live: Option<Connection>,
}

impl SessionState {
    fn now(&self) -> Duration {
        self.arguments.origin.elapsed()
    }

    fn connect(
        &mut self,
        opening: Opening,
        clock: Duration,
        head: Position,
        status: Status,
        elsewhere: Option<Elsewhere>,
        reply: RpcReplyPort<Answer>,
    ) {
        self.connects += 1;
        match elsewhere {
            Some(Elsewhere { refused: true, .. }) => return self.refuse(reply),
            Some(Elsewhere { newest, .. }) => self.tenure.newest = self.tenure.newest.max(newest),
            None => {}
        }
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
            return self.idle(Tally::default());
        }
        let (took_over, mut tally) = self.replace(claim);
        info!(target: "audit", { user.id = &*opening.user, conn = %conn.simple(), resumed, took_over }, "connected");
        tally.opened += 1;
        self.tenure.begin(claim, self.now());
        self.tell_tenure(tally);
        let beginning = Beginning {
            conn,
            claim,
            sink,
            opening,
            hello,
            head,
            status,
            shared: elsewhere.map(|_| resumed),
            took_over,
        };
        let (myself, hub) = (self.myself.clone(), self.arguments.hub.clone());
        self.live = Some(Connection::begin(beginning, settings, myself, hub));
        self.announce();
        self.go_on(Connection::advance);
    }

    /// Lets go of the live connection for one with this claim; whether it was another one's, and what it counted.
    fn replace(&mut self, claim: Claim) -> (bool, Tally) {
        let Some(mut live) = self.live.take() else { return (false, Tally::default()) };
        if live.claim != claim {
            return (true, self.dismiss(live, Reason::Superseded, None));
        }
        let tally = count_end(&mut live, Ending::Resumed);
        live.close(); // the same page is back
        (false, tally)
    }

    fn refuse(&mut self, reply: RpcReplyPort<Answer>) {
        self.count(Tally { refused: 1, ..Tally::default() });
        let recent = self.refused.is_some_and(|last| last.elapsed() < REFUSALS_WITHIN);
        self.refusals = if recent { self.refusals + 1 } else { 1 };
        self.refused = Some(Instant::now());
        let hold = if self.refusals > REFUSALS {
            spread(Duration::from_secs(2), Duration::from_secs(5))
        } else {
            Duration::ZERO
        };
        let myself = self.myself.clone();
        tokio::spawn(async move {
            sleep(hold).await;
            let _ = reply.send(Answer::Refused); // whoever asked may have given up
            sleep(REFUSALS_WITHIN).await;
            let _ = myself.cast(SessionMessage::Rest); // a session that ended rests
        });
    }

    /// Lets the live connection take a step, and ends it if that is the end.
    fn go_on(&mut self, step: impl FnOnce(&mut Connection) -> Result<(), Reason>) {
        if let Some(Err(reason)) = self.live.as_mut().map(step) {
            self.end(reason, Duration::ZERO);
        }
    }

    /// Ends the live connection with a `bye`.
    fn end(&mut self, reason: Reason, longest: Duration) {
        if let Some(live) = self.live.take() {
            let shared = live.shared.map(|_| live.conn);
            let retry = reason.reconnect().then(|| spread(Duration::from_secs(1), longest.max(Duration::from_secs(3))));
            self.tenure.end(self.now());
            let tally = self.dismiss(live, reason, retry);
            self.idle(tally);
            self.withdraw(shared);
        }
    }

    fn dismiss(&mut self, live: Connection, reason: Reason, retry: Option<Duration>) -> Tally {
        if !reason.reconnect() {
            self.tenure.revoke(live.claim, self.now());
        }
        self.bid_farewell(live, reason, retry)
    }

    fn bid_farewell(&self, mut live: Connection, reason: Reason, retry: Option<Duration>) -> Tally {
        info!(target: "audit", { user.id = &*self.arguments.user, conn = %live.conn.simple(), reason = reason.as_str() }, "connection ended");
        let tally = count_end(&mut live, Ending::Bye(reason));
        live.bye(reason, retry);
        tally
    }

    fn superseded(&mut self, conn: Uuid, by: Claim) {
        let Some(mut live) = self.live.take_if(|live| live.conn == conn) else { return };
        self.tenure.yields(by, self.now());
        let tally = if live.claim == by {
            let tally = count_end(&mut live, Ending::Resumed);
            live.close(); // the same page is back, on another hub
            tally
        } else {
            self.bid_farewell(live, Reason::Superseded, None)
        };
        self.idle(tally);
    }

    /// Tells the hub of the live connection, if other hubs are to hear of it.
    fn announce(&self) {
        if let Some(live) = &self.live
            && let Some(resumed) = live.shared
        {
            let user = self.arguments.user.clone();
            let began = HubMessage::Began { user, conn: live.conn, claim: live.claim, fresh: !resumed };
            let _ = self.arguments.hub.cast(began); // without its parent a session is about to end
        }
    }

    /// Tells the hub that a connection ended, if other hubs heard of it. After what it leaves behind was told: of a
    /// connection that is over nothing more is said to them.
    fn withdraw(&self, shared: Option<Uuid>) {
        if let Some(conn) = shared {
            let ended = HubMessage::Ended(self.arguments.user.clone(), conn);
            let _ = self.arguments.hub.cast(ended); // without its parent a session is about to end
        }
    }

    /// Lets the hub know who owns the stream and what is revoked: it outlives the session.
    /// With it goes what was counted on the way there.
    fn tell_tenure(&self, tally: Tally) {
        let tenure = HubMessage::Tenure { user: self.arguments.user.clone(), tenure: self.tenure, tally };
        let _ = self.arguments.hub.cast(tenure); // without its parent a session is about to end
    }

    fn gone(&mut self, conn: Uuid) {
        if self.live.as_ref().is_some_and(|live| live.conn == conn)
            && let Some(mut live) = self.live.take()
        {
            info!(target: "audit", { user.id = &*self.arguments.user, conn = %conn.simple() }, "connection gone");
            let (tally, shared) = (count_end(&mut live, Ending::Gone), live.shared.map(|_| conn));
            live.close();
            self.tenure.end(self.now());
            self.idle(tally);
            self.withdraw(shared);
        }
    }

    /// Offers itself to be ended, unless a connection is live.
    fn idle(&self, tally: Tally) {
        if self.live.is_none() {
            self.tell_tenure(tally);
            let idle = HubMessage::Idle { user: self.arguments.user.clone(), connects: self.connects };
            let _ = self.arguments.hub.cast(idle); // without its parent a session is about to end
        }
    }

    fn count(&self, tally: Tally) {
        let _ = self.arguments.hub.cast(HubMessage::Counted(tally)); // without its parent a session is about to end
    }
}

/// What a connection counted, with its end.
fn count_end(live: &mut Connection, ending: Ending) -> Tally {
    let mut tally = live.tally();
    tally.end(ending);
    tally
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
            SessionMessage::Connect { opening, clock, head, status, elsewhere, reply } => {
                state.connect(*opening, clock, head, status, elsewhere.map(|elsewhere| *elsewhere), reply);
            }
            SessionMessage::News { after, bulletin, receipt: _receipt } => {
                state.go_on(|live| live.news(after, bulletin));
            }
            SessionMessage::Passed { from, to } => state.go_on(|live| live.passed(from, to)),
            SessionMessage::Superseded { conn, by } => state.superseded(conn, by),
            SessionMessage::Announce => state.announce(),
            SessionMessage::Pulled(conn, pulled) if is_live(conn) => state.go_on(|live| live.pulled(pulled)),
            SessionMessage::Origin(conn, at) if is_live(conn) => state.go_on(|live| live.origin(at)),
            SessionMessage::Tick(conn, tick) if is_live(conn) => state.go_on(|live| live.tick(tick)),
            SessionMessage::Pulled(..) | SessionMessage::Origin(..) | SessionMessage::Tick(..) => {}
            SessionMessage::Gone(conn) => state.gone(conn),
            SessionMessage::Tell(event) => state.go_on(|live| live.tell(event)),
            SessionMessage::Reset(head) => state.go_on(|live| live.reset(head)),
            SessionMessage::End { reason, spread, receipt: _receipt, reply } => {
                let was_live = state.live.is_some();
                state.end(reason, spread);
                if let Some(reply) = reply {
                    let _ = reply.send(was_live); // whoever asked may have given up
                }
            }
            SessionMessage::Describe(to) => {
                if let Some(live) = &state.live {
                    let _ = to.try_send(live.describe(&state.arguments.user)); // whoever asked may have given up
                }
            }
            SessionMessage::Count(_receipt) => {
                if let Some(tally) = state.live.as_mut().map(Connection::tally) {
                    state.count(tally);
                }
            }
            SessionMessage::Rest => state.idle(Tally::default()),
        }
        Ok(())
    }
}
