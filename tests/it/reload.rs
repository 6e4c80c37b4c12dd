//! The log, and what SIGHUP does while the hub runs.

use std::{
    fs::{self, Permissions},
    io::{BufRead, BufReader},
    os::unix::fs::PermissionsExt,
    path::Path,
    process::{ChildStderr, Command},
};

use serde_json::Value;
use tempfile::TempDir;

use crate::{Hub, THREE, get, write};

/// A hub that logs in JSON, and its log.
struct Logged {
    hub: Hub,
    log: std::io::Lines<BufReader<ChildStderr>>,
}

impl Logged {
    /// Starts on the settings of `hub.toml`.
    fn start(directory: &Path) -> Self {
        let (hub, log) = Hub::start_logged(directory, &["--config", "hub.toml", "--log-format", "json"]);
        Self { hub, log: BufReader::new(log).lines() }
    }

    /// The next event that says this.
    fn until(&mut self, message: &str) -> Value {
        loop {
            let line = self.log.next().expect("it still logs").unwrap();
            let event: Value = serde_json::from_str(&line).expect("a line is an object");
            if event["message"] == message {
                return event;
            }
        }
    }

    fn hang_up(&self) {
        self.hub.signal("HUP");
    }

    /// All that is logged until the hub has ended.
    fn rest(self) -> Vec<String> {
        self.hub.signal("TERM");
        self.log.map(|line| line.unwrap()).collect()
    }
}

fn set(directory: &Path, settings: &str) {
    fs::write(directory.join("hub.toml"), settings).unwrap();
}

#[test]
fn a_hangup_changes_the_level_of_the_log_and_the_default_language() {
    let directory = TempDir::new().unwrap();
    set(directory.path(), "log = 'info'\n");
    let mut logged = Logged::start(directory.path());
    let mut before = logged.hub.connect("a", "Accept-Language: fr\r\n");
    assert_eq!(before.event().0, "hello");
    assert_eq!(logged.until("connected")["user.id"], "a");
    set(directory.path(), "log = 'info,audit=off'\ndefault-lang = 'ja'\n");
    logged.hang_up();
    let read = logged.until("read the settings again");
    assert_eq!(read["changed"], "default-lang log");
    let mut after = logged.hub.connect("b", "Accept-Language: fr\r\n");
    assert_eq!(after.event().0, "hello");
    write(directory.path(), THREE);
    assert_eq!((&before.event().1["lang"], &after.event().1["lang"]), (&"en-US".into(), &"ja".into()));
    logged.hang_up();
    let next = logged.log.next().unwrap().unwrap();
    assert!(next.contains("read the settings again"), "nothing else was logged since: {next}");
}

#[test]
fn a_spelling_that_is_given_a_meaning_by_a_hangup_is_read_so_in_the_table_and_in_requests() {
    let directory = TempDir::new().unwrap();
    set(directory.path(), "");
    let mut logged = Logged::start(directory.path());
    let mut stream = logged.hub.connect("a", "Accept-Language: ja\r\n");
    assert_eq!(stream.event().0, "hello");
    let insert = |id: &str| {
        let values = format!("('{id}', 'nihongo', 'こんにちは'), ('{id}', 'en', 'hello')");
        write(directory.path(), &format!("INSERT INTO alarm (id, lang, message) VALUES {values}"));
    };
    insert("1");
    assert_eq!(stream.event().1["message"], "hello");
    set(directory.path(), "lang-alias = ['nihongo=ja']\n");
    logged.hang_up();
    assert_eq!(logged.until("read the settings again")["changed"], "lang-alias");
    insert("2");
    let (_, told) = stream.event();
    assert_eq!((&told["message"], &told["lang"]), (&"こんにちは".into(), &"ja".into()));
    let list = get(&logged.hub.address, "/users/b/alarms?lang=nihongo").1;
    let list: Value = serde_json::from_str(&list).unwrap();
    for alarm in list["alarms"].as_array().expect("a list") {
        assert_eq!((&alarm["lang"], &alarm["fallback"]), (&"ja".into(), &false.into()), "{list}");
    }
}

