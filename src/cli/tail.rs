//! `tail`: a user's alarms in the terminal, over every loss of the connection.

use std::time::Duration;

use clap::Args;
use reqwest::{
    Method, StatusCode,
    header::{ACCEPT, CONTENT_TYPE, RETRY_AFTER},
};
use serde_json::{Map, Value, value::RawValue};
use tokio::time::{sleep, timeout};
use uuid::Uuid;

use super::{
    Failure,
    client::{Client, HubAddress, refusal, unanswered},
    event_stream::{EventStream, Message},
    print, tell, user, with_causes,
};

/// The heartbeat that is assumed until the hub has told its own.
const HEARTBEAT: Duration = Duration::from_secs(15);

/// How long the head of an answer may take.
const HEAD: Duration = Duration::from_secs(30);

/// The first pause, unless the hub asks for another, and the longest.
const PAUSE: Duration = Duration::from_secs(1);
const PAUSE_MAX: Duration = Duration::from_secs(30);

/// Events that are printed; the others are between the hub and its client.
const PRINTED: [&str; 7] = ["alarm", "updated", "cleared", "acknowledged", "gap", "reset", "status"];

/// What `tail` is told.
#[derive(Args, Debug)]
#[command(after_help = "Prints one JSON object a line: the event's data and its name. A newer connection of the same \
                        user ends it with exit code 0, a refusal with 1.")]
pub struct Arguments {
    /// Whose alarms
    #[arg(long, value_parser = user)]
    user: String,
    /// In which languages, as in Accept-Language [default: the hub's]
    #[arg(long, value_name = "TAGS")]
    lang: Option<String>,
    /// Begin with the newest of the past
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u16).range(..=1000), default_value_t = 0)]
    history: u16,
    #[command(flatten)]
    hub: HubAddress,
}

pub async fn run(arguments: Arguments) -> Result<(), Failure> {
    let client = Client::new(arguments.hub.clone())?;
    let mut tail = Tail { client, arguments, stream: EventStream::default(), position: String::new(), misses: 0 };
    loop {
        match tail.connect().await? {
            End::ForGood(why) => {
                tell(&why);
                return Ok(());
            }
            End::Again { after, why } => {
                let pause = after.unwrap_or_else(|| tail.pause(fraction()));
                tell(&format!("{why}; again in {:.1} s", pause.as_secs_f32()));
                sleep(pause).await;
            }
        }
    }
}

/// How a connection ends that is not a failure.
#[derive(Debug, PartialEq, Eq)]
enum End {
    /// There is no reason to come back.
    ForGood(String),
    /// Come back after the time that the hub asks for, or after the client's own.
    Again { after: Option<Duration>, why: String },
}

fn again(why: impl Into<String>) -> End {
    End::Again { after: None, why: why.into() }
}

struct Tail {
    client: Client,
    arguments: Arguments,
    stream: EventStream,
    /// What a resume says it has seen; outlives the stream that told it.
    position: String,
    /// Connections in a row that ended before a `hello`.
    misses: u32,
}

impl Tail {
    /// The pause before the next attempt: what the hub asked for after a connection that was one, and then up to twice
    /// as much with each that was not, at random so that many clients do not come back together.
    fn pause(&self, fraction: f64) -> Duration {
        let retry = self.stream.retry().map_or(PAUSE, Duration::from_millis).min(PAUSE_MAX);
        match self.misses {
            0 => retry,
            misses => retry.saturating_mul(2_u32.saturating_pow(misses)).min(PAUSE_MAX).mul_f64(fraction),
        }
    }

