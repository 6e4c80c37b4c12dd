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

/// Alarms that one event of the trail names, at most.
const LISTED: usize = 16;

/// Alarms by their ids: the first of them, and how many there are besides.
pub fn list(ids: &[String]) -> String {
    match ids.split_at_checked(LISTED) {
        Some((listed, [_, ..])) => format!("{} and {} more", listed.join(" "), ids.len() - LISTED),
        _ => ids.join(" "),
    }
}

/// Somebody may not. The query, which may hold a ticket, is not told.
pub fn refused(request: &Request, path: &str, status: StatusCode) {
    let (method, status, address) =
        (request.method.as_str(), status.as_u16(), request.remote.map(tracing::field::display));
    info!(target: "audit", { caller.address = address, http.method = method, http.path = path, http.status = status }, "refused");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_list_of_alarms_is_cut_and_says_by_how_many() {
        let ids: Vec<String> = (1..=18).map(|id| id.to_string()).collect();
        assert_eq!(list(&ids[..1]), "1");
        assert!(list(&ids[..16]).ends_with(" 15 16"));
        assert!(list(&ids).ends_with(" 15 16 and 2 more"));
    }
}
