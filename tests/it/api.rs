//! The calls of the interface, aside from who may make them.

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{Hub, THREE, ask::answer, write};

fn hub() -> (TempDir, Hub) {
    let directory = TempDir::new().unwrap();
    let hub = Hub::start(directory.path(), &[]);
    (directory, hub)
}

#[test]
fn a_path_that_is_not_there_a_method_that_it_lacks_and_what_it_has_are_told() {
    let (_directory, hub) = hub();
    for path in ["/nothing", "/users", "/users/a", "/users/a/alarms/", "/alarms/", "/connection/a/b", "//healthz"] {
        let answer = hub.get(path, "");
        assert!(answer.is(404, "not-found"), "{path}: {answer:?}");
    }
    let cases = [
        ("POST", "/connection/a", "GET, HEAD, OPTIONS"),
        ("POST", "/healthz", "GET, HEAD, OPTIONS"),
        ("GET", "/alarms", "POST, OPTIONS"),
        ("PATCH", "/alarms/1", "PUT, DELETE, OPTIONS"),
        ("PUT", "/sessions/a", "GET, DELETE, HEAD, OPTIONS"),
        ("GET", "/users/a/alarms/1/ack", "PUT, DELETE, OPTIONS"),
        ("BREW", "/users/a/ticket", "POST, OPTIONS"),
    ];
    for (method, path, allowed) in cases {
        let answer = hub.ask(method, path, "", b"");
        assert!(answer.is(405, "method-not-allowed"), "{method} {path}: {answer:?}");
        assert_eq!(answer.header("allow"), Some(allowed), "{method} {path}");
        let options = hub.ask("OPTIONS", path, "", b"");
        assert_eq!((options.status, options.header("allow")), (204, Some(allowed)), "{path}");
    }
}

#[test]
fn a_user_is_decoded_once_and_one_that_cannot_be_is_told_so() {
    let (directory, hub) = hub();
    for bad in ["..", ".", "%2e%2e", "%00", "%0a", "%7f", "%c2%85", "%ff", "", &"a".repeat(129), &"a".repeat(3_000)] {
        for path in [format!("/connection/{bad}"), format!("/users/{bad}/alarms"), format!("/sessions/{bad}")] {
            let answer = hub.get(&path, "");
            assert!(answer.is(400, "bad-user"), "{path}: {answer:?}");
        }
    }
    let longest = "%EA%B0%80".repeat(128);
    let users = [
        ("a%2Fb", "a/b"),
        ("가", "가"),
        ("%EA%B0%80x", "가x"),
        ("a%252Fb", "a%2Fb"),
        ("a+b", "a+b"),
        ("%3Cb%3E", "<b>"),
    ];
    for (path, user) in users.into_iter().chain([(&*longest, &*"가".repeat(128))]) {
        let mut stream = hub.connect(path, "Accept: text/event-stream\r\n");
        assert_eq!(stream.event().1["user"], user);
        assert_eq!(hub.get(&format!("/sessions/{path}"), "").json()["user"], user);
    }
    let mut raw = hub.live("가", "");
    let encoded = hub.live("%EA%B0%80", "");
    assert_eq!(raw.event().1["reason"], "superseded", "one user");
    write(directory.path(), "INSERT INTO alarm (id, lang, message, user_id) VALUES ('1', 'en', 'x', 'a/b')");
    drop(encoded);
    let mut slash = hub.connect("a%2Fb?history=1", "Accept: text/event-stream\r\n");
    assert_eq!([slash.event().0, slash.event().1["id"].to_string()], ["hello", "\"1\""]);
}

#[test]
fn head_asks_for_the_head_and_opens_nothing() {
    let (directory, hub) = hub();
    let mut alice = hub.live("alice", "");
    let head = hub.ask("HEAD", "/connection/alice", "Accept: text/event-stream\r\n", b"");
    assert_eq!((head.status, head.body.len()), (200, 0), "{head:?}");
    assert_eq!(head.header("content-type"), Some("text/event-stream; charset=utf-8"));
    assert_eq!(head.header("cache-control"), Some("no-store, no-transform"));
    let history = hub.ask("HEAD", "/users/alice/alarms", "", b"");
    assert_eq!((history.status, history.body.len()), (200, 0), "{history:?}");
    write(directory.path(), THREE);
    assert_eq!(alice.event().0, "alarm");
}

