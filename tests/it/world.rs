//! A table in memory behind the ports of the actors, and what can go wrong with it.

use std::{sync::Arc, time::Duration};

use actors::{
    alarm::{Archive, Failure, Fault, FeedName, History, Look, Page, Position, Refusal, Round, Source, Write, Written},
    hub::{Answer, HubMessage, Opening, Settings},
    language::{Aliases, Languages},
    ledger::Ledger,
    sink::{Event, Feed},
};
use ractor::{ActorRef, rpc::CallResult};
use tokio::sync::watch;

pub const FEED: FeedName = FeedName(7);

pub const SETTINGS: Settings =
    Settings { queue: 256, heartbeat: Duration::from_secs(15), settle: Duration::from_millis(250) };

/// What the database is like.
#[derive(Clone, Debug)]
pub struct World {
    pub ledger: Ledger,
    /// Entries of a page.
    pub page: u64,
    /// Why it cannot be read.
    pub fault: Option<Fault>,
    /// The method that panics when it is called next, and not again.
    pub panics: Option<&'static str>,
    /// Whether writes have to wait, as for a slow disk.
    pub slow: bool,
    /// How many alarms each transaction cleared.
    pub cleared: Vec<usize>,
}

impl World {
    pub fn new() -> watch::Sender<Self> {
        watch::channel(Self {
            ledger: Ledger::default(),
            page: 1_000,
            fault: None,
            panics: None,
            slow: false,
            cleared: Vec::new(),
        })
        .0
    }
}

/// A connection to it.
pub struct Database(pub Arc<watch::Sender<World>>);

impl Database {
    fn enter(&self, method: &str) -> Result<World, Failure> {
        let panics = self.0.borrow().panics == Some(method);
        if panics {
            self.0.send_modify(|world| world.panics = None);
            panic!("as it was asked to, in {method}");
        }
        let world = self.0.borrow().clone();
        match world.fault {
            Some(fault) => Err(Failure { fault, cause: format!("{fault:?}") }),
            None => Ok(world),
        }
    }

    fn page_of(world: &World, from: u64, until: u64, round: Option<Round>) -> Option<actors::alarm::Batch> {
        let round = round.unwrap_or(Round { start: from, end: world.ledger.head().min(until) });
        (from < round.end).then(|| world.ledger.page(from, (from + world.page).min(round.end), round))
    }
}

impl Source for Database {
    fn open(&mut self) -> Result<Position, Failure> {
        let world = self.enter("open")?;
        Ok(Position { feed: world.ledger.feed, seq: world.ledger.head() })
    }

    fn look(&mut self, after: Position, round: Option<Round>) -> Result<Look, Failure> {
        let world = self.enter("look")?;
        let head = Position { feed: world.ledger.feed, seq: world.ledger.head() };
        if head.feed != after.feed || head.seq < after.seq {
            return Ok(Look::Replaced(head));
        }
        Ok(Self::page_of(&world, after.seq, u64::MAX, round).map_or(Look::Nothing, Look::News))
    }
}

impl Archive for Database {
    fn page(&mut self, from: Position, until: Option<u64>, round: Option<Round>) -> Result<Page, Failure> {
        let world = self.enter("page")?;
        let batch = Self::page_of(&world, from.seq, until.unwrap_or(u64::MAX), round);
        let nothing = || Failure { fault: Fault::Other, cause: "nothing follows".to_owned() };
        Ok(Page { batch: batch.ok_or_else(nothing)?, expired: false })
    }

    fn before_newest(&mut self, _: &str, count: u16) -> Result<Position, Failure> {
        let world = self.enter("before_newest")?;
        Ok(Position { feed: world.ledger.feed, seq: world.ledger.head().saturating_sub(count.into()) })
    }

    fn history(&mut self, _: &str, _: Option<u64>, _: u16) -> Result<History, Failure> {
        let feed = self.enter("history")?.ledger.feed;
        Ok(History { feed, alarms: Vec::new(), more: false, unread: 0, unread_more: false })
    }

