//! The hub and its sessions by probes, on a paused clock: no socket, no database.

use std::{collections::HashSet, sync::Arc, time::Duration};

use actors::{
    alarm::{FeedName, Position, Round},
    archive::ArchiveMessage,
    hub::{Answer, HubActor, HubArguments, HubMessage, Opening, Settings},
    ledger::Ledger,
    memory::{Bulletin, Shapes},
    probe::Probe,
    tally::Ending,
    user_session::{Pulled, SessionMessage},
};
use ractor::{Actor, ActorRef};
use tokio::time::{Instant, advance};

use crate::world::{Client, FEED, SETTINGS, ask, connect, opening};

struct Hub {
    hub: ActorRef<HubMessage>,
    archive: Probe<ArchiveMessage>,
    ledger: Ledger,
    read: u64,
}

impl Hub {
    async fn start(settings: Settings) -> Self {
        Self::start_at(settings, Ledger::default()).await
    }

    async fn start_at(settings: Settings, ledger: Ledger) -> Self {
        let archive = Probe::start().await;
        let arguments = HubArguments {
            settings,
            archive: archive.actor.clone(),
            revoked: Vec::new(),
            noted: Duration::ZERO,
            handled: Arc::default(),
        };
        let (hub, _) = Actor::spawn(None, HubActor, arguments).await.unwrap();
        let read = ledger.head();
        ask(&hub, |reply| HubMessage::Opened(Position { feed: FEED, seq: read }, reply)).await;
        Self { hub, archive, ledger, read }
    }

    /// Reads what is new, as one page; done when every session has handled it.
    async fn read(&mut self) {
        let round = Round { start: self.read, end: self.ledger.head() };
        let page = self.ledger.page(round.start, round.end, round);
        self.read = round.end;
        ask(&self.hub, |reply| HubMessage::News(page, reply)).await;
    }

    async fn open(&self, user: &str, lang: &str) -> Client {
        Client::new(connect(&self.hub, opening(user, lang)).await)
    }

    async fn resume(&self, client: &Client, user: &str, lang: &str) -> Client {
        let (claim, position) = (Some(client.feed.claim), Some(client.at));
        Client::new(connect(&self.hub, Opening { claim, position, ..opening(user, lang) }).await)
    }

