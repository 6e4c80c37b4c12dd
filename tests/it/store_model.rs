//! The whole path from rows to readers, against a model: whatever is written and however it is read, everybody ends
//! with what the table says, and is told of each alarm once.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use actors::{
    alarm::{Archive, Look, Position, Source},
    delivery::{Delivery, Stop},
    language::{Aliases, Languages},
    memory::{Bulletin, Shapes},
    sink::Event,
};
use alarm_hub::store::Store;
use proptest::{prelude::*, sample::select};
use rusqlite::{Connection, params};
use serde_json::Value;
use tokio::time::Instant;

use crate::store::Database;

/// What another program does to the table.
#[derive(Clone, Debug)]
enum Change {
    Insert(Row),
    Replace(Row),
    Ignore(Row),
    Upsert(Row),
    Update(Row),
    Rename(u8, u8),
    Translate(u8, &'static str, &'static str),
    Hand(u8, Option<&'static str>),
    Delete(u8, &'static str),
    Clear(u8),
    /// From here on in one transaction, or no longer.
    Begin,
    Commit,
    /// The hub looks.
    Look,
}

type Row = (u8, &'static str, u8, Option<&'static str>);

const LANGS: [&str; 4] = ["ko", "ja", "jp", "US-en"];
const USERS: [Option<&str>; 4] = [None, None, Some("a"), Some("b")];

fn row() -> impl Strategy<Value = Row> {
    (0..4_u8, select(&LANGS[..]), 0..3_u8, select(&USERS[..]))
}

fn change() -> impl Strategy<Value = Change> {
    prop_oneof![
        4 => row().prop_map(Change::Insert),
        3 => row().prop_map(Change::Replace),
        1 => row().prop_map(Change::Ignore),
        2 => row().prop_map(Change::Upsert),
        2 => row().prop_map(Change::Update),
        1 => (0..4_u8, 0..4_u8).prop_map(|(from, to)| Change::Rename(from, to)),
        1 => (0..4_u8, select(&LANGS[..]), select(&LANGS[..])).prop_map(|(id, from, to)| Change::Translate(id, from, to)),
        1 => (0..4_u8, select(&USERS[..])).prop_map(|(id, user)| Change::Hand(id, user)),
        2 => (0..4_u8, select(&LANGS[..])).prop_map(|(id, lang)| Change::Delete(id, lang)),
        1 => (0..4_u8).prop_map(Change::Clear),
        1 => Just(Change::Begin),
        1 => Just(Change::Commit),
        3 => Just(Change::Look),
    ]
}

/// Writes it; what the table refuses is refused.
fn write(other: &Connection, change: &Change) {
    let into = "INTO alarm (id, lang, message, user_id) VALUES (?1, ?2, ?3, ?4)";
    let row = |sql: &str, (id, lang, text, user): &Row| other.execute(sql, params![id, lang, text, user]);
    let refused = match change {
        Change::Insert(new) => row(&format!("INSERT {into}"), new),
        Change::Replace(new) => row(&format!("INSERT OR REPLACE {into}"), new),
        Change::Ignore(new) => row(&format!("INSERT OR IGNORE {into}"), new),
        Change::Upsert(new) => row(
            &format!(
                "INSERT {into} ON CONFLICT (id, lang) DO UPDATE SET message = excluded.message, user_id = excluded.user_id"
            ),
            new,
        ),
        Change::Update(new) => row("UPDATE alarm SET message = ?3, user_id = ?4 WHERE id = ?1 AND lang = ?2", new),
        Change::Rename(from, to) => other.execute("UPDATE alarm SET id = ?2 WHERE id = ?1", params![from, to]),
        Change::Translate(id, from, to) => {
            other.execute("UPDATE alarm SET lang = ?3 WHERE id = ?1 AND lang = ?2", params![id, from, to])
        }
        Change::Hand(id, user) => other.execute("UPDATE alarm SET user_id = ?2 WHERE id = ?1", params![id, user]),
        Change::Delete(id, lang) => other.execute("DELETE FROM alarm WHERE id = ?1 AND lang = ?2", params![id, lang]),
        Change::Clear(id) => other.execute("DELETE FROM alarm WHERE id = ?1", params![id]),
        Change::Begin if other.is_autocommit() => other.execute("BEGIN", []),
        Change::Commit if !other.is_autocommit() => other.execute("COMMIT", []),
        Change::Begin | Change::Commit | Change::Look => Ok(0),
    };
    drop(refused); // a key that is there already
}

/// One reader over all its connections.
struct Reader {
    user: Arc<str>,
    delivery: Delivery,
    /// The position of the last block that arrived.
    at: Position,
    /// What it shows.
    shown: HashMap<String, String>,
    /// Alarms that were out of its sight since they last came.
    away: HashSet<String>,
    /// Whether it may have missed that an alarm came and went.
    was_cut: bool,
}

impl Reader {
    fn new(user: &str, lang: &str, at: Position) -> Self {
        let delivery = Delivery::new(user.into(), languages(lang), Duration::ZERO, at);
        let (shown, away) = (HashMap::new(), HashSet::new());
        Self { user: user.into(), delivery, at, shown, away, was_cut: false }
    }

    /// Comes back in this language, with the position of the last block that arrived.
    fn resume(&mut self, lang: &str) {
        self.delivery = Delivery::new(self.user.clone(), languages(lang), Duration::ZERO, self.at);
        self.was_cut = true;
    }

    /// Takes what there is, with so much room at a time; after `cut` blocks nothing arrives any more.
    fn take(&mut self, room: u32, cut: usize) -> Result<(), TestCaseError> {
        let mut arrived = 0;
        loop {
            let (blocks, stop) = self.delivery.take(room, room, Instant::now());
            for block in blocks {
                if arrived == cut {
                    return Ok(());
                }
                arrived += 1;
                self.show(&block.event)?;
                self.at = block.at;
            }
            if !matches!(stop, Stop::Room(_)) {
                return Ok(());
            }
        }
    }

    fn show(&mut self, event: &Event) -> Result<(), TestCaseError> {
        match event {
            Event::Alarm { body, .. } | Event::Updated { body, .. } => {
                let body = serde_json::from_str::<Value>(&format!("{}}}", String::from_utf8_lossy(body))).unwrap();
                let id = body["id"].as_str().unwrap().to_owned();
                let known = self.shown.insert(id.clone(), format!("{} {}", body["lang"], body["message"])).is_some();
                if matches!(event, Event::Alarm { .. }) {
                    let came_back = self.away.remove(&id);
                    prop_assert!(!known || came_back, "{id} came twice as an alarm");
                } else {
                    prop_assert!(known, "{id} was updated before it came");
                }
            }
            Event::Cleared { id } => {
                let known = self.shown.remove(&**id).is_some();
                prop_assert!(known || self.was_cut, "{id} was cleared and never came");
            }
            other => prop_assert!(false, "{other:?}"),
        }
        Ok(())
    }
}

fn languages(lang: &str) -> Languages {
    let aliases = Aliases::default();
    Languages::new(Some(lang.as_bytes()), &[], aliases.list("en").unwrap(), &aliases)
}

/// What the table says to a reader.
fn expected(other: &Connection, user: &str, lang: &str) -> HashMap<String, String> {
    let aliases = Aliases::default();
    let sql = "SELECT CAST(id AS TEXT), lang, message FROM alarm WHERE user_id IS NULL OR user_id = ?1 ORDER BY lang";
    let mut rows = other.prepare(sql).unwrap();
    let mut alarms: HashMap<String, Vec<(String, String)>> = HashMap::new();
    let read = rows.query_map([user], |row| Ok((row.get(0)?, (row.get(1)?, row.get(2)?)))).unwrap();
    for (id, row) in read.map(Result::unwrap) {
        alarms.entry(id).or_default().push(row);
    }
    let choose = |(id, rows): (String, Vec<(String, String)>)| {
        let tags: Vec<_> = rows.iter().map(|(lang, _)| aliases.tag(lang)).collect();
        let choice = languages(lang).choose(tags.iter().map(Option::as_ref)).unwrap();
        let tag = tags[choice.index].as_ref().unwrap().to_string();
        (id, format!("{:?} {:?}", tag, rows[choice.index].1))
    };
    alarms.into_iter().map(choose).collect()
}

/// Reads everything that there is up to `head`, in pages, as a reader does that comes back; stops after `cut` blocks.
fn replay(archive: &mut Store, reader: &mut Reader, head: u64, room: u32, cut: usize) -> Result<(), TestCaseError> {
    let (mut at, mut round) = (reader.at, None);
    while at.seq < head {
        let page = archive.page(at, Some(head), round).unwrap();
        prop_assert!(!page.expired && page.batch.from == at.seq && page.batch.to > at.seq);
        at.seq = page.batch.to;
        round = Some(page.batch.round).filter(|round| at.seq < round.end);
        prop_assert!(reader.delivery.push(Arc::new(Bulletin::new(page.batch, &mut Shapes::default())), false));
        if cut == usize::MAX {
            reader.take(room, cut)?;
        }
    }
    reader.take(room, cut)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_is_written_and_however_it_is_read_everybody_ends_with_what_the_table_says(
        changes in prop::collection::vec(change(), 1..60),
        room in 1..6_u32,
        page in 4..12_usize,
        cuts in prop::collection::vec((0..6_usize, select(&["ko", "ja", "en", "fr"][..])), 1..8),
        recursive in any::<bool>(),
    ) {
        let database = Database::new("");
        let mut store = database.store().with_pages_of(page);
        let mut archive = database.store().with_pages_of(page);
        let other = database.other();
        other.pragma_update(None, "recursive_triggers", recursive).unwrap();
        other.pragma_update(None, "synchronous", "off").unwrap();
        let start = store.open().unwrap();
        let (mut live, mut cut) = (Reader::new("a", "ko", start), Reader::new("a", "ko", start));
        let mut cuts = cuts.iter().cycle();
        let mut at = start;
        let (mut in_sight, mut gone) = (HashSet::new(), HashSet::<String>::new());
        for change in changes.iter().chain([&Change::Commit, &Change::Look]) {
            write(&other, change);
            let now: HashSet<String> = expected(&other, "a", "ko").into_keys().collect();
            gone.extend(in_sight.difference(&now).cloned());
            if other.is_autocommit() {
                live.away.extend(gone.iter().cloned());
                cut.away.extend(gone.drain());
            }
            in_sight = now;
            if !matches!(change, Change::Look) {
                continue;
            }
            let mut round = None;
            while let Look::News(batch) = store.look(at, round).unwrap() {
                prop_assert!(batch.from == at.seq && batch.to > at.seq);
                at.seq = batch.to;
                round = Some(batch.round).filter(|round| batch.to < round.end);
                prop_assert!(live.delivery.push(Arc::new(Bulletin::new(batch, &mut Shapes::default())), true));
                live.take(room, usize::MAX)?;
            }
            let (after, lang) = cuts.next().unwrap();
            cut.resume(lang);
            replay(&mut archive, &mut cut, at.seq, room, *after)?;
        }
        prop_assert_eq!(&live.shown, &expected(&other, "a", "ko"));
        cut.resume("ja");
        replay(&mut archive, &mut cut, at.seq, room, usize::MAX)?;
        let (cut, live): (HashSet<_>, HashSet<_>) = (cut.shown.keys().collect(), live.shown.keys().collect());
        prop_assert_eq!(cut, live);
        let mut fresh = Reader::new("b", "en", start);
        replay(&mut archive, &mut fresh, at.seq, room, usize::MAX)?;
        prop_assert_eq!(&fresh.shown, &expected(&other, "b", "en"));
    }
}
