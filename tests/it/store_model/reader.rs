//! A reader over all its connections: what it shows, and what it must never be told.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use actors::{
    alarm::{Archive, Position},
    delivery::{Delivery, Stop},
    language::{Aliases, Languages},
    memory::{Bulletin, Memory, Shapes},
    sink::Event,
};
use alarm_hub::store::Store;
use proptest::prelude::*;
use rusqlite::Connection;
use serde_json::Value;
use tokio::time::Instant;

/// What a reader got or a table says: the text of each alarm, by id.
pub type Shown = HashMap<String, String>;

pub fn languages(lang: &str) -> Languages {
    let aliases = Aliases::default();
    Languages::new(Some(lang.as_bytes()), &[], aliases.list("en").unwrap(), &aliases)
}

/// What the table has for a user: the rows of each alarm, as `lang message`, in the order in which one is chosen.
pub fn rows(other: &Connection, user: &str) -> HashMap<String, Vec<(String, String)>> {
    let sql = "SELECT CAST(id AS TEXT), lang, CAST(message AS TEXT) FROM alarm
               WHERE user_id IS NULL OR user_id = ?1 ORDER BY lang";
    let mut statement = other.prepare_cached(sql).unwrap();
    let mut alarms: HashMap<String, Vec<(String, String)>> = HashMap::new();
    let read = statement.query_map([user], |row| Ok((row.get(0)?, (row.get(1)?, row.get(2)?)))).unwrap();
    for (id, row) in read.map(Result::unwrap) {
        alarms.entry(id).or_default().push(row);
    }
    alarms
}

/// What the table says to a reader.
pub fn expected(other: &Connection, user: &str, lang: &str) -> Shown {
    let aliases = Aliases::default();
    let choose = |(id, rows): (String, Vec<(String, String)>)| {
        let tags: Vec<_> = rows.iter().map(|(lang, _)| aliases.tag(lang)).collect();
        let choice = languages(lang).choose(tags.iter().map(Option::as_ref)).unwrap();
        (id, text(&rows[choice.index]))
    };
    rows(other, user).into_iter().map(choose).collect()
}

/// A row as an event says it.
pub fn text((lang, message): &(String, String)) -> String {
    format!("{} {message}", Aliases::default().tag(lang).unwrap())
}

/// A reader.
pub struct Reader {
    pub user: Arc<str>,
    pub delivery: Delivery,
    /// The position of the last block that arrived.
    pub at: Position,
    pub shown: Shown,
    /// Alarms that were out of its sight since they last came.
    pub away: HashSet<String>,
    /// Whether it may have missed that an alarm came and went.
    was_cut: bool,
    /// Alarms that were updated and had not come: they were gone when the reader was told of their time, and it came
    /// back to a hub that does not look so far ahead. These must be cleared, too.
    pub ghosts: HashSet<String>,
    /// What it is told may be about alarms that it does not have, or has from a list.
    pub knows_less: bool,
    /// Everything that it may ever be told: `id lang message`.
    pub may_see: HashSet<String>,
}

impl Reader {
    pub fn new(user: &str, lang: &str, settle: Duration, at: Position) -> Self {
        Self {
            user: user.into(),
            delivery: Delivery::new(user.into(), languages(lang), settle, at),
            at,
            shown: HashMap::new(),
            away: HashSet::new(),
            was_cut: false,
            ghosts: HashSet::new(),
            knows_less: false,
            may_see: HashSet::new(),
        }
    }

    /// Comes back in this language, with the position of the last block that arrived.
    pub fn resume(&mut self, lang: &str) {
        self.delivery = Delivery::new(self.user.clone(), languages(lang), Duration::ZERO, self.at).resumed();
        self.was_cut = true;
    }

    /// Takes what there is, with so much room at a time; after `cut` blocks nothing arrives any more.
    pub fn take(&mut self, room: u32, cut: usize, now: Instant) -> Result<(), TestCaseError> {
        let mut arrived = 0;
        loop {
            let (blocks, stop) = self.delivery.take(room, room, now);
            for block in blocks {
                if arrived == cut {
                    return Ok(());
                }
                arrived += 1;
                prop_assert!(block.at.seq >= self.at.seq, "{:?} after {:?}", block.at, self.at);
                self.at = block.at;
                self.show(&block.event)?;
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
                let field = |name: &str| body[name].as_str().unwrap_or_default().to_owned();
                let (id, text) = (field("id"), format!("{} {}", field("lang"), field("message")));
                let told = format!("{id} {text}");
                prop_assert!(self.may_see.contains(&told), "{told} was never there for {}", self.user);
                let known = self.shown.insert(id.clone(), text).is_some();
                if matches!(event, Event::Alarm { .. }) {
                    self.ghosts.remove(&id);
                    let came_back = self.away.remove(&id);
                    prop_assert!(!known || came_back || self.knows_less, "{id} came twice as an alarm");
                } else if !known && !self.knows_less {
                    prop_assert!(self.was_cut && self.away.contains(&id), "{id} was updated before it came");
                    self.ghosts.insert(id);
                }
            }
            Event::Cleared { id } => {
                let known = self.shown.remove(&**id).is_some();
                self.ghosts.remove(&**id);
                prop_assert!(known || self.was_cut || self.knows_less, "{id} was cleared and never came");
            }
            other => prop_assert!(false, "{other:?}"),
        }
        Ok(())
    }

    /// Reads everything that there is up to `head`, in pages, as a reader does that comes back: what the hub remembers
    /// from there, what lies further back from the archive. Stops after `cut` blocks. `list`: what it fetches at
    /// the end if part of what it missed is not known any more.
    pub fn replay(
        &mut self,
        memory: Option<&Memory>,
        archive: &mut Store,
        head: u64,
        (room, cut): (u32, usize),
        list: impl Fn() -> Shown,
    ) -> Result<(), TestCaseError> {
        while self.delivery.end() < head {
            let end = self.delivery.end();
            let remembered = memory.and_then(|memory| memory.since(end, 4));
            let pages = match remembered {
                Some(pages) => pages,
                None => {
                    let floor = memory.and_then(Memory::floor).filter(|floor| end < *floor);
                    let round = match (memory, floor) {
                        (Some(memory), None) => memory.round(),
                        _ => self.delivery.round(),
                    };
                    let at = Position { seq: end, ..self.at };
                    let page = archive.page(at, Some(floor.unwrap_or(head)), round).unwrap();
                    self.knows_less |= page.expired;
                    prop_assert!(page.batch.from == end && page.batch.to > end);
                    vec![Arc::new(Bulletin::new(page.batch, &mut Shapes::default()))]
                }
            };
            let mut fit = false;
            for page in pages {
                fit |= self.delivery.push(page, false);
            }
            prop_assert!(fit, "a page from {end} does not fit");
            if cut == usize::MAX {
                self.take(room, cut, Instant::now())?;
            }
        }
        self.take(room, cut, Instant::now())?;
        if cut == usize::MAX && std::mem::take(&mut self.knows_less) {
            self.shown = list();
        }
        Ok(())
    }
}
