//! What happens to databases: triggers that are gone, files that are replaced, damaged or held. Never silently old,
//! never dead, and healed alone.

use super::*;

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
