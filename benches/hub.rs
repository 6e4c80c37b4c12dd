//! What the edges cost: bytes on the wire, and pages read from the log.
#![expect(clippy::disallowed_types, reason = "divan keeps the arguments of a benchmark in a LazyLock")]

use actors::{
    alarm::{FeedName, Look, Position, Source},
    claim::Claim,
    language::Aliases,
    sink::{Block, Event},
};
use alarm_hub::{
    store::{Make, Options, Store},
    wire,
};
use divan::{Bencher, black_box, counter::ItemsCount};
use std::time::Duration;
use tempfile::TempDir;
use uuid::Uuid;

fn main() {
    divan::main();
}

#[divan::bench]
fn encode_an_alarm(bencher: Bencher<'_, '_>) {
    let claim = Claim::next(None, Duration::from_secs(1_790_000_000), Uuid::nil());
    let encoder = wire::Encoder::new(Uuid::nil(), claim);
    let body = wire::body("5b48ff24", "ko", "예약에 성공했습니다!", Some("2023-12-01 11:10:04"), false);
    let block = Block { event: Event::Alarm { body, fallback: false }, at: Position { feed: FeedName(7), seq: 42 } };
    bencher.bench(|| {
        let mut out = Vec::with_capacity(encoder.size(&block));
        encoder.encode(black_box(&block), &mut out);
        out
    });
}

#[divan::bench]
fn encode_a_body() -> bytes::Bytes {
    let (id, text) = black_box(("5b48ff24", "예약에 성공했습니다!"));
    wire::body(id, "ko", text, Some("2023-12-01 11:10:04"), false)
}

/// A page of new alarms in three languages, behind so many that are old.
#[divan::bench(args = [(1, 0), (600, 0), (600, 100_000)], sample_count = 20)]
fn read_a_page(bencher: Bencher<'_, '_>, (alarms, old): (u64, u64)) {
    let folder = TempDir::new().expect("a folder");
    let path = folder.path().join("alarms.db");
    let retention = Duration::from_secs(86_400);
    let mut store =
        Store::new(Options { path: path.clone(), make: Make::File, aliases: Aliases::default(), retention });
    store.open().expect("a database");
    let mut writer = rusqlite::Connection::open(path).expect("the same");
    let mut write = |from: u64, count: u64| {
        let transaction = writer.transaction().expect("a transaction");
        for number in from..from + count {
            for lang in ["ko", "en-US", "ja"] {
                let row = "INSERT INTO alarm (id, lang, message) VALUES (?1, ?2, 'The pressure is above the limit.')";
                transaction.execute(row, (number.to_string(), lang)).expect("a row");
            }
        }
        transaction.commit().expect("a commit");
    };
    write(0, old);
    let at = store.open().expect("the same");
    write(old, alarms);
    bencher.counter(ItemsCount::new(alarms)).bench_local(|| match store.look(at, None) {
        Ok(Look::News(page)) => page,
        other => unreachable!("{other:?}"),
    });
}
