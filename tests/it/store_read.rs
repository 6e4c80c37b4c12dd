//! What is read: odd rows, large ones, and what the log no longer tells.

use std::{sync::Arc, time::Duration};

use actors::{
    alarm::{Archive, Look, Position, Source, Translation},
    change::{Change, Entry, Meaning, rows_at},
};
use alarm_hub::store::{Options, Store};
use rusqlite::params;

use crate::store::Database;

#[test]
fn a_pruned_log_is_a_gap_for_whom_it_concerns_and_what_stands_is_told_all_the_same() {
    let database = Database::new("");
    let mut store = Store::new(Options { retention: Duration::ZERO, ..database.options.clone() });
    let start = store.open().unwrap();
    let other = database.other();
    other
        .execute_batch(
            "INSERT INTO alarm (id, lang, message) VALUES ('1', 'ko', 'x'), ('2', 'ko', 'y'), ('2', 'ja', 'z')",
        )
        .unwrap();
    std::thread::sleep(Duration::from_millis(2)); // so that they are older than nothing
    assert!(store.prune().unwrap());
    assert!(!store.prune().unwrap(), "there is no more");
    other.execute("DELETE FROM alarm WHERE id = '1'", []).unwrap();
    other.execute("INSERT INTO alarm (id, lang, message) VALUES ('3', 'ko', 'w')", []).unwrap();
    let page = store.page(start, None, None).unwrap();
    assert!(page.expired);
    let rows: Vec<(&str, usize)> = page.batch.changes.iter().map(|change| (&*change.id, change.after.len())).collect();
    assert_eq!((rows, page.batch.to), (vec![("2", 2)], 3));
    let page = store.page(Position { seq: 3, ..start }, None, None).unwrap();
    assert_eq!((page.expired, page.batch.changes.len()), (false, 2));
    let rows: u32 = other.query_row("SELECT count(*) FROM alarm", [], |row| row.get(0)).unwrap();
    assert_eq!(rows, 3, "the table is never pruned");
}

#[test]
fn a_log_that_somebody_cut_is_a_gap_as_well() {
    let database = Database::new(
        "CREATE TABLE alarm (id, lang, message, PRIMARY KEY (id, lang));
                                  INSERT INTO alarm VALUES ('0', 'ko', 'history')",
    );
    let mut store = database.store();
    let head = store.open().unwrap();
    let other = database.other();
    other.execute_batch("INSERT INTO alarm VALUES ('1', 'ko', 'x'), ('2', 'ko', 'y'), ('3', 'ko', 'z')").unwrap();
    let expired = |store: &mut Store, seq| store.page(Position { seq, ..head }, None, None).unwrap().expired;
    assert_eq!([0, 1, 2].map(|seq| expired(&mut store, seq)), [false; 3], "nothing is missing");
    other.execute("DELETE FROM alarm_log WHERE seq <= 3", []).unwrap();
    assert_eq!([0, 1, 2, 3].map(|seq| expired(&mut store, seq)), [true, true, true, false]);
    other.execute("DELETE FROM alarm_log", []).unwrap();
    assert!(expired(&mut store, 3));
}

#[test]
fn an_id_of_any_kind_names_an_alarm_that_is_told_and_cleared() {
    for table in ["", "CREATE TABLE alarm (id, lang, message, UNIQUE (id, lang))"] {
        let database = Database::new(table);
        let mut store = database.store();
        let mut at = store.open().unwrap();
        let other = database.other();
        let insert =
            "INSERT INTO alarm (id, lang, message) VALUES (x'62797465', 'ko', 'x'), (1.5, 'ko', 'x'), (7, 'ko', 'x'),
                      ('07', 'ko', 'x'), ('7.0', 'ko', 'x'), ('text', 'ko', 'x')";
        for (write, is_there) in [(insert, true), ("DELETE FROM alarm", false)] {
            other.execute_batch(write).unwrap();
            let Look::News(batch) = store.look(at, None).unwrap() else { panic!("there is news") };
            at.seq = batch.to;
            let mut told: Vec<(&str, usize)> =
                batch.changes.iter().map(|change| (&*change.id, change.after.len())).collect();
            told.sort_unstable();
            let rows = usize::from(is_there);
            assert_eq!(told, ["07", "1.5", "7", "7.0", "byte", "text"].map(|id| (id, rows)), "{table}: {write}");
        }
    }
}

