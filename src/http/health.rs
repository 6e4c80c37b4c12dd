//! How the hub is: alive, ready, counted.

use serde_json::json;
use warp::{
    Reply,
    http::{HeaderValue, StatusCode, header},
    reply::Response,
};

use super::Api;
use crate::health::{Status, readiness};

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
