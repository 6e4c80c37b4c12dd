//! Refusals, as RFC 9457 writes them.

use std::borrow::Cow;

use serde_json::json;
use warp::{
    Reply,
    http::{HeaderName, HeaderValue, Method, StatusCode, header},
    reply::Response,
};

use crate::server::Excess;

/// A kind of refusal.
#[derive(Debug)]
pub struct Kind {
    /// The last segment of its `type`, under which the hub explains it.
    pub slug: &'static str,
    /// Its status.
    pub status: StatusCode,
    /// What it is, in a few words that are always the same.
    pub title: &'static str,
}

const fn kind(slug: &'static str, status: StatusCode, title: &'static str) -> Kind {
    Kind { slug, status, title }
}

/// The path names no possible user.
pub const BAD_USER: Kind = kind("bad-user", StatusCode::BAD_REQUEST, "Not a user");
/// A page of another site, or something that is no script, asks.
pub const CROSS_SITE: Kind = kind("cross-site", StatusCode::FORBIDDEN, "Not from this page");
/// The path names nothing.
pub const NOT_FOUND: Kind = kind("not-found", StatusCode::NOT_FOUND, "Nothing here");
/// The resource has no such method.
pub const METHOD_NOT_ALLOWED: Kind = kind("method-not-allowed", StatusCode::METHOD_NOT_ALLOWED, "Not with this method");
/// The request accepts nothing that the resource has.
pub const NOT_ACCEPTABLE: Kind = kind("not-acceptable", StatusCode::NOT_ACCEPTABLE, "Not in this form");

/// An address asks too often, or has too many connections.
pub const TOO_MANY: Kind = kind("too-many", StatusCode::TOO_MANY_REQUESTS, "Too much for one address");
/// The hub has as many connections as it may have.
pub const FULL: Kind = kind("full", StatusCode::SERVICE_UNAVAILABLE, "As many connections as there may be");

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

    /// As it is sent.
    pub fn response(self) -> Response {
        let Kind { slug, status, title } = self.kind;
        let body = json!({
            "type": format!("/problems/{slug}"), "title": title, "status": status.as_u16(), "detail": self.detail
        });
        let mut response = warp::reply::with_status(body.to_string(), *status).into_response();
        response.headers_mut().extend(self.headers);
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
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
