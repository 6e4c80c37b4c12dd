//! What travels between hubs, as bytes. The first byte is the version: hubs of another version are not understood, and
//! say so, rather than misunderstood.

use std::{
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use actors::{
    alarm::{FeedName, Position},
    exchange::Note,
    hub::Session,
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use uuid::Uuid;

/// What is written now, and all that is read.
const VERSION: u8 = 1;

/// Bytes for a value.
pub fn encode(value: &impl Serialize) -> Vec<u8> {
    // It cannot fail: a vector takes all, and nothing here has a length that is not known.
    postcard::to_extend(value, vec![VERSION]).unwrap_or_default()
}

/// The value that the bytes were made of; why not, no full stop.
pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, String> {
    match bytes.split_first() {
        Some((&VERSION, rest)) => postcard::from_bytes(rest).map_err(|cause| cause.to_string()),
        Some((version, _)) => Err(format!("it is of version {version}, this hub reads version {VERSION}")),
        None => Err("it is empty".to_owned()),
    }
}

#[derive(Serialize, Deserialize)]
enum Written {
    Look(Arc<str>),
    Acknowledged(Arc<str>, Arc<str>, bool),
    Kick(Arc<str>, u64, Arc<str>),
    Kicked(u64, bool),
    Describe(Option<Arc<str>>, u64, Arc<str>),
    Sessions(u64, Vec<Live>, bool),
}

#[derive(Serialize, Deserialize)]
struct Live {
    user: Arc<str>,
    conn: u128,
    languages: Vec<String>,
    since_ms: u64,
    took_over: bool,
    delivered: u64,
    last_alarm_ms: Option<u64>,
    feed: u32,
    seq: u64,
    queued: u32,
}

/// A note as bytes.
pub fn encode_note(note: &Note) -> Vec<u8> {
    encode(&match note.clone() {
        Note::Look(user) => Written::Look(user),
        Note::Acknowledged { user, id, acknowledged } => Written::Acknowledged(user, id, acknowledged),
        Note::Kick { user, question, from } => Written::Kick(user, question, from),
        Note::Kicked { question, done } => Written::Kicked(question, done),
        Note::Describe { user, question, from } => Written::Describe(user, question, from),
        Note::Sessions { question, sessions, last } => {
            Written::Sessions(question, sessions.into_iter().map(live).collect(), last)
        }
    })
}

/// The note that the bytes were made of.
pub fn decode_note(bytes: &[u8]) -> Result<Note, String> {
    Ok(match decode(bytes)? {
        Written::Look(user) => Note::Look(user),
        Written::Acknowledged(user, id, acknowledged) => Note::Acknowledged { user, id, acknowledged },
        Written::Kick(user, question, from) => Note::Kick { user, question, from },
        Written::Kicked(question, done) => Note::Kicked { question, done },
        Written::Describe(user, question, from) => Note::Describe { user, question, from },
        Written::Sessions(question, sessions, last) => {
            Note::Sessions { question, sessions: sessions.into_iter().map(session).collect(), last }
        }
    })
}

fn live(session: Session) -> Live {
    Live {
        user: session.user,
        conn: session.conn.as_u128(),
        languages: session.languages.to_vec(),
        since_ms: milliseconds(session.since),
        took_over: session.took_over,
        delivered: session.delivered,
        last_alarm_ms: session.last_alarm.map(milliseconds),
        feed: session.at.feed.0,
        seq: session.at.seq,
        queued: session.queued,
    }
}

fn session(live: Live) -> Session {
    Session {
        user: live.user,
        conn: Uuid::from_u128(live.conn),
        languages: live.languages.into(),
        since: time(live.since_ms),
        took_over: live.took_over,
        delivered: live.delivered,
        last_alarm: live.last_alarm_ms.map(time),
        at: Position { feed: FeedName(live.feed), seq: live.seq },
        queued: live.queued,
    }
}

/// Since 1970.
fn milliseconds(time: SystemTime) -> u64 {
    u64::try_from(time.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis()).unwrap_or(u64::MAX)
}

/// What [`milliseconds`] was made of.
fn time(milliseconds: u64) -> SystemTime {
    UNIX_EPOCH.checked_add(Duration::from_millis(milliseconds)).unwrap_or(UNIX_EPOCH)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_is_read_as_it_was_written_and_another_version_is_refused() {
        let session = Session {
            user: "가".into(),
            conn: Uuid::from_u128(7),
            languages: vec!["ko".to_owned()].into(),
            since: UNIX_EPOCH + Duration::from_millis(1_790_000_000_123),
            took_over: true,
            delivered: 3,
            last_alarm: Some(UNIX_EPOCH + Duration::from_millis(1_790_000_000_456)),
            at: Position { feed: FeedName(7), seq: 42 },
            queued: 1,
        };
        let notes = [
            Note::Acknowledged { user: "a".into(), id: "1".into(), acknowledged: false },
            Note::Describe { user: None, question: u64::MAX, from: "b".into() },
            Note::Sessions { question: 1, sessions: vec![session], last: true },
        ];
        for note in notes {
            let mut bytes = encode_note(&note);
            assert_eq!(format!("{:?}", decode_note(&bytes).unwrap()), format!("{note:?}"));
            bytes[0] += 1;
            assert!(decode_note(&bytes).unwrap_err().contains("version"));
        }
    }
}
