//! What happens to databases: triggers that are gone, files that are replaced, damaged or held. Never silently old,
//! never dead, and healed alone.

use std::{fs, os::unix::fs::FileExt};

use super::*;

/// A stream whose reader wants Korean, after its hello.
fn reader(hub: &Hub, user: &str) -> Stream {
    let mut stream = hub.connect(user, "Accept-Language: ko\r\n");
    assert_eq!(stream.event().0, "hello");
    stream
}

/// The next event of this name; others, pings for example, are passed over.
fn wait_for(stream: &mut Stream, name: &str) -> Value {
    loop {
        let (event, data) = stream.event();
        if event == name {
            return data;
        }
    }
}

fn insert(directory: &Path, id: &str) {
    write(directory, &format!("INSERT INTO alarm (id, lang, message) VALUES ('{id}', 'ko', 'x')"));
}

/// Makes a database of another program, closed as it should be.
fn make(directory: &Path, name: &str, rows: &str) {
    let table = "CREATE TABLE alarm (id TEXT, lang TEXT, message TEXT, isn_dt TEXT, PRIMARY KEY (id, lang))";
    write_python(
        directory,
        &format!("n = sqlite3.connect({name:?}); n.executescript({:?}); n.close()", format!("{table};{rows}")),
    );
}

/// Whether the hub says that the database is well; if not, why.
fn database(hub: &Hub) -> (bool, String) {
    let (_, body) = get(&hub.address, "/readyz");
    let ready: Value = serde_json::from_str(&body).expect("JSON");
    let check = &ready["checks"]["database"];
    (check["status"] == "ok", check["reason"].as_str().unwrap_or_default().to_owned())
}

