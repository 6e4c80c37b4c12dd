//! Who gets in, and who does not.

use std::{fs, path::Path, process::Stdio};

use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{
    Hub,
    ask::{Answer, SECRET, bearer, guarded, keyed, now, token},
    write,
};

/// Every call that gives or takes data: what it needs is the user `alice`, or a scope.
const CALLS: [(&str, &str, &str); 12] = [
    ("GET", "/connection/alice", ""),
    ("GET", "/users/alice/alarms", ""),
    ("PUT", "/users/alice/alarms/1/ack", ""),
    ("DELETE", "/users/alice/alarms/1/ack", ""),
    ("POST", "/users/alice/ticket", ""),
    ("POST", "/alarms", "publish"),
    ("PUT", "/alarms/1", "publish"),
    ("DELETE", "/alarms/1", "publish"),
    ("GET", "/sessions", "sessions"),
    ("GET", "/sessions/alice", "sessions"),
    ("DELETE", "/sessions/alice", "sessions"),
    ("GET", "/sessions/bob", "sessions"),
];

fn call(hub: &Hub, method: &str, path: &str, headers: &str) -> Answer {
    let alarm = json!({"id": "forged", "messages": {"en": "forged"}}).to_string();
    let body = if path.contains("/ack") || method == "GET" { "" } else { &alarm };
    hub.ask(
        method,
        path,
        &format!("Accept: text/event-stream\r\nContent-Type: application/json\r\n{headers}"),
        body.as_bytes(),
    )
}

#[test]
fn every_call_asks_for_a_token_and_for_its_user_or_scope() {
    let directory = TempDir::new().unwrap();
    let hub = guarded(directory.path(), &[]);
    let mut alice = hub.live("alice", &bearer("alice", ""));
    for (method, path, scope) in CALLS {
        let unknown = call(&hub, method, path, "");
        assert!(unknown.is(401, "no-token"), "{method} {path}: {unknown:?}");
        assert_eq!(unknown.header("www-authenticate"), Some("Bearer realm=\"alarm-hub\""));
        let others: Vec<&str> =
            ["publish", "sessions", "metrics"].into_iter().filter(|other| *other != scope).collect();
        let other = call(&hub, method, path, &bearer("bob", &others.join(" ")));
        let slug = if scope.is_empty() { "other-user" } else { "no-scope" };
        assert!(other.is(403, slug), "{method} {path}: {other:?}");
    }
    let mine = call(&hub, "GET", "/sessions/alice", &bearer("operator", "metrics sessions"));
    assert_eq!(mine.status, 200, "{mine:?}");
    assert_eq!(mine.json()["delivered"], 0, "nobody published");
    write(directory.path(), "INSERT INTO alarm (id, lang, message) VALUES ('1', 'en', 'x')");
    let (event, data) = alice.event();
    assert_eq!((event.as_str(), &data["id"]), ("alarm", &"1".into()), "her stream was not touched");
}

#[test]
fn what_is_open_needs_no_token() {
    let directory = TempDir::new().unwrap();
    let hub = guarded(directory.path(), &[]);
    for path in ["/", "/assets/page.js", "/healthz", "/readyz", "/problems", "/problems/no-token"] {
        let answer = hub.get(path, "");
        assert_eq!(answer.status, 200, "{path}: {answer:?}");
    }
}

