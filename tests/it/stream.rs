//! INSERT to bytes: what a reader is told over one connection, and over the next one.

use super::*;

#[test]
fn an_insert_of_another_process_reaches_each_reader_in_its_language() {
    let directory = TempDir::new().unwrap();
    let hub = Hub::start(directory.path(), &[]);
    let headers = ["en-US", "ja-JP,ja;q=0.9", "ko-KR"].map(|lang| format!("Accept-Language: {lang}\r\n"));
    let mut streams: Vec<Stream> =
        headers.iter().zip(["a", "b", "c"]).map(|(headers, user)| hub.connect(user, headers)).collect();
    for stream in &mut streams {
        assert_eq!(stream.event().0, "hello");
    }
    write(directory.path(), THREE);
    let langs = streams.iter_mut().map(|stream| {
        let (event, data) = stream.event();
        assert_eq!((event.as_str(), &data["id"], &data["fallback"]), ("alarm", &"5b48ff24".into(), &false.into()));
        data["lang"].as_str().unwrap().to_owned()
    });
    assert_eq!(langs.collect::<Vec<_>>(), ["en-US", "ja", "ko"]);
}

#[test]
fn a_new_opening_ends_the_older_connection_for_good() {
    let directory = TempDir::new().unwrap();
    let hub = Hub::start(directory.path(), &[]);
    let mut older = hub.connect("tiaz", "Accept: text/event-stream\r\n");
    assert_eq!(older.event().0, "hello");
    let mut newer = hub.connect("tiaz", "Accept: text/event-stream\r\n");
    assert_eq!(newer.event().0, "hello");
    let (event, data) = older.event();
    assert_eq!((event.as_str(), &data["reason"], &data["reconnect"]), ("bye", &"superseded".into(), &false.into()));
    let resumed = hub.connect("tiaz", &format!("Accept: text/event-stream\r\nLast-Event-ID: {}\r\n", older.id));
    assert!(resumed.status.contains(" 204 "), "{}", resumed.status);
    write(directory.path(), THREE);
    assert_eq!(newer.event().0, "alarm");
}

#[test]
fn what_was_missed_over_a_kill_of_the_hub_comes_in_the_language_of_the_resume() {
    let directory = TempDir::new().unwrap();
    let hub = Hub::start(directory.path(), &[]);
    let mut stream = hub.connect("tiaz", "Accept-Language: ko\r\n");
    assert_eq!(stream.event().0, "hello");
    drop(hub); // kill -9
    write(directory.path(), THREE);
    write(directory.path(), "INSERT INTO alarm (id, lang, message, user_id) VALUES ('2', 'ko', 'x', 'other')");
    write(directory.path(), "INSERT INTO alarm (id, lang, message, user_id) VALUES ('3', 'ko', 'x', 'tiaz')");
    let hub = Hub::start(directory.path(), &["--db", "alarms.db"]);
    let mut stream = hub.connect("tiaz", &format!("Accept-Language: ja\r\nLast-Event-ID: {}\r\n", stream.id));
    assert_eq!(stream.event().1["resumed"], true);
    assert_eq!(stream.event().1["message"], "予約に成功しました");
    assert_eq!(stream.event().1["id"], "3");
    write(directory.path(), "UPDATE alarm SET message = 'new' WHERE id = '3'; DELETE FROM alarm WHERE id = '5b48ff24'");
    let told: Vec<String> = [stream.event(), stream.event()].map(|(event, _)| event).into();
    assert_eq!(told, ["updated", "cleared"]);
}

#[test]
fn a_table_of_four_columns_is_adopted_and_its_rows_are_history() {
    let directory = TempDir::new().unwrap();
    write(
        directory.path(),
        "CREATE TABLE alarm (id TEXT, lang TEXT, message TEXT, isn_dt TEXT, PRIMARY KEY (id, lang));
         INSERT INTO alarm VALUES ('1', 'ko', '하나', '2023-12-01 11:10:04'), ('2', 'ko', '둘', NULL)",
    );
    let hub = Hub::start(directory.path(), &["--db", "alarms.db"]);
    let mut fresh = hub.connect("a", "Accept-Language: ko\r\n");
    assert_eq!(fresh.event().0, "hello");
    let mut history = hub.connect("b?history=1", "Accept-Language: ko\r\n");
    assert_eq!(history.event().0, "hello");
    assert_eq!(history.event().1["id"], "2");
    write(directory.path(), "INSERT INTO alarm VALUES ('3', 'ko', '셋', '2023-12-01 11:10:04')");
    assert_eq!(fresh.event().1["id"], "3");
    assert_eq!(history.event().1["id"], "3");
}

#[test]
fn a_page_of_another_site_does_not_touch_the_stream() {
    let directory = TempDir::new().unwrap();
    let hub = Hub::start(directory.path(), &[]);
    let mut stream = hub.connect("alice", "Accept: text/event-stream\r\n");
    assert_eq!(stream.event().0, "hello");
    let image = hub.connect("alice", "Sec-Fetch-Site: cross-site\r\nSec-Fetch-Dest: image\r\nAccept: image/*,*/*\r\n");
    assert!(image.status.contains(" 403 "), "{}", image.status);
    assert!(hub.connect("alice", "").status.contains(" 406 "));
    assert!(hub.connect("%2e%2e", "").status.contains(" 400 "));
    write(directory.path(), THREE);
    assert_eq!(stream.event().0, "alarm");
}

#[test]
fn a_replaced_row_is_an_update_and_one_that_reads_the_same_is_nothing() {
    let directory = TempDir::new().unwrap();
    let hub = Hub::start(directory.path(), &[]);
    let mut stream = hub.connect("tiaz", "Accept-Language: ko\r\n");
    assert_eq!(stream.event().0, "hello");
    let row = |verb: &str, message: &str, user: &str| {
        let sql = "INTO alarm (id, lang, message, isn_dt, user_id) VALUES";
        write(directory.path(), &format!("INSERT OR {verb} {sql} ('1', 'ko', '{message}', 'now', {user})"));
    };
    row("REPLACE", "one", "NULL");
    assert_eq!(stream.event().0, "alarm");
    row("REPLACE", "one", "NULL");
    row("IGNORE", "other", "NULL");
    row("REPLACE", "two", "NULL");
    let (event, data) = stream.event();
    assert_eq!((event.as_str(), &data["message"]), ("updated", &"two".into()));
    row("REPLACE", "two", "'somebody'");
    assert_eq!(stream.event(), ("cleared".to_owned(), serde_json::json!({"id": "1"})));
    row("REPLACE", "three", "'tiaz'");
    let (event, data) = stream.event();
    assert_eq!((event.as_str(), &data["message"]), ("alarm", &"three".into()));
}
