//! The ports of what hubs share, in memory and on a real Redis: the same questions have the same answers, and the same
//! tests of the cluster actor pass.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use actors::{
    claim::Claim,
    cluster::{ClusterActor, ClusterArguments, ClusterMessage, Standing},
    exchange::{Ask, Exchange, Mailbox, Note, Reply, local},
    hub::{HubMessage, Opening},
    probe::Probe,
    register::{Bid, Stamp, Step},
};
use alarm_hub::redis::{
    Address,
    edge::{Past, Ticketed},
    exchange::Shared,
    mailbox::Inbox,
};
use proptest::{prelude::*, test_runner::TestRunner};
use ractor::{Actor, ActorRef};
use tokio::{runtime::Runtime, task::spawn_blocking, time::sleep};
use uuid::Uuid;

use super::{APART, Redis};
use crate::{
    store::{Database, holds_tickets},
    world::{ask, opening},
};

/// Times that lie on both sides of every limit: concurrent, remembered, silent.
const START: Stamp = 1_790_000_000_000_000;

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

fn claim(number: u64) -> Claim {
    Claim::next(None, Duration::from_millis(1_790_000_000_000 + number), Uuid::nil())
}

/// Where hubs share what they share.
enum Place {
    Memory(local::Shared),
    Redis(Redis, Arc<AtomicU64>),
}

type Ways = (Box<dyn Exchange>, Box<dyn Mailbox>);

impl Place {
    fn memory() -> Self {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
        Self::Memory(local::Shared::new(now.as_micros().try_into().unwrap()))
    }

    fn redis() -> Self {
        Self::Redis(Redis::start(), Arc::default())
    }

    /// The ways of one hub to the others.
    fn join(&self, hub: &Arc<str>) -> Ways {
        match self {
            Self::Memory(shared) => shared.join(hub),
            Self::Redis(redis, now) => {
                let address = Address::parse(&redis.url()).unwrap();
                let exchange = Shared::new(address.clone(), hub.clone()).at(now.clone());
                (Box::new(exchange), Box::new(Inbox::new(address, hub)))
            }
        }
    }

    /// The shared clock shows this, as far as registers are concerned.
    fn set(&self, instant: Stamp) {
        match self {
            Self::Memory(shared) => shared.set(instant),
            Self::Redis(_, now) => now.store(instant, Ordering::Relaxed),
        }
    }

    /// Nobody reaches it, and it forgets everything.
    fn lose(&mut self) {
        match self {
            Self::Memory(shared) => {
                shared.cut(true);
                shared.forget();
            }
            Self::Redis(redis, _) => redis.kill(),
        }
    }

    /// It is there again.
    fn find(&mut self) {
        match self {
            Self::Memory(shared) => shared.cut(false),
            Self::Redis(redis, _) => redis.again(),
        }
    }
}

/// What is asked, with hubs and users as numbers.
#[derive(Clone, Debug)]
enum Question {
    Bid(u8, Step, Bid),
    Look(u8),
    Post(u8),
    PostOwner(u8, u8),
    Hubs,
}

fn bid() -> impl Strategy<Value = Question> {
    let kind = prop_oneof![
        4 => any::<bool>().prop_map(|fresh| Step::Claim { fresh }),
        2 => Just(Step::Renew),
        1 => Just(Step::Release),
    ];
    let revoked = prop_oneof![3 => Just(None), 1 => (0..6_u64).prop_map(Some)];
    (0..2_u8, kind, 0..3_u8, 0..8_u64, 0..4_u128, 0..6_u64, 0..300_000_u64, revoked).prop_map(
        |(user, step, hub, number, conn, of, stamp, revoked)| {
            let (hub, conn) = (hub.to_string().into(), Uuid::from_u128(conn + 1));
            Question::Bid(user, step, Bid { hub, number, conn, claim: claim(of), stamp, revoked: revoked.map(claim) })
        },
    )
}

/// How much time has passed, which hub asks, and what.
fn question() -> impl Strategy<Value = (Stamp, usize, Question)> {
    let wait = prop_oneof![0..200_000_u64, 40_000_000..80_000_000_u64, 110_000_000..130_000_000_u64];
    let question = prop_oneof![
        6 => bid(),
        1 => (0..2_u8).prop_map(Question::Look),
        1 => (0..3_u8).prop_map(Question::Post),
        2 => (0..2_u8, 0..3_u8).prop_map(|(user, except)| Question::PostOwner(user, except)),
        1 => Just(Question::Hubs),
    ];
    (wait, 0..3_usize, question)
}