#[test]
fn a_token_that_does_not_hold_is_told_nothing_but_that() {
    let directory = TempDir::new().unwrap();
    let hub = guarded(directory.path(), &[]);
    let mut alice = hub.live("alice", &bearer("alice", ""));
    let good = json!({"sub": "alice", "exp": now() + 3600});
    let signed = |header: &Header, claims: &Value, secret: &[u8]| {
        encode(header, claims, &EncodingKey::from_secret(secret)).unwrap()
    };
    let hs256 = Header::new(Algorithm::HS256);
    let with = |name: &str, value: Value| {
        let mut claims = good.clone();
        claims[name] = value;
        claims
    };
    let valid = token(&good);
    let (head, rest) = valid.split_once('.').unwrap();
    let none = "eyJhbGciOiJub25lIiwidHlwIjoiSldUIn0"; // {"alg":"none","typ":"JWT"}
    let jku = Header { jku: Some("http://127.0.0.1:1/keys".to_owned()), ..hs256.clone() };
    let crit = Header { crit: Some(vec!["exp".to_owned()]), ..hs256.clone() };
    let bad = [
        ("another secret", signed(&hs256, &good, b"fedcba9876543210fedcba9876543210")),
        ("another secret that its header names", signed(&jku, &good, b"fedcba9876543210fedcba9876543210")),
        ("expired", token(&with("exp", (now() - 1).into()))),
        ("expires now", token(&with("exp", now().into()))),
        ("no exp", token(&json!({"sub": "alice"}))),
        ("an exp that is text", token(&with("exp", "4000000000".into()))),
        ("not yet", token(&with("nbf", (now() + 60).into()))),
        ("another algorithm of the same key", signed(&Header::new(Algorithm::HS384), &good, SECRET)),
        ("an extension that is critical", signed(&crit, &good, SECRET)),
        ("alg none with the signature of another", format!("{none}.{rest}")),
        ("alg none without a signature", format!("{none}.{}.", rest.split('.').next().unwrap())),
        ("no signature", format!("{head}.{}.", rest.split('.').next().unwrap())),
        ("a signature cut off", valid[..valid.len() - 4].to_owned()),
        ("no token at all", "hello".to_owned()),
        ("nothing", String::new()),
    ];
    let body = call(&hub, "GET", "/connection/alice", "").body;
    for (what, token) in bad {
        let answer = call(&hub, "GET", "/connection/alice", &format!("Authorization: Bearer {token}\r\n"));
        assert!(answer.is(401, "no-token"), "{what}: {answer:?}");
        assert_eq!(answer.body, body, "{what}: one generic body");
    }
    let twice = format!("{}{}", bearer("alice", ""), bearer("alice", ""));
    assert!(call(&hub, "GET", "/connection/alice", &twice).is(401, "no-token"), "which of the two?");
    for query in [format!("?token={valid}"), format!("?access_token={valid}"), format!("?ticket={valid}")] {
        let answer = call(&hub, "GET", &format!("/connection/alice{query}"), "");
        assert!(answer.is(401, "no-token"), "a token in a URL: {answer:?}");
    }
    let other_scheme = call(&hub, "GET", "/connection/alice", "Authorization: Basic YWxpY2U6eA==\r\n");
    assert!(other_scheme.is(401, "no-token"), "{other_scheme:?}");
    write(directory.path(), "INSERT INTO alarm (id, lang, message) VALUES ('1', 'en', 'x')");
    assert_eq!(alice.event().0, "alarm", "her stream was not touched");
}

#[test]
fn a_public_key_verifies_its_pair_and_is_no_secret() {
    let (private, public) = (include_bytes!("../keys/rsa.pem"), include_bytes!("../keys/rsa-public.pem"));
    let directory = TempDir::new().unwrap();
    let hub = keyed(directory.path(), public, &[]);
    let claims = json!({"sub": "alice", "exp": now() + 3600});
    let signed = encode(&Header::new(Algorithm::RS256), &claims, &EncodingKey::from_rsa_pem(private).unwrap()).unwrap();
    let mut alice = hub.live("alice", &format!("Authorization: bearer {signed}\r\n"));
    for secret in [&public[..], public.trim_ascii_end()] {
        let forged = encode(&Header::new(Algorithm::HS256), &claims, &EncodingKey::from_secret(secret)).unwrap();
        let answer = call(&hub, "GET", "/connection/alice", &format!("Authorization: Bearer {forged}\r\n"));
        assert!(answer.is(401, "no-token"), "{answer:?}");
    }
    write(directory.path(), "INSERT INTO alarm (id, lang, message) VALUES ('1', 'en', 'x')");
    assert_eq!(alice.event().0, "alarm");
}

