//! The whole path from rows to readers, against a model: whatever is written and however it is read, everybody ends
//! with what the table says, is told of each alarm once, and of nothing that is not theirs.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use actors::{
    alarm::{Archive, Look, Source},
    memory::{Bulletin, Memory, Shapes},
};
use alarm_hub::store::{Options, Store};
use proptest::{prelude::*, sample::select};
use tokio::time::Instant;

use crate::store::Database;

mod reader;
mod writer;

use reader::{Reader, expected, rows, text};
use writer::{Step, TABLES, Writer, steps};

/// So many cases, or as many as PROPTEST_CASES says: `PROPTEST_CASES=100000 cargo test --release everybody_ends`.
fn cases(few: u32) -> ProptestConfig {
    let config = ProptestConfig { failure_persistence: None, max_shrink_iters: 20_000, ..ProptestConfig::default() };
    if std::env::var_os("PROPTEST_CASES").is_some() { config } else { ProptestConfig { cases: few, ..config } }
}

proptest! {
    #![proptest_config(cases(48))]

    #[test]
    fn whatever_is_written_and_however_it_is_read_everybody_ends_with_what_the_table_says(
        table in select(&TABLES[..]),
        steps in steps(),
        room in 1..6_u32,
        page in 1..12_usize,
        langs in prop::collection::vec(select(&["ko", "ja", "en", "fr"][..]), 1..4),
        forgets in any::<bool>(),
    ) {
        let database = Database::new(table);
        let retention = Options { retention: Duration::ZERO, ..database.options.clone() };
        let (mut store, mut archive) = (database.store().with_pages_of(page), database.store().with_pages_of(page));
        let mut pruner = Store::new(retention);
        let writer = Writer { other: database.other(), untyped: table.contains("id, lang") };
        writer.other.pragma_update(None, "synchronous", "off").unwrap();
        let other = &writer.other;
        let start = store.open().unwrap();
        let settle = Duration::from_millis(250);
        let new = |user: &str, lang: &str, settle| Reader::new(user, lang, settle, start);
        // The last two are cut again and again: one keeps its language.
        let mut readers = [
            new("a", "ko", Duration::ZERO), new("b", "en", Duration::ZERO), new("a", "ja", settle),
            new("a", "ko", Duration::ZERO), new("b", "ko", Duration::ZERO),
        ];
        let in_languages = ["ko", "en", "ja", "ko", ""];
        let (mut memory, mut langs, mut at) = (Memory::default(), langs.iter().cycle(), start);
        let mut prunes = false;
        let (mut in_sight, mut gone) = (HashMap::<&str, HashSet<String>>::new(), HashMap::<&str, HashSet<String>>::new());
        for step in steps.iter().chain([&Step::Commit, &Step::Look(usize::MAX)]) {
            writer.write(step);
            for user in ["a", "b"] {
                let rows = rows(other, user);
                let now: HashSet<String> = rows.keys().cloned().collect();
                let before = in_sight.insert(user, now.clone()).unwrap_or_default();
                let gone = gone.entry(user).or_default();
                gone.extend(before.difference(&now).cloned());
                if other.is_autocommit() {
                    let gone = std::mem::take(gone);
                    for reader in readers.iter_mut().filter(|reader| &*reader.user == user) {
                        reader.away.extend(gone.iter().cloned());
                        let said = rows.iter().flat_map(|(id, rows)| rows.iter().map(move |row| format!("{id} {}", text(row))));
                        reader.may_see.extend(said);
                    }
                }
            }
            let readable = database.other();
            match step {
                Step::Prune => prunes = forgets,
                Step::History(count) => {
                    let listed = archive.history("a", None, 1_000).unwrap();
                    let table: HashSet<String> = rows(&readable, "a").into_keys().collect();
                    prop_assert_eq!(listed.alarms.iter().map(|alarm| alarm.id.to_string()).collect::<HashSet<_>>(), table);
                    let begin = archive.before_newest("a", *count).unwrap();
                    let mut newcomer = new("a", "ko", Duration::ZERO);
                    newcomer.may_see.clone_from(&readers[0].may_see);
                    newcomer.knows_less = true; // it may be told that something older changed
                    newcomer.delivery.jump(begin);
                    newcomer.at = begin;
                    newcomer.resume("ko");
                    let head = "SELECT seq FROM sqlite_sequence WHERE name = 'alarm_log'";
                    let head = readable.query_row(head, [], |row| row.get(0)).unwrap();
                    newcomer.replay(None, &mut archive, head, (room, usize::MAX), || expected(&readable, "a", "ko"))?;
                    let all = expected(&readable, "a", "ko");
                    for alarm in listed.alarms.iter().take(usize::from(*count)) {
                        prop_assert_eq!(newcomer.shown.get(&*alarm.id), all.get(&*alarm.id), "{} of the newest {}", alarm.id, count);
                    }
                    prop_assert!(newcomer.shown.iter().all(|(id, text)| all.get(id) == Some(text)), "{:?} {all:?}", newcomer.shown);
                }
                Step::Look(cut) => {
                    let (mut round, mut shapes) = (None, Shapes::default());
                    while let Look::News(batch) = store.look(at, round).unwrap() {
                        prop_assert!(batch.from == at.seq && batch.to > at.seq);
                        at.seq = batch.to;
                        round = Some(batch.round).filter(|round| batch.to < round.end);
                        let bulletin = Arc::new(Bulletin::new(batch, &mut shapes));
                        memory.remember(bulletin.clone());
                        for reader in &mut readers[..3] {
                            if !reader.delivery.push(bulletin.clone(), true) {
                                reader.take(room, usize::MAX, Instant::now() + settle)?;
                                prop_assert!(reader.delivery.push(bulletin.clone(), true), "the next page fits");
                            }
                            reader.take(room, usize::MAX, Instant::now())?;
                        }
                    }
                    if *cut > 3 {
                        readers[2].take(room, usize::MAX, Instant::now() + settle)?;
                    }
                    for (index, reader) in readers.iter_mut().enumerate().skip(3) {
                        let lang = if index == 3 { "ko" } else { langs.next().unwrap() };
                        reader.resume(lang);
                        let user = reader.user.clone();
                        let list = || expected(&readable, &user, lang);
                        reader.replay((cut % 2 == 0).then_some(&memory), &mut archive, at.seq, (room, *cut), list)?;
                    }
                    if std::mem::take(&mut prunes) && other.is_autocommit() {
                        std::thread::sleep(Duration::from_millis(2)); // so that everything is older than nothing
                        pruner.prune().unwrap();
                    }
                }
                _ => {}
            }
        }
        for (reader, lang) in readers.iter().zip(in_languages) {
            prop_assert!(reader.ghosts.is_empty(), "updated before they came: {:?}", reader.ghosts);
            let expected = expected(other, &reader.user, if lang.is_empty() { "ko" } else { lang });
            if lang.is_empty() {
                let ids = |shown: &reader::Shown| shown.keys().cloned().collect::<HashSet<_>>();
                prop_assert_eq!(ids(&reader.shown), ids(&expected));
            } else {
                prop_assert_eq!(&reader.shown, &expected, "{} in {}", reader.user, lang);
            }
        }
        let mut fresh = new("b", "en", Duration::ZERO);
        fresh.may_see.clone_from(&readers[1].may_see);
        fresh.replay(None, &mut archive, at.seq, (room, usize::MAX), || expected(other, "b", "en"))?;
        prop_assert_eq!(&fresh.shown, &expected(other, "b", "en"));
        let places = "SELECT count(*) FROM (SELECT alarm_id FROM alarm_index EXCEPT SELECT CAST(id AS TEXT) FROM alarm)";
        prop_assert_eq!(other.query_row(places, [], |row| row.get::<_, u32>(0)).unwrap(), 0, "a place of no alarm");
    }
}
