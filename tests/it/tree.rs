//! All actors together over a table in memory: what fails is started again, and nobody misses anything or gets it twice.

use std::{sync::Arc, time::Duration};

use actors::{
    alarm::{Position, Refusal, Write},
    archive::ArchiveMessage,
    hub::{Answer, HubMessage, Opening},
    tree::{Actors, TreeActor, TreeArguments, TreeMessage},
};
use ractor::{Actor, concurrency::oneshot, rpc::CallResult};
use tokio::{sync::watch, time::Instant};

use crate::world::{Client, Database, FEED, SETTINGS, World, ask, opening};

struct Tree {
    actors: watch::Receiver<Actors>,
    world: Arc<watch::Sender<World>>,
}

impl Tree {
    async fn start() -> Self {
        let world = Arc::new(World::new());
        let (source, archive) = (world.clone(), world.clone());
        let arguments = TreeArguments {
            source: Arc::new(move || Box::new(Database(source.clone()))),
            archive: Arc::new(move || Box::new(Database(archive.clone()))),
            settings: SETTINGS,
            cluster: None,
            interval: Duration::from_millis(50),
        };
        let (root, _) = Actor::spawn(None, TreeActor, arguments).await.unwrap();
        Self { actors: ask(&root, TreeMessage::Actors).await, world }
    }

    fn put(&self, id: usize) {
        self.world.send_modify(|world| world.ledger.put(&id.to_string(), "ko", "x", None));
    }