#[test]
fn an_odd_row_is_degraded_alone() {
    let database = Database::new("");
    let mut store = database.store();
    let head = store.open().unwrap();
    let other = database.other();
    let insert = "INSERT INTO alarm (id, lang, message) VALUES (?1, ?2, ?3)";
    other.execute("INSERT INTO alarm (id, lang, message) VALUES ('blob', 'ko', x'61ff62')", []).unwrap();
    other.execute("INSERT INTO alarm (id, lang, message) VALUES ('utf8', 'ko', CAST(x'61ff62' AS TEXT))", []).unwrap();
    other.execute("INSERT INTO alarm (id, lang, message) VALUES (CAST(x'69ff' AS TEXT), 'ko', 'id')", []).unwrap();
    other
        .execute("INSERT INTO alarm (id, lang, message) VALUES (NULL, 'ko', 'nobody''s'), (NULL, NULL, NULL)", [])
        .unwrap();
    other.execute(insert, params!["null", "ko", None::<&str>]).unwrap();
    other.execute(insert, params!["number", "ko", 5]).unwrap();
    other.execute(insert, params!["huge", "ko", "가".repeat(4_000_000)]).unwrap();
    for (id, lang) in [("lang null", None), ("lang empty", Some("")), ("emoji", Some("😀")), ("swapped", Some("us_EN"))]
    {
        other.execute(insert, params![id, lang, "x"]).unwrap();
    }
    other.execute(insert, params!["spaces", " ko ", "x"]).unwrap();
    other.execute(insert, params!["script", "zh-Hant-TW", "x"]).unwrap();
    other.execute(insert, params!["fine", "ko", "x"]).unwrap();
    let Look::News(batch) = store.look(head, None).unwrap() else { panic!("there is news") };
    let body = |id: &str| {
        let change = batch.changes.iter().find(|change| &*change.id == id).unwrap_or_else(|| panic!("{id} is told"));
        let body = String::from_utf8(change.after[0].body.to_vec()).unwrap() + "}";
        serde_json::from_str::<serde_json::Value>(&body).unwrap()
    };
    assert_eq!(body("blob")["message"], "a\u{fffd}b");
    assert_eq!(body("utf8")["message"], "a\u{fffd}b");
    assert_eq!(body("i\u{fffd}")["message"], "id");
    assert_eq!(body("null")["message"], "");
    assert_eq!(body("number")["message"], "5");
    let huge = body("huge");
    assert_eq!((huge["message"].as_str().unwrap().len(), &huge["truncated"]), (65_535, &true.into()));
    for (id, lang) in [("lang null", ""), ("lang empty", ""), ("emoji", "😀"), ("swapped", "en-US"), ("spaces", "ko")]
    {
        assert_eq!(body(id)["lang"], lang, "{id}");
    }
    assert_eq!((&body("script")["lang"], &body("fine")["truncated"]), (&"zh-Hant-TW".into(), &serde_json::Value::Null));
    assert_eq!((batch.changes.len(), store.odd_rows()), (13, 9), "also the two that are nobody's are counted");
    // What it was before is cut at the same place, so a change elsewhere in the row is no change of the text.
    other.execute("UPDATE alarm SET user_id = NULL, isn_dt = isn_dt || '' WHERE id = 'huge'", []).unwrap();
    assert!(matches!(store.look(Position { seq: batch.to, ..head }, None).unwrap(), Look::Nothing));
}

#[test]
fn a_page_is_bounded_in_bytes_however_large_its_texts_are() {
    let database = Database::new("");
    let mut store = database.store();
    let head = store.open().unwrap();
    database
        .other()
        .execute_batch(
            "WITH RECURSIVE n (i) AS (VALUES (1) UNION ALL SELECT i + 1 FROM n WHERE i < 400)
         INSERT INTO alarm (id, lang, message) SELECT i, 'ko', printf('%.65000c', 'x') FROM n",
        )
        .unwrap();
    let (mut at, mut round, mut alarms, mut pages) = (head, None, 0, 0);
    while let Look::News(batch) = store.look(at, round).unwrap() {
        let bytes: usize = batch.changes.iter().flat_map(|change| &change.after).map(|row| row.body.len()).sum();
        assert!(bytes < 640 << 10, "{bytes}");
        at.seq = batch.to;
        round = Some(batch.round).filter(|round| batch.to < round.end);
        alarms += batch.changes.len();
        pages += 1;
    }
    assert_eq!(alarms, 400);
    assert!(pages > 2);
}