    /// The next thing that the archive is asked.
    async fn asked(&mut self) -> ArchiveMessage {
        loop {
            match self.archive.next().await {
                ArchiveMessage::NoteClock(_) | ArchiveMessage::Revoke { .. } => {}
                asked => return asked,
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn of_a_hundred_simultaneous_openings_one_stands_and_all_others_are_told_that_they_are_superseded() {
    let hub = Hub::start(SETTINGS).await;
    let openings = (0..100).map(|_| {
        let hub = hub.hub.clone();
        tokio::spawn(async move { Client::new(connect(&hub, opening("tiaz", "ko")).await) })
    });
    let mut clients = Vec::new();
    for opening in openings.collect::<Vec<_>>() {
        clients.push(opening.await.unwrap());
    }
    let live = ask(&hub.hub, HubMessage::Sessions).await;
    assert_eq!(live.len(), 1);
    let newest = clients.iter().map(|client| client.feed.claim).max().unwrap();
    for mut client in clients {
        assert_eq!(client.next().await.unwrap(), "hello");
        if client.feed.conn == live[0].conn {
            assert_eq!(client.feed.claim, newest);
        } else {
            assert_eq!(client.next().await.unwrap(), "bye superseded");
            assert_eq!(client.next().await, None);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connect_that_races_the_end_of_an_idle_session_is_never_lost() {
    let hub = Hub::start(SETTINGS).await;
    let mut names = HashSet::new();
    for round in 0..1_000 {
        let mut client = hub.open("tiaz", "ko").await;
        assert_eq!(client.next().await.unwrap(), "hello");
        assert!(names.insert(client.feed.conn));
        drop(client);
        for _ in 0..round % 5 {
            tokio::task::yield_now().await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_session_that_fails_costs_nobody_else_anything_and_its_user_goes_on_where_it_was() {
    // A wait that ends beyond the end of time makes a session fail that has to wait.
    let mut hub = Hub::start(Settings { settle: Duration::MAX, ..SETTINGS }).await;
    let mut first = hub.open("tiaz", "ja").await;
    let mut other = hub.open("other", "ko").await;
    let mut tiaz = hub.open("tiaz", "ja").await;
    hub.ledger.put("1", "ko", "x", None);
    hub.ledger.put("1", "ja", "x", None);
    hub.read().await;
    hub.ledger.put("2", "ko", "x", None);
    hub.read().await; // answered, though a session ended with it
    for client in [&mut other, &mut tiaz] {
        assert_eq!(client.next().await.unwrap(), "hello");
        assert!(client.next().await.unwrap().starts_with("alarm 1"));
    }
    assert_eq!(other.next().await.unwrap(), "alarm 2-ko-x");
    assert_eq!(tiaz.next().await, None, "it ends without a bye, and comes back");
    assert_eq!(ask(&hub.hub, HubMessage::Sessions).await.len(), 1);

    let mut again = hub.resume(&tiaz, "tiaz", "ja").await;
    assert_eq!(again.next().await.unwrap(), "hello again");
    assert_eq!(again.next().await.unwrap(), "alarm 2-ko-x");
    assert_eq!(first.next().await.unwrap(), "hello");
    assert_eq!(first.next().await.unwrap(), "bye superseded");
    let superseded = Opening { claim: Some(first.feed.claim), ..opening("tiaz", "ja") };
    assert!(matches!(ask(&hub.hub, |reply| HubMessage::Connect(superseded, reply)).await, Answer::Refused));
    let newer = hub.open("tiaz", "ja").await;
    assert!(newer.feed.claim > again.feed.claim, "a claim is newer than those before the failure");
}

#[tokio::test(start_paused = true)]
async fn a_session_that_fails_again_and_again_is_started_at_growing_pauses_and_nobody_else_notices() {
    // A wait that ends beyond the end of time makes a session fail that has to wait.
    let mut hub = Hub::start(Settings { settle: Duration::MAX, ..SETTINGS }).await;
    let mut other = hub.open("other", "ko").await;
    assert_eq!(other.next().await.unwrap(), "hello");
    hub.ledger.put("0", "ja", "x", None);
    hub.read().await;
    assert_eq!(other.next().await.unwrap(), "alarm 0-ja-x");
    let connect = |hub: &Hub| {
        let hub = hub.hub.clone();
        async move { ask(&hub, |reply| HubMessage::Connect(opening("tiaz", "ja"), reply)).await }
    };
    let mut rests = Vec::new();
    for number in 1..=8 {
        let answer = match connect(&hub).await {
            Answer::Busy(rest) => {
                rests.push(rest);
                advance(rest).await;
                connect(&hub).await
            }
            answer => answer,
        };
        assert!(matches!(answer, Answer::Open(_)), "{number}: {answer:?}");
        hub.ledger.put(&number.to_string(), "ko", "x", None);
        hub.read().await; // answered, though a session ended with it
        assert_eq!(other.next().await.unwrap(), format!("alarm {number}-ko-x"));
        while !ask(&hub.hub, HubMessage::Sessions).await.iter().all(|session| &*session.user == "other") {}
        drop(answer);
    }
    let longest = [4, 8, 16, 32, 60].map(Duration::from_secs);
    assert_eq!(rests.len(), longest.len(), "{rests:?}");
    assert!(rests.iter().zip(longest).all(|(rest, longest)| *rest > longest / 3 && *rest <= longest), "{rests:?}");
    advance(Duration::from_secs(180)).await;
    assert!(matches!(connect(&hub).await, Answer::Open(_)), "it went well since");
    let counts = ask(&hub.hub, |reply| HubMessage::Counts { handled: 0, reply }).await;
    assert_eq!(counts.tally.ended.get(&Ending::Failed), Some(&8));
}

#[tokio::test(start_paused = true)]
async fn who_comes_back_again_and_again_after_a_refusal_is_made_to_wait() {
    let hub = Hub::start(SETTINGS).await;
    let client = hub.open("tiaz", "ko").await;
    assert!(ask(&hub.hub, |reply| HubMessage::Kick("tiaz".into(), reply)).await);
    for refusal in 1..=6 {
        let begun = Instant::now();
        let resume = Opening { claim: Some(client.feed.claim), ..opening("tiaz", "ko") };
        assert!(matches!(ask(&hub.hub, |reply| HubMessage::Connect(resume, reply)).await, Answer::Refused));
        let held = begun.elapsed();
        if refusal <= 3 {
            assert!(held < Duration::from_secs(1), "refusal {refusal} took {held:?}");
        } else {
            assert!((2..=5).contains(&held.as_secs()), "refusal {refusal} took {held:?}");
        }
    }
    tokio::time::sleep(Duration::from_secs(20)).await;
    let counts = ask(&hub.hub, |reply| HubMessage::Counts { handled: 0, reply }).await;
    assert_eq!(counts.connections, 0, "what is remembered of refusals goes with the session");
}

#[tokio::test(start_paused = true)]
async fn translations_that_come_one_by_one_within_the_time_to_settle_are_one_alarm_in_the_right_language() {
    let mut hub = Hub::start(SETTINGS).await;
    hub.ledger.put("0", "ja", "the table has Japanese", None);
    hub.ledger.put("0", "ko", "and Korean", None);
    hub.read().await;
    let mut clients = [hub.open("a", "ko").await, hub.open("b", "ja").await, hub.open("c", "en-US").await];
    for lang in ["ko", "US-en", "ja"] {
        hub.ledger.put("1", lang, "x", None);
        hub.read().await;
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    hub.ledger.put("2", "ko", "x", None);
    hub.ledger.put("2", "ja", "x", None);
    hub.read().await;
    let [korean, japanese, english] = &mut clients;
    for (client, expected) in [
        (korean, &["hello", "alarm 1-ko-x", "alarm 2-ko-x"][..]),
        (japanese, &["hello", "alarm 1-ja-x", "alarm 2-ja-x"]),
        // English was not among the languages of the table: nobody waited for it.
        (english, &["hello", "alarm 1-ko-x", "updated 1-US-en-x"]),
    ] {
        for event in expected {
            assert_eq!(client.next().await.unwrap(), *event);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_alarm_that_was_deleted_before_it_was_read_is_nothing_and_one_deleted_later_is_cleared_for_whom_it_was() {
    let mut hub = Hub::start(SETTINGS).await;
    let (mut mine, mut others) = (hub.open("tiaz", "ko").await, hub.open("other", "ko").await);
    hub.ledger.put("1", "ko", "x", None);
    hub.ledger.delete("1", "ko");
    hub.ledger.put("2", "ko", "x", Some("tiaz"));
    hub.read().await;
    hub.ledger.delete("2", "ko");
    hub.ledger.put("3", "ko", "x", None);
    hub.read().await;
    for event in ["hello", "alarm 2-ko-x", "cleared 2", "alarm 3-ko-x"] {
        assert_eq!(mine.next().await.unwrap(), event);
    }
    for event in ["hello", "alarm 3-ko-x"] {
        assert_eq!(others.next().await.unwrap(), event);
    }
}

#[tokio::test(start_paused = true)]
async fn a_hello_waits_for_the_place_of_the_history_but_not_for_ever() {
    let mut hub = Hub::start(SETTINGS).await;
    let begun = Instant::now();
    let history = || Opening { history: 3, ..opening("tiaz", "ko") };
    let mut client = Client::new(connect(&hub.hub, history()).await);
    let ArchiveMessage::Origin { session, conn, .. } = hub.asked().await else { panic!("where does it begin?") };
    for event in ["hello", "gap"] {
        assert_eq!(client.next().await.unwrap(), event);
    }
    assert!(begun.elapsed() <= Duration::from_secs(2));
    session.cast(SessionMessage::Origin(conn, Some(Position { feed: FEED, seq: 0 }))).unwrap();
    hub.ledger.put("1", "ko", "x", None);
    hub.read().await;
    assert_eq!(client.next().await.unwrap(), "alarm 1-ko-x", "an answer that comes too late is none");

    let mut client = Client::new(connect(&hub.hub, history()).await);
    let ArchiveMessage::Origin { session, conn, .. } = hub.asked().await else { panic!("where does it begin?") };
    session.cast(SessionMessage::Origin(conn, Some(Position { feed: FEED, seq: 0 }))).unwrap();
    for event in ["hello", "alarm 1-ko-x"] {
        assert_eq!(client.next().await.unwrap(), event);
    }
}

#[tokio::test(start_paused = true)]
async fn what_the_archive_does_not_answer_or_answers_for_another_place_is_asked_again_in_good_time() {
    let mut ledger = Ledger::default();
    ledger.put("1", "ko", "x", None);
    ledger.put("2", "ko", "x", None);
    let mut hub = Hub::start_at(SETTINGS, ledger).await;
    let begun = Instant::now();
    let position = Some(Position { feed: FEED, seq: 0 });
    let mut client = Client::new(connect(&hub.hub, Opening { position, ..opening("tiaz", "ko") }).await);
    assert_eq!(client.next().await.unwrap(), "hello");
    let ArchiveMessage::Page { session, conn, until, .. } = hub.asked().await else { panic!("a page") };
    assert_eq!(until, 2);
    assert!(matches!(hub.asked().await, ArchiveMessage::Page { .. }), "no answer: it is asked again");
    assert_eq!(begun.elapsed().as_secs(), 5);

    let round = Round { start: 0, end: 2 };
    let page = hub.ledger.page(0, 2, round);
    let foreign = actors::alarm::Batch { feed: FeedName(8), ..page.clone() };
    let pulled = |page| {
        SessionMessage::Pulled(conn, Pulled::Pages(vec![Arc::new(Bulletin::new(page, &mut Shapes::default()))], false))
    };
    session.cast(pulled(foreign)).unwrap();
    assert!(matches!(hub.asked().await, ArchiveMessage::Page { .. }));
    assert_eq!(begun.elapsed().as_secs(), 6, "it does not ask without a pause");
    session.cast(pulled(page)).unwrap();
    for event in ["alarm 1-ko-x", "alarm 2-ko-x"] {
        assert_eq!(client.next().await.unwrap(), event);
    }
}

#[tokio::test(start_paused = true)]
async fn a_small_street_is_no_reason_to_lose_what_is_to_be_told() {
    let mut hub = Hub::start(Settings { queue: 2, ..SETTINGS }).await;
    let mut client = hub.open("tiaz", "ko").await;
    for id in 0..10 {
        hub.ledger.put(&id.to_string(), "ko", "x", None);
    }
    hub.read().await;
    for id in 0..5 {
        let (user, id) = ("tiaz".into(), id.to_string().into());
        hub.hub.cast(HubMessage::Acknowledged { user, id, acknowledged: true }).unwrap();
    }
    ask(&hub.hub, HubMessage::Sessions).await;
    let mut told = Vec::new();
    for _ in 0..16 {
        told.push(client.next().await.unwrap());
    }
    let alarms: Vec<&String> = told.iter().filter(|event| event.starts_with("alarm")).collect();
    assert_eq!(alarms, (0..10).map(|id| format!("alarm {id}-ko-x")).collect::<Vec<_>>().iter().collect::<Vec<_>>());
    assert_eq!(told.iter().filter(|event| event.starts_with("acknowledged")).count(), 5);
}

#[tokio::test(start_paused = true)]
async fn a_reader_that_takes_nothing_is_sent_away_and_another_one_notices_nothing() {
    let mut hub = Hub::start(Settings { queue: 4, ..SETTINGS }).await;
    let (mut stuck, mut quick) = (hub.open("stuck", "ko").await, hub.open("quick", "ko").await);
    for id in 0..10 {
        hub.ledger.put(&id.to_string(), "ko", "x", None);
        hub.read().await;
        tokio::task::yield_now().await;
        if id == 0 {
            assert_eq!(quick.next().await.unwrap(), "hello");
        }
        assert_eq!(quick.next().await.unwrap(), format!("alarm {id}-ko-x"));
    }
    tokio::time::sleep(Duration::from_secs(6)).await;
    assert_eq!(ask(&hub.hub, HubMessage::Sessions).await.len(), 1);
    let mut told = Vec::new();
    while let Some(event) = stuck.next().await {
        told.push(event);
    }
    assert_eq!(told.last().unwrap(), "bye lagging");
    let mut again = hub.resume(&stuck, "stuck", "ko").await;
    assert_eq!(again.next().await.unwrap(), "hello again");
    for id in told.len() - 2..10 {
        assert_eq!(again.next().await.unwrap(), format!("alarm {id}-ko-x"));
    }
}

#[tokio::test(start_paused = true)]
async fn whoever_is_there_when_the_hub_stops_is_told_and_who_comes_then_is_sent_away_for_a_moment() {
    let hub = Hub::start(SETTINGS).await;
    let mut client = hub.open("tiaz", "ko").await;
    ask(&hub.hub, HubMessage::Drain).await;
    for event in ["hello", "bye shutdown"] {
        assert_eq!(client.next().await.unwrap(), event);
    }
    let late = ask(&hub.hub, |reply| HubMessage::Connect(opening("tiaz", "ko"), reply)).await;
    assert!(matches!(late, Answer::Busy(retry) if retry >= Duration::from_secs(1)));
}

#[tokio::test(start_paused = true)]
async fn the_last_of_many_languages_within_a_second_wins_and_no_alarm_is_lost_or_doubled_over_the_switches() {
    let mut hub = Hub::start(SETTINGS).await;
    let mut client = hub.open("tiaz", "ko").await;
    let mut came = Vec::new();
    for number in 0..100 {
        let id = number.to_string();
        hub.ledger.put(&id, "ko", "x", None);
        hub.ledger.put(&id, "ja", "x", None);
        hub.read().await;
        let lang = if number % 2 == 0 { "ja" } else { "ko" };
        // A page opens another stream where it stands, which may be anywhere in what is on its way to it.
        while came.len() < number / 7 * 7 {
            came.extend(client.next().await.filter(|event| event.starts_with("alarm")));
        }
        let at = client.at;
        let switch = Opening { position: Some(at), ..opening("tiaz", lang) };
        client = Client::new(connect(&hub.hub, switch).await);
        client.at = at;
    }
    while came.len() < 100 {
        came.extend(client.next().await.filter(|event| event.starts_with("alarm")));
    }
    let ids: Vec<String> =
        came.iter().map(|event| event["alarm ".len()..].split('-').next().unwrap().to_owned()).collect();
    assert_eq!(ids, (0..100).map(|id| id.to_string()).collect::<Vec<_>>());
    assert_eq!(came.last().unwrap(), "alarm 99-ko-x");
    assert_eq!(ask(&hub.hub, HubMessage::Sessions).await.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_database_that_is_still_there_is_no_news_and_one_that_is_back_is_told_once() {
    let mut hub = Hub::start(SETTINGS).await;
    let mut client = hub.open("tiaz", "ko").await;
    assert_eq!(client.next().await.unwrap(), "hello");
    let tell = |hub: &Hub, down_since| hub.hub.cast(HubMessage::Source { down_since }).unwrap();
    tell(&hub, None); // as a poller does that was started anew
    hub.ledger.put("1", "ko", "x", None);
    hub.read().await;
    assert!(client.next().await.unwrap().starts_with("alarm"), "nothing was said of the database");
    for down_since in [Some(std::time::SystemTime::UNIX_EPOCH), None, None] {
        tell(&hub, down_since);
    }
    hub.ledger.put("2", "ko", "x", None);
    hub.read().await;
    let told = [client.next().await.unwrap(), client.next().await.unwrap(), client.next().await.unwrap()];
    assert!(told[2].starts_with("alarm"), "down, up, and no more of it: {told:?}");
}
