//! Three tabs of one user, and all that can happen to them: every interleaving, on the real [`Tenure`].

use stateright::{Checker, Model, Property};

use super::*;

const TABS: usize = 3;

/// How often each of these happens at most.
const OPENINGS: u8 = 4;
const DROPS: u8 = 2;
const RESTARTS: u8 = 2;
const SET_BACK: u8 = 1;
const WAITS: u8 = 1;

/// A browser's tab with a plain `EventSource` and no code of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Tab {
    /// Not opened yet, or sent away for good by a 204.
    Closed,
    Live(Claim),
    /// Its stream ended: it is about to come back by itself, with its claim.
    Away(Claim),
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct World {
    tabs: [Tab; TABS],
    opened: [bool; TABS],
    tenure: Tenure,
    claims: ClaimClock,
    clock: Duration,
    /// What the database knows of the clock of claims.
    noted: Duration,
    /// Since the hub started.
    now: Duration,
    last_opened: Option<usize>,
    /// Tabs that came to own the stream by coming back, since anything else happened.
    moved: [bool; TABS],
    moved_twice: bool,
    openings: u8,
    drops: u8,
    restarts: u8,
    set_back: u8,
    waits: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Happens {
    /// The user opens, or reloads, this tab.
    Open(usize),
    /// Its connection is lost; the hub may not have noticed when the tab comes back.
    Drop(usize, bool),
    /// It comes back by itself.
    Return(usize),
    /// The hub starts again: it knows what is in the database.
    Restart,
    /// The clock is set back by an hour.
    SetBack,
    /// A minute passes.
    Wait,
}

struct Tabs;

impl World {
    fn claim(tab: Tab) -> Option<Claim> {
        match tab {
            Tab::Closed => None,
            Tab::Live(claim) | Tab::Away(claim) => Some(claim),
        }
    }

    fn becomes_live(&mut self, tab: usize, claim: Claim) {
        for other in 0..TABS {
            if let Tab::Live(superseded) = self.tabs[other] {
                self.tabs[other] = Tab::Away(superseded); // a plain page comes back after its `bye`, once
            }
        }
        self.tabs[tab] = Tab::Live(claim);
        self.tenure.begin(claim, self.now);
    }

    /// Something from outside: what comes of it may move the stream once more to each tab.
    fn outside(&mut self) {
        self.moved = [false; TABS];
    }

    fn happen(&mut self, happens: Happens) {
        // The random bits of one claim are high, those of the next are low.
        let random = if self.openings.is_multiple_of(2) { u128::MAX } else { 0 } ^ u128::from(self.openings);
        let random = Uuid::from_u128(random);
        let mut clock = self.clock;
        if matches!(happens, Happens::Open(_) | Happens::Return(_)) {
            let note;
            (clock, note) = self.claims.read(self.now, self.clock);
            if note {
                self.noted = clock;
            }
        }
        match happens {
            Happens::Open(tab) => {
                self.outside();
                self.openings += 1;
                self.opened[tab] = true;
                self.last_opened = Some(tab);
                match self.tenure.decide(None, self.now, clock, random) {
                    Decision::Open(claim) => self.becomes_live(tab, claim),
                    decision => panic!("an opening is an opening, and not {decision:?}"),
                }
            }
            Happens::Drop(tab, noticed) => {
                self.outside();
                self.drops += 1;
                if let Tab::Live(claim) = self.tabs[tab] {
                    self.tabs[tab] = Tab::Away(claim);
                }
                if noticed {
                    self.tenure.end(self.now);
                }
            }
            Happens::Return(tab) => {
                let claim = Self::claim(self.tabs[tab]);
                let had = self.tenure.owner.filter(|_| self.tenure.ended.is_none());
                let decision = self.tenure.decide(claim, self.now, clock, random);
                match decision {
                    Decision::Refuse => self.tabs[tab] = Tab::Closed,
                    Decision::Open(claim) | Decision::Resume(claim) => {
                        if had.is_some_and(|had| had != claim) {
                            self.moved_twice |= self.moved[tab];
                            self.moved[tab] = true;
                        }
                        self.becomes_live(tab, claim);
                    }
                }
            }
            Happens::Restart => {
                self.outside();
                self.restarts += 1;
                self.clock += Duration::from_millis(1); // no hub starts within the millisecond
                for tab in &mut self.tabs {
                    if let Tab::Live(claim) = *tab {
                        *tab = Tab::Away(claim);
                    }
                }
                self.claims = ClaimClock::start(self.noted, self.clock);
                self.now = Duration::ZERO;
                let revoked = self.tenure.revoked;
                self.tenure = Tenure::default();
                if let Some((claim, _)) = revoked {
                    self.tenure.revoke(claim, self.now);
                }
            }
            Happens::SetBack => {
                self.set_back += 1;
                self.clock -= Duration::from_hours(1);
            }
            Happens::Wait => {
                self.outside();
                self.waits += 1;
                self.now += OWNER_REMEMBERED;
                self.clock += OWNER_REMEMBERED;
            }
        }
    }

    fn live(&self) -> impl Iterator<Item = usize> {
        (0..TABS).filter(|tab| matches!(self.tabs[*tab], Tab::Live(_)))
    }

    /// Nobody is about to come back.
    fn is_settled(&self) -> bool {
        !self.tabs.iter().any(|tab| matches!(tab, Tab::Away(_)))
    }
}

impl Model for Tabs {
    type State = World;
    type Action = Happens;

    fn init_states(&self) -> Vec<World> {
        let clock = Duration::from_millis(1_790_000_000_000);
        vec![World {
            tabs: [Tab::Closed; TABS],
            opened: [false; TABS],
            tenure: Tenure::default(),
            claims: ClaimClock::start(Duration::ZERO, clock),
            clock,
            noted: Duration::ZERO,
            now: Duration::ZERO,
            last_opened: None,
            moved: [false; TABS],
            moved_twice: false,
            openings: 0,
            drops: 0,
            restarts: 0,
            set_back: 0,
            waits: 0,
        }]
    }

    fn actions(&self, world: &World, actions: &mut Vec<Happens>) {
        for tab in 0..TABS {
            // The tabs are alike: they are opened in their order.
            let is_next = tab == 0 || world.opened[tab - 1];
            actions.extend((world.openings < OPENINGS && is_next).then_some(Happens::Open(tab)));
            match world.tabs[tab] {
                Tab::Live(_) if world.drops < DROPS => {
                    actions.extend([Happens::Drop(tab, true), Happens::Drop(tab, false)]);
                }
                Tab::Away(_) => actions.push(Happens::Return(tab)),
                _ => {}
            }
        }
        actions.extend((world.restarts < RESTARTS && world.openings > 0).then_some(Happens::Restart));
        actions.extend((world.set_back < SET_BACK && world.openings > 0).then_some(Happens::SetBack));
        actions.extend((world.waits < WAITS && world.openings > 0).then_some(Happens::Wait));
    }

    fn next_state(&self, world: &World, happens: Happens) -> Option<World> {
        let mut next = world.clone();
        next.happen(happens);
        Some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always("never two are live", |_, world: &World| world.live().count() <= 1),
            Property::always("never nobody after the last opening", |_, world: &World| {
                world.openings == 0 || !world.is_settled() || world.live().count() == 1
            }),
            Property::always("the last deliberate opening wins", |_, world: &World| {
                !world.is_settled() || world.live().all(|tab| Some(tab) == world.last_opened)
            }),
            Property::always("the stream moves to a tab that comes back at most once", |_, world: &World| {
                !world.moved_twice
            }),
            Property::always("the hub knows who is live", |_, world: &World| {
                let is_owner = |tab: usize| World::claim(world.tabs[tab]) == world.tenure.owner;
                world.live().all(|tab| is_owner(tab) && world.tenure.ended.is_none())
            }),
            Property::sometimes("a tab is sent away for good", |_, world: &World| {
                world.openings == OPENINGS && world.is_settled()
            }),
        ]
    }
}

#[test]
fn three_tabs_never_fight_and_the_last_one_opened_wins_whatever_happens_to_them_the_hub_and_the_clock() {
    let checked = Tabs.checker().threads(2).spawn_bfs().join();
    checked.assert_properties();
}
