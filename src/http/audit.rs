//! The audit trail of requests: who changed what, and who was refused. (Sessions tell of connections themselves.)

use tracing::info;
use warp::http::StatusCode;

use super::Request;
use crate::auth::Caller;

/// Somebody did something to `about`: alarms by their ids, or a user.
pub fn acted(request: &Request, caller: &Caller, act: &'static str, about: &str) {
    let user = match caller {
        Caller::Known { user: Some(user), .. } => user,
        _ => "",
    };
    let address = request.remote.map(tracing::field::display);
    info!(target: "audit", { caller.user = user, caller.address = address, about }, "{act}");
}

/// Somebody may not. The query, which may hold a ticket, is not told.
pub fn refused(request: &Request, path: &str, status: StatusCode) {
    let (method, status, address) =
        (request.method.as_str(), status.as_u16(), request.remote.map(tracing::field::display));
    info!(target: "audit", { caller.address = address, http.method = method, http.path = path, http.status = status }, "refused");
}
