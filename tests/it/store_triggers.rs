//! What the triggers tell of statements that change more than they say: REPLACE, IGNORE, another key.

use actors::{
    alarm::{Archive, Look, Position, Source},
    change::{Meaning, rows_at},
};
use alarm_hub::store::Store;
use rusqlite::Connection;

use crate::store::Database;

/// A database and another program that writes to it, with recursive_triggers on or off.
struct Written {
    _database: Database,
    store: Store,
    other: Connection,
    at: Position,
}

impl Written {
    fn new(table: &str, recursive: bool) -> Self {
        let database = Database::new(table);
        let mut store = database.store();
        let other = database.other();
        other.pragma_update(None, "recursive_triggers", recursive).unwrap();
        let at = store.open().unwrap();
        Self { _database: database, store, other, at }
    }

    /// What a reader that knows all that was written before is told of this.
    fn told(&mut self, sql: &str) -> Vec<(String, &'static str)> {
        self.other.execute_batch(sql).unwrap();
        let mut told = Vec::new();
        if let Look::News(batch) = self.store.look(self.at, None).unwrap() {
            self.at.seq = batch.to;
            for change in &batch.changes {
                told.extend(change.meanings_for("tiaz").map(|meaning| (meaning.seq(), change.id.to_string(), meaning)));
            }
        }
        told.sort_by_key(|(seq, ..)| *seq);
        let name = |meaning| match meaning {
            Meaning::Arrived(_) => "arrived",
            Meaning::Stayed(_) => "stayed",
            Meaning::Left(_) => "left",
        };
        told.into_iter().map(|(_, id, meaning)| (id, name(meaning))).collect()
    }

    /// The alarms in the order of their places.
    fn places(&self) -> Vec<String> {
        let mut places = self.other.prepare("SELECT alarm_id FROM alarm_index ORDER BY seq").unwrap();
        places.query_map([], |row| row.get(0)).unwrap().collect::<Result<_, _>>().unwrap()
    }
}

fn insert(rows: &str) -> String {
    format!("INSERT INTO alarm (id, lang, message) VALUES {rows}")
}

#[test]
fn a_row_that_gets_the_key_of_another_ends_the_one_and_changes_the_other() {
    for recursive in [false, true] {
        let mut written = Written::new("", recursive);
        written.told(&insert("('1', 'ko', 'one'), ('2', 'ko', 'two'), ('2', 'ja', 'two'), ('3', 'ko', 'three')"));
        let told = written.told("UPDATE OR REPLACE alarm SET id = '3' WHERE id = '1'");
        assert_eq!(told, [("3".to_owned(), "stayed"), ("1".to_owned(), "left")], "{recursive}");
        let before = written.store.page(Position { seq: 4, ..written.at }, None, None).unwrap();
        let three = before.batch.changes.iter().find(|change| &*change.id == "3").unwrap();
        let text = |rows: &[actors::alarm::Translation]| String::from_utf8(rows[0].body.to_vec()).unwrap();
        assert!(text(&rows_at(&three.entries, &three.after)).contains("three") && text(&three.after).contains("one"));
        assert_eq!(
            (rows_at(&three.entries, &three.after).len(), three.after.len(), written.places()),
            (1, 1, vec!["2".into(), "3".into()])
        );
        assert_eq!(
            written.told("UPDATE OR REPLACE alarm SET lang = 'ko' WHERE id = '2' AND lang = 'ja'"),
            [("2".to_owned(), "stayed")]
        );
        let ignored = written.told("UPDATE OR IGNORE alarm SET id = '3' WHERE id = '2'");
        assert_eq!(ignored, [("3".to_owned(), "stayed")], "it is there as it was");
        written.other.execute_batch("UPDATE alarm SET id = '3' WHERE id = '2'").expect_err("it is there");
        assert_eq!(written.told(""), []);
        let last = written.told("DELETE FROM alarm WHERE id = '3'; UPDATE alarm SET id = '3' WHERE id = '2'");
        assert_eq!(last, [("3", "left"), ("3", "arrived"), ("2", "left")].map(|(id, what)| (id.to_owned(), what)));
        assert_eq!(written.places(), ["3"]);
    }
}

