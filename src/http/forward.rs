//! What a hub without a database cannot answer goes to one that has one, with the caller's own credentials: it decides
//! again whether the caller may.

use std::time::Duration;

use actors::cluster::ClusterMessage;
use bytes::Bytes;
use reqwest::{Client, redirect};
use warp::{
    Reply,
    http::{HeaderName, HeaderValue, Method, header},
    reply::Response,
};

use super::{
    Api, Request,
    problem::{self, Problem},
};
use crate::client;

/// How long the other hub may take to accept the connection, and to answer.
const CONNECT: Duration = Duration::from_secs(2);
const ANSWER: Duration = Duration::from_secs(10);

/// What belongs to one connection only (RFC 9110 §7.6.1), or is written anew.
const OWN: [HeaderName; 7] = [
    header::CONNECTION,
    header::TRANSFER_ENCODING,
    header::CONTENT_LENGTH,
    header::UPGRADE,
    header::TE,
    header::TRAILER,
    header::EXPECT,
];

/// Who asks other hubs.
pub fn client() -> Client {
    let builder =
        || Client::builder().connect_timeout(CONNECT).timeout(ANSWER).redirect(redirect::Policy::none()).no_proxy();
    client::build(builder).unwrap_or_default()
}

/// Asks a hub with a database and passes its answer on. One that cannot be reached was not asked, and the next one is.
pub async fn forward(
    api: &Api,
    client: &Client,
    path: &str,
    request: &Request,
    body: Bytes,
) -> Result<Response, Problem> {
    let cluster = api.actors.borrow().cluster.clone();
    let origins = match cluster {
        Some(cluster) => api.ask(&cluster, ClusterMessage::Origins).await?,
        None => Vec::new(),
    };
    let mut why = "this hub has no database, and no hub that has one (started with --redis, --db and --advertise) has \
                   been heard of for 10 s"
        .to_owned();
    for origin in origins {
        match ask(client, &origin, path, request, body.clone()).await {
            Ok(answered) => return Ok(passed_on(answered)),
            Err(cause) => {
                let how = if cause.is_timeout() { "did not answer in time" } else { "cannot be reached" };
                why = format!("the hub with the database at {origin} {how}");
                if !cause.is_connect() {
                    break; // it may have done what was asked
                }
            }
        }
    }
    Err(Problem::new(&problem::UNAVAILABLE, why).retry(5))
}

async fn ask(
    client: &Client,
    origin: &str,
    path: &str,
    request: &Request,
    body: Bytes,
) -> reqwest::Result<reqwest::Response> {
    let query = if request.query.is_empty() { String::new() } else { format!("?{}", request.query) };
    let method = if request.head { Method::HEAD } else { request.method.clone() };
    let mut asked = client.request(method, format!("{origin}{path}{query}"));
    for (name, value) in request.headers.iter().filter(|(name, _)| !OWN.contains(name)) {
        asked = asked.header(name, value);
    }
    if matches!(request.method, Method::POST | Method::PUT) {
        asked = asked.body(body);
    }
    asked.send().await
}

fn passed_on(answered: reqwest::Response) -> Response {
    let (status, headers) = (answered.status(), answered.headers().clone());
    let mut response = warp::reply::stream(answered.bytes_stream()).into_response();
    *response.status_mut() = status;
    for (name, value) in headers.iter().filter(|(name, _)| !OWN.contains(name)) {
        response.headers_mut().append(name, HeaderValue::clone(value));
    }
    response
}