    /// Connects as a browser does: again and again, until there is a stream.
    async fn connect(&self, opening: Opening) -> Client {
        loop {
            let hub = self.actors.borrow().hub.clone();
            let answer = hub.call(|reply| HubMessage::Connect(opening.clone(), reply), None).await;
            if let Ok(CallResult::Success(Answer::Open(feed))) = answer {
                return Client::new(feed);
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    }

    async fn restarts(&mut self, restarts: u64) {
        let restarted = self.actors.wait_for(|actors| actors.restarts >= restarts);
        drop(restarted.await.unwrap());
    }
}

#[tokio::test(start_paused = true)]
async fn whatever_panics_every_alarm_comes_once_and_in_order() {
    let mut tree = Tree::start().await;
    let mut client =
        tree.connect(Opening { position: Some(Position { feed: FEED, seq: 0 }), ..opening("tiaz", "ko") }).await;
    let (mut came, mut next) = (Vec::new(), 0);
    type Fails = (&'static str, fn(&Actors));
    let fails: [Fails; 8] = [
        ("look", |_| {}),
        ("open", |actors| actors.poller.stop(None)),
        ("page", |actors| actors.hub.stop(None)),
        ("page", |actors| actors.archive.stop(None)),
        ("revoked", |actors| actors.hub.kill()),
        ("open", |actors| actors.archive.kill()),
        ("write", |actors| drop(actors.archive.cast(ArchiveMessage::NoteClock(Duration::ZERO)))),
        ("prune", |actors| drop(actors.archive.cast(ArchiveMessage::Prune))),
    ];
    for (method, fail) in fails {
        tree.put(next);
        tree.world.send_modify(|world| world.panics = Some(method));
        fail(&tree.actors.borrow().clone());
        tree.put(next + 1);
        next += 2;
        while came.len() < next {
            match client.next().await {
                Some(event) if event.starts_with("alarm") => came.push(event),
                Some(event) => assert!(event.starts_with("hello"), "{event} after {method}"),
                None => {
                    let (claim, position) = (Some(client.feed.claim), Some(client.at));
                    client = tree.connect(Opening { claim, position, ..opening("tiaz", "ko") }).await;
                }
            }
        }
        // What panics in no step of this round would do so in the next one.
        tree.world.send_modify(|world| world.panics = None);
        tokio::time::sleep(Duration::from_secs(10)).await;
    }
    let all: Vec<String> = (0..next).map(|id| format!("alarm {id}-ko-x")).collect();
    assert_eq!(came, all);
    tree.restarts(6).await;
}

#[tokio::test(start_paused = true)]
async fn what_fails_again_and_again_is_started_at_growing_pauses_and_soon_again_once_it_went_well() {
    let mut tree = Tree::start().await;
    let mut pauses = Vec::new();
    for restarts in 1..=10 {
        let failed = Instant::now();
        tree.actors.borrow().poller.stop(None);
        tree.restarts(restarts).await;
        pauses.push(failed.elapsed());
    }
    assert!(pauses.is_sorted(), "{pauses:?}");
    assert!(pauses[0] < Duration::from_millis(100) && pauses[9] >= Duration::from_secs(5), "{pauses:?}");
    tokio::time::sleep(Duration::from_secs(61)).await;
    let failed = Instant::now();
    tree.actors.borrow().poller.stop(None);
    tree.restarts(11).await;
    assert!(failed.elapsed() < Duration::from_millis(100));
}

#[tokio::test(start_paused = true)]
async fn a_failure_ends_what_depends_on_it_and_nothing_else() {
    let mut tree = Tree::start().await;
    let ids = |tree: &Tree| {
        let actors = tree.actors.borrow();
        [actors.archive.get_id(), actors.hub.get_id(), actors.poller.get_id()]
    };
    let mut before = ids(&tree);
    for (restarts, from) in [(1, 2), (2, 1), (3, 0)] {
        let actors = tree.actors.borrow().clone();
        match from {
            0 => actors.archive.kill(),
            1 => actors.hub.kill(),
            _ => actors.poller.kill(),
        }
        tree.restarts(restarts).await;
        let after = ids(&tree);
        for child in 0..3 {
            assert_eq!(before[child] == after[child], child < from, "{child} after {from} failed");
        }
        before = after;
    }
}

#[tokio::test(start_paused = true)]
async fn a_job_of_the_archive_that_panics_fails_alone_and_both_lanes_go_on() {
    let tree = Tree::start().await;
    let archive = tree.actors.borrow().archive.clone();
    let history = |reply| ArchiveMessage::History { user: "tiaz".into(), before: None, limit: 50, reply };
    tree.world.send_modify(|world| world.panics = Some("history"));
    assert!(!matches!(archive.call(history, None).await, Ok(CallResult::Success(_))));
    assert!(ask(&archive, history).await.is_ok());
    let clear = |reply| ArchiveMessage::Write(Write::Clear("1".to_owned()), reply);
    tree.world.send_modify(|world| world.panics = Some("write"));
    assert!(!matches!(archive.call(clear, None).await, Ok(CallResult::Success(_))));
    assert!(ask(&archive, clear).await.is_ok());
    assert_eq!(tree.actors.borrow().restarts, 0);
}

#[tokio::test]
async fn writes_that_wait_for_a_slow_disk_are_one_transaction_and_what_is_too_much_is_sent_away_at_once() {
    let tree = Tree::start().await;
    let archive = tree.actors.borrow().archive.clone();
    tree.world.send_modify(|world| world.slow = true);
    let write = || {
        let (reply, answer) = oneshot();
        archive.cast(ArchiveMessage::Write(Write::Clear("1".to_owned()), reply.into())).unwrap();
        answer
    };
    let first = write();
    tree.world.subscribe().wait_for(|world| world.cleared == [1]).await.unwrap();
    let waiting: Vec<_> = (0..4_096).map(|_| write()).collect();
    assert!(matches!(write().await, Ok(Err(Refusal::Busy))), "answered though the disk is slow");
    tree.world.send_modify(|world| world.slow = false);
    assert!(matches!(first.await, Ok(Ok(_))));
    for answer in waiting {
        assert!(matches!(answer.await, Ok(Ok(_))));
    }
    assert_eq!(tree.world.borrow().cleared, [1, 4_096]);
}
