//! Who is there: user → session, how far each was told that the log is, and what is remembered of whoever is away.

use std::{collections::HashMap, sync::Arc, time::Duration};

use ractor::{ActorId, ActorRef, RpcReplyPort};
use tokio::sync::mpsc;

use crate::{
    claim::{Claim, Tenure},
    hub::Session,
    memory::Bulletin,
    user_session::{Receipt, SessionMessage},
};

/// How far a session may be told behind, in entries of the log: what its reader's next resume has to skip.
const PASS_AFTER: u64 = 4_096;

/// Absent users of whom something is remembered at most, at some 250 bytes each. Of further ones a superseded page may
/// come back once.
const ABSENT_MAX: usize = 1_000_000;

/// Failures of one user's session in a row after which its client is asked to come back later and later.
const FAILURES: u32 = 3;

/// What fails again within this time fails in a row.
const IN_A_ROW: Duration = Duration::from_secs(120);

/// The longest that such a client is sent away.
const REST_MAX: Duration = Duration::from_secs(60);

/// All sessions, and what is remembered of absent users.
#[derive(Default)]
pub struct Roster {
    sessions: HashMap<Arc<str>, Slot>,
    users: HashMap<ActorId, Arc<str>>,
    absent: HashMap<Arc<str>, Tenure>,
    failing: HashMap<Arc<str>, Failing>,
    /// Everybody was told that the log is so far, at least.
    passed: u64,
}

struct Slot {
    actor: ActorRef<SessionMessage>,
    connects: u64,
    /// How far it was told that the log is.
    told: u64,
    /// As the session told last.
    tenure: Tenure,
}

/// A user whose session failed lately.
struct Failing {
    in_a_row: u32,
    last: Duration,
    /// Not to be started again before.
    rests_until: Duration,
}

impl Roster {
    /// How many sessions there are.
    pub fn len(&self) -> usize {
        self.sessions.len()
    }

    /// Whether this user has a session.
    pub fn has(&self, user: &str) -> bool {
        self.sessions.contains_key(user)
    }

    /// The user whose session this is.
    pub fn user(&self, id: ActorId) -> Option<&str> {
        self.users.get(&id).map(|user| &**user)
    }

    /// What is remembered of a user who has no session.
    pub fn remembered(&self, user: &str) -> Tenure {
        self.absent.get(user).copied().unwrap_or_default()
    }

    /// A session was started, with that tenure.
    pub fn enter(&mut self, user: Arc<str>, actor: ActorRef<SessionMessage>, tenure: Tenure) {
        self.absent.remove(&user);
        self.users.insert(actor.get_id(), user.clone());
        self.sessions.insert(user, Slot { actor, connects: 0, told: 0, tenure });
    }

    /// Sends a user's session a connect, which tells it that the log is so far.
    pub fn connect(&mut self, user: &str, head: u64, connect: SessionMessage) {
        let Some(slot) = self.sessions.get_mut(user) else { return };
        slot.connects += 1;
        slot.told = head;
        let _ = slot.actor.cast(connect); // a session that failed drops the reply, and the client comes back
    }

    /// Takes out a session that is idle, unless a connect is on its way to it.
    pub fn leave(&mut self, user: &Arc<str>, connects: u64, now: Duration) {
        if self.sessions.get(user).is_none_or(|slot| slot.connects != connects) {
            return;
        }
        if let Some(Slot { actor, tenure, .. }) = self.sessions.remove(user) {
            self.users.remove(&actor.get_id());
            let _ = actor.drain(); // it answers what it was asked before; one that ended needs no end
            self.keep(user.clone(), tenure, now);
        }
    }

    /// Takes out a session that ended by itself, and its connection with it; whose it was.
    pub fn lose(&mut self, id: ActorId, now: Duration) -> Option<Arc<str>> {
        let user = self.users.remove(&id)?;
        let Slot { mut tenure, .. } = self.sessions.remove(&user)?;
        tenure.end(now);
        self.keep(user.clone(), tenure, now);
        Some(user)
    }

    /// Takes note that a user's session failed. What fails at one alarm fails there again as soon as its client is back:
    /// that must not go round as fast as clients come.
    pub fn note_failure(&mut self, id: ActorId, now: Duration) {
        let Some(user) = self.users.get(&id) else { return };
        let failing =
            self.failing.entry(user.clone()).or_insert(Failing { in_a_row: 0, last: now, rests_until: Duration::ZERO });
        failing.in_a_row = if now.saturating_sub(failing.last) < IN_A_ROW { failing.in_a_row + 1 } else { 1 };
        failing.last = now;
        if let Some(doublings) = failing.in_a_row.checked_sub(FAILURES) {
            let longest = REST_MAX.min(Duration::from_secs(4) * (1 << doublings.min(6)));
            failing.rests_until = now + crate::spread(longest / 2, longest);
        }
    }

