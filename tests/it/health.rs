//! Whether the hub says so when it cannot do its job.

use std::{
    io::{BufRead, BufReader},
    os::unix::net::UnixDatagram,
    path::Path,
    process::{Command, Stdio},
    sync::mpsc,
    time::{Duration, Instant},
};

use actors::{
    alarm::{Failure, FeedName, Look, Position, Round, Source},
    hub::HubMessage,
    poller::{PollerActor, PollerArguments, PollerMessage},
    probe::Probe,
};
use alarm_hub::health::{Readiness, Status, ask, judge};
use ractor::{Actor, ActorRef};
use serde_json::Value;
use tempfile::TempDir;

use crate::{Hub, THREE, get, write};

const INTERVAL: Duration = Duration::from_millis(50);
const HEAD: Position = Position { feed: FeedName(7), seq: 5 };

/// A database in which nothing happens, but for what the test does in each look.
struct Scripted<F>(F);

impl<F: FnMut() + Send + 'static> Source for Scripted<F> {
    fn open(&mut self) -> Result<Position, Failure> {
        Ok(HEAD)
    }

    fn look(&mut self, _: Position, _: Option<Round>) -> Result<Look, Failure> {
        (self.0)();
        Ok(Look::Nothing)
    }
}

/// A poller, and a hub that takes what it is told.
async fn poller(look: impl FnMut() + Send + 'static) -> ActorRef<PollerMessage> {
    let mut hub: Probe<HubMessage> = Probe::start().await;
    let arguments = PollerArguments { source: Box::new(Scripted(look)), hub: hub.actor.clone(), interval: INTERVAL };
    let poller = Actor::spawn(None, PollerActor, arguments).await.unwrap().0;
    tokio::spawn(async move {
        loop {
            if let HubMessage::Opened(_, reply) = hub.next().await {
                let _ = reply.send((HEAD, None)); // the poller may have failed
            }
        }
    });
    poller
}

async fn readiness(poller: &ActorRef<PollerMessage>) -> Readiness {
    let health = ask(poller, PollerMessage::Health).await;
    judge(health.as_ref(), Some(&Ok(vec![])), INTERVAL, tokio::time::Instant::now())
}

