//! One alarm, written without a hub that runs.

use std::time::Duration;

use actors::alarm::{Archive, Failure, Fault, NewAlarm, Refusal, Write, Written};

use super::{Options, Store, failure};

/// How long another program may hold the database.
const PATIENCE: Duration = Duration::from_secs(10);

/// Writes an alarm into the database, which is adopted first if it has not been: a row that comes before the adoption
/// would be history, not news. The same alarm again is no error, so that whoever does not know may ask again.
///
/// # Errors
/// [`Refusal::Conflict`] if the id exists with other content, [`Refusal::Impossible`] for a user in a table without
/// users, [`Refusal::Failed`] if the database does not take it.
pub fn send(options: Options, alarm: &NewAlarm) -> Result<Written, Refusal> {
    let mut store = Store::new(options);
    let opened = store.opened().map_err(Refusal::Failed)?;
    opened.connection.busy_timeout(PATIENCE).map_err(|cause| Refusal::Failed(failure(&cause)))?;
    let written = store.write(vec![Write::Publish(vec![alarm.clone()])]).pop();
    match written {
        Some(Err(Refusal::Failed(Failure { fault: Fault::Locked, .. }))) => {
            let cause = format!("another program has held the database for {} s", PATIENCE.as_secs());
            Err(Refusal::Failed(Failure { fault: Fault::Locked, cause }))
        }
        Some(written) => written,
        None => Err(Refusal::Busy), // one write has one answer
    }
}

#[cfg(test)]
mod tests {
    use actors::language::Aliases;
    use rusqlite::Connection;

    use super::*;
    use crate::store::Make;

    fn alarm(id: &str, text: &str) -> NewAlarm {
        let messages = vec![("ko".to_owned(), text.to_owned()), ("en-US".to_owned(), "hello".to_owned())];
        NewAlarm { id: id.to_owned(), user: None, isn_dt: None, messages }
    }

    fn options(folder: &tempfile::TempDir, make: Make) -> Options {
        let path = folder.path().join("alarms.db");
        Options { path, make, aliases: Aliases::default(), retention: Duration::from_secs(60) }
    }

    #[test]
    fn the_same_again_changes_nothing_and_other_content_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let first = send(options(&folder, Make::File), &alarm("5", "안녕")).unwrap();
        let Written::Done(position) = first else { panic!("it is new: {first:?}") };
        assert_eq!(send(options(&folder, Make::Table), &alarm("5", "안녕")).unwrap(), Written::Unchanged(position));
        assert!(matches!(send(options(&folder, Make::Table), &alarm("5", "잘 가")), Err(Refusal::Conflict(_))));
        let timed = NewAlarm { isn_dt: Some("2023-12-01 11:10:04".to_owned()), ..alarm("5", "안녕") };
        assert!(matches!(send(options(&folder, Make::Table), &timed), Err(Refusal::Conflict(_))));
    }

    #[test]
    fn an_adopted_table_without_users_refuses_a_user_and_is_never_widened() {
        let folder = tempfile::tempdir().unwrap();
        let options = options(&folder, Make::Table);
        let table = "CREATE TABLE alarm (id INTEGER, lang TEXT, message TEXT, isn_dt TEXT, PRIMARY KEY (id, lang))";
        let connection = Connection::open(&options.path).unwrap();
        connection.execute(table, []).unwrap();
        connection.execute("INSERT INTO alarm VALUES (5, 'ko', 'x', NULL)", []).unwrap();
        let for_one = NewAlarm { user: Some("tiaz".to_owned()), ..alarm("6", "안녕") };
        assert!(matches!(send(options.clone(), &for_one), Err(Refusal::Impossible(why)) if why.contains("user_id")));
        assert!(matches!(send(options.clone(), &alarm("6", "안녕")), Ok(Written::Done(_))));
        assert!(matches!(send(options, &alarm("5", "안녕")), Err(Refusal::Conflict(_))), "5 and '5' are one alarm");
        let rows: u32 = connection.query_row("SELECT count(*) FROM alarm", [], |row| row.get(0)).unwrap();
        assert_eq!(rows, 3);
    }
}
