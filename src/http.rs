//! The only warp: one request is one message, one feed is one body. It keeps no state.

use std::{
    convert::Infallible,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use actors::{
    alarm::{FeedName, Position},
    claim::Claim,
    hub::{Answer, HubMessage, Opening},
    language::{Aliases, Languages, Tag},
    sink::{Block, Event, Feed, Reason},
    tree::Actors,
};
use bytes::Bytes;
use futures_util::Stream;
use serde_json::json;
use tokio::sync::watch;
use uuid::Uuid;
use warp::{
    Filter, Reply,
    http::{HeaderMap, HeaderValue, StatusCode, header},
    reply::Response,
};

use crate::wire;

/// How long an actor may take to answer.
const DEADLINE: Duration = Duration::from_secs(2);

/// Bytes that are joined into one chunk, about.
const CHUNK: usize = 65_536;

/// The page that is served at `/`, its script and its style.
const PAGE: &str = include_str!("../dashboard/index.html");
const SCRIPT: &str = include_str!("../dashboard/page.js");

/// What the handlers need: whom to send messages to, and what tags mean.
#[derive(Clone)]
pub struct Api {
    /// The actors as they are now.
    pub actors: watch::Receiver<Actors>,
    /// What tags mean.
    pub aliases: Aliases,
    /// The hub's own languages.
    pub default: Arc<[Tag]>,
}

/// A feed as the body of a response: what waits is joined, a block is never split over two chunks.
struct Body(Feed);

impl Stream for Body {
    type Item = Result<Bytes, Infallible>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let (mut out, mut ended) = (Vec::new(), false);
        while out.len() < CHUNK {
            match self.0.poll_parcel(context) {
                Poll::Ready(Some(parcel)) => {
                    for block in &parcel.blocks {
                        wire::encode(block, self.0.conn, self.0.claim, &mut out);
                    }
                }
                Poll::Ready(None) => {
                    ended = true;
                    break;
                }
                Poll::Pending => break,
            }
        }
        match (out.is_empty(), ended) {
            (false, _) => Poll::Ready(Some(Ok(out.into()))),
            (true, true) => Poll::Ready(None),
            (true, false) => Poll::Pending,
        }
    }
}

/// All routes.
pub fn routes(api: Api) -> impl Filter<Extract = (Response,), Error = Infallible> + Clone {
    let request = warp::method()
        .and(warp::path::full())
        .and(warp::query::raw().or_else(|_| async { Ok::<_, Infallible>((String::new(),)) }))
        .and(warp::header::headers_cloned());
    request.then(move |method: warp::http::Method, path: warp::path::FullPath, query: String, headers: HeaderMap| {
        let api = api.clone();
        async move {
            let get = method == warp::http::Method::GET;
            let user = path.as_str().strip_prefix("/connection/");
            match (user, path.as_str()) {
                (Some(_), _) | (_, "/" | "/assets/page.js" | "/healthz") if !get => {
                    let mut refused = problem(StatusCode::METHOD_NOT_ALLOWED, "only GET is served here");
                    refused.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET"));
                    refused
                }
                (Some(user), _) => connection(&api, user, &query, &headers).await,
                (None, "/") => page(PAGE, "text/html; charset=utf-8"),
                (None, "/assets/page.js") => page(SCRIPT, "text/javascript; charset=utf-8"),
                (None, "/healthz") => warp::reply::json(&json!({"status": "alive"})).into_response(),
                _ => problem(StatusCode::NOT_FOUND, "there is nothing at this path"),
            }
        }
    })
}

async fn connection(api: &Api, user: &str, query: &str, headers: &HeaderMap) -> Response {
    let Some(user) = user_id(user) else {
        return problem(StatusCode::BAD_REQUEST, "a user is 1 to 128 characters, no control characters, not . or ..");
    };
    let explicit = match guard(headers) {
        Ok(explicit) => explicit,
        Err((status, detail)) => return problem(status, detail),
    };
    let parameter = |name: &str| {
        let found = form_urlencoded::parse(query.as_bytes()).find(|(key, _)| key == name);
        found.map(|(_, value)| value.into_owned())
    };
    let (position, claim) = match headers.get("last-event-id") {
        Some(id) if !id.is_empty() => wire::last_event_id(id.as_bytes()),
        _ => (parameter("last_event_id").and_then(|id| wire::last_event_id(id.as_bytes()).0), None),
    };
    let lines: Vec<&[u8]> = headers.get_all(header::ACCEPT_LANGUAGE).iter().map(HeaderValue::as_bytes).collect();
    let lang = parameter("lang");
    let opening = Opening {
        user,
        languages: Languages::new(lang.as_deref().map(str::as_bytes), &lines, api.default.clone(), &api.aliases),
        claim,
        position,
        history: parameter("history").and_then(|count| count.parse().ok()).unwrap_or(0_u16).min(1_000),
        explicit,
        expires: None,
    };
    let hub = api.actors.borrow().hub.clone();
    let answer = hub.call(|reply| HubMessage::Connect(opening, reply), None);
    match tokio::time::timeout(DEADLINE * 3, answer).await {
        Ok(Ok(ractor::rpc::CallResult::Success(Answer::Open(feed)))) => stream(feed),
        Ok(Ok(ractor::rpc::CallResult::Success(Answer::Refused))) => {
            let mut gone = StatusCode::NO_CONTENT.into_response();
            gone.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
            gone
        }
        Ok(Ok(ractor::rpc::CallResult::Success(Answer::NotExplicit))) => {
            problem(StatusCode::NOT_ACCEPTABLE, "to take over a live connection, ask for Accept: text/event-stream")
        }
        Ok(Ok(ractor::rpc::CallResult::Success(Answer::Busy(retry)))) => busy(retry, position, claim),
        _ => busy(Duration::from_secs(3), position, claim),
    }
}