/// What all hubs heard: the answers in order, and what lies in each mailbox.
async fn answers(place: &Place, run: &str, questions: &[(Stamp, usize, Question)]) -> Vec<String> {
    let name = |number: &dyn std::fmt::Display| -> Arc<str> { format!("{run}-{number}").into() };
    let names: Vec<Arc<str>> = (0..3).map(|hub| name(&hub)).collect();
    let mut ways: Vec<Ways> = names.iter().map(|hub| place.join(hub)).collect();
    let note = |id: usize| Note::Acknowledged { user: "a".into(), id: id.to_string().into(), acknowledged: true };
    let (mut now, mut heard) = (START, Vec::new());
    for (number, (wait, hub, question)) in questions.iter().enumerate() {
        now += wait;
        place.set(now);
        let asked = match question.clone() {
            Question::Bid(user, step, bid) => {
                let bid = Bid { hub: name(&bid.hub), stamp: now - bid.stamp, ..bid };
                vec![Ask::Bid(name(&user), step, bid), Ask::Look(name(&user))]
            }
            Question::Look(user) => vec![Ask::Look(name(&user))],
            Question::Post(to) => vec![Ask::Post(name(&to), note(number))],
            Question::PostOwner(user, except) => vec![Ask::PostOwner(name(&user), name(&except), note(number))],
            Question::Hubs => vec![Ask::Hubs],
        };
        for reply in ways[*hub].0.ask(asked).await.expect("it is there") {
            heard.push(match reply {
                Reply::Register(register, _) => format!("{register:?}"),
                Reply::Hubs(mut hubs) => {
                    hubs.retain(|hub| names.contains(hub));
                    hubs.sort_unstable();
                    format!("{hubs:?}")
                }
                reply => format!("{reply:?}"),
            });
        }
    }
    for (hub, (exchange, mailbox)) in names.iter().zip(&mut ways) {
        let end = Note::Look("the end".into());
        exchange.ask(vec![Ask::Post(hub.clone(), end.clone())]).await.expect("it is there");
        let (mut notes, end) = (Vec::new(), format!("{end:?}"));
        while notes.last() != Some(&end) {
            notes.extend(mailbox.read().await.expect("it is there").iter().map(|note| format!("{note:?}")));
        }
        heard.extend(notes);
    }
    heard
}

#[test]
fn whatever_hubs_ask_the_answers_in_memory_and_in_redis_are_the_same() {
    let (memory, redis) = (Place::memory(), Place::redis());
    let (runtime, runs) = (runtime(), std::cell::Cell::new(0));
    let mut runner = TestRunner::new(ProptestConfig { cases: 200, failure_persistence: None, ..Default::default() });
    let questions = proptest::collection::vec(question(), 1..30);
    let result = runner.run(&questions, |questions| {
        runs.set(runs.get() + 1);
        let run = format!("run{}", runs.get());
        let (memory, redis) = runtime
            .block_on(async { (answers(&memory, &run, &questions).await, answers(&redis, &run, &questions).await) });
        prop_assert_eq!(memory, redis);
        Ok(())
    });
    result.unwrap();
}

#[test]
fn a_ticket_that_was_bought_on_one_hub_opens_one_stream_on_any() {
    let redis = Redis::start();
    let address = Address::parse(&redis.url()).unwrap();
    runtime().block_on(async {
        // One without a database, and one with, whose own file knows nothing of it.
        let mut edge = Ticketed::new(Box::new(Past::new(address.clone())), false, address.clone());
        let database = Database::new("");
        let mut origin = Ticketed::new(Box::new(database.store()), true, address);
        let holds = spawn_blocking(move || {
            holds_tickets(&mut edge, &mut origin);
            redis.ask(&["flushall"]);
            holds_tickets(&mut origin, &mut edge);
        });
        holds.await.unwrap();
    });
}

/// A cluster actor, and what it tells the hub that it belongs to.
struct Node {
    actor: ActorRef<ClusterMessage>,
    hub: Probe<HubMessage>,
}

impl Node {
    async fn start(place: &Place, name: &str) -> Self {
        let (name, hub): (Arc<str>, _) = (name.into(), Probe::start().await);
        let (exchange, mailbox) = place.join(&name);
        let actor = hub.actor.clone();
        let arguments = ClusterArguments { name, exchange, mailbox, hub: actor, fence: false, feeding: None };
        let (actor, _) = Actor::spawn(None, ClusterActor, arguments).await.unwrap();
        let mut node = Self { actor, hub };
        node.hears(|message| matches!(message, HubMessage::Clock(_)).then_some(())).await;
        node
    }