#[test]
fn a_stream_ends_when_its_token_does_and_does_not_come_back() {
    let directory = TempDir::new().unwrap();
    let hub = guarded(directory.path(), &[]);
    let short = token(&json!({"sub": "alice", "exp": now() + 2}));
    let mut alice = hub.live("alice", &format!("Authorization: Bearer {short}\r\n"));
    let (event, data) = alice.event();
    assert_eq!((event.as_str(), &data["reason"], &data["reconnect"]), ("bye", &"expired".into(), &false.into()));
    let resume = format!("Last-Event-ID: {}\r\n", alice.id);
    let stale = call(&hub, "GET", "/connection/alice", &format!("{resume}Authorization: Bearer {short}\r\n"));
    assert!(stale.is(401, "no-token"), "{stale:?}");
    let revoked = call(&hub, "GET", "/connection/alice", &format!("{resume}{}", bearer("alice", "")));
    assert_eq!(revoked.status, 204, "{revoked:?}");
}

#[test]
fn a_cookie_counts_only_on_the_hubs_own_pages() {
    let directory = TempDir::new().unwrap();
    let hub = guarded(directory.path(), &["--cors-origin", "https://portal.example"]);
    let token = token(&json!({"sub": "alice", "exp": now() + 3600}));
    let cookie = format!("Cookie: theme=dark; alarm_hub_token={token}; a=b\r\n");
    let own = format!("Origin: http://{}\r\n", hub.address);
    let ask = |method, path, more: &str| call(&hub, method, path, &format!("{cookie}{more}"));
    assert_eq!(ask("GET", "/users/alice/alarms", &own).status, 200);
    assert_eq!(ask("GET", "/users/alice/alarms", "").status, 200, "browsers send no Origin with such a GET");
    assert_eq!(ask("GET", "/users/alice/alarms", "Origin: https://portal.example\r\n").status, 200);
    for foreign in ["Origin: https://evil.example\r\n", "Origin: null\r\n", "Sec-Fetch-Site: cross-site\r\n"] {
        for (method, path) in
            [("GET", "/users/alice/alarms"), ("POST", "/users/alice/ticket"), ("GET", "/connection/alice")]
        {
            let answer = ask(method, path, foreign);
            assert!(answer.is(403, "cross-site"), "{foreign} {method} {path}: {answer:?}");
        }
    }
    assert_eq!(ask("POST", "/users/alice/ticket", &own).status, 200);
    assert!(ask("POST", "/users/alice/ticket", "").is(403, "cross-site"), "a change needs an Origin");
    assert!(ask("GET", "/users/bob/alarms", &own).is(403, "other-user"));
    hub.live("alice", &cookie);
}

#[test]
fn a_ticket_opens_one_stream_of_its_user_and_brings_its_page_back_also_after_a_restart() {
    let directory = TempDir::new().unwrap();
    let hub = guarded(directory.path(), &[]);
    let buy = || {
        let answer = hub.ask("POST", "/users/alice/ticket", &bearer("alice", ""), b"");
        assert_eq!((answer.status, &answer.json()["expires_in"]), (200, &30.into()), "{answer:?}");
        answer.json()["ticket"].as_str().expect("a ticket").to_owned()
    };
    let (ticket, other) = (buy(), buy());
    assert_ne!(ticket, other);
    assert!(hub.get(&format!("/connection/bob?ticket={other}"), "").is(401, "no-token"), "another user's");
    assert!(hub.get(&format!("/users/alice/alarms?ticket={other}"), "").is(401, "no-token"), "only the stream");
    let mut alice = hub.live(&format!("alice?ticket={ticket}"), "");
    assert!(hub.get(&format!("/connection/alice?ticket={ticket}"), "").is(401, "no-token"), "used twice");
    write(directory.path(), "INSERT INTO alarm (id, lang, message) VALUES ('1', 'en', 'x')");
    assert_eq!(alice.event().0, "alarm", "her stream was not touched");

    let resume = format!("Last-Event-ID: {}\r\n", alice.id);
    drop(hub); // kill -9
    write(directory.path(), "INSERT INTO alarm (id, lang, message) VALUES ('2', 'en', 'x')");
    let hub = guarded(directory.path(), &["--db", "alarms.db"]);
    let mut back = hub.live(&format!("alice?ticket={ticket}"), &resume);
    assert_eq!(back.event().1["id"], "2");
    let mut again = hub.live(&format!("alice?ticket={ticket}"), &resume);
    assert_eq!(again.event().1["id"], "2");
    let (at, claim) = alice.id.rsplit_once('.').unwrap();
    let other = u128::from_str_radix(claim, 16).unwrap() ^ 1;
    let foreign = format!("Last-Event-ID: {at}.{other:032x}\r\n");
    assert!(hub.get(&format!("/connection/alice?ticket={ticket}"), &foreign).is(401, "no-token"), "another claim");
}

