//! Whatever other programs commit, every reader gets: the log of what was committed against what each was told.

use std::{collections::HashMap, fs, thread};

use super::*;

/// A program that commits alarms of its own: `{name}-{number}`, of one to three rows, in transactions that take up to
/// `held` milliseconds, one row at a time or all at once; their times are in the past, in the future, none or garbage.
const WRITER: &str = r#"
import random, sqlite3, sys, time
name, count, held, wait = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4])
random.seed(name)
c = sqlite3.connect('alarms.db', timeout=wait, isolation_level=None)
times = ['2023-12-01 11:10:04', '1970-01-01', '2999-12-31 23:59:59', None, 'garbage']
for number in range(count):
    langs = random.sample(['ko', 'ja', 'US-en'], random.randint(1, 3))
    together = random.random() < 0.7
    if together: c.execute('BEGIN IMMEDIATE' if random.random() < 0.5 else 'BEGIN')
    for lang in langs:
        c.execute('INSERT INTO alarm (id, lang, message, isn_dt) VALUES (?, ?, ?, ?)',
                  (f'{name}-{number}', lang, f'{lang} {number}', random.choice(times)))
        if together and held: time.sleep(random.uniform(0, held / 1000 / len(langs)))
    if together: c.execute('COMMIT')
    if held: time.sleep(random.uniform(0, held / 4000))
"#;

pub fn writers(directory: &Path, names: &[&str], count: u32, held: u32, wait: f32) {
    let start = |name: &&str| {
        let arguments = [(*name).to_owned(), count.to_string(), held.to_string(), wait.to_string()];
        let mut writer = Command::new("python3");
        writer.args(["-c", WRITER]).args(arguments).current_dir(directory).spawn().expect("python3 is there")
    };
    let writers: Vec<Child> = names.iter().map(start).collect();
    for mut writer in writers {
        assert!(writer.wait().unwrap().success(), "no commit failed");
    }
}

/// What a reader was told of each alarm: `(event, lang)`, in order, and the order of the alarms.
#[derive(Default)]
pub struct Told {
    events: HashMap<String, Vec<(String, String)>>,
    order: Vec<String>,
}

impl Told {
    pub fn note(&mut self, event: String, data: &Value) {
        let text = |name: &str| data[name].as_str().unwrap_or_default().to_owned();
        if event == "alarm" {
            self.order.push(text("id"));
        }
        self.events.entry(text("id")).or_default().push((event, text("lang")));
    }

    /// Reads until this alarm came.
    fn read(&mut self, stream: &mut Stream, last: &str) {
        loop {
            let (event, data) = stream.event();
            if !["hello", "bye"].contains(&&*event) {
                let is_last = data["id"] == last;
                self.note(event, &data);
                if is_last {
                    return;
                }
            }
        }
    }

    /// Reads so many events about alarms, or until this one came; whether it came.
    fn read_some(&mut self, stream: &mut Stream, count: usize, last: &str) -> bool {
        for _ in 0..count {
            let (event, data) = stream.event();
            if ["alarm", "updated"].contains(&&*event) {
                self.note(event, &data);
            }
            if data["id"] == last {
                return true;
            }
        }
        false
    }

    /// The verdict: what is missing, what was not committed, what came twice, and whether the order is that of commits.
    pub fn check(&self, committed: &[(String, Vec<String>)], lang: Option<&str>) {
        let order: Vec<&String> = committed.iter().map(|(id, _)| id).collect();
        assert_eq!(self.order.iter().collect::<Vec<_>>(), order, "all, once, in the order of commits");
        for (id, langs) in committed {
            let told = &self.events[id];
            assert!(told.iter().skip(1).all(|(event, _)| event == "updated"), "{id}: {told:?}");
            let best = lang.filter(|lang| langs.iter().any(|there| there == lang));
            if let (Some(best), Some((_, last))) = (best, told.last()) {
                assert_eq!(last, best, "{id} of {langs:?}: {told:?}");
            }
        }
    }
}

