//! INSERT to bytes: the real binary, a real socket, and writers in other processes.

mod api;
mod api_alarms;
mod ask;
mod audience;
mod auth;
mod checker;
mod cli;
mod clients;
#[cfg(feature = "redis")]
mod cluster;
mod faults;
mod health;
mod hub;
mod metrics;
mod openapi;
mod poller;
mod proxies;
mod readme;
mod reload;
mod server;
mod store;
mod store_adopt;
mod store_model;
mod store_read;
mod store_triggers;
mod tls;
mod tree;
mod upgrade;
mod user_session;
mod watch;
mod world;

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    path::Path,
    process::{Child, ChildStderr, Command, Stdio},
    time::{Duration, Instant},
};

use serde_json::Value;
use tempfile::TempDir;

struct Hub {
    process: Child,
    address: String,
}

impl Hub {
    /// Starts the binary in a directory, on its default database or a named one, and waits until it says where it is.
    fn start(directory: &Path, arguments: &[&str]) -> Self {
        Self::spawn(directory, arguments, Stdio::null())
    }

    /// The same, and what it logs.
    fn start_logged(directory: &Path, arguments: &[&str]) -> (Self, ChildStderr) {
        let mut hub = Self::spawn(directory, arguments, Stdio::piped());
        let log = hub.process.stderr.take().expect("it is piped");
        (hub, log)
    }

    fn spawn(directory: &Path, arguments: &[&str], stderr: Stdio) -> Self {
        let listen: &[&str] = if arguments.contains(&"--listen") { &[] } else { &["--listen", "127.0.0.1:0"] };
        let mut command = Command::new(env!("CARGO_BIN_EXE_alarm-hub"));
        Self::run(command.args(listen).args(arguments).current_dir(directory).stderr(stderr))
    }

    fn run(command: &mut Command) -> Self {
        let mut process = command.stdout(Stdio::piped()).spawn().expect("the binary starts");
        let mut said = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut said).unwrap();
        let address = said.split("://").nth(1).expect("it says where it listens").split('/').next().unwrap();
        Self { process, address: address.to_owned() }
    }

    fn connect(&self, user: &str, headers: &str) -> Stream {
        self.request(&format!("GET /connection/{user} HTTP/1.1\r\nHost: {}\r\n{headers}\r\n", self.address))
    }

    fn request(&self, request: &str) -> Stream {
        Stream::request(&self.address, request)
    }
}

impl Drop for Hub {
    fn drop(&mut self) {
        let _ = self.process.kill(); // it may have ended by itself
        let _ = self.process.wait(); // as above
    }
}

struct Stream {
    lines: BufReader<TcpStream>,
    status: String,
    id: String,
}

impl Stream {
    fn request(address: &str, request: &str) -> Self {
        let mut socket = TcpStream::connect(address).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        socket.write_all(request.as_bytes()).unwrap();
        let mut stream = Self { lines: BufReader::new(socket), status: String::new(), id: String::new() };
        stream.status = stream.line();
        while !stream.line().is_empty() {}
        stream
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        assert_ne!(self.lines.read_line(&mut line).expect("a line within the time-out"), 0, "the stream ended");
        line.trim_end().to_owned()
    }

    /// The next event and its data, pings passed over: on a busy machine one may come before anything.
    fn event(&mut self) -> (String, Value) {
        let begun = Instant::now();
        loop {
            let (event, data) = self.any_event();
            if event != "ping" {
                return (event, data);
            }
            assert!(begun.elapsed() < Duration::from_secs(40), "nothing but pings");
        }
    }

    /// The next event and its data. Chunk sizes stand on lines of their own, and are skipped as unknown fields are.
    fn any_event(&mut self) -> (String, Value) {
        let (mut event, mut data) = (String::new(), Value::Null);
        loop {
            let line = self.line();
            if let Some(name) = line.strip_prefix("event: ") {
                event = name.to_owned();
            } else if let Some(text) = line.strip_prefix("data: ") {
                data = serde_json::from_str(text).expect("data is one line of JSON");
            } else if let Some(id) = line.strip_prefix("id: ") {
                self.id = id.to_owned();
                return (event, data);
            }
        }
    }
}

