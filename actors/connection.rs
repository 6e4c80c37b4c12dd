//! One live connection of a session: what its reader is told, what it waits for, and how it is woken.
//!
//! Its methods take what happened and tell as much as there is room for; an error is the reason to end it.

mod timers;

use std::{
    collections::VecDeque,
    sync::Arc,
    time::{Duration, SystemTime},
};

use ractor::ActorRef;
use tokio::time::Instant;
use uuid::Uuid;

use crate::{
    alarm::Position,
    claim::Claim,
    delivery::{Delivery, Stop},
    hub::{HubMessage, Opening, Session, Settings},
    memory::Bulletin,
    sink::{Block, Event, Reason, Sink, Status, room_for},
    tally::Tally,
    user_session::{Pulled, SessionMessage},
};

pub use timers::Tick;
use timers::Timers;

/// How long a full sink may take to become half empty before its connection is ended.
pub const STALL: Duration = Duration::from_secs(5);

/// How long an answer to a [`HubMessage::Pull`] may take before it is asked again.
const PULL_AGAIN: Duration = Duration::from_secs(5);

/// How long to wait before asking again for what could not be read.
const PULL_LATER: Duration = Duration::from_secs(1);

/// How long the hello waits for the place where `?history` begins. Then it comes without the history, and says so.
pub const GREET_WITHIN: Duration = Duration::from_secs(2);

/// How long a hub among others may take to read as far as a reader has been told by another one. Then the log was put
/// back. Longer than it takes to find out that nothing can be read.
pub const AHEAD: Duration = Duration::from_secs(10);

/// Control events that wait for room at most.
const OWED_MAX: usize = 64;

/// The one live connection.
pub(crate) struct Connection {
    /// Its name.
    pub conn: Uuid,
    /// Whether other hubs are to hear of it, and then whether it is a resume.
    pub shared: Option<bool>,
    /// Which opening it continues.
    pub claim: Claim,
    /// Its reader's place in the log.
    pub delivery: Delivery,
    sink: Sink,
    session: ActorRef<SessionMessage>,
    hub: ActorRef<HubMessage>,
    head: u64,
    since: SystemTime,
    took_over: bool,
    delivered: u64,
    last_alarm: Option<Instant>,
    /// When the oldest change was made that came live and may not have been offered yet.
    fresh: Option<Instant>,
    /// The hello that waits until `?history` is known to begin somewhere.
    greeting: Option<Event>,
    /// Whether a page of the past may have to be announced as incomplete.
    gap_matters: bool,
    owed: VecDeque<Event>,
    /// What the reader was told of the hub last, or is about to be.
    status: Status,
    /// Waits for room, and how long yet.
    full: Option<Instant>,
    settles: Option<Instant>,
    /// Has asked for what comes next, and when to ask again.
    pull: Option<Instant>,
    timers: Timers,
}

/// What a connection begins with.
pub(crate) struct Beginning {
    pub conn: Uuid,
    pub claim: Claim,
    pub sink: Sink,
    pub opening: Opening,
    pub hello: Event,
    /// How far the hub has read.
    pub head: Position,
    /// What is wrong with the hub.
    pub status: Status,
    /// See [`Connection::shared`].
    pub shared: Option<bool>,
    pub took_over: bool,
}

impl Connection {
    /// Says hello and goes on from the reader's position.
    pub fn begin(
        beginning: Beginning,
        settings: Settings,
        session: ActorRef<SessionMessage>,
        hub: ActorRef<HubMessage>,
    ) -> Self {
        let Beginning { conn, claim, sink, opening, hello, head, status, shared, took_over } = beginning;
        // Another hub may have read further than this one.
        let near = |at: &Position| at.feed == head.feed && (at.seq <= head.seq || shared.is_some());
        let known = opening.position.filter(near);
        let user = opening.user.clone();
        let delivery = Delivery::new(user.clone(), opening.languages, settings.settle, known.unwrap_or(head));
        let timers = Timers::new(conn, session.clone());
        let mut connection = Self {
            conn,
            shared,
            claim,
            delivery: if known.is_some() { delivery.resumed() } else { delivery },
            sink,
            session,
            hub,
            head: head.seq,
            since: SystemTime::now(),
            took_over,
            delivered: 0,
            last_alarm: None,
            fresh: None,
            greeting: Some(hello),
            gap_matters: known.is_some(),
            owed: VecDeque::new(),
            status,
            full: None,
            settles: None,
            pull: None,
            timers,
        };
        if opening.position.is_some() && known.is_none() {
            connection.owed.push_back(Event::Reset);
        }
        if known.is_some_and(|known| known.seq > head.seq) {
            connection.timers.after(AHEAD, Tick::Ahead);
        }
        if status != Status::default() {
            connection.owed.push_back(Event::Status(status));
        }
        connection.timers.beat(settings.heartbeat);
        if let Some(expires) = opening.expires {
            connection.timers.after(expires.duration_since(SystemTime::now()).unwrap_or_default(), Tick::Expired);
        }
        if opening.position.is_none() && opening.history > 0 {
            let ask = HubMessage::Origin { session: connection.session.clone(), conn, user, count: opening.history };
            let _ = connection.hub.cast(ask); // without its parent a session is about to end
            connection.timers.after(GREET_WITHIN, Tick::Greet);
        } else {
            connection.greet();
        }
        connection
    }

