//! Every log of four changes, read in every way: cut anywhere, resumed in either language, over rounds and pages of any
//! kind. The real [`Delivery`] runs; a client of four lines says what the reader sees.

use std::collections::BTreeMap;

use proptest::prelude::*;
use stateright::{Checker, Model, Property};

use super::{
    tests::{FEED, reader},
    *,
};
use crate::{alarm::Batch, ledger::Ledger, memory::Shapes};

/// Changes of the log.
const CHANGES: usize = 4;

/// Connections of the reader, one after the other; the last one lasts.
const CONNECTIONS: u8 = 2;

const LANGUAGES: [&str; 2] = ["ko", "ja"];

/// What can be done to the table; the reader is `tiaz`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Write {
    Put(&'static str, &'static str),
    PutForOther(&'static str, &'static str),
    Delete(&'static str, &'static str),
}

const WRITES: [Write; 6] = [
    Write::Put("A", "ko"),
    Write::Put("A", "ja"),
    Write::Put("B", "ko"),
    Write::Delete("A", "ko"),
    Write::Delete("A", "ja"),
    Write::PutForOther("A", "ko"),
];

/// How a log is divided; between two of its entries there is nothing, the end of a page, or the end of a round.
type Division = [u8; CHANGES - 1];

fn divisions() -> impl Iterator<Item = Division> {
    (0..3_usize.pow(CHANGES as u32 - 1))
        .map(|number| std::array::from_fn(|place| (number / 3_usize.pow(place as u32) % 3) as u8))
}

/// A log and all there is to know of it.
struct Log {
    written: Vec<Write>,
    ids: Vec<String>,
    /// Its pages, for each of the [`divisions`].
    pages: Vec<Vec<Arc<Bulletin>>>,
    arrivals: Vec<String>,
    /// What a reader of each of the [`LANGUAGES`] would be shown of each alarm in the end.
    shown: [BTreeMap<String, Vec<u8>>; 2],
}

impl Log {
    fn new(written: Vec<Write>, readers: &[Delivery; 2]) -> Self {
        let ledger = ledger(&written);
        let chosen = |reader: &Delivery| {
            let rows = |id: &str| Change::standing(id.into(), 0, ledger.rows(id, ledger.head())).after;
            let text = |id: &Arc<str>| Some((id.to_string(), reader.choose(&rows(id))?.0.body.to_vec()));
            ledger.ids().iter().filter_map(text).collect()
        };
        Self {
            ids: ledger.ids().iter().map(ToString::to_string).collect(),
            pages: divisions().map(|division| pages(&ledger, &division)).collect(),
            arrivals: arrivals(&ledger),
            shown: readers.each_ref().map(chosen),
            written,
        }
    }
}

/// The reader, between two of its connections.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Reader {
    log: usize,
    at: u64,
    /// What it shows: the text of each alarm, and in which connection it was told.
    shows: BTreeMap<String, (Vec<u8>, u8)>,
    /// The alarms that came, in their order.
    came: Vec<String>,
    connections: u8,
    language: usize,
    /// Whether it ever changed its language.
    switched: bool,
}

/// A connection.
#[derive(Clone, Debug, PartialEq)]
struct Connect {
    language: usize,
    division: usize,
    /// After how many blocks it is cut; `None`: it lasts.
    cut: Option<usize>,
}

struct Everything {
    logs: Vec<Log>,
    readers: [Delivery; 2],
}

pub(super) fn ledger(written: &[Write]) -> Ledger {
    let mut ledger = Ledger::default();
    for (number, write) in written.iter().enumerate() {
        let text = number.to_string();
        match write {
            Write::Put(id, lang) => ledger.put(id, lang, &text, None),
            Write::PutForOther(id, lang) => ledger.put(id, lang, &text, Some("other")),
            Write::Delete(id, lang) => ledger.delete(id, lang),
        }
    }
    ledger
}

