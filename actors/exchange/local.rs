//! The ports of hubs that share one process: what they share lies in memory. For tests; each hub holds it to what the
//! register in Redis is held to.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, VecDeque},
    mem,
    sync::Arc,
};

use tokio::{sync::watch, time::Instant};

use super::{Ask, Away, Clock, Exchange, Later, Mailbox, Note, Reply};
use crate::register::{Register, Stamp, apply};

/// What hubs share.
#[derive(Clone)]
pub struct Shared {
    state: Arc<watch::Sender<State>>,
    began: Instant,
    /// What the shared clock showed then.
    shared: Stamp,
}

#[derive(Default)]
struct State {
    registers: HashMap<Arc<str>, Register>,
    mail: BTreeMap<Arc<str>, VecDeque<Note>>,
    hubs: BTreeSet<Arc<str>>,
    origins: Vec<Arc<str>>,
    away: bool,
    now: Option<Stamp>,
}

impl Shared {
    /// Nothing yet; the shared clock shows this.
    pub fn new(shared: Stamp) -> Self {
        Self { state: Arc::new(watch::channel(State::default()).0), began: Instant::now(), shared }
    }

    /// The ways of a hub to the others.
    pub fn join(&self, hub: &Arc<str>) -> (Box<dyn Exchange>, Box<dyn Mailbox>) {
        let local = || Local { shared: self.clone(), hub: hub.clone() };
        (Box::new(local()), Box::new(local()))
    }

    /// Where a hub with a database can be asked.
    pub fn advertise(&self, address: &str) {
        self.state.send_modify(|state| state.origins.push(address.into()));
    }

    /// From now on nobody reaches it, or everybody does again.
    pub fn cut(&self, away: bool) {
        self.state.send_modify(|state| state.away = away);
    }

    /// It was started again, and knows nothing.
    pub fn forget(&self) {
        self.state.send_modify(|state| *state = State { away: state.away, now: state.now, ..State::default() });
    }

    /// From now on the shared clock shows this, as far as registers are concerned.
    pub fn set(&self, now: Stamp) {
        self.state.send_modify(|state| state.now = Some(now));
    }

    fn clock(&self) -> Clock {
        Clock { at: self.began, shared: self.shared }
    }
}

/// One hub's way to what hubs share, or its mailbox there.
struct Local {
    shared: Shared,
    hub: Arc<str>,
}

impl State {
    fn ask(&mut self, hub: &Arc<str>, ask: Ask, now: Stamp) -> Reply {
        match ask {
            Ask::Bid(user, step, bid) => {
                let mut register = self.registers.remove(&user);
                let (verdict, hint) = apply(&mut register, step, &bid, now);
                self.registers.extend(register.map(|register| (user.clone(), register)));
                if let Some(hint) = hint {
                    self.post(hint, Note::Look(user));
                }
                Reply::Verdict(verdict)
            }
            Ask::Look(user) => Reply::Register(self.registers.get(&user).cloned(), now),
            Ask::Post(to, note) => {
                self.post(to, note);
                Reply::Posted(true)
            }
            Ask::PostOwner(user, except, note) => {
                let owner = self.registers.get(&user).filter(|owner| owner.conn.is_some() && owner.hub != except);
                let owner = owner.map(|owner| owner.hub.clone());
                let posted = owner.is_some();
                owner.into_iter().for_each(|owner| self.post(owner, note.clone()));
                Reply::Posted(posted)
            }
            Ask::Origins => Reply::Hubs(self.origins.clone()),
            Ask::Hubs => {
                self.hubs.insert(hub.clone());
                Reply::Hubs(self.hubs.iter().cloned().collect())
            }
        }
    }

    fn post(&mut self, to: Arc<str>, note: Note) {
        self.mail.entry(to).or_default().push_back(note);
    }
}

fn away() -> Away {
    Away("it is cut off".to_owned())
}

impl Exchange for Local {
    fn clock(&mut self) -> Later<'_, Result<Clock, Away>> {
        let there = if self.shared.state.borrow().away { Err(away()) } else { Ok(self.shared.clock()) };
        Box::pin(async { there })
    }

    fn ask(&mut self, asks: Vec<Ask>) -> Later<'_, Result<Vec<Reply>, Away>> {
        let mut replies = Err(away());
        let time = self.shared.clock().shared(Instant::now());
        self.shared.state.send_if_modified(|state| {
            if !state.away {
                let now = state.now.unwrap_or(time);
                replies = Ok(asks.into_iter().map(|ask| state.ask(&self.hub, ask, now)).collect());
            }
            replies.is_ok()
        });
        Box::pin(async { replies })
    }
}

impl Mailbox for Local {
    fn read(&mut self) -> Later<'_, Result<Vec<Note>, Away>> {
        Box::pin(async {
            let mut changed = self.shared.state.subscribe();
            let waits = |state: &State| state.away || state.mail.get(&self.hub).is_some_and(|mail| !mail.is_empty());
            // The sender is this mailbox's own: it is there.
            let _ = changed.wait_for(waits).await;
            let mut notes = Err(away());
            self.shared.state.send_if_modified(|state| {
                if !state.away {
                    notes = Ok(state.mail.get_mut(&self.hub).map(mem::take).unwrap_or_default().into());
                }
                false // who waits for something else need not wake
            });
            notes
        })
    }
}