    /// `?history` begins here; `None`: that cannot be read.
    pub fn origin(&mut self, at: Option<Position>) -> Result<(), Reason> {
        if self.greeting.is_none() {
            return Ok(()); // too late
        }
        match at.filter(|at| at.feed == self.delivery.at().feed && at.seq <= self.head) {
            Some(at) => self.delivery.jump(at),
            None => self.owed.push_back(Event::Gap),
        }
        self.greet();
        self.advance()
    }

    /// The log has grown by this page; nothing for this reader lies between `after` and the page.
    pub fn news(&mut self, after: u64, bulletin: Arc<Bulletin>) -> Result<(), Reason> {
        if bulletin.batch.feed != self.delivery.at().feed {
            return Ok(());
        }
        self.head = self.head.max(bulletin.batch.to);
        if self.pull.is_none() && self.greeting.is_none() {
            self.fresh.get_or_insert(bulletin.batch.made);
            self.delivery.pass(after, bulletin.batch.from);
            self.delivery.push(bulletin, true);
        }
        self.advance()
    }

    /// The log has grown, and nothing between these two positions is for this reader.
    pub fn passed(&mut self, from: u64, to: u64) -> Result<(), Reason> {
        self.head = self.head.max(to);
        if self.pull.is_none() && self.greeting.is_none() {
            self.delivery.pass(from, to);
        }
        self.advance()
    }

    /// What was asked for has come.
    pub fn pulled(&mut self, pulled: Pulled) -> Result<(), Reason> {
        if self.pull.is_none() {
            return Ok(()); // it was asked for before a reset
        }
        let (pages, expired) = match pulled {
            Pulled::Pages(pages, expired) => (pages, expired),
            Pulled::Failed => (Vec::new(), false),
        };
        let mut fit = false;
        for page in pages {
            let to = page.batch.to;
            if self.delivery.push(page, false) {
                self.head = self.head.max(to);
                fit = true;
            }
        }
        if !fit && self.delivery.end() < self.head {
            self.pull_after(PULL_LATER); // it could not be read, or was read from another place or database
            return Ok(());
        }
        self.pull = None;
        self.timers.stop(Tick::Pull);
        if expired && self.gap_matters {
            self.gap_matters = false;
            self.owed.push_back(Event::Gap);
        }
        self.advance()
    }

    /// Something that it waited for has happened.
    pub fn tick(&mut self, tick: Tick) -> Result<(), Reason> {
        let is_over = |deadline: Option<Instant>| deadline.is_some_and(|deadline| deadline <= Instant::now());
        match tick {
            Tick::Beat => {
                if self.greeting.is_none() {
                    let ping = Block { event: Event::Ping, at: self.delivery.at() };
                    let _ = self.sink.offer(vec![ping], None); // a full sink shows that there is life
                }
                Ok(())
            }
            Tick::Greet => self.origin(None),
            Tick::Room => {
                self.full = None;
                self.timers.stop(Tick::Stalled);
                self.advance()
            }
            Tick::Stalled if is_over(self.full) => Err(Reason::Lagging),
            Tick::Settled => {
                self.settles = None;
                self.advance()
            }
            Tick::Pull if is_over(self.pull) => {
                self.pull();
                Ok(())
            }
            Tick::Ahead if self.delivery.at().seq > self.head => {
                if self.status.down_since.is_some() {
                    self.timers.after(AHEAD, Tick::Ahead);
                    return Ok(());
                }
                self.reset(Position { feed: self.delivery.at().feed, seq: self.head })
            }
            Tick::Stalled | Tick::Pull | Tick::Ahead => Ok(()), // what it was for has happened meanwhile
            Tick::Expired => Err(Reason::Expired),
        }
    }

