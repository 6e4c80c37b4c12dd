//! What this hub's connections are, and what is still to be said of them to the register.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
};

use tokio::time::Instant;
use uuid::Uuid;

use crate::{
    claim::Claim,
    exchange::Clock,
    register::{Bid, Close, Held, RENEW, Step, Verdict},
    spread,
};

/// The connections of this hub. What is to be said is told from the state when it is said, so that what waits is at
/// most one word a user.
pub(super) struct Mirror {
    name: Arc<str>,
    /// What arrivals are counted from.
    origin: Instant,
    /// Counts the words.
    number: u64,
    users: HashMap<Arc<str>, User>,
    /// Users of which something is to be said, in order.
    words: VecDeque<Arc<str>>,
}

struct User {
    held: Held,
    queued: bool,
    /// When its word is due again; `None`: it was never said.
    due: Option<Instant>,
}

impl Mirror {
    /// No connections yet, of the hub with this name.
    pub fn new(name: Arc<str>) -> Self {
        Self { name, origin: Instant::now(), number: 0, users: HashMap::new(), words: VecDeque::new() }
    }

    /// Users of whom a connection is there, or something is to be said.
    pub fn users(&self) -> usize {
        self.users.len()
    }

    /// Users of whom something is to be said.
    pub fn waiting(&self) -> usize {
        self.words.len()
    }

    /// A connection began just now.
    pub fn began(&mut self, user: Arc<str>, conn: Uuid, claim: Claim, fresh: bool) {
        let held = Held::new(conn, claim, fresh, self.origin.elapsed());
        match self.users.get_mut(&user) {
            Some(before) => before.held.replace(held),
            None => {
                self.users.insert(user.clone(), User { held, queued: false, due: None });
            }
        }
        self.speak(user);
    }

    /// A connection ended; `None`: whichever this user had.
    pub fn ended(&mut self, user: Arc<str>, conn: Option<Uuid>) {
        let Some(known) = self.users.get_mut(&user) else { return };
        if known.held.close(conn.unwrap_or(known.held.conn)) {
            self.speak(user);
        }
    }

    /// Claims of this user up to this one are worth nothing any more.
    pub fn revoked(&mut self, user: Arc<str>, claim: Claim) {
        if let Some(known) = self.users.get_mut(&user) {
            known.held.revoke(claim);
            self.speak(user);
        }
    }

    /// Something is to be said of this user, if there is a connection.
    pub fn speak(&mut self, user: Arc<str>) {
        if let Some(known) = self.users.get_mut(&user)
            && !known.queued
        {
            known.queued = true;
            self.words.push_back(user);
        }
    }

    /// The register may have forgotten everything, or never have heard: all is to be said again.
    pub fn speak_of_all(&mut self) {
        let users: Vec<Arc<str>> = self.users.keys().cloned().collect();
        users.into_iter().for_each(|user| self.speak(user));
    }

    /// What is due is to be said again.
    pub fn renew(&mut self) {
        let now = Instant::now();
        let due = |known: &User| known.due.is_none_or(|due| due <= now);
        let due = self.users.iter().filter(|(_, known)| due(known)).map(|(user, _)| user.clone());
        due.collect::<Vec<_>>().into_iter().for_each(|user| self.speak(user));
    }

    /// The next word. `clock` is the shared time.
    pub fn word(&mut self, clock: &Clock) -> Option<(Arc<str>, Step, Bid)> {
        while let Some(user) = self.words.pop_front() {
            let Some(known) = self.users.get_mut(&user) else { continue };
            self.number += 1;
            (known.queued, known.due) = (false, Some(Instant::now() + spread(RENEW.mul_f32(0.8), RENEW)));
            let origin = self.origin;
            let (step, bid) = known.held.ask(&self.name, self.number, |arrived| clock.shared(origin + arrived));
            return Some((user, step, bid));
        }
        None
    }

    /// The answer to a word: whether a connection is to be closed.
    pub fn heard(&mut self, user: &Arc<str>, step: Step, bid: &Bid, verdict: Verdict) -> Option<Close> {
        let known = self.users.get_mut(user)?;
        let closed = known.held.answered(bid, verdict);
        if closed.is_some() || known.held.is_done(step) {
            self.users.remove(user);
        }
        closed
    }
}
