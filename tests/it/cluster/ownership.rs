//! One live connection a user, whichever hub it is on.

use super::*;

#[test]
fn a_newer_opening_on_another_hub_ends_the_older_connection_for_good() {
    let cluster = Cluster::start(2);
    let [a, b] = &cluster.hubs[..] else { panic!("two hubs") };
    let mut older = open(a, "tiaz");
    let mut newer = open(b, "tiaz");
    is_superseded(&mut older);
    for hub in [a, b] {
        let back = resume(hub, "tiaz", &older.id);
        assert!(back.status.contains(" 204 "), "{}", back.status);
    }
    cluster.write("INSERT INTO alarm (id, lang, message) VALUES ('1', 'ko', 'x')");
    assert_eq!(event(&mut newer).0, "alarm");
    let mut third = open(a, "tiaz");
    is_superseded(&mut newer);
    cluster.write("INSERT INTO alarm (id, lang, message) VALUES ('2', 'ko', 'x')");
    assert_eq!(event(&mut third).0, "alarm");
}

#[test]
fn a_page_whose_hub_was_killed_goes_on_at_another_one_with_what_it_missed() {
    let mut cluster = Cluster::start(2);
    let mut stream = open(&cluster.hubs[0], "tiaz");
    cluster.write("INSERT INTO alarm (id, lang, message) VALUES ('1', 'ko', 'x')");
    assert_eq!(event(&mut stream).1["id"], "1");
    drop(cluster.hubs.remove(0)); // kill -9
    cluster.write("INSERT INTO alarm (id, lang, message) VALUES ('2', 'ko', 'x')");
    let mut back = resume(&cluster.hubs[0], "tiaz", &stream.id);
    assert_eq!(back.event().1["resumed"], true);
    assert_eq!(event(&mut back).1["id"], "2");
}

#[test]
fn the_same_page_that_is_back_on_another_hub_replaces_its_connection_without_a_bye() {
    let cluster = Cluster::start(2);
    let [a, b] = &cluster.hubs[..] else { panic!("two hubs") };
    let mut first = open(a, "tiaz");
    std::thread::sleep(APART);
    let mut back = resume(b, "tiaz", &first.id);
    assert_eq!(back.event().1["resumed"], true);
    let mut rest = String::new();
    first.lines.read_to_string(&mut rest).unwrap();
    assert!(!rest.contains("bye"), "{rest}");
    let mut again = resume(a, "tiaz", &back.id);
    assert_eq!(again.event().1["resumed"], true);
}

#[test]
fn while_redis_is_away_each_hub_goes_on_alone_and_says_so_and_afterwards_the_newest_lives() {
    let mut cluster = Cluster::start(2);
    let users: Vec<String> = (0..20).map(|user| format!("u{user}")).collect();
    let all = |hub: &Hub| -> Vec<Stream> {
        std::thread::sleep(APART);
        let open = |user: &String| hub.connect(user, "Accept: text/event-stream\r\nAccept-Language: ko\r\n");
        let mut streams: Vec<Stream> = users.iter().map(open).collect();
        streams.iter_mut().for_each(|stream| assert_eq!(stream.event().0, "hello"));
        streams
    };
    let mut before = all(&cluster.hubs[0]);
    cluster.redis.kill();
    for hub in &cluster.hubs {
        eventually("readiness is degraded", || redis_check(hub) == (true, "degraded".into()));
    }
    let (status, data) = before[0].event();
    assert_eq!((status.as_str(), &data["source"], &data["redis"]), ("status", &"up".into(), &"down".into()));
    let mut during = all(&cluster.hubs[1]);
    cluster.write("INSERT INTO alarm (id, lang, message) VALUES ('1', 'ko', 'x')");
    for stream in before.iter_mut().chain(&mut during) {
        assert_eq!(event(stream).1["id"], "1", "no alarm is withheld");
    }
    cluster.redis.again(); // empty
    before.iter_mut().for_each(is_superseded);
    cluster.hubs.iter().for_each(is_well);
    cluster.write("INSERT INTO alarm (id, lang, message) VALUES ('2', 'ko', 'x')");
    for stream in &mut during {
        assert_eq!(event(stream).1["id"], "2");
    }
}

