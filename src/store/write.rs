//! What the hub itself writes, as any other program would: through the table and its triggers.

use std::time::{Duration, Instant};

use actors::alarm::{FeedName, NewAlarm, Position, Refusal, Write, Written};
use rusqlite::{Connection, ErrorCode, OptionalExtension, Savepoint, TransactionBehavior, params, params_from_iter};

use super::{Opened, failure, head, row::Raw, table::Table, ticket};

/// How long a transaction goes on taking writes: another program that wants to write waits no longer.
const TRANSACTION_MAX: Duration = Duration::from_millis(50);

/// Why a write was not done.
pub(super) struct Refused(pub(super) Refusal);

pub(super) type Result<T> = std::result::Result<T, Refused>;

impl From<rusqlite::Error> for Refused {
    fn from(cause: rusqlite::Error) -> Self {
        Self(match cause.sqlite_error_code() {
            // A condition of an adopted table; SQLite's words name the column and say nothing of the content.
            Some(ErrorCode::ConstraintViolation | ErrorCode::TypeMismatch) => {
                Refusal::Impossible(format!("the table alarm does not take it: {cause}"))
            }
            _ => Refusal::Failed(failure(&cause)),
        })
    }
}

/// Does all of these, each alone, in as few transactions as may be short.
pub(super) fn write(opened: &mut Opened, writes: Vec<Write>) -> Vec<std::result::Result<Written, Refusal>> {
    let mut answers = Vec::with_capacity(writes.len());
    let mut writes = writes.into_iter().peekable();
    while writes.peek().is_some() {
        let first = answers.len();
        if let Err(cause) = transaction(opened, &mut writes, &mut answers) {
            // What was done together is undone together.
            let failed = |answer: &mut std::result::Result<Written, Refusal>| {
                if answer.is_ok() {
                    *answer = Err(Refusal::Failed(failure(&cause)));
                }
            };
            answers[first..].iter_mut().for_each(failed);
            if answers.len() == first {
                let failure = failure(&cause);
                answers.extend(writes.by_ref().map(|_| Err(Refusal::Failed(failure.clone()))));
            }
        }
    }
    answers
}

/// Does the next of these in one transaction.
fn transaction(
    opened: &mut Opened,
    writes: &mut impl Iterator<Item = Write>,
    answers: &mut Vec<std::result::Result<Written, Refusal>>,
) -> rusqlite::Result<()> {
    let Opened { connection, table, feed, .. } = opened;
    let mut transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let begun = Instant::now();
    while begun.elapsed() < TRANSACTION_MAX
        && let Some(write) = writes.next()
    {
        let savepoint = transaction.savepoint()?;
        let answer = Writer { connection: &savepoint, table, feed: *feed }.write(write);
        if answer.is_ok() {
            savepoint.commit()?;
        } else {
            undo(savepoint)?;
        }
        answers.push(answer.map_err(|refused| refused.0));
    }
    transaction.commit()
}

/// Takes back what was written since; an error if SQLite itself has taken back everything, as it does when the disk is
/// full.
fn undo(mut savepoint: Savepoint<'_>) -> rusqlite::Result<()> {
    savepoint.rollback()?;
    savepoint.commit()
}

/// Writes one thing.
struct Writer<'c> {
    connection: &'c Connection,
    table: &'c Table,
    feed: FeedName,
}

