//! Who may own a user's stream: the rule that keeps two tabs from fighting. Pure.
//!
//! A deliberate opening always wins and gets a new [`Claim`], newer than any of this user. An automatic reconnect
//! carries the claim of the opening that it continues, and never steals from a newer one.

#[cfg(test)]
mod model;

use std::{fmt, time::Duration};

use uuid::Uuid;

/// How long a claim that is gone still keeps older ones away.
pub const OWNER_REMEMBERED: Duration = Duration::from_secs(60);

/// How long a revoked claim stays revoked.
pub const REVOKED_REMEMBERED: Duration = Duration::from_secs(24 * 3_600);

/// How far ahead of the clock a claim may be: clocks are set back, but not by more than this.
pub const AHEAD_MAX: Duration = Duration::from_secs(24 * 3_600);

/// How often the clock of claims is noted in the database at most.
const NOTED_EVERY: Duration = Duration::from_secs(60);

const COUNTER_A: u128 = 0x0fff << 64;
const COUNTER_B: u128 = (1 << 62) - 1;

/// Names one deliberate opening of a user's stream: a UUID v7 (RFC 9562 §5.7), ordered by age.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Claim(u128);

impl Claim {
    /// Takes what an id carried; `None` unless it is a UUID v7.
    pub fn from_uuid(uuid: Uuid) -> Option<Self> {
        let v7 = uuid.get_version_num() == 7 && uuid.get_variant() == uuid::Variant::RFC4122;
        v7.then_some(Self(uuid.as_u128()))
    }

    /// A claim at `clock` (since 1970) and newer than `newest`, with random bits from `random`.
    ///
    /// Where the clock stands still or went back it counts on in the bits below the millisecond (RFC 9562 §6.2,
    /// method 2), so that it does not run ahead of the clock.
    pub fn next(newest: Option<Self>, clock: Duration, random: Uuid) -> Self {
        let millis = clock.as_millis() & 0xffff_ffff_ffff;
        let fresh = Self::pack(millis, random.as_u128() & (COUNTER_A >> 1 | COUNTER_B));
        match newest {
            Some(newest) if newest.0 >> 80 >= millis => newest.successor(),
            _ => fresh,
        }
    }

    fn pack(millis: u128, bits: u128) -> Self {
        Self(millis << 80 | 7 << 76 | bits & COUNTER_A | 0b10 << 62 | bits & COUNTER_B)
    }

    fn successor(self) -> Self {
        let (millis, a, b) = (self.0 >> 80, self.0 & COUNTER_A, self.0 & COUNTER_B);
        if b < COUNTER_B {
            Self::pack(millis, a | (b + 1))
        } else if a < COUNTER_A {
            Self::pack(millis, a + (1 << 64))
        } else {
            Self::pack(millis + 1, 0)
        }
    }

    /// When it was made, by the clock of its maker (since 1970).
    pub fn made(self) -> Duration {
        Duration::from_millis(u64::try_from(self.0 >> 80).unwrap_or(u64::MAX))
    }

    /// As a number, in the order of claims.
    pub fn as_u128(self) -> u128 {
        self.0
    }

    /// The claim that [`Self::as_u128`] gave.
    pub fn from_u128(number: u128) -> Option<Self> {
        Self::from_uuid(Uuid::from_u128(number))
    }
}

/// 32 hex digits.
impl fmt::Display for Claim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&Uuid::from_u128(self.0).simple(), f)
    }
}

impl fmt::Debug for Claim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Claim({self})")
    }
}

/// The clock that claims are made by. It does not go back while a hub runs, nor over a restart, because it is noted in
/// the database: else a new claim could be older than one of which the hub knows nothing. Times are since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ClaimClock {
    begun: Duration,
    noted: Duration,
}

impl ClaimClock {
    /// The clock of a hub that starts and finds in the database what was `noted` last.
    pub fn start(noted: Duration, clock: Duration) -> Self {
        let noted = if noted <= clock + AHEAD_MAX { noted } else { Duration::ZERO };
        // Claims were made after it was noted.
        let begun = if clock < noted { noted + NOTED_EVERY } else { clock };
        Self { begun, noted }
    }

    /// What it shows so long after the start, for a claim that may be made now; and whether that is to be noted.
    pub fn read(&mut self, elapsed: Duration, clock: Duration) -> (Duration, bool) {
        let now = clock.max(self.begun + elapsed);
        let note = now >= self.noted + NOTED_EVERY;
        if note {
            self.noted = now;
        }
        (now, note)
    }
}

/// What is remembered of the ownership of one user's stream. Instants are counted from any fixed origin.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Tenure {
    /// The newest claim that this user is known to have had.
    pub newest: Option<Claim>,
    /// The claim that owns the stream, or owned it last.
    pub owner: Option<Claim>,
    /// When its connection ended; `None` while it is live (or there never was one).
    pub ended: Option<Duration>,
    /// Claims up to this one are worth nothing, and when that was said.
    pub revoked: Option<(Claim, Duration)>,
}

/// What to do with somebody who asks for the stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// A deliberate opening: it becomes the owner, with this new claim.
    Open(Claim),
    /// The page that owns the stream is back, or one that may have it: it goes on under its claim.
    Resume(Claim),
    /// A newer opening owns the stream: send it away for good.
    Refuse,
}

