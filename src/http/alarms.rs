//! A user's past: history and what was acknowledged.

use std::{collections::BTreeSet, sync::Arc};

use actors::{
    alarm::{Position, Refusal, Write, Written},
    archive::{ArchiveMessage, Unavailable},
    hub::HubMessage,
};
use warp::{
    Reply,
    http::{HeaderValue, StatusCode, header},
    reply::Response,
};

use super::{
    Api, Request, json,
    problem::{self, Problem},
    stream::languages,
};
use crate::wire;

/// Alarms in a page of the history if nothing is said, and at most.
const LIMIT: u16 = 50;
const LIMIT_MAX: u16 = 1_000;

/// Languages that are told of a page, at most.
const TOLD: usize = 32;

/// The newest alarms of a user, each in the reader's language.
pub async fn history(api: &Api, user: Arc<str>, request: &Request) -> Result<Response, Problem> {
    let bad = |name: &str, right: &str| Problem::new(&problem::BAD_PARAMETER, format!("{name}: it must be {right}"));
    let limit = match request.parameter("limit") {
        None => LIMIT,
        Some(text) => text
            .parse()
            .ok()
            .filter(|limit| (1..=LIMIT_MAX).contains(limit))
            .ok_or_else(|| bad("limit", &format!("a whole number from 1 to {LIMIT_MAX}")))?,
    };
    let position = |text: String| wire::last_event_id(text.as_bytes()).0;
    let cursor = || bad("before", "a cursor, as an answer gave it");
    let before = request.parameter("before").map(|text| position(text).ok_or_else(cursor)).transpose()?;
    let seq = before.map(|before| before.seq);
    let archive = api.actors.borrow().archive.clone();
    let history = api.ask(&archive, |reply| ArchiveMessage::History { user, before: seq, limit, reply }).await?;
    let history = history.map_err(|unavailable| match unavailable {
        Unavailable::Busy => problem::busy(),
        Unavailable::Failed(failure) => problem::failed(&failure),
    })?;
    if before.is_some_and(|before| before.feed != history.feed) {
        return Err(Problem::new(&problem::STALE_CURSOR, "before: it is a cursor of another database: leave it out"));
    }
    let languages = languages(api, request);
    let (mut alarms, mut told) = (Vec::new(), BTreeSet::new());
    for standing in &history.alarms {
        let Some(choice) = languages.choose(standing.rows.iter().map(|row| row.tag.as_ref())) else { continue };
        let row = &standing.rows[choice.index];
        let cursor = Position { feed: history.feed, seq: standing.seq };
        alarms.push(wire::standing(&row.body, choice.fallback, standing.acknowledged, cursor));
        if let Some(tag) = &row.tag
            && told.len() < TOLD
        {
            told.insert(tag.to_string());
        }
    }
    let next = history.alarms.last().filter(|_| history.more);
    let next = next.map(|oldest| Position { feed: history.feed, seq: oldest.seq });
    let body = wire::history(&alarms, next, history.unread, history.unread_more);
    if told.is_empty() {
        told.extend(languages.tags().first().cloned());
    }
    let mut response = json(StatusCode::OK, body);
    let told = told.into_iter().collect::<Vec<_>>().join(", ");
    if let Ok(told) = HeaderValue::from_str(&told) {
        response.headers_mut().insert(header::CONTENT_LANGUAGE, told);
    }
    response.headers_mut().append(header::VARY, HeaderValue::from_static("Accept-Language"));
    Ok(response)
}

/// Acknowledges an alarm in a user's name, or takes it back; the user's stream is told.
pub async fn acknowledge(api: &Api, user: Arc<str>, id: String, acknowledged: bool) -> Result<Response, Problem> {
    let told: Arc<str> = id.as_str().into();
    let write = Write::Acknowledge { user: user.clone(), id, acknowledged };
    let written = api.write(write).await?.map_err(|refusal| match refusal {
        Refusal::NotFound => Problem::new(&problem::NO_SUCH_ALARM, "this user has no alarm of this id"),
        other => refused(other),
    })?;
    if let Written::Done(_) = written {
        let hub = api.actors.borrow().hub.clone();
        let _ = hub.cast(HubMessage::Acknowledged { user, id: told, acknowledged }); // at worst a page learns it late
    }
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// Why something was not written.
pub fn refused(refusal: Refusal) -> Problem {
    match refusal {
        Refusal::Conflict(why) => Problem::new(&problem::CONFLICT, why),
        Refusal::Impossible(why) => Problem::new(&problem::IMPOSSIBLE, why),
        Refusal::NotFound => Problem::new(&problem::NO_SUCH_ALARM, "there is no alarm of this id"),
        Refusal::Busy => problem::busy(),
        Refusal::Failed(failure) => problem::failed(&failure),
    }
}
