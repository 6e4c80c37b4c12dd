//! The commands that talk to a hub, against one that says exactly what the test wants, and against the real one.

use std::{
    collections::VecDeque,
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    thread::{self, JoinHandle},
};

use serde_json::{Value, json};

use super::*;

/// In an answer: its connection stays open to the end.
const HOLD: &str = "X-Hold: yes";

/// Answers one request after the other with what was prepared, and tells at the end what was asked.
struct Told {
    url: String,
    thread: JoinHandle<Vec<String>>,
}

impl Told {
    fn new(answers: &[String]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/base/", listener.local_addr().unwrap());
        let mut answers: VecDeque<String> = answers.iter().cloned().collect();
        let thread = thread::spawn(move || {
            let (mut asked, mut held) = (Vec::new(), Vec::new());
            while let Some(answer) = answers.pop_front() {
                let (mut socket, _) = listener.accept().unwrap();
                asked.push(request(&socket));
                socket.write_all(answer.as_bytes()).unwrap();
                if answer.contains(HOLD) {
                    held.push(socket);
                }
            }
            asked
        });
        Self { url, thread }
    }

    /// What was asked, head and body; every answer was fetched.
    fn asked(self) -> Vec<String> {
        self.thread.join().expect("every answer was fetched")
    }
}

fn request(socket: &TcpStream) -> String {
    let mut reader = BufReader::new(socket);
    let (mut head, mut length) = (String::new(), 0);
    while !head.ends_with("\r\n\r\n") {
        let mut line = String::new();
        assert_ne!(reader.read_line(&mut line).unwrap(), 0, "the head is cut off: {head}");
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
        head.push_str(&line);
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).unwrap();
    head + &String::from_utf8(body).unwrap()
}

fn answer(status: &str, kind: &str, body: &str) -> String {
    format!("HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nConnection: close\r\n\r\n{body}")
}

fn stream(blocks: &str) -> String {
    answer("200 OK", "text/event-stream; charset=utf-8", blocks)
}

fn problem(status: &str, detail: &str) -> String {
    answer(status, "application/problem+json", &json!({"title": "no", "detail": detail}).to_string())
}

const SUPERSEDED: &str = "event: bye\ndata: {\"reason\":\"superseded\",\"reconnect\":false}\nid: a.3.f\n\n";

#[test]
fn tail_resumes_from_where_it_was_and_ends_when_a_newer_connection_takes_over() {
    let directory = tempdir().unwrap();
    let first = "retry: 1\nevent: hello\ndata: {\"heartbeat_ms\":15000}\nid: a.1.f\n\n\
                 event: alarm\ndata: {\"message\":\"a\",\"id\":\"1\"}\nid: a.2.f\n\n\
                 event: alarm\ndata: {\"message\":\"cut";
    let busy = "event: bye\ndata: {\"reason\":\"busy\",\"reconnect\":true,\"retry_ms\":1}\n\n";
    let second =
        format!("event: cleared\ndata: {{\"id\":\"1\"}}\nid: a.3.f\n\nevent: ping\ndata: {{}}\n\n{SUPERSEDED}");
    let hub = Told::new(&[stream(first), stream(busy), stream(&second)]);
    let tail =
        run(&directory, &["tail", "--user", "a/b", "--lang", "ja,ko;q=0.5", "--history", "9", "--url", &hub.url]);
    assert_eq!(tail.code, Some(0), "{}", tail.said);
    assert_eq!(
        tail.out,
        "{\"event\":\"alarm\",\"message\":\"a\",\"id\":\"1\"}\n{\"event\":\"cleared\",\"id\":\"1\"}\n"
    );
    assert!(tail.said.contains("a newer connection of the same user took over"), "{}", tail.said);
    let asked = hub.asked();
    assert!(
        asked[0].starts_with("GET /base/connection/a%2Fb?lang=ja%2Cko%3Bq%3D0.5&history=9 HTTP/1.1\r\n"),
        "{}",
        asked[0]
    );
    assert!(asked[0].contains("accept: text/event-stream\r\n") && !asked[0].contains("last-event-id"), "{}", asked[0]);
    for resume in &asked[1..] {
        assert!(resume.starts_with("GET /base/connection/a%2Fb?lang=ja%2Cko%3Bq%3D0.5 HTTP/1.1\r\n"), "{resume}");
        assert!(resume.contains("last-event-id: a.2.f\r\n"), "the cut event was not seen: {resume}");
    }
}

