//! How the hub is: alive, ready, counted.

use serde_json::json;
use warp::{Reply, reply::Response};

/// It answers, so it is alive.
pub fn alive() -> Response {
    warp::reply::json(&json!({"status": "alive"})).into_response()
}
