//! What pages of other sites may cause and read: the `Host`, the `Origin`, Fetch metadata, CORS.

use std::net::IpAddr;

use warp::{
    Reply,
    http::{HeaderMap, HeaderValue, Method, StatusCode, header},
    reply::Response,
};

use super::{
    Api, Request,
    problem::{self, Problem},
};
use crate::auth::Authority;

/// Headers that a page may send besides those that need no permission.
const REQUEST_HEADERS: &str = "Authorization, Accept-Language, Content-Type, Last-Event-ID";

/// Headers that a page may read besides those that need no permission.
const RESPONSE_HEADERS: &str = "Retry-After, WWW-Authenticate";

/// Where nobody is asked who it is, a page that makes a name of its own point here (DNS rebinding) would be of the
/// hub's own site: only names that are known are served, and addresses, which nobody can make point elsewhere.
pub fn host(api: &Api, headers: &HeaderMap) -> Result<(), Problem> {
    let ours = |value: &HeaderValue| {
        let text = String::from_utf8_lossy(value.as_bytes()).to_ascii_lowercase();
        let host = text.rsplit_once(':').filter(|(_, port)| port.bytes().all(|byte| byte.is_ascii_digit()));
        let host = host.map_or(text.as_str(), |(host, _)| host);
        let host = host.strip_suffix('.').unwrap_or(host);
        let address = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        let loopback = host == "localhost" || host.ends_with(".localhost");
        loopback || address.parse::<IpAddr>().is_ok() || api.hosts.iter().any(|name| name == host)
    };
    if !matches!(api.authority, Authority::Nobody) || headers.get_all(header::HOST).iter().all(ours) {
        return Ok(());
    }
    let detail = "the hub is not known by this name: start it with --host NAME, or use its address";
    Err(Problem::new(&problem::MISDIRECTED, detail))
}

/// Whether the page that asks may: it is the hub's own, one of an origin that was named, or there is none.
pub fn page(api: &Api, request: &Request) -> Result<(), Problem> {
    let foreign = || {
        let detail = "a page of another site may not ask this; start the hub with --cors-origin ORIGIN if it shall";
        Err(Problem::new(&problem::CROSS_SITE, detail))
    };
    let named = is_named(api, request);
    if !named && request.header("sec-fetch-site").is_some_and(|site| !matches!(&*site, "same-origin" | "none")) {
        return foreign();
    }
    match (request.header(header::ORIGIN), request.header(header::HOST)) {
        (Some(origin), Some(host)) if !named && !is_same(&origin, &host) => foreign(),
        (Some(_), None) if !named => foreign(),
        _ => Ok(()),
    }
}

/// Whether a request that a browser itself vouches for, and that changes something, was meant by the user: browsers
/// send an `Origin` with every such request.
pub fn meant(request: &Request) -> Result<(), Problem> {
    let told = request.header(header::ORIGIN).is_some() || request.header("sec-fetch-site").is_some();
    if request.method == Method::GET || told {
        return Ok(());
    }
    let detail =
        "a change by cookie needs an Origin, as every browser sends it; or send the token as Authorization: Bearer";
    Err(Problem::new(&problem::CROSS_SITE, detail))
}

/// Whether an origin is that of the host asked for; a port that goes without saying may be said.
fn is_same(origin: &str, host: &str) -> bool {
    match origin.split_once("://") {
        Some(("https", site)) => site == host.strip_suffix(":443").unwrap_or(host),
        Some(("http", site)) => site == host.strip_suffix(":80").unwrap_or(host),
        _ => false,
    }
}

fn is_named(api: &Api, request: &Request) -> bool {
    request.header(header::ORIGIN).is_some_and(|origin| api.cors_origins.contains(&origin))
}

/// The answer to `OPTIONS`: which methods there are and, to a page of an origin that was named, what it may send.
pub fn options(api: &Api, request: &Request, methods: &[Method]) -> Response {
    let mut response = StatusCode::NO_CONTENT.into_response();
    let headers = response.headers_mut();
    headers.insert(header::ALLOW, problem::allow(methods));
    if is_named(api, request) {
        headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, problem::allow(methods));
        headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, HeaderValue::from_static(REQUEST_HEADERS));
        headers.insert(header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("600"));
    }
    response
}

/// Lets pages of the origins that were named read the answer.
pub fn share(api: &Api, request: &Request, response: &mut Response) {
    if api.cors_origins.is_empty() {
        return;
    }
    let headers = response.headers_mut();
    headers.append(header::VARY, HeaderValue::from_static("Origin"));
    if let Some(origin) = request.headers.get(header::ORIGIN).filter(|_| is_named(api, request)) {
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
        headers.insert(header::ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
        headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static(RESPONSE_HEADERS));
    }
}