/// The pages of a log so divided.
pub(super) fn pages(ledger: &Ledger, division: &[u8]) -> Vec<Arc<Bulletin>> {
    let head = ledger.head();
    let ends = |least: u8| {
        let inner = division.iter().zip(1..head).filter(move |(kind, _)| **kind >= least).map(|(_, seq)| seq);
        inner.chain([head])
    };
    let mut from = 0;
    let page = |to: u64| {
        let start = ends(2).take_while(|end| *end < to).last().unwrap_or(0);
        let round = Round { start, end: ends(2).find(|end| *end >= to).unwrap_or(head) };
        let batch = ledger.page(std::mem::replace(&mut from, to), to, round);
        Arc::new(Bulletin::new(batch, &mut Shapes::default()))
    };
    ends(1).map(page).collect()
}

/// The alarms as they come into the reader's sight, in the order of the log.
pub(super) fn arrivals(ledger: &Ledger) -> Vec<String> {
    let sees = |id: &str, seq: u64| ledger.rows(id, seq).iter().any(|row| row.is_for("tiaz"));
    let ids = ledger.ids();
    let all = (1..=ledger.head()).flat_map(|seq| ids.iter().map(move |id| (seq, id)));
    all.filter(|(seq, id)| sees(id, *seq) && !sees(id, seq - 1)).map(|(_, id)| id.to_string()).collect()
}

impl Reader {
    fn new(log: usize) -> Self {
        let (shows, came) = (BTreeMap::new(), Vec::new());
        Self { log, at: 0, shows, came, connections: 0, language: 0, switched: false }
    }

    /// Whether it came to the end of the log.
    fn is_whole(&self) -> bool {
        self.at == CHANGES as u64
    }

    fn is_told(&mut self, event: &Event) {
        match event {
            Event::Alarm { body, .. } | Event::Updated { body, .. } => {
                let id = String::from_utf8_lossy(&body[..1]).into_owned();
                if matches!(event, Event::Alarm { .. }) {
                    self.came.push(id.clone());
                }
                self.shows.insert(id, (body.to_vec(), self.connections));
            }
            Event::Cleared { id } => drop(self.shows.remove(&**id)),
            other => panic!("a delivery never tells {other:?}"),
        }
    }

    fn connect(&self, log: &Log, reader: &Delivery, connect: &Connect) -> Option<Self> {
        let at = Position { feed: FEED, seq: self.at };
        let mut delivery = Delivery::new(reader.user.clone(), reader.languages.clone(), reader.settle, at).resumed();
        for page in log.pages[connect.division].iter().filter(|page| page.batch.to > self.at) {
            assert!(delivery.push(page.clone(), false), "pages follow each other");
        }
        let (mut blocks, stop) = delivery.take(256, 256, Instant::now());
        assert_eq!(stop, Stop::Empty);
        let mut next = self.clone();
        next.connections += 1;
        next.language = connect.language;
        next.switched |= self.connections > 0 && self.language != connect.language;
        next.at = delivery.at().seq;
        if let Some(cut) = connect.cut {
            blocks.get(cut)?; // a cut behind the last block is none
            blocks.truncate(cut);
            next.at = blocks.last().map_or(self.at, |block| block.at.seq);
        }
        blocks.iter().for_each(|block| next.is_told(&block.event));
        Some(next)
    }
}

impl Model for Everything {
    type State = Reader;
    type Action = Connect;

    fn init_states(&self) -> Vec<Reader> {
        (0..self.logs.len()).map(Reader::new).collect()
    }

    fn actions(&self, state: &Reader, actions: &mut Vec<Connect>) {
        if state.connections == CONNECTIONS || state.is_whole() {
            return;
        }
        let cuts = if state.connections + 1 == CONNECTIONS { 0..0 } else { 0..CHANGES };
        for language in 0..LANGUAGES.len() {
            for division in 0..divisions().count() {
                let cuts = cuts.clone().map(Some).chain([None]);
                actions.extend(cuts.map(|cut| Connect { language, division, cut }));
            }
        }
    }

