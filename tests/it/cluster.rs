//! Several hubs on a real Redis: real processes, and what happens when one of them is killed or hangs.

mod ahead;
mod alarms;
mod churn;
mod clock;
mod cut;
mod ownership;
mod permits;
mod port;
mod secure;

use std::{
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use serde_json::Value;
use tempfile::TempDir;

use crate::{Hub, Stream, get, write};

/// How long anything may take, on however busy a machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// Openings on different hubs within 50 ms are concurrent, and either may win: so far apart are those of a test.
const APART: Duration = Duration::from_millis(250);

/// A port of this machine that nobody listens on.
fn free_port() -> String {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port().to_string()
}

/// A Redis of its own.
pub struct Redis {
    process: Child,
    port: u16,
    arguments: Vec<String>,
    directory: TempDir,
}

impl Redis {
    /// One that keeps nothing on the disk.
    pub fn start() -> Self {
        let port = free_port();
        Self::with(port.parse().unwrap(), &["--port", &port, "--bind", "127.0.0.1"])
    }

    /// One that is told more, and listens on this port.
    fn with(port: u16, arguments: &[&str]) -> Self {
        let all = ["--save", ""].iter().chain(arguments);
        Self::run(port, TempDir::new().unwrap(), all.map(|&argument| argument.to_owned()).collect())
    }

    fn run(port: u16, directory: TempDir, arguments: Vec<String>) -> Self {
        let process = Self::spawn(port, directory.path(), &arguments);
        Self { process, port, arguments, directory }
    }

    fn spawn(port: u16, directory: &Path, arguments: &[String]) -> Child {
        let mut process = Command::new("redis-server")
            .args(arguments)
            .current_dir(directory)
            .stdout(Stdio::null())
            .spawn()
            .expect("redis-server is installed: apt-get install redis-server");
        let begun = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(begun.elapsed() < PATIENCE, "redis-server does not listen");
            assert!(process.try_wait().unwrap().is_none(), "redis-server ended");
            std::thread::sleep(Duration::from_millis(10));
        }
        process
    }

    /// `kill -9`: all that it knew is gone, unless it was told to keep it.
    fn kill(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }

    /// Starts it again.
    fn again(&mut self) {
        self.process = Self::spawn(self.port, self.directory.path(), &self.arguments);
    }

    /// What it kept on the disk is gone, too.
    fn forget(&self) {
        for kept in std::fs::read_dir(self.directory.path()).unwrap() {
            std::fs::remove_dir_all(kept.unwrap().path()).unwrap();
        }
    }

    fn signal(&self, signal: &str) {
        let sent = Command::new("kill").args([signal, &self.process.id().to_string()]).status();
        assert!(sent.unwrap().success());
    }

    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// The answer to a command, as redis-cli prints it.
    fn ask(&self, command: &[&str]) -> String {
        let asked = Command::new("redis-cli").args(["-p", &self.port.to_string()]).args(command).output().unwrap();
        String::from_utf8(asked.stdout).unwrap().trim_end().to_owned()
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        let _ = self.process.kill(); // it may have ended by itself
        let _ = self.process.wait(); // as above
    }
}

/// A directory with a database, and hubs that serve it.
struct Cluster {
    redis: Redis,
    directory: TempDir,
    hubs: Vec<Hub>,
}

impl Cluster {
    fn start(hubs: usize) -> Self {
        Self::around(Redis::start(), hubs)
    }

    fn around(redis: Redis, hubs: usize) -> Self {
        let mut cluster = Self { redis, directory: TempDir::new().unwrap(), hubs: Vec::new() };
        let made = Command::new(env!("CARGO_BIN_EXE_alarm-hub"))
            .args(["init", "--db", "alarms.db"])
            .current_dir(cluster.directory.path())
            .stdout(Stdio::null())
            .status();
        assert!(made.unwrap().success());
        for _ in 0..hubs {
            let hub = cluster.origin(&[]);
            cluster.hubs.push(hub);
        }
        cluster
    }

    /// One more hub on the same database.
    fn origin(&self, arguments: &[&str]) -> Hub {
        let url = self.redis.url();
        let mut all = vec!["--redis", &url, "--db", "alarms.db", "--settle", "0s"];
        all.extend(arguments);
        let hub = Hub::start(self.directory.path(), &all);
        is_well(&hub);
        hub
    }

    /// A hub without a database.
    fn edge(&self) -> Hub {
        self.edge_with(&["--listen", "127.0.0.1:0"])
    }

    fn edge_with(&self, arguments: &[&str]) -> Hub {
        let directory = self.directory.path().join("edge");
        std::fs::create_dir_all(&directory).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_alarm-hub"));
        command.args(["--redis", &self.redis.url(), "--settle", "0s"]).args(arguments);
        // As in a container with nothing but the binary: no authority's certificate is there.
        command.env("SSL_CERT_FILE", "/dev/null").env("SSL_CERT_DIR", &directory);
        let hub = Hub::run(command.current_dir(&directory).stderr(Stdio::null()));
        is_well(&hub);
        assert!(!directory.join("alarms.db").exists(), "an edge makes no database");
        hub
    }

    fn write(&self, sql: &str) {
        write(self.directory.path(), sql);
    }
}

/// What `/readyz` says of Redis.
fn redis_check(hub: &Hub) -> (bool, Value) {
    let (head, body) = get(&hub.address, "/readyz");
    let body: Value = serde_json::from_str(&body[body.find('{').unwrap()..=body.rfind('}').unwrap()]).unwrap();
    (head.contains(" 200 "), body["checks"]["redis"]["status"].clone())
}

/// Waits until the hub hears the others.
fn is_well(hub: &Hub) {
    eventually("the hub reaches Redis", || redis_check(hub) == (true, "ok".into()));
}

/// Waits until something is so.
fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < PATIENCE, "never: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Opens the stream of a user as a page does and waits for the hello.
fn open(hub: &Hub, user: &str) -> Stream {
    std::thread::sleep(APART);
    let mut stream = hub.connect(user, "Accept: text/event-stream\r\nAccept-Language: ko\r\n");
    assert_eq!(stream.event().0, "hello", "{}", stream.status);
    stream
}

/// Comes back as a browser does by itself.
fn resume(hub: &Hub, user: &str, id: &str) -> Stream {
    hub.connect(user, &format!("Accept: text/event-stream\r\nAccept-Language: ko\r\nLast-Event-ID: {id}\r\n"))
}

/// The next event that is no status.
fn event(stream: &mut Stream) -> (String, Value) {
    let begun = Instant::now();
    loop {
        let (event, data) = stream.event();
        if event != "status" {
            return (event, data);
        }
        assert!(begun.elapsed() < PATIENCE, "nothing but {event}");
    }
}

/// Asserts that the next thing a stream says is that another one took its place.
fn is_superseded(stream: &mut Stream) {
    let (event, data) = event(stream);
    assert_eq!((event.as_str(), &data["reason"], &data["reconnect"]), ("bye", &"superseded".into(), &false.into()));
}

/// The status line and the body of a request without one.
fn request(hub: &Hub, method: &str, path: &str) -> (String, String) {
    let mut socket = TcpStream::connect(&hub.address).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    write!(socket, "{method} {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", hub.address).unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
    (head.lines().next().unwrap_or_default().to_owned(), body.to_owned())
}
