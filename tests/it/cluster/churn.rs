//! Users whose pages are thrown from hub to hub while hubs and Redis are killed, stopped and emptied: what each was told
//! against what was committed, and one connection each at the end.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

use super::*;
use crate::checker::{Told, committed, writers};

const USERS: usize = 6;

/// How many events a page gets before it moves on.
const STAY: usize = 7;

/// Set when the test is over, also by a panic.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Where a page is.
#[derive(Default)]
struct Reached {
    /// It was let in for the first time: what is committed from now on is for it.
    hello: AtomicBool,
    /// It was told the last alarm.
    end: AtomicBool,
}

/// A page of one user, until all is over. It moves from hub to hub: now as a deliberate opening while the connection
/// before is still there, now as a browser that lost it; and goes on wherever it is let.
fn page(user: usize, hubs: &[String], over: &AtomicBool, reached: &Reached) -> Told {
    let (mut told, mut id, mut deliberate, mut before) = (Told::default(), String::new(), true, None);
    for turn in user.. {
        if over.load(Ordering::Relaxed) {
            break;
        }
        let hub = &hubs[turn % hubs.len()];
        let (query, header) = match (id.is_empty(), deliberate) {
            (true, _) => (String::new(), String::new()),
            (false, true) => (format!("?last_event_id={id}"), String::new()),
            (false, false) => (String::new(), format!("Last-Event-ID: {id}\r\n")),
        };
        if deliberate {
            thread::sleep(APART);
        }
        let request = format!(
            "GET /connection/u{user}{query} HTTP/1.1\r\nHost: {hub}\r\nAccept: text/event-stream\r\nAccept-Language: ko\r\n{header}\r\n"
        );
        let Ok(mut stream) = Stream::try_request(hub, &request) else {
            thread::sleep(Duration::from_millis(50));
            continue;
        };
        // It was let in elsewhere before it could read its claim: the user opens it again.
        deliberate = !stream.status.contains(" 200 ");
        let mut events = 0;
        while !deliberate
            && (events < STAY || reached.end.load(Ordering::Relaxed))
            && let Ok((event, data)) = stream.try_event()
        {
            id.clone_from(&stream.id);
            events += 1;
            match event.as_str() {
                "alarm" | "updated" => told.note(event, &data),
                "gap" | "reset" | "cleared" => panic!("u{user} at {hub}: {event} {data}"),
                "hello" => reached.hello.store(true, Ordering::Relaxed),
                "bye" if data["reason"] == "superseded" => deliberate = true,
                _ => {}
            }
            if data["id"] == "end" {
                reached.end.store(true, Ordering::Relaxed);
            }
        }
        deliberate |= turn % 2 == 0;
        before = deliberate.then_some(stream);
    }
    drop(before);
    told
}

/// Who is connected, by what this hub knows of all.
fn sessions(hub: &str) -> Vec<String> {
    let (_, body) = get(hub, "/sessions");
    let from = body.find(['{', '[']).unwrap_or_default();
    let body: Value = serde_json::from_str(&body[from..=body.rfind(['}', ']']).unwrap_or(from)]).unwrap_or_default();
    let listed = body["sessions"].as_array().cloned().unwrap_or_default();
    listed.iter().map(|session| session["user"].as_str().unwrap_or_default().to_owned()).collect()
}

#[test]
fn nothing_is_lost_nothing_comes_twice_and_one_connection_lives_whatever_is_killed_or_stopped() {
    let port = free_port();
    let keeps = ["--port", &port, "--appendonly", "yes", "--appendfsync", "always"];
    let mut cluster = Cluster::around(Redis::with(port.parse().unwrap(), &keeps), 0);
    let addresses = [(); 3].map(|()| format!("127.0.0.1:{}", free_port()));
    let start = |cluster: &Cluster, number: usize| {
        let listen = ["--listen", &addresses[number]];
        // The last one has no database.
        if number < 2 { cluster.origin(&listen) } else { cluster.edge_with(&listen) }
    };
    for number in 0..3 {
        let hub = start(&cluster, number);
        cluster.hubs.push(hub);
    }
    let (over, reached) = (AtomicBool::new(false), [(); USERS].map(|()| Reached::default()));
    let told: Vec<Told> = thread::scope(|scope| {
        let guard = Over(&over);
        let pages: Vec<_> = reached
            .iter()
            .enumerate()
            .map(|(user, reached)| {
                let (addresses, over) = (&addresses, &over);
                scope.spawn(move || page(user, addresses, over, reached))
            })
            .collect();
        eventually("all pages are there", || reached.iter().all(|reached| reached.hello.load(Ordering::Relaxed)));
        let directory = cluster.directory.path().to_owned();
        let writing = scope.spawn(move || writers(&directory, &["a", "b", "c", "d"], 40, 400, 60.0));
        let pause = || thread::sleep(Duration::from_millis(700));
        let replace = |cluster: &mut Cluster, number: usize| {
            cluster.hubs[number].process.kill().unwrap(); // -9
            cluster.hubs[number].process.wait().unwrap();
            pause();
            cluster.hubs[number] = start(cluster, number);
            pause();
        };
        let stop = |process: u32, time: Duration| {
            let kill =
                |signal: &str| Command::new("kill").args([signal, &*process.to_string()]).status().unwrap().success();
            assert!(kill("-STOP"));
            thread::sleep(time);
            assert!(kill("-CONT"));
        };
        pause();
        replace(&mut cluster, 0);
        cluster.redis.kill();
        pause();
        cluster.redis.again(); // with all that it knew
        pause();
        replace(&mut cluster, 2);
        stop(cluster.redis.process.id(), Duration::from_millis(2_500));
        pause();
        cluster.redis.kill();
        cluster.redis.forget();
        cluster.redis.again(); // empty
        replace(&mut cluster, 1);
        stop(cluster.hubs[2].process.id(), Duration::from_millis(2_500));
        stop(cluster.hubs[0].process.id(), Duration::from_millis(2_500));
        writing.join().unwrap();
        cluster.write("INSERT INTO alarm (id, lang, message) VALUES ('end', 'ko', 'x')");
        eventually("all pages have all", || reached.iter().all(|reached| reached.end.load(Ordering::Relaxed)));
        cluster.hubs.iter().for_each(is_well);
        let users: Vec<String> = (0..USERS).map(|user| format!("u{user}")).collect();
        for hub in &addresses {
            eventually("each user has one connection, over all hubs", || sessions(hub) == users);
        }
        drop(guard);
        cluster.hubs.clear(); // -9: pages end
        pages.into_iter().map(|page| page.join().unwrap()).collect()
    });
    let committed = committed(cluster.directory.path());
    assert_eq!(committed.len(), 161);
    told.iter().for_each(|told| told.check(&committed, None));
}