impl Tenure {
    /// Decides about a request that carries `claim`, at the instant `now` and when the [`ClaimClock`] shows `clock`.
    pub fn decide(&self, claim: Option<Claim>, now: Duration, clock: Duration, random: Uuid) -> Decision {
        let Some(claim) = claim.filter(|claim| claim.made() <= clock + AHEAD_MAX) else {
            return Decision::Open(Claim::next(self.newest, clock, random));
        };
        let revoked = self
            .revoked
            .is_some_and(|(revoked, said)| claim <= revoked && now.saturating_sub(said) < REVOKED_REMEMBERED);
        let older = self.owner.is_some_and(|owner| claim < owner);
        let owner_counts = self.ended.is_none_or(|ended| now.saturating_sub(ended) < OWNER_REMEMBERED);
        if revoked || (older && owner_counts) { Decision::Refuse } else { Decision::Resume(claim) }
    }

    /// This claim owns the stream from now on. A live owner before it, if it was another, is worth nothing any more.
    pub fn begin(&mut self, claim: Claim, now: Duration) {
        if let (Some(before), None) = (self.owner, self.ended)
            && before != claim
        {
            self.revoke(before, now);
        }
        self.newest = self.newest.max(Some(claim));
        self.owner = Some(claim);
        self.ended = None;
    }

    /// The owner's connection ended.
    pub fn end(&mut self, now: Duration) {
        if self.owner.is_some() {
            self.ended = Some(now);
        }
    }

    /// The owner is superseded on another hub, by this claim. That may be a lower one, because clocks differ, and yet
    /// is the newer: it may come back here.
    pub fn yields(&mut self, by: Claim, now: Duration) {
        if let Some(owner) = self.owner.filter(|owner| *owner < by) {
            self.revoke(owner, now);
        }
        self.newest = self.newest.max(self.owner).max(Some(by));
        (self.owner, self.ended) = (Some(by), Some(now));
    }

    /// Claims up to this one are worth nothing from now on.
    pub fn revoke(&mut self, claim: Claim, now: Duration) {
        let highest = self.revoked.map_or(claim, |(before, _)| before.max(claim));
        self.revoked = Some((highest, now));
        self.newest = self.newest.max(Some(highest));
    }

    /// Whether nothing of it can decide anything any more.
    pub fn is_forgettable(&self, now: Duration) -> bool {
        let owner_counts =
            self.owner.is_some() && self.ended.is_none_or(|ended| now.saturating_sub(ended) < OWNER_REMEMBERED);
        let revoked_counts = self.revoked.is_some_and(|(_, said)| now.saturating_sub(said) < REVOKED_REMEMBERED);
        !owner_counts && !revoked_counts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLOCK: Duration = Duration::from_millis(1_790_000_000_000);

    fn claim(newest: Option<Claim>, clock: Duration) -> Claim {
        Claim::next(newest, clock, Uuid::new_v4())
    }

    #[test]
    fn a_claim_is_a_uuid_v7_that_survives_its_text() {
        let made = claim(None, CLOCK);
        let uuid = Uuid::parse_str(&made.to_string()).unwrap();
        assert_eq!(Claim::from_uuid(uuid), Some(made));
        assert_eq!(made.made(), CLOCK);
        assert_eq!(Claim::from_uuid(Uuid::new_v4()), None);
    }

    #[test]
    fn a_new_claim_is_newer_than_the_newest_though_the_clock_went_back_and_does_not_run_ahead() {
        let mut newest = claim(None, CLOCK);
        for _ in 0..100_000 {
            let next = claim(Some(newest), CLOCK - Duration::from_secs(3_600));
            assert!(next > newest);
            newest = next;
        }
        assert_eq!(newest.made(), CLOCK);
        let brim = Claim::pack(CLOCK.as_millis(), u128::MAX);
        assert!(claim(Some(brim), CLOCK) > brim);
        assert!(Claim::from_uuid(Uuid::from_u128(claim(Some(brim), CLOCK).as_u128())).is_some());
    }

    #[test]
    fn a_claim_of_ten_years_ahead_is_none() {
        let forged = claim(None, CLOCK + Duration::from_hours(10 * 365 * 24));
        let decision = Tenure::default().decide(Some(forged), Duration::ZERO, CLOCK, Uuid::new_v4());
        assert!(matches!(decision, Decision::Open(new) if new < forged));
    }

    #[test]
    fn a_resume_is_judged_by_its_claim() {
        let now = Duration::from_secs(1_000);
        let old = claim(None, CLOCK);
        let owner = claim(Some(old), CLOCK);
        let new = claim(Some(owner), CLOCK);
        let mut tenure = Tenure::default();
        tenure.begin(owner, now);
        let decide = |tenure: &Tenure, claim, now| tenure.decide(Some(claim), now, CLOCK, Uuid::new_v4());
        assert_eq!(decide(&tenure, old, now), Decision::Refuse);
        assert_eq!(decide(&tenure, owner, now), Decision::Resume(owner));
        assert_eq!(decide(&tenure, new, now), Decision::Resume(new));
        tenure.end(now);
        assert_eq!(decide(&tenure, old, now + Duration::from_secs(59)), Decision::Refuse);
        assert_eq!(decide(&tenure, old, now + Duration::from_secs(60)), Decision::Resume(old));
    }

    #[test]
    fn a_superseded_claim_is_worth_nothing_for_a_day() {
        let now = Duration::from_secs(1_000);
        let first = claim(None, CLOCK);
        let second = claim(Some(first), CLOCK);
        let mut tenure = Tenure::default();
        tenure.begin(first, now);
        tenure.begin(second, now);
        tenure.end(now);
        let hour = Duration::from_hours(1);
        assert_eq!(tenure.decide(Some(first), now + 23 * hour, CLOCK, Uuid::new_v4()), Decision::Refuse);
        assert_eq!(tenure.decide(Some(first), now + 24 * hour, CLOCK, Uuid::new_v4()), Decision::Resume(first));
        assert!(!tenure.is_forgettable(now + 23 * hour));
        assert!(tenure.is_forgettable(now + 24 * hour));
    }
}
