//! Whom an alarm concerns, and what the others notice of it: nothing.

use tempfile::TempDir;

use crate::{Hub, write};

const SSE: &str = "Accept: text/event-stream\r\n";

fn insert(directory: &TempDir, id: u32, user: &str) {
    let row = format!("INSERT INTO alarm (id, lang, message, user_id) VALUES ('{id}', 'en', 'x', {user})");
    write(directory.path(), &row);
}

#[test]
fn alarms_for_others_are_passed_over_and_what_follows_them_comes_once() {
    let directory = TempDir::new().unwrap();
    let hub = Hub::start(directory.path(), &[]);
    let (mut alice, mut bob) = (hub.connect("alice", SSE), hub.connect("bob", SSE));
    assert_eq!((alice.event().0, bob.event().0), ("hello".to_owned(), "hello".to_owned()));
    let before = alice.id.clone();
    for id in 1..=3 {
        insert(&directory, id, "'bob'");
        assert_eq!(bob.event().1["id"], id.to_string());
    }
    insert(&directory, 4, "NULL");
    assert_eq!((&alice.event().1["id"], &bob.event().1["id"]), (&"4".into(), &"4".into()));
    insert(&directory, 5, "'alice'");
    assert_eq!(alice.event().1["id"], "5");

    let resume = |id: &str| {
        let mut stream = hub.connect("alice", &format!("{SSE}Last-Event-ID: {id}\r\n"));
        assert_eq!(stream.event().0, "hello");
        stream
    };
    let mut again = resume(&before);
    assert_eq!((&again.event().1["id"], &again.event().1["id"]), (&"4".into(), &"5".into()));
    let mut again = resume(&again.id);
    insert(&directory, 6, "NULL");
    assert_eq!(again.event().1["id"], "6", "nothing is repeated, and nothing of bob's is told");
}
