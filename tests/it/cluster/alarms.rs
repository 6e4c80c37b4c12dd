//! Alarms on hubs without a database: each once, in order, whatever happens to Redis and to those that tell of them.

use std::thread;

use super::*;
use crate::{THREE, write_python};

fn insert(id: usize) -> String {
    format!("INSERT INTO alarm (id, lang, message) VALUES ('{id}', 'ko', 'x');")
}

/// The ids of the next alarms, as numbers. Only alarms count.
fn alarms(stream: &mut Stream, count: usize) -> Vec<usize> {
    let mut ids = Vec::new();
    while ids.len() < count {
        let (event, data) = event(stream);
        assert_eq!(event, "alarm", "{data}");
        ids.push(data["id"].as_str().unwrap().parse().unwrap());
    }
    ids
}

/// Writes so many rows one by one, each in a transaction of its own.
fn write_slowly(cluster: &Cluster, rows: usize) -> thread::JoinHandle<()> {
    let directory = cluster.directory.path().to_owned();
    let program = format!(
        "import time\nfor i in range({rows}):\n  c.execute(\"INSERT INTO alarm (id, lang, message) VALUES (?, 'ko', 'x')\", (str(i),))\n  c.commit()\n  time.sleep(0.01)"
    );
    thread::spawn(move || write_python(&directory, &program))
}

#[test]
fn an_insert_reaches_the_readers_of_a_hub_without_a_database_each_in_its_language() {
    let cluster = Cluster::start(1);
    let edge = cluster.edge();
    let headers = ["en-US", "ja-JP,ja;q=0.9", "ko-KR"].map(|lang| format!("Accept-Language: {lang}\r\n"));
    let mut streams: Vec<Stream> =
        headers.iter().zip(["a", "b", "c"]).map(|(headers, user)| edge.connect(user, headers)).collect();
    for stream in &mut streams {
        assert_eq!(stream.event().0, "hello");
    }
    cluster.write(THREE);
    let langs = streams.iter_mut().map(|stream| event(stream).1["lang"].as_str().unwrap().to_owned());
    assert_eq!(langs.collect::<Vec<_>>(), ["en-US", "ja", "ko"]);
    cluster.write("UPDATE alarm SET message = 'new' WHERE lang = 'ko'; INSERT INTO alarm (id, lang, message, user_id) VALUES ('2', 'ko', 'x', 'somebody')");
    cluster.write("DELETE FROM alarm WHERE id = '5b48ff24'");
    let told: Vec<String> = (0..2).map(|_| event(&mut streams[2]).0).collect();
    assert_eq!(told, ["updated", "cleared"]);
}

#[test]
fn a_page_that_moves_between_hubs_gets_each_alarm_once_and_later_translations() {
    let cluster = Cluster::start(1);
    let edge = cluster.edge();
    let origin = &cluster.hubs[0];
    let mut stream = open(&edge, "tiaz");
    cluster.write(&insert(1));
    assert_eq!(alarms(&mut stream, 1), [1]);
    let id = stream.id.clone();
    drop(stream);
    cluster.write(&insert(2));
    let mut stream = resume(origin, "tiaz", &id);
    assert_eq!(stream.event().0, "hello");
    assert_eq!(alarms(&mut stream, 1), [2]);
    let id = stream.id.clone();
    drop(stream);
    cluster.write(&(3..6).map(insert).collect::<String>());
    cluster.write("UPDATE alarm SET message = 'new' WHERE id = '1'");
    let mut stream = resume(&edge, "tiaz", &id);
    assert_eq!(stream.event().0, "hello");
    assert_eq!(alarms(&mut stream, 3), [3, 4, 5]);
    let (name, data) = event(&mut stream);
    assert_eq!((name.as_str(), &data["message"]), ("updated", &"new".into()));
    let mut newest = edge.connect("other?history=2", "Accept-Language: ko\r\n");
    assert_eq!(newest.event().0, "hello");
    assert_eq!(alarms(&mut newest, 2), [4, 5]);
}

#[test]
fn an_edge_that_starts_before_any_origin_sends_readers_away_for_a_moment_and_then_serves() {
    let cluster = Cluster::start(0);
    let edge = cluster.edge();
    let mut stream = edge.connect("tiaz", "Accept: text/event-stream\r\n");
    assert_eq!(stream.event().1["reason"], "busy");
    let (status, body) = request(&edge, "GET", "/users/tiaz/alarms");
    assert!(status.contains(" 503 ") && body.contains("no hub that has one"), "{status} {body}");
    let _origin = cluster.origin(&[]);
    eventually("it serves", || edge.connect("tiaz", "Accept: text/event-stream\r\n").event().0 == "hello");
}