    fn next_state(&self, state: &Reader, connect: Connect) -> Option<Reader> {
        state.connect(&self.logs[state.log], &self.readers[connect.language], &connect)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always("alarms come in the order of the log, and each once", |model: &Self, reader: &Reader| {
                let mut arrivals = model.logs[reader.log].arrivals.iter();
                reader.came.iter().all(|id| arrivals.any(|arrived| arrived == id))
            }),
            Property::always("what is in sight is shown, and nothing else", |model: &Self, reader: &Reader| {
                let log = &model.logs[reader.log];
                let in_sight = &log.shown[reader.language];
                !reader.is_whole()
                    || log.ids.iter().all(|id| reader.shows.contains_key(id) == in_sight.contains_key(id))
            }),
            Property::always("what was told reads as it does now", |model: &Self, reader: &Reader| {
                let shown = &model.logs[reader.log].shown[reader.language];
                let is_current = |(id, (text, told)): (&String, &(Vec<u8>, u8))| {
                    (reader.switched && *told != reader.connections) || shown.get(id) == Some(text)
                };
                !reader.is_whole() || reader.shows.iter().all(is_current)
            }),
            Property::always("no row for another user is seen", |model: &Self, reader: &Reader| {
                let others = |(number, write): (usize, &Write)| match write {
                    Write::PutForOther(id, lang) => Some(format!("{id}-{lang}-{number}").into_bytes()),
                    _ => None,
                };
                let written = model.logs[reader.log].written.iter().enumerate();
                let others: Vec<Vec<u8>> = written.filter_map(others).collect();
                reader.shows.values().all(|(text, _)| !others.contains(text))
            }),
            Property::sometimes("a reader that was cut comes to the end", |_, reader: &Reader| {
                reader.is_whole() && reader.connections == CONNECTIONS
            }),
        ]
    }
}

#[test]
fn nothing_is_lost_doubled_or_out_of_order_however_the_log_is_divided_and_the_reader_cut() {
    let readers = LANGUAGES.map(|language| reader(language, 0));
    let mut logs = vec![vec![]];
    for _ in 0..CHANGES {
        logs = logs.iter().flat_map(|log| WRITES.map(|write| [&log[..], &[write]].concat())).collect();
    }
    logs.retain(|log| ledger(log).head() == CHANGES as u64); // a row that is not there is not deleted
    let logs = logs.into_iter().map(|log| Log::new(log, &readers)).collect();
    let checked = Everything { logs, readers }.checker().threads(2).spawn_bfs().join();
    checked.assert_properties();
}

/// What happens to a live reader.
#[derive(Clone, Debug)]
enum Step {
    Write(Write),
    /// The hub reads what there is, in pages of so many entries.
    Read(u64),
    /// The reader takes as much as this.
    Take(u32),
    /// The time for a better translation runs out.
    Wait,
    /// The reader is cut, before so many of the blocks that are on their way arrive, and comes back, over the pages that
    /// the hub remembers or by way of the archive.
    Cut {
        lost: usize,
        language: usize,
        remembered: bool,
    },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let write = prop::sample::select([&WRITES[..], &[Write::Put("B", "ja"), Write::Delete("B", "ko")]].concat());
    let cut = (0..3_usize, 0..LANGUAGES.len(), any::<bool>());
    let step = prop_oneof![
        4 => write.prop_map(Step::Write),
        2 => (1..4_u64).prop_map(Step::Read),
        2 => prop::sample::select(vec![1, 2, 256]).prop_map(Step::Take),
        1 => Just(Step::Wait),
        1 => cut.prop_map(|(lost, language, remembered)| Step::Cut { lost, language, remembered }),
    ];
    prop::collection::vec(step, 1..40)
}

/// A hub and its one reader.
struct Live {
    ledger: Ledger,
    memory: Vec<Arc<Bulletin>>,
    read: u64,
    delivery: Delivery,
    /// Where the client stands, and the blocks that are on their way to it.
    at: u64,
    sent: VecDeque<Block>,
    client: Reader,
    now: Instant,
}

