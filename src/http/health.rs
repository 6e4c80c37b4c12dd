//! How the hub is: alive, ready, counted.

use std::convert::Infallible;

use serde_json::json;
use tokio::sync::watch;
use warp::{
    Filter, Reply,
    http::{HeaderValue, Method, StatusCode, header},
    reply::Response,
};

use super::{
    Api,
    problem::{self, Problem},
};
use crate::{
    health::{Status, readiness},
    metrics,
};

/// It answers, so it is alive.
pub fn alive() -> Response {
    warp::reply::json(&json!({"status": "alive"})).into_response()
}

/// Whether it can do its job, with a reason for each check that says no: 200, or 503.
pub async fn ready(api: &Api) -> Response {
    let actors = api.actors.borrow().clone();
    let readiness = readiness(&actors, api.poll_interval).await;
    let status = match readiness.status {
        Status::Ok | Status::Degraded => StatusCode::OK,
        Status::Failed => StatusCode::SERVICE_UNAVAILABLE,
    };
    let mut response = warp::reply::with_status(warp::reply::json(&readiness), status).into_response();
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// What was counted.
pub async fn counted(api: &Api) -> Response {
    let actors = api.actors.borrow().clone();
    let mut response = metrics::scrape(&actors, api.poll_interval, api.lost.lines()).await.into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(metrics::CONTENT_TYPE));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// The routes of a listener that has nothing but `/metrics`, for whoever can reach it.
pub fn counted_alone(api: watch::Receiver<Api>) -> impl Filter<Extract = (Response,), Error = Infallible> + Clone {
    warp::method().and(warp::path::full()).then(move |method: Method, path: warp::path::FullPath| {
        let api = api.borrow().clone();
        async move {
            match (path.as_str(), method) {
                ("/metrics", Method::GET | Method::HEAD) => counted(&api).await,
                ("/metrics", _) => problem::method_not_allowed(&[Method::GET]).response(""),
                _ => Problem::new(&problem::NOT_FOUND, "this address has /metrics and nothing else").response(""),
            }
        }
    })
}