#[test]
fn a_ticket_that_was_not_used_in_time_opens_nothing() {
    let directory = TempDir::new().unwrap();
    let hub = guarded(directory.path(), &[]);
    let bought = hub.ask("POST", "/users/alice/ticket", &bearer("alice", ""), b"");
    let ticket = bought.json()["ticket"].as_str().unwrap_or_else(|| panic!("{bought:?}")).to_owned();
    write(directory.path(), "UPDATE hub_ticket SET until = until - 31000"); // as if so many milliseconds had passed
    let late = hub.get(&format!("/connection/alice?ticket={ticket}"), "");
    assert!(late.is(401, "no-token"), "{late:?}");
}

#[test]
fn what_a_ticket_opened_ends_with_the_token_that_bought_it() {
    let directory = TempDir::new().unwrap();
    let hub = guarded(directory.path(), &[]);
    let short = format!("Authorization: Bearer {}\r\n", token(&json!({"sub": "alice", "exp": now() + 3})));
    let bought = hub.ask("POST", "/users/alice/ticket", &short, b"");
    let ticket = bought.json()["ticket"].as_str().unwrap_or_else(|| panic!("{bought:?}")).to_owned();
    assert!(bought.json()["expires_in"].as_u64().unwrap() <= 3, "no longer than the token");
    let mut alice = hub.live(&format!("alice?ticket={ticket}"), "");
    assert_eq!(alice.event().1["reason"], "expired");
    let resume = format!("Last-Event-ID: {}\r\n", alice.id);
    assert!(hub.get(&format!("/connection/alice?ticket={ticket}"), &resume).is(401, "no-token"));
}

#[test]
fn a_proxy_is_believed_only_from_its_own_address() {
    let directory = TempDir::new().unwrap();
    let start = |trusted: &str, more: &[&str]| {
        Hub::start(directory.path(), &[&["--auth", "proxy", "--trusted-proxy", trusted], more].concat())
    };
    let hub = start("127.0.0.0/8", &[]);
    let ask = |method, path, headers: &str| call(&hub, method, path, headers);
    let nobody = ask("GET", "/users/alice/alarms", "");
    assert!(nobody.is(401, "no-token"), "{nobody:?}");
    assert!(nobody.header("www-authenticate").is_some());
    assert_eq!(ask("GET", "/users/alice/alarms", "X-Remote-User: alice\r\n").status, 200);
    assert_eq!(ask("GET", "/users/%EA%B0%80/alarms", "X-Remote-User: 가\r\n").status, 200);
    assert!(ask("GET", "/users/alice/alarms", "X-Remote-User: bob\r\n").is(403, "other-user"));
    let two = "X-Remote-User: alice\r\nX-Remote-User: bob\r\n";
    assert!(ask("GET", "/users/alice/alarms", two).is(401, "no-token"), "one of them came from the client");
    assert!(ask("GET", "/sessions", "X-Remote-User: alice\r\n").is(403, "no-scope"));
    assert!(ask("GET", "/sessions", &bearer("alice", "sessions")).is(401, "no-token"), "a token means nothing here");
    assert_eq!(ask("GET", "/sessions", "X-Remote-Scope: metrics sessions\r\n").status, 200);
    hub.live("alice", "X-Remote-User: alice\r\n");

    let stranger = start("10.9.8.0/24", &["--proxy-user-header", "X-Who"]);
    let forged = stranger.get("/users/alice/alarms", "X-Who: alice\r\nX-Remote-Scope: sessions\r\n");
    assert!(forged.is(401, "no-token"), "{forged:?}");
    assert!(stranger.get("/sessions", "X-Remote-Scope: sessions\r\n").is(401, "no-token"));
}