    async fn connect(&mut self) -> Result<End, Failure> {
        self.misses = self.misses.saturating_add(1);
        let mut url = self.client.url(&["connection", &self.arguments.user]);
        if let Some(lang) = &self.arguments.lang {
            url.query_pairs_mut().append_pair("lang", lang);
        }
        if self.position.is_empty() && self.arguments.history > 0 {
            url.query_pairs_mut().append_pair("history", &self.arguments.history.to_string());
        }
        let mut request = self.client.request_to(Method::GET, url.clone())?.header(ACCEPT, "text/event-stream");
        if !self.position.is_empty() {
            request = request.header("last-event-id", &self.position);
        }
        let mut response = match timeout(HEAD, request.send()).await {
            Ok(Ok(response)) => response,
            Ok(Err(cause)) => return Ok(again(unanswered(&cause))),
            Err(_) => return Ok(again(format!("{url} does not answer"))),
        };
        let status = response.status();
        if status == StatusCode::NO_CONTENT {
            return Ok(End::ForGood(format!("a newer connection of {} goes on instead", self.arguments.user)));
        }
        if status != StatusCode::OK {
            let is_transient = status.is_server_error()
                || matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT);
            let after = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
            let why = refusal(response).await;
            let again = End::Again { after: after.map(Duration::from_secs).map(|wait| wait.min(PAUSE_MAX)), why };
            return match again {
                End::Again { why, .. } if !is_transient => Err(Failure::Failed(why)),
                again => Ok(again),
            };
        }
        let is_stream = response.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
        if !is_stream.is_some_and(|kind| kind.starts_with("text/event-stream")) {
            return Err(Failure::Failed(format!("{url} is no event stream: is this the address of a hub?")));
        }
        self.stream = EventStream::default();
        let (mut heartbeat, mut messages) = (HEARTBEAT, Vec::new());
        loop {
            // Two heartbeats may be late; the middle of the third is silence.
            let piece = match timeout(heartbeat.mul_f64(2.5), response.chunk()).await {
                Ok(Ok(Some(piece))) => piece,
                Ok(Ok(None)) => return Ok(again("the connection ended")),
                Ok(Err(cause)) => return Ok(again(with_causes(&cause))),
                Err(_) => return Ok(again("the connection went silent")),
            };
            if self.stream.feed(&piece, &mut messages).is_err() {
                return Err(Failure::Failed(format!("{url} sends an event that is too large for one of a hub")));
            }
            for message in messages.drain(..) {
                match self.take(&message)? {
                    Some(Told::Heartbeat(told)) => heartbeat = told,
                    Some(Told::End(end)) => {
                        self.remember();
                        return Ok(end);
                    }
                    None => {}
                }
            }
            self.remember();
        }
    }

    /// A stream that tells no position, as one that is busy at once, does not take back what an earlier one told.
    fn remember(&mut self) {
        if !self.stream.last_id().is_empty() {
            self.stream.last_id().clone_into(&mut self.position);
        }
    }

    fn take(&mut self, message: &Message) -> Result<Option<Told>, Failure> {
        if PRINTED.contains(&&*message.event) {
            if let Some(line) = line(message) {
                print(&line)?;
            }
            return Ok(None);
        }
        let data = || serde_json::from_str(&message.data).unwrap_or(Value::Null);
        Ok(match &*message.event {
            "hello" => {
                self.misses = 0;
                let told = data().get("heartbeat_ms").and_then(Value::as_u64);
                told.map(|told| Told::Heartbeat(Duration::from_millis(told.clamp(100, 3_600_000))))
            }
            "bye" => Some(Told::End(farewell(&data()))),
            _ => None,
        })
    }
}

/// What a control event means to the connection.
enum Told {
    Heartbeat(Duration),
    End(End),
}

/// What a `bye` means.
fn farewell(bye: &Value) -> End {
    let reason = bye.get("reason").and_then(Value::as_str).unwrap_or("no reason");
    let why = match reason {
        "superseded" => "a newer connection of the same user took over".to_owned(),
        "kicked" => "an operator ended the connection".to_owned(),
        "expired" => "the token expired".to_owned(),
        other => format!("the hub ended the connection ({})", other.escape_default()),
    };
    if bye.get("reconnect").and_then(Value::as_bool) == Some(false) {
        return End::ForGood(why);
    }
    let after = bye.get("retry_ms").and_then(Value::as_u64).map(Duration::from_millis);
    End::Again { after: after.map(|after| after.min(PAUSE_MAX)), why }
}