    fn write(&mut self, writes: Vec<Write>) -> Vec<Result<Written, Refusal>> {
        let cleared = writes.iter().filter(|write| matches!(write, Write::Clear(_))).count();
        if cleared > 0 {
            self.0.send_modify(|world| world.cleared.push(cleared));
            let quick = async { self.0.subscribe().wait_for(|world| !world.slow).await.map(|_| ()) };
            tokio::runtime::Handle::current().block_on(quick).expect("the world does not end");
        }
        let written = self.enter("write").map(|world| Position { feed: world.ledger.feed, seq: world.ledger.head() });
        writes.iter().map(|_| written.clone().map(Written::Done).map_err(Refusal::Failed)).collect()
    }

    fn revoked(&mut self) -> Result<Vec<(Arc<str>, u128)>, Failure> {
        self.enter("revoked").map(|_| Vec::new())
    }

    fn noted_clock(&mut self) -> Result<Duration, Failure> {
        Ok(Duration::ZERO)
    }

    fn missing_triggers(&mut self) -> Result<Vec<String>, Failure> {
        self.enter("missing_triggers").map(|_| Vec::new())
    }

    fn prune(&mut self) -> Result<bool, Failure> {
        self.enter("prune").map(|_| false)
    }
}

/// Asks an actor and waits for the answer.
pub async fn ask<M: ractor::Message, A>(actor: &ActorRef<M>, message: impl FnOnce(ractor::RpcReplyPort<A>) -> M) -> A
where
    A: Send + 'static,
{
    match actor.call(message, None).await {
        Ok(CallResult::Success(answer)) => answer,
        _ => panic!("no answer"),
    }
}

pub fn opening(user: &str, lang: &str) -> Opening {
    let aliases = Aliases::default();
    Opening {
        user: user.into(),
        languages: Languages::new(Some(lang.as_bytes()), &[], aliases.list("en").unwrap(), &aliases),
        claim: None,
        position: None,
        history: 0,
        explicit: true,
        expires: None,
    }
}

pub async fn connect(hub: &ActorRef<HubMessage>, opening: Opening) -> Feed {
    match ask(hub, |reply| HubMessage::Connect(opening, reply)).await {
        Answer::Open(feed) => feed,
        other => panic!("no stream: {other:?}"),
    }
}

/// A client: what its stream says, and where it stands.
pub struct Client {
    pub feed: Feed,
    pub at: Position,
    waiting: std::collections::VecDeque<actors::sink::Block>,
}

impl Client {
    pub fn new(feed: Feed) -> Self {
        Self { feed, at: Position { feed: FEED, seq: 0 }, waiting: std::collections::VecDeque::new() }
    }

    /// The next event but pings, in short; `None`: the stream ended.
    pub async fn next(&mut self) -> Option<String> {
        loop {
            while let Some(block) = self.waiting.pop_front() {
                self.at = block.at;
                if !matches!(block.event, Event::Ping) {
                    return Some(short(&block.event));
                }
            }
            self.waiting.extend(self.feed.parcel().await?.blocks);
        }
    }
}

fn short(event: &Event) -> String {
    let text = String::from_utf8_lossy;
    match event {
        Event::Hello { resumed: false, .. } => "hello".to_owned(),
        Event::Hello { .. } => "hello again".to_owned(),
        Event::Alarm { body, .. } => format!("alarm {}", text(body)),
        Event::Updated { body, .. } => format!("updated {}", text(body)),
        Event::Cleared { id } => format!("cleared {id}"),
        Event::Acknowledged { id, .. } => format!("acknowledged {id}"),
        Event::Gap => "gap".to_owned(),
        Event::Reset => "reset".to_owned(),
        Event::Status(status) => format!("{status:?}"),
        Event::Ping => "ping".to_owned(),
        Event::Bye { reason, .. } => format!("bye {reason}"),
    }
}
