//! The session actor by probes: no socket, no database.

use std::{sync::Arc, time::Duration};

use actors::{
    alarm::{FeedName, Position},
    claim::Tenure,
    hub::{Answer, HubMessage, Opening},
    language::{Aliases, Languages},
    probe::Probe,
    sink::{Event, Feed, Reason},
    user_session::{Elsewhere, SessionArguments, SessionMessage, UserSessionActor},
};
use proptest::prelude::*;
use ractor::{Actor, ActorRef, concurrency::oneshot, rpc::CallResult};
use tokio::time::Instant;

use crate::world::{Client, SETTINGS, ask};

const CLOCK: Duration = Duration::from_secs(1_790_000_000);
const HEAD: Position = Position { feed: FeedName(7), seq: 5 };

async fn session() -> (ActorRef<SessionMessage>, Probe<HubMessage>) {
    let hub = Probe::start().await;
    let settings = SETTINGS;
    let arguments = SessionArguments {
        user: "tiaz".into(),
        tenure: Tenure::default(),
        origin: Instant::now(),
        settings,
        delays: Arc::default(),
        hub: hub.actor.clone(),
    };
    (Actor::spawn(None, UserSessionActor, arguments).await.unwrap().0, hub)
}

fn opening() -> Opening {
    let aliases = Aliases::default();
    Opening {
        user: "tiaz".into(),
        languages: Languages::new(None, &[b"ko"], aliases.list("en").unwrap(), &aliases),
        claim: None,
        position: None,
        history: 0,
        explicit: true,
        expires: None,
    }
}

async fn connect(session: &ActorRef<SessionMessage>, opening: Opening) -> Answer {
    connect_beside(session, opening, None).await
}

/// The same, and what other hubs have to say to it.
async fn connect_beside(
    session: &ActorRef<SessionMessage>,
    opening: Opening,
    elsewhere: Option<Box<Elsewhere>>,
) -> Answer {
    let opening = Box::new(opening);
    let status = Default::default();
    let ask = |reply| SessionMessage::Connect { opening, clock: CLOCK, head: HEAD, status, elsewhere, reply };
    match session.call(ask, None).await {
        Ok(CallResult::Success(answer)) => answer,
        other => panic!("no answer: {other:?}"),
    }
}

async fn open(session: &ActorRef<SessionMessage>, opening: Opening) -> Feed {
    match connect(session, opening).await {
        Answer::Open(feed) => feed,
        other => panic!("no stream: {other:?}"),
    }
}

async fn event(feed: &mut Feed) -> Option<Event> {
    feed.parcel().await.map(|parcel| parcel.blocks[0].event.clone())
}

#[tokio::test(start_paused = true)]
async fn a_ping_comes_every_heartbeat_at_the_latest_and_not_much_sooner() {
    let (session, _hub) = session().await;
    let mut feed = open(&session, opening()).await;
    assert!(matches!(event(&mut feed).await, Some(Event::Hello { .. })));
    for _ in 0..50 {
        let before = Instant::now();
        assert!(matches!(event(&mut feed).await, Some(Event::Ping)));
        let share = before.elapsed().as_secs_f64() / SETTINGS.heartbeat.as_secs_f64();
        assert!((0.75..1.001).contains(&share), "{share}");
    }
}

#[tokio::test]
async fn a_late_disconnect_of_the_old_connection_leaves_the_new_one_alone() {
    let (session, _hub) = session().await;
    let mut old = open(&session, opening()).await;
    let mut new = open(&session, opening()).await;
    assert!(matches!(event(&mut old).await, Some(Event::Hello { .. })));
    assert!(matches!(event(&mut old).await, Some(Event::Bye { reason: Reason::Superseded, .. })));
    assert!(event(&mut old).await.is_none(), "the bye is the last block");
    drop(old);
    let acknowledged = Event::Acknowledged { id: "1".into(), acknowledged: true };
    session.cast(SessionMessage::Tell(acknowledged)).unwrap();
    assert!(matches!(event(&mut new).await, Some(Event::Hello { .. })));
    assert!(matches!(event(&mut new).await, Some(Event::Acknowledged { .. })));
}