#[test]
fn an_alarm_that_came_and_went_a_thousand_times_is_told_to_each_user_where_that_user_saw_it_come_and_go() {
    let database = Database::new("");
    let mut store = database.store();
    let head = store.open().unwrap();
    let other = database.other();
    let flap = |lang: &str, user: &str, times: u32| {
        for _ in 0..times {
            let put = "INSERT INTO alarm (id, lang, message, user_id) VALUES ('hot', ?1, 'x', ?2)";
            other.execute(put, params![lang, (!user.is_empty()).then_some(user)]).unwrap();
            other.execute("DELETE FROM alarm WHERE id = 'hot' AND lang = ?1", [lang]).unwrap();
        }
    };
    other.execute_batch("PRAGMA synchronous = off; BEGIN").unwrap();
    flap("ko", "", 100);
    flap("ja", "tiaz", 150);
    other.execute_batch("INSERT INTO alarm (id, lang, message, user_id) VALUES ('hot', 'fr', 'x', 'tiaz')").unwrap();
    flap("en", "anna", 150);
    other.execute_batch("UPDATE alarm SET user_id = 'anna' WHERE lang = 'fr'").unwrap();
    flap("en", "tiaz", 150);
    flap("ko", "", 100);
    other.execute_batch("COMMIT").unwrap();
    let mut log = other.prepare("SELECT seq, existed, lang, user_id FROM alarm_log ORDER BY seq").unwrap();
    let entry = |row: &rusqlite::Row<'_>| {
        let (existed, lang): (bool, String) = (row.get(1)?, row.get(2)?);
        let (lang, audience): (Arc<str>, Option<String>) = (lang.into(), row.get(3)?);
        let before = || Translation {
            lang: lang.clone(),
            tag: None,
            audience: audience.map(Into::into),
            body: "x".to_owned().into(),
        };
        Ok(Entry { seq: row.get(0)?, before: existed.then(before), lang })
    };
    let entries: Vec<Entry> = log.query_map([], entry).unwrap().map(Result::unwrap).collect();
    for seq in (0..entries.len() as u64).step_by(7) {
        let page = store.page(Position { seq, ..head }, None, None).unwrap();
        let few = &page.batch.changes[0];
        let all = Change::new("hot".into(), entries[seq as usize..].to_vec(), few.after.clone());
        for user in ["tiaz", "anna", "else"] {
            let told: Vec<Meaning> = few.meanings_for(user).collect();
            assert_eq!(told, all.meanings_for(user).collect::<Vec<_>>(), "{user} after {seq}");
        }
    }
}

#[test]
fn an_alarm_that_changed_fifty_thousand_times_costs_each_page_little_and_reads_as_it_did_at_every_place() {
    let database = Database::new("");
    let mut store = database.store();
    let head = store.open().unwrap();
    let other = database.other();
    let count = "WITH RECURSIVE n (i) AS (VALUES (1) UNION ALL SELECT i + 1 FROM n WHERE i < 25000)";
    other
        .execute_batch(&format!(
            "PRAGMA synchronous = off; BEGIN;
             INSERT INTO alarm (id, lang, message, user_id) VALUES ('hot', 'ko', 'first', NULL), ('1', 'ko', 'x', NULL);
             {count} INSERT OR REPLACE INTO alarm (id, lang, message) SELECT 'hot', 'ko', i FROM n;
             UPDATE alarm SET user_id = 'tiaz' WHERE id = 'hot';
             UPDATE alarm SET user_id = NULL WHERE id = 'hot';
             INSERT INTO alarm (id, lang, message) VALUES ('2', 'ko', 'x');
             {count} INSERT OR REPLACE INTO alarm (id, lang, message) SELECT 'hot', 'ko', -i FROM n; COMMIT"
        ))
        .unwrap();
    let text = |rows: &[actors::alarm::Translation]| {
        let body = String::from_utf8(rows[0].body.to_vec()).unwrap() + "}";
        serde_json::from_str::<serde_json::Value>(&body).unwrap()["message"].as_str().unwrap().to_owned()
    };
    let (mut at, mut round, mut told, mut pages) = (head, None, Vec::new(), 0);
    while let Look::News(batch) = store.look(at, round).unwrap() {
        let hot = batch.changes.iter().find(|change| &*change.id == "hot").unwrap();
        assert!(hot.entries.len() < 600, "{} of them are kept", hot.entries.len());
        assert!(hot.earlier().is_none() && text(&hot.after) == "-25000");
        let here = |meaning: &Meaning| meaning.seq() > batch.from && meaning.seq() <= batch.to;
        told.extend(hot.meanings_for("other").filter(here));
        at.seq = batch.to;
        round = Some(batch.round).filter(|round| batch.to < round.end);
        pages += 1;
    }
    assert_eq!((told, pages), (vec![Meaning::Arrived(25_004)], 51), "for others it was away at 25,003 and came again");
    // From any place in it: what it was there is what the log says, and whoever was told that is told the end.
    for seq in [1, 2, 777, 25_002, 25_003, 25_004, 30_000, 50_003] {
        let page = store.page(Position { seq, ..head }, None, None).unwrap();
        let hot = page.batch.changes.iter().find(|change| &*change.id == "hot").unwrap();
        let message: String = other
            .query_row(
                "SELECT message FROM alarm_log WHERE alarm_id = 'hot' AND seq > ?1 ORDER BY seq LIMIT 1",
                [seq],
                |row| row.get(0),
            )
            .unwrap();
        assert_eq!(
            (text(&rows_at(&hot.entries, &hot.after)), text(&hot.after)),
            (message, "-25000".to_owned()),
            "{seq}"
        );
        let told: Vec<Meaning> = hot.meanings_for("other").collect();
        match seq {
            ..25_003 => assert_eq!(told, [Meaning::Left(25_003), Meaning::Arrived(25_004)], "{seq}"),
            25_003 => assert_eq!(told, [Meaning::Arrived(25_004)]),
            _ => assert!(matches!(told[..], [Meaning::Stayed(_)]), "{seq}: {told:?}"),
        }
    }
    // And of two rounds: the rows as they were between them.
    let page = store.page(Position { seq: 2, ..head }, Some(20_000), None).unwrap();
    assert_eq!(text(&page.batch.changes[0].after), "19998");
}
