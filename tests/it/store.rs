//! The store against real files: what the hub writes, and what it tells of the past.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use actors::{
    alarm::{Archive, NewAlarm, Position, Refusal, Source, Write, Written},
    language::Aliases,
};
use alarm_hub::store::{Make, Options, Store};
use rusqlite::Connection;
use tempfile::TempDir;

/// A file, the hub's way to it and another program's.
pub struct Database {
    _folder: TempDir,
    pub options: Options,
}

impl Database {
    /// A file in which another program made this table; without one, the hub makes its own.
    pub fn new(table: &str) -> Self {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("alarms.db");
        let options =
            Options { path, make: Make::File, aliases: Aliases::default(), retention: Duration::from_secs(60) };
        if !table.is_empty() {
            Connection::open(&options.path).unwrap().execute_batch(table).unwrap();
        }
        Self { _folder: folder, options }
    }

    pub fn store(&self) -> Store {
        let mut store = Store::new(self.options.clone());
        store.open().unwrap();
        store
    }

    /// Another program's connection.
    pub fn other(&self) -> Connection {
        let connection = Connection::open(&self.options.path).unwrap();
        connection.busy_timeout(Duration::from_secs(10)).unwrap();
        connection
    }
}

const FOUR_COLUMNS: &str =
    "CREATE TABLE alarm (id INTEGER, lang TEXT, message TEXT, isn_dt TEXT, PRIMARY KEY (id, lang));";

fn alarm(id: &str, messages: &[(&str, &str)]) -> NewAlarm {
    let messages = messages.iter().map(|(lang, text)| ((*lang).to_owned(), (*text).to_owned())).collect();
    NewAlarm { id: id.to_owned(), user: None, isn_dt: None, messages }
}

fn write(store: &mut dyn Archive, write: Write) -> Result<Written, Refusal> {
    store.write(vec![write]).pop().expect("one answer to one write")
}

/// The ids of a user's history, newest first, and how many are unread.
fn history(store: &mut Store, user: &str) -> (Vec<String>, u32) {
    let history = store.history(user, None, 50).unwrap();
    (history.alarms.iter().map(|alarm| alarm.id.to_string()).collect(), history.unread)
}

#[test]
fn the_same_alarm_again_is_unchanged_and_other_content_is_a_conflict_that_stops_no_other_write() {
    let database = Database::new("");
    let mut store = database.store();
    let first = alarm("1", &[("ko", "하나"), ("en-US", "one")]);
    let answers = store.write(vec![
        Write::Publish(vec![first.clone()]),
        Write::Publish(vec![first.clone()]),
        Write::Publish(vec![alarm("2", &[("ko", "둘")]), alarm("1", &[("ko", "other")])]),
        Write::Publish(vec![alarm("3", &[("ko", "셋")])]),
    ]);
    let [Ok(Written::Done(one)), Ok(Written::Unchanged(same)), Err(Refusal::Conflict(why)), Ok(Written::Done(three))] =
        &answers[..]
    else {
        panic!("{answers:?}");
    };
    assert_eq!((one, one.seq + 1), (same, three.seq));
    assert!(why.contains('1'), "{why}");
    assert_eq!(history(&mut store, "tiaz").0, ["3", "1"], "an array is taken as a whole or not at all");
}

#[test]
fn a_replaced_alarm_is_exactly_what_was_said_and_was_never_away() {
    let database = Database::new("");
    let mut store = database.store();
    let before = alarm("1", &[("ko", "하나"), ("ja", "一")]);
    write(&mut store, Write::Publish(vec![NewAlarm { isn_dt: Some("then".to_owned()), ..before }])).unwrap();
    let after = alarm("1", &[("ko", "둘"), ("en", "two")]);
    let Ok(Written::Done(at)) = write(&mut store, Write::Replace(after.clone())) else { panic!("it is other content") };
    assert_eq!(write(&mut store, Write::Replace(after)).unwrap(), Written::Unchanged(at));
    let rows: Vec<(String, String, String)> = database
        .other()
        .prepare("SELECT lang, message, isn_dt FROM alarm ORDER BY lang")
        .unwrap()
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
        .unwrap()
        .collect::<Result<_, _>>()
        .unwrap();
    let expected = [("en", "two", "then"), ("ko", "둘", "then")].map(|(a, b, c)| (a.into(), b.into(), c.into()));
    assert_eq!(rows, expected);
    let page = store.page(Position { seq: 2, ..at }, None, None).unwrap();
    assert_eq!(
        page.batch.changes[0].meanings_for("tiaz").collect::<Vec<_>>(),
        [actors::change::Meaning::Stayed(3)],
        "a reader is told that it changed, not that it is new"
    );
    assert!(matches!(write(&mut store, Write::Clear("1".to_owned())), Ok(Written::Done(_))));
    assert!(matches!(write(&mut store, Write::Clear("1".to_owned())), Err(Refusal::NotFound)));
}