#[test]
fn an_older_http_a_pipeline_and_a_plea_for_gzip_are_served_as_they_should_be() {
    let (_directory, hub) = hub();
    let host = &hub.address;
    let old = hub.send(format!("GET /healthz HTTP/1.0\r\nHost: {host}\r\n\r\n").as_bytes());
    let old = answer(&old);
    assert_eq!((old.status, old.header("transfer-encoding")), (200, None), "{old:?}");
    let one = format!("GET /healthz HTTP/1.1\r\nHost: {host}\r\nAccept-Encoding: gzip\r\n");
    let two = hub.send(format!("{one}\r\n{one}Connection: close\r\n\r\n").as_bytes());
    assert_eq!(String::from_utf8_lossy(&two).matches("HTTP/1.1 200 OK").count(), 2);
    let mut packed = hub.connect("a", "Accept: text/event-stream\r\nAccept-Encoding: gzip, br\r\n");
    assert_eq!(packed.event().0, "hello");
}

/// What must be told of a stream that is opened: its status and, if it is refused, the kind of refusal.
#[track_caller]
fn opens(hub: &Hub, headers: &str, status: u16, slug: &str) {
    if status == 200 {
        let mut stream = hub.connect("bob", headers);
        assert!(stream.status.contains(" 200 "), "{headers}: {}", stream.status);
        assert_eq!(stream.event().0, "hello");
    } else {
        let answer = hub.get("/connection/bob", headers);
        assert!(answer.is(status, slug), "{headers}: {answer:?}");
    }
}

#[test]
fn a_stream_is_opened_by_scripts_of_the_hubs_own_pages_only() {
    let directory = TempDir::new().unwrap();
    let hub = Hub::start(directory.path(), &["--cors-origin", "https://portal.example"]);
    let events = "Accept: text/event-stream\r\n";
    let fetch = |site: &str, mode: &str, dest: &str| {
        format!("{events}Sec-Fetch-Site: {site}\r\nSec-Fetch-Mode: {mode}\r\nSec-Fetch-Dest: {dest}\r\n")
    };
    let origin = |origin: &str| format!("Origin: {origin}\r\n");
    let own = format!("http://{}", hub.address);
    let mut bob = hub.live("bob", "");
    for (headers, status, slug) in [
        ("Accept: text/html\r\n".to_owned(), 406, "not-acceptable"),
        ("Accept: application/json, text/event-stream;q=0\r\n".to_owned(), 406, "not-acceptable"),
        ("Accept: */*, text/event-stream;q=0\r\n".to_owned(), 406, "not-acceptable"),
        (String::new(), 406, "not-acceptable"),
        ("Accept: */*\r\n".to_owned(), 406, "not-acceptable"),
        ("Accept: image/avif,image/webp,*/*;q=0.8\r\n".to_owned(), 406, "not-acceptable"),
        (fetch("cross-site", "no-cors", "image"), 403, "cross-site"),
        (fetch("cross-site", "cors", "empty"), 403, "cross-site"),
        (fetch("same-site", "cors", "empty"), 403, "cross-site"),
        (fetch("same-origin", "no-cors", "image"), 403, "cross-site"),
        (fetch("same-origin", "no-cors", "empty"), 403, "cross-site"),
        (fetch("same-origin", "no-cors", "style"), 403, "cross-site"),
        (fetch("none", "navigate", "document"), 403, "cross-site"),
        (fetch("cross-site", "navigate", "iframe"), 403, "cross-site"),
        (fetch("cross-site", "cors", "empty") + &origin("https://evil.example"), 403, "cross-site"),
        (events.to_owned() + &origin("https://evil.example"), 403, "cross-site"),
        (events.to_owned() + &origin("null"), 403, "cross-site"),
        (events.to_owned() + &origin("http://127.0.0.1:1"), 403, "cross-site"),
    ] {
        opens(&hub, &headers, status, slug);
    }
    write(directory.path(), THREE);
    assert_eq!(bob.event().0, "alarm", "no refusal touched the stream");
    for headers in [
        events.to_owned(),
        "Accept: text/html, text/event-stream;q=0.5\r\n".to_owned(),
        fetch("same-origin", "cors", "empty"),
        fetch("same-origin", "same-origin", "empty") + &origin(&own),
        "Accept: */*\r\nSec-Fetch-Site: same-origin\r\nSec-Fetch-Mode: cors\r\nSec-Fetch-Dest: empty\r\n".to_owned(),
        fetch("cross-site", "cors", "empty") + &origin("https://portal.example"),
        events.to_owned() + &origin(&own),
    ] {
        opens(&hub, &headers, 200, "");
    }
    assert_eq!(bob.event().1["reason"], "superseded");
}

