//! Writing alarms: publish, replace, clear.

use std::{fmt, time::Duration};

use actors::{
    alarm::{NewAlarm, Position, Write, Written},
    language::Aliases,
    poller::PollerMessage,
};
use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;
use serde::{
    Deserialize, Deserializer,
    de::{Error, MapAccess, Visitor, value::MapAccessDeserializer},
};
use serde_json::json;
use uuid::Uuid;
use warp::{
    Reply,
    http::{HeaderValue, StatusCode, header},
    reply::Response,
};

use super::{
    Api, Body, Request,
    alarms::refused,
    audit, json, may_be_user,
    problem::{self, Problem},
};
use crate::{auth::Caller, wire};

/// Bytes of a body, at most.
const BODY_MAX: usize = 1 << 20;

/// How long a body may take.
const BODY_TIME: Duration = Duration::from_secs(30);

/// Characters of an id and of a time, at most.
const TEXT_MAX: usize = 256;

/// The members of an alarm as it is sent to the hub.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Sent {
    id: Option<String>,
    user_id: Option<String>,
    isn_dt: Option<String>,
    messages: Messages,
}

/// An object with these members. (What is derived would take an array of their values as well.)
struct Object(Sent);

impl<'de> Deserialize<'de> for Object {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members;
        impl<'de> Visitor<'de> for Members {
            type Value = Object;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an alarm: an object with messages")
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Object, A::Error> {
                Sent::deserialize(MapAccessDeserializer::new(map)).map(Object)
            }
        }
        deserializer.deserialize_map(Members)
    }
}

/// Language and text, in the order in which they came.
#[derive(Debug)]
struct Messages(Vec<(String, String)>);

impl<'de> Deserialize<'de> for Messages {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Texts;
        impl<'de> Visitor<'de> for Texts {
            type Value = Messages;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of languages and texts, as in {\"ko\": \"안녕\"}")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Messages, A::Error> {
                let mut texts: Vec<(String, String)> = Vec::new();
                while let Some(lang) = map.next_key::<String>()? {
                    if texts.iter().any(|(other, _)| *other == lang) {
                        return Err(A::Error::custom(format_args!("the language {lang} is there twice")));
                    }
                    texts.push((lang, map.next_value()?));
                }
                Ok(Messages(texts))
            }
        }
        deserializer.deserialize_map(Texts)
    }
}

/// Writes new alarms, all or none.
pub async fn publish(api: &Api, request: &Request, caller: &Caller, body: Body) -> Result<Response, Problem> {
    let alarms = parse(&api.aliases, &read(request, body).await?)?;
    let ids: Vec<String> = alarms.iter().map(|alarm| alarm.id.clone()).collect();
    match written(api, Write::Publish(alarms)).await? {
        Written::Unchanged(at) => Ok(answer(StatusCode::OK, &ids, at)),
        Written::Done(at) => {
            audit::acted(request, caller, "published", &audit::list(&ids));
            Ok(answer(StatusCode::CREATED, &ids, at))
        }
        Written::Redeemed(_) => Err(problem::busy()),
    }
}

/// Makes an alarm be exactly this.
pub async fn replace(
    api: &Api,
    id: String,
    request: &Request,
    caller: &Caller,
    body: Body,
) -> Result<Response, Problem> {
    let Object(sent) = decode(&read(request, body).await?)?;
    if sent.id.as_ref().is_some_and(|other| *other != id) {
        return Err(bad("id", "it is another one than the path names: leave it out"));
    }
    let alarm = checked(&api.aliases, Sent { id: Some(id), ..sent }, "")?;
    let ids = [alarm.id.clone()];
    match written(api, Write::Replace(alarm)).await? {
        Written::Done(at) | Written::Unchanged(at) => {
            audit::acted(request, caller, "replaced", &ids[0]);
            Ok(answer(StatusCode::OK, &ids, at))
        }
        Written::Redeemed(_) => Err(problem::busy()),
    }
}