/// Every alarm that was committed, in the order of its first row, with its languages as events carry them.
pub fn committed(directory: &Path) -> Vec<(String, Vec<String>)> {
    let database = rusqlite::Connection::open(directory.join("alarms.db")).unwrap();
    let mut rows = database.prepare("SELECT alarm_id, lang FROM alarm_log WHERE existed = 0 ORDER BY seq").unwrap();
    let mut committed: Vec<(String, Vec<String>)> = Vec::new();
    for row in rows.query_map([], |row| Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?))).unwrap() {
        let (id, lang) = row.unwrap();
        let lang = if lang == "US-en" { "en-US".to_owned() } else { lang };
        match committed.iter_mut().find(|(known, _)| *known == id) {
            Some((_, langs)) => langs.push(lang),
            None => committed.push((id, vec![lang])),
        }
    }
    let rows: usize = database.query_row("SELECT count(*) FROM alarm", [], |row| row.get(0)).unwrap();
    assert_eq!(committed.iter().map(|(_, langs)| langs.len()).sum::<usize>(), rows, "the log has every row once");
    committed
}

#[test]
fn whatever_several_programs_commit_every_reader_gets_once_and_in_order() {
    let directory = TempDir::new().unwrap();
    let hub = Hub::start(directory.path(), &["--settle", "0ms"]);
    let told: Vec<(Told, Option<&str>)> = thread::scope(|scope| {
        let readers = ["ko", "ja", "en-US"].map(|lang| {
            let mut stream = hub.connect(lang, &format!("Accept-Language: {lang}\r\n"));
            scope.spawn(move || {
                let mut told = Told::default();
                told.read(&mut stream, "end");
                (told, Some(lang))
            })
        });
        // One that is cut off again and again, and comes back in another language.
        let mut restless = hub.connect("restless", "Accept-Language: ko\r\n");
        let hub = &hub;
        let restless = scope.spawn(move || {
            let mut told = Told::default();
            for lang in ["ja", "en-US", "ko"].into_iter().cycle() {
                for _ in 0..7 {
                    let (event, data) = restless.event();
                    if ["alarm", "updated"].contains(&&*event) {
                        told.note(event, &data);
                    }
                    if data["id"] == "end" {
                        return (told, None);
                    }
                }
                let id = restless.id.clone();
                drop(restless);
                restless = hub.connect("restless", &format!("Accept-Language: {lang}\r\nLast-Event-ID: {id}\r\n"));
            }
            unreachable!("it goes round for ever")
        });
        writers(directory.path(), &["a", "b", "c", "d"], 25, 250, 60.0);
        write(directory.path(), "INSERT INTO alarm (id, lang, message) VALUES ('end', 'ko', 'x')");
        let mut told: Vec<_> = readers.into_iter().map(|reader| reader.join().unwrap()).collect();
        told.push(restless.join().unwrap());
        told
    });
    let committed = committed(directory.path());
    assert_eq!(committed.len(), 101);
    for (told, lang) in told {
        told.check(&committed, lang);
    }
}

