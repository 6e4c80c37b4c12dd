//! `GET /connection/{user}`: the stream.

use std::{
    convert::Infallible,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use actors::{
    alarm::Position,
    claim::Claim,
    hub::{Answer, HubMessage, Opening},
    language::Languages,
    sink::{Block, Event, Feed, Outlet, Parcel, Reason},
};
use bytes::Bytes;
use futures_util::Stream;
use tokio::sync::oneshot;
use uuid::Uuid;
use warp::{
    Reply,
    http::{HeaderValue, StatusCode, header},
    reply::Response,
};

use super::{
    Api, Request,
    problem::{self, Problem},
    ticket,
};
use crate::{
    auth::Caller,
    server::{Chunk, Live, Tap},
    wire,
};

/// When to come back to a hub that cannot serve the stream now.
const BUSY: Duration = Duration::from_secs(3);

/// Alarms that `?history` gives at most.
const HISTORY_MAX: u64 = 1_000;

/// Bytes that are joined into one chunk, about.
const CHUNK: usize = 65_536;

/// A feed as the body of a response: what waits is joined, a block is never split over two chunks.
struct Body {
    feed: Feed,
    encoder: Arc<wire::Encoder>,
    /// Tells whether the server writes the body itself, and brings the tap if there is one.
    straight: Option<oneshot::Receiver<Option<Tap>>>,
    /// It does: what is given are whole chunks, the last one too.
    chunks: bool,
    ended: bool,
    /// What was given, under way until the next is asked for.
    given: Vec<Parcel>,
}

impl Stream for Body {
    type Item = Result<Bytes, Infallible>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        this.given = Vec::new();
        if let Some(tap) = this.straight.take().and_then(|mut straight| straight.try_recv().ok()) {
            this.chunks = true;
            if let Some(tap) = tap {
                this.feed.shorten(Box::new(Quill { encoder: this.encoder.clone(), tap }));
            }
        }
        let mut out: Option<Chunk> = None;
        while out.as_ref().is_none_or(|out| out.len() < CHUNK) {
            let parcel = match this.feed.poll_parcel(context) {
                Poll::Ready(Some(parcel)) => parcel,
                Poll::Ready(None) => {
                    let last = this.chunks && !std::mem::replace(&mut this.ended, true);
                    let out = out.map(|out| this.finish(out, last));
                    return Poll::Ready(out.or(last.then(|| Bytes::from_static(Chunk::LAST))).map(Ok));
                }
                Poll::Pending if out.is_none() => return Poll::Pending,
                Poll::Pending => break,
            };
            if !parcel.rest.is_empty() {
                // The sink found the street empty when it wrote the beginning of this, so nothing waits before it.
                let rest = parcel.rest.clone();
                this.given.push(*parcel);
                return Poll::Ready(Some(Ok(rest)));
            }
            out = Some(encode(&this.encoder, &parcel.blocks, out));
            this.given.push(*parcel);
        }
        Poll::Ready(out.map(|out| Ok(this.finish(out, false))))
    }
}

impl Body {
    /// What is given to the server, and with it the last chunk if that comes next.
    fn finish(&self, out: Chunk, last: bool) -> Bytes {
        if !self.chunks {
            return out.plain();
        }
        let (mut chunk, begin) = out.seal();
        if last {
            chunk.extend_from_slice(Chunk::LAST);
        }
        Bytes::from(chunk).split_off(begin)
    }
}

/// Puts these blocks after what there is, which is nothing most of the time.
fn encode(encoder: &wire::Encoder, blocks: &[Block], out: Option<Chunk>) -> Chunk {
    let size = blocks.iter().map(|block| encoder.size(block)).sum();
    let mut out = out.unwrap_or_else(|| Chunk::with_capacity(size));
    out.data().reserve(size + 2);
    blocks.iter().for_each(|block| encoder.encode(block, out.data()));
    out
}

/// Writes past the body.
struct Quill {
    encoder: Arc<wire::Encoder>,
    tap: Tap,
}

impl Outlet for Quill {
    fn write(&mut self, blocks: &[Block]) -> Option<Bytes> {
        let (chunk, begin) = encode(&self.encoder, blocks, None).seal();
        let end = begin + self.tap.write(&chunk[begin..]);
        (end < chunk.len()).then(|| Bytes::from(chunk).split_off(end))
    }
}