#[test]
fn a_hub_that_does_not_answer_is_told_in_one_line_with_its_address() {
    let directory = tempdir().unwrap();
    for command in [&["sessions"][..], &["kick", "tiaz"], &["send", "ko=x"]] {
        let done = run(&directory, &[command, &["--url", "http://127.0.0.1:1/alarms"]].concat());
        assert_eq!(done.said, "error: no hub answers at http://127.0.0.1:1: Connection refused (os error 111)\n");
        assert_eq!(done.code, Some(1));
    }
}

#[test]
fn tail_takes_204_for_the_end_and_a_refusal_for_a_failure() {
    let directory = tempdir().unwrap();
    let hub = Told::new(&["HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n".to_owned()]);
    let superseded = run(&directory, &["tail", "--user", "tiaz", "--url", &hub.url]);
    assert_eq!((superseded.code, superseded.out.as_str()), (Some(0), ""), "{}", superseded.said);
    assert!(superseded.said.contains("a newer connection of tiaz"), "{}", superseded.said);
    let hub = Told::new(&[problem("403 Forbidden", "this token is for another user")]);
    let refused = run(&directory, &["tail", "--user", "tiaz", "--url", &hub.url]);
    assert_eq!(refused.code, Some(1));
    assert!(refused.said.contains("403: this token is for another user"), "{}", refused.said);
    let hub = Told::new(&[answer("200 OK", "text/html", "<p>welcome")]);
    let portal = run(&directory, &["tail", "--user", "tiaz", "--url", &hub.url]);
    assert_eq!((portal.code, portal.said.contains("is no event stream")), (Some(1), true), "{}", portal.said);
}

#[test]
fn tail_comes_back_after_trouble_that_passes() {
    let directory = tempdir().unwrap();
    let unavailable = "HTTP/1.1 503 Service Unavailable\r\nRetry-After: 0\r\nConnection: close\r\n\r\n".to_owned();
    let silent = format!("retry: 1\nevent: hello\ndata: {{\"heartbeat_ms\":100}}\n\n{SUPERSEDED}");
    let hub = Told::new(&[unavailable, String::new(), stream(&silent)]);
    let tail = run(&directory, &["tail", "--user", "tiaz", "--url", &hub.url]);
    assert_eq!(tail.code, Some(0), "{}", tail.said);
    assert_eq!(hub.asked().len(), 3);
}

#[test]
fn tail_does_not_trust_a_connection_that_went_silent() {
    let directory = tempdir().unwrap();
    let kind = format!("text/event-stream\r\n{HOLD}");
    let silent = answer("200 OK", &kind, "retry: 1\nevent: hello\ndata: {\"heartbeat_ms\":100}\nid: a.1.f\n\n");
    let hub = Told::new(&[silent, stream(SUPERSEDED)]);
    let tail = run(&directory, &["tail", "--user", "tiaz", "--url", &hub.url]);
    assert_eq!((tail.code, tail.said.contains("went silent")), (Some(0), true), "{}", tail.said);
    assert!(hub.asked()[1].contains("last-event-id: a.1.f\r\n"));
}

#[test]
fn the_token_is_read_from_its_file_each_time_and_told_to_nobody_else() {
    let directory = tempdir().unwrap();
    fs::write(directory.path().join("token"), "ey.J0.eXAi\n").unwrap();
    let hub = Told::new(&[stream("retry: 1\n\n"), stream(SUPERSEDED)]);
    let tail = run(&directory, &["tail", "--user", "tiaz", "--token-file", "token", "--url", &hub.url]);
    assert_eq!(tail.code, Some(0), "{}", tail.said);
    assert!(!tail.said.contains("ey.J0"));
    for asked in hub.asked() {
        assert!(asked.contains("authorization: Bearer ey.J0.eXAi\r\n"), "{asked}");
    }
    let missing = run(&directory, &["tail", "--user", "tiaz", "--token-file", "none"]);
    assert_eq!((missing.code, missing.said.contains("the token file none")), (Some(1), true), "{}", missing.said);
}

