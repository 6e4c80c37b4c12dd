//! Who is connected, for the operator.

use std::sync::Arc;

use actors::hub::{HubMessage, Session};
use serde_json::{Value, json};
use warp::{Reply, http::StatusCode, reply::Response};

use super::{
    Api, Request, audit, json,
    problem::{self, Problem},
};
use crate::{auth::Caller, wire};

fn shown(session: &Session) -> Value {
    json!({
        "user": &*session.user,
        "conn": session.conn.simple().to_string(),
        "languages": &*session.languages,
        "since": wire::rfc3339(session.since),
        "took_over": session.took_over,
        "delivered": session.delivered,
        "cursor": wire::cursor(session.at),
        "queued": session.queued,
    })
}

fn absent() -> Problem {
    Problem::new(&problem::NOT_CONNECTED, "this user has no live connection")
}

/// All live connections, by user.
pub async fn all(api: &Api) -> Result<Response, Problem> {
    let hub = api.actors.borrow().hub.clone();
    let sessions = api.ask(&hub, HubMessage::Sessions).await?;
    let sessions: Vec<Value> = sessions.iter().map(shown).collect();
    Ok(json(StatusCode::OK, json!({"sessions": sessions}).to_string()))
}

/// The live connection of one user.
pub async fn one(api: &Api, user: Arc<str>) -> Result<Response, Problem> {
    let hub = api.actors.borrow().hub.clone();
    let session = api.ask(&hub, |reply| HubMessage::Session(user, reply)).await?.ok_or_else(absent)?;
    Ok(json(StatusCode::OK, shown(&session).to_string()))
}

/// Ends the live connection of one user.
pub async fn kick(api: &Api, user: Arc<str>, request: &Request, caller: &Caller) -> Result<Response, Problem> {
    let (hub, kicked) = (api.actors.borrow().hub.clone(), user.clone());
    let was_live = api.ask(&hub, |reply| HubMessage::Kick(kicked, reply)).await?;
    if was_live {
        audit::acted(request, caller, "kicked", &user);
    }
    if was_live { Ok(StatusCode::NO_CONTENT.into_response()) } else { Err(absent()) }
}
