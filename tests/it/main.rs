//! One binary of all tests; here is what they share: the real binary, a real socket, and writers in other processes.

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
mod packages;
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
mod stream;
mod tls;
mod tree;
mod upgrade;
mod user_session;
mod watch;
mod world;

use std::{
    io::{self, BufRead, BufReader, Read, Write},
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
        Self::try_request(address, request).expect("an answer within the time-out")
    }

    fn try_request(address: &str, request: &str) -> io::Result<Self> {
        let mut socket = TcpStream::connect(address)?;
        socket.set_read_timeout(Some(Duration::from_secs(20)))?;
        socket.write_all(request.as_bytes())?;
        let mut stream = Self { lines: BufReader::new(socket), status: String::new(), id: String::new() };
        stream.status = stream.line()?;
        while !stream.line()?.is_empty() {}
        Ok(stream)
    }

    fn line(&mut self) -> io::Result<String> {
        let mut line = String::new();
        self.lines.read_line(&mut line)?;
        match line.strip_suffix('\n') {
            Some(line) => Ok(line.trim_end().to_owned()),
            None => Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the stream ended")),
        }
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
        self.try_event().expect("an event within the time-out")
    }

    fn try_event(&mut self) -> io::Result<(String, Value)> {
        let (mut event, mut data) = (String::new(), Value::Null);
        loop {
            let line = self.line()?;
            if let Some(name) = line.strip_prefix("event: ") {
                event = name.to_owned();
            } else if let Some(text) = line.strip_prefix("data: ") {
                data = serde_json::from_str(text).expect("data is one line of JSON");
            } else if let Some(id) = line.strip_prefix("id: ") {
                self.id = id.to_owned();
                return Ok((event, data));
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