#[test]
fn the_proxy_that_is_believed_and_its_headers_are_others_after_a_hangup() {
    let directory = TempDir::new().unwrap();
    let proxy = |more: &str| set(directory.path(), &format!("auth = 'proxy'\n{more}\n"));
    proxy("trusted-proxy = ['127.0.0.1']");
    let mut logged = Logged::start(directory.path());
    let status = |logged: &Logged, header: &str| {
        let (address, path) = (&logged.hub.address, "/users/tiaz/alarms");
        logged.hub.request(&format!("GET {path} HTTP/1.1\r\nHost: {address}\r\n{header}: tiaz\r\n\r\n")).status
    };
    assert!(status(&logged, "X-Remote-User").contains(" 200 "));
    proxy("trusted-proxy = ['127.0.0.1']\nproxy-user-header = 'X-Who'");
    logged.hang_up();
    assert_eq!(logged.until("read the settings again")["changed"], "proxy-user-header");
    assert!(status(&logged, "X-Remote-User").contains(" 401 "));
    assert!(status(&logged, "X-Who").contains(" 200 "));
    set(directory.path(), "");
    logged.hang_up();
    let restart = logged.until("these were changed too, and need a restart");
    assert_eq!(restart["settings"], "auth trusted-proxy proxy-user-header", "they belong together");
    assert!(status(&logged, "X-Who").contains(" 200 "));
    proxy("trusted-proxy = ['10.0.0.1']\nproxy-user-header = 'X-Who'");
    logged.hang_up();
    assert_eq!(logged.until("read the settings again")["changed"], "trusted-proxy");
    assert!(status(&logged, "X-Who").contains(" 401 "));
}

#[test]
fn how_many_may_connect_is_changed_by_a_hangup_and_nobody_is_sent_away_for_it() {
    let directory = TempDir::new().unwrap();
    set(directory.path(), "max-connections = 3\n");
    let mut logged = Logged::start(directory.path());
    let connect = |logged: &Logged, user: &str| {
        let mut stream = logged.hub.connect(user, "Accept: text/event-stream\r\n");
        let event = stream.event();
        (stream, event)
    };
    let (mut first, _) = connect(&logged, "a");
    let (mut second, _) = connect(&logged, "b");
    set(directory.path(), "max-connections = 2\nrate = 7\nmax-per-address = 9\n");
    logged.hang_up();
    assert_eq!(logged.until("read the settings again")["changed"], "max-connections max-per-address rate");
    let (_, (event, bye)) = connect(&logged, "c");
    assert_eq!((event.as_str(), &bye["reason"]), ("bye", &"busy".into()));
    set(directory.path(), "max-connections = 9\n");
    logged.hang_up();
    logged.until("read the settings again");
    let (mut third, (event, _)) = connect(&logged, "c");
    assert_eq!(event, "hello");
    write(directory.path(), THREE);
    for stream in [&mut first, &mut second, &mut third] {
        assert_eq!(stream.event().0, "alarm");
    }
}

#[test]
fn a_new_key_holds_from_the_hangup_on_and_a_broken_one_leaves_the_old_one() {
    let directory = TempDir::new().unwrap();
    let write_key = |text: &str| {
        fs::write(directory.path().join("key"), text).unwrap();
        fs::set_permissions(directory.path().join("key"), Permissions::from_mode(0o600)).unwrap();
    };
    let token = || {
        let arguments = ["token", "--user", "tiaz", "--key-file", "key"];
        let mut command = Command::new(env!("CARGO_BIN_EXE_alarm-hub"));
        let signed = command.args(arguments).current_dir(directory.path()).output().unwrap();
        String::from_utf8(signed.stdout).unwrap().trim().to_owned()
    };
    let status = |logged: &Logged, token: &str| {
        let (address, path) = (&logged.hub.address, "/users/tiaz/alarms");
        let head = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {token}\r\n\r\n");
        logged.hub.request(&head).status
    };
    write_key("the first key, of thirty-two bytes or more");
    let first = token();
    set(directory.path(), "auth = 'jwt'\njwt-key-file = 'key'\n");
    let mut logged = Logged::start(directory.path());
    assert!(status(&logged, &first).contains(" 200 "));

    write_key("the second key, of thirty-two bytes or more");
    let second = token();
    assert!(status(&logged, &second).contains(" 401 "), "not before it is told");
    logged.hang_up();
    logged.until("read the settings again");
    assert!(status(&logged, &first).contains(" 401 "));
    assert!(status(&logged, &second).contains(" 200 "));

    write_key("too short");
    logged.hang_up();
    let refused = logged.until("the settings stay as they were");
    assert!(refused["cause"].as_str().unwrap().contains("holds 9 bytes"), "{refused}");
    assert!(status(&logged, &second).contains(" 200 "));
}

#[test]
fn settings_that_cannot_be_read_change_nothing_and_are_told() {
    let directory = TempDir::new().unwrap();
    set(directory.path(), "log = 'info'\n");
    let mut logged = Logged::start(directory.path());
    set(directory.path(), "log = 'off'\nqueue = 'lots'\n");
    logged.hang_up();
    let refused = logged.until("the settings stay as they were");
    assert!(refused["cause"].as_str().unwrap().contains("queue"), "{refused}");
    set(directory.path(), "log = 'info'\nqueue = 7\nsettle = '1s'\n");
    logged.hang_up();
    assert_eq!(logged.until("read the settings again")["changed"], "");
    let restart = logged.until("these were changed too, and need a restart");
    assert_eq!(restart["settings"], "settle queue");
}