#[test]
fn a_hub_that_is_killed_in_mid_burst_again_and_again_loses_nothing_and_repeats_no_alarm() {
    let directory = TempDir::new().unwrap();
    let mut hub = Hub::start(directory.path(), &["--settle", "0ms"]);
    // The last one comes back in another language each time.
    let langs = [["ko"; 3], ["ja"; 3], ["en-US", "ko", "ja"]];
    let accept = |lang: &str| format!("Accept-Language: {lang}\r\n");
    let mut readers: Vec<(Told, Stream)> =
        langs.iter().map(|langs| (Told::default(), hub.connect(&langs.concat(), &accept(langs[0])))).collect();
    thread::scope(|scope| {
        let burst = scope.spawn(|| {
            writers(directory.path(), &["a", "b"], 400, 0, 60.0);
            write(directory.path(), "INSERT INTO alarm (id, lang, message) VALUES ('end', 'ko', 'x')");
        });
        for number in 1..=6 {
            for (told, stream) in &mut readers {
                assert!(!told.read_some(stream, 40, "end"), "it is killed before the end");
            }
            drop(hub); // kill -9
            hub = Hub::start(directory.path(), &["--db", "alarms.db", "--settle", "0ms"]);
            for (langs, (_, stream)) in langs.iter().zip(&mut readers) {
                let resume = format!("{}Last-Event-ID: {}\r\n", accept(langs[number % 3]), stream.id);
                *stream = hub.connect(&langs.concat(), &resume);
            }
        }
        for (told, stream) in &mut readers {
            assert!(told.read_some(stream, usize::MAX, "end"));
        }
        burst.join().unwrap();
    });
    let committed = committed(directory.path());
    assert_eq!(committed.len(), 801);
    for ((told, _), langs) in readers.iter().zip(langs) {
        told.check(&committed, Some(langs[0]).filter(|lang| langs.iter().all(|other| other == lang)));
    }
}

#[test]
fn a_program_that_commits_as_fast_as_it_can_is_never_kept_waiting_for_a_second() {
    let directory = TempDir::new().unwrap();
    let hub = Hub::start(directory.path(), &["--settle", "0ms"]);
    let mut stream = hub.connect("tiaz", "Accept-Language: ko\r\n");
    let reader = thread::spawn(move || {
        let mut told = Told::default();
        told.read(&mut stream, "end");
        told
    });
    writers(directory.path(), &["fast"], 2_000, 0, 1.0);
    write(directory.path(), "INSERT INTO alarm (id, lang, message) VALUES ('end', 'ko', 'x')");
    reader.join().unwrap().check(&committed(directory.path()), Some("ko"));
}

/// So many rows of 500 bytes are inserted in one transaction: how much the hub grows by that at most, in KiB, until a
/// reader has all of them and what comes afterwards.
fn grown_by(rows: u64) -> u64 {
    let directory = TempDir::new().unwrap();
    let hub = Hub::start(directory.path(), &[]);
    let mut stream = hub.connect("tiaz", "Accept-Language: ko\r\n");
    assert_eq!(stream.event().0, "hello");
    // One that reads nothing meanwhile, and keeps little of it alive.
    let mut stuck = hub.connect("stuck", "Accept-Language: ko\r\n");
    assert_eq!(stuck.event().0, "hello");
    let before = memory(&hub);
    write(
        directory.path(),
        &format!(
            "WITH RECURSIVE n (i) AS (VALUES (1) UNION ALL SELECT i + 1 FROM n WHERE i < {rows})
             INSERT INTO alarm (id, lang, message) SELECT i, 'ko', printf('%.500c', 'x') FROM n"
        ),
    );
    for number in 1..=rows {
        let (event, data) = stream.event();
        assert_eq!((event.as_str(), data["id"].as_str()), ("alarm", Some(&*number.to_string())));
    }
    write(directory.path(), "INSERT INTO alarm (id, lang, message) VALUES ('after', 'ko', 'x')");
    assert_eq!(stream.event().1["id"], "after");
    memory(&hub) - before
}

#[test]
fn what_very_many_rows_at_once_take_of_memory_does_not_grow_with_their_number() {
    // `make test` asks for more.
    let rows = std::env::var("ROWS").map_or(100_000, |rows| rows.parse().expect("ROWS is a number"));
    let (some, many) = (grown_by(rows / 4), grown_by(rows));
    println!("{} rows: {some} KiB; {rows} rows: {many} KiB", rows / 4);
    assert!(many < 128 << 10, "{many} KiB for {} KB of text", rows / 2);
    assert!(many < some + (32 << 10), "{many} KiB for {rows} rows, {some} for a quarter of them");
}

/// The most memory that the hub ever had, in KiB.
fn memory(hub: &Hub) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", hub.process.id())).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}