/// Everything that a hub says, at its most talkative.
fn log(directory: &Path, drive: impl FnOnce(&Hub)) -> String {
    let path = directory.join("log");
    let log = fs::File::create(&path).unwrap();
    fs::write(directory.join("key"), SECRET).unwrap();
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(directory.join("key"), fs::Permissions::from_mode(0o600)).unwrap();
    let arguments = ["--auth", "jwt", "--jwt-key-file", "key", "--log", "trace", "--log-format", "json"];
    let mut hub = Hub::spawn(directory, &arguments, Stdio::from(log));
    drive(&hub);
    hub.signal("TERM"); // killed, it might not have written the last lines
    hub.process.wait().unwrap();
    fs::read_to_string(path).unwrap()
}

#[test]
fn no_token_no_ticket_and_no_text_is_in_a_log() {
    let directory = TempDir::new().unwrap();
    let valid = token(&json!({"sub": "alice", "exp": now() + 3600, "scope": "publish sessions"}));
    let stale = token(&json!({"sub": "alice", "exp": now() - 3600}));
    let header = |token: &str| format!("Authorization: Bearer {token}\r\n");
    let mut ticket = String::new();
    let log = log(directory.path(), |hub| {
        let bought = hub.ask("POST", "/users/alice/ticket", &header(&valid), b"");
        bought.json()["ticket"].as_str().unwrap_or_else(|| panic!("{bought:?}")).clone_into(&mut ticket);
        let mut alice = hub.live(&format!("alice?ticket={ticket}"), "");
        let alarm = json!({"id": "7", "messages": {"ko": "SECRET-PUBLISHED", "en": "SECRET-ENGLISH"}});
        assert_eq!(hub.post("/alarms", &header(&valid), &alarm).status, 201);
        assert_eq!(alice.event().0, "alarm");
        let odd = json!({"id": "7", "messages": {"ko": "SECRET-CONFLICT"}});
        assert_eq!(hub.post("/alarms", &header(&valid), &odd).status, 409);
        let wrong = json!({"id": "8", "messages": "SECRET-WRONG"});
        assert_eq!(hub.post("/alarms", &header(&valid), &wrong).status, 400);
        write(directory.path(), "INSERT INTO alarm (id, lang, message) VALUES ('9', '??', x'5345435245542D424C4F42')");
        assert_eq!(alice.event().0, "alarm");
        assert_eq!(hub.get("/users/alice/alarms", &header(&valid)).status, 200);
        assert_eq!(hub.get("/connection/alice", &header(&stale)).status, 401);
        assert_eq!(hub.get(&format!("/connection/alice?token={valid}"), "").status, 401);
        assert_eq!(hub.get(&format!("/connection/alice?ticket={valid}"), "").status, 401);
        let cookie = format!("Cookie: alarm_hub_token={valid}\r\nOrigin: https://evil.example\r\n");
        assert_eq!(hub.get("/users/alice/alarms", &cookie).status, 403);
    });
    assert!(log.contains("connected") && log.contains("alice"), "it did log: {log}");
    assert!(log.contains("a token is refused"), "and at the level of debug: {log}");
    let told = |secret: &str| log.lines().find(|line| line.contains(secret)).map(ToOwned::to_owned);
    assert_eq!(told("SECRET"), None);
    assert_eq!(told(&ticket), None);
    for token in [valid, stale] {
        for part in token.split('.') {
            assert_eq!(told(part), None);
        }
    }
}
