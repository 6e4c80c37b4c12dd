//! Who owns a user's stream when there are several hubs: a last-writer-wins register a user, and how a hub keeps it.
//! Pure, model-checked.
//!
//! What decides is when an opening reached its hub, told in the time of the one clock that all hubs share (the
//! register's): a *stamp*. Only the register closes a connection; a hint merely makes a hub ask it again. So whatever
//! is lost, doubled or late, or forgotten by the register, the next round of renewals puts right.

use std::{sync::Arc, time::Duration};

use uuid::Uuid;

use crate::claim::{Claim, OWNER_REMEMBERED};

/// An instant by the shared clock, in microseconds since 1970.
pub type Stamp = u64;

/// How often each owner says that it is still there.
pub const RENEW: Duration = Duration::from_secs(30);

/// How long after its last word an owner counts as gone: its hub crashed.
pub const SILENT: Duration = Duration::from_secs(120);

/// Two openings on different hubs within this time are concurrent: one survives, either may. It is what clocks that
/// were compared over a network may differ by.
pub const CONCURRENT: Duration = Duration::from_millis(50);

/// How long a hub waits at least before it says again what was not answered: both count as late then, whichever
/// comes, and are judged alike.
pub const SAY_AGAIN: Duration = Duration::from_millis(150);

/// What all hubs know of one user's stream.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Register {
    /// The claim that owns it, or owned it last.
    pub claim: Claim,
    /// Its connection; `None`: that ended.
    pub conn: Option<Uuid>,
    /// The hub that serves it.
    pub hub: Arc<str>,
    /// The number of that hub's last word.
    pub number: u64,
    /// Orders owners: when the opening reached its hub, or just after the owner before.
    pub stamp: Stamp,
    /// When this owner was written.
    pub written: Stamp,
    /// When it was last heard of.
    pub heard: Stamp,
    /// That claim is worth nothing any more: its user was sent away.
    pub revoked: bool,
    /// All other claims up to this one are worth nothing. The owner's own may be lower, because the clocks of two hubs
    /// differed; a page that was told that it is superseded stays away all the same when it comes back by itself.
    pub superseded: Option<Claim>,
}

/// What a hub says of the connection that it serves.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Bid {
    /// The hub.
    pub hub: Arc<str>,
    /// Counts what the hub says: what comes late, over a connection that it gave up, has a lower one.
    pub number: u64,
    /// The connection.
    pub conn: Uuid,
    /// Its claim.
    pub claim: Claim,
    /// Its [`Register::stamp`] if it was the owner before, else when it reached the hub.
    pub stamp: Stamp,
    /// Claims of this user up to this one are worth nothing.
    pub revoked: Option<Claim>,
}

/// Why it says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Step {
    /// The connection is new here.
    Claim {
        /// It is a deliberate opening and no resume.
        fresh: bool,
    },
    /// It was the owner, and says that it still is.
    Renew,
    /// It ended.
    Release,
}

/// What the register says to that.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// It owns the stream (or did), with this stamp.
    Owner(Stamp),
    /// Another one does, with this claim.
    Superseded(Claim),
}

/// Applies one step to a user's register at the instant `now`. Answers with the verdict and the hub that is to look
/// at this user again.
pub fn apply(register: &mut Option<Register>, step: Step, bid: &Bid, now: Stamp) -> (Verdict, Option<Arc<str>>) {
    let Some(owner) = register else {
        if step != Step::Release || bid.revoked.is_some() {
            let conn = (step != Step::Release).then_some(bid.conn);
            *register = Some(Register {
                claim: bid.claim,
                conn,
                hub: bid.hub.clone(),
                number: bid.number,
                stamp: bid.stamp,
                written: now,
                heard: now,
                revoked: bid.revoked == Some(bid.claim),
                superseded: bid.revoked.filter(|revoked| *revoked != bid.claim),
            });
        }
        return (Verdict::Owner(bid.stamp), None);
    };
    match bid.revoked {
        Some(revoked) if revoked == owner.claim => owner.revoked = true,
        revoked => owner.superseded = owner.superseded.max(revoked),
    }
    if owner.conn == Some(bid.conn) {
        owner.heard = now;
        owner.number = owner.number.max(bid.number);
        if step == Step::Release {
            owner.conn = None;
        }
        return (Verdict::Owner(owner.stamp), None);
    }
    if step == Step::Release {
        return (Verdict::Owner(bid.stamp), None);
    }
    if !owner.yields_to(step, bid, now) {
        owner.superseded = owner.superseded.max(Some(bid.claim).filter(|claim| *claim != owner.claim));
        return (Verdict::Superseded(owner.claim), None);
    }
    let stamp = bid.stamp.max(owner.stamp + 1);
    let over = (owner.conn.is_some() || owner.revoked) && owner.claim != bid.claim;
    let hint = (owner.conn.is_some() && owner.hub != bid.hub).then(|| owner.hub.clone());
    *owner = Register {
        claim: bid.claim,
        conn: Some(bid.conn),
        hub: bid.hub.clone(),
        number: bid.number,
        stamp,
        written: now,
        heard: now,
        revoked: false,
        superseded: owner.superseded.max(over.then_some(owner.claim)),
    };
    (Verdict::Owner(stamp), hint)
}

