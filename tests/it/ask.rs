//! Requests that are no streams, byte by byte, and what came of them.

use std::{
    io::{Read, Write},
    net::TcpStream,
    path::Path,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use serde_json::{Value, json};

use crate::{Hub, Stream};

/// An answer.
pub struct Answer {
    pub status: u16,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(other, _)| other == name).map(|(_, value)| &**value)
    }

    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("the body is UTF-8")
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("no JSON: {}", self.text()))
    }

    /// Whether it is a refusal of this kind, told as such.
    pub fn is(&self, status: u16, slug: &str) -> bool {
        let told = self.header("content-type") == Some("application/problem+json")
            && self.json()["type"].as_str().is_some_and(|kind| kind.ends_with(&format!("/problems/{slug}")))
            && self.json()["status"] == status;
        self.status == status && told
    }
}

impl std::fmt::Debug for Answer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {:?} {}", self.status, self.headers, String::from_utf8_lossy(&self.body))
    }
}

impl Hub {
    /// Sends these bytes and reads until the hub ends the connection, or begins a stream.
    pub fn send(&self, bytes: &[u8]) -> Vec<u8> {
        let mut socket = TcpStream::connect(&self.address).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        let _ = socket.write_all(bytes); // a hub that refuses does not read to the end
        let mut answer = Vec::new();
        let mut part = [0; 65_536];
        // A reset comes after the answer, if there was more to read; a stream has no end.
        while let Ok(read @ 1..) = socket.read(&mut part) {
            answer.extend_from_slice(&part[..read]);
            if answer.windows(17).any(|window| window == b"text/event-stream") && answer.ends_with(b"\n") {
                break;
            }
        }
        answer
    }

    /// Asks with these header lines, each with its line break.
    pub fn ask(&self, method: &str, path: &str, headers: &str, body: &[u8]) -> Answer {
        let length = if body.is_empty() { String::new() } else { format!("Content-Length: {}\r\n", body.len()) };
        let host = if headers.contains("Host:") { String::new() } else { format!("Host: {}\r\n", self.address) };
        let head = format!("{method} {path} HTTP/1.1\r\n{host}Connection: close\r\n{length}{headers}\r\n");
        answer(&self.send(&[head.as_bytes(), body].concat()))
    }

    pub fn get(&self, path: &str, headers: &str) -> Answer {
        self.ask("GET", path, headers, b"")
    }

    pub fn post(&self, path: &str, headers: &str, body: &Value) -> Answer {
        self.ask("POST", path, &format!("Content-Type: application/json\r\n{headers}"), body.to_string().as_bytes())
    }

    /// Opens a user's stream and waits for its hello.
    pub fn live(&self, user: &str, headers: &str) -> Stream {
        let mut stream = self.connect(user, &format!("Accept: text/event-stream\r\n{headers}"));
        assert!(stream.status.contains(" 200 "), "{}", stream.status);
        assert_eq!(stream.event().0, "hello");
        stream
    }
}

/// Takes an answer apart.
pub fn answer(bytes: &[u8]) -> Answer {
    let end = bytes.windows(4).position(|window| window == b"\r\n\r\n").unwrap_or_else(|| {
        panic!("no answer: {}", String::from_utf8_lossy(bytes));
    });
    let head = String::from_utf8_lossy(&bytes[..end]);
    let mut lines = head.split("\r\n");
    let status = lines.next().unwrap().split(' ').nth(1).and_then(|status| status.parse().ok());
    let header = |line: &str| line.split_once(": ").map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()));
    let headers: Vec<(String, String)> = lines.filter_map(header).collect();
    let chunked = headers.iter().any(|(name, value)| name == "transfer-encoding" && value == "chunked");
    let rest = &bytes[end + 4..];
    let streams = headers.iter().any(|(_, value)| value.starts_with("text/event-stream"));
    let body = if streams {
        Vec::new()
    } else if chunked {
        unchunked(rest)
    } else {
        rest.to_vec()
    };
    Answer { status: status.expect("a status"), headers, body }
}

fn unchunked(mut rest: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    while let Some(end) = rest.windows(2).position(|window| window == b"\r\n") {
        let size = usize::from_str_radix(std::str::from_utf8(&rest[..end]).unwrap(), 16).unwrap();
        body.extend_from_slice(&rest[end + 2..end + 2 + size]);
        rest = &rest[end + 4 + size..];
    }
    body
}

/// The secret that hubs of tests are started with.
pub const SECRET: &[u8] = b"0123456789abcdef0123456789abcdef";

/// Starts a hub that asks for tokens signed with [`SECRET`].
pub fn guarded(directory: &Path, arguments: &[&str]) -> Hub {
    keyed(directory, SECRET, arguments)
}

/// Starts a hub that asks for tokens signed with this key.
pub fn keyed(directory: &Path, key: &[u8], arguments: &[&str]) -> Hub {
    use std::os::unix::fs::PermissionsExt;
    let path = directory.join("key");
    std::fs::write(&path, key).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    Hub::start(directory, &[&["--auth", "jwt", "--jwt-key-file", "key"], arguments].concat())
}

pub fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

/// A token signed with [`SECRET`].
pub fn token(claims: &Value) -> String {
    encode(&Header::new(Algorithm::HS256), claims, &EncodingKey::from_secret(SECRET)).unwrap()
}

/// The header line of a token that holds an hour.
pub fn bearer(user: &str, scope: &str) -> String {
    let token = token(&json!({"sub": user, "exp": now() + 3600, "scope": scope}));
    format!("Authorization: Bearer {token}\r\n")
}
