//! What one reader costs: choosing a language, and taking what is there for it.

use std::{
    sync::Arc,
    time::{Duration, Instant, UNIX_EPOCH},
};

use actors::{
    alarm::{Batch, FeedName, Position, Round, Translation},
    change::{Change, Entry},
    delivery::Delivery,
    language::{Aliases, Languages, Tag},
    memory::{Bulletin, Shapes},
    sink,
};
use bytes::Bytes;
use divan::{Bencher, black_box, counter::ItemsCount};
use uuid::Uuid;

const FEED: FeedName = FeedName(7);
const LANGS: [&str; 3] = ["ko", "en-US", "ja"];

fn main() {
    divan::main();
}

/// Reads what such a header asks for, with the settings at hand.
fn reads(header: &str) -> impl Fn() -> Languages {
    let aliases = Aliases::default();
    let default = aliases.list("en").expect("a list");
    move || Languages::new(None, &[black_box(header).as_bytes()], default.clone(), &aliases)
}

fn languages(header: &str) -> Languages {
    reads(header)()
}

/// A page of so many new alarms in three languages.
fn page(alarms: u64) -> Arc<Bulletin> {
    let aliases = Aliases::default();
    let row = |lang: &str| Translation {
        lang: lang.into(),
        tag: aliases.tag(lang),
        audience: None,
        body: Bytes::from(vec![b'x'; 120]),
    };
    let change = |number: u64| {
        let entry = |(index, lang): (u64, &str)| Entry { seq: number * 3 + index + 1, lang: lang.into(), before: None };
        let entries: Vec<Entry> = (0..).zip(LANGS).map(entry).collect();
        Change::new(number.to_string().into(), entries, LANGS.map(row).into())
    };
    let (to, changes) = (alarms * 3, (0..alarms).map(change).collect());
    let (round, now) = (Round { start: 0, end: to }, Instant::now().into());
    let batch =
        Batch { feed: FEED, from: 0, to, round, gap: false, changes, recent: Arc::new([]), seen: now, made: now };
    Arc::new(Bulletin::new(batch, &mut Shapes::default()))
}

#[divan::bench(args = ["ko", "ja-JP,ja;q=0.9,en-US;q=0.8,en;q=0.7", "fr,de;q=0.9,*;q=0.1"])]
fn choose_among_three(bencher: Bencher<'_, '_>, header: &str) {
    let (languages, aliases) = (languages(header), Aliases::default());
    let tags: Vec<Option<Tag>> = LANGS.iter().map(|lang| aliases.tag(lang)).collect();
    bencher.bench(|| black_box(&languages).choose(black_box(&tags).iter().map(Option::as_ref)));
}

#[divan::bench(args = ["ko", "ja-JP,ja;q=0.9,en-US;q=0.8,en;q=0.7"])]
fn read_languages(bencher: Bencher<'_, '_>, header: &str) {
    bencher.bench_local(reads(header));
}

/// From the page to the street: what a session does for each page.
#[divan::bench(args = [1, 200])]
fn deliver(bencher: Bencher<'_, '_>, alarms: u64) {
    let page = page(alarms);
    let languages = languages("ja-JP,ja;q=0.9,en-US;q=0.8");
    let claim = actors::claim::Claim::next(None, UNIX_EPOCH.elapsed().unwrap_or_default(), Uuid::new_v4());
    bencher
        .counter(ItemsCount::new(alarms))
        .with_inputs(|| {
            let at = Position { feed: FEED, seq: 0 };
            let delivery = Delivery::new("tiaz".into(), languages.clone(), Duration::from_millis(250), at);
            (delivery, sink::open(Uuid::nil(), claim, 256, Arc::default(), || {}))
        })
        .bench_local_values(|(mut delivery, (mut sink, feed))| {
            delivery.push(page.clone(), true);
            let (blocks, _) = delivery.take(256, 256, Instant::now().into());
            sink.offer(blocks, None).expect("there is room");
            (delivery, sink, feed)
        });
}
