//! Tickets: a way to the stream for an `EventSource`, which can send no header, without a token in a URL.
//!
//! A ticket opens one stream within a short time. It is then bound to the claim of that opening, so that the
//! automatic reconnects of the same page get in with it, as long as the token holds that bought it.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use actors::{
    alarm::{Refusal, Write, Written},
    claim::Claim,
};
use serde_json::json;
use tracing::warn;
use uuid::Uuid;
use warp::{http::StatusCode, reply::Response};

use super::{Api, alarms::refused, json, problem, problem::Problem};
use crate::auth::{Caller, Denied, digest_of};

/// How long a ticket may be used first.
const FIRST: Duration = Duration::from_secs(30);

/// How long what it opens may last where no token says.
const LONGEST: Duration = Duration::from_secs(24 * 3_600);

/// Sells a ticket to the stream of a user.
pub async fn issue(api: &Api, user: Arc<str>, caller: &Caller) -> Result<Response, Problem> {
    let ticket = format!("{}{}", Uuid::new_v4().simple(), Uuid::new_v4().simple());
    let now = SystemTime::now();
    let expires = match caller {
        Caller::Known { expires: Some(expires), .. } => *expires,
        _ => now + LONGEST,
    };
    let until = expires.min(now + FIRST);
    let digest = digest_of(&ticket);
    api.write(Write::IssueTicket { digest, user, until, expires: Some(expires) }).await?.map_err(refused)?;
    let left = until.duration_since(now).unwrap_or_default().as_secs();
    Ok(json(StatusCode::OK, json!({"ticket": ticket, "expires_in": left}).to_string()))
}

/// Until when the holder of a ticket may read the stream of a user.
pub async fn redeem(
    api: &Api,
    digest: [u8; 32],
    user: Arc<str>,
    claim: Option<Claim>,
) -> Result<Option<SystemTime>, Problem> {
    let unknown = || problem::denied(&api.authority, Denied::Unknown { said: true });
    let claim = claim.map(Claim::as_u128);
    match api.write(Write::RedeemTicket { digest, user, claim }).await? {
        Ok(Written::Redeemed(expires)) if expires.is_none_or(|expires| expires > SystemTime::now()) => Ok(expires),
        Ok(_) | Err(Refusal::NotFound) => Err(unknown()),
        Err(other) => Err(refused(other)),
    }
}

/// Says which claim a ticket opened, before anybody hears of the claim; of a ticket that is bound already this changes
/// nothing.
pub async fn bind(api: &Api, digest: [u8; 32], claim: Claim) {
    let bound = api.write(Write::BindTicket { digest, claim: claim.as_u128() }).await;
    if !matches!(bound, Ok(Ok(_) | Err(Refusal::NotFound))) {
        warn!("a ticket could not be bound to what it opened: its page will have to buy another to come back");
    }
}
