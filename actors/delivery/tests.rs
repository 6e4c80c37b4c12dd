//! What one reader gets, case by case.

use bytes::Bytes;

use super::*;
use crate::{
    alarm::{Batch, FeedName},
    change::Entry,
    language::Aliases,
    ledger::Ledger,
    memory::Shapes,
};

pub(super) const FEED: FeedName = FeedName(7);

/// What another program wrote: `(alarm, language)`, in the order of the log.
const WRITTEN: [(&str, &str); 4] = [("A", "ko"), ("B", "ko"), ("A", "ja"), ("B", "ja")];

fn row(id: &str, lang: &str) -> Translation {
    let body = Bytes::from(format!("{id}-{lang}"));
    Translation { lang: lang.into(), tag: Aliases::default().tag(lang), audience: None, body }
}

/// One read of the log from `start` to `end`.
fn read(start: usize, end: usize, seen: Instant) -> Arc<Bulletin> {
    let change = |id: &str| {
        let of_it = |range: std::ops::Range<usize>| range.filter(|index| WRITTEN[*index].0 == id);
        let entries =
            of_it(start..end).map(|index| Entry { seq: index as u64 + 1, lang: WRITTEN[index].1.into(), before: None });
        let entries: Vec<Entry> = entries.collect();
        let after = of_it(0..end).map(|index| row(id, WRITTEN[index].1)).collect();
        (!entries.is_empty()).then(|| Change::new(id.into(), entries, after))
    };
    let aliases = Aliases::default();
    let recent = ["ko", "ja"].iter().filter_map(|lang| Some(*aliases.tag(lang)?.primary())).collect();
    let (from, to) = (start as u64, end as u64);
    let round = Round { start: from, end: to };
    let changes = ["A", "B"].into_iter().filter_map(change).collect();
    let batch = Batch { feed: FEED, from, to, round, gap: false, changes, recent, seen, made: seen };
    Arc::new(Bulletin::new(batch, &mut Shapes::default()))
}

pub(super) fn reader(lang: &str, seq: u64) -> Delivery {
    let aliases = Aliases::default();
    let languages = Languages::new(Some(lang.as_bytes()), &[], aliases.list("en").unwrap(), &aliases);
    Delivery::new("tiaz".into(), languages, Duration::from_millis(250), Position { feed: FEED, seq })
}

fn told(blocks: &[Block]) -> Vec<(String, u64)> {
    let text = |event: &Event| match event {
        Event::Alarm { body, .. } => format!("alarm {}", String::from_utf8_lossy(body)),
        Event::Updated { body, .. } => format!("updated {}", String::from_utf8_lossy(body)),
        other => format!("{other:?}"),
    };
    blocks.iter().map(|block| (text(&block.event), block.at.seq)).collect()
}

fn tell(said: &[(&str, u64)]) -> Vec<(String, u64)> {
    said.iter().map(|(text, seq)| ((*text).to_owned(), *seq)).collect()
}

#[test]
fn a_cut_between_two_alarms_and_a_resume_in_another_language_lose_nothing_and_repeat_no_alarm() {
    let now = Instant::now();
    let mut korean = reader("ko", 0);
    assert!(korean.push(read(0, 4, now), false));
    let (blocks, _) = korean.take(256, 256, now);
    assert_eq!(told(&blocks), tell(&[("alarm A-ko", 1), ("alarm B-ko", 4)]));

    let cut = blocks[0].at.seq;
    let mut japanese = reader("ja", cut);
    assert!(japanese.push(read(1, 4, now), false));
    let (blocks, stop) = japanese.take(256, 256, now);
    assert_eq!(told(&blocks), tell(&[("alarm B-ja", 2), ("updated A-ja", 4)]));
    assert_eq!((stop, japanese.at().seq), (Stop::Empty, 4));

    let mut same_read = reader("ja", cut);
    assert!(same_read.push(read(0, 4, now), false));
    assert_eq!(told(&same_read.take(256, 256, now).0), tell(&[("alarm B-ja", 4)]));
}

#[test]
fn a_reader_without_room_goes_on_where_it_stopped() {
    let now = Instant::now();
    let mut reader = reader("ko", 0);
    assert!(reader.push(read(0, 4, now), false));
    let (blocks, stop) = reader.take(1, 256, now);
    assert_eq!((told(&blocks), stop), (tell(&[("alarm A-ko", 1)]), Stop::Room(1)));
    assert_eq!(told(&reader.take(256, 256, now).0), tell(&[("alarm B-ko", 4)]));
}

#[test]
fn a_live_alarm_waits_for_the_first_language_and_then_comes_once() {
    let now = Instant::now();
    let until = now + Duration::from_millis(250);
    let mut reader = reader("ja", 0);
    assert!(reader.push(read(0, 2, now), true));
    assert_eq!(reader.take(256, 256, now).1, Stop::Settle(until));
    assert!(reader.push(read(2, 4, now), true));
    let (blocks, stop) = reader.take(256, 256, now);
    assert_eq!((told(&blocks), stop), (tell(&[("alarm A-ja", 1), ("alarm B-ja", 2)]), Stop::Empty));
    assert_eq!(reader.at().seq, 4);
}

