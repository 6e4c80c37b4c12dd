//! What permissions leave behind: revoked claims and the digests of tickets.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use actors::alarm::Refusal;
use rusqlite::{Connection, OptionalExtension, params};
use uuid::Uuid;

use super::{
    adopt::{meta, set_meta},
    milliseconds,
    write::{Refused, Result},
};

/// How long a revocation counts.
const DAY: Duration = Duration::from_secs(86_400);

/// Claims revoked less than a day ago.
pub(super) fn revoked(connection: &Connection) -> rusqlite::Result<Vec<(Arc<str>, u128)>> {
    let since = milliseconds(SystemTime::now() - DAY);
    let mut statement = connection.prepare("SELECT user_id, revoked FROM hub_claim WHERE at > ?1")?;
    let revoked: HashMap<String, String> =
        statement.query_map([since], |row| Ok((row.get(0)?, row.get(1)?)))?.collect::<rusqlite::Result<_>>()?;
    let claim = |(user, claim): (String, String)| Some((user.into(), u128::from_str_radix(&claim, 16).ok()?));
    Ok(revoked.into_iter().filter_map(claim).collect())
}

pub(super) fn revoke(connection: &Connection, claims: &[(Arc<str>, u128)]) -> rusqlite::Result<()> {
    let mut revoke = connection.prepare_cached(
        "INSERT INTO hub_claim (user_id, revoked, at) VALUES (?1, ?2, ?3)
         ON CONFLICT (user_id) DO UPDATE SET revoked = max(revoked, excluded.revoked), at = excluded.at",
    )?;
    let now = milliseconds(SystemTime::now());
    claims.iter().try_for_each(|(user, claim)| {
        revoke.execute(params![user, Uuid::from_u128(*claim).simple().to_string(), now]).map(|_| ())
    })
}

/// What was noted last of the clock of claims.
pub(super) fn noted_clock(connection: &Connection) -> rusqlite::Result<Duration> {
    let noted: Option<i64> = meta(connection, "claims")?;
    Ok(noted.and_then(|noted| u64::try_from(noted).ok()).map_or(Duration::ZERO, Duration::from_millis))
}

pub(super) fn note_clock(connection: &Connection, clock: Duration) -> rusqlite::Result<()> {
    set_meta(connection, "claims", i64::try_from(clock.as_millis()).unwrap_or(i64::MAX))
}

/// Keeps a ticket; one that was kept before stays as it is.
pub(super) fn issue(
    connection: &Connection,
    digest: &[u8],
    user: &str,
    until: SystemTime,
    expires: Option<SystemTime>,
) -> rusqlite::Result<()> {
    let mut issue = connection.prepare_cached(
        "INSERT INTO hub_ticket (digest, user_id, until, expires, used) VALUES (?1, ?2, ?3, ?4, 0)
         ON CONFLICT (digest) DO NOTHING",
    )?;
    issue.execute(params![digest, user, milliseconds(until), expires.map(milliseconds)]).map(|_| ())
}

/// Uses a ticket: the first time while it may be, later only by the claim that it opened. What it opens may last so
/// long.
pub(super) fn redeem(
    connection: &Connection,
    digest: &[u8],
    user: &str,
    claim: Option<u128>,
) -> Result<Option<SystemTime>> {
    let now = milliseconds(SystemTime::now());
    let mut ticket = connection.prepare_cached(
        "SELECT used, claim, expires FROM hub_ticket
         WHERE digest = ?1 AND user_id = ?2 AND (used OR until >= ?3) AND (expires IS NULL OR expires > ?3)",
    )?;
    let ticket = ticket.query_row(params![digest, user, now], |row| {
        Ok((row.get::<_, bool>(0)?, row.get::<_, Option<String>>(1)?, row.get::<_, Option<u64>>(2)?))
    });
    let Some((used, bound, expires)) = ticket.optional()? else { return Err(Refused(Refusal::NotFound)) };
    let is_back = claim.is_some() && bound == claim.map(|claim| format!("{claim:032x}"));
    if used && !is_back {
        return Err(Refused(Refusal::NotFound));
    }
    connection.prepare_cached("UPDATE hub_ticket SET used = 1 WHERE digest = ?1 AND NOT used")?.execute([digest])?;
    Ok(expires.map(|expires| UNIX_EPOCH + Duration::from_millis(expires)))
}

/// Says which claim a ticket opened; only the first word counts.
pub(super) fn bind(connection: &Connection, digest: &[u8], claim: u128) -> Result<()> {
    let sql = "UPDATE hub_ticket SET claim = ?2 WHERE digest = ?1 AND used AND claim IS NULL";
    match connection.prepare_cached(sql)?.execute(params![digest, format!("{claim:032x}")])? {
        0 => Err(Refused(Refusal::NotFound)),
        _ => Ok(()),
    }
}

/// Forgets what can be of no use any more.
pub(super) fn forget(connection: &Connection) -> rusqlite::Result<()> {
    let now = SystemTime::now();
    let (now, yesterday) = (milliseconds(now), milliseconds(now - DAY));
    let tickets = "DELETE FROM hub_ticket WHERE expires <= ?1 OR (NOT used AND until < ?1)";
    connection.execute(tickets, [now])?;
    connection.execute("DELETE FROM hub_claim WHERE at <= ?1", [yesterday]).map(|_| ())
}
