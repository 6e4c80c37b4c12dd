//! What protects the hub from its clients, and what it does with HTTP that is odd or hostile.

use std::{
    fs,
    io::{BufRead, BufReader, ErrorKind, Read, Write},
    net::{IpAddr, TcpStream, UdpSocket},
    path::Path,
    process::{Command, Stdio},
    sync::mpsc::{RecvTimeoutError, sync_channel},
    time::{Duration, Instant},
};

use alarm_hub::{Config, server::Times};
use serde_json::Value;
use tempfile::TempDir;

use crate::{Hub, Stream, write, write_python};

/// What a single answer may take, also on a machine that does a lot besides.
const PATIENCE: Duration = Duration::from_secs(30);

impl Hub {
    fn socket(&self) -> TcpStream {
        let socket = TcpStream::connect(&self.address).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        socket
    }

    /// Sends this and reads until the hub closes.
    fn exchange(&self, request: &[u8]) -> String {
        let mut socket = self.socket();
        socket.write_all(request).unwrap();
        all(&mut socket)
    }

    /// Sockets that the hub has open; those that listen among them.
    fn sockets(&self) -> usize {
        let open = fs::read_dir(format!("/proc/{}/fd", self.process.id())).unwrap();
        let names = open.filter_map(|entry| fs::read_link(entry.ok()?.path()).ok());
        names.filter(|name| name.to_string_lossy().starts_with("socket:")).count()
    }

    pub fn signal(&self, name: &str) {
        let sent = Command::new("kill").args([&format!("-{name}"), &self.process.id().to_string()]).status();
        assert!(sent.expect("there is a kill command").success());
    }

    pub fn code(&mut self) -> Option<i32> {
        self.process.wait().unwrap().code()
    }
}

fn all(socket: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    match socket.read_to_end(&mut bytes) {
        Ok(_) => {}
        Err(cause) => assert_eq!(cause.kind(), ErrorKind::ConnectionReset, "after {bytes:?}"),
    }
    String::from_utf8(bytes).unwrap()
}

/// Waits until it holds.
pub fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < PATIENCE, "{what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// An address of this machine that is not loopback, so that the limits per address hold.
fn own_address() -> Option<IpAddr> {
    let socket = UdpSocket::bind("0.0.0.0:0").ok()?;
    socket.connect("198.51.100.1:9").ok()?; // nothing is sent: this asks only from where it would be
    let address = socket.local_addr().ok()?.ip();
    (!address.is_loopback()).then_some(address)
}

fn bye_busy(mut stream: Stream) {
    assert!(stream.status.contains(" 200 "), "{}", stream.status);
    let (event, data) = stream.event();
    assert_eq!((event.as_str(), &data["reason"], &data["reconnect"]), ("bye", &"busy".into(), &Value::Bool(true)));
    assert!(data["retry_ms"].as_u64().is_some_and(|retry| retry >= 1_000), "{data}");
}

#[test]
fn a_head_that_is_too_large_is_refused_with_what_is_wrong_and_a_large_one_is_served() {
    let directory = TempDir::new().unwrap();
    let hub = Hub::start(directory.path(), &[]);
    let get = |path: &str, headers: &str| {
        let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{headers}\r\n");
        let (mut socket, mut answer) = (hub.socket(), String::new());
        socket.write_all(request.as_bytes()).unwrap();
        socket.read_to_string(&mut answer).expect("the connection is not reset, or the answer could be lost");
        answer.split(' ').nth(1).unwrap_or_else(|| panic!("no status in {answer:?}")).to_owned()
    };
    let lines = |count: usize| (0..count - 2).map(|number| format!("X-{number}: x\r\n")).collect::<String>();
    assert_eq!(get("/healthz", &lines(200)), "200");
    assert_eq!(get("/healthz", &lines(201)), "431");
    assert_eq!(get("/healthz", &format!("X: {}\r\n", "x".repeat(900_000))), "431");
    assert_eq!(get("/healthz", &format!("X: {}\r\n", "x".repeat(16_000_000))), "431", "more than any buffer holds");
    assert_eq!(get(&format!("/{}", "x".repeat(70_000)), ""), "414");
    assert_eq!(get("/healthz", &format!("Accept-Language: {}\r\n", "ko;q=0.5,".repeat(10_000))), "200");
    let mut stream = hub.connect("a", &format!("Accept-Language: ja,{}\r\n", "ko;q=0.5,".repeat(10_000)));
    assert_eq!(stream.event().1["languages"][0], "ja");
}