    /// Tells the reader, at the place where it is.
    pub fn tell(&mut self, event: Event) -> Result<(), Reason> {
        if let Event::Status(status) = event {
            self.status = status;
            self.owed.retain(|owed| !matches!(owed, Event::Status(_)));
        }
        self.owed.push_back(event);
        if self.owed.len() > OWED_MAX {
            return Err(Reason::Lagging);
        }
        self.advance()
    }

    /// All positions up to now are void; this is the head.
    pub fn reset(&mut self, head: Position) -> Result<(), Reason> {
        self.delivery.jump(head);
        self.head = head.seq;
        self.pull = None;
        self.settles = None;
        self.gap_matters = false;
        self.greet();
        self.tell(Event::Reset)
    }

    /// What was counted and has not been handed on.
    pub fn tally(&mut self) -> Tally {
        self.delivery.tally.take()
    }

    /// Itself, as the operator sees it.
    pub fn describe(&self, user: &Arc<str>) -> Session {
        Session {
            user: user.clone(),
            conn: self.conn,
            languages: self.delivery.languages().tags(),
            since: self.since,
            took_over: self.took_over,
            delivered: self.delivered,
            last_alarm: self.last_alarm.and_then(|last| SystemTime::now().checked_sub(last.elapsed())),
            at: self.delivery.at(),
            queued: self.sink.queued(),
        }
    }

    /// Ends it with a `bye`.
    pub fn bye(self, reason: Reason, retry: Option<Duration>) {
        self.sink.bye(Block { event: Event::Bye { reason, retry }, at: self.delivery.at() });
    }

    /// Ends it without a word.
    pub fn close(self) {
        self.sink.close();
    }

    fn greet(&mut self) {
        let Some(hello) = self.greeting.take() else { return };
        self.timers.stop(Tick::Greet);
        // A new sink has room for it; if the feed is gone, that is told by itself.
        let _ = self.sink.greet(vec![Block { event: hello, at: self.delivery.at() }]);
    }

    /// Takes what there is, as far as there is room, and arranges to be woken for the rest.
    pub fn advance(&mut self) -> Result<(), Reason> {
        if self.greeting.is_some() || self.full.is_some() {
            return Ok(());
        }
        let (mut room, capacity, at) = (self.sink.room(), self.sink.capacity(), self.delivery.at());
        let mut blocks = Vec::new();
        let mut stop = None;
        while let Some(event) = self.owed.front() {
            let needed = room_for(event).min(capacity);
            if needed > room {
                stop = Some(Stop::Room(needed));
                break;
            }
            room -= needed;
            blocks.extend(self.owed.pop_front().map(|event| Block { event, at }));
        }
        let mut made = None;
        let stop = stop.unwrap_or_else(|| {
            let now = Instant::now();
            let (more, stop) = self.delivery.take(room, capacity, now);
            if !more.is_empty() {
                self.delivered += more.len() as u64;
                self.last_alarm = Some(now);
                made = self.fresh;
            }
            if stop == Stop::Empty {
                self.fresh = None;
            }
            if blocks.is_empty() {
                blocks = more;
            } else {
                blocks.extend(more);
            }
            stop
        });
        if !blocks.is_empty() && self.sink.offer(blocks, made).is_err() {
            return Ok(()); // there was room: the feed is gone, which is told by itself
        }
        match stop {
            Stop::Empty if self.delivery.at().seq < self.head && self.pull.is_none() => self.pull(),
            Stop::Empty => {}
            Stop::Room(needed) => self.wait_for_room(needed),
            Stop::Settle(until) if self.settles == Some(until) => {}
            Stop::Settle(until) => {
                self.settles = Some(until);
                self.timers.after(until.duration_since(Instant::now()), Tick::Settled);
            }
        }
        Ok(())
    }

    fn wait_for_room(&mut self, needed: u32) {
        self.full = Some(Instant::now() + STALL);
        // Half of it, so that a reader is not woken for each alarm that it takes.
        let room = self.sink.room_again(needed.max(self.sink.capacity() / 2));
        self.timers.once(room, Tick::Room);
        self.timers.after(STALL, Tick::Stalled);
    }

    fn pull(&mut self) {
        let ask = HubMessage::Pull {
            session: self.session.clone(),
            conn: self.conn,
            at: Position { feed: self.delivery.at().feed, seq: self.delivery.end() },
            round: self.delivery.round(),
        };
        let _ = self.hub.cast(ask); // without its parent a session is about to end
        self.pull_after(PULL_AGAIN);
    }

    fn pull_after(&mut self, delay: Duration) {
        self.pull = Some(Instant::now() + delay);
        self.timers.after(delay, Tick::Pull);
    }
}