#[test]
fn a_table_without_users_refuses_an_alarm_for_one_user_and_numbers_are_ids() {
    let database = Database::new(&format!("{FOUR_COLUMNS} INSERT INTO alarm VALUES (5, 'ko', '다섯', NULL)"));
    let mut store = database.store();
    let for_one = NewAlarm { user: Some("tiaz".to_owned()), ..alarm("6", &[("ko", "x")]) };
    let refused = write(&mut store, Write::Publish(vec![for_one]));
    assert!(matches!(refused, Err(Refusal::Impossible(why)) if why.contains("user_id")));
    assert!(matches!(write(&mut store, Write::Publish(vec![alarm("5", &[("ko", "x")])])), Err(Refusal::Conflict(_))));
    write(&mut store, Write::Publish(vec![alarm("6", &[("ko", "여섯")])])).unwrap();
    assert_eq!(history(&mut store, "tiaz"), (vec!["6".to_owned(), "5".to_owned()], 1), "what was there is not unread");
    let time: Option<String> =
        database.other().query_row("SELECT isn_dt FROM alarm WHERE id = 6", [], |row| row.get(0)).unwrap();
    assert!(time.is_some(), "an alarm has a time");
}

#[test]
fn an_alarm_is_acknowledged_by_whom_it_is_for_and_no_longer_once_it_is_another() {
    let database = Database::new("");
    let mut store = database.store();
    let mine = NewAlarm { user: Some("tiaz".to_owned()), ..alarm("1", &[("ko", "x")]) };
    write(&mut store, Write::Publish(vec![mine.clone(), alarm("2", &[("ko", "y")])])).unwrap();
    let acknowledge = |store: &mut Store, user: &str, id: &str, acknowledged| {
        write(store, Write::Acknowledge { user: user.into(), id: id.to_owned(), acknowledged })
    };
    assert!(matches!(acknowledge(&mut store, "other", "1", true), Err(Refusal::NotFound)));
    assert!(matches!(acknowledge(&mut store, "tiaz", "7", true), Err(Refusal::NotFound)));
    assert!(matches!(acknowledge(&mut store, "tiaz", "1", true), Ok(Written::Done(_))));
    assert!(matches!(acknowledge(&mut store, "tiaz", "1", true), Ok(Written::Unchanged(_))));
    let seen = store.history("tiaz", None, 50).unwrap();
    let read: Vec<bool> = seen.alarms.iter().map(|alarm| alarm.acknowledged).collect();
    assert_eq!((read, seen.unread), (vec![false, true], 1));
    assert_eq!(history(&mut store, "other"), (vec!["2".to_owned()], 1), "an alarm for one user is never another's");
    write(&mut store, Write::Clear("1".to_owned())).unwrap();
    write(&mut store, Write::Publish(vec![mine])).unwrap();
    assert_eq!(history(&mut store, "tiaz").1, 2, "what was deleted and comes again is new");
    assert!(matches!(acknowledge(&mut store, "tiaz", "2", true), Ok(Written::Done(_))));
    assert!(matches!(acknowledge(&mut store, "tiaz", "2", false), Ok(Written::Done(_))));
    assert_eq!(history(&mut store, "tiaz").1, 2);
}

