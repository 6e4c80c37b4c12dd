//! What travels, as bytes: the only `event:` and `data:`. Pure.

use std::{
    fmt::Write,
    time::{SystemTime, UNIX_EPOCH},
};

use actors::{
    alarm::{FeedName, Position},
    claim::Claim,
    sink::{Block, Event},
};
use bytes::Bytes;
use serde::Serialize;
use serde_json::json;
use uuid::Uuid;

/// The members of an alarm's JSON object that are the same for every reader of the row, open at its end.
pub fn body(id: &str, lang: &str, message: &str, isn_dt: Option<&str>, truncated: bool) -> Bytes {
    let mut text = format!(
        r#"{{"message":{},"id":{},"lang":{},"isn_dt":{}"#,
        json!(message),
        json!(id),
        json!(lang),
        json!(isn_dt)
    );
    if truncated {
        text.push_str(r#","truncated":true"#);
    }
    text.into()
}

/// The data of a hello.
#[derive(Serialize)]
struct Hello<'a> {
    conn: &'a str,
    user: &'a str,
    languages: &'a [String],
    resumed: bool,
    heartbeat_ms: u128,
    server: &'static str,
}

const SERVER: &str = concat!("alarm-hub/", env!("CARGO_PKG_VERSION"));

/// The data of a bye.
#[derive(Serialize)]
struct Bye<'a> {
    reason: &'static str,
    reconnect: bool,
    conn: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_ms: Option<u128>,
}

fn text(data: &impl Serialize) -> String {
    serde_json::to_string(data).unwrap_or_default() // what has only texts, numbers and flags can be written
}

fn join(parts: &[&str], out: &mut Vec<u8>) {
    parts.iter().for_each(|part| out.extend_from_slice(part.as_bytes()));
}

/// Writes the blocks of one connection (WHATWG HTML §9.2). What they have in common is made once.
pub struct Encoder {
    conn: Uuid,
    /// What each id ends with, and with it each block.
    claim: String,
}

impl Encoder {
    /// For the connection `conn` under `claim`.
    pub fn new(conn: Uuid, claim: Claim) -> Self {
        Self { conn, claim: format!(".{claim}\n\n") }
    }

    /// How many bytes a block takes: exactly for what is frequent, about for the rest.
    pub fn size(&self, block: &Block) -> usize {
        let data = match &block.event {
            Event::Alarm { body, fallback } => {
                b"event: alarm\ndata: ".len() + body.len() + end_of_data(*fallback).len()
            }
            Event::Updated { body, fallback } => {
                b"event: updated\ndata: ".len() + body.len() + end_of_data(*fallback).len()
            }
            Event::Ping => b"event: ping\ndata: {}".len(),
            _ => 256,
        };
        let digits = block.at.seq.checked_ilog10().unwrap_or(0) as usize + 1;
        data + b"\nid: 01234567.".len() + digits + self.claim.len()
    }

