//! Who is connected, for the operator.

use std::sync::Arc;

use actors::{
    alarm::Write,
    cluster::ClusterMessage,
    hub::{HubMessage, Session},
};
use ractor::ActorRef;
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
        "last_alarm_at": session.last_alarm.map(wire::rfc3339),
        "cursor": wire::cursor(session.at),
        "queued": session.queued,
    })
}

fn absent() -> Problem {
    Problem::new(&problem::NOT_CONNECTED, "this user has no live connection")
}

/// This hub, and the way to the others if there are some.
fn hubs(api: &Api) -> (ActorRef<HubMessage>, Option<ActorRef<ClusterMessage>>) {
    let actors = api.actors.borrow();
    (actors.hub.clone(), actors.cluster.clone())
}

/// All live connections, by user.
pub async fn all(api: &Api) -> Result<Response, Problem> {
    let (hub, cluster) = hubs(api);
    let sessions = match cluster {
        Some(cluster) => api.ask(&cluster, ClusterMessage::Sessions).await?,
        None => api.ask(&hub, HubMessage::Sessions).await?,
    };
    let sessions: Vec<Value> = sessions.iter().map(shown).collect();
    Ok(json(StatusCode::OK, json!({"sessions": sessions}).to_string()))
}

/// The live connection of one user.
pub async fn one(api: &Api, user: Arc<str>) -> Result<Response, Problem> {
    let (hub, cluster) = hubs(api);
    let mut session = api.ask(&hub, |reply| HubMessage::Session(user.clone(), reply)).await?;
    if let (None, Some(cluster)) = (&session, cluster) {
        session = api.ask(&cluster, |reply| ClusterMessage::Session(user, reply)).await?;
    }
    let session = session.ok_or_else(absent)?;
    Ok(json(StatusCode::OK, shown(&session).to_string()))
}

/// Ends the live connection of one user.
pub async fn kick(api: &Api, user: Arc<str>, request: &Request, caller: &Caller) -> Result<Response, Problem> {
    let (hub, cluster) = hubs(api);
    let mut was_live = api.ask(&hub, |reply| HubMessage::Kick(user.clone(), reply)).await?;
    if let (false, Some(cluster)) = (was_live, cluster) {
        was_live = api.ask(&cluster, |reply| ClusterMessage::Kick(user.clone(), reply)).await?;
    }
    if was_live {
        audit::acted(request, caller, "kicked", &user);
        // What the session told the hub of the revocation has passed on to the archive when the hub answers this, and is
        // written before a write that comes after it: who was kicked stays away although the hub be killed now. A
        // database that cannot be written keeps nobody here.
        let _ = api.ask(&hub, |reply| HubMessage::Session(user, reply)).await;
        let _ = api.write(Write::Revoke(Vec::new())).await;
    }
    if was_live { Ok(StatusCode::NO_CONTENT.into_response()) } else { Err(absent()) }
}