impl Writer<'_> {
    fn write(&self, write: Write) -> Result<Written> {
        let changed = match write {
            Write::Publish(alarms) => self.publish(&alarms)?,
            Write::Replace(alarm) => self.replace(&alarm)?,
            Write::Clear(id) => self.clear(&id)?,
            Write::Acknowledge { user, id, acknowledged } => self.acknowledge(&user, &id, acknowledged)?,
            Write::Revoke(claims) => ticket::revoke(self.connection, &claims).map(|()| true)?,
            Write::NoteClock(clock) => ticket::note_clock(self.connection, clock).map(|()| true)?,
            Write::IssueTicket { digest, user, until, expires } => {
                ticket::issue(self.connection, &digest, &user, until, expires).map(|()| true)?
            }
            Write::RedeemTicket { digest, user, claim } => {
                return Ok(Written::Redeemed(ticket::redeem(self.connection, &digest, &user, claim)?));
            }
            Write::BindTicket { digest, claim } => ticket::bind(self.connection, &digest, claim).map(|()| true)?,
        };
        let at = Position { feed: self.feed, seq: head(self.connection)? };
        Ok(if changed { Written::Done(at) } else { Written::Unchanged(at) })
    }

    /// All or none; whether anything was new.
    fn publish(&self, alarms: &[NewAlarm]) -> Result<bool> {
        let mut changed = false;
        for alarm in alarms {
            self.check(alarm)?;
            let stored = self.stored(&alarm.id)?;
            if stored.is_empty() {
                let time = alarm.isn_dt.clone();
                alarm.messages.iter().try_for_each(|(lang, text)| self.insert(alarm, time.as_deref(), lang, text))?;
                changed = true;
            } else if !is_same(&stored, alarm) {
                return Err(Refused(Refusal::Conflict(format!("there is an alarm {} with other content", alarm.id))));
            }
        }
        Ok(changed)
    }

    /// Makes the alarm be exactly this, by as few changes as it takes; whether it took any.
    fn replace(&self, alarm: &NewAlarm) -> Result<bool> {
        self.check(alarm)?;
        let stored = self.stored(&alarm.id)?;
        if is_same(&stored, alarm) {
            return Ok(false);
        }
        // A time that is not said stays what it was, in a new translation too.
        let time = alarm.isn_dt.clone().or_else(|| stored.first().and_then(|row| text_of(&row.time)));
        let is_now = |row: &Stored| alarm.messages.iter().find(|(lang, _)| is_text(&row.lang, lang));
        for row in &stored {
            if let Some((lang, text)) = is_now(row) {
                self.update(alarm, time.as_deref(), lang, text)?;
            }
        }
        for (lang, text) in &alarm.messages {
            if !stored.iter().any(|row| is_text(&row.lang, lang)) {
                self.insert(alarm, time.as_deref(), lang, text)?;
            }
        }
        // Last, so that the alarm is never away.
        let delete = format!("DELETE FROM alarm AS a WHERE {} AND a.lang IS ?2", self.table.is_of("a", "?1"));
        let mut delete = self.connection.prepare_cached(&delete)?;
        for row in stored.iter().filter(|row| is_now(row).is_none()) {
            delete.execute(params![alarm.id, row.lang])?;
        }
        Ok(true)
    }

    fn clear(&self, id: &str) -> Result<bool> {
        let sql = format!("DELETE FROM alarm AS a WHERE {}", self.table.is_of("a", "?1"));
        match self.connection.prepare_cached(&sql)?.execute([id])? {
            0 => Err(Refused(Refusal::NotFound)),
            _ => Ok(true),
        }
    }

    fn acknowledge(&self, user: &str, id: &str, acknowledged: bool) -> Result<bool> {
        let column = self.table.user();
        let sql = format!(
            "SELECT CAST(a.id AS TEXT) FROM alarm AS a WHERE {} AND ({column} IS NULL OR {column} = ?2) LIMIT 1",
            self.table.is_of("a", "?1")
        );
        let id = self.connection.prepare_cached(&sql)?.query_row([id, user], |row| row.get::<_, Raw>(0)).optional()?;
        let Some(id) = id else { return Err(Refused(Refusal::NotFound)) };
        let changed = if acknowledged {
            let sql = "INSERT OR IGNORE INTO alarm_ack (user_id, alarm_id, at) VALUES (?1, ?2, strftime('%s', 'now'))";
            self.connection.prepare_cached(sql)?.execute(params![user, id])?
        } else {
            let sql = "DELETE FROM alarm_ack WHERE user_id = ?1 AND alarm_id = ?2";
            self.connection.prepare_cached(sql)?.execute(params![user, id])?
        };
        Ok(changed > 0)
    }

    /// What a table cannot hold is refused, never left out: an alarm for one user would be everyone's.
    fn check(&self, alarm: &NewAlarm) -> Result<()> {
        let why = if alarm.user.is_some() && !self.table.has_user {
            "the table alarm has no column user_id, so every alarm in it is for everyone: leave the user out"
        } else if alarm.isn_dt.is_some() && !self.table.has_time {
            "the table alarm has no column isn_dt: leave the time out"
        } else {
            return Ok(());
        };
        Err(Refused(Refusal::Impossible(why.to_owned())))
    }

    fn stored(&self, id: &str) -> rusqlite::Result<Vec<Stored>> {
        let (user, time) = (self.table.user(), self.table.time());
        let sql =
            format!("SELECT a.lang, a.message, {user}, {time} FROM alarm AS a WHERE {}", self.table.is_of("a", "?1"));
        let mut rows = self.connection.prepare_cached(&sql)?;
        let read = rows.query_map([id], |row| {
            Ok(Stored { lang: row.get(0)?, message: row.get(1)?, user: row.get(2)?, time: row.get(3)? })
        })?;
        read.collect()
    }

    fn insert(&self, alarm: &NewAlarm, time: Option<&str>, lang: &str, text: &str) -> rusqlite::Result<()> {
        let (mut names, mut places) = (String::from("id, lang, message"), String::from("?1, ?2, ?3"));
        let mut values = vec![&*alarm.id, lang, text];
        for (name, value) in [("user_id", alarm.user.as_deref()), ("isn_dt", time)] {
            if let Some(value) = value {
                values.push(value);
                names += &format!(", {name}");
                places += &format!(", ?{}", values.len());
            }
        }
        if time.is_none() && self.table.needs_time() {
            names += ", isn_dt";
            places += ", datetime('now', 'localtime')";
        }
        let sql = format!("INSERT INTO alarm ({names}) VALUES ({places})");
        self.connection.prepare_cached(&sql)?.execute(params_from_iter(values)).map(|_| ())
    }

    fn update(&self, alarm: &NewAlarm, time: Option<&str>, lang: &str, text: &str) -> rusqlite::Result<()> {
        let mut set = String::from("message = ?3");
        let mut values = vec![Some(&*alarm.id), Some(lang), Some(text)];
        let columns = [("user_id", self.table.has_user, alarm.user.as_deref()), ("isn_dt", time.is_some(), time)];
        for (name, _, value) in columns.into_iter().filter(|(_, is_set, _)| *is_set) {
            values.push(value);
            set += &format!(", {name} = ?{}", values.len());
        }
        let sql = format!("UPDATE alarm AS a SET {set} WHERE {} AND a.lang = ?2", self.table.is_of("a", "?1"));
        self.connection.prepare_cached(&sql)?.execute(params_from_iter(values)).map(|_| ())
    }
}

