//! What somebody may do holds on every hub: tickets, and what was revoked.

use super::*;
use crate::ask::{bearer, guarded};

#[test]
fn a_ticket_of_one_hub_opens_one_stream_on_another_and_brings_its_page_back_on_any() {
    let cluster = Cluster::start(0);
    let url = cluster.redis.url();
    let origin = guarded(cluster.directory.path(), &["--redis", &url, "--settle", "0s", "--db", "alarms.db"]);
    is_well(&origin);
    let folder = TempDir::new().unwrap();
    let edge = guarded(folder.path(), &["--redis", &url, "--settle", "0s"]);
    is_well(&edge);
    for (here, there) in [(&origin, &edge), (&edge, &origin)] {
        let bought = here.ask("POST", "/users/alice/ticket", &bearer("alice", ""), b"");
        assert_eq!(bought.status, 200, "{bought:?}");
        let ticket = bought.json()["ticket"].as_str().unwrap().to_owned();
        let mut stream = there.live(&format!("alice?ticket={ticket}"), "");
        for hub in [here, there] {
            let again = hub.get(&format!("/connection/alice?ticket={ticket}"), "");
            assert!(again.is(401, "no-token"), "used: {again:?}");
        }
        cluster.write("INSERT OR REPLACE INTO alarm (id, lang, message) VALUES ('1', 'en', 'x')");
        cluster.write("DELETE FROM alarm WHERE id = '1'");
        assert_eq!(event(&mut stream).0, "alarm", "its stream was not touched");
        let mut back = here.live(&format!("alice?ticket={ticket}"), &format!("Last-Event-ID: {}\r\n", stream.id));
        assert_eq!(event(&mut back).0, "cleared");
    }
}

#[test]
fn who_was_sent_away_on_one_hub_stays_away_on_all_also_when_redis_was_emptied_and_the_hub_started_again() {
    let mut cluster = Cluster::start(2);
    let edge = cluster.edge();
    let kick = |hub: &Hub| {
        eventually("the hub hears of the session", || request(hub, "GET", "/sessions/tiaz").0.contains(" 200 "));
        let (status, body) = request(hub, "DELETE", "/sessions/tiaz");
        assert!(status.contains(" 204 "), "{status} {body}");
    };
    let mut stream = open(&edge, "tiaz");
    kick(&cluster.hubs[0]);
    assert_eq!(event(&mut stream).1["reason"], "kicked");
    for hub in cluster.hubs.iter().chain([&edge]) {
        let back = resume(hub, "tiaz", &stream.id);
        assert!(back.status.contains(" 204 "), "{}", back.status);
    }
    let mut stream = open(&cluster.hubs[0], "tiaz");
    kick(&cluster.hubs[1]);
    assert_eq!(event(&mut stream).1["reason"], "kicked");
    // A hub with the database keeps it there, too.
    let database = rusqlite::Connection::open(cluster.directory.path().join("alarms.db")).unwrap();
    let claim = stream.id.rsplit('.').next().unwrap();
    eventually("it is in the database", || {
        let kept = "SELECT count(*) FROM hub_claim WHERE user_id = 'tiaz' AND revoked = ?1";
        database.query_row(kept, [claim], |row| row.get::<_, u32>(0)).unwrap() == 1
    });
    cluster.hubs.clear(); // kill -9
    cluster.redis.kill();
    cluster.redis.again(); // empty
    let again = cluster.origin(&[]);
    let back = resume(&again, "tiaz", &stream.id);
    assert!(back.status.contains(" 204 "), "{}", back.status);
}
