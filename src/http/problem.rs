//! Refusals, as RFC 9457 writes them, and the page that explains each.

use std::borrow::Cow;

use actors::alarm::{Failure, Fault};
use serde_json::json;
use tracing::warn;
use warp::{
    Reply,
    http::{HeaderName, HeaderValue, Method, StatusCode, header},
    reply::Response,
};

use crate::auth::{Authority, Denied};
use crate::server::Excess;

/// A kind of refusal.
#[derive(Debug, PartialEq, Eq)]
pub struct Kind {
    /// The last segment of its `type`, under which the hub explains it.
    pub slug: &'static str,
    /// Its status.
    pub status: StatusCode,
    /// What it is, in a few words that are always the same.
    pub title: &'static str,
    /// When it comes and what to do, for a person.
    pub help: &'static str,
}

/// Every kind once: a constant, and a place in the list of all.
macro_rules! kinds {
    ($($name:ident $slug:literal $status:ident $title:literal $help:literal;)*) => {
        $(
            #[doc = $help]
            pub const $name: Kind = Kind { slug: $slug, status: StatusCode::$status, title: $title, help: $help };
        )*
        /// All of them.
        pub static KINDS: &[Kind] = &[$($name),*];
    };
}

kinds! {
    BAD_USER "bad-user" BAD_REQUEST "Not a user"
        "The path names a user that there cannot be. A user is 1 to 128 characters of UTF-8 without control \
         characters, not . or .. alone; percent-encode each segment of a path once.";
    BAD_PARAMETER "bad-parameter" BAD_REQUEST "A parameter that cannot be read"
        "The detail names the parameter and what it may be. A cursor is taken from an answer as it is.";
    BAD_BODY "bad-body" BAD_REQUEST "A body that cannot be read"
        "The body is no JSON, or not the JSON that this call takes. The detail names the member and the place.";
    NO_TOKEN "no-token" UNAUTHORIZED "Who are you?"
        "The call needs a token that holds, or a proxy that says who asks. Send Authorization: Bearer and the token; \
         for an EventSource fetch a ticket with POST /users/{user}/ticket first. A token that has expired, is signed \
         with another key or algorithm, or has no exp does not hold. A token is never taken from a URL.";
    OTHER_USER "other-user" FORBIDDEN "Not yours"
        "The token is another user's: its sub must be the user in the path.";
    NO_SCOPE "no-scope" FORBIDDEN "Not within your scope"
        "The call needs a scope that the caller does not have: publish to write alarms, sessions to see and end \
         connections, metrics to read the metrics.";
    CROSS_SITE "cross-site" FORBIDDEN "Not from this page"
        "A page of another site caused the request, or something that is no script, as an image. Name the origin of \
         the page with --cors-origin if it may.";
    NOT_FOUND "not-found" NOT_FOUND "Nothing here"
        "The path names nothing. openapi.yaml lists all paths.";
    NO_SUCH_ALARM "no-such-alarm" NOT_FOUND "No such alarm"
        "There is no alarm of this id for this user.";
    NOT_CONNECTED "not-connected" NOT_FOUND "Not connected"
        "The user has no live connection.";
    METHOD_NOT_ALLOWED "method-not-allowed" METHOD_NOT_ALLOWED "Not with this method"
        "The path exists and does not have this method; Allow lists those that it has.";
    NOT_ACCEPTABLE "not-acceptable" NOT_ACCEPTABLE "Not in this form"
        "The stream is text/event-stream. A request that would take over a live connection has to say so itself: \
         Accept: text/event-stream.";
    TIMEOUT "timeout" REQUEST_TIMEOUT "Too slow"
        "The body of the request did not come in time.";
    CONFLICT "conflict" CONFLICT "There already"
        "An alarm of this id exists with other content. The same alarm again is no conflict; PUT /alarms/{id} replaces.";
    STALE_CURSOR "stale-cursor" CONFLICT "A cursor of another database"
        "The database was replaced since the list was begun: fetch it from its beginning.";
    TOO_LARGE "too-large" PAYLOAD_TOO_LARGE "Too large"
        "A body may have 1 MiB. Send several.";
    UNSUPPORTED_MEDIA_TYPE "unsupported-media-type" UNSUPPORTED_MEDIA_TYPE "Not this kind of body"
        "The body has to be JSON in UTF-8 and to say so: Content-Type: application/json.";
    MISDIRECTED "misdirected" MISDIRECTED_REQUEST "Not this host"
        "Without --auth the hub answers to loopback names, addresses and the names that --host tells it: a page of \
         another site could make a name of its own point to it.";
    TOO_MANY "too-many" TOO_MANY_REQUESTS "Too much for one address"
        "The address asks more often than --rate, or has more connections than --max-per-address. Come back after \
         Retry-After.";
    IMPOSSIBLE "impossible" UNPROCESSABLE_ENTITY "Not with this table"
        "The table lacks a column for what was asked. Without user_id every alarm is for everyone, and an alarm for \
         one user is refused rather than shown to all.";
    BUSY "busy" SERVICE_UNAVAILABLE "Busy"
        "The hub, or the database behind it, did not answer in time. Ask again after Retry-After; nothing is written \
         twice if the alarm has an id.";
    FULL "full" SERVICE_UNAVAILABLE "As many connections as there may be"
        "The hub has as many connections as --max-connections or the system's descriptors allow. Come back after \
         Retry-After.";
    UNAVAILABLE "unavailable" SERVICE_UNAVAILABLE "No database"
        "The database cannot be read or written now; /readyz tells the cause. Ask again after Retry-After.";
    NO_SPACE "no-space" INSUFFICIENT_STORAGE "No space left"
        "The disk of the database is full: nothing was written. Reading goes on.";
}