/// Waits until the poller is judged so.
async fn becomes(poller: &ActorRef<PollerMessage>, status: Status) -> Readiness {
    loop {
        let readiness = readiness(poller).await;
        if readiness.status == status {
            return readiness;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn a_poller_that_hangs_does_not_stay_green() {
    let (go_on, held) = mpsc::sync_channel::<()>(0);
    let mut looks = 0;
    let look = move || {
        looks += 1;
        if looks > 2 {
            let _ = held.recv(); // until the test lets go
        }
    };
    let poller = poller(look).await;
    becomes(&poller, Status::Ok).await;
    let red = becomes(&poller, Status::Failed).await;
    assert!(red.checks.poller.reason.unwrap().starts_with("it last looked "));
    drop(go_on);
    becomes(&poller, Status::Ok).await;
}

#[tokio::test]
async fn a_poller_that_panicked_is_red() {
    let mut looks = 0;
    let look = move || {
        looks += 1;
        assert!(looks < 3, "the disk is on fire");
    };
    let poller = poller(look).await;
    becomes(&poller, Status::Ok).await;
    let red = becomes(&poller, Status::Failed).await;
    assert_eq!(red.checks.poller.reason.as_deref(), Some("it does not answer"));
}

/// The status of `/readyz` and what it says.
fn readyz(hub: &Hub) -> (u16, Value) {
    let (head, body) = get(&hub.address, "/readyz");
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
    (status, serde_json::from_str(&body).expect("JSON"))
}

/// Waits until `/readyz` has this status.
fn answers(hub: &Hub, status: u16) -> Value {
    says(hub, |now, _| now == status)
}

/// Waits until `/readyz` is red because of this check, for a reason that names this.
fn is_red(hub: &Hub, check: &str, named: &str) {
    says(hub, |status, body| {
        let check = &body["checks"][check];
        let reason = check["reason"].as_str().unwrap_or_default();
        (status, &body["status"], &check["status"]) == (503, &"failed".into(), &"failed".into())
            && reason.contains(named)
    });
}

/// Waits until `/readyz` says what is asked for.
fn says(hub: &Hub, is_so: impl Fn(u16, &Value) -> bool) -> Value {
    let begun = Instant::now();
    loop {
        let (status, body) = readyz(hub);
        if is_so(status, &body) {
            return body;
        }
        assert!(begun.elapsed() < Duration::from_secs(90), "it still answers {status}: {body}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_hub_is_ready_until_its_triggers_are_gone_and_again_once_they_can_be_made() {
    let directory = TempDir::new().unwrap();
    let hub = Hub::start(directory.path(), &[]);
    let ready = answers(&hub, 200);
    assert_eq!(ready["status"], "ok", "{ready}");
    write(directory.path(), "ALTER TABLE alarm RENAME TO kept; CREATE TABLE alarm (a)");
    is_red(&hub, "triggers", "alarm_hub_insert");
    write(directory.path(), "DROP TABLE alarm; ALTER TABLE kept RENAME TO alarm");
    answers(&hub, 200);
}

#[test]
fn a_hub_whose_database_is_held_by_another_program_is_not_ready_until_it_is_let_go() {
    let directory = TempDir::new().unwrap();
    // With a rollback journal an exclusive lock shuts readers out, too.
    write(
        directory.path(),
        "PRAGMA journal_mode = delete; CREATE TABLE alarm (id, lang, message, PRIMARY KEY (id, lang))",
    );
    let hub = Hub::start(directory.path(), &["--db", "alarms.db"]);
    answers(&hub, 200);
    let mut holder = hold(directory.path());
    is_red(&hub, "database", "locked");
    holder.kill().unwrap();
    holder.wait().unwrap();
    answers(&hub, 200);
}

/// Another program that holds the database for itself; once this returns, it does.
fn hold(directory: &Path) -> std::process::Child {
    let program = "import sqlite3, sys, time; c = sqlite3.connect('alarms.db', timeout=20, isolation_level=None); \
                   c.execute('BEGIN EXCLUSIVE'); print('held', flush=True); time.sleep(600)";
    let mut holder = Command::new("python3")
        .args(["-c", program])
        .current_dir(directory)
        .stdout(Stdio::piped())
        .spawn()
        .expect("python3 is there");
    let mut held = String::new();
    BufReader::new(holder.stdout.take().unwrap()).read_line(&mut held).unwrap();
    assert_eq!(held.trim(), "held");
    holder
}

/// What the hub tells the service manager.
struct Manager(UnixDatagram);

impl Manager {
    fn told(&self) -> String {
        let mut bytes = [0; 256];
        let length = self.0.recv(&mut bytes).expect("it is told something within the time-out");
        String::from_utf8_lossy(&bytes[..length]).trim().to_owned()
    }

    fn until(&self, expected: &str) {
        while self.told() != expected {}
    }

    /// Whether nothing comes for a while, after all that came before.
    fn is_left_alone(&self) -> bool {
        self.0.set_nonblocking(true).unwrap();
        while self.0.recv(&mut [0; 256]).is_ok() {}
        self.0.set_nonblocking(false).unwrap();
        self.0.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
        let alone = self.0.recv(&mut [0; 256]).is_err();
        self.0.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        alone
    }
}

#[test]
fn while_the_disk_hangs_readers_and_readiness_and_the_service_manager_are_told_and_all_heals_with_it() {
    let directory = TempDir::new().unwrap();
    let path = |name: &str| directory.path().join(name);
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/hanging_disk.c");
    let library = path("hanging_disk.so");
    let built = Command::new("cc").args(["-shared", "-fPIC", "-o"]).arg(&library).arg(source).status();
    assert!(built.expect("cc is there").success());
    let manager = Manager(UnixDatagram::bind(path("notify")).unwrap());
    manager.0.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_alarm-hub"));
    command.args(["--listen", "127.0.0.1:0", "--heartbeat", "5s"]).current_dir(directory.path());
    command.env("LD_PRELOAD", library).env("NOTIFY_SOCKET", path("notify")).env("WATCHDOG_USEC", "1000000");
    let hub = Hub::run(&mut command);
    manager.until("READY=1");
    manager.until("WATCHDOG=1");
    let mut stream = hub.connect("tiaz", "Accept-Language: ko\r\n");
    assert_eq!(stream.event().0, "hello");

    std::fs::write(path("hang"), "").unwrap();
    write(directory.path(), THREE);
    let (status, data) = stream.event();
    assert_eq!((status.as_str(), &data["source"]), ("status", &"down".into()));
    let red = answers(&hub, 503);
    assert!(red["checks"]["database"]["reason"].as_str().unwrap().contains("does its disk answer?"), "{red}");
    assert!(red["checks"]["poller"]["reason"].as_str().unwrap().starts_with("it last looked "), "{red}");
    assert!(manager.is_left_alone(), "so it ends the hub and starts it again");

    std::fs::remove_file(path("hang")).unwrap();
    assert_eq!(stream.event().1["source"], "up");
    assert_eq!(stream.event().1["message"], "예약에 성공했습니다!");
    assert_eq!(answers(&hub, 200)["status"], "ok");
    manager.until("WATCHDOG=1");
    hub.signal("TERM");
    manager.until("STOPPING=1");
}
