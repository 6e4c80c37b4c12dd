//! The table `alarm` as it was found: which columns it has, and whether it can be adopted.

use rusqlite::{Connection, OptionalExtension};

/// How the table is made, as far as that matters here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Table {
    /// Whether it says whom a row is for.
    pub(super) has_user: bool,
    /// Whether it has a time, and a default for it.
    pub(super) has_time: bool,
    has_time_default: bool,
    /// Whether 5 and '5' are the same to its column `id`.
    is_typed: bool,
    /// Whether its rows have a rowid.
    pub(super) has_rowid: bool,
    /// Whether an alarm has one row, which is in one language at a time.
    has_one_row: bool,
}

/// What was found under the name `alarm`.
pub(super) enum Found {
    /// Nothing.
    Nothing,
    /// A table that alarms can be read from.
    Table(Table),
    /// Something that cannot be adopted, and why.
    Unfit(String),
}

impl Table {
    /// The table that `schema.sql` makes.
    pub(super) const OWN: Self = Self {
        has_user: true,
        has_time: true,
        has_time_default: true,
        is_typed: true,
        has_rowid: true,
        has_one_row: false,
    };

    pub(super) fn find(connection: &Connection) -> rusqlite::Result<Found> {
        let kind = "SELECT type, wr FROM pragma_table_list WHERE schema = 'main' AND lower(name) = 'alarm'";
        let kind = connection.query_row(kind, [], |row| Ok((row.get::<_, String>(0)?, row.get::<_, bool>(1)?)));
        let Some((kind, without_rowid)) = kind.optional()? else { return Ok(Found::Nothing) };
        if kind != "table" {
            return Ok(Found::Unfit(format!(
                "alarm is a {kind}; only a table can have the triggers that tell of a change"
            )));
        }
        let columns = columns(connection)?;
        let has = |name: &str| columns.iter().any(|column| column.name == name);
        let missing: Vec<&str> = ["id", "lang", "message"].into_iter().filter(|name| !has(name)).collect();
        if !missing.is_empty() {
            return Ok(Found::Unfit(format!("it has no column {}", missing.join(", "))));
        }
        let keys = keys(connection, &columns)?;
        if keys.is_empty() {
            let why = "it has no unique key on (id, lang), so that two rows could be the same translation; make one \
                       with: CREATE UNIQUE INDEX alarm_id_lang ON alarm (id, lang)";
            return Ok(Found::Unfit(why.to_owned()));
        }
        Ok(Found::Table(Self {
            has_user: has("user_id"),
            has_time: has("isn_dt"),
            has_time_default: columns.iter().any(|column| column.name == "isn_dt" && column.has_default),
            is_typed: columns.iter().any(|column| column.name == "id" && column.is_typed),
            has_rowid: !without_rowid,
            has_one_row: keys.iter().any(|key| key == "id"),
        }))
    }

    /// The column that says whom a row is for, or what stands for it.
    pub(super) fn user(&self) -> &'static str {
        if self.has_user { "user_id" } else { "NULL" }
    }

    /// The column of the time, or what stands for it.
    pub(super) fn time(&self) -> &'static str {
        if self.has_time { "isn_dt" } else { "NULL" }
    }

    /// Whether a time that nobody said is to be written: the table has none of its own.
    pub(super) fn needs_time(&self) -> bool {
        self.has_time && !self.has_time_default
    }

    /// The condition that a row of the table, named `row`, belongs to the alarm whose id as text is `id`. 5 and '5' are
    /// one alarm, and so are bytes and their text. Uses the table's own index.
    pub(super) fn is_of(&self, row: &str, id: &str) -> String {
        if self.is_typed {
            format!("{row}.id IN ({id}, CAST({id} AS BLOB))")
        } else {
            let kinds = ["INTEGER", "REAL", "BLOB"].map(|kind| format!("CAST({id} AS {kind})")).join(", ");
            format!("({row}.id IN (+{id}, {kinds}) AND CAST({row}.id AS TEXT) = {id})")
        }
    }

    /// `schema` for this table: a column that it lacks is always NULL, and what a REPLACE replaces is what has its key.
    pub(super) fn fit(&self, schema: &str) -> String {
        let key = "row.id = NEW.id AND row.lang IS NEW.lang";
        let schema = if self.has_one_row { schema.replace(key, "row.id = NEW.id") } else { schema.to_owned() };
        let lacking = [("user_id", self.has_user), ("isn_dt", self.has_time)].into_iter().filter(|(_, has)| !has);
        lacking.fold(schema, |schema, (column, _)| {
            let rows = ["OLD", "NEW", "row"];
            rows.iter().fold(schema, |schema, row| schema.replace(&format!("{row}.{column}"), "NULL"))
        })
    }
}

struct Column {
    name: String,
    is_typed: bool,
    has_default: bool,
    /// The whole primary key.
    is_key: bool,
}

fn columns(connection: &Connection) -> rusqlite::Result<Vec<Column>> {
    let sql = "SELECT lower(name), upper(type), dflt_value IS NOT NULL, pk > 0 AND sum(pk > 0) OVER () = 1
               FROM pragma_table_xinfo('alarm')";
    let mut columns = connection.prepare(sql)?;
    let read = columns.query_map([], |row| {
        let kind: String = row.get(1)?;
        // The affinity of a column is BLOB only in these cases (sqlite.org/datatype3.html §3.1).
        let is_blob = kind.is_empty() || (kind.contains("BLOB") && !kind.contains("INT") && !kind.contains("CHAR"));
        Ok(Column { name: row.get(0)?, is_typed: !is_blob, has_default: row.get(2)?, is_key: row.get(3)? })
    })?;
    read.collect()
}

/// The columns of each key that keeps two rows from having the same `id` and `lang`.
fn keys(connection: &Connection, columns: &[Column]) -> rusqlite::Result<Vec<String>> {
    let sql = "SELECT group_concat(lower(c.name)) FROM pragma_index_list('alarm') AS i, pragma_index_info(i.name) AS c
               WHERE i.\"unique\" AND NOT i.partial
               GROUP BY i.name HAVING max(coalesce(lower(c.name), '') NOT IN ('id', 'lang')) = 0";
    let mut indexes = connection.prepare(sql)?;
    let mut keys = indexes.query_map([], |row| row.get(0))?.collect::<Result<Vec<String>, _>>()?;
    let primary = columns.iter().filter(|column| column.is_key && matches!(&*column.name, "id" | "lang"));
    keys.extend(primary.map(|column| column.name.clone()));
    Ok(keys)
}
