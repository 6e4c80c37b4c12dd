//! The log, and what SIGHUP does while the hub runs.

use std::{
    fs,
    io::{BufRead, BufReader},
    path::Path,
    process::{ChildStderr, Command},
};

use serde_json::Value;
use tempfile::TempDir;

use crate::{Hub, THREE, write};

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
        let kill = Command::new("kill").args(["-HUP", &self.hub.process.id().to_string()]).status();
        assert!(kill.expect("there is a kill command").success());
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
    drop(logged.hub);
    let rest: Vec<String> = logged.log.map(|line| line.unwrap()).collect();
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
    let Logged { hub, log } = logged;
    drop(hub);
    let lines: Vec<String> = log.map(|line| line.unwrap()).collect();
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