#[tokio::test]
async fn the_same_page_that_is_back_replaces_its_sink_without_a_bye_and_an_older_one_is_refused() {
    let (session, _hub) = session().await;
    let first = open(&session, opening()).await;
    let mut second = open(&session, opening()).await;
    let mut back = open(&session, Opening { claim: Some(second.claim), ..opening() }).await;
    assert!(matches!(event(&mut second).await, Some(Event::Hello { .. })));
    assert!(event(&mut second).await.is_none());
    assert!(matches!(event(&mut back).await, Some(Event::Hello { resumed: true, .. })));
    let older = Opening { claim: Some(first.claim), ..opening() };
    assert!(matches!(connect(&session, older).await, Answer::Refused));
}

#[tokio::test]
async fn a_session_whose_only_client_left_before_the_answer_offers_itself_to_be_ended() {
    let (session, mut hub) = session().await;
    let (answer, nobody) = oneshot();
    drop(nobody);
    let reply = ractor::RpcReplyPort::from(answer);
    session
        .cast(SessionMessage::Connect {
            opening: Box::new(opening()),
            clock: CLOCK,
            head: HEAD,
            status: Default::default(),
            elsewhere: None,
            reply,
        })
        .unwrap();
    let idle = async {
        loop {
            if let HubMessage::Idle { user, connects } = hub.next().await {
                return (user, connects);
            }
        }
    };
    let told = tokio::time::timeout(Duration::from_secs(20), idle).await.expect("the hub is told");
    assert_eq!(told, (Arc::from("tiaz"), 1));
}

#[tokio::test]
async fn other_hubs_hear_that_a_claim_is_revoked_before_they_hear_that_its_connection_is_over() {
    let (session, mut hub) = session().await;
    let elsewhere = Elsewhere { refused: false, newest: None };
    let answer = connect_beside(&session, opening(), Some(Box::new(elsewhere))).await;
    let Answer::Open(feed) = answer else { panic!("no stream: {answer:?}") };
    let kick = |reply| SessionMessage::End {
        reason: Reason::Kicked,
        spread: Duration::ZERO,
        receipt: None,
        reply: Some(reply),
    };
    assert!(matches!(session.call(kick, None).await, Ok(CallResult::Success(true))));
    let mut revoked = None;
    loop {
        match hub.next().await {
            HubMessage::Tenure { tenure, .. } => revoked = tenure.revoked.map(|(claim, _)| claim),
            HubMessage::Ended(_, conn) => {
                assert_eq!((revoked, conn), (Some(feed.claim), feed.conn));
                break;
            }
            _ => {}
        }
    }
}

/// What happens to a session.
#[derive(Clone, Debug)]
enum Step {
    /// A deliberate opening, or the automatic reconnect of an earlier stream; whether it asks for an event stream.
    Connect {
        resumes: Option<usize>,
        explicit: bool,
    },
    /// The client of this stream leaves.
    Drop(usize),
    Tell,
    Kick,
    /// So many seconds pass.
    Wait(u64),
}

/// The session as one would write it on a sheet of paper: openings are numbered, and the number is the claim.
#[derive(Default)]
struct Paper {
    /// The claim of each stream and what its client must have read.
    streams: Vec<(usize, Vec<String>)>,
    claims: usize,
    live: Option<usize>,
    owner: Option<(usize, Option<Instant>)>,
    revoked: Option<usize>,
}

impl Paper {
    fn end(&mut self, reason: Reason) {
        if let Some(stream) = self.live.take() {
            self.streams[stream].1.push(format!("bye {reason}"));
            self.revoked = self.revoked.max(Some(self.streams[stream].0));
        }
    }

