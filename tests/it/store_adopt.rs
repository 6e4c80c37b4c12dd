//! Adoption: what another program's table must be like, and what becomes of it.

use std::{
    collections::HashSet,
    fs,
    sync::mpsc::{TryRecvError, sync_channel},
    thread,
    time::Duration,
};

use actors::{
    alarm::{Archive, Fault, Look, Source},
    change::{Change, Meaning},
};
use alarm_hub::store::{Make, Options, Store};
use rusqlite::Connection;

use crate::store::Database;

const COLUMNS: &str = "id TEXT, lang TEXT, message TEXT, isn_dt TEXT";

fn stored(connection: &Connection) -> Vec<String> {
    let mut stored = connection
        .prepare("SELECT sql FROM sqlite_master WHERE sql IS NOT NULL AND name NOT LIKE 'sqlite_%' ORDER BY rowid")
        .unwrap();
    stored.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect()
}

#[test]
fn a_table_that_cannot_be_adopted_is_refused_with_what_is_missing_and_nothing_is_changed() {
    for (table, said) in [
        ("CREATE TABLE alarm (id, text)", "no column lang, message"),
        (&*format!("CREATE TABLE alarm ({COLUMNS})"), "CREATE UNIQUE INDEX"),
        (&*format!("CREATE TABLE alarm ({COLUMNS}, UNIQUE (id, lang, isn_dt))"), "no unique key on (id, lang)"),
        (
            &*format!("CREATE TABLE alarm ({COLUMNS}); CREATE UNIQUE INDEX part ON alarm (id, lang) WHERE lang = 'ko'"),
            "no unique key",
        ),
        (&*format!("CREATE TABLE real ({COLUMNS}); CREATE VIEW alarm AS SELECT * FROM real"), "alarm is a view"),
        ("CREATE VIRTUAL TABLE alarm USING fts5 (id, lang, message)", "alarm is a virtual"),
    ] {
        let database = Database::new(table);
        let before = fs::read(&database.options.path).unwrap();
        let refused = Store::new(database.options.clone()).open().unwrap_err();
        assert!(refused.cause.contains(said) && refused.fault == Fault::Unusable, "{table}: {refused}");
        assert_eq!(fs::read(&database.options.path).unwrap(), before, "{table}");
    }
}

#[test]
fn a_hub_that_runs_makes_no_table_where_there_is_none() {
    let database = Database::new("CREATE TABLE other (a)");
    let running = Options { make: Make::Nothing, ..database.options.clone() };
    let refused = Store::new(running).open().unwrap_err();
    assert!(refused.cause.contains("no table alarm"), "{refused}");
    assert_eq!(stored(&database.other()).len(), 1);
}

#[test]
fn an_adopted_table_keeps_its_shape_its_journal_and_its_writers() {
    for (table, journal) in [
        (format!("CREATE TABLE alarm ({COLUMNS}, PRIMARY KEY (id, lang))"), "delete"),
        (format!("CREATE TABLE alarm ({COLUMNS}, PRIMARY KEY (id, lang)) WITHOUT ROWID"), "wal"),
        ("CREATE TABLE alarm (id INTEGER, lang TEXT, message TEXT, isn_dt TEXT, UNIQUE (lang, id))".to_owned(), "wal"),
        ("CREATE TABLE alarm (id INTEGER PRIMARY KEY, lang TEXT, message TEXT, isn_dt TEXT)".to_owned(), "truncate"),
        ("CREATE TABLE alarm (ID, Lang, Message, Isn_Dt, PRIMARY KEY (id, lang))".to_owned(), "delete"),
    ] {
        let rows = "INSERT INTO alarm VALUES (7, 'ko', 'history', NULL), (8, 'ko', 'history', NULL);";
        let database = Database::new(&format!("PRAGMA journal_mode = {journal}; {table}; {rows}"));
        let other = database.other();
        let mut store = database.store();
        let head = store.open().unwrap();
        assert_eq!(stored(&other)[0], table);
        let now: String = other.query_row("PRAGMA journal_mode", [], |row| row.get(0)).unwrap();
        assert!(now == journal || (journal == "truncate" && now == "delete"), "{now}"); // it is a connection's own
        other.execute("INSERT INTO alarm VALUES (9, 'ko', 'news', 'then')", []).unwrap();
        let Look::News(batch) = store.look(head, None).unwrap() else { panic!("{table}: there is news") };
        assert_eq!((&*batch.changes[0].id, batch.changes.len()), ("9", 1), "{table}");
        let history = store.history("tiaz", None, 50).unwrap();
        let ids: Vec<&str> = history.alarms.iter().map(|alarm| &*alarm.id).collect();
        assert_eq!((ids, history.unread), (vec!["9", "8", "7"], 1), "{table}");
        let page = store.page(actors::alarm::Position { seq: 0, ..head }, None, None).unwrap();
        assert!(!page.expired, "what was there before the log is no gap");
    }
}