/// An event as a line: its data as the hub wrote it, with the event's name before it. `None`: it is no JSON object.
fn line(message: &Message) -> Option<String> {
    let members: Map<String, Value> = serde_json::from_str(&message.data).ok()?;
    let name = serde_json::to_string(&message.event).ok()?;
    // White space around and between is the only thing that a line could not hold.
    let data = if message.data.contains('\n') { serde_json::to_string(&members).ok()? } else { message.data.clone() };
    let data: &RawValue = serde_json::from_str(&data).ok()?;
    match data.get().strip_prefix('{')? {
        _ if members.is_empty() => Some(format!("{{\"event\":{name}}}")),
        rest => Some(format!("{{\"event\":{name},{}", rest.trim_start())),
    }
}

/// A random number from 0 to 1: the random bits of a version 4 UUID (RFC 9562 §5.4), of which the first 48 are some.
fn fraction() -> f64 {
    let bits = Uuid::new_v4().as_u128() >> 80;
    bits as f64 / (1_u64 << 48) as f64
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn message(event: &str, data: &str) -> Message {
        Message { event: event.to_owned(), data: data.to_owned() }
    }

    fn tail() -> Tail {
        let hub = HubAddress::new(super::super::client::address("http://127.0.0.1:1").unwrap(), None);
        let client = Client::new(hub.clone()).unwrap();
        let arguments = Arguments { user: "tiaz".to_owned(), lang: None, history: 0, hub };
        Tail { client, arguments, stream: EventStream::default(), position: String::new(), misses: 0 }
    }

    #[test]
    fn a_line_is_the_data_as_the_hub_wrote_it_with_the_event_before() {
        let data = r#"{"message":"a\nb","id":"7","lang":"ko","isn_dt":null,"fallback":false}"#;
        assert_eq!(line(&message("alarm", data)).unwrap(), format!("{{\"event\":\"alarm\",{}", &data[1..]));
        assert_eq!(line(&message("gap", "{}")).unwrap(), r#"{"event":"gap"}"#);
        assert_eq!(line(&message("cleared", "{\n\"id\":\"7\"}")).unwrap(), r#"{"event":"cleared","id":"7"}"#);
        assert_eq!(line(&message("alarm", "7")), None);
        assert_eq!(line(&message("alarm", "{")), None);
    }

    #[test]
    fn a_bye_that_asks_not_to_come_back_is_the_end() {
        assert!(matches!(farewell(&json!({"reason": "superseded", "reconnect": false})), End::ForGood(_)));
        let End::Again { after, .. } = farewell(&json!({"reason": "busy", "reconnect": true, "retry_ms": 2500})) else {
            panic!("busy is no end");
        };
        assert_eq!(after, Some(Duration::from_millis(2500)));
        let End::Again { after, .. } = farewell(&json!({"reason": "new\u{1b}", "retry_ms": 9_999_999})) else {
            panic!("what is not known is no end");
        };
        assert_eq!(after, Some(PAUSE_MAX));
    }

    #[test]
    fn pauses_grow_while_nothing_answers_and_are_the_hubs_own_after_a_hello() {
        let mut tail = tail();
        assert_eq!(tail.pause(0.5), PAUSE);
        tail.misses = 1;
        assert_eq!((tail.pause(0.0), tail.pause(1.0)), (Duration::ZERO, 2 * PAUSE));
        tail.misses = 40;
        assert_eq!(tail.pause(1.0), PAUSE_MAX);
        tail.stream.feed(b"retry: 2000\n", &mut Vec::new()).unwrap();
        tail.take(&message("hello", r#"{"heartbeat_ms":200}"#)).unwrap();
        assert_eq!(tail.pause(0.0), Duration::from_secs(2));
    }

    #[test]
    fn chance_stays_between_nothing_and_all() {
        assert!((0..1000).map(|_| fraction()).all(|fraction| (0.0..=1.0).contains(&fraction)));
    }
}
