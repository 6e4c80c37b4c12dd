//! What other programs do to the table.

use proptest::{prelude::*, sample::select};
use rusqlite::{Connection, types::Value};

/// One thing that happens.
#[derive(Clone, Debug)]
pub enum Step {
    /// A statement of the other program, with and without recursive_triggers.
    Write(&'static str, Row),
    /// From here on in one transaction, or no longer.
    Begin,
    Commit,
    Rollback,
    Vacuum,
    /// The hub looks; how much its readers have of it before they are cut.
    Look(usize),
    /// The hub forgets the log.
    Prune,
    /// Somebody opens the stream with so many of the newest alarms.
    History(u16),
}

/// What a statement is about: ?1 to ?6.
#[derive(Clone, Debug)]
pub struct Row {
    id: u8,
    lang: &'static str,
    text: u8,
    user: Option<&'static str>,
    other: u8,
    other_lang: &'static str,
    recursive: bool,
}

const LANGS: [&str; 4] = ["ko", "ja", "jp", "US-en"];
const USERS: [Option<&str>; 4] = [None, None, Some("a"), Some("b")];

/// Tables as other programs make them; an empty one is the hub's own.
pub const TABLES: [&str; 4] = [
    "",
    "CREATE TABLE alarm (id INTEGER, lang TEXT, message TEXT, user_id TEXT, PRIMARY KEY (id, lang)) WITHOUT ROWID",
    "CREATE TABLE alarm (id INTEGER PRIMARY KEY, lang TEXT, message TEXT, isn_dt TEXT, user_id TEXT)",
    "CREATE TABLE alarm (id, lang, message, isn_dt, user_id, UNIQUE (lang, id))",
];

/// An INSERT of one row, an UPDATE of one, of a key, of several rows, a DELETE.
const WRITES: [(u32, &[&str]); 5] = [
    (
        6,
        &[
            "INSERT INTO alarm (id, lang, message, user_id) VALUES (?1, ?2, ?3, ?4)",
            "INSERT OR REPLACE INTO alarm (id, lang, message, user_id) VALUES (?1, ?2, ?3, ?4)",
            "INSERT OR REPLACE INTO alarm (id, lang, message) VALUES (?1, ?2, ?3)",
            "INSERT OR IGNORE INTO alarm (id, lang, message, user_id) VALUES (?1, ?2, ?3, ?4)",
            "INSERT OR ROLLBACK INTO alarm (id, lang, message, user_id) VALUES (?1, ?2, ?3, ?4)",
            "INSERT INTO alarm (id, lang, message, user_id) VALUES (?1, ?2, ?3, ?4) ON CONFLICT DO NOTHING",
            "INSERT INTO alarm (id, lang, message, user_id) VALUES (?1, ?2, ?3, ?4)
             ON CONFLICT DO UPDATE SET message = excluded.message, user_id = excluded.user_id",
        ],
    ),
    (
        3,
        &[
            "UPDATE alarm SET message = ?3, user_id = ?4 WHERE id = ?1 AND lang = ?2",
            "UPDATE alarm SET message = ?3 WHERE lang = ?2",
            "UPDATE alarm SET user_id = ?4 WHERE id = ?1",
            "UPDATE alarm SET message = message",
        ],
    ),
    (
        3,
        &[
            "UPDATE alarm SET id = ?5 WHERE id = ?1",
            "UPDATE OR REPLACE alarm SET id = ?5 WHERE id = ?1",
            "UPDATE OR IGNORE alarm SET id = ?5 WHERE id = ?1",
            "UPDATE OR FAIL alarm SET id = ?5 WHERE id = ?1",
            "UPDATE alarm SET lang = ?6 WHERE id = ?1 AND lang = ?2",
            "UPDATE OR REPLACE alarm SET lang = ?6 WHERE id = ?1 AND lang = ?2",
            "UPDATE OR REPLACE alarm SET id = ?5, lang = ?6, message = ?3, user_id = ?4 WHERE id = ?1 AND lang = ?2",
        ],
    ),
    (
        1,
        &[
            "INSERT OR REPLACE INTO alarm (id, lang, message, user_id) VALUES (?1, ?2, ?3, ?4), (?1, ?6, ?3, NULL)",
            "INSERT OR FAIL INTO alarm (id, lang, message, user_id) VALUES (?1, ?2, ?3, ?4), (?5, ?6, ?3, ?4)",
            "INSERT OR REPLACE INTO alarm (id, lang, message, user_id)
             SELECT ?5, lang, message, user_id FROM alarm WHERE id = ?1",
        ],
    ),
    (
        3,
        &[
            "DELETE FROM alarm WHERE id = ?1 AND lang = ?2",
            "DELETE FROM alarm WHERE id = ?1",
            "DELETE FROM alarm WHERE lang = ?2",
            "DELETE FROM alarm WHERE user_id IS ?4",
        ],
    ),
];

fn row() -> impl Strategy<Value = Row> {
    let lang = || select(&LANGS[..]);
    (0..4_u8, lang(), 0..3_u8, select(&USERS[..]), 0..4_u8, lang(), any::<bool>()).prop_map(
        |(id, lang, text, user, other, other_lang, recursive)| Row {
            id,
            lang,
            text,
            user,
            other,
            other_lang,
            recursive,
        },
    )
}

/// What happens, in any order.
pub fn steps() -> impl Strategy<Value = Vec<Step>> {
    let writes = WRITES.map(|(weight, statements)| {
        let write = (select(statements), row()).prop_map(|(sql, row)| Step::Write(sql, row));
        (weight, write.boxed())
    });
    let others = [
        (1, Just(Step::Begin).boxed()),
        (1, Just(Step::Commit).boxed()),
        (1, Just(Step::Rollback).boxed()),
        (1, Just(Step::Vacuum).boxed()),
        (4, (0..6_usize).prop_map(Step::Look).boxed()),
        (1, Just(Step::Prune).boxed()),
        (1, (0..4_u16).prop_map(Step::History).boxed()),
    ];
    prop::collection::vec(prop::strategy::Union::new_weighted(writes.into_iter().chain(others).collect()), 1..80)
}

/// The other programs: their connection.
pub struct Writer {
    pub other: Connection,
    /// Whether 5 and '5' are different keys, and which of them is written.
    pub untyped: bool,
}

impl Writer {
    /// Does it; what the table refuses is refused.
    pub fn write(&self, step: &Step) {
        let idle = self.other.is_autocommit();
        let done = match step {
            Step::Write(sql, row) => self.execute(sql, row),
            Step::Begin if idle => self.other.execute_batch("BEGIN"),
            Step::Commit if !idle => self.other.execute_batch("COMMIT"),
            Step::Rollback if !idle => self.other.execute_batch("ROLLBACK"),
            Step::Vacuum if idle => self.other.execute_batch("VACUUM"),
            _ => Ok(()),
        };
        drop(done); // a key that is there already
    }

    fn execute(&self, sql: &str, row: &Row) -> rusqlite::Result<()> {
        self.other.pragma_update(None, "recursive_triggers", row.recursive)?;
        let id = |id: u8| match self.untyped && id.is_multiple_of(2) {
            true => Value::Text(id.to_string()),
            false => Value::Integer(id.into()),
        };
        let text = |text: &str| Value::Text(text.to_owned());
        let values = [
            id(row.id),
            text(row.lang),
            Value::Integer(row.text.into()),
            row.user.map_or(Value::Null, text),
            id(row.other),
            text(row.other_lang),
        ];
        let mut statement = self.other.prepare_cached(sql)?;
        for (index, value) in values.iter().enumerate().take(statement.parameter_count()) {
            statement.raw_bind_parameter(index + 1, value)?;
        }
        statement.raw_execute().map(|_| ())
    }
}
