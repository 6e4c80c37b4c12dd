//! What there is to know about a database before it is trusted. Changes nothing.

use std::time::Duration;

use actors::{
    alarm::Failure,
    language::{Primary, Tag},
};
use rusqlite::{Connection, OpenFlags, OptionalExtension};

use super::{
    Options, adopt,
    opening::unopened,
    row::text,
    table::{Found, Table},
};

/// Examples of alarms that lack a language.
const EXAMPLES: usize = 3;

/// What [`inspect`] found.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// As SQLite calls it.
    pub journal_mode: String,
    /// The feed's name; `None`: the database has not been adopted.
    pub feed: Option<String>,
    /// Alarms, each with any number of rows.
    pub alarms: u64,
    /// Rows of the table.
    pub rows: u64,
    /// Language tags that are not spelt as events carry them, or cannot be read at all.
    pub odd_tags: Vec<OddTag>,
    /// Languages that some alarms lack.
    pub lacking: Vec<Lacking>,
    /// Why it cannot be served as it is; empty: it can.
    pub wrong: Vec<String>,
}

/// A language as rows spell it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OddTag {
    /// In the table.
    pub written: String,
    /// As it is understood; `None`: it cannot be read.
    pub means: Option<String>,
    /// Rows that have it.
    pub rows: u64,
}

/// A language that some alarms lack.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lacking {
    /// Which.
    pub language: String,
    /// How many of them.
    pub alarms: u64,
    /// The ids of some.
    pub examples: Vec<String>,
}