    /// How long a user's session, which failed again and again, is to rest.
    pub fn rests(&self, user: &str, now: Duration) -> Option<Duration> {
        self.failing.get(user)?.rests_until.checked_sub(now).filter(|rest| !rest.is_zero())
    }

    /// Takes note of what a session tells of its tenure; the claim up to which it revoked, if that is news.
    pub fn tenure(&mut self, user: &str, tenure: Tenure) -> Option<Claim> {
        let slot = self.sessions.get_mut(user)?;
        let before = std::mem::replace(&mut slot.tenure, tenure);
        let (claim, _) = tenure.revoked?;
        before.revoked.is_none_or(|(revoked, _)| revoked < claim).then_some(claim)
    }

    /// This claim of an absent user was revoked before the hub started.
    pub fn revoke(&mut self, user: Arc<str>, claim: Claim) {
        self.absent.entry(user).or_default().revoke(claim, Duration::ZERO);
    }

    /// Remembers what still counts of a user who is not there.
    fn keep(&mut self, user: Arc<str>, tenure: Tenure, now: Duration) {
        let room = self.absent.len() < ABSENT_MAX;
        if room && !tenure.is_forgettable(now) {
            self.absent.insert(user, tenure);
        }
    }

    /// Forgets what does not count any longer.
    pub fn forget(&mut self, now: Duration) {
        self.absent.retain(|_, tenure| !tenure.is_forgettable(now));
        self.absent.shrink_to(self.absent.len() * 2);
        self.failing.retain(|_, failing| now.saturating_sub(failing.last) < IN_A_ROW);
    }

    /// Tells one user's session, if there is one; whether there is.
    pub fn tell(&self, user: &str, message: SessionMessage) -> bool {
        self.sessions.get(user).map(|slot| slot.actor.cast(message)).is_some() // one that failed is about to be removed
    }

    /// Tells all sessions.
    pub fn tell_all(&self, message: impl Fn() -> SessionMessage) {
        for slot in self.sessions.values() {
            let _ = slot.actor.cast(message()); // one that failed is about to be removed
        }
    }

    /// Hands a page to whom it concerns; answers once they have handled it.
    pub fn spread(&mut self, bulletin: &Arc<Bulletin>, reply: RpcReplyPort<()>) {
        let to = bulletin.batch.to;
        let receipt = Receipt::new(reply);
        let tell = |slot: &mut Slot| {
            let after = std::mem::replace(&mut slot.told, to);
            let news = SessionMessage::News { after, bulletin: bulletin.clone(), receipt: receipt.clone() };
            let _ = slot.actor.cast(news); // one that failed is about to be removed
        };
        if bulletin.is_for_everyone() {
            self.sessions.values_mut().for_each(tell);
            self.passed = to;
        } else {
            // Whom it does not concern learns only now and then how far the log is: an alarm for one user shall not
            // cost a message to each.
            bulletin.users().for_each(|user| {
                if let Some(slot) = self.sessions.get_mut(user) {
                    tell(slot);
                }
            });
            if to > self.passed + PASS_AFTER {
                self.pass(to);
            }
        }
    }

    /// Tells whoever does not know it yet that the log is so far: what lies between does not concern them.
    pub fn pass(&mut self, to: u64) {
        for slot in self.sessions.values_mut().filter(|slot| slot.told < to) {
            let from = std::mem::replace(&mut slot.told, to);
            let _ = slot.actor.cast(SessionMessage::Passed { from, to }); // one that failed is about to be removed
        }
        self.passed = to;
    }

    /// Another log begins, at this head: what was told of the one before counts no longer.
    pub fn restart(&mut self, head: u64) {
        self.sessions.values_mut().for_each(|slot| slot.told = head);
        self.passed = head;
    }

    /// Describes all live connections.
    pub fn describe_all(&self, reply: RpcReplyPort<Vec<Session>>) {
        let (to, mut described) = mpsc::channel(self.sessions.len().max(1));
        self.tell_all(|| SessionMessage::Describe(to.clone()));
        drop(to);
        tokio::spawn(async move {
            let mut sessions = Vec::new();
            while let Some(session) = described.recv().await {
                sessions.push(session);
            }
            sessions.sort_unstable_by(|a: &Session, b| a.user.cmp(&b.user));
            let _ = reply.send(sessions); // whoever asked may have given up
        });
    }

    /// Describes a user's live connection.
    pub fn describe(&self, user: &str, reply: RpcReplyPort<Option<Session>>) {
        let (to, mut described) = mpsc::channel(1);
        self.tell(user, SessionMessage::Describe(to));
        tokio::spawn(async move {
            let _ = reply.send(described.recv().await); // whoever asked may have given up
        });
    }
}
