//! A database of the first release, a backup that is put in place, and what readers notice of both.

use std::{fs, process::Output};

use super::*;

fn alarm_hub(directory: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_alarm-hub"));
    command.args(arguments).current_dir(directory).output().expect("the binary starts")
}

/// What Python's SQLite reads, one row a line.
fn read(directory: &Path, sql: &str) -> String {
    let program = "import sqlite3, sys; [print(*row) for row in sqlite3.connect('alarms.db').execute(sys.argv[1])]";
    let done = Command::new("python3").args(["-c", program, sql]).current_dir(directory).output().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    String::from_utf8(done.stdout).unwrap().trim().to_owned()
}

#[test]
fn a_database_of_the_first_release_is_brought_forward_and_readers_resume_in_it() {
    let directory = TempDir::new().unwrap();
    write(directory.path(), include_str!("first_release.sql"));
    let hub = Hub::start(directory.path(), &["--db", "alarms.db"]);
    let mut named = hub.connect("tiaz?last_event_id=0a1b2c3d.2", "Accept-Language: ko\r\n");
    assert_eq!(named.event().0, "hello");
    let (event, data) = named.event();
    assert_eq!((event.as_str(), &data["message"]), ("alarm", &"새로 셋".into()));
    assert_eq!(named.event().1["id"], "4");
    let mut other = hub.connect("other?history=9", "Accept-Language: ko\r\n");
    assert_eq!(other.event().0, "hello");
    let history = [other.event(), other.event(), other.event()].map(|(_, data)| data["id"].clone());
    assert_eq!(history, ["old-1", "old-2", "3"].map(Value::from));
    write(directory.path(), "INSERT INTO alarm (id, lang, message) VALUES ('5', 'ko', '다섯')");
    assert_eq!((named.event().1["id"].clone(), other.event().1["id"].clone()), ("5".into(), "5".into()));
    assert_eq!(read(directory.path(), "SELECT value FROM hub_meta WHERE key = 'schema'"), "1");
    assert_eq!(read(directory.path(), "SELECT count(*) FROM alarm_log WHERE at < 1000000000000"), "0");
    assert_eq!(read(directory.path(), "SELECT count(*) FROM sqlite_master WHERE name LIKE '%before'"), "0");
    assert_eq!(read(directory.path(), "SELECT user_id, alarm_id FROM alarm_ack"), "tiaz 3");
}

#[test]
fn tables_of_a_newer_release_are_left_alone() {
    let directory = TempDir::new().unwrap();
    assert!(alarm_hub(directory.path(), &["init", "--db", "alarms.db"]).status.success());
    write(directory.path(), "UPDATE hub_meta SET value = 99 WHERE key = 'schema'");
    let refused = alarm_hub(directory.path(), &["--db", "alarms.db", "--listen", "127.0.0.1:0"]);
    let said = String::from_utf8_lossy(&refused.stderr);
    assert_eq!(refused.status.code(), Some(1), "{said}");
    assert!(said.contains("newer alarm-hub"), "{said}");
}

#[test]
fn readers_of_a_restored_backup_are_told_reset_and_go_on_from_there() {
    let directory = TempDir::new().unwrap();
    let hub = Hub::start(directory.path(), &[]);
    let row = |id: &str| format!("INSERT INTO alarm (id, lang, message) VALUES ('{id}', 'ko', '{id}')");
    let mut stream = hub.connect("tiaz", "Accept-Language: ko\r\n");
    assert_eq!(stream.event().0, "hello");
    write(directory.path(), &row("kept"));
    assert_eq!(stream.event().1["id"], "kept");
    let copied = alarm_hub(directory.path(), &["backup", "--db", "alarms.db", "copy.db"]);
    assert!(copied.status.success(), "{}", String::from_utf8_lossy(&copied.stderr));
    let again = alarm_hub(directory.path(), &["backup", "--db", "alarms.db", "copy.db"]);
    assert!(String::from_utf8_lossy(&again.stderr).contains("it is there already"));
    write(directory.path(), &row("lost"));
    assert_eq!(stream.event().1["id"], "lost");
    let position = stream.id.clone();
    drop(hub);
    for left in ["alarms.db-wal", "alarms.db-shm"] {
        let _ = fs::remove_file(directory.path().join(left)); // it may not be there
    }
    fs::rename(directory.path().join("copy.db"), directory.path().join("alarms.db")).unwrap();
    for id in ["next", "after", "that"] {
        write(directory.path(), &row(id));
    }
    let hub = Hub::start(directory.path(), &["--db", "alarms.db"]);
    // Its position would be a possible one again.
    let mut late = hub.connect("late", &format!("Accept-Language: ko\r\nLast-Event-ID: {position}\r\n"));
    assert_eq!((late.event().0.as_str(), late.event().0.as_str()), ("hello", "reset"));
    let list = get(&hub.address, "/users/late/alarms?lang=ko").1;
    let list: Value = serde_json::from_str(&list).unwrap();
    write(directory.path(), &row("live"));
    assert_eq!(late.event().1["id"], "live");
    let ids: Vec<&str> = list["alarms"].as_array().unwrap().iter().filter_map(|alarm| alarm["id"].as_str()).collect();
    assert_eq!(ids, ["that", "after", "next", "kept"]);
}

#[test]
fn a_backup_that_is_put_in_place_under_a_running_hub_is_what_readers_have_from_then_on() {
    let directory = TempDir::new().unwrap();
    let hub = Hub::start(directory.path(), &[]);
    let row = |id: &str| format!("INSERT INTO alarm (id, lang, message) VALUES ('{id}', 'ko', '{id}')");
    let mut stream = hub.connect("tiaz", "Accept-Language: ko\r\n");
    assert_eq!(stream.event().0, "hello");
    write(directory.path(), &row("kept"));
    assert_eq!(stream.event().1["id"], "kept");
    assert!(alarm_hub(directory.path(), &["backup", "--db", "alarms.db", "copy.db"]).status.success());
    write(directory.path(), &row("lost"));
    assert_eq!(stream.event().1["id"], "lost");
    fs::rename(directory.path().join("copy.db"), directory.path().join("alarms.db")).unwrap();
    while stream.event().0 != "reset" {} // it may be told that the database was away
    write(directory.path(), &row("next"));
    while stream.event().1["id"] != "next" {}
    let list: Value = serde_json::from_str(&get(&hub.address, "/users/tiaz/alarms?lang=ko").1).unwrap();
    let ids: Vec<&str> = list["alarms"].as_array().unwrap().iter().filter_map(|alarm| alarm["id"].as_str()).collect();
    assert_eq!(ids, ["next", "kept"]);
}