    /// Appends a block.
    pub fn encode(&self, block: &Block, out: &mut Vec<u8>) {
        let (event, data, retry) = match &block.event {
            Event::Hello { user, languages, resumed, heartbeat, retry } => {
                let mut name = Uuid::encode_buffer();
                let data = Hello {
                    conn: self.conn.simple().encode_lower(&mut name),
                    user,
                    languages,
                    resumed: *resumed,
                    heartbeat_ms: heartbeat.as_millis(),
                    server: SERVER,
                };
                ("hello", text(&data), Some(*retry))
            }
            Event::Alarm { body, fallback } | Event::Updated { body, fallback } => {
                let name: &[u8] = if matches!(block.event, Event::Alarm { .. }) {
                    b"event: alarm\ndata: "
                } else {
                    b"event: updated\ndata: "
                };
                out.extend_from_slice(name);
                out.extend_from_slice(body);
                out.extend_from_slice(end_of_data(*fallback));
                return self.identify(block.at, out);
            }
            Event::Ping => {
                out.extend_from_slice(b"event: ping\ndata: {}");
                return self.identify(block.at, out);
            }
            Event::Cleared { id } => ("cleared", json!({ "id": &**id }).to_string(), None),
            Event::Acknowledged { id, acknowledged } => {
                ("acknowledged", format!(r#"{{"id":{},"acknowledged":{acknowledged}}}"#, json!(&**id)), None)
            }
            Event::Gap => ("gap", r#"{"reason":"expired"}"#.to_owned(), None),
            Event::Reset => ("reset", r#"{"reason":"other-database"}"#.to_owned(), None),
            Event::Status(status) => {
                let mut data = match status.down_since {
                    Some(since) => format!(r#"{{"source":"down","since":"{}""#, rfc3339(since)),
                    None => r#"{"source":"up""#.to_owned(),
                };
                if let Some(since) = status.alone_since {
                    let _ = write!(data, r#","redis":"down","redis_since":"{}""#, rfc3339(since)); // as below
                }
                data.push('}');
                ("status", data, None)
            }
            Event::Bye { reason, retry } => {
                let mut name = Uuid::encode_buffer();
                let data = Bye {
                    reason: reason.as_str(),
                    reconnect: reason.reconnect(),
                    conn: self.conn.simple().encode_lower(&mut name),
                    retry_ms: retry.map(|retry| retry.as_millis()),
                };
                ("bye", text(&data), *retry)
            }
        };
        if let Some(retry) = retry {
            join(&["retry: ", itoa::Buffer::new().format(retry.as_millis()), "\n"], out);
        }
        join(&["event: ", event, "\ndata: ", &data], out);
        self.identify(block.at, out);
    }

    fn identify(&self, at: Position, out: &mut Vec<u8>) {
        // `format!` would cost as much as all the rest of a block.
        out.extend_from_slice(b"\nid: ");
        let digit = |shift: u32| b"0123456789abcdef"[(at.feed.0 >> shift & 0xf) as usize];
        out.extend_from_slice(&[28, 24, 20, 16, 12, 8, 4, 0].map(digit));
        out.push(b'.');
        out.extend_from_slice(itoa::Buffer::new().format(at.seq).as_bytes());
        out.extend_from_slice(self.claim.as_bytes());
    }
}

/// What closes the object that [`body`] began.
fn end_of_data(fallback: bool) -> &'static [u8] {
    if fallback { b",\"fallback\":true}" } else { b",\"fallback\":false}" }
}

/// A position as text.
pub fn cursor(at: Position) -> String {
    format!("{}.{}", at.feed, at.seq)
}

/// An alarm of the history, from the body of the row that was chosen.
pub fn standing(body: &Bytes, fallback: bool, acknowledged: bool, at: Position) -> String {
    let body = String::from_utf8_lossy(body);
    format!(r#"{body},"fallback":{fallback},"acknowledged":{acknowledged},"cursor":"{}"}}"#, cursor(at))
}

/// A page of the history.
pub fn history(alarms: &[String], next: Option<Position>, unread: u32, unread_more: bool) -> String {
    let (alarms, next) = (alarms.join(","), json!(next.map(cursor)));
    let more = if unread_more { r#","unread_more":true"# } else { "" };
    format!(r#"{{"alarms":[{alarms}],"next":{next},"unread":{unread}{more}}}"#)
}

/// UTC, to the second (civil date from days as in Howard Hinnant's "chrono-compatible low-level date algorithms").
pub fn rfc3339(time: SystemTime) -> String {
    let seconds = time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let days = seconds / 86_400 + 719_468;
    let (era, of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * of_year + 2) / 153;
    let (day, month) = (of_year - (153 * shifted + 2) / 5 + 1, if shifted < 10 { shifted + 3 } else { shifted - 9 });
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    let (hour, minute, second) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

/// Stands in an id for no database at all: such an id has a claim and no position.
pub const NOWHERE: Position = Position { feed: FeedName(0), seq: 0 };

/// Reads a `Last-Event-ID`. What cannot be read is no position and no claim.
pub fn last_event_id(text: &[u8]) -> (Option<Position>, Option<Claim>) {
    let Some(text) = std::str::from_utf8(text).ok() else { return (None, None) };
    let mut parts = text.split('.');
    let (feed, seq, claim) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default(), parts.next());
    let hex = |text: &str| text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    let number = !seq.is_empty() && seq.bytes().all(|byte| byte.is_ascii_digit());
    let position = (feed.len() == 8 && hex(feed) && number && parts.next().is_none())
        .then(|| Some(Position { feed: FeedName(u32::from_str_radix(feed, 16).ok()?), seq: seq.parse().ok()? }))
        .flatten();
    let claim = claim.filter(|claim| position.is_some() && claim.len() == 32 && hex(claim));
    let claim = claim.and_then(|claim| Claim::from_uuid(Uuid::try_parse(claim).ok()?));
    (position.filter(|position| position.feed != NOWHERE.feed), claim)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    fn written(event: Event) -> String {
        let at = Position { feed: FeedName(0x0a1b_2c3d), seq: 42 };
        let claim = Claim::next(None, Duration::from_millis(1_790_000_000_000), Uuid::nil());
        let mut out = Vec::new();
        Encoder::new(Uuid::nil(), claim).encode(&Block { event, at }, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn an_alarm_is_written_byte_for_byte() {
        let body = body("5b48ff24", "ko", "예약에 성공했습니다!", Some("2023-12-01 11:10:04"), false);
        assert_eq!(
            written(Event::Alarm { body, fallback: false }),
            "event: alarm\ndata: {\"message\":\"예약에 성공했습니다!\",\"id\":\"5b48ff24\",\"lang\":\"ko\",\
             \"isn_dt\":\"2023-12-01 11:10:04\",\"fallback\":false}\nid: 0a1b2c3d.42.01a0c4506c0070008000000000000000\n\n"
        );
    }

    #[test]
    fn the_size_of_what_is_frequent_is_known_before() {
        let body = body("1", "ko", "x", None, false);
        let claim = Claim::next(None, Duration::ZERO, Uuid::nil());
        let encoder = Encoder::new(Uuid::nil(), claim);
        let alarm = |fallback| Event::Alarm { body: body.clone(), fallback };
        for event in [alarm(true), alarm(false), Event::Updated { body: body.clone(), fallback: true }, Event::Ping] {
            for seq in [0, 9, 10, 99, 100, 12_345, u64::MAX] {
                let block = Block { event: event.clone(), at: Position { feed: FeedName(1), seq } };
                let mut out = Vec::new();
                encoder.encode(&block, &mut out);
                assert_eq!(out.len(), encoder.size(&block), "{block:?}");
            }
        }
    }

    #[test]
    fn nothing_in_a_message_ends_a_line() {
        let body = body("a\r\nb", "k\no", "x\n\nevent: y\r\0", None, false);
        assert_eq!(written(Event::Updated { body, fallback: true }).lines().count(), 4);
    }

    #[test]
    fn an_id_is_read_as_it_was_written_and_anything_else_is_none() {
        let text = written(Event::Ping);
        let id = text.lines().last().unwrap_or_default();
        let id = if id.is_empty() { text.lines().nth(2).unwrap() } else { id }.trim_start_matches("id: ").to_owned();
        let (position, claim) = last_event_id(id.as_bytes());
        assert_eq!(position, Some(Position { feed: FeedName(0x0a1b_2c3d), seq: 42 }));
        assert!(claim.is_some());
        for odd in ["", "abc", "0a1b2c3d.-1", "0a1b2c3d.18446744073709551616", "0a1b2c3d.1.2.3", "0A1B2C3D.1"] {
            assert_eq!(last_event_id(odd.as_bytes()), (None, None), "{odd}");
        }
    }

    proptest! {
        #[test]
        fn whatever_a_client_sends_for_an_id_is_read_or_is_none(
            text in prop_oneof![
                prop::collection::vec(any::<u8>(), 0..200),
                "[0-9a-f]{7,9}[.][0-9]{0,21}([.][0-9a-fA-F]{31,33})?([.].?)?".prop_map(String::into_bytes),
            ]
        ) {
            let (position, claim) = last_event_id(&text);
            prop_assert!(position.is_some() || claim.is_none() || text.starts_with(b"00000000."));
            let mut again = cursor(position.unwrap_or(NOWHERE));
            if let Some(claim) = claim {
                again.push_str(&format!(".{claim}"));
            }
            prop_assert_eq!(last_event_id(again.as_bytes()), (position, claim));
        }
    }
}