impl Register {
    /// Whether the owner's connection is there, as far as is known at `now`.
    pub fn is_live(&self, now: Stamp) -> bool {
        self.conn.is_some() && now.saturating_sub(self.heard) < micros(SILENT)
    }

    /// Whether an automatic reconnect with this claim is to be sent away for good.
    pub fn refuses(&self, claim: Claim, now: Stamp) -> bool {
        if claim == self.claim {
            return self.revoked;
        }
        let recent = now.saturating_sub(self.heard) < micros(OWNER_REMEMBERED);
        self.superseded.is_some_and(|superseded| claim <= superseded)
            || (claim < self.claim && (self.is_live(now) || recent))
    }

    fn yields_to(&self, step: Step, bid: &Bid, now: Stamp) -> bool {
        // A hub has one connection a user: between its own it needs no judge but the order in which it spoke.
        if self.hub == bid.hub {
            return self.number < bid.number;
        }
        let later = (bid.stamp, bid.conn) > (self.stamp, self.conn.unwrap_or_default());
        let Step::Claim { fresh } = step else { return later };
        if !fresh && (bid.claim != self.claim || self.revoked) {
            return !self.refuses(bid.claim, now);
        }
        // A clock that went back since this was written tells nothing.
        let written = self.written.min(now);
        let in_time = now <= bid.stamp + 2 * micros(CONCURRENT);
        later || !self.is_live(now) || (in_time && bid.stamp + micros(CONCURRENT) >= written)
    }
}

fn micros(time: Duration) -> Stamp {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

/// What one hub knows of its own connection of one user, and what it still has to say of it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Held {
    /// The connection, the last one there was.
    pub conn: Uuid,
    /// Its claim.
    pub claim: Claim,
    fresh: bool,
    /// When it reached the hub, by the hub's own count.
    arrived: Duration,
    stamp: Option<Stamp>,
    live: bool,
    revoked: Option<Claim>,
}

/// What a hub does with its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Close {
    /// End it: the stream belongs to a newer opening with this claim. If the claim is the connection's own, the same
    /// page is back on another hub.
    Superseded(Uuid, Claim),
}

impl Held {
    /// A connection that reached this hub at `arrived`, by the hub's own count.
    pub fn new(conn: Uuid, claim: Claim, fresh: bool, arrived: Duration) -> Self {
        Self { conn, claim, fresh, arrived, stamp: None, live: true, revoked: None }
    }

    /// Whether the connection is there.
    pub fn is_live(&self) -> bool {
        self.live
    }

    /// Another connection took its place on this hub. What was revoked and not said yet is still to be said.
    pub fn replace(&mut self, next: Self) {
        let revoked = self.revoked.max(next.revoked);
        *self = Self { revoked, ..next };
    }

    /// The connection ended; whether it was the one that is held.
    pub fn close(&mut self, conn: Uuid) -> bool {
        let closes = self.live && self.conn == conn;
        self.live &= !closes;
        closes
    }

    /// Claims up to this one are worth nothing.
    pub fn revoke(&mut self, claim: Claim) {
        self.revoked = self.revoked.max(Some(claim));
    }

    /// What to say now, as the hub's `number`th word. `clock` tells the shared time of an instant of the hub's own count.
    pub fn ask(&self, hub: &Arc<str>, number: u64, clock: impl Fn(Duration) -> Stamp) -> (Step, Bid) {
        let step = match (self.live, self.stamp) {
            (false, _) => Step::Release,
            (true, Some(_)) => Step::Renew,
            (true, None) => Step::Claim { fresh: self.fresh },
        };
        let stamp = self.stamp.unwrap_or_else(|| clock(self.arrived));
        let (conn, claim, revoked) = (self.conn, self.claim, self.revoked);
        (step, Bid { hub: hub.clone(), number, conn, claim, stamp, revoked })
    }

    /// The answer to what was said. An answer that is about an earlier connection changes nothing.
    pub fn answered(&mut self, bid: &Bid, verdict: Verdict) -> Option<Close> {
        if self.revoked == bid.revoked {
            self.revoked = None;
        }
        if self.conn != bid.conn || !self.live {
            return None;
        }
        match verdict {
            Verdict::Owner(stamp) => {
                self.stamp = Some(stamp);
                None
            }
            Verdict::Superseded(by) => {
                self.live = false;
                Some(Close::Superseded(self.conn, by))
            }
        }
    }

    /// Whether there is nothing left to say: it ended, and that was `bid`.
    pub fn is_done(&self, step: Step) -> bool {
        !self.live && step == Step::Release && self.revoked.is_none()
    }
}

#[cfg(test)]
mod model;