#[test]
fn odd_http_is_served_as_the_standard_says() {
    let directory = TempDir::new().unwrap();
    let hub = Hub::start(directory.path(), &[]);

    let mut old = hub.socket();
    old.write_all(b"GET /connection/a HTTP/1.0\r\nAccept-Encoding: gzip, br\r\n\r\n").unwrap();
    let mut lines = BufReader::new(old).lines().map(Result::unwrap);
    let head: Vec<String> = lines.by_ref().take_while(|line| !line.is_empty()).collect();
    assert!(!head.iter().any(|line| line.contains("encoding:")), "{head:?}");
    assert!(lines.next().unwrap().starts_with("retry: "), "it ends with the connection, there are no chunks");

    let mut live = hub.connect("b", "Accept: text/event-stream\r\n");
    assert_eq!(live.event().0, "hello");
    let quiet = hub.exchange(
        b"HEAD /connection/b HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\nConnection: close\r\n\r\n",
    );
    assert!(quiet.starts_with("HTTP/1.1 200 ") && quiet.ends_with("\r\n\r\n"), "{quiet}");
    for (method, status) in [("POST", "405"), ("OPTIONS", "204"), ("BREW", "405")] {
        let request = format!("{method} /connection/b HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        let answer = hub.exchange(request.as_bytes());
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{answer}");
    }
    write(directory.path(), "INSERT INTO alarm (id, lang, message) VALUES ('1', 'ko', 'x')");
    assert_eq!(live.event().0, "alarm", "none of these touched the stream");

    let one = "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let last = "GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    assert_eq!(hub.exchange(format!("{one}{one}{last}").as_bytes()).matches("HTTP/1.1 200 ").count(), 3);

    let preface = hub.exchange(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0");
    assert!(!preface.contains("200"), "HTTP/2 without TLS is refused: {preface}");
    let upgrade = hub.exchange(
        b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close, upgrade\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n\r\n",
    );
    assert!(upgrade.starts_with("HTTP/1.1 200 "), "an upgrade is not taken up: {upgrade}");

    // The body is the chunks; what follows is no second request, or a front that counts by Content-Length is fooled.
    for lines in ["Content-Length: 5\r\nTransfer-Encoding: chunked", "Transfer-Encoding: chunked\r\nContent-Length: 5"]
    {
        let (host, body) = (&hub.address, r#"{"messages":{"ko":"x"}}"#);
        let head =
            format!("POST /alarms HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\n{lines}\r\n\r\n");
        let smuggled = format!("{head}{:x}\r\n{body}\r\n0\r\n\r\n{one}", body.len());
        let answer = hub.exchange(smuggled.as_bytes());
        assert!(answer.starts_with("HTTP/1.1 201 ") && answer.matches("HTTP/1.1 ").count() == 1, "{answer}");
    }
}

#[test]
fn a_full_hub_says_so_is_healthy_all_the_same_and_takes_in_the_next_once_one_has_left() {
    let directory = TempDir::new().unwrap();
    let hub = Hub::start(directory.path(), &["--max-connections", "2"]);
    let mut streams = ["a", "b"].map(|user| hub.connect(user, ""));
    for stream in &mut streams {
        assert_eq!(stream.event().0, "hello");
    }
    bye_busy(hub.connect("c", ""));
    bye_busy(hub.connect("a", ""));
    let refused = hub.exchange(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n");
    assert!(refused.starts_with("HTTP/1.1 503 ") && refused.contains("retry-after: "), "{refused}");
    assert!(refused.contains("application/problem+json"), "{refused}");
    assert!(hub.exchange(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n").starts_with("HTTP/1.1 200 "));
    write(directory.path(), "INSERT INTO alarm (id, lang, message) VALUES ('1', 'ko', 'x')");
    let [mut left, right] = streams;
    assert_eq!(left.event().0, "alarm", "whoever was refused displaced nobody");
    drop(right);
    until("there is room again", || hub.connect("c", "Accept: text/event-stream\r\n").event().0 == "hello");
}

#[test]
fn more_clients_than_descriptors_wait_or_are_sent_away_and_the_hub_lives_on() {
    let directory = TempDir::new().unwrap();
    let mut shell = Command::new("sh");
    let start = "ulimit -n 64; exec \"$0\" --listen 127.0.0.1:0";
    let hub = Hub::run(
        shell.args(["-c", start, env!("CARGO_BIN_EXE_alarm-hub")]).current_dir(directory.path()).stderr(Stdio::null()),
    );
    let idle: Vec<TcpStream> = (0..200).map(|_| hub.socket()).collect();
    drop(idle);
    let there_is_room =
        || until("there is room", || hub.connect("z", "Accept: text/event-stream\r\n").event().0 == "hello");
    there_is_room();
    let mut streams: Vec<Stream> = Vec::new();
    while streams.last().is_none_or(|stream| stream.status.contains("hello")) {
        let mut stream = hub.connect(&streams.len().to_string(), "");
        stream.status = stream.event().0;
        streams.push(stream);
    }
    assert!((10..64).contains(&streams.len()), "{}", streams.len());
    drop(streams);
    there_is_room();

    // Fewer than it was started with: now accept itself fails.
    let lower = |limit: &str| {
        let process = hub.process.id().to_string();
        Command::new("prlimit").args(["--pid", &process, &format!("--nofile={limit}:64")]).status()
    };
    let open = fs::read_dir(format!("/proc/{}/fd", hub.process.id())).unwrap().count();
    assert!(lower(&open.to_string()).is_ok_and(|status| status.success()), "prlimit is there");
    let waiting: Vec<TcpStream> = (0..20).map(|_| hub.socket()).collect();
    assert!(lower("64").is_ok_and(|status| status.success()));
    there_is_room();
    drop(waiting);
}

#[test]
fn an_address_has_so_many_connections_and_requests_and_no_more() {
    let Some(address) = own_address() else {
        eprintln!("LEFT OUT: this machine has no address but loopback, for which there are no limits");
        return;
    };
    let directory = TempDir::new().unwrap();
    let listen = format!("{address}:0");
    let start = |more: &[&str]| {
        let arguments = [&["--listen", &listen, "--insecure-no-auth"], more].concat();
        Hub::start(directory.path(), &arguments)
    };
    let hub = start(&["--max-per-address", "2"]);
    let mut streams = ["a", "b"].map(|user| hub.connect(user, ""));
    for stream in &mut streams {
        assert_eq!(stream.event().0, "hello");
    }
    bye_busy(hub.connect("c", ""));
    let refused = hub.exchange(format!("GET /healthz HTTP/1.1\r\nHost: {address}\r\n\r\n").as_bytes());
    assert!(refused.starts_with("HTTP/1.1 429 ") && refused.contains("retry-after: "), "{refused}");
    drop(streams);
    until("there is room again", || hub.connect("c", "Accept: text/event-stream\r\n").event().0 == "hello");
    drop(hub);

    let hub = start(&["--rate", "5"]);
    let one = format!("GET /healthz HTTP/1.1\r\nHost: {address}\r\n\r\n");
    let last = format!("GET /healthz HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    let answers = hub.exchange(format!("{}{last}", one.repeat(99)).as_bytes());
    let (served, refused) = (answers.matches("HTTP/1.1 200 ").count(), answers.matches("HTTP/1.1 429 ").count());
    assert!(served >= 5 && refused > 0 && served + refused == 100, "{served} {refused}");
    until("it may ask again", || hub.connect("a", "").event().0 == "hello");
    drop(hub);

    let hub = start(&["--rate", "1", "--max-per-address", "1", "--trusted-proxy", &address.to_string()]);
    let mut streams: Vec<Stream> = (0..20).map(|user| hub.connect(&user.to_string(), "")).collect();
    assert!(streams.iter_mut().all(|stream| stream.event().0 == "hello"), "a trusted proxy is exempt");
}

/// Alarms that fill every buffer on the way, and their ids.
fn burst(directory: &Path) -> Vec<Value> {
    let rows = "[(str(i), 'ko', 'x' * 60000) for i in range(200)]";
    write_python(
        directory,
        &format!("c.executemany('INSERT INTO alarm (id, lang, message) VALUES (?, ?, ?)', {rows})"),
    );
    (0..200).map(|id| Value::String(id.to_string())).collect()
}

fn ids(stream: &mut Stream) -> Vec<Value> {
    (0..200).map(|_| stream.event().1["id"].clone()).collect()
}

#[test]
fn clients_that_read_nothing_or_next_to_nothing_are_cut_and_cost_nobody_anything() {
    let directory = TempDir::new().unwrap();
    let hub = Hub::start(directory.path(), &["--queue", "16"]);
    let before = hub.sockets();
    let [mut deaf, mut slow, mut other] = ["deaf", "slow", "other"].map(|user| hub.connect(user, ""));
    for stream in [&mut deaf, &mut slow, &mut other] {
        assert_eq!(stream.event().0, "hello");
    }
    assert_eq!(hub.sockets(), before + 3);
    let mut trickle = slow.lines.get_ref().try_clone().unwrap();
    let (stop, stopped) = sync_channel::<()>(0);
    let reads = std::thread::spawn(move || {
        let goes_on = || stopped.recv_timeout(Duration::from_secs(1)) == Err(RecvTimeoutError::Timeout);
        while goes_on() && trickle.read(&mut [0]).is_ok_and(|read| read == 1) {}
    });
    let everything = burst(directory.path());
    assert_eq!(ids(&mut other), everything, "whoever reads has it all");
    until("the others are gone", || hub.sockets() == before + 1);
    drop(stop);
    reads.join().unwrap();
    for (user, id) in [("deaf", deaf.id), ("slow", slow.id)] {
        let mut back = hub.connect(user, &format!("Last-Event-ID: {id}\r\n"));
        assert_eq!(back.event().0, "hello");
        assert_eq!(ids(&mut back), everything, "once it reads, it gets everything");
    }
}

#[test]
fn a_client_that_is_stopped_and_goes_on_has_every_alarm_once() {
    let directory = TempDir::new().unwrap();
    let hub = Hub::start(directory.path(), &["--queue", "16"]);
    let before = hub.sockets();
    let url = format!("http://{}", hub.address);
    let mut tail = Command::new(env!("CARGO_BIN_EXE_alarm-hub"))
        .args(["tail", "--user", "tiaz", "--url", &url])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(tail.stdout.take().unwrap()).lines();
    until("it is connected", || hub.sockets() == before + 1);
    write(directory.path(), "INSERT INTO alarm (id, lang, message) VALUES ('first', 'ko', 'x')");
    let mut id = || serde_json::from_str::<Value>(&lines.next().unwrap().unwrap()).unwrap()["id"].clone();
    assert_eq!(id(), "first");
    let signal = |name: &str| Command::new("kill").args([name, &tail.id().to_string()]).status();
    assert!(signal("-STOP").unwrap().success());
    let everything = burst(directory.path());
    until("the hub has given up on it", || hub.sockets() == before);
    assert!(signal("-CONT").unwrap().success());
    assert_eq!((0..200).map(|_| id()).collect::<Vec<_>>(), everything);
    assert!(signal("-KILL").unwrap().success());
    tail.wait().unwrap();
}

#[test]
fn sigterm_tells_everybody_when_to_come_back_and_ends_with_0() {
    let directory = TempDir::new().unwrap();
    let mut hub = Hub::start(directory.path(), &["--drain", "30s"]);
    let mut streams: Vec<Stream> = (0..500).map(|user| hub.connect(&user.to_string(), "")).collect();
    assert!(streams.iter_mut().all(|stream| stream.event().0 == "hello"));
    let idle: Vec<TcpStream> = (0..5).map(|_| hub.socket()).collect();
    hub.signal("TERM");
    let retries = streams.iter_mut().map(|stream| {
        let (event, data) = stream.event();
        assert_eq!((event.as_str(), &data["reason"]), ("bye", &"shutdown".into()));
        data["retry_ms"].as_u64().unwrap()
    });
    let mut retries: Vec<u64> = retries.collect();
    retries.sort_unstable();
    assert!(retries[450] - retries[50] > 1_000, "returns are spread: {retries:?}");
    assert_eq!(hub.code(), Some(0), "all of them are gone, so it does not wait for the end of --drain");
    assert!(TcpStream::connect(&hub.address).is_err());
    drop(idle);
}

#[test]
fn a_second_signal_ends_at_once() {
    let directory = TempDir::new().unwrap();
    let mut hub = Hub::start(directory.path(), &["--drain", "10m"]);
    let mut half = hub.socket();
    half.write_all(b"GET /healthz HTTP/1.1\r\nHost:").unwrap();
    let mut stream = hub.connect("a", "");
    assert_eq!(stream.event().0, "hello");
    hub.signal("TERM");
    assert_eq!(stream.event().0, "bye");
    hub.signal("INT");
    assert_eq!(hub.code(), Some(1), "it did not wait for the rest of the head");
}

#[tokio::test]
async fn half_a_head_is_given_up_on() {
    let directory = TempDir::new().unwrap();
    let times = Times { head: Duration::from_millis(200), ..Times::default() };
    let db = directory.path().join("alarms.db");
    let config = Config { db, listen: vec!["127.0.0.1:0".parse().unwrap()], times, ..Config::default() };
    let hub = alarm_hub::Hub::start(config, Default::default()).await.unwrap();
    let address = hub.addresses()[0];
    let closed = tokio::task::spawn_blocking(move || {
        [&b"GET /healthz HTTP/1.1\r\nHo"[..], b""].map(|bytes| {
            let mut socket = TcpStream::connect(address).unwrap();
            socket.set_read_timeout(Some(PATIENCE)).unwrap();
            socket.write_all(bytes).unwrap();
            all(&mut socket)
        })
    });
    assert_eq!(closed.await.unwrap(), ["", ""]);
    assert!(hub.drain().await);
}
