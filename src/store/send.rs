//! One alarm, written as any other program would write it.

use std::time::Duration;

use actors::alarm::{Failure, Fault, NewAlarm, Position, Refusal, Source, Written};
use rusqlite::{Connection, TransactionBehavior, params, types::Value};

use super::{Options, Store, columns, failure, head};

/// How long another writer may hold the database.
const PATIENCE: Duration = Duration::from_secs(10);

/// Writes an alarm into the database, which is adopted first if it has not been: a row that comes before the adoption
/// would be history, not news. The same alarm again is no error, so that whoever does not know may ask again.
///
/// # Errors
/// [`Refusal::Conflict`] if the id exists with other content, [`Refusal::Impossible`] for a user in a table without
/// users, [`Refusal::Failed`] if the database does not take it.
pub fn send(options: Options, alarm: &NewAlarm) -> Result<Written, Refusal> {
    let feed = Store::new(options.clone()).open().map_err(Refusal::Failed)?.feed;
    let write = || -> rusqlite::Result<Result<Written, Refusal>> {
        let mut connection = Connection::open_with_flags(&options.path, rusqlite::OpenFlags::SQLITE_OPEN_READ_WRITE)?;
        connection.busy_timeout(PATIENCE)?;
        let columns = columns(&connection)?;
        let has = |name: &str| columns.iter().any(|column| column.eq_ignore_ascii_case(name));
        if alarm.user.is_some() && !has("user_id") {
            let why = "the table alarm has no column user_id, so every alarm in it is for everyone: leave the user out";
            return Ok(Err(Refusal::Impossible(why.to_owned())));
        }
        if alarm.isn_dt.is_some() && !has("isn_dt") {
            let why = "the table alarm has no column isn_dt: leave the time out";
            return Ok(Err(Refusal::Impossible(why.to_owned())));
        }
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let known = stored(&transaction, &alarm.id, has("user_id"), has("isn_dt"))?;
        if !known.is_empty() {
            let seq = head(&transaction)?;
            return Ok(if is_same(&known, alarm) {
                Ok(Written::Unchanged(Position { feed, seq }))
            } else {
                Err(Refusal::Conflict(format!("there is an alarm {} with other content", alarm.id)))
            });
        }
        let optional = [("user_id", &alarm.user), ("isn_dt", &alarm.isn_dt)];
        let optional: Vec<(&str, &String)> =
            optional.into_iter().filter_map(|(name, value)| Some((name, value.as_ref()?))).collect();
        let names: String = optional.iter().map(|(name, _)| format!(", {name}")).collect();
        let places: String = (0..optional.len()).map(|index| format!(", ?{}", index + 4)).collect();
        let sql = format!("INSERT INTO alarm (id, lang, message{names}) VALUES (?1, ?2, ?3{places})");
        for (lang, text) in &alarm.messages {
            let mut values: Vec<&String> = vec![&alarm.id, lang, text];
            values.extend(optional.iter().map(|(_, value)| *value));
            transaction.prepare_cached(&sql)?.execute(rusqlite::params_from_iter(values))?;
        }
        let seq = head(&transaction)?;
        transaction.commit()?;
        Ok(Ok(Written::Done(Position { feed, seq })))
    };
    write().unwrap_or_else(|cause| Err(Refusal::Failed(refused(&cause))))
}

fn refused(cause: &rusqlite::Error) -> Failure {
    match failure(cause) {
        Failure { fault: Fault::Locked, .. } => {
            let cause = format!("another program has held the database for {} s", PATIENCE.as_secs());
            Failure { fault: Fault::Locked, cause }
        }
        other => other,
    }
}

/// A row that is there: language, text, user, time.
type Stored = (Value, Value, Value, Value);

fn stored(connection: &Connection, id: &str, has_user: bool, has_time: bool) -> rusqlite::Result<Vec<Stored>> {
    let user = if has_user { "user_id" } else { "NULL" };
    let time = if has_time { "isn_dt" } else { "NULL" };
    // 5 and '5' are one alarm; a number is only meant by a text that reads exactly like it.
    let number = id.parse::<i64>().ok().filter(|number| number.to_string() == id);
    let sql = format!("SELECT lang, message, {user}, {time} FROM alarm WHERE id IN (?1, ?2)");
    let mut rows = connection.prepare_cached(&sql)?;
    rows.query_map(params![id, number], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?)))?.collect()
}

/// Whether what is there says the same; a time that was not said is not compared.
fn is_same(stored: &[Stored], alarm: &NewAlarm) -> bool {
    let text = |value: &Value, wanted: &str| matches!(value, Value::Text(text) if text == wanted);
    let same = |value: &Value, wanted: Option<&String>| match wanted {
        Some(wanted) => text(value, wanted),
        None => *value == Value::Null,
    };
    stored.len() == alarm.messages.len()
        && stored.iter().all(|(lang, message, user, time)| {
            alarm.messages.iter().any(|(tag, said)| text(lang, tag) && text(message, said))
                && same(user, alarm.user.as_ref())
                && (alarm.isn_dt.is_none() || same(time, alarm.isn_dt.as_ref()))
        })
}

#[cfg(test)]
mod tests {
    use actors::language::Aliases;

    use super::*;

    fn alarm(id: &str, text: &str) -> NewAlarm {
        let messages = vec![("ko".to_owned(), text.to_owned()), ("en-US".to_owned(), "hello".to_owned())];
        NewAlarm { id: id.to_owned(), user: None, isn_dt: None, messages }
    }

    fn options(folder: &tempfile::TempDir, create: bool) -> Options {
        let path = folder.path().join("alarms.db");
        Options { path, create, aliases: Aliases::default(), retention: Duration::from_secs(60) }
    }

    #[test]
    fn the_same_again_changes_nothing_and_other_content_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let first = send(options(&folder, true), &alarm("5", "안녕")).unwrap();
        let Written::Done(position) = first else { panic!("it is new: {first:?}") };
        assert_eq!(send(options(&folder, false), &alarm("5", "안녕")).unwrap(), Written::Unchanged(position));
        assert!(matches!(send(options(&folder, false), &alarm("5", "잘 가")), Err(Refusal::Conflict(_))));
        let timed = NewAlarm { isn_dt: Some("2023-12-01 11:10:04".to_owned()), ..alarm("5", "안녕") };
        assert!(matches!(send(options(&folder, false), &timed), Err(Refusal::Conflict(_))));
    }

    #[test]
    fn an_adopted_table_without_users_refuses_a_user_and_is_never_widened() {
        let folder = tempfile::tempdir().unwrap();
        let options = options(&folder, false);
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