#[test]
fn a_stream_of_nobody_may_be_opened_by_whoever_accepts_anything() {
    let (_directory, hub) = hub();
    opens(&hub, "Accept: */*\r\n", 200, "");
}

#[test]
fn a_last_event_id_that_cannot_be_read_is_no_position_and_never_an_error() {
    let (directory, hub) = hub();
    let mut before = hub.live("a", "");
    let start = before.id.clone();
    write(directory.path(), THREE);
    assert_eq!(before.event().0, "alarm");
    let mut seen = hub.live("a", "");
    let head = seen.id.clone();
    let position = |id: &str| id.rsplit_once('.').unwrap().0.to_owned();
    assert_ne!(position(&start), position(&head));
    let odd = ["", "abc", "\u{ff}\u{fe}", "가", &"9".repeat(10_000), "0a1b2c3d.-1.x", "0a1b2c3d.18446744073709551616"];
    for id in odd {
        let mut stream = hub.live("a", &format!("Last-Event-ID: {id}\r\n"));
        assert_eq!(position(&stream.id), position(&head), "{id}: begins at the head");
        drop(stream);
        stream = hub.live(
            &format!(
                "a?last_event_id={}",
                percent_encoding::utf8_percent_encode(id, percent_encoding::NON_ALPHANUMERIC)
            ),
            "",
        );
        assert_eq!(position(&stream.id), position(&head), "{id}: begins at the head");
    }
    let nul = hub.get("/connection/a?last_event_id=%00%ff", "Accept: text/html\r\n");
    assert!(nul.is(406, "not-acceptable"), "{nul:?}");
    let parameter = format!("a?last_event_id={}", position(&start));
    let mut by_parameter = hub.live(&parameter, "");
    assert_eq!(by_parameter.event().0, "alarm");
    let header = format!("Last-Event-ID: {}\r\n", position(&head));
    let by_header = hub.live(&parameter, &header);
    assert_eq!(position(&by_header.id), position(&head), "the header wins");
    let unread = hub.live(&parameter, "Last-Event-ID: abc\r\n");
    assert_eq!(position(&unread.id), position(&head), "also one that cannot be read");
    hub.live(&parameter, &format!("{header}Last-Event-ID: abc\r\n"));
    assert_eq!(seen.event().1["reason"], "superseded");
    let mut other = hub.live("a?last_event_id=0a1b2c3d.1", "");
    assert_eq!(other.event(), ("reset".to_owned(), json!({"reason": "other-database"})));
}

#[test]
fn below_a_base_path_is_everything_and_elsewhere_nothing() {
    let directory = TempDir::new().unwrap();
    let hub = Hub::start(directory.path(), &["--base-path", "/alarms"]);
    for path in ["/", "/healthz", "/alarmsx/healthz", "/connection/a"] {
        let answer = hub.get(path, "");
        assert!(answer.is(404, "not-found"), "{path}: {answer:?}");
        assert_eq!(answer.json()["type"], "/alarms/problems/not-found");
    }
    for path in ["/alarms/", "/alarms/assets/page.js", "/alarms/healthz", "/alarms/problems/not-found"] {
        assert_eq!(hub.get(path, "").status, 200, "{path}");
    }
    let moved = hub.get("/alarms?user=tiaz", "");
    assert_eq!((moved.status, moved.header("location")), (308, Some("/alarms/?user=tiaz")), "{moved:?}");
    let mut stream = hub.request(&format!("GET /alarms/connection/a HTTP/1.1\r\nHost: {}\r\n\r\n", hub.address));
    assert_eq!(stream.event().0, "hello");
}