#[test]
fn an_alarm_waits_no_longer_than_it_may_and_replay_never_does() {
    let now = Instant::now();
    let mut live = reader("ja", 0);
    assert!(live.push(read(0, 2, now), true));
    let late = now + Duration::from_millis(250);
    assert_eq!(told(&live.take(256, 256, late).0), tell(&[("alarm A-ko", 1), ("alarm B-ko", 2)]));
    let mut replay = reader("ja", 0);
    assert!(replay.push(read(0, 2, now), false));
    assert_eq!(replay.take(256, 256, now).0.len(), 2);
}

#[test]
fn what_is_of_no_interest_is_passed_over_and_what_follows_is_taken() {
    let now = Instant::now();
    let mut korean = reader("ko", 0);
    korean.pass(0, 2);
    assert_eq!((korean.at().seq, korean.end()), (2, 2));
    korean.pass(3, 4);
    assert_eq!(korean.end(), 2, "what lies between is not known");
    assert!(korean.push(read(2, 3, now), true));
    korean.pass(3, 4);
    assert_eq!((korean.at().seq, korean.end()), (2, 4));
    let (blocks, stop) = korean.take(256, 256, now);
    assert_eq!((blocks.last().map(|block| block.at.seq), stop), (None, Stop::Empty), "ja is no news in ko");
    assert_eq!(korean.at().seq, 4);
}

#[test]
fn a_choice_made_once_is_the_same_for_each_alarm_with_these_languages() {
    let now = Instant::now();
    let mut japanese = reader("ja", 0);
    let mut shapes = Shapes::default();
    let page = |from: u64, langs: &[&str], shapes: &mut Shapes| {
        let id: Arc<str> = from.to_string().into();
        let entry =
            |(index, lang): (usize, &&str)| Entry { seq: from + index as u64 + 1, lang: (*lang).into(), before: None };
        let entries: Vec<Entry> = langs.iter().enumerate().map(entry).collect();
        let rows = langs.iter().map(|lang| row(&id, lang)).collect();
        let to = from + langs.len() as u64;
        let (round, changes) = (Round { start: from, end: to }, vec![Change::new(id, entries, rows)]);
        let batch =
            Batch { feed: FEED, from, to, round, gap: false, changes, recent: Arc::new([]), seen: now, made: now };
        Arc::new(Bulletin::new(batch, shapes))
    };
    for (from, langs) in [(0, &["ko", "ja"][..]), (2, &["ko", "ja"]), (4, &["ja", "ko"]), (6, &["ko"])] {
        assert!(japanese.push(page(from, langs, &mut shapes), false));
    }
    let bodies: Vec<String> = told(&japanese.take(256, 256, now).0).into_iter().map(|(text, _)| text).collect();
    assert_eq!(bodies, ["alarm 0-ja", "alarm 2-ja", "alarm 4-ja", "alarm 6-ko"]);
}

#[test]
fn a_page_that_does_not_go_on_where_the_reader_stands_is_not_taken() {
    let now = Instant::now();
    assert!(!reader("ko", 0).push(read(1, 4, now), true));
    assert!(!reader("ko", 4).push(read(0, 4, now), true));
}

#[test]
fn a_position_from_a_hub_that_read_in_other_rounds_misses_no_later_translation() {
    let now = Instant::now();
    // Another hub told `A` after the first entry, in Korean; this one read all four together.
    let mut reader = reader("ja", 1).resumed();
    assert!(reader.push(read(0, 4, now), false));
    assert_eq!(told(&reader.take(256, 256, now).0), tell(&[("alarm B-ja", 2), ("updated A-ja", 4)]));
}

#[test]
fn what_is_not_known_any_more_is_announced_before_the_rest() {
    let now = Instant::now();
    let batch = Batch { gap: true, ..read(0, 4, now).batch.clone() };
    let mut reader = reader("ko", 0);
    assert!(reader.push(Arc::new(Bulletin::new(batch, &mut Shapes::default())), true));
    assert!(matches!(reader.take(256, 256, now).0[0].event, Event::Gap));
}

#[test]
fn an_alarm_that_went_while_it_waited_for_a_language_and_came_again_comes_once_at_its_new_place() {
    let mut ledger = Ledger::default();
    let page = |ledger: &Ledger, from, to, round| {
        let page = ledger.page(from, to, round);
        (page.seen, Arc::new(Bulletin::new(page, &mut Shapes::default())))
    };
    ledger.put("B", "ja", "", None);
    ledger.put("A", "ko", "", None);
    let mut reader = reader("ja", 0);
    let (seen, first) = page(&ledger, 0, 2, Round { start: 0, end: 2 });
    assert!(reader.push(first, true));
    assert_eq!(told(&reader.take(256, 256, seen).0), tell(&[("alarm B-ja-", 1)]));
    ledger.delete("A", "ko");
    ledger.put("A", "ja", "", None);
    // One round in two pages, and the time to wait is over between them.
    let late = seen + Duration::from_millis(250);
    let round = Round { start: 2, end: 4 };
    assert!(reader.push(page(&ledger, 2, 3, round).1, true));
    assert_eq!(told(&reader.take(256, 256, late).0), []);
    assert!(reader.push(page(&ledger, 3, 4, round).1, true));
    assert_eq!(told(&reader.take(256, 256, late).0), tell(&[("alarm A-ja-", 4)]));
}