/// Looks at a database without changing it. `wanted` are languages that every alarm should have, besides those that
/// the table has at all.
///
/// # Errors
/// If it cannot be opened or read.
pub fn inspect(options: &Options, wanted: &[Tag]) -> Result<Report, Failure> {
    let read = || -> rusqlite::Result<Report> {
        let connection = Connection::open_with_flags(&options.path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
        connection.busy_timeout(Duration::from_secs(5))?;
        let mut report = Report {
            journal_mode: connection.query_row("PRAGMA journal_mode", [], |row| row.get(0))?,
            ..Report::default()
        };
        let sound: String = connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
        if sound != "ok" {
            report.wrong.push(format!("the database is damaged: {sound}"));
        }
        match Table::find(&connection)? {
            Found::Table(_) => {}
            Found::Nothing => {
                report.wrong.push("there is no table alarm yet: alarm-hub init makes it".to_owned());
                return Ok(report);
            }
            Found::Unfit(why) => {
                report.wrong.push(format!("the table alarm cannot be adopted: {why}"));
                return Ok(report);
            }
        }
        let adopted = "SELECT EXISTS (SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'hub_meta')";
        if connection.query_row(adopted, [], |row| row.get(0))? {
            let feed = connection.query_row("SELECT value FROM hub_meta WHERE key = 'feed'", [], |row| row.get(0));
            report.feed = feed.optional()?;
            report.wrong.extend(adopt::newer(&connection)?.map(|why| format!("the database {why}")));
        }
        let count = "SELECT count(*), count(DISTINCT CAST(id AS TEXT)) FROM alarm";
        (report.rows, report.alarms) = connection.query_row(count, [], |row| Ok((row.get(0)?, row.get(1)?)))?;
        languages(&connection, options, wanted, &mut report)?;
        Ok(report)
    };
    read().map_err(|cause| unopened(&options.path, &cause))
}

fn languages(connection: &Connection, options: &Options, wanted: &[Tag], report: &mut Report) -> rusqlite::Result<()> {
    let mut spellings = connection.prepare("SELECT lang, count(*) FROM alarm GROUP BY lang ORDER BY count(*) DESC")?;
    let spellings: Vec<(rusqlite::types::Value, u64)> =
        spellings.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?.collect::<Result<_, _>>()?;
    let mut languages: Vec<(Primary, String)> = Vec::new();
    let mut note = |tag: &Tag| {
        if report.alarms > 0 && languages.iter().all(|(primary, _)| primary != tag.primary()) {
            languages.push((*tag.primary(), tag.to_string()));
        }
    };
    wanted.iter().for_each(&mut note);
    let mut read = Vec::with_capacity(spellings.len());
    for (value, rows) in spellings {
        let (written, _) = text((&value).into());
        let tag = options.aliases.tag(&written);
        tag.iter().for_each(&mut note);
        if !tag.as_ref().is_some_and(Tag::is_canonical) {
            let means = tag.as_ref().map(ToString::to_string);
            report.odd_tags.push(OddTag { written, means, rows });
        }
        read.push((value, tag));
    }
    for (primary, language) in languages {
        let own: Vec<&rusqlite::types::Value> = read
            .iter()
            .filter(|(_, tag)| tag.as_ref().is_some_and(|tag| *tag.primary() == primary))
            .map(|(value, _)| value)
            .collect();
        let places = vec!["?"; own.len()].join(", ");
        let sql = format!(
            "SELECT CAST(id AS TEXT), count(*) OVER () FROM alarm GROUP BY CAST(id AS TEXT)
             HAVING coalesce(sum(lang IN ({places})), 0) = 0 ORDER BY 1 LIMIT {EXAMPLES}"
        );
        let mut lacking = connection.prepare(&sql)?;
        let lacking: Vec<(String, u64)> = lacking
            .query_map(rusqlite::params_from_iter(own), |row| Ok((text(row.get_ref(0)?).0, row.get(1)?)))?
            .collect::<Result<_, _>>()?;
        if let Some((_, alarms)) = lacking.first() {
            let examples = lacking.iter().map(|(id, _)| id.clone()).collect();
            report.lacking.push(Lacking { language, alarms: *alarms, examples });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use actors::{alarm::Source, language::Aliases};

    use super::*;
    use crate::store::{Make, Store};

    fn options(folder: &tempfile::TempDir) -> Options {
        let path = folder.path().join("alarms.db");
        Options { path, make: Make::File, aliases: Aliases::default(), retention: Duration::from_secs(60) }
    }

    #[test]
    fn odd_tags_and_alarms_that_lack_a_language_are_found() {
        let folder = tempfile::tempdir().unwrap();
        let options = options(&folder);
        let feed = Store::new(options.clone()).open().unwrap().feed;
        let connection = Connection::open(&options.path).unwrap();
        let rows = "INSERT INTO alarm (id, lang, message) VALUES
                    ('1', 'ko', ''), ('1', 'US-en', ''), ('1', 'jp', ''), ('2', 'ko', ''), ('3', 'klingon!', '')";
        connection.execute(rows, []).unwrap();
        let report = inspect(&options, &options.aliases.list("en,de").unwrap()).unwrap();
        assert_eq!((report.alarms, report.rows, report.journal_mode.as_str()), (3, 5, "wal"));
        assert_eq!(report.feed, Some(feed.to_string()));
        assert_eq!(report.wrong, Vec::<String>::new());
        let mut odd: Vec<(&str, Option<&str>)> =
            report.odd_tags.iter().map(|odd| (&*odd.written, odd.means.as_deref())).collect();
        odd.sort_unstable();
        assert_eq!(odd, [("US-en", Some("en-US")), ("jp", Some("ja")), ("klingon!", None)]);
        let mut lacking: Vec<(&str, u64, String)> =
            report.lacking.iter().map(|lack| (&*lack.language, lack.alarms, lack.examples.join(" "))).collect();
        lacking.sort_unstable();
        let expected = [("de", 3, "1 2 3"), ("en", 2, "2 3"), ("ja", 2, "2 3"), ("ko", 1, "3")];
        assert_eq!(lacking, expected.map(|(language, alarms, ids)| (language, alarms, ids.to_owned())));
    }

    #[test]
    fn a_table_that_cannot_be_adopted_is_told_what_it_lacks_and_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let options = options(&folder);
        let connection = Connection::open(&options.path).unwrap();
        assert!(inspect(&options, &[]).unwrap().wrong[0].contains("no table alarm"));
        connection.execute("CREATE TABLE alarm (id, text)", []).unwrap();
        assert!(inspect(&options, &[]).unwrap().wrong[0].contains("no column lang, message"));
        let tables: u32 = connection.query_row("SELECT count(*) FROM sqlite_master", [], |row| row.get(0)).unwrap();
        assert_eq!(tables, 1);
    }
}