/// The head and the body of an answer.
fn get(address: &str, path: &str) -> (String, String) {
    let mut socket = TcpStream::connect(address).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    write!(socket, "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
    (head.to_owned(), body.to_owned())
}

/// Writes as another program does: Python, in a process of its own.
fn write(directory: &Path, sql: &str) {
    write_python(directory, &format!("c.executescript({})", serde_json::json!(sql)));
}

/// The same in Python's own words, with the connection as `c`.
fn write_python(directory: &Path, statements: &str) {
    let program = format!("import sqlite3\nc = sqlite3.connect('alarms.db', timeout=20)\n{statements}\nc.commit()");
    let written = Command::new("python3").args(["-c", &program]).current_dir(directory).status();
    assert!(written.expect("python3 is there").success(), "{program}");
}

const THREE: &str = "BEGIN; INSERT INTO alarm (id, lang, message, isn_dt) VALUES
    ('5b48ff24', 'ko', '예약에 성공했습니다!', '2023-12-01 11:10:04'),
    ('5b48ff24', 'US-en', 'I have successfully made a reservation.', '2023-12-01 11:10:04'),
    ('5b48ff24', 'ja', '予約に成功しました', '2023-12-01 11:10:04'); COMMIT;";

#[test]
fn an_insert_of_another_process_reaches_each_reader_in_its_language() {
    let directory = TempDir::new().unwrap();
    let hub = Hub::start(directory.path(), &[]);
    let headers = ["en-US", "ja-JP,ja;q=0.9", "ko-KR"].map(|lang| format!("Accept-Language: {lang}\r\n"));
    let mut streams: Vec<Stream> =
        headers.iter().zip(["a", "b", "c"]).map(|(headers, user)| hub.connect(user, headers)).collect();
    for stream in &mut streams {
        assert_eq!(stream.event().0, "hello");
    }
    write(directory.path(), THREE);
    let langs = streams.iter_mut().map(|stream| {
        let (event, data) = stream.event();
        assert_eq!((event.as_str(), &data["id"], &data["fallback"]), ("alarm", &"5b48ff24".into(), &false.into()));
        data["lang"].as_str().unwrap().to_owned()
    });
    assert_eq!(langs.collect::<Vec<_>>(), ["en-US", "ja", "ko"]);
}

#[test]
fn a_new_opening_ends_the_older_connection_for_good() {
    let directory = TempDir::new().unwrap();
    let hub = Hub::start(directory.path(), &[]);
    let mut older = hub.connect("tiaz", "Accept: text/event-stream\r\n");
    assert_eq!(older.event().0, "hello");
    let mut newer = hub.connect("tiaz", "Accept: text/event-stream\r\n");
    assert_eq!(newer.event().0, "hello");
    let (event, data) = older.event();
    assert_eq!((event.as_str(), &data["reason"], &data["reconnect"]), ("bye", &"superseded".into(), &false.into()));
    let resumed = hub.connect("tiaz", &format!("Accept: text/event-stream\r\nLast-Event-ID: {}\r\n", older.id));
    assert!(resumed.status.contains(" 204 "), "{}", resumed.status);
    write(directory.path(), THREE);
    assert_eq!(newer.event().0, "alarm");
}

#[test]
fn what_was_missed_over_a_kill_of_the_hub_comes_in_the_language_of_the_resume() {
    let directory = TempDir::new().unwrap();
    let hub = Hub::start(directory.path(), &[]);
    let mut stream = hub.connect("tiaz", "Accept-Language: ko\r\n");
    assert_eq!(stream.event().0, "hello");
    drop(hub); // kill -9
    write(directory.path(), THREE);
    write(directory.path(), "INSERT INTO alarm (id, lang, message, user_id) VALUES ('2', 'ko', 'x', 'other')");
    write(directory.path(), "INSERT INTO alarm (id, lang, message, user_id) VALUES ('3', 'ko', 'x', 'tiaz')");
    let hub = Hub::start(directory.path(), &["--db", "alarms.db"]);
    let mut stream = hub.connect("tiaz", &format!("Accept-Language: ja\r\nLast-Event-ID: {}\r\n", stream.id));
    assert_eq!(stream.event().1["resumed"], true);
    assert_eq!(stream.event().1["message"], "予約に成功しました");
    assert_eq!(stream.event().1["id"], "3");
    write(directory.path(), "UPDATE alarm SET message = 'new' WHERE id = '3'; DELETE FROM alarm WHERE id = '5b48ff24'");
    let told: Vec<String> = [stream.event(), stream.event()].map(|(event, _)| event).into();
    assert_eq!(told, ["updated", "cleared"]);
}

#[test]
fn a_table_of_four_columns_is_adopted_and_its_rows_are_history() {
    let directory = TempDir::new().unwrap();
    write(
        directory.path(),
        "CREATE TABLE alarm (id TEXT, lang TEXT, message TEXT, isn_dt TEXT, PRIMARY KEY (id, lang));
         INSERT INTO alarm VALUES ('1', 'ko', '하나', '2023-12-01 11:10:04'), ('2', 'ko', '둘', NULL)",
    );
    let hub = Hub::start(directory.path(), &["--db", "alarms.db"]);
    let mut fresh = hub.connect("a", "Accept-Language: ko\r\n");
    assert_eq!(fresh.event().0, "hello");
    let mut history = hub.connect("b?history=1", "Accept-Language: ko\r\n");
    assert_eq!(history.event().0, "hello");
    assert_eq!(history.event().1["id"], "2");
    write(directory.path(), "INSERT INTO alarm VALUES ('3', 'ko', '셋', '2023-12-01 11:10:04')");
    assert_eq!(fresh.event().1["id"], "3");
    assert_eq!(history.event().1["id"], "3");
}

#[test]
fn a_page_of_another_site_does_not_touch_the_stream() {
    let directory = TempDir::new().unwrap();
    let hub = Hub::start(directory.path(), &[]);
    let mut stream = hub.connect("alice", "Accept: text/event-stream\r\n");
    assert_eq!(stream.event().0, "hello");
    let image = hub.connect("alice", "Sec-Fetch-Site: cross-site\r\nSec-Fetch-Dest: image\r\nAccept: image/*,*/*\r\n");
    assert!(image.status.contains(" 403 "), "{}", image.status);
    assert!(hub.connect("alice", "").status.contains(" 406 "));
    assert!(hub.connect("%2e%2e", "").status.contains(" 400 "));
    write(directory.path(), THREE);
    assert_eq!(stream.event().0, "alarm");
}

#[test]
fn a_replaced_row_is_an_update_and_one_that_reads_the_same_is_nothing() {
    let directory = TempDir::new().unwrap();
    let hub = Hub::start(directory.path(), &[]);
    let mut stream = hub.connect("tiaz", "Accept-Language: ko\r\n");
    assert_eq!(stream.event().0, "hello");
    let row = |verb: &str, message: &str, user: &str| {
        let sql = "INTO alarm (id, lang, message, isn_dt, user_id) VALUES";
        write(directory.path(), &format!("INSERT OR {verb} {sql} ('1', 'ko', '{message}', 'now', {user})"));
    };
    row("REPLACE", "one", "NULL");
    assert_eq!(stream.event().0, "alarm");
    row("REPLACE", "one", "NULL");
    row("IGNORE", "other", "NULL");
    row("REPLACE", "two", "NULL");
    let (event, data) = stream.event();
    assert_eq!((event.as_str(), &data["message"]), ("updated", &"two".into()));
    row("REPLACE", "two", "'somebody'");
    assert_eq!(stream.event(), ("cleared".to_owned(), serde_json::json!({"id": "1"})));
    row("REPLACE", "three", "'tiaz'");
    let (event, data) = stream.event();
    assert_eq!((event.as_str(), &data["message"]), ("alarm", &"three".into()));
}