#[test]
fn a_redis_that_hangs_withholds_nothing_and_is_believed_again_when_it_goes_on() {
    let cluster = Cluster::start(2);
    let [a, b] = &cluster.hubs[..] else { panic!("two hubs") };
    let mut older = open(a, "tiaz");
    cluster.redis.signal("-STOP");
    let mut newer = open(b, "tiaz");
    cluster.write("INSERT INTO alarm (id, lang, message) VALUES ('1', 'ko', 'x')");
    assert_eq!(event(&mut newer).1["id"], "1");
    assert_eq!(event(&mut older).1["id"], "1");
    eventually("readiness is degraded", || redis_check(a) == (true, "degraded".into()));
    cluster.redis.signal("-CONT");
    is_superseded(&mut older);
    is_well(b);
    cluster.write("INSERT INTO alarm (id, lang, message) VALUES ('2', 'ko', 'x')");
    assert_eq!(event(&mut newer).1["id"], "2");
}

#[test]
fn a_hub_that_was_stopped_closes_what_went_to_another_one_meanwhile() {
    let cluster = Cluster::start(2);
    let [a, b] = &cluster.hubs[..] else { panic!("two hubs") };
    let mut older = open(a, "tiaz");
    let kill = |signal: &str| Command::new("kill").args([signal, &a.process.id().to_string()]).status().unwrap();
    assert!(kill("-STOP").success());
    let mut newer = open(b, "tiaz");
    cluster.write("INSERT INTO alarm (id, lang, message) VALUES ('1', 'ko', 'x')");
    assert_eq!(event(&mut newer).1["id"], "1");
    assert!(kill("-CONT").success());
    while event(&mut older).0 != "bye" {} // the alarm may have come first
    let back = resume(a, "tiaz", &older.id);
    assert!(back.status.contains(" 204 "), "{}", back.status);
    cluster.write("INSERT INTO alarm (id, lang, message) VALUES ('2', 'ko', 'x')");
    assert_eq!(event(&mut newer).1["id"], "2");
}

#[test]
fn a_fenced_hub_serves_nobody_while_redis_is_away() {
    let mut cluster = Cluster::start(0);
    let hub = cluster.origin(&["--on-redis-loss", "fence"]);
    let mut stream = open(&hub, "tiaz");
    cluster.redis.kill();
    let (event, data) = loop {
        let (event, data) = stream.event();
        if event != "status" {
            break (event, data);
        }
    };
    assert_eq!((event.as_str(), &data["reason"], &data["reconnect"]), ("bye", &"busy".into(), &true.into()));
    assert_eq!(resume(&hub, "tiaz", &stream.id).event().1["reason"], "busy");
    cluster.redis.again();
    eventually("it serves again", || resume(&hub, "tiaz", &stream.id).event().0 == "hello");
}

#[test]
fn operators_see_and_end_the_sessions_of_all_hubs_and_acknowledgements_reach_them() {
    let cluster = Cluster::start(2);
    let [a, b] = &cluster.hubs[..] else { panic!("two hubs") };
    let (mut on_a, mut on_b) = (open(a, "ann"), open(b, "bob"));
    for hub in [a, b] {
        eventually("both sessions are listed", || {
            let (_, body) = request(hub, "GET", "/sessions");
            body.contains("\"user\":\"ann\"") && body.contains("\"user\":\"bob\"")
        });
        assert!(request(hub, "GET", "/sessions/bob").0.contains(" 200 "));
        assert!(request(hub, "GET", "/sessions/nobody").0.contains(" 404 "));
    }
    cluster.write("INSERT INTO alarm (id, lang, message) VALUES ('1', 'ko', 'x')");
    assert_eq!(event(&mut on_b).1["id"], "1");
    let (status, body) = request(a, "PUT", "/users/bob/alarms/1/ack");
    assert!(status.contains(" 204 "), "{status} {body}");
    assert_eq!(event(&mut on_b), ("acknowledged".to_owned(), serde_json::json!({"id": "1", "acknowledged": true})));
    let (status, body) = request(a, "DELETE", "/sessions/bob");
    assert!(status.contains(" 204 "), "{status} {body}");
    let (event_name, data) = event(&mut on_b);
    assert_eq!((event_name.as_str(), &data["reason"]), ("bye", &"kicked".into()));
    for hub in [a, b] {
        let back = resume(hub, "bob", &on_b.id);
        assert!(back.status.contains(" 204 "), "a revocation holds on every hub: {}", back.status);
    }
    assert!(request(b, "DELETE", "/sessions/bob").0.contains(" 404 "));
    assert_eq!(event(&mut on_a).1["id"], "1");
}