#[test]
fn without_tokens_a_name_that_nobody_told_the_hub_is_refused() {
    let directory = TempDir::new().unwrap();
    let hub = Hub::start(directory.path(), &["--host", "alarms.example"]);
    for host in [
        "evil.example",
        "alarms.example.evil.example",
        "evil.example:5000",
        "localhost.evil.example",
        "127.0.0.1.evil.example",
        "",
    ] {
        for path in ["/", "/healthz", "/connection/a", "/sessions"] {
            let answer = hub.get(path, &format!("Host: {host}\r\n"));
            assert!(answer.is(421, "misdirected"), "{host} {path}: {answer:?}");
        }
    }
    for host in [
        "localhost:5000",
        "127.0.0.1",
        "[::1]:5000",
        "10.1.2.3",
        "Alarms.Example:8443",
        "alarms.example.",
        "a.localhost",
    ] {
        assert_eq!(hub.get("/healthz", &format!("Host: {host}\r\n")).status, 200, "{host}");
    }
}

#[test]
fn pages_of_named_origins_may_read_and_others_are_not_told_that_they_may() {
    let directory = TempDir::new().unwrap();
    let hub = Hub::start(directory.path(), &["--cors-origin", "https://portal.example"]);
    let named = "Origin: https://portal.example\r\n";
    let preflight = "Access-Control-Request-Method: GET\r\nAccess-Control-Request-Headers: last-event-id\r\n";
    let answer = hub.ask("OPTIONS", "/connection/a", &format!("{named}{preflight}"), b"");
    assert_eq!(answer.status, 204, "{answer:?}");
    assert_eq!(answer.header("access-control-allow-origin"), Some("https://portal.example"));
    let allowed = answer.header("access-control-allow-headers").unwrap();
    for header in ["Authorization", "Accept-Language", "Content-Type", "Last-Event-ID"] {
        assert!(allowed.contains(header), "{allowed}");
    }
    assert!(answer.header("access-control-allow-methods").unwrap().contains("GET"));
    let read = hub.get("/sessions", named);
    assert_eq!((read.status, read.header("access-control-allow-origin")), (200, Some("https://portal.example")));
    let refused = hub.get("/nothing", named);
    assert_eq!((refused.status, refused.header("access-control-allow-origin")), (404, Some("https://portal.example")));
    for other in ["", "Origin: https://evil.example\r\n", "Origin: https://portal.example.evil.example\r\n"] {
        let answer = hub.ask("OPTIONS", "/connection/a", &format!("{other}{preflight}"), b"");
        assert!(answer.headers.iter().all(|(name, _)| !name.starts_with("access-control")), "{answer:?}");
        assert!(answer.headers.contains(&("vary".to_owned(), "Origin".to_owned())), "{answer:?}");
        let read = hub.get("/healthz", other);
        assert!(read.headers.iter().all(|(name, _)| !name.starts_with("access-control")), "{read:?}");
    }
    let (_directory, plain) = self::hub();
    let answer = plain.ask("OPTIONS", "/connection/a", &format!("{named}{preflight}"), b"");
    assert!(
        answer.headers.iter().all(|(name, _)| !name.starts_with("access-control") && name != "vary"),
        "off by default"
    );
}

#[test]
fn files_are_fetched_once_and_cannot_be_framed_or_guessed_at() {
    let (_directory, hub) = hub();
    for path in ["/", "/assets/page.js", "/?user=tiaz&lang=ja"] {
        let answer = hub.get(path, "");
        assert_eq!(answer.status, 200, "{path}: {answer:?}");
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
        let policy = answer.header("content-security-policy").unwrap();
        assert!(policy.starts_with("default-src 'none'; ") && policy.contains("frame-ancestors 'none'"), "{policy}");
        let etag = answer.header("etag").unwrap();
        let again = hub.get(path, &format!("If-None-Match: \"x\", W/{etag}\r\n"));
        assert_eq!((again.status, again.body.len()), (304, 0), "{again:?}");
        assert_eq!(hub.get(path, "If-None-Match: \"x\"\r\n").status, 200);
    }
    for path in ["/assets/", "/assets/../index.html", "/assets/%2e%2e/index.html", "/index.html", "/assets/nothing.js"]
    {
        assert!(hub.get(path, "").is(404, "not-found"), "{path}");
    }
}