/// Deletes every row of an alarm.
pub async fn clear(api: &Api, id: String, request: &Request, caller: &Caller) -> Result<Response, Problem> {
    written(api, Write::Clear(id.clone())).await?;
    audit::acted(request, caller, "cleared", &id);
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// Writes, and wakes the poller so that nobody waits for its next look.
async fn written(api: &Api, write: Write) -> Result<Written, Problem> {
    let written = api.write(write).await?.map_err(refused)?;
    let poller = api.actors.borrow().poller.clone();
    let _ = api.ask(&poller, PollerMessage::Wake).await; // one that is being started again looks by itself
    Ok(written)
}

fn answer(status: StatusCode, ids: &[String], at: Position) -> Response {
    json(status, json!({"ids": ids, "cursor": wire::cursor(at)}).to_string())
}

/// The whole body, if it is JSON and not too large.
pub async fn read(request: &Request, mut body: Body) -> Result<Bytes, Problem> {
    let kind = request.header("content-type").unwrap_or_default();
    let mut parts = kind.split(';').map(str::trim);
    let plain = parts.next() == Some("application/json")
        && parts.all(|part| {
            !part.starts_with("charset=") || part.trim_start_matches("charset=").trim_matches('"') == "utf-8"
        });
    let coded = request.header("content-encoding").is_some_and(|coding| coding != "identity");
    if !plain || coded {
        let detail = "the body must be JSON in UTF-8, without an encoding: Content-Type: application/json";
        return Err(Problem::new(&problem::UNSUPPORTED_MEDIA_TYPE, detail)
            .with(header::ACCEPT, HeaderValue::from_static("application/json")));
    }
    let too_large = || Problem::new(&problem::TOO_LARGE, format!("a body has at most {BODY_MAX} bytes"));
    let announced = request.header("content-length").and_then(|length| length.parse::<u64>().ok());
    if announced.is_some_and(|length| length > BODY_MAX as u64) {
        return Err(too_large());
    }
    let whole = async {
        let mut bytes = BytesMut::new();
        while let Some(part) = body.next().await {
            let part = part.map_err(|_| Problem::new(&problem::BAD_BODY, "the body ended before its end"))?;
            if bytes.len() + part.len() > BODY_MAX {
                return Err(too_large());
            }
            bytes.extend_from_slice(&part);
        }
        Ok(bytes.freeze())
    };
    let late = |_| Problem::new(&problem::TIMEOUT, format!("the body took longer than {} s", BODY_TIME.as_secs()));
    tokio::time::timeout(BODY_TIME, whole).await.map_err(late)?
}

/// JSON, or where it goes wrong.
fn decode<'de, T: Deserialize<'de>>(bytes: &'de [u8]) -> Result<T, Problem> {
    let mut json = serde_json::Deserializer::from_slice(bytes);
    let decoded = serde_path_to_error::deserialize(&mut json).map_err(|error| {
        let (path, cause) = (error.path().to_string(), error.into_inner());
        // "." is the whole body; "?" a place that is not reached.
        match path.trim_end_matches(['.', '?']) {
            "" => cause.to_string(),
            path => format!("{path}: {cause}"),
        }
    });
    let decoded = decoded.and_then(|decoded| json.end().map(|()| decoded).map_err(|cause| cause.to_string()));
    decoded.map_err(|detail| Problem::new(&problem::BAD_BODY, detail))
}

/// One alarm or an array of them.
fn parse(aliases: &Aliases, bytes: &[u8]) -> Result<Vec<NewAlarm>, Problem> {
    if bytes.trim_ascii_start().first() != Some(&b'[') {
        let Object(sent) = decode(bytes)?;
        return Ok(vec![checked(aliases, sent, "")?]);
    }
    let sent: Vec<Object> = decode(bytes)?;
    if sent.is_empty() {
        return Err(Problem::new(&problem::BAD_BODY, "the array is empty: there must be at least one alarm"));
    }
    let numbered = sent.into_iter().enumerate();
    numbered.map(|(index, Object(sent))| checked(aliases, sent, &format!("[{index}]."))).collect()
}

/// What JSON alone cannot tell.
fn checked(aliases: &Aliases, sent: Sent, place: &str) -> Result<NewAlarm, Problem> {
    let bad = |member: &str, why: &str| bad(&format!("{place}{member}"), why);
    let id = sent.id.unwrap_or_else(|| Uuid::now_v7().simple().to_string());
    let length = |text: &str| text.chars().count();
    if !(1..=TEXT_MAX).contains(&length(&id)) {
        return Err(bad("id", "it must have 1 to 256 characters; leave it out for a new one"));
    }
    if sent.isn_dt.as_ref().is_some_and(|text| length(text) > TEXT_MAX) {
        return Err(bad("isn_dt", "it must have at most 256 characters; leave it out for now"));
    }
    if sent.user_id.as_ref().is_some_and(|user| !may_be_user(user)) {
        let why = "nobody can be called so: 1 to 128 characters, no control characters, not . or ..; leave it out for everyone";
        return Err(bad("user_id", why));
    }
    let Messages(messages) = sent.messages;
    if messages.is_empty() {
        return Err(bad("messages", "it is empty: there must be a text in at least one language"));
    }
    if let Some((lang, _)) = messages.iter().find(|(lang, _)| aliases.tag(lang).is_none()) {
        return Err(bad(&format!("messages.{lang}"), "that is no language tag; a tag looks like ko or en-US"));
    }
    Ok(NewAlarm { id, user: sent.user_id, isn_dt: sent.isn_dt, messages })
}

fn bad(member: &str, why: &str) -> Problem {
    Problem::new(&problem::BAD_BODY, format!("{member}: {why}"))
}

#[cfg(test)]
mod tests {
    use futures_util::stream;
    use proptest::prelude::*;
    use serde_json::Value;
    use warp::http::{HeaderMap, Method};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_body_that_does_not_come_to_its_end_is_given_up_after_30_seconds() {
        let headers = HeaderMap::from_iter([(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))]);
        let request =
            Request { method: Method::POST, head: false, query: String::new(), headers, remote: None, excess: None };
        let late = stream::once(async {
            tokio::time::sleep(BODY_TIME - Duration::from_secs(1)).await;
            Ok(Bytes::from_static(b"{}"))
        });
        assert_eq!(read(&request, Box::pin(late)).await.unwrap(), "{}");
        let begun = tokio::time::Instant::now();
        let endless = stream::once(async { Ok(Bytes::from_static(b"{")) }).chain(stream::pending());
        let refused = read(&request, Box::pin(endless)).await.unwrap_err().response("");
        assert_eq!((refused.status(), begun.elapsed().as_secs()), (StatusCode::REQUEST_TIMEOUT, 30));
    }

    /// JSON that is nearly an alarm.
    fn nearly() -> impl Strategy<Value = Value> {
        let text = || prop_oneof!["[a-z]{2}(-[A-Z]{2})?", "id|user_id|isn_dt|messages", ".{0,8}"];
        let leaf = prop_oneof![Just(Value::Null), any::<bool>().prop_map(Value::from), text().prop_map(Value::from)];
        leaf.prop_recursive(4, 32, 6, move |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::hash_map(text(), inner, 0..5).prop_map(|map| map.into_iter().collect()),
            ]
        })
    }

    proptest! {
        #[test]
        fn whatever_is_sent_is_a_refusal_or_alarms_that_a_reader_can_be_given(
            sent in prop_oneof![nearly().prop_map(|json| json.to_string().into_bytes()), prop::collection::vec(any::<u8>(), 0..64)]
        ) {
            let aliases = Aliases::default();
            for alarm in parse(&aliases, &sent).unwrap_or_default() {
                prop_assert!(!alarm.id.is_empty() && !alarm.messages.is_empty());
                prop_assert!(alarm.user.as_deref().is_none_or(may_be_user));
                prop_assert!(alarm.messages.iter().all(|(lang, _)| aliases.tag(lang).is_some()));
            }
        }

        #[test]
        fn what_is_sent_as_it_should_be_is_taken_as_it_is(
            id in prop::option::of(".{1,64}"),
            user in prop::option::of("[^\\pC.]{1,128}"),
            isn_dt in prop::option::of(".{0,64}"),
            text in any::<String>(),
        ) {
            let sent = json!({"id": id, "user_id": user, "isn_dt": isn_dt, "messages": {"ko": text}});
            let alarms = parse(&Aliases::default(), json!([sent]).to_string().as_bytes()).expect("it is right");
            let [alarm] = &alarms[..] else { panic!("one alarm") };
            prop_assert!(id.is_none_or(|id| id == alarm.id));
            prop_assert_eq!((&alarm.user, &alarm.isn_dt), (&user, &isn_dt));
            prop_assert_eq!(&alarm.messages, &[("ko".to_owned(), text)]);
        }
    }
}