#[test]
fn history_goes_on_where_the_page_before_ended() {
    let database = Database::new("");
    let mut store = database.store();
    let other = database.other();
    let insert = "INSERT INTO alarm (id, lang, message, user_id) VALUES (?1, 'ko', 'x', ?2)";
    for number in 0..25 {
        let user = [None, Some("tiaz"), Some("other")][number % 3];
        other.execute(insert, rusqlite::params![format!("{number}"), user]).unwrap();
    }
    // One that was another's and is mine now, and one that was mine.
    other
        .execute_batch(
            "UPDATE alarm SET user_id = 'tiaz' WHERE id = '2'; UPDATE alarm SET user_id = 'x' WHERE id = '4'",
        )
        .unwrap();
    let (mut ids, mut before) = (Vec::new(), None);
    loop {
        let page = store.history("tiaz", before, 4).unwrap();
        ids.extend(page.alarms.iter().map(|alarm| alarm.id.parse::<usize>().unwrap()));
        before = page.alarms.last().map(|alarm| alarm.seq);
        if !page.more {
            break;
        }
    }
    let expected: Vec<usize> =
        (0..25).rev().filter(|number| (number % 3 != 2 || *number == 2) && *number != 4).collect();
    assert_eq!(ids, expected);
    let newest = store.before_newest("tiaz", 3).unwrap();
    let page = store.page(newest, None, None).unwrap();
    let told = page.batch.changes.iter().filter(
        |change| matches!(change.meanings_for("tiaz").last(), Some(actors::change::Meaning::Arrived(seq)) if seq > newest.seq),
    );
    assert!(told.count() >= 3);
}

/// What a ticket is good for, wherever it is kept: bought on one way there, used on the other.
pub fn holds_tickets(one: &mut dyn Archive, other: &mut dyn Archive) {
    let (digest, user): ([u8; 32], Arc<str>) = ([7; 32], "tiaz".into());
    let now = SystemTime::now();
    let expires = Some(now + Duration::from_secs(3_600));
    let issue = |digest, until, expires| Write::IssueTicket { digest, user: user.clone(), until, expires };
    let redeem = |user: &str, claim| Write::RedeemTicket { digest, user: user.into(), claim };
    let does_not_hold = |answer| assert!(matches!(answer, Err(Refusal::NotFound)), "{answer:?}");
    write(one, issue(digest, now + Duration::from_secs(30), expires)).unwrap();
    does_not_hold(write(other, redeem("other", None)));
    assert!(matches!(write(other, redeem("tiaz", None)), Ok(Written::Redeemed(Some(_)))));
    for there in [&mut *one, &mut *other] {
        does_not_hold(write(there, redeem("tiaz", None))); // used
    }
    write(other, Write::BindTicket { digest, claim: 42 }).unwrap();
    does_not_hold(write(one, Write::BindTicket { digest, claim: 43 }));
    assert!(matches!(write(one, redeem("tiaz", Some(42))), Ok(Written::Redeemed(Some(_)))), "the page is back");
    does_not_hold(write(one, redeem("tiaz", Some(43))));
    does_not_hold(write(one, redeem("tiaz", None)));
    let late = now - Duration::from_secs(1);
    let soon = now + Duration::from_secs(30);
    for (digest, until, expires) in [([8; 32], late, expires), ([9; 32], soon, Some(late))] {
        write(one, issue(digest, until, expires)).unwrap();
        does_not_hold(write(other, Write::RedeemTicket { digest, user: user.clone(), claim: None }));
    }
}

#[test]
fn a_ticket_opens_one_stream_once_and_again_only_for_the_claim_that_it_opened() {
    let database = Database::new("");
    holds_tickets(&mut database.store(), &mut database.store());
}

#[test]
fn a_revoked_claim_is_remembered_over_a_restart_and_never_lowered() {
    let database = Database::new("");
    let mut store = database.store();
    let revoke = |claim| Write::Revoke(vec![("tiaz".into(), claim), ("mina".into(), 3)]);
    assert_eq!(store.write(vec![revoke(9), revoke(7)]).iter().filter(|answer| answer.is_ok()).count(), 2);
    let mut revoked = database.store().revoked().unwrap();
    revoked.sort_unstable();
    assert_eq!(revoked, [("mina".into(), 3), ("tiaz".into(), 9)]);
}

#[test]
fn the_clock_of_claims_is_known_after_a_restart() {
    let database = Database::new("");
    let mut store = database.store();
    assert_eq!(store.noted_clock().unwrap(), Duration::ZERO);
    let clock = Duration::from_millis(1_790_000_000_123);
    assert!(matches!(write(&mut store, Write::NoteClock(clock)), Ok(Written::Done(_))));
    assert_eq!(database.store().noted_clock().unwrap(), clock);
}