#[test]
fn a_number_and_its_text_are_one_alarm() {
    let database = Database::new("CREATE TABLE alarm (id, lang, message, PRIMARY KEY (id, lang))");
    let mut store = database.store();
    let head = store.open().unwrap();
    database.other().execute_batch("INSERT INTO alarm VALUES (5, 'ko', 'x'), ('5', 'ja', 'y')").unwrap();
    let Look::News(batch) = store.look(head, None).unwrap() else { panic!("there is news") };
    assert_eq!((batch.changes.len(), batch.changes[0].after.len()), (1, 2));
}

#[test]
fn whatever_is_stored_in_the_file_an_older_sqlite_can_read() {
    let database = Database::new("");
    let _store = database.store();
    // What 3.24 has, of what is used: a word that is followed by a parenthesis is a function or one of these.
    let known: HashSet<&str> = [
        "cast",
        "max",
        "substr",
        "julianday",
        "datetime",
        "exists",
        "key",
        "default",
        "select",
        "values",
        "conflict",
        "last_insert_rowid",
    ]
    .into();
    let newer = ["STRICT", "GENERATED", " AS (", "RETURNING", "OVER (", "DROP COLUMN", "UPDATE FROM", "->", "NULLS "];
    for sql in stored(&database.other()) {
        for word in newer {
            assert!(!sql.contains(word), "{word}: {sql}");
        }
        let code: String = sql.lines().map(|line| line.split("--").next().unwrap_or_default()).collect();
        for (at, _) in code.match_indices('(') {
            let before = code[..at].trim_end_matches(' ');
            let is_call = before.len() == at;
            let word = before.rsplit(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_').next().unwrap();
            assert!(!is_call || word.is_empty() || known.contains(&*word.to_lowercase()), "{word}: {sql}");
        }
    }
}

#[test]
fn a_large_table_gets_its_places_while_others_write() {
    let rows = 12_000;
    let database = Database::new(&format!(
        "PRAGMA journal_mode = wal; CREATE TABLE alarm ({COLUMNS}, PRIMARY KEY (id, lang));
         WITH RECURSIVE n (i) AS (VALUES (0) UNION ALL SELECT i + 1 FROM n WHERE i < {rows} - 1)
         INSERT INTO alarm SELECT i / 2, substr('koja', i % 2 * 2 + 1, 2), 'x', NULL FROM n"
    ));
    let mut store = Store::new(database.options.clone());
    let other = database.other();
    let head = store.open().unwrap(); // what is written before is history
    let (stop, stopped) = sync_channel::<()>(1);
    let writer = thread::spawn(move || {
        other.busy_timeout(Duration::from_secs(1)).unwrap();
        let mut written = 0;
        while stopped.try_recv() == Err(TryRecvError::Empty) {
            // One that was there and is replaced, before or after it has its place, and a new one.
            let sql = "INSERT OR REPLACE INTO alarm VALUES (?1, ?2, 'again', NULL)";
            for lang in ["ko", "ja"] {
                other.execute(sql, rusqlite::params![written % 6_000, lang]).unwrap();
            }
            other.execute(sql, rusqlite::params![100_000 + written, "ko"]).unwrap();
            written += 1;
        }
        written
    });
    let other = database.other();
    let count = |sql: &str| other.query_row(sql, [], |row| row.get::<_, usize>(0)).unwrap();
    let (mut at, mut round, mut news) = (head, None, HashSet::new());
    let mut read = |store: &mut Store| {
        while let Look::News(batch) = store.look(at, round).unwrap() {
            at.seq = batch.to;
            round = Some(batch.round).filter(|round| batch.to < round.end);
            let arrived =
                |change: &&Change| change.meanings_for("tiaz").any(|meaning| matches!(meaning, Meaning::Arrived(_)));
            news.extend(batch.changes.iter().filter(arrived).map(|change| change.id.clone()));
        }
    };
    while count("SELECT count(*) FROM hub_meta WHERE key LIKE 'chore%'") > 0 {
        read(&mut store);
        thread::sleep(Duration::from_millis(1));
    }
    drop(stop);
    let written: usize = writer.join().expect("no commit failed because of the hub");
    read(&mut store);
    assert!(news.iter().all(|id| id.len() == 6), "what was there is history, replaced or not");
    assert_eq!(news.len(), written);
    assert_eq!(count("SELECT count(*) FROM alarm_index"), rows / 2 + written);
    assert_eq!(count("SELECT count(*) FROM alarm_index WHERE seq <= 12000"), rows / 2);
}