/// Opens the stream of a user.
pub async fn open(api: &Api, user: Arc<str>, caller: Caller, request: &Request) -> Result<Response, Problem> {
    let explicit = guard(request)?;
    if request.head {
        return Ok(headed(Response::default()));
    }
    let (position, claim) = match request.headers.get("last-event-id") {
        Some(id) if !id.is_empty() => wire::last_event_id(id.as_bytes()),
        _ => (request.parameter("last_event_id").and_then(|id| wire::last_event_id(id.as_bytes()).0), None),
    };
    if let Some(excess) = request.excess {
        return Ok(busy(excess.retry(), position, claim));
    }
    let expires = match &caller {
        Caller::Anyone => None,
        Caller::Known { expires, .. } => *expires,
        Caller::Ticket(digest) => match ticket::redeem(api, *digest, user.clone(), claim).await {
            Ok(expires) => expires,
            Err(problem) if problem.is_transient() => return Ok(busy(BUSY, position, claim)),
            Err(problem) => return Err(problem),
        },
    };
    let history = request.parameter("history").and_then(|count| count.parse().ok());
    let opening = Opening {
        user,
        languages: languages(api, request),
        claim,
        position,
        history: history.map_or(0, |count: u64| u16::try_from(count.min(HISTORY_MAX)).unwrap_or_default()),
        explicit,
        expires,
    };
    let hub = api.actors.borrow().hub.clone();
    match api.ask(&hub, |reply| HubMessage::Connect(opening, reply)).await {
        Ok(Answer::Open(feed)) => {
            if let Caller::Ticket(digest) = caller {
                ticket::bind(api, digest, feed.claim).await;
            }
            Ok(stream(feed))
        }
        Ok(Answer::Refused) => {
            let mut gone = StatusCode::NO_CONTENT.into_response();
            gone.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
            Ok(gone)
        }
        Ok(Answer::NotExplicit) => {
            let detail = "to take over a live connection, ask for Accept: text/event-stream";
            Err(Problem::new(&problem::NOT_ACCEPTABLE, detail))
        }
        Ok(Answer::Busy(retry)) => Ok(busy(retry, position, claim)),
        Err(_) => Ok(busy(BUSY, position, claim)),
    }
}

/// The reader's languages: `?lang=`, then `Accept-Language`, then the hub's.
pub fn languages(api: &Api, request: &Request) -> Languages {
    let lines = request.headers.get_all(header::ACCEPT_LANGUAGE).iter().map(HeaderValue::as_bytes);
    let lang = request.parameter("lang");
    Languages::new(lang.as_deref().map(str::as_bytes), &lines.collect::<Vec<_>>(), api.default.clone(), &api.aliases)
}

fn stream(mut feed: Feed) -> Response {
    let encoder = Arc::new(wire::Encoder::new(feed.conn, feed.claim));
    let (tell, straight) = oneshot::channel();
    let live = feed.ended().map(|ended| {
        let straight = move |tap| {
            let _ = tell.send(tap); // a body that is gone is not written
        };
        Live::new(ended, Box::new(straight))
    });
    let body = Body { feed, encoder, straight: Some(straight), chunks: false, ended: false, given: Vec::new() };
    let mut response = headed(warp::reply::stream(body).into_response());
    if let Some(live) = live {
        response.extensions_mut().insert(live);
    }
    response
}

fn headed(mut response: Response) -> Response {
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream; charset=utf-8"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store, no-transform"));
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    response
}

/// Only transient trouble is a 200: a browser gives up for good on anything else. The client keeps the position that it
/// came with, or none, so that it misses nothing when it comes back, and the claim: the newest opening is still the
/// newest then.
fn busy(retry: Duration, position: Option<Position>, claim: Option<Claim>) -> Response {
    let clock = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let at = position.unwrap_or(wire::NOWHERE);
    let event = Event::Bye { reason: Reason::Busy, retry: Some(retry) };
    let claim = claim.unwrap_or_else(|| Claim::next(None, clock, Uuid::new_v4()));
    stream(Feed::ended_with(Uuid::new_v4(), claim, vec![Block { event, at }]))
}

/// Opening has a side effect: neither a form of the page nor an image on it must cause it. Answers whether the request
/// said by itself that it wants an event stream.
fn guard(request: &Request) -> Result<bool, Problem> {
    let accept = request.header(header::ACCEPT).unwrap_or_else(|| "*/*".to_owned());
    let quality = |range| accept.split(',').find_map(|member| quality(member, range));
    // What is nearest decides (RFC 9110 §12.5.1).
    let wanted = ["text/event-stream", "text/*", "*/*"].into_iter().find_map(quality);
    if wanted.is_none_or(|quality| quality <= 0.0) {
        let detail = "this is an event stream: ask for Accept: text/event-stream";
        return Err(Problem::new(&problem::NOT_ACCEPTABLE, detail));
    }
    let (dest, mode) = (request.header("sec-fetch-dest"), request.header("sec-fetch-mode"));
    let by_script = dest.as_deref().is_none_or(|dest| dest == "empty")
        && mode.as_deref().is_none_or(|mode| matches!(mode, "cors" | "same-origin"));
    if !by_script {
        return Err(Problem::new(&problem::CROSS_SITE, "an event stream is no image, script or document"));
    }
    Ok(quality("text/event-stream").is_some()
        || dest.is_some()
        || mode.is_some()
        || request.header("sec-fetch-site").is_some())
}

/// How much a member of `Accept` wants `range`, from 0 to 1; `None`: it is about another one (RFC 9110 §12.4.2).
fn quality(member: &str, range: &str) -> Option<f32> {
    let mut parts = member.split(';').map(str::trim);
    parts.next().filter(|kind| *kind == range)?;
    let quality = parts.find_map(|part| part.strip_prefix("q="));
    Some(quality.map_or(1.0, |quality| quality.trim().parse().unwrap_or(0.0)))
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

    #[tokio::test]
    async fn who_is_sent_away_before_it_had_a_position_comes_back_without_one_as_the_same_opening() {
        let body = busy(Duration::from_secs(2), None, None).into_body().collect().await.unwrap().to_bytes();
        let id = std::str::from_utf8(&body).unwrap().trim_end().rsplit("id: ").next().map(str::as_bytes);
        let (position, claim) = wire::last_event_id(id.unwrap());
        assert_eq!((position, claim.is_some()), (None, true));
    }
}