/// A row that is there.
struct Stored {
    lang: Raw,
    message: Raw,
    user: Raw,
    time: Raw,
}

/// Whether what is there says the same; a time that was not said is not compared.
fn is_same(stored: &[Stored], alarm: &NewAlarm) -> bool {
    let is = |value: &Raw, wanted: Option<&String>| match wanted {
        Some(wanted) => is_text(value, wanted),
        None => *value == Raw::Null,
    };
    stored.len() == alarm.messages.len()
        && stored.iter().all(|row| {
            alarm.messages.iter().any(|(lang, text)| is_text(&row.lang, lang) && is_text(&row.message, text))
                && is(&row.user, alarm.user.as_ref())
                && (alarm.isn_dt.is_none() || is(&row.time, alarm.isn_dt.as_ref()))
        })
}

/// Whether a value reads like this; a number in a column of numbers is what was written there as text.
fn is_text(value: &Raw, wanted: &str) -> bool {
    text_of(value).is_some_and(|text| text == wanted)
}

fn text_of(value: &Raw) -> Option<String> {
    match value {
        Raw::Text(bytes) => String::from_utf8(bytes.clone()).ok(),
        Raw::Integer(number) => Some(number.to_string()),
        Raw::Real(number) => Some(number.to_string()),
        Raw::Null | Raw::Blob(_) => None,
    }
}