#[test]
fn sessions_are_a_table_or_a_line_of_json_each() {
    let directory = tempdir().unwrap();
    let sessions = json!({"sessions": [{"user": "tiaz", "conn": "ab", "languages": ["ko"], "delivered": 3}]});
    let ok = || answer("200 OK", "application/json", &sessions.to_string());
    let hub = Told::new(&[ok(), ok()]);
    let table = run(&directory, &["sessions", "--url", &hub.url]);
    assert!(table.out.starts_with("USER  CONN  LANGUAGES"), "{}{}", table.out, table.said);
    assert!(table.out.lines().nth(1).unwrap().starts_with("tiaz  ab    ko"), "{}", table.out);
    let lines = done(command(directory.path(), &["sessions", "--json"]).env("ALARM_HUB_URL", &hub.url));
    assert_eq!(serde_json::from_str::<Value>(lines.out.trim()).unwrap(), sessions["sessions"][0]);
    assert!(hub.asked()[0].starts_with("GET /base/sessions HTTP/1.1\r\n"));
}

#[test]
fn kick_says_whether_there_was_somebody() {
    let directory = tempdir().unwrap();
    let gone = "HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n".to_owned();
    let hub = Told::new(&[gone, problem("404 Not Found", "no such session"), problem("403 Forbidden", "no scope")]);
    let codes = [0, 1, 1].map(|code| {
        let done = run(&directory, &["kick", "a/b", "--url", &hub.url]);
        assert_eq!(done.code, Some(code), "{}", done.said);
        done.said
    });
    assert!(codes[1].contains("a/b is not connected") && codes[2].contains("no scope"), "{codes:?}");
    assert!(hub.asked()[0].starts_with("DELETE /base/sessions/a%2Fb HTTP/1.1\r\n"));
}