#[test]
fn each_alarm_comes_once_and_in_order_though_redis_and_an_origin_are_killed_and_the_edge_is_stopped() {
    const ROWS: usize = 300;
    let mut cluster = Cluster::start(2);
    let edge = cluster.edge();
    let mut stream = open(&edge, "tiaz");
    let writer = write_slowly(&cluster, ROWS);
    let mut seen = alarms(&mut stream, 20);
    cluster.redis.kill();
    cluster.redis.again(); // empty: it is told again by either
    seen.extend(alarms(&mut stream, 40));
    drop(cluster.hubs.remove(0)); // kill -9
    seen.extend(alarms(&mut stream, 40));
    cluster.redis.signal("-STOP");
    thread::sleep(Duration::from_millis(300));
    cluster.redis.signal("-CONT");
    let kill = |signal: &str| Command::new("kill").args([signal, &edge.process.id().to_string()]).status().unwrap();
    assert!(kill("-STOP").success());
    writer.join().unwrap();
    assert!(kill("-CONT").success());
    seen.extend(alarms(&mut stream, ROWS - 100));
    assert_eq!(seen, (0..ROWS).collect::<Vec<_>>(), "none lost, none twice, in order");
    let mut late = edge.connect("late?history=1000", "Accept-Language: ko\r\n");
    assert_eq!(late.event().0, "hello");
    assert_eq!(alarms(&mut late, ROWS), (0..ROWS).collect::<Vec<_>>());
}

#[test]
fn what_redis_no_longer_has_is_announced_as_a_gap() {
    let cluster = Cluster::start(1);
    let edge = cluster.edge();
    let mut stream = open(&edge, "tiaz");
    cluster.write(&insert(1));
    assert_eq!(alarms(&mut stream, 1), [1]);
    let id = stream.id.clone();
    drop(stream);
    let mut other = open(&edge, "other");
    for row in 2..5 {
        cluster.write(&insert(row));
        assert_eq!(alarms(&mut other, 1), [row]);
    }
    // A new edge remembers nothing of what the stream has lost.
    assert_ne!(cluster.redis.ask(&["XTRIM", "alarm-hub:{alarms}", "MAXLEN", "=", "1"]), "0");
    let edge = cluster.edge();
    let mut stream = resume(&edge, "tiaz", &id);
    assert_eq!(stream.event().0, "hello");
    let (name, data) = event(&mut stream);
    assert_eq!((name.as_str(), &data["reason"]), ("gap", &"expired".into()));
    assert_eq!(alarms(&mut stream, 1), [4]);
}

#[test]
fn an_edge_asks_the_next_hub_with_a_database_when_one_was_killed() {
    let mut cluster = Cluster::start(2);
    let edge = cluster.edge();
    let history = || request(&edge, "GET", "/users/tiaz/alarms").0;
    eventually("the edge knows a hub with a database", || history().contains(" 200 "));
    drop(cluster.hubs.remove(0)); // kill -9
    eventually("the other one is asked", || history().contains(" 200 "));
    drop(cluster.hubs.remove(0));
    let (head, _) = get(&edge.address, "/users/tiaz/alarms");
    assert!(head.contains(" 503 ") && head.to_lowercase().contains("\r\nretry-after: "), "{head}");
}

#[test]
fn history_publishing_and_acknowledging_work_on_an_edge() {
    let mut cluster = Cluster::start(1);
    let edge = cluster.edge();
    let mut stream = open(&edge, "tiaz");
    let body = r#"{"id":"7","user_id":"tiaz","messages":{"ko":"x"}}"#;
    let mut socket = TcpStream::connect(&edge.address).unwrap();
    write!(
        socket,
        "POST /alarms HTTP/1.1\r\nHost: {}\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        edge.address,
        body.len()
    )
    .unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 201 "), "{answer}");
    assert_eq!(alarms(&mut stream, 1), [7]);
    let (status, body) = request(&edge, "PUT", "/users/tiaz/alarms/7/ack");
    assert!(status.contains(" 204 "), "{status} {body}");
    assert_eq!(event(&mut stream), ("acknowledged".to_owned(), serde_json::json!({"id": "7", "acknowledged": true})));
    let (status, body) = request(&edge, "GET", "/users/tiaz/alarms?lang=ko");
    assert!(status.contains(" 200 ") && body.contains("\"acknowledged\":true"), "{status} {body}");
    assert!(request(&edge, "PUT", "/users/other/alarms/7/ack").0.contains(" 404 "));
    drop(cluster.hubs.remove(0)); // kill -9
    let (status, body) = request(&edge, "GET", "/users/tiaz/alarms");
    assert!(status.contains(" 503 ") && body.contains("cannot be reached"), "{status} {body}");
    let (name, data) = stream.event();
    assert_eq!((name.as_str(), &data["source"]), ("status", &"down".into()), "silence does not look like all is well");
}