/// Why a request is refused.
#[derive(Debug)]
pub struct Problem {
    kind: &'static Kind,
    detail: Cow<'static, str>,
    headers: Vec<(HeaderName, HeaderValue)>,
}

impl Problem {
    /// A refusal; `detail` says what is wrong with this request and what would be right.
    pub fn new(kind: &'static Kind, detail: impl Into<Cow<'static, str>>) -> Self {
        Self { kind, detail: detail.into(), headers: Vec::new() }
    }

    /// With a header besides.
    pub fn with(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.push((name, value));
        self
    }

    /// With the seconds after which to ask again.
    pub fn retry(self, seconds: u16) -> Self {
        self.with(header::RETRY_AFTER, seconds.into())
    }

    /// Whether it passes by itself.
    pub fn is_transient(&self) -> bool {
        self.kind.status.is_server_error()
    }

    /// As it is sent by a hub below `base`.
    pub fn response(self, base: &str) -> Response {
        let Kind { slug, status, title, .. } = self.kind;
        let body = json!({
            "type": format!("{base}/problems/{slug}"), "title": title, "status": status.as_u16(), "detail": self.detail
        });
        let mut response = warp::reply::with_status(body.to_string(), *status).into_response();
        let headers = response.headers_mut();
        headers.extend(self.headers.into_iter().map(|(name, value)| (Some(name), value)));
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        response
    }
}

/// The resource has these methods only.
pub fn method_not_allowed(methods: &[Method]) -> Problem {
    let allowed = allow(methods);
    Problem::new(&METHOD_NOT_ALLOWED, format!("this path has {}", allowed.to_str().unwrap_or_default()))
        .with(header::ALLOW, allowed)
}

/// A limit was reached.
pub fn excess(excess: Excess) -> Problem {
    let problem = match excess {
        Excess::Connections => Problem::new(&FULL, "come back later; the hub has --max-connections"),
        Excess::Address => Problem::new(&TOO_MANY, "close some; an address has at most --max-per-address connections"),
        Excess::Rate(_) => Problem::new(&TOO_MANY, "ask less often; an address has at most --rate requests a second"),
    };
    problem.with(header::RETRY_AFTER, HeaderValue::from(excess.retry().as_secs() + 1))
}

/// The value of `Allow` (RFC 9110 §10.2.1).
pub fn allow(methods: &[Method]) -> HeaderValue {
    let mut names: Vec<&str> = methods.iter().map(Method::as_str).collect();
    if methods.contains(&Method::GET) {
        names.push("HEAD");
    }
    names.push("OPTIONS");
    HeaderValue::from_str(&names.join(", ")).unwrap_or_else(|_| HeaderValue::from_static("OPTIONS"))
}

/// Somebody may not; the same words whatever is wrong with a token.
pub fn denied(authority: &Authority, denied: Denied) -> Problem {
    let challenge = |error: String| {
        let text = format!("{}{error}", authority.challenge());
        HeaderValue::from_str(&text).unwrap_or_else(|_| HeaderValue::from_static("Bearer"))
    };
    match denied {
        Denied::Unknown { said } => {
            // RFC 6750 §3: who said nothing is told no error.
            let error = if said { ", error=\"invalid_token\"" } else { "" };
            Problem::new(&NO_TOKEN, "this call needs a token that holds")
                .with(header::WWW_AUTHENTICATE, challenge(error.to_owned()))
        }
        Denied::OtherUser => Problem::new(&OTHER_USER, "the user in the path is not the caller"),
        Denied::Scope(scope) => {
            let scope = scope.as_str();
            Problem::new(&NO_SCOPE, format!("this call needs the scope {scope}"))
                .with(header::WWW_AUTHENTICATE, challenge(format!(", error=\"insufficient_scope\", scope=\"{scope}\"")))
        }
    }
}

/// An actor did not answer in time.
pub fn busy() -> Problem {
    Problem::new(&BUSY, "the hub did not answer in time: ask again").retry(1)
}

/// The database did not do it.
pub fn failed(failure: &Failure) -> Problem {
    warn!(cause = %failure, "a request cannot be answered");
    match failure.fault {
        Fault::Full => Problem::new(&NO_SPACE, "the disk of the database is full"),
        Fault::Locked => Problem::new(&BUSY, "another program holds the database: ask again").retry(1),
        Fault::ReadOnly => Problem::new(&UNAVAILABLE, "the database may only be read").retry(5),
        Fault::Missing | Fault::Unusable | Fault::Other => {
            Problem::new(&UNAVAILABLE, "the database cannot be used now").retry(5)
        }
    }
}

/// The page that explains a kind, or all of them.
pub fn page(kind: Option<&Kind>) -> String {
    let kinds = kind.map_or(KINDS, std::slice::from_ref);
    let part = |kind: &Kind| {
        let Kind { slug, status, title, help } = kind;
        format!(
            "<h2 id=\"{slug}\">{title}</h2>\n<p><code>{slug}</code>, status {}</p>\n<p>{help}</p>\n",
            status.as_u16()
        )
    };
    let parts: String = kinds.iter().map(part).collect();
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n<meta name=\"viewport\" \
         content=\"width=device-width\">\n<meta name=\"color-scheme\" content=\"light dark\">\n\
         <title>alarm-hub: refusals</title>\n<h1>What the hub refuses</h1>\n{parts}</html>\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_a_name_of_its_own_and_no_markup_in_its_words() {
        for (index, kind) in KINDS.iter().enumerate() {
            assert!(KINDS[index + 1..].iter().all(|later| later.slug != kind.slug), "{}", kind.slug);
            assert!(!kind.help.contains(['<', '&']) && !kind.title.contains(['<', '&']), "{}", kind.slug);
            assert!(page(Some(kind)).contains(kind.help));
        }
    }
}