    fn connect(&mut self, resumes: Option<usize>, explicit: bool) -> &'static str {
        let claim = resumes.map(|stream| self.streams[stream].0);
        let counts = |ended: Option<Instant>| ended.is_none_or(|ended| ended.elapsed() < Duration::from_secs(60));
        let newer_owner = self.owner.filter(|(owner, ended)| claim < Some(*owner) && counts(*ended));
        if claim.is_some() && (claim <= self.revoked || newer_owner.is_some()) {
            return "refused";
        }
        let same = self.live.filter(|stream| Some(self.streams[*stream].0) == claim);
        if !explicit && self.live.is_some() && same.is_none() {
            return "not explicit";
        }
        match same {
            Some(_) => self.live = None, // without a word
            None => self.end(Reason::Superseded),
        }
        self.claims += usize::from(claim.is_none());
        let claim = claim.unwrap_or(self.claims);
        self.owner = Some((claim, None));
        self.live = Some(self.streams.len());
        self.streams.push((claim, vec![if resumes.is_some() { "hello again" } else { "hello" }.to_owned()]));
        "open"
    }

    fn leave(&mut self, stream: usize) {
        if self.live == Some(stream) {
            self.live = None;
            self.owner = self.owner.map(|(owner, _)| (owner, Some(Instant::now())));
        }
    }
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let connect = (prop::option::weighted(0.6, 0..8_usize), prop::bool::weighted(0.8));
    let step = prop_oneof![
        6 => connect.prop_map(|(resumes, explicit)| Step::Connect { resumes, explicit }),
        2 => (0..8_usize).prop_map(Step::Drop),
        3 => Just(Step::Tell),
        1 => Just(Step::Kick),
        1 => prop::sample::select(vec![1, 30, 60]).prop_map(Step::Wait),
    ];
    prop::collection::vec(step, 1..40)
}

/// Does the same to the session and on paper, and compares what was answered and what each client has read.
async fn compare(steps: Vec<Step>) {
    let (session, _hub) = session().await;
    let mut paper = Paper::default();
    let mut clients: Vec<Option<Client>> = Vec::new();
    let mut claims = Vec::new();
    for (number, step) in steps.into_iter().enumerate() {
        match step {
            Step::Connect { resumes, explicit } => {
                // A stream of which nobody has heard yet cannot be resumed.
                let resumes = resumes.filter(|stream| *stream < clients.len());
                let claim = resumes.map(|stream| claims[stream]);
                let answer = connect(&session, Opening { claim, explicit, ..opening() }).await;
                let answered = match answer {
                    Answer::Open(feed) => {
                        claims.push(feed.claim);
                        clients.push(Some(Client::new(feed)));
                        "open"
                    }
                    Answer::Refused => "refused",
                    Answer::NotExplicit => "not explicit",
                    Answer::Busy(_) => "busy",
                };
                assert_eq!(answered, paper.connect(resumes, explicit));
            }
            Step::Drop(stream) if stream < clients.len() => {
                clients[stream] = None;
                paper.leave(stream);
            }
            Step::Drop(_) => {}
            Step::Tell => {
                let id = number.to_string();
                if let Some(live) = paper.live {
                    paper.streams[live].1.push(format!("acknowledged {id}"));
                }
                let told = Event::Acknowledged { id: id.into(), acknowledged: true };
                session.cast(SessionMessage::Tell(told)).unwrap();
            }
            Step::Kick => {
                let kick = |reply| SessionMessage::End {
                    reason: Reason::Kicked,
                    spread: Duration::ZERO,
                    receipt: None,
                    reply: Some(reply),
                };
                assert_eq!(ask(&session, kick).await, paper.live.is_some());
                let live = paper.live;
                paper.end(Reason::Kicked);
                paper.owner = paper.owner.map(|(owner, ended)| (owner, live.map_or(ended, |_| Some(Instant::now()))));
            }
            Step::Wait(seconds) => tokio::time::sleep(Duration::from_secs(seconds)).await,
        }
    }
    session.drain_and_wait(None).await.unwrap();
    for (client, (_, expected)) in clients.iter_mut().zip(paper.streams) {
        if let Some(client) = client {
            let mut read = Vec::new();
            while let Some(event) = client.next().await {
                read.push(event);
            }
            assert_eq!(read, expected);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]
    #[test]
    fn a_session_does_what_its_description_on_paper_does(steps in steps()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(compare(steps));
    }
}