#[test]
fn a_deletion_after_an_insert_that_changed_nothing_is_a_deletion() {
    for (recursive, again) in [false, true].into_iter().flat_map(|recursive| {
        [
            "INSERT OR IGNORE INTO alarm (id, lang, message) VALUES ('1', 'ko', 'other')",
            "INSERT INTO alarm (id, lang, message) VALUES ('1', 'ko', 'other') ON CONFLICT DO NOTHING",
            "INSERT OR REPLACE INTO alarm (id, lang, message) VALUES ('1', 'ko', 'one')",
        ]
        .map(|again| (recursive, again))
    }) {
        let mut written = Written::new("", recursive);
        written.told(&insert("('1', 'ko', 'one'), ('2', 'ko', 'two')"));
        assert_eq!(written.told(again), [("1".to_owned(), "stayed")]);
        let acknowledged = "INSERT INTO alarm_ack (user_id, alarm_id, at) VALUES ('tiaz', '1', 0)";
        written.other.execute_batch(acknowledged).unwrap();
        assert_eq!(written.told("DELETE FROM alarm WHERE id = '1'"), [("1".to_owned(), "left")], "{again}");
        assert_eq!(written.places(), ["2"], "{again}");
        assert_eq!(written.told(&insert("('1', 'ko', 'one')")), [("1".to_owned(), "arrived")], "{again}");
        assert_eq!(written.places(), ["2", "1"], "{again}");
        let history = written.store.history("tiaz", None, 9).unwrap();
        assert!(!history.alarms[0].acknowledged, "what was deleted and comes again is new");
        // All at once, for whoever was away meanwhile.
        let page = written.store.page(Position { seq: 2, ..written.at }, None, None).unwrap();
        let meanings: Vec<_> = page.batch.changes[0].meanings_for("tiaz").collect();
        assert!(matches!(meanings[..], [Meaning::Left(_), Meaning::Arrived(_)]), "{again}: {meanings:?}");
    }
}

#[test]
fn a_replaced_row_keeps_the_place_of_its_alarm_and_is_never_away() {
    for recursive in [false, true] {
        let mut written = Written::new("", recursive);
        written.told(&insert("('1', 'ko', 'one'), ('2', 'ko', 'two')"));
        let replaced = "INSERT OR REPLACE INTO alarm (id, lang, message) VALUES ('1', 'ko', 'new'), ('2', 'ko', 'new')";
        assert_eq!(written.told(replaced), [("1".to_owned(), "stayed"), ("2".to_owned(), "stayed")], "{recursive}");
        assert_eq!(written.places(), ["1", "2"]);
    }
}

#[test]
fn where_an_alarm_has_one_row_another_language_replaces_it_and_nobody_keeps_the_old_one() {
    for recursive in [false, true] {
        let table = "CREATE TABLE alarm (id INTEGER PRIMARY KEY, lang TEXT, message TEXT)";
        let mut written = Written::new(table, recursive);
        written.told(&insert("(1, 'ko', 'one'), (2, 'ko', 'two')"));
        let told = written.told("INSERT OR REPLACE INTO alarm VALUES (1, 'ja', 'one')");
        assert_eq!(told, [("1".to_owned(), "left"), ("1".to_owned(), "arrived")], "{recursive}");
        assert_eq!(written.told("UPDATE alarm SET lang = 'ko' WHERE id = 1"), [("1".to_owned(), "stayed")]);
        let told = written.told("UPDATE OR REPLACE alarm SET id = 1 WHERE id = 2");
        assert_eq!(told, [("1".to_owned(), "stayed"), ("2".to_owned(), "left")], "{recursive}");
        assert_eq!(written.places(), ["1"]);
    }
}

#[test]
fn what_a_statement_did_before_it_failed_is_told() {
    let mut written = Written::new("", false);
    let fails = "INSERT OR FAIL INTO alarm (id, lang, message) VALUES ('1', 'ko', 'one'), ('1', 'ko', 'two')";
    written.other.execute_batch(fails).expect_err("the second row has the key of the first");
    assert_eq!(written.told(""), [("1".to_owned(), "arrived")]);
}

#[test]
fn more_rows_of_an_alarm_without_a_language_are_no_second_alarm() {
    for recursive in [false, true] {
        let mut written = Written::new("", recursive); // no key keeps them apart: NULL is equal to nothing
        for (sql, told) in [
            (insert("('1', NULL, 'a')").as_str(), vec![("1", "arrived")]),
            (&insert("('1', NULL, 'b')"), vec![("1", "stayed")]),
            (&insert("('1', NULL, 'c'), ('1', 'ko', 'd')"), vec![("1", "stayed")]),
            ("UPDATE alarm SET lang = NULL WHERE lang = 'ko'", vec![("1", "stayed")]),
            ("DELETE FROM alarm WHERE message = 'a'", vec![("1", "stayed")]),
            ("DELETE FROM alarm", vec![("1", "left")]),
            (&insert("('1', NULL, 'e')"), vec![("1", "arrived")]),
        ] {
            let told: Vec<_> = told.into_iter().map(|(id, what)| (id.to_owned(), what)).collect();
            assert_eq!(written.told(sql), told, "{sql}");
        }
    }
}