impl Live {
    fn new() -> Self {
        let delivery = reader(LANGUAGES[0], 0);
        let client = Reader { connections: 1, ..Reader::new(0) };
        let (ledger, memory, sent) = (Ledger::default(), Vec::new(), VecDeque::new());
        Self { ledger, memory, read: 0, delivery, at: 0, sent, client, now: Instant::now() }
    }

    fn write(&mut self, write: Write, number: usize) {
        match write {
            Write::Put(id, lang) => self.ledger.put(id, lang, &number.to_string(), None),
            Write::PutForOther(id, lang) => self.ledger.put(id, lang, &number.to_string(), Some("other")),
            Write::Delete(id, lang) => self.ledger.delete(id, lang),
        }
    }

    fn read(&mut self, page: u64) {
        let round = Round { start: self.read, end: self.ledger.head() };
        while self.read < round.end {
            let to = (self.read + page).min(round.end);
            let batch = Batch { seen: self.now, ..self.ledger.page(self.read, to, round) };
            let bulletin = Arc::new(Bulletin::new(batch, &mut Shapes::default()));
            self.read = to;
            self.memory.push(bulletin.clone());
            assert!(self.delivery.push(bulletin, true), "a live page goes on where the reader stands");
        }
    }

    fn take(&mut self, room: u32) -> Stop {
        let (blocks, stop) = self.delivery.take(room, 256, self.now);
        self.sent.extend(blocks);
        stop
    }

    fn arrive(&mut self) {
        if let Some(block) = self.sent.pop_front() {
            assert!(block.at.seq >= self.at, "positions never go back");
            self.at = block.at.seq;
            self.client.is_told(&block.event);
        }
    }

    fn cut(&mut self, lost: usize, language: usize, remembered: bool) {
        while self.sent.len() > lost {
            self.arrive();
        }
        self.sent.clear();
        self.client.connections += 1;
        self.client.switched |= self.client.language != language;
        self.client.language = language;
        self.delivery = reader(LANGUAGES[language], self.at).resumed();
        let mut pages = self.memory.clone();
        if !remembered {
            let round = Round { start: self.at, end: self.read };
            pages = vec![Arc::new(Bulletin::new(self.ledger.page(self.at, self.read, round), &mut Shapes::default()))];
        }
        for page in pages.into_iter().filter(|page| page.batch.to > self.at) {
            assert!(self.delivery.push(page, false), "replay goes on where the reader stands");
        }
    }
}

proptest! {
    #[test]
    fn a_live_reader_that_waits_for_its_language_and_is_cut_now_and_then_sees_the_same(steps in steps()) {
        let mut live = Live::new();
        for (number, step) in steps.into_iter().enumerate() {
            match step {
                Step::Write(write) => live.write(write, number),
                Step::Read(page) => live.read(page),
                Step::Take(room) => drop(live.take(room)),
                Step::Wait => live.now += Duration::from_millis(250),
                Step::Cut { lost, language, remembered } => live.cut(lost, language, remembered),
            }
        }
        live.read(256);
        live.now += Duration::from_millis(250);
        prop_assert_eq!(live.take(256), Stop::Empty);
        while !live.sent.is_empty() {
            live.arrive();
        }
        let mut arrivals = arrivals(&live.ledger).into_iter();
        prop_assert!(live.client.came.iter().all(|id| arrivals.any(|arrived| arrived == *id)), "{:?}", live.client.came);
        for id in live.ledger.ids() {
            let rows = Change::standing(id.clone(), 0, live.ledger.rows(&id, live.ledger.head())).after;
            let chosen = live.delivery.choose(&rows).map(|(row, _)| row.body.to_vec());
            let shown = live.client.shows.get(&*id);
            prop_assert_eq!(shown.is_some(), chosen.is_some(), "{} is shown if it is in sight", id);
            if let Some((text, told)) = shown
                && (!live.client.switched || *told == live.client.connections)
            {
                prop_assert_eq!(Some(text), chosen.as_ref());
            }
        }
    }
}
