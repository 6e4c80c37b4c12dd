//! The session actor by probes: no socket, no database.

use std::{sync::Arc, time::Duration};

use actors::{
    alarm::{FeedName, Position},
    claim::Tenure,
    hub::{Answer, HubMessage, Opening, Settings},
    language::{Aliases, Languages},
    probe::Probe,
    sink::{Event, Feed, Reason},
    user_session::{SessionArguments, SessionMessage, UserSessionActor},
};
use ractor::{Actor, ActorRef, concurrency::oneshot, rpc::CallResult};
use tokio::time::Instant;

const HEAD: Position = Position { feed: FeedName(7), seq: 5 };

async fn session() -> (ActorRef<SessionMessage>, Probe<HubMessage>) {
    let hub = Probe::start().await;
    let settings = Settings { queue: 4, heartbeat: Duration::from_secs(15), settle: Duration::from_millis(250) };
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
    let opening = Box::new(opening);
    let status = Default::default();
    let ask = |reply| SessionMessage::Connect { opening, head: HEAD, status, elsewhere: None, reply };
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