/// Waits until the hub says that the database is not well, and this is why: a look while the damage is done may see
/// another half of it.
fn wait_for_reason(hub: &Hub, said: &[&str]) {
    let until = Instant::now() + Duration::from_secs(20);
    loop {
        let (well, reason) = database(hub);
        if !well && said.iter().any(|said| reason.contains(said)) {
            return;
        }
        assert!(Instant::now() < until, "none of {said:?} but {reason:?}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn ids(stream: &mut Stream, count: usize) -> Vec<(String, String)> {
    let told = (0..count).map(|_| stream.event());
    told.map(|(event, data)| (event, data["id"].as_str().unwrap_or_default().to_owned())).collect()
}

fn told(expected: &[(&str, &str)]) -> Vec<(String, String)> {
    expected.iter().map(|(event, id)| ((*event).to_owned(), (*id).to_owned())).collect()
}

#[test]
fn a_migration_that_rebuilds_the_table_loses_nothing() {
    let directory = TempDir::new().unwrap();
    let hub = Hub::start(directory.path(), &[]);
    let mut stream = hub.connect("tiaz", "Accept-Language: ko\r\n");
    assert_eq!(stream.event().0, "hello");
    let insert = "INSERT INTO alarm (id, lang, message, user_id) VALUES";
    write(directory.path(), &format!("{insert} ('1', 'ko', 'x', NULL); {insert} ('2', 'ko', 'x', 'tiaz')"));
    assert_eq!(ids(&mut stream, 2), told(&[("alarm", "1"), ("alarm", "2")]));
    let mut other = hub.connect("other", "Accept-Language: ko\r\n");
    assert_eq!(other.event().0, "hello");
    // Another column, other rows: the triggers go with the old table.
    write(
        directory.path(),
        "BEGIN;
         CREATE TABLE rebuilt (id INTEGER, lang TEXT, message TEXT, isn_dt TEXT, user_id TEXT, level INTEGER, UNIQUE (id, lang));
         INSERT INTO rebuilt SELECT id, lang, message, isn_dt, user_id, 1 FROM alarm WHERE id <> '2';
         DROP TABLE alarm;
         ALTER TABLE rebuilt RENAME TO alarm;
         INSERT INTO alarm VALUES (3, 'ko', 'unseen', NULL, NULL, 2), (3, 'ja', 'unseen', NULL, NULL, 2);
         COMMIT;",
    );
    assert_eq!(ids(&mut stream, 2), told(&[("alarm", "3"), ("cleared", "2")]));
    write(
        directory.path(),
        "INSERT INTO alarm VALUES (4, 'ko', 'seen', NULL, 'other', 2), (5, 'ko', 'seen', NULL, NULL, 2)",
    );
    assert_eq!(ids(&mut stream, 1), told(&[("alarm", "5")]));
    assert_eq!(ids(&mut other, 3), told(&[("alarm", "3"), ("alarm", "4"), ("alarm", "5")]), "2 never was for other");
}

#[test]
fn a_database_that_replaces_another_is_read_at_once_and_what_the_old_one_left_behind_is_put_aside() {
    for stale in [true, false] {
        let directory = TempDir::new().unwrap();
        let path = |name: &str| directory.path().join(name);
        let hub = Hub::start(directory.path(), &[]);
        let mut stream = reader(&hub, "tiaz");
        insert(directory.path(), "old");
        assert_eq!(ids(&mut stream, 1), told(&[("alarm", "old")]));
        make(directory.path(), "new.db", "INSERT INTO alarm VALUES (1, 'ko', 'history', NULL);");
        assert!(path("alarms.db-wal").exists(), "the hub has the old one open");
        if !stale {
            fs::remove_file(path("alarms.db-wal")).unwrap();
            fs::remove_file(path("alarms.db-shm")).unwrap();
        }
        fs::rename(path("new.db"), path("alarms.db")).unwrap();
        wait_for(&mut stream, "reset");
        insert(directory.path(), "2");
        assert_eq!(ids(&mut stream, 1), told(&[("alarm", "2")]));
        let mut fresh = hub.connect("other?history=9", "Accept-Language: ko\r\n");
        assert_eq!(fresh.event().0, "hello");
        assert_eq!(ids(&mut fresh, 2), told(&[("alarm", "1"), ("alarm", "2")]), "nothing of the old one");
        let mut resumed = hub.connect("third", "Last-Event-ID: 00000001.1\r\n");
        assert_eq!((resumed.event().0, resumed.event().0), ("hello".to_owned(), "reset".to_owned()));
    }
}

#[test]
fn a_deleted_database_is_missed_and_never_made_anew_and_goes_on_once_it_is_back() {
    let directory = TempDir::new().unwrap();
    let path = |name: &str| directory.path().join(name);
    let hub = Hub::start(directory.path(), &[]);
    let mut stream = reader(&hub, "tiaz");
    insert(directory.path(), "1");
    assert_eq!(ids(&mut stream, 1), told(&[("alarm", "1")]));
    fs::rename(path("alarms.db"), path("away.db")).unwrap();
    assert_eq!(wait_for(&mut stream, "status")["source"], "down");
    wait_for_reason(&hub, &["gone"]);
    assert!(!path("alarms.db").exists());
    fs::rename(path("away.db"), path("alarms.db")).unwrap();
    assert_eq!(wait_for(&mut stream, "status")["source"], "up");
    insert(directory.path(), "2");
    assert_eq!(ids(&mut stream, 1), told(&[("alarm", "2")]), "the same database: no reset");

    // With everything beside it, and another one in its place later.
    make(directory.path(), "new.db", "");
    for name in ["alarms.db", "alarms.db-wal", "alarms.db-shm"] {
        fs::remove_file(path(name)).unwrap();
    }
    assert_eq!(wait_for(&mut stream, "status")["source"], "down");
    fs::rename(path("new.db"), path("alarms.db")).unwrap();
    wait_for(&mut stream, "reset");
    insert(directory.path(), "3");
    assert_eq!(wait_for(&mut stream, "alarm")["id"], "3");
}

#[test]
fn a_wal_that_is_deleted_under_everybody_takes_nothing_with_it_that_was_committed() {
    let directory = TempDir::new().unwrap();
    let path = |name: &str| directory.path().join(name);
    let hub = Hub::start(directory.path(), &[]);
    let mut stream = reader(&hub, "tiaz");
    // A writer that stays: what it commits is in the -wal alone.
    let writer = rusqlite::Connection::open(path("alarms.db")).unwrap();
    let sql = "INSERT INTO alarm (id, lang, message) VALUES (?1, 'ko', 'x')";
    writer.busy_timeout(Duration::from_secs(20)).unwrap();
    writer.execute(sql, ["1"]).unwrap();
    assert_eq!(ids(&mut stream, 1), told(&[("alarm", "1")]));
    let position = stream.id.clone();
    writer.execute(sql, ["2"]).unwrap();
    assert_eq!(ids(&mut stream, 1), told(&[("alarm", "2")]));
    fs::remove_file(path("alarms.db-wal")).unwrap();
    fs::remove_file(path("alarms.db-shm")).unwrap();
    let until = std::time::Instant::now() + Duration::from_secs(20);
    while !path("alarms.db-wal").exists() {
        assert!(std::time::Instant::now() < until, "the hub opens the database anew");
        std::thread::sleep(Duration::from_millis(10));
    }
    insert(directory.path(), "3");
    assert_eq!(wait_for(&mut stream, "alarm")["id"], "3", "the log goes on");
    assert_eq!(database(&hub), (true, String::new()));
    let mut late = hub.connect("late", &format!("Accept-Language: ko\r\nLast-Event-ID: {position}\r\n"));
    assert_eq!(late.event().0, "hello");
    assert_eq!(ids(&mut late, 2), told(&[("alarm", "2"), ("alarm", "3")]));
    drop(writer);
    insert(directory.path(), "4");
    assert_eq!(wait_for(&mut stream, "alarm")["id"], "4");
}

#[test]
fn a_damaged_database_is_told_and_goes_on_once_a_sound_one_is_there() {
    let change = |file: &Path| fs::OpenOptions::new().write(true).open(file).unwrap();
    type Damage = fn(&fs::File);
    // What the hub itself was writing may lie over the damage: a sound first page before nonsense.
    let damages: [(&[&str], Damage); 3] = [
        (&["empty", "malformed"], |file| file.set_len(0).unwrap()),
        (&["malformed"], |file| file.set_len(8_192).unwrap()),
        (&["not a database", "malformed"], |file| file.write_all_at(&[0xa5; 65_536], 0).unwrap()),
    ];
    for (said, damage) in damages {
        let directory = TempDir::new().unwrap();
        let path = |name: &str| directory.path().join(name);
        // With a rollback journal every commit is in the main file.
        make(directory.path(), "alarms.db", "INSERT INTO alarm VALUES (1, 'ko', 'history', NULL);");
        let hub = Hub::start(directory.path(), &["--db", "alarms.db"]);
        let mut stream = reader(&hub, "tiaz");
        write(directory.path(), "VACUUM INTO 'backup.db'"); // a whole one, whatever the hub is writing
        damage(&change(&path("alarms.db")));
        assert_eq!(wait_for(&mut stream, "status")["source"], "down", "{said:?}");
        wait_for_reason(&hub, said);
        fs::rename(path("backup.db"), path("alarms.db")).unwrap();
        assert_eq!(wait_for(&mut stream, "status")["source"], "up", "{said:?}");
        insert(directory.path(), "2");
        assert_eq!(ids(&mut stream, 1), told(&[("alarm", "2")]), "the same log goes on: no reset");
    }
}

#[test]
fn a_page_that_is_damaged_is_told_and_mended_in_place() {
    let directory = TempDir::new().unwrap();
    let file = directory.path().join("alarms.db");
    make(directory.path(), "alarms.db", "");
    let hub = Hub::start(directory.path(), &["--db", "alarms.db"]);
    let mut stream = reader(&hub, "tiaz");
    insert(directory.path(), "1");
    assert_eq!(ids(&mut stream, 1), told(&[("alarm", "1")]));
    let database = rusqlite::Connection::open(&file).unwrap();
    let number = |sql: &str| database.query_row(sql, [], |row| row.get::<_, u64>(0)).unwrap();
    let size = number("PRAGMA page_size");
    let place = (number("SELECT rootpage FROM sqlite_master WHERE name = 'alarm_log'") - 1) * size;
    drop(database);
    let file = fs::OpenOptions::new().read(true).write(true).open(&file).unwrap();
    let mut good = vec![0; size as usize];
    file.read_exact_at(&mut good, place).unwrap();
    file.write_all_at(&vec![0; size as usize], place).unwrap();
    assert_eq!(wait_for(&mut stream, "status")["source"], "down");
    wait_for_reason(&hub, &["malformed"]);
    file.write_all_at(&good, place).unwrap();
    assert_eq!(wait_for(&mut stream, "status")["source"], "up");
    insert(directory.path(), "2");
    assert_eq!(ids(&mut stream, 1), told(&[("alarm", "2")]));
}

#[test]
fn a_database_that_is_put_back_to_what_it_was_voids_all_positions() {
    let directory = TempDir::new().unwrap();
    let path = |name: &str| directory.path().join(name);
    let hub = Hub::start(directory.path(), &[]);
    let mut stream = reader(&hub, "tiaz");
    insert(directory.path(), "1");
    wait_for(&mut stream, "alarm");
    write_python(directory.path(), "c.execute(\"VACUUM INTO 'backup.db'\")");
    insert(directory.path(), "2");
    insert(directory.path(), "3");
    assert_eq!(ids(&mut stream, 2), told(&[("alarm", "2"), ("alarm", "3")]));
    let position = stream.id.clone();
    fs::rename(path("backup.db"), path("alarms.db")).unwrap();
    wait_for(&mut stream, "reset");
    for id in ["4", "5", "6"] {
        insert(directory.path(), id);
    }
    assert_eq!(ids(&mut stream, 3), told(&[("alarm", "4"), ("alarm", "5"), ("alarm", "6")]));
    // The head is beyond this position again, and it means something else.
    let mut late = hub.connect("late", &format!("Accept-Language: ko\r\nLast-Event-ID: {position}\r\n"));
    assert_eq!((late.event().0, late.event().0), ("hello".to_owned(), "reset".to_owned()));
}

#[test]
fn a_log_that_goes_on_in_another_file_goes_on_for_its_readers() {
    let directory = TempDir::new().unwrap();
    let hub = Hub::start(directory.path(), &[]);
    let mut stream = reader(&hub, "tiaz");
    insert(directory.path(), "1");
    wait_for(&mut stream, "alarm");
    // Dumped and restored while the hub runs, and one more row before it is put in place.
    write_python(
        directory.path(),
        "n = sqlite3.connect('new.db'); n.executescript('\\n'.join(c.iterdump()))\n\
         n.execute(\"INSERT INTO alarm (id, lang, message) VALUES ('2', 'ko', 'x')\"); n.commit(); n.close()\n\
         import os; os.rename('new.db', 'alarms.db')",
    );
    assert_eq!(ids(&mut stream, 1), told(&[("alarm", "2")]));
    write(directory.path(), "VACUUM");
    insert(directory.path(), "3");
    assert_eq!(ids(&mut stream, 1), told(&[("alarm", "3")]));
}

#[test]
fn a_database_that_another_program_holds_is_waited_for_and_told_after_ten_seconds() {
    let directory = TempDir::new().unwrap();
    make(directory.path(), "alarms.db", "PRAGMA journal_mode = delete");
    let hub = Hub::start(directory.path(), &["--db", "alarms.db"]);
    let mut stream = reader(&hub, "tiaz");
    let holder = rusqlite::Connection::open(directory.path().join("alarms.db")).unwrap();
    holder.busy_timeout(Duration::from_secs(20)).unwrap();
    holder.execute_batch("BEGIN EXCLUSIVE; INSERT INTO alarm VALUES (1, 'ko', 'x', NULL)").unwrap();
    let threads = || fs::read_dir(format!("/proc/{}/task", hub.process.id())).unwrap().count();
    wait_for_reason(&hub, &["locked"]);
    let before = threads();
    assert_eq!(wait_for(&mut stream, "status")["source"], "down");
    assert!(threads() <= before + 4, "nothing piles up");
    holder.execute_batch("COMMIT").unwrap();
    let (mut is_up, mut came) = (false, false);
    while !(is_up && came) {
        let (event, data) = stream.event();
        is_up |= event == "status" && data["source"] == "up";
        came |= event == "alarm" && data["id"] == "1";
    }
}

#[test]
fn a_long_transaction_of_another_program_keeps_nobody_from_reading() {
    let directory = TempDir::new().unwrap();
    let hub = Hub::start(directory.path(), &[]);
    let mut stream = reader(&hub, "tiaz");
    insert(directory.path(), "1");
    assert_eq!(ids(&mut stream, 1), told(&[("alarm", "1")]));
    let holder = rusqlite::Connection::open(directory.path().join("alarms.db")).unwrap();
    holder.execute_batch("BEGIN IMMEDIATE; INSERT INTO alarm (id, lang, message) VALUES ('2', 'ko', 'x')").unwrap();
    let mut history = hub.connect("other?history=9", "Accept-Language: ko\r\n");
    assert_eq!(history.event().0, "hello");
    assert_eq!(ids(&mut history, 1), told(&[("alarm", "1")]));
    assert_eq!(database(&hub), (true, String::new()));
    holder.execute_batch("COMMIT").unwrap();
    assert_eq!(ids(&mut stream, 1), told(&[("alarm", "2")]));
}

#[test]
fn a_database_that_may_only_be_read_is_refused_with_what_the_hub_needs() {
    let directory = TempDir::new().unwrap();
    make(directory.path(), "alarms.db", "");
    let start = "mount --bind \"$1\" \"$1\" && mount -o remount,ro,bind \"$1\" && exec \"$2\" --db \"$1/alarms.db\"";
    let mut command = Command::new("unshare");
    command.args(["--user", "--map-root-user", "--mount", "sh", "-c", start, "sh"]);
    command.arg(directory.path()).arg(env!("CARGO_BIN_EXE_alarm-hub")).env("ALARM_HUB_LISTEN", "127.0.0.1:0");
    let ended = command.output().unwrap();
    let said = String::from_utf8_lossy(&ended.stderr);
    assert_eq!(ended.status.code(), Some(1), "{said}");
    assert!(said.contains("has to write to the database's file and to the directory"), "{said}");
}

#[test]
fn a_full_disk_refuses_what_is_published_and_the_feed_goes_on() {
    let directory = TempDir::new().unwrap();
    // A small disk of the hub's own, that ends with it.
    let start = "mount -t tmpfs -o size=1m tmpfs \"$1\" && cd \"$1\" && exec \"$2\" --listen 127.0.0.1:0";
    let mut command = Command::new("unshare");
    command.args(["--user", "--map-root-user", "--mount", "sh", "-c", start, "sh"]);
    let hub = Hub::run(command.arg(directory.path()).arg(env!("CARGO_BIN_EXE_alarm-hub")).stderr(Stdio::null()));
    let disk = format!("/proc/{}/root{}", hub.process.id(), directory.path().display());
    let disk = Path::new(&disk);
    let mut stream = reader(&hub, "tiaz");
    let publish = |id: &str| {
        let body = format!(r#"{{"id":"{id}","messages":{{"ko":"{}"}}}}"#, "x".repeat(20_000));
        let head = format!("Host: {}\r\nContent-Type: application/json\r\nContent-Length: {}", hub.address, body.len());
        hub.request(&format!("POST /alarms HTTP/1.1\r\n{head}\r\n\r\n{body}")).status
    };
    assert!(publish("1").contains(" 201 "));
    assert_eq!(ids(&mut stream, 1), told(&[("alarm", "1")]));
    // All that is left, to the last byte.
    let mut filler = fs::File::create(disk.join("filler")).unwrap();
    for size in [65_536, 4_096, 1] {
        while filler.write_all(&vec![0; size]).is_ok() {}
    }
    let status = publish("2");
    assert!(status.contains(" 507 "), "{status}");
    let mut history = hub.connect("other?history=9", "Accept-Language: ko\r\n");
    assert_eq!(history.event().0, "hello");
    assert_eq!(ids(&mut history, 1), told(&[("alarm", "1")]), "what is there can be read");
    drop(filler);
    fs::remove_file(disk.join("filler")).unwrap();
    let status = publish("3");
    assert!(status.contains(" 201 "), "{status}");
    assert_eq!(wait_for(&mut stream, "alarm")["id"], "3");
}
