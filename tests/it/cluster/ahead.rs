//! A reader who knows more than the hub that he comes to: another hub had read further.

use std::{sync::Arc, time::SystemTime};

use actors::{
    alarm::{Position, Round},
    connection::AHEAD,
    hub::{Answer, HubMessage},
    ledger::Ledger,
    memory::{Bulletin, Shapes},
    probe::Probe,
    sink::{Event, Status},
    user_session::{Elsewhere, Receipt, SessionArguments, SessionMessage, UserSessionActor},
};
use ractor::{Actor, ActorRef, concurrency::oneshot};
use tokio::time::{Instant, sleep};

use super::*;
use crate::world::{Client, FEED, SETTINGS, ask, opening};

/// A reader at 8 and a hub that has read up to 5, of a log that goes on to 10.
async fn reader_ahead(status: Status) -> (ActorRef<SessionMessage>, Probe<HubMessage>, Client) {
    let hub = Probe::start().await;
    let arguments = SessionArguments {
        user: "tiaz".into(),
        tenure: Default::default(),
        origin: Instant::now(),
        settings: SETTINGS,
        delays: Arc::default(),
        hub: hub.actor.clone(),
    };
    let (session, _) = Actor::spawn(None, UserSessionActor, arguments).await.unwrap();
    let opening = actors::hub::Opening { position: Some(Position { feed: FEED, seq: 8 }), ..opening("tiaz", "ko") };
    let answer = ask(&session, |reply| SessionMessage::Connect {
        opening: Box::new(opening),
        clock: Duration::from_secs(1_790_000_000),
        head: Position { feed: FEED, seq: 5 },
        status,
        elsewhere: Some(Box::new(Elsewhere { refused: false, newest: None })),
        reply,
    });
    let Answer::Open(feed) = answer.await else { panic!("no stream") };
    let mut client = Client::new(feed);
    assert_eq!(client.next().await.unwrap(), "hello");
    assert_eq!(client.at.seq, 8);
    (session, hub, client)
}

#[tokio::test]
async fn a_hub_that_has_not_read_as_far_as_its_reader_tells_what_follows_and_nothing_twice() {
    let (session, _hub, mut client) = reader_ahead(Status::default()).await;
    let mut ledger = Ledger::default();
    (1..=10).for_each(|id| ledger.put(&id.to_string(), "ko", "x", None));
    let (reply, _handled) = oneshot();
    let batch = ledger.page(5, 10, Round { start: 5, end: 10 });
    let bulletin = Arc::new(Bulletin::new(batch, &mut Shapes::default()));
    session.cast(SessionMessage::News { after: 5, bulletin, receipt: Receipt::new(reply.into()) }).unwrap();
    for id in [9, 10] {
        assert_eq!(client.next().await.unwrap(), format!("alarm {id}-ko-x"));
    }
    assert_eq!(client.at.seq, 10);
}

#[tokio::test(start_paused = true)]
async fn a_log_that_never_gets_as_far_as_its_reader_was_put_back_unless_it_cannot_be_read() {
    let begun = Instant::now();
    let (_session, _hub, mut client) = reader_ahead(Status::default()).await;
    assert_eq!(client.next().await.unwrap(), "reset");
    assert!(begun.elapsed() >= AHEAD);
    assert_eq!(client.at.seq, 5);

    let down = Status { down_since: Some(SystemTime::now()), ..Status::default() };
    let (session, _hub, mut client) = reader_ahead(down).await;
    assert!(client.next().await.unwrap().contains("down_since: Some"));
    sleep(3 * AHEAD).await;
    session.cast(SessionMessage::Tell(Event::Status(Status::default()))).unwrap();
    assert!(client.next().await.unwrap().contains("down_since: None"), "and no reset before");
    assert_eq!(client.next().await.unwrap(), "reset");
}