    /// Waits until its hub is told something of this kind.
    async fn hears<T>(&mut self, mut kind: impl FnMut(HubMessage) -> Option<T>) -> T {
        loop {
            if let Some(found) = kind(self.hub.next().await) {
                return found;
            }
        }
    }

    fn began(&self, user: &str, conn: u128, claim: Claim) {
        let began = ClusterMessage::Began { user: user.into(), conn: Uuid::from_u128(conn), claim, fresh: true };
        self.actor.cast(began).unwrap();
    }

    async fn is_superseded(&mut self) -> (Uuid, Claim) {
        let superseded = |message| match message {
            HubMessage::Superseded { conn, by, .. } => Some((conn, by)),
            _ => None,
        };
        self.hears(superseded).await
    }

    /// Whether a page with this claim is sent away for good.
    async fn refuses(&mut self, user: &str, claim: Claim) -> bool {
        let opening = Opening { claim: Some(claim), ..opening(user, "ko") };
        let actor = self.actor.clone();
        let asked = tokio::spawn(async move {
            // The hub that would answer is a probe.
            let _ = actor.call(|reply| ClusterMessage::Judge(opening, reply), None).await;
        });
        let judged = |message| match message {
            HubMessage::Judged { refused, .. } => Some(refused),
            _ => None,
        };
        let refused = self.hears(judged).await;
        asked.await.unwrap();
        refused
    }

    /// Answers as its hub would for the one user that it serves, until that was asked for what is named.
    async fn serves(&mut self, user: &str, until: &str) {
        loop {
            let asked = match self.hub.next().await {
                HubMessage::Session(of, reply) => {
                    assert_eq!(&*of, user);
                    reply.send(None).unwrap();
                    "session"
                }
                HubMessage::Sessions(reply) => {
                    reply.send(Vec::new()).unwrap();
                    "sessions"
                }
                HubMessage::Kick(of, reply) => {
                    reply.send(&*of == user).unwrap();
                    "kick"
                }
                _ => "",
            };
            if asked == until {
                return;
            }
        }
    }

    async fn standing(&self) -> Standing {
        ask(&self.actor, ClusterMessage::Standing).await
    }

    /// Waits until the register knows what there is to know of this hub.
    async fn has_said_all(&self, other: &mut Self, user: &str, claim: Claim) {
        while self.standing().await.waiting > 0 || other.newest(user).await != Some(claim) {
            sleep(Duration::from_millis(5)).await;
        }
    }

    /// The claim that the register has of this user.
    async fn newest(&mut self, user: &str) -> Option<Claim> {
        let opening = Opening { claim: Some(claim(0)), ..opening(user, "ko") };
        let (actor, judge) = (self.actor.clone(), opening);
        tokio::spawn(async move {
            let _ = actor.call(|reply| ClusterMessage::Judge(judge, reply), None).await; // as above
        });
        let judged = |message| match message {
            HubMessage::Judged { newest, .. } => Some(newest),
            _ => None,
        };
        self.hears(judged).await
    }
}

/// Runs a test with two hubs in memory, and again with two on Redis.
fn both(test: impl AsyncFn(&mut Place, Node, Node)) {
    for mut place in [Place::memory(), Place::redis()] {
        runtime().block_on(async {
            let (one, other) = (Node::start(&place, "one").await, Node::start(&place, "other").await);
            test(&mut place, one, other).await;
        });
    }
}

#[test]
fn the_newer_opening_closes_the_older_one_on_the_other_hub_and_its_page_is_refused() {
    both(async |_, mut one, mut other| {
        one.began("tiaz", 1, claim(1));
        one.has_said_all(&mut other, "tiaz", claim(1)).await;
        sleep(APART).await;
        other.began("tiaz", 2, claim(2));
        assert_eq!(one.is_superseded().await, (Uuid::from_u128(1), claim(2)));
        assert_eq!(one.standing().await.conflicts, 1);
        for hub in [&mut one, &mut other] {
            assert!(hub.refuses("tiaz", claim(1)).await);
            assert!(!hub.refuses("tiaz", claim(2)).await);
        }
        // Its clock is behind: it comes later, with a lower claim.
        sleep(APART).await;
        one.began("tiaz", 3, claim(0));
        assert_eq!(other.is_superseded().await, (Uuid::from_u128(2), claim(0)));
        for hub in [&mut one, &mut other] {
            assert!(hub.refuses("tiaz", claim(2)).await, "though its claim is higher");
            assert!(!hub.refuses("tiaz", claim(0)).await);
        }
    });
}