#[test]
fn the_audit_trail_has_a_file_of_its_own_that_is_opened_again_when_it_was_moved_away() {
    let directory = TempDir::new().unwrap();
    set(directory.path(), "audit-log = 'audit.log'\n");
    let mut logged = Logged::start(directory.path());
    let trail = |name: &str| -> Vec<Value> {
        let text = fs::read_to_string(directory.path().join(name)).unwrap();
        text.lines().map(|line| serde_json::from_str(line).expect("a line is an object")).collect()
    };
    let mut first = logged.hub.connect("a", "Accept: text/event-stream\r\n");
    assert_eq!(first.event().0, "hello");
    let mut second = logged.hub.connect("a", "Accept: text/event-stream\r\n");
    assert_eq!((second.event().0.as_str(), first.event().0.as_str()), ("hello", "bye"));
    let events: Vec<(String, bool)> = trail("audit.log")
        .iter()
        .map(|event| (event["message"].as_str().unwrap().to_owned(), event["took_over"] == true))
        .collect();
    let expected = [("connected", false), ("connection ended", false), ("connected", true)];
    assert_eq!(events, expected.map(|(message, took_over)| (message.to_owned(), took_over)));
    fs::rename(directory.path().join("audit.log"), directory.path().join("audit.log.1")).unwrap();
    logged.hang_up();
    logged.until("read the settings again");
    let mut third = logged.hub.connect("b", "Accept: text/event-stream\r\n");
    assert_eq!(third.event().0, "hello");
    assert_eq!(trail("audit.log")[0]["user.id"], "b");
    assert_eq!(trail("audit.log.1").len(), 3);
    let rest = logged.rest();
    assert!(rest.iter().all(|line| !line.contains("connected")), "it is not told twice: {rest:?}");
}

#[test]
fn who_published_cleared_and_kicked_is_told_and_no_text_is() {
    let directory = TempDir::new().unwrap();
    set(directory.path(), "log = 'trace'\n");
    let logged = Logged::start(directory.path());
    let hub = &logged.hub;
    let mut stream = hub.connect("tiaz", "Accept: text/event-stream\r\n");
    assert_eq!(stream.event().0, "hello");
    let ask = |method: &str, path: &str, body: &str| {
        let (address, length) = (&hub.address, body.len());
        let head = format!("{method} {path} HTTP/1.1\r\nHost: {address}\r\nContent-Type: application/json\r\n");
        hub.request(&format!("{head}Content-Length: {length}\r\n\r\n{body}")).status
    };
    let secret = r#"{"id": "7", "messages": {"ko": "a secret text"}}"#;
    assert!(ask("POST", "/alarms", secret).contains(" 201 "));
    assert_eq!(stream.event().1["message"], "a secret text");
    assert!(ask("DELETE", "/alarms/7", "").contains(" 204 "));
    assert!(ask("DELETE", "/sessions/tiaz", "").contains(" 204 "));
    assert!(hub.connect("tiaz?ticket=secret", "Sec-Fetch-Site: cross-site\r\n").status.contains(" 403 "));
    let lines = logged.rest();
    assert!(lines.iter().all(|line| !line.contains("secret")), "{lines:?}");
    let events = lines.iter().map(|line| serde_json::from_str::<Value>(line).expect("an object"));
    let audit: Vec<Value> = events.filter(|event| event["target"] == "audit").collect();
    for (message, about) in [("published", "7"), ("cleared", "7"), ("kicked", "tiaz")] {
        assert!(
            audit.iter().any(|event| event["message"] == message && event["about"] == about),
            "{message}: {audit:?}"
        );
    }
    let refused = audit.iter().find(|event| event["message"] == "refused").expect("it is told");
    assert_eq!((&refused["http.status"], &refused["http.path"]), (&403.into(), &"/connection/tiaz".into()));
    assert!(refused["caller.address"].as_str().unwrap().starts_with("127.0.0.1:"), "{refused}");
}

#[test]
fn a_log_that_nobody_reads_any_more_stops_nothing_and_what_it_loses_is_counted() {
    let directory = TempDir::new().unwrap();
    set(directory.path(), "log = 'trace'\n");
    let logged = Logged::start(directory.path());
    let mut stream = logged.hub.connect("a", "Accept-Language: ko\r\n");
    assert_eq!(stream.event().0, "hello");
    let lost = || {
        let metrics = get(&logged.hub.address, "/metrics").1;
        let line = metrics.lines().find_map(|line| line.strip_prefix("alarm_hub_log_lines_lost_total "));
        line.expect("it is counted").parse::<u64>().unwrap()
    };
    for _ in 0..100_000 {
        if lost() > 0 {
            break;
        }
    }
    assert!(lost() > 0, "the pipe and the buffer are full");
    write(directory.path(), THREE);
    assert_eq!(stream.event().0, "alarm");
}