#[test]
fn every_kind_of_refusal_has_a_page() {
    let (_directory, hub) = hub();
    let refusal = hub.get("/nothing", "");
    let page = hub.get(refusal.json()["type"].as_str().unwrap(), "");
    assert_eq!((page.status, page.header("content-type")), (200, Some("text/html; charset=utf-8")), "{page:?}");
    assert!(page.text().contains("not-found"), "{page:?}");
    let all = hub.get("/problems", "");
    for kind in alarm_hub::http::problem::KINDS {
        assert!(all.text().contains(kind.slug), "{}", kind.slug);
        assert_eq!(hub.get(&format!("/problems/{}", kind.slug), "").status, 200);
    }
    assert!(hub.get("/problems/other", "").is(404, "not-found"));
}

#[test]
fn who_is_connected_is_listed_and_can_be_ended() {
    let (directory, hub) = hub();
    assert_eq!(hub.get("/sessions", "").json(), json!({"sessions": []}));
    assert!(hub.get("/sessions/alice", "").is(404, "not-connected"));
    assert!(hub.ask("DELETE", "/sessions/alice", "", b"").is(404, "not-connected"));
    let mut first = hub.live("alice", "");
    let mut alice = hub.live("alice?lang=ko-KR,ko", "");
    let mut bob = hub.live("bob", "");
    assert_eq!(first.event().1["reason"], "superseded");
    assert_eq!(hub.get("/sessions/alice", "").json()["last_alarm_at"], Value::Null);
    write(directory.path(), THREE);
    assert_eq!([alice.event().0, bob.event().0], ["alarm", "alarm"]);
    let list = hub.get("/sessions", "").json();
    let users: Vec<&Value> = list["sessions"].as_array().unwrap().iter().map(|session| &session["user"]).collect();
    assert_eq!(users, ["alice", "bob"]);
    let one = hub.get("/sessions/alice", "").json();
    assert_eq!(one, list["sessions"][0]);
    assert_eq!(one["languages"], json!(["ko-KR", "ko"]));
    assert_eq!((&one["took_over"], &one["delivered"], &one["queued"]), (&true.into(), &1.into(), &0.into()));
    assert!(alice.id.starts_with(one["cursor"].as_str().unwrap()), "{one}");
    assert_eq!(one["conn"].as_str().unwrap().len(), 32);
    let [since, last] = ["since", "last_alarm_at"].map(|name| one[name].as_str().unwrap());
    assert!(since.ends_with('Z') && last.len() == since.len() && last >= since, "{one}");
    let kicked = hub.ask("DELETE", "/sessions/alice", "", b"");
    assert_eq!((kicked.status, kicked.body.len()), (204, 0), "{kicked:?}");
    let (event, data) = alice.event();
    assert_eq!((event.as_str(), &data["reason"], &data["reconnect"]), ("bye", &"kicked".into(), &false.into()));
    let back = hub.get("/connection/alice", &format!("Accept: text/event-stream\r\nLast-Event-ID: {}\r\n", alice.id));
    assert_eq!((back.status, back.header("cache-control")), (204, Some("no-store")), "{back:?}");
    assert!(hub.get("/sessions/alice", "").is(404, "not-connected"));
}

#[test]
fn who_was_kicked_stays_away_although_the_hub_is_killed_at_once() {
    let directory = TempDir::new().unwrap();
    for user in ["a", "b", "c", "d"] {
        let hub = Hub::start(directory.path(), &[]);
        let page = hub.live(user, "");
        assert_eq!(hub.ask("DELETE", &format!("/sessions/{user}"), "", b"").status, 204);
        drop(hub); // kill -9
        let hub = Hub::start(directory.path(), &[]);
        let resume = format!("Accept: text/event-stream\r\nLast-Event-ID: {}\r\n", page.id);
        assert_eq!(hub.get(&format!("/connection/{user}"), &resume).status, 204, "{user}");
    }
}