#[test]
fn what_one_hub_revokes_is_refused_on_the_other() {
    both(async |_, one, mut other| {
        one.began("tiaz", 1, claim(1));
        one.has_said_all(&mut other, "tiaz", claim(1)).await;
        assert!(!other.refuses("tiaz", claim(1)).await);
        one.actor.cast(ClusterMessage::Revoked("tiaz".into(), claim(1))).unwrap();
        one.actor.cast(ClusterMessage::Ended("tiaz".into(), None)).unwrap();
        while !other.refuses("tiaz", claim(1)).await {
            sleep(Duration::from_millis(5)).await;
        }
        assert!(!other.refuses("tiaz", claim(2)).await);
    });
}

#[test]
fn operators_reach_a_user_on_the_other_hub_until_he_is_gone() {
    both(async |place, mut one, mut other| {
        other.began("tiaz", 1, claim(1));
        other.has_said_all(&mut one, "tiaz", claim(1)).await;
        let kick = || ask(&one.actor, |reply| ClusterMessage::Kick("tiaz".into(), reply));
        assert!(tokio::join!(kick(), async { other.serves("tiaz", "session").await }).0, "it was kicked there");
        let session = ask(&one.actor, |reply| ClusterMessage::Session("tiaz".into(), reply));
        assert!(tokio::join!(session, other.serves("tiaz", "session")).0.is_none());
        let acknowledged = Note::Acknowledged { user: "tiaz".into(), id: "7".into(), acknowledged: true };
        one.actor.cast(ClusterMessage::Tell("tiaz".into(), acknowledged)).unwrap();
        let told = |message| match message {
            HubMessage::Acknowledged { id, .. } => Some(id),
            _ => None,
        };
        assert_eq!(&*other.hears(told).await, "7");
        other.actor.cast(ClusterMessage::Ended("tiaz".into(), None)).unwrap();
        let (third, note) = ("third".into(), Note::Look("tiaz".into()));
        let (mut exchange, _) = place.join(&third);
        let serves = Ask::PostOwner("tiaz".into(), third, note);
        while !matches!(exchange.ask(vec![serves.clone()]).await.unwrap()[..], [Reply::Posted(false)]) {
            sleep(Duration::from_millis(5)).await;
        }
    });
}

#[test]
fn hubs_that_were_alone_agree_on_the_newest_once_all_is_back_and_forgotten() {
    both(async |place, mut one, mut other| {
        one.began("tiaz", 1, claim(1));
        one.has_said_all(&mut other, "tiaz", claim(1)).await;
        place.lose();
        let alone = |message| match message {
            HubMessage::Alone { since, .. } => Some(since.is_some()),
            _ => None,
        };
        // Nothing is said while nothing happens: the loss is found out by saying something.
        other.began("tiaz", 2, claim(2));
        one.actor.cast(ClusterMessage::Tell("tiaz".into(), Note::Look("tiaz".into()))).unwrap();
        assert!(one.hears(alone).await && other.hears(alone).await);
        assert!(!one.refuses("tiaz", claim(1)).await, "it judges by itself");
        place.find();
        assert_eq!(one.is_superseded().await, (Uuid::from_u128(1), claim(2)));
        assert!(!other.hears(alone).await);
        assert_eq!((one.standing().await.reconnects, other.standing().await.conflicts), (1, 0));
    });
}

#[test]
fn a_hub_is_asked_for_its_sessions_from_the_moment_it_is_there() {
    both(async |_, mut one, mut other| {
        assert_eq!(other.newest("tiaz").await, None); // what it said of itself at the start came before
        let asked = one.actor.clone();
        let all = ask(&asked, ClusterMessage::Sessions);
        let told = async { tokio::join!(all, one.serves("tiaz", "sessions"), other.serves("tiaz", "sessions")).0 };
        let told = tokio::time::timeout(Duration::from_secs(20), told).await.expect("both are asked");
        assert!(told.is_empty());
    });
}

#[test]
fn a_hub_without_users_finds_out_by_itself_that_all_is_away_and_that_it_is_back() {
    both(async |place, mut one, _other| {
        let alone = |message| match message {
            HubMessage::Alone { since, .. } => Some(since.is_some()),
            _ => None,
        };
        assert_eq!(one.newest("tiaz").await, None); // nothing of the start is left to be said
        place.lose();
        let told = tokio::time::timeout(Duration::from_secs(20), one.hears(alone)).await;
        assert_eq!(told, Ok(true), "it need not say anything for its users");
        place.find();
        assert!(!one.hears(alone).await);
    });
}