#[test]
fn a_hub_with_another_database_is_refused_while_the_first_is_there() {
    let cluster = Cluster::start(1);
    let edge = cluster.edge();
    let mut stream = open(&edge, "tiaz");
    let elsewhere = Cluster { redis: Redis::start(), directory: TempDir::new().unwrap(), hubs: Vec::new() };
    write(elsewhere.directory.path(), "CREATE TABLE alarm (id TEXT, lang TEXT, message TEXT, PRIMARY KEY (id, lang))");
    let arguments = ["--redis", &cluster.redis.url(), "--db", "alarms.db"];
    let other = Hub::start(elsewhere.directory.path(), &arguments);
    eventually("it says that it is refused", || {
        let (head, body) = get(&other.address, "/readyz");
        head.contains(" 200 ") && body.contains("another database")
    });
    elsewhere.write(&insert(1));
    cluster.write(&insert(2));
    assert_eq!(alarms(&mut stream, 1), [2]);
}

#[test]
fn when_the_database_was_put_back_readers_of_an_edge_are_told_and_get_what_is_new() {
    let mut cluster = Cluster::start(1);
    let edge = cluster.edge();
    let mut stream = open(&edge, "tiaz");
    cluster.write(&insert(1));
    assert_eq!(alarms(&mut stream, 1), [1]);
    let kept = rusqlite::Connection::open(cluster.directory.path().join("alarms.db")).unwrap();
    let backup = cluster.directory.path().join("backup.db");
    kept.execute("VACUUM INTO ?1", [backup.to_str().unwrap()]).unwrap();
    drop(kept);
    cluster.write(&(2..5).map(insert).collect::<String>());
    assert_eq!(alarms(&mut stream, 3), [2, 3, 4]);
    let before = stream.id.clone();
    cluster.hubs.clear(); // kill -9
    for left in ["alarms.db-wal", "alarms.db-shm"] {
        let _ = std::fs::remove_file(cluster.directory.path().join(left)); // the last to close it removed it
    }
    std::fs::rename(backup, cluster.directory.path().join("alarms.db")).unwrap();
    let _origin = cluster.origin(&[]);
    assert_eq!(event(&mut stream).0, "reset");
    cluster.write(&insert(9));
    assert_eq!(alarms(&mut stream, 1), [9]);
    let mut back = resume(&edge, "tiaz", &before);
    assert_eq!(back.event().0, "hello");
    assert_eq!(event(&mut back).0, "reset", "what it knows is not there any more");
}

#[test]
fn another_database_takes_over_when_none_of_the_first_was_heard_of_for_long() {
    let mut cluster = Cluster::start(1);
    let edge = cluster.edge();
    let mut stream = open(&edge, "tiaz");
    cluster.write(&insert(1));
    assert_eq!(alarms(&mut stream, 1), [1]);
    cluster.hubs.clear(); // kill -9
    let elsewhere = TempDir::new().unwrap();
    write(elsewhere.path(), "CREATE TABLE alarm (id TEXT, lang TEXT, message TEXT, PRIMARY KEY (id, lang))");
    let url = cluster.redis.url();
    let other = Hub::start(elsewhere.path(), &["--redis", &url, "--db", "alarms.db", "--settle", "0s"]);
    eventually("it is refused", || get(&other.address, "/readyz").1.contains("another database"));
    let beat: u64 = cluster.redis.ask(&["hget", "alarm-hub:{alarms}:about", "beat"]).parse().unwrap();
    // As if so many seconds had passed.
    cluster.redis.ask(&["hset", "alarm-hub:{alarms}:about", "beat", &(beat - 31).to_string()]);
    assert_eq!(event(&mut stream).0, "reset");
    is_well(&other);
    write(elsewhere.path(), &insert(7));
    assert_eq!(alarms(&mut stream, 1), [7]);
}

#[test]
fn pages_of_many_megabytes_reach_an_edge_whole_and_it_says_that_it_is_up_to_date() {
    const ROWS: usize = 400;
    let cluster = Cluster::start(1);
    let edge = cluster.edge();
    let mut stream = open(&edge, "tiaz");
    // 24 MB in one transaction.
    cluster.write(&format!(
        "WITH RECURSIVE n (i) AS (VALUES (0) UNION ALL SELECT i + 1 FROM n WHERE i < {ROWS} - 1)
         INSERT INTO alarm (id, lang, message) SELECT i, 'ko', printf('%.60000c', 'x') FROM n"
    ));
    for id in 0..ROWS {
        let (name, data) = event(&mut stream);
        assert_eq!((name.as_str(), data["id"].as_str()), ("alarm", Some(&*id.to_string())));
        assert_eq!(data["message"].as_str().unwrap().len(), 60_000);
    }
    let bytes = cluster.redis.ask(&["memory", "usage", "alarm-hub:{alarms}", "samples", "0"]);
    assert!(bytes.parse::<usize>().unwrap() > 20_000_000, "{bytes}");
    for hub in [&edge, &cluster.hubs[0]] {
        eventually("nothing is left to be told", || {
            let (_, body) = get(&hub.address, "/metrics");
            body.lines().any(|line| line.trim() == "alarm_hub_redis_stream_lag 0")
        });
    }
}