fn stream(feed: Feed) -> Response {
    let mut response = warp::reply::stream(Body(feed)).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream; charset=utf-8"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store, no-transform"));
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    response
}

/// Only transient trouble is a 200: a browser gives up for good on anything else. The client keeps the position and
/// the claim that it came with, so that it misses nothing when it comes back.
fn busy(retry: Duration, position: Option<Position>, claim: Option<Claim>) -> Response {
    let clock = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    let at = position.unwrap_or(Position { feed: FeedName(0), seq: 0 });
    let event = Event::Bye { reason: Reason::Busy, retry: Some(retry) };
    let claim = claim.unwrap_or_else(|| Claim::next(None, clock, Uuid::new_v4()));
    stream(Feed::ended_with(Uuid::new_v4(), claim, vec![Block { event, at }]))
}

/// The user that a path segment names, percent-decoded once.
fn user_id(segment: &str) -> Option<Arc<str>> {
    let user = percent_encoding::percent_decode_str(segment).decode_utf8().ok()?;
    let plain = !segment.contains('/') && !user.chars().any(char::is_control) && user != "." && user != "..";
    (plain && (1..=128).contains(&user.chars().count())).then(|| user.as_ref().into())
}

/// Opening has a side effect: a page of another site must not cause it. Answers whether the request said by itself
/// that it wants an event stream.
fn guard(headers: &HeaderMap) -> Result<bool, (StatusCode, &'static str)> {
    let value =
        |name: &str| headers.get(name).map(|value| String::from_utf8_lossy(value.as_bytes()).to_ascii_lowercase());
    let accept = value("accept").unwrap_or_else(|| "*/*".to_owned());
    if !["text/event-stream", "text/*", "*/*"].iter().any(|kind| accept.contains(kind)) {
        return Err((StatusCode::NOT_ACCEPTABLE, "this is an event stream: ask for Accept: text/event-stream"));
    }
    let site = value("sec-fetch-site");
    if site.as_deref().is_some_and(|site| !matches!(site, "same-origin" | "none")) {
        return Err((StatusCode::FORBIDDEN, "a page of another site may not open this stream"));
    }
    if value("sec-fetch-dest").is_some_and(|dest| dest != "empty") {
        return Err((StatusCode::FORBIDDEN, "an event stream is no image, script or document"));
    }
    if let (Some(origin), Some(host)) = (value("origin"), value("host"))
        && origin.split_once("://").is_none_or(|(_, origin)| origin != host)
    {
        return Err((StatusCode::FORBIDDEN, "a page of another site may not open this stream"));
    }
    Ok(accept.contains("text/event-stream") || site.is_some())
}

fn page(text: &'static str, kind: &'static str) -> Response {
    let mut response = text.into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    let policy = "default-src 'none'; script-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; \
                  frame-ancestors 'none'";
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(policy));
    response
}

/// An error as RFC 9457 writes it.
fn problem(status: StatusCode, detail: &str) -> Response {
    let title = status.canonical_reason().unwrap_or("error");
    let body = json!({"type": "about:blank", "title": title, "status": status.as_u16(), "detail": detail});
    let mut response = warp::reply::with_status(body.to_string(), status).into_response();
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
    response
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;

    use super::*;

    #[tokio::test]
    async fn who_is_sent_away_for_a_moment_keeps_its_position_and_its_claim() {
        let id = b"0a1b2c3d.42.01a0c4506c0070008000000000000000";
        let (position, claim) = wire::last_event_id(id);
        let body = busy(Duration::from_secs(2), position, claim).into_body().collect().await.unwrap().to_bytes();
        let text = std::str::from_utf8(&body).unwrap();
        assert!(text.starts_with("retry: 2000\nevent: bye\n"), "{text}");
        assert_eq!(text.trim_end().rsplit("id: ").next().map(str::as_bytes), Some(&id[..]));
    }
}
