//! Publishing, history and acknowledgement, from INSERT and POST to every stream and list.

use std::process::Command;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{
    Hub, THREE,
    ask::{Answer, bearer, guarded, now, token},
    write, write_python,
};

const JSON: &str = "Content-Type: application/json\r\n";

fn hub() -> (TempDir, Hub) {
    let directory = TempDir::new().unwrap();
    let hub = Hub::start(directory.path(), &[]);
    (directory, hub)
}

fn ids(answer: &Answer) -> Vec<String> {
    let alarms = answer.json()["alarms"].as_array().unwrap_or_else(|| panic!("{answer:?}")).clone();
    alarms.iter().map(|alarm| alarm["id"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn the_history_is_in_the_readers_languages_and_says_which() {
    let (directory, hub) = hub();
    let empty = hub.get("/users/tiaz/alarms", "Accept-Language: ja\r\n");
    assert_eq!((empty.status, empty.json()), (200, json!({"alarms": [], "next": null, "unread": 0})));
    assert_eq!(empty.header("content-language"), Some("ja"));
    write(directory.path(), THREE);
    write(directory.path(), "INSERT INTO alarm (id, lang, message, isn_dt) VALUES ('2', 'ko', '둘', NULL)");
    let answer = hub.get("/users/tiaz/alarms", "Accept-Language: ja-JP,ja;q=0.9\r\n");
    assert_eq!(answer.header("content-language"), Some("ja, ko"));
    assert_eq!(answer.header("vary"), Some("Accept-Language"));
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    assert_eq!(answer.header("content-type"), Some("application/json"));
    let body = answer.json();
    let (newest, oldest) = (&body["alarms"][0], &body["alarms"][1]);
    assert_eq!((&newest["id"], &newest["lang"], &newest["fallback"]), (&"2".into(), &"ko".into(), &true.into()));
    assert_eq!((&newest["isn_dt"], &newest["acknowledged"]), (&Value::Null, &false.into()));
    assert_eq!((&oldest["message"], &oldest["lang"]), (&"予約に成功しました".into(), &"ja".into()));
    assert_eq!((&oldest["fallback"], &oldest["isn_dt"]), (&false.into(), &"2023-12-01 11:10:04".into()));
    assert_eq!((&body["next"], &body["unread"], body.get("unread_more")), (&Value::Null, &2.into(), None));
    let english = hub.get("/users/tiaz/alarms?lang=en-GB", "Accept-Language: ja\r\n").json();
    assert_eq!(english["alarms"][1]["message"], "I have successfully made a reservation.");
    for odd in ["lang=%00%ff", "lang=!!!", &format!("lang={}", "x".repeat(5_000))] {
        assert_eq!(hub.get(&format!("/users/tiaz/alarms?{odd}"), "").status, 200, "{odd}");
    }
}

#[test]
fn the_history_is_paged_from_cursor_to_cursor_and_a_bad_one_is_told() {
    let (directory, hub) = hub();
    write_python(
        directory.path(),
        "c.executemany('INSERT INTO alarm (id, lang, message) VALUES (?, ?, ?)', [(str(n), 'en', 'x') for n in range(120)])",
    );
    let (mut all, mut path, mut pages) = (Vec::new(), "/users/tiaz/alarms?limit=50".to_owned(), 0);
    loop {
        let answer = hub.get(&path, "");
        all.extend(ids(&answer));
        pages += 1;
        let Some(next) = answer.json()["next"].as_str().map(ToOwned::to_owned) else { break };
        assert_eq!(answer.json()["alarms"].as_array().unwrap().last().unwrap()["cursor"], next.as_str());
        path = format!("/users/tiaz/alarms?limit=50&before={next}");
    }
    let wanted: Vec<String> = (0..120).rev().map(|number| number.to_string()).collect();
    assert_eq!((all, pages), (wanted, 3));
    assert_eq!(ids(&hub.get("/users/tiaz/alarms", "")).len(), 50);
    for bad in ["limit=0", "limit=1001", "limit=x", "limit=-1", "limit=", "before=", "before=5"] {
        let answer = hub.get(&format!("/users/tiaz/alarms?{bad}"), "");
        assert!(answer.is(400, "bad-parameter"), "{bad}: {answer:?}");
        let name = bad.split('=').next().unwrap();
        assert!(answer.json()["detail"].as_str().unwrap().starts_with(name), "{answer:?}");
    }
    let other = hub.get("/users/tiaz/alarms?before=ffffffff.5", "");
    assert!(other.is(409, "stale-cursor"), "{other:?}");
}

#[test]
fn unread_counts_what_came_after_adoption_to_a_thousand() {
    let directory = TempDir::new().unwrap();
    write(
        directory.path(),
        "CREATE TABLE alarm (id TEXT, lang TEXT, message TEXT, isn_dt TEXT, PRIMARY KEY (id, lang));
         INSERT INTO alarm VALUES ('old', 'ko', '하나', '2023-12-01 11:10:04')",
    );
    let hub = Hub::start(directory.path(), &["--db", "alarms.db"]);
    assert_eq!(hub.get("/users/a/alarms", "").json()["unread"], 0);
    let many = "c.executemany('INSERT INTO alarm VALUES (?, ?, ?, NULL)', [(str(n), 'en', 'x') for n in range(1001)])";
    write_python(directory.path(), many);
    let body = hub.get("/users/a/alarms?limit=1", "").json();
    assert_eq!((&body["unread"], &body["unread_more"]), (&1_000.into(), &true.into()));
    assert_eq!(hub.ask("PUT", "/users/a/alarms/7/ack", "", b"").status, 204);
    let body = hub.get("/users/a/alarms?limit=1", "").json();
    assert_eq!((&body["unread"], body.get("unread_more")), (&1_000.into(), None));
}

#[test]
fn what_is_acknowledged_is_told_to_the_users_stream_and_to_nobody_elses() {
    let (directory, hub) = hub();
    let (mut alice, mut bob) = (hub.live("alice", ""), hub.live("bob", ""));
    let sql = "INSERT INTO alarm (id, lang, message, user_id) VALUES";
    write(
        directory.path(),
        &format!("{sql} ('1', 'en', 'x', NULL), ('a/b', 'en', 'x', 'alice'), ('3', 'en', 'x', 'bob')"),
    );
    for (stream, own) in [(&mut alice, "a/b"), (&mut bob, "3")] {
        assert_eq!([stream.event().1["id"].clone(), stream.event().1["id"].clone()], ["1", own]);
    }
    let ack = |method, user, id| hub.ask(method, &format!("/users/{user}/alarms/{id}/ack"), "", b"");
    for _ in 0..2 {
        let answer = ack("PUT", "alice", "1");
        assert_eq!((answer.status, answer.body.len()), (204, 0), "{answer:?}");
    }
    assert_eq!(ack("PUT", "alice", "a%2Fb").status, 204);
    assert_eq!(ack("DELETE", "alice", "1").status, 204);
    assert_eq!(ack("DELETE", "alice", "1").status, 204);
    for (user, id) in [("alice", "3"), ("bob", "a%2Fb"), ("alice", "none")] {
        for method in ["PUT", "DELETE"] {
            let answer = ack(method, user, id);
            assert!(answer.is(404, "no-such-alarm"), "{method} {user} {id}: {answer:?}");
        }
    }
    let told = |id: &str, is: bool| ("acknowledged".to_owned(), json!({"id": id, "acknowledged": is}));
    assert_eq!([alice.event(), alice.event(), alice.event()], [told("1", true), told("a/b", true), told("1", false)]);
    let list = hub.get("/users/alice/alarms", "").json();
    assert_eq!((&list["alarms"][0]["id"], &list["alarms"][0]["acknowledged"]), (&"a/b".into(), &true.into()));
    assert_eq!((&list["alarms"][1]["acknowledged"], &list["unread"]), (&false.into(), &1.into()));
    assert_eq!(hub.get("/users/bob/alarms", "").json()["unread"], 2, "his own are his own");
    write(directory.path(), &format!("{sql} ('4', 'en', 'x', NULL)"));
    assert_eq!((alice.event().0, bob.event().1["id"].clone()), ("alarm".to_owned(), "4".into()), "bob heard nothing");
}

#[test]
fn what_is_published_is_delivered_at_once_and_is_safe_to_repeat() {
    let directory = TempDir::new().unwrap();
    let hub = Hub::start(directory.path(), &["--poll-interval", "1h"]);
    let mut korean = hub.live("a", "Accept-Language: ko\r\n");
    let mut english = hub.live("b", "Accept-Language: en-US\r\n");
    let alarm = json!({"id": "5b48ff24", "isn_dt": "2023-12-01 11:10:04",
                       "messages": {"ko": "예약에 성공했습니다!", "US-en": "Made a reservation."}});
    let made = hub.post("/alarms", "", &alarm);
    assert_eq!((made.status, &made.json()["ids"]), (201, &json!(["5b48ff24"])), "{made:?}");
    assert!(made.text().starts_with(r#"{"ids":["5b48ff24"],"cursor":""#), "as the documents name them: {made:?}");
    let (event, data) = korean.event();
    assert_eq!(event, "alarm");
    let told = json!({"message": "예약에 성공했습니다!", "id": "5b48ff24", "lang": "ko", "isn_dt": "2023-12-01 11:10:04", "fallback": false});
    assert_eq!(data, told);
    assert_eq!(english.event().1["lang"], "en-US");
    assert!(korean.id.starts_with(made.json()["cursor"].as_str().unwrap()), "the cursor is where the stream is");

    let again = hub.post("/alarms", "", &alarm);
    assert_eq!((again.status, again.json()), (200, made.json()), "{again:?}");
    let other = hub.post("/alarms", "", &json!({"id": "5b48ff24", "messages": {"ko": "다른"}}));
    assert!(other.is(409, "conflict"), "{other:?}");
    let named = hub.post("/alarms", "", &json!({"messages": {"ko": "이름 없이"}, "user_id": null, "id": null}));
    let id = named.json()["ids"][0].as_str().unwrap_or_else(|| panic!("{named:?}")).to_owned();
    assert_eq!((named.status, id.len()), (201, 32));
    assert_eq!(korean.event().1["id"], id, "nothing came of the repetition or the conflict");

    let put =
        hub.ask("PUT", &format!("/alarms/{id}"), JSON, json!({"messages": {"ko": "새로"}}).to_string().as_bytes());
    assert_eq!((put.status, &put.json()["ids"]), (200, &json!([id])), "{put:?}");
    let (event, data) = korean.event();
    assert_eq!((event.as_str(), &data["message"]), ("updated", &"새로".into()));
    let gone = hub.ask("DELETE", &format!("/alarms/{id}"), "", b"");
    assert_eq!((gone.status, gone.body.len()), (204, 0), "{gone:?}");
    assert_eq!(korean.event(), ("cleared".to_owned(), json!({"id": id})));
    assert!(hub.ask("DELETE", &format!("/alarms/{id}"), "", b"").is(404, "no-such-alarm"));
    let fresh = hub.ask("PUT", "/alarms/a%2Fb", JSON, json!({"messages": {"ko": "처음"}}).to_string().as_bytes());
    assert_eq!((fresh.status, korean.event().1["id"].clone()), (200, "a/b".into()), "{fresh:?}");
}

#[test]
fn an_array_is_written_whole_or_not_at_all() {
    let (_directory, hub) = hub();
    let mut stream = hub.live("a", "");
    let alarm = |id: &str, text: &str| json!({"id": id, "messages": {"en": text}});
    let made = hub.post("/alarms", "", &json!([alarm("1", "one"), alarm("2", "two")]));
    assert_eq!((made.status, &made.json()["ids"]), (201, &json!(["1", "2"])), "{made:?}");
    assert_eq!([stream.event().1["id"].clone(), stream.event().1["id"].clone()], ["1", "2"]);
    let conflict = hub.post("/alarms", "", &json!([alarm("3", "three"), alarm("2", "zwei"), alarm("4", "four")]));
    assert!(conflict.is(409, "conflict"), "{conflict:?}");
    assert!(conflict.json()["detail"].as_str().unwrap().contains('2'), "{conflict:?}");
    let bad = hub.post("/alarms", "", &json!([alarm("5", "five"), {"id": "6", "messages": {"en": 6}}]));
    assert!(bad.is(400, "bad-body"), "{bad:?}");
    assert!(bad.json()["detail"].as_str().unwrap().starts_with("[1].messages.en: "), "{bad:?}");
    let more = hub.post("/alarms", "", &json!([alarm("2", "two"), alarm("7", "seven")]));
    assert_eq!((more.status, stream.event().1["id"].clone()), (201, "7".into()), "{more:?}");

    let many: Vec<Value> = (0..10_000).map(|number| alarm(&format!("m{number}"), "x")).collect();
    let many = Value::Array(many);
    let written = loop {
        let answer = hub.post("/alarms", "", &many);
        if answer.status != 503 {
            break answer; // a busy machine may have to be asked again, and that is safe
        }
    };
    assert!(matches!(written.status, 200 | 201), "{written:?}");
    assert_eq!(written.json()["ids"].as_array().unwrap().len(), 10_000);
    for number in 0..10_000 {
        assert_eq!(stream.event().1["id"], format!("m{number}"));
    }
}

#[test]
fn a_body_that_is_wrong_is_told_what_is_wrong_with_it() {
    let (_directory, hub) = hub();
    let cases: [(&str, &str); 27] = [
        ("", "EOF while parsing"),
        ("{", "EOF while parsing"),
        ("hello", "expected value at line 1 column 1"),
        ("5", "an alarm: an object with messages"),
        ("[]", "the array is empty"),
        (r#"[["1",null,null,{"ko":"a"}]]"#, "[0]: invalid type: sequence, expected an alarm"),
        ("[5]", "[0]: invalid type: integer `5`, expected an alarm"),
        ("{}", "missing field `messages`"),
        (r#"{"messages":{}}"#, "messages: it is empty"),
        (r#"{"messages":[]}"#, "messages: invalid type: sequence, expected an object of languages and texts"),
        (r#"{"messages":"x"}"#, "messages: invalid type: string"),
        (r#"{"messages":{"ko":5}}"#, "messages.ko: invalid type: integer `5`, expected a string"),
        (r#"{"messages":{"ko":null}}"#, "messages.ko: invalid type: null"),
        (r#"{"messages":{"ko":"a","ko":"b"}}"#, "messages: the language ko is there twice"),
        (r#"{"messages":{"english":"a"}}"#, "messages.english: that is no language tag"),
        (r#"{"messages":{"":"a"}}"#, "messages.: that is no language tag"),
        (r#"{"message":{"ko":"a"}}"#, "unknown field `message`, expected one of `id`, `user_id`, `isn_dt`, `messages`"),
        (r#"{"id":5,"messages":{"ko":"a"}}"#, "id: invalid type: integer `5`, expected a string"),
        (r#"{"id":"","messages":{"ko":"a"}}"#, "id: it must have 1 to 256 characters"),
        (r#"{"id":"1","id":"2","messages":{"ko":"a"}}"#, "duplicate field `id`"),
        (r#"{"user_id":"..","messages":{"ko":"a"}}"#, "user_id: nobody can be called so"),
        (r#"{"user_id":"a\nb","messages":{"ko":"a"}}"#, "user_id: nobody can be called so"),
        (r#"{"user_id":["a"],"messages":{"ko":"a"}}"#, "user_id: invalid type: sequence"),
        (r#"{"isn_dt":20231201,"messages":{"ko":"a"}}"#, "isn_dt: invalid type: integer"),
        (r#"{"messages":{"ko":"a"}} {}"#, "trailing characters"),
        (r#"{"messages":{"ko":"\ud800"}}"#, "messages.ko: "),
        ("\u{feff}{}", "expected value"),
    ];
    for (body, detail) in cases {
        let body = if body.is_empty() { " " } else { body };
        let answer = hub.ask("POST", "/alarms", JSON, body.as_bytes());
        assert!(answer.is(400, "bad-body"), "{body}: {answer:?}");
        assert!(answer.json()["detail"].as_str().unwrap().contains(detail), "{body}: {answer:?}");
    }
    let nothing = hub.ask("POST", "/alarms", JSON, b"");
    assert!(nothing.is(400, "bad-body"), "{nothing:?}");
    let invalid = hub.ask("POST", "/alarms", JSON, b"{\"messages\":{\"ko\":\"\xff\"}}");
    assert!(invalid.is(400, "bad-body"), "{invalid:?}");
    let deep = hub.ask("POST", "/alarms", JSON, "[".repeat(100_000).as_bytes());
    assert!(deep.is(400, "bad-body"), "{deep:?}");
    let array = hub.ask("PUT", "/alarms/1", JSON, br#"["1",null,null,{"ko":"a"}]"#);
    assert!(array.is(400, "bad-body"), "{array:?}");
    let other = hub.ask("PUT", "/alarms/1", JSON, br#"{"id":"2","messages":{"ko":"a"}}"#);
    assert!(other.is(400, "bad-body"), "{other:?}");
    assert_eq!(ids(&hub.get("/users/a/alarms", "")), Vec::<String>::new(), "nothing was written");
}

#[test]
fn a_body_of_another_kind_or_too_large_is_refused() {
    let (_directory, hub) = hub();
    let body = json!({"id": "1", "messages": {"ko": "a"}}).to_string();
    for kind in [
        "",
        "Content-Type: text/plain\r\n",
        "Content-Type: application/json; charset=euc-kr\r\n",
        "Content-Type: application/x-www-form-urlencoded\r\n",
        "Content-Type: application/jsonp\r\n",
        "Content-Type: application/json\r\nContent-Encoding: gzip\r\n",
    ] {
        let answer = hub.ask("POST", "/alarms", kind, body.as_bytes());
        assert!(answer.is(415, "unsupported-media-type"), "{kind}: {answer:?}");
    }
    for kind in ["application/json", "Application/JSON; Charset=UTF-8", "application/json;charset=\"utf-8\""] {
        let answer = hub.ask("POST", "/alarms", &format!("Content-Type: {kind}\r\n"), body.as_bytes());
        assert!(matches!(answer.status, 200 | 201), "{kind}: {answer:?}");
    }
    let text = "가".repeat((1 << 20) / 3);
    let large = json!({"id": "2", "messages": {"ko": text}}).to_string();
    assert!(large.len() > 1 << 20);
    let answer = hub.ask("POST", "/alarms", JSON, large.as_bytes());
    assert!(answer.is(413, "too-large"), "{}", answer.status);
    let chunks = format!("{:x}\r\n{large}\r\n0\r\n\r\n", large.len());
    let head = format!(
        "POST /alarms HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n{JSON}Transfer-Encoding: chunked\r\n\r\n",
        hub.address
    );
    let answer = crate::ask::answer(&hub.send(format!("{head}{chunks}").as_bytes()));
    assert!(answer.is(413, "too-large"), "{}", answer.status);
    assert_eq!(ids(&hub.get("/users/a/alarms", "")), ["1"]);
    let fits = json!({"id": "3", "messages": {"ko": &text[..1_047_000]}}).to_string();
    assert!(fits.len() <= 1 << 20);
    assert_eq!(hub.ask("POST", "/alarms", JSON, fits.as_bytes()).status, 201);
    let cut = hub.get("/users/a/alarms?limit=1", "").json()["alarms"][0].clone();
    assert_eq!((&cut["truncated"], cut["message"].as_str().unwrap().len()), (&true.into(), 65_535));
}

#[test]
fn whatever_a_text_holds_comes_as_it_was_sent_and_is_one_event() {
    let (directory, hub) = hub();
    let mut stream = hub.live("a", "");
    let texts = [
        "a\nb",
        "a\rb",
        "a\r\nb",
        "x\n\nevent: y\ndata: {}\n\n",
        "a\0b",
        "\u{2028}\u{2029}",
        "<img src=x onerror=alert(1)>",
        "\u{202e}abc",
        "'); DROP TABLE alarm; --",
        "\"\\",
        "",
        "\u{feff}😀",
    ];
    for text in texts {
        let id = format!("id:{text}");
        let made = hub.post("/alarms", "", &json!({"id": id, "messages": {"en": text}, "isn_dt": text}));
        assert_eq!((made.status, &made.json()["ids"][0]), (201, &json!(id)), "{text:?}: {made:?}");
        let (event, data) = stream.event();
        let told = json!({"message": text, "id": id, "lang": "en", "isn_dt": text, "fallback": false});
        assert_eq!((event.as_str(), data), ("alarm", told));
        let path = percent_encoding::utf8_percent_encode(&id, percent_encoding::NON_ALPHANUMERIC).to_string();
        assert_eq!(hub.ask("PUT", &format!("/users/a/alarms/{path}/ack"), "", b"").status, 204, "{text:?}");
        assert_eq!(stream.event().1["id"], id);
        let first = hub.get("/users/a/alarms?limit=1", "").json()["alarms"][0].clone();
        assert_eq!((&first["message"], &first["acknowledged"]), (&json!(text), &true.into()));
        assert_eq!(hub.ask("DELETE", &format!("/alarms/{path}"), "", b"").status, 204, "{text:?}");
        assert_eq!(stream.event(), ("cleared".to_owned(), json!({"id": id})));
    }
    write(directory.path(), THREE);
    assert_eq!(stream.event().0, "alarm", "the table is there");
}

#[test]
fn an_alarm_for_one_user_is_refused_by_a_table_without_users() {
    let directory = TempDir::new().unwrap();
    write(
        directory.path(),
        "CREATE TABLE alarm (id TEXT, lang TEXT, message TEXT, isn_dt TEXT, PRIMARY KEY (id, lang))",
    );
    let hub = Hub::start(directory.path(), &["--db", "alarms.db"]);
    let alarm = json!({"id": "1", "user_id": "tiaz", "messages": {"ko": "a"}});
    let answer = hub.post("/alarms", "", &alarm);
    assert!(answer.is(422, "impossible"), "{answer:?}");
    assert!(answer.json()["detail"].as_str().unwrap().contains("user_id"), "{answer:?}");
    let put = hub.ask("PUT", "/alarms/1", JSON, alarm.to_string().as_bytes());
    assert!(put.is(422, "impossible"), "{put:?}");
    assert_eq!(ids(&hub.get("/users/tiaz/alarms", "")), Vec::<String>::new());
}

#[test]
fn a_database_that_is_held_or_gone_is_an_answer_in_time_and_never_a_hang() {
    let (directory, hub) = hub();
    let mut stream = hub.live("a", "");
    let mut holder = Command::new("python3")
        .args(["-c", "import sqlite3, sys; c = sqlite3.connect('alarms.db', isolation_level=None); c.execute('BEGIN IMMEDIATE'); print('held', flush=True); sys.stdin.read()"])
        .current_dir(directory.path())
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut held = [0; 4];
    std::io::Read::read_exact(holder.stdout.as_mut().unwrap(), &mut held).unwrap();
    let answer = hub.post("/alarms", "", &json!({"messages": {"ko": "a"}}));
    assert!(answer.is(503, "busy"), "{answer:?}");
    assert!(answer.header("retry-after").is_some_and(|seconds| seconds.parse::<u32>().is_ok()), "{answer:?}");
    assert_eq!(hub.get("/users/a/alarms", "").status, 200, "reading goes on");
    drop(holder.stdin.take());
    holder.wait().unwrap();
    write(directory.path(), THREE);
    assert_eq!(stream.event().1["id"], "5b48ff24", "what was given up was not written later");
}

/// Everything that a caller can get to see, as one text.
fn sights(hub: &Hub, headers: &str, user: &str) -> String {
    let mut seen = String::new();
    for (method, path, body) in [
        ("GET", format!("/users/{user}/alarms?limit=1000"), ""),
        ("GET", "/metrics".to_owned(), ""),
        ("GET", "/readyz".to_owned(), ""),
        ("GET", "/sessions".to_owned(), ""),
        ("GET", "/sessions/alice".to_owned(), ""),
        ("GET", "/users/alice/alarms".to_owned(), ""),
        ("GET", "/connection/alice".to_owned(), ""),
        ("POST", "/users/alice/ticket".to_owned(), ""),
        ("PUT", format!("/users/{user}/alarms/private/ack"), ""),
        ("PUT", "/users/alice/alarms/private/ack".to_owned(), ""),
        ("POST", "/alarms".to_owned(), r#"{"id":"private","messages":{"ko":"a"}}"#),
        ("PUT", "/alarms/private".to_owned(), r#"{"id":"private","messages":{"ko":"a"}}"#),
        ("DELETE", "/alarms/private".to_owned(), ""),
    ] {
        let answer = hub.ask(method, &path, &format!("{JSON}{headers}"), body.as_bytes());
        seen.push_str(&format!("{method} {path}: {answer:?}\n"));
    }
    seen
}

#[test]
fn an_alarm_for_one_user_is_seen_by_nobody_else_on_any_path() {
    let directory = TempDir::new().unwrap();
    let hub = guarded(directory.path(), &[]);
    let start = hub.live("bob", &bearer("bob", "")).id;
    let mut alice = hub.live("alice", &bearer("alice", ""));
    write(
        directory.path(),
        "INSERT INTO alarm (id, lang, message, user_id) VALUES ('private', 'ko', 'SECRET-KO', 'alice'), ('private', 'en', 'SECRET-EN', 'alice');
         INSERT INTO alarm (id, lang, message, user_id) VALUES ('mixed', 'ko', 'SECRET-MIXED', 'alice'), ('mixed', 'en', 'for everyone', NULL);
         INSERT INTO alarm (id, lang, message) VALUES ('last', 'ko', 'last')",
    );
    for text in ["SECRET-EN", "for everyone", "last"] {
        assert_eq!(alice.event().1["message"], text);
    }
    assert_eq!(hub.get("/users/alice/alarms", &bearer("alice", "")).json()["unread"], 3);
    let (at, _) = start.rsplit_once('.').unwrap();
    for opening in
        ["bob?lang=ko".to_owned(), format!("bob?lang=ko&last_event_id={at}"), "bob?lang=ko&history=1000".to_owned()]
    {
        let mut bob = hub.live(&opening, &bearer("bob", ""));
        if opening.contains('&') {
            assert_eq!(bob.event().1["message"], "for everyone", "{opening}");
            assert_eq!(bob.event().1["message"], "last", "{opening}");
        }
        let kicked = hub.ask("DELETE", "/sessions/bob", &bearer("operator", "sessions"), b"");
        assert_eq!((kicked.status, bob.event().0), (204, "bye".to_owned()), "{opening}: and nothing else");
    }
    for scope in ["", "metrics", "sessions"] {
        let seen = sights(&hub, &bearer("bob", scope), "bob");
        assert!(!seen.contains("SECRET"), "{seen}");
    }
    assert!(!sights(&hub, "", "bob").contains("SECRET"));
    let history = hub.get("/users/bob/alarms?lang=ko", &bearer("bob", "")).json();
    assert_eq!((history["alarms"].as_array().unwrap().len(), &history["unread"]), (2, &2.into()), "{history}");
    let short = token(&json!({"sub": "bob", "exp": now() + 3600}));
    let conflict = hub.post("/alarms", &bearer("bob", "publish"), &json!({"id": "private", "messages": {"ko": "a"}}));
    assert!(conflict.is(409, "conflict") && !conflict.text().contains("SECRET"), "{conflict:?} {short}");
}

#[test]
fn on_a_full_disk_publishing_says_so_and_reading_goes_on() {
    let directory = TempDir::new().unwrap();
    // A file system of the test's own, that no other process sees.
    let small = "mount -t tmpfs -o size=2m tmpfs . && cd \"$PWD\" && exec \"$0\" \"$@\"";
    let hub = [env!("CARGO_BIN_EXE_alarm-hub"), "--listen", "127.0.0.1:0", "--heartbeat", "100ms"];
    let hub = Hub::run(Command::new("unshare").args(["-rm", "sh", "-c", small]).args(hub).current_dir(&directory));
    let mut stream = hub.live("a", "");
    let text = "x".repeat(60_000);
    let post = |number: usize| hub.post("/alarms", "", &json!({"id": number.to_string(), "messages": {"en": text}}));
    let (written, refused) = (0..200)
        .map(|number| (number, post(number)))
        .find(|(_, answer)| answer.status != 201)
        .expect("2 MiB are full at last");
    assert!(written > 0 && refused.is(507, "no-space"), "after {written}: {refused:?}");
    let mut told = 0;
    while told < written {
        let (event, data) = stream.event();
        if event == "alarm" {
            assert_eq!(data["id"], told.to_string());
            told += 1;
        }
    }
    assert_eq!(
        ids(&hub.get("/users/a/alarms?limit=1000", "")).len(),
        written,
        "all of it, and nothing of what was refused"
    );
    assert_eq!(stream.any_event().0, "ping", "the stream is there");
}
