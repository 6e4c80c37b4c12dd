//! The poller by probes, on a paused clock: a table in memory, a hub that the test plays.

use std::{sync::Arc, time::Duration};

use actors::{
    alarm::{Batch, Fault, Position, Round},
    hub::HubMessage,
    ledger::Ledger,
    poller::{PollerActor, PollerArguments, PollerMessage},
    probe::Probe,
};
use ractor::{Actor, ActorRef, ActorStatus, RpcReplyPort};
use tokio::{sync::watch, time::Instant};

use crate::world::{Database, FEED, World, ask};

struct Poller {
    poller: ActorRef<PollerMessage>,
    hub: Probe<HubMessage>,
    world: Arc<watch::Sender<World>>,
}

impl Poller {
    async fn start(interval: Duration, entries: u64) -> Self {
        let (world, hub) = (Arc::new(World::new()), Probe::start().await);
        world.send_modify(|world| {
            world.page = 2;
            (0..entries).for_each(|id| world.ledger.put(&id.to_string(), "ko", "x", None));
        });
        let source = Box::new(Database(world.clone()));
        let arguments = PollerArguments { source, hub: hub.actor.clone(), interval };
        Self { poller: Actor::spawn(None, PollerActor, arguments).await.unwrap().0, hub, world }
    }

    fn write(&self, id: &str) {
        self.world.send_modify(|world| world.ledger.put(id, "ko", "x", None));
    }

    async fn opened(&mut self) -> (Position, RpcReplyPort<(Position, Option<Round>)>) {
        let mut next = self.hub.next().await;
        if matches!(next, HubMessage::Source { down_since: None }) {
            next = self.hub.next().await; // a new poller does not know what the one before it said
        }
        match next {
            HubMessage::Opened(head, reply) => (head, reply),
            other => panic!("not opened: {other:?}"),
        }
    }

    async fn news(&mut self) -> (Batch, RpcReplyPort<()>) {
        match self.hub.next().await {
            HubMessage::News(batch, reply) => (batch, reply),
            other => panic!("no news: {other:?}"),
        }
    }
}

const SECOND: Duration = Duration::from_secs(1);

fn at(seq: u64) -> Position {
    Position { feed: FEED, seq }
}

#[tokio::test(start_paused = true)]
async fn it_reads_page_after_page_of_one_round_and_not_the_next_before_the_hub_has_taken_one() {
    let mut poller = Poller::start(SECOND, 5).await;
    let (head, reply) = poller.opened().await;
    assert_eq!(head, at(5));
    reply.send((at(0), None)).unwrap(); // it has to read it all
    let round = Round { start: 0, end: 5 };
    for (from, to) in [(0, 2), (2, 4), (4, 5)] {
        let (page, reply) = poller.news().await;
        assert_eq!((page.from, page.to, page.round), (from, to, round));
        poller.write("later"); // of the next round
        tokio::time::sleep(60 * SECOND).await;
        assert!(poller.hub.try_next().is_none(), "one page is in flight");
        reply.send(()).unwrap();
    }
    let (page, reply) = poller.news().await;
    assert_eq!((page.from, page.round), (5, Round { start: 5, end: 8 }));
    drop(reply); // the hub did not take it, so it is asked where to go on
    let (head, reply) = poller.opened().await;
    assert_eq!(head, at(8));
    reply.send((at(2), Some(round))).unwrap();
    let (page, _reply) = poller.news().await;
    assert_eq!((page.from, page.to, page.round), (2, 4, round));
}

#[tokio::test(start_paused = true)]
async fn a_commit_that_can_be_seen_only_long_after_its_notice_is_found_long_before_the_interval_is_over() {
    let mut poller = Poller::start(3_600 * SECOND, 0).await;
    poller.opened().await.1.send((at(0), None)).unwrap();
    tokio::time::sleep(SECOND).await;
    ask(&poller.poller, PollerMessage::Wake).await;
    tokio::time::sleep(SECOND / 3).await;
    let written = Instant::now();
    poller.write("1");
    let (page, _reply) = poller.news().await;
    assert_eq!((page.from, page.to), (0, 1));
    assert!(written.elapsed() <= SECOND, "{:?}", written.elapsed());
}

#[tokio::test(start_paused = true)]
async fn readers_are_told_that_nothing_can_be_read_and_that_it_can_again() {
    let mut poller = Poller::start(SECOND / 20, 0).await;
    poller.opened().await.1.send((at(0), None)).unwrap();
    let fault = |fault| poller.world.send_modify(|world| world.fault = fault);
    fault(Some(Fault::Missing));
    assert!(matches!(poller.hub.next().await, HubMessage::Source { down_since: Some(_) }), "it is missing");
    let health = ask(&poller.poller, PollerMessage::Health).await;
    assert_eq!(health.failing.unwrap().1.fault, Fault::Missing);
    let fault = |fault| poller.world.send_modify(|world| world.fault = fault);
    fault(None);
    assert!(matches!(poller.hub.next().await, HubMessage::Source { down_since: None }), "it is there again");
    let fault = |fault| poller.world.send_modify(|world| world.fault = fault);
    fault(Some(Fault::Locked));
    let locked = Instant::now();
    assert!(matches!(poller.hub.next().await, HubMessage::Source { down_since: Some(_) }));
    assert!(locked.elapsed() >= 10 * SECOND, "a short lock is no news");
    poller.write("1");
    let fault = |fault| poller.world.send_modify(|world| world.fault = fault);
    fault(None);
    assert!(matches!(poller.hub.next().await, HubMessage::Source { down_since: None }), "before what is handed over");
    assert_eq!(poller.news().await.0.to, 1);
}

#[tokio::test(start_paused = true)]
async fn another_database_is_told_before_anything_of_it() {
    let mut poller = Poller::start(SECOND, 3).await;
    poller.opened().await.1.send((at(3), None)).unwrap();
    let other = Position { feed: actors::alarm::FeedName(8), seq: 1 };
    poller.world.send_modify(|world| {
        world.ledger = Ledger::default();
        world.ledger.feed = other.feed;
        world.ledger.put("1", "ko", "x", None);
    });
    let (head, reply) = poller.opened().await;
    assert_eq!(head, other);
    reply.send((head, None)).unwrap();
    poller.write("2");
    assert_eq!(poller.news().await.0.feed, other.feed);
}

#[tokio::test(start_paused = true)]
async fn a_look_that_panics_ends_the_poller_so_that_it_is_started_anew() {
    for method in ["open", "look"] {
        let mut poller = Poller::start(SECOND, 0).await;
        poller.world.send_modify(|world| world.panics = Some(method));
        if method == "look" {
            poller.opened().await.1.send((at(0), None)).unwrap();
        }
        while poller.poller.get_status() != ActorStatus::Stopped {
            tokio::time::sleep(SECOND).await;
        }
    }
}