#[test]
fn send_over_http_posts_the_alarm_and_prints_the_hubs_id() {
    let directory = tempdir().unwrap();
    let hub = Told::new(&[
        answer("201 Created", "application/json", r#"{"ids":["7"],"cursor":"a.1"}"#),
        problem("409 Conflict", "there is an alarm 7 with other content"),
    ]);
    let send = ["send", "--url", &hub.url, "--user", "tiaz", "--id", "7", "ko=안녕", "en-US=hello"];
    let sent = run(&directory, &send);
    assert_eq!((sent.code, sent.out.trim()), (Some(0), "7"), "{}", sent.said);
    let refused = run(&directory, &send);
    assert_eq!((refused.code, refused.said.contains("with other content")), (Some(1), true), "{}", refused.said);
    let asked = hub.asked();
    assert!(asked[0].starts_with("POST /base/alarms HTTP/1.1\r\n"), "{}", asked[0]);
    let body: Value = serde_json::from_str(asked[0].split("\r\n\r\n").nth(1).unwrap()).unwrap();
    assert_eq!(body, json!({"id": "7", "user_id": "tiaz", "messages": {"ko": "안녕", "en-US": "hello"}}));
    let both = run(&directory, &["send", "--url", "http://127.0.0.1:1", "--db", "a.db", "ko=a"]);
    assert_eq!(both.code, Some(2), "either a database or a hub: {}", both.said);
}

#[test]
fn what_send_writes_is_what_tail_prints_also_after_the_hub_was_killed() {
    let directory = tempdir().unwrap();
    assert_eq!(run(&directory, &["init"]).code, Some(0));
    let start = |listen: &str| {
        Running::start(&mut command(directory.path(), &["--listen", listen, "--log", "off", "--settle", "0s"]))
    };
    let mut hub = start("127.0.0.1:0");
    let url = hub.address();
    let tail = ["tail", "--user", "tiaz", "--lang", "ja", "--history", "5", "--url", &url];
    let mut tail = Running::start(command(directory.path(), &tail).stderr(Stdio::null()));
    let mut said = |id: &str, text: &str| {
        let sent = run(&directory, &["send", "--id", id, &format!("ja={text}"), "en-US=hello"]);
        assert_eq!(sent.code, Some(0), "{}", sent.said);
        let line: Value = serde_json::from_str(&tail.line()).expect("a line is an object");
        assert_eq!((line["event"].as_str(), line["id"].as_str()), (Some("alarm"), Some(id)), "{line}");
        assert_eq!((line["message"].as_str(), line["lang"].as_str()), (Some(text), Some("ja")), "{line}");
    };
    said("1", "こんにちは");
    drop(hub);
    let _hub = start(url.strip_prefix("http://").unwrap());
    said("2", "さようなら");
}

#[test]
fn the_commands_reach_a_hub_that_asks_for_tokens_below_a_base_path() {
    let directory = tempdir().unwrap();
    key(&directory, b"0123456789abcdef0123456789abcdef", 0o600);
    let token = |file: &str, arguments: &[&str]| {
        let made = run(&directory, &[&["token", "--key-file", "key"], arguments].concat());
        assert_eq!(made.code, Some(0), "{}", made.said);
        fs::write(directory.path().join(file), made.out).unwrap();
    };
    token("reader", &["--user", "tiaz"]);
    token("operator", &["--user", "root", "--scope", "publish,sessions"]);
    let jwt =
        ["--listen", "127.0.0.1:0", "--auth", "jwt", "--jwt-key-file", "key", "--base-path", "/alarms", "--log", "off"];
    let mut hub = Running::start(&mut command(directory.path(), &jwt));
    let url = format!("{}/alarms", hub.address());
    let ask = |arguments: &[&str], token: &str| {
        run(&directory, &[arguments, &["--url", &url, "--token-file", token]].concat())
    };

    let tail = ["tail", "--user", "tiaz", "--lang", "ko", "--url", &url, "--token-file", "reader"];
    let mut tail = Running::start(command(directory.path(), &tail).stderr(Stdio::null()));
    let connected = || ask(&["sessions", "--json"], "operator");
    while connected().out.is_empty() {}
    let session: Value = serde_json::from_str(&connected().out).expect("one line");
    assert_eq!((&session["user"], &session["languages"]), (&"tiaz".into(), &json!(["ko"])));
    let table = ask(&["sessions"], "operator");
    assert!(table.out.starts_with("USER") && table.out.contains("\ntiaz  "), "{}", table.out);

    for (command, token, why) in [
        (&["sessions"][..], "reader", "the hub answered 403: this call needs the scope sessions"),
        (&["kick", "tiaz"], "reader", "the hub answered 403: this call needs the scope sessions"),
        (&["send", "ko=안녕"], "reader", "the hub answered 403: this call needs the scope publish"),
        (&["sessions"], "key", "the hub answered 401: this call needs a token that holds"),
        (&["tail", "--user", "root"], "reader", "the hub answered 403: the user in the path is not the caller"),
        (&["kick", "nobody"], "operator", "nobody is not connected"),
    ] {
        let done = ask(command, token);
        assert_eq!(done.code, Some(1), "{command:?}: {}", done.said);
        assert!(done.said.contains(why), "{command:?}: {}", done.said);
    }

    let sent = ask(&["send", "--user", "tiaz", "--id", "a/b", "ko=안녕", "en-US=hello"], "operator");
    assert_eq!((sent.code, sent.out.trim()), (Some(0), "a/b"), "{}", sent.said);
    let line: Value = serde_json::from_str(&tail.line()).expect("a line is an object");
    assert_eq!((&line["event"], &line["id"], &line["message"]), (&"alarm".into(), &"a/b".into(), &"안녕".into()));
    let again = ask(&["send", "--user", "tiaz", "--id", "a/b", "ko=안녕", "en-US=hello"], "operator");
    assert_eq!((again.code, again.out.trim()), (Some(0), "a/b"), "the same again is no error: {}", again.said);
    let other = ask(&["send", "--id", "a/b", "ko=안녕"], "operator");
    assert_eq!(other.code, Some(1));
    assert!(other.said.contains("the hub answered 409"), "{}", other.said);

    let kicked = ask(&["kick", "tiaz"], "operator");
    assert_eq!((kicked.code, kicked.out.trim()), (Some(0), "the connection of tiaz was ended"), "{}", kicked.said);
    assert_eq!(tail.ended(), (Some(0), String::new()), "it does not come back");
}

#[test]
fn a_system_without_certificates_of_authorities_has_hubs_all_the_same() {
    let directory = tempdir().unwrap();
    let nothing = |command: &mut Command| {
        command.env("SSL_CERT_FILE", "/dev/null").env("SSL_CERT_DIR", directory.path());
    };
    let hub = Told::new(&[answer("200 OK", "application/json", "[]")]);
    let mut sessions = command(directory.path(), &["sessions", "--url", &hub.url]);
    nothing(&mut sessions);
    let done = done(&mut sessions);
    assert_eq!(done.code, Some(0), "{}", done.said);
    hub.asked();
}
