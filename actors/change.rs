//! What happened to one alarm in a stretch of the log, and what that means to each user.
//!
//! The log holds, for each change of a row, the row *as it was before*. So the table at any position still in the
//! log can be told from the table now, and what a reader gets between two positions is a pure function of the two.

use std::sync::Arc;

use crate::alarm::Translation;

/// One line of the log.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Its place in the log.
    pub seq: u64,
    /// Which row of the alarm changed, as the row spells its language.
    pub lang: Arc<str>,
    /// The row before the change; `None`: there was none.
    pub before: Option<Translation>,
}

/// States of an alarm within a round that are looked at: one that changed more often is told again in any case.
pub const EARLIER_MAX: usize = 16;

/// Everything that happened to one alarm during one [`Round`].
#[derive(Clone, Debug)]
pub struct Change {
    /// The alarm's id, as text.
    pub id: Arc<str>,
    /// The last entry of this alarm in the round.
    pub last: u64,
    /// Its rows when the round ended, by their `lang`.
    pub after: Vec<Translation>,
    /// What the log tells of it in the round, in order; nothing if the log tells nothing. Of very many entries the
    /// first of each row and the newest are enough: see [`Change::abridged`].
    pub entries: Vec<Entry>,
    /// When it came into sight and went out of it.
    pub sights: Sights,
    /// The first entry of this alarm in the round.
    first: u64,
}

/// What a change means to one user, whatever that user's language.
///
/// Its `seq` is the place in the round where it is told, with what the alarm is at the end of the round. A reader that
/// is cut off before it and comes back there is told from what the alarm was at that place: so that nothing is missed,
/// nothing of what is told may lie before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Meaning {
    /// It came into sight at this `seq`.
    Arrived(u64),
    /// It was and is in sight; something of it may differ since this `seq`, its first change.
    Stayed(u64),
    /// It went out of sight, at this `seq` first.
    Left(u64),
}

impl Meaning {
    /// The place in the log at which a reader is told of it.
    pub fn seq(self) -> u64 {
        let (Self::Arrived(seq) | Self::Stayed(seq) | Self::Left(seq)) = self;
        seq
    }
}

impl Change {
    /// Puts together what the log and the table tell of one alarm.
    ///
    /// `entries` are all of this alarm's in the round, in order, at least one; `after` are its rows at the end of it.
    pub fn new(id: Arc<str>, entries: Vec<Entry>, after: Vec<Translation>) -> Self {
        let mut sights = Backwards::new(&after);
        for entry in entries.iter().rev() {
            sights.undo(entry.seq, &entry.lang, entry.before.as_ref().map(|row| row.audience.as_deref()));
        }
        Self::abridged(id, entries, sights.finish(), after)
    }

    /// Like [`Change::new`], of an alarm of which not all entries are kept: `sights` are made of all, `entries` hold at
    /// least the first of each row and the last [`EARLIER_MAX`] + 1.
    pub fn abridged(id: Arc<str>, entries: Vec<Entry>, sights: Sights, mut after: Vec<Translation>) -> Self {
        sort(&mut after);
        let first = entries.first().map_or(0, |entry| entry.seq);
        let last = entries.last().map_or(0, |entry| entry.seq);
        Self { id, last, after, entries, sights, first }
    }

    /// What of it came after `seq`; `None`: nothing did.
    pub fn since(&self, seq: u64) -> Option<Self> {
        let later = &self.entries[self.entries.partition_point(|entry| entry.seq <= seq)..];
        let change = || Self::abridged(self.id.clone(), later.to_vec(), self.sights.since(seq), self.after.clone());
        (!later.is_empty()).then(change)
    }

    /// An alarm that the log no longer (or never) tells of: it is simply there, since `seq`.
    pub fn standing(id: Arc<str>, seq: u64, mut rows: Vec<Translation>) -> Self {
        sort(&mut rows);
        Self { id, last: seq, sights: Sights::standing(seq, &rows), after: rows, entries: Vec::new(), first: seq }
    }

    /// What this change means to `user`, in the order in which that is told: at most that it left and that it came.
    pub fn meanings_for(&self, user: &str) -> impl Iterator<Item = Meaning> + use<> {
        self.meanings(Some(user))
    }

    /// What it means to every user that no row of it names.
    pub fn meanings_for_others(&self) -> impl Iterator<Item = Meaning> + use<> {
        self.meanings(None)
    }

    fn meanings(&self, user: Option<&str>) -> impl Iterator<Item = Meaning> + use<> {
        let sees = |row: &Translation| row.audience.is_none() || user.is_some_and(|user| row.is_for(user));
        let turns = self.sights.of(user);
        let in_sight = self.after.iter().any(sees);
        let was_in_sight = in_sight == turns.len().is_multiple_of(2);
        // One that left and came again is told of twice: a reader that is cut in between still shows the former one.
        let left = turns.first().copied().filter(|_| was_in_sight).map(Meaning::Left);
        let came = turns.last().map_or(Meaning::Stayed(self.first), |seq| Meaning::Arrived(*seq));
        left.into_iter().chain(Some(came).filter(|_| in_sight))
    }

    /// Its rows at each time in the round but its end; `None`: it had too many.
    ///
    /// A reader that is cut in the midst of a round may have been told of the end of it already. If it goes on in another
    /// round, which ends as it begins, only what was between tells that the reader does not know it as it is.
    pub fn earlier(&self) -> Option<impl Iterator<Item = Vec<Translation>>> {
        let before = |index: usize| {
            let mut rows = rows_at(&self.entries[index..], &self.after);
            sort(&mut rows);
            rows
        };
        (self.entries.len() <= EARLIER_MAX).then(|| (0..self.entries.len()).map(before))
    }

    /// The users that a row of it names, now or before.
    pub fn users(&self) -> impl Iterator<Item = &Arc<str>> {
        self.sights.0.iter().filter_map(|sight| sight.user.as_ref())
    }
}

/// Puts the rows of an alarm into the one order that they have everywhere, so that the choice among equals is the same
/// however they were put together.
fn sort(rows: &mut [Translation]) {
    rows.sort_unstable_by(|a, b| a.lang.cmp(&b.lang));
}

/// The rows at the start of the stretch that `entries` cover: each touched row as its first entry tells, in the order
/// of those entries, the others as they are.
fn rows_before(entries: &[Entry], after: &[Translation]) -> Vec<(Arc<str>, Option<Translation>)> {
    let mut rows: Vec<(Arc<str>, Option<Translation>)> = Vec::new();
    for entry in entries {
        if !rows.iter().any(|(lang, _)| *lang == entry.lang) {
            rows.push((entry.lang.clone(), entry.before.clone()));
        }
    }
    for row in after {
        if !rows.iter().any(|(lang, _)| *lang == row.lang) {
            rows.push((row.lang.clone(), Some(row.clone())));
        }
    }
    rows
}

/// The table as it was just after `seq`: `now` undone by the entries that follow (only those with a higher `seq`).
pub fn rows_at(later: &[Entry], now: &[Translation]) -> Vec<Translation> {
    rows_before(later, now).into_iter().filter_map(|(_, row)| row).collect()
}

/// Where in the log an alarm came into sight and went out of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sights(pub Vec<Sight>);

/// What one user saw of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sight {
    /// A user that a row names; `None`, the first: everybody else.
    pub user: Option<Arc<str>>,
    /// The entries at which it came into sight or went out of it, by turns, in order.
    pub turns: Vec<u64>,
}

impl Sights {
    /// It is there since `seq`, and nothing is known of the time before.
    fn standing(seq: u64, rows: &[Translation]) -> Self {
        let for_everyone = rows.iter().any(|row| row.audience.is_none());
        let turns = |came: bool| if came { vec![seq] } else { Vec::new() };
        let mut sights = vec![Sight { user: None, turns: turns(for_everyone) }];
        for user in rows.iter().map(|row| &row.audience).filter(|user| user.is_some() && !for_everyone) {
            if sights.iter().all(|sight| sight.user != *user) {
                sights.push(Sight { user: user.clone(), turns: turns(true) });
            }
        }
        Self(sights)
    }

    /// What came after `seq`.
    fn since(&self, seq: u64) -> Self {
        let later = |turns: &[u64]| turns[turns.partition_point(|turn| *turn <= seq)..].to_vec();
        Self(self.0.iter().map(|sight| Sight { user: sight.user.clone(), turns: later(&sight.turns) }).collect())
    }

    /// The turns of a user, or of everybody that no row names.
    fn of(&self, user: Option<&str>) -> &[u64] {
        let named = user.and_then(|user| self.0.iter().find(|sight| sight.user.as_deref() == Some(user)));
        named.or(self.0.first()).map_or(&[], |sight| &sight.turns)
    }
}

/// The only user that may see a row; `None`: everyone.
type Audience = Option<Arc<str>>;

/// Goes back through the entries of an alarm, from its rows at the end, and notes its [`Sights`].
#[derive(Debug)]
pub struct Backwards {
    /// Whom each row is for, where it is there.
    rows: Vec<(Arc<str>, Option<Audience>)>,
    /// Each with the number of rows that it sees.
    sights: Vec<(Sight, usize)>,
}

impl Backwards {
    /// Begins at the end.
    pub fn new(after: &[Translation]) -> Self {
        let everybody = Sight { user: None, turns: Vec::new() };
        let mut new = Self { rows: Vec::with_capacity(after.len()), sights: vec![(everybody, 0)] };
        for row in after {
            new.rows.push((row.lang.clone(), None));
            new.set(new.rows.len() - 1, Some(row.audience.as_deref()), None);
        }
        new
    }

    /// The entry at `seq` of the row `lang`, which was for these before it; `None`: it was not there.
    pub fn undo(&mut self, seq: u64, lang: &str, before: Option<Option<&str>>) {
        let known = self.rows.iter().position(|(known, _)| **known == *lang);
        let index = known.unwrap_or_else(|| {
            self.rows.push((lang.into(), None));
            self.rows.len() - 1
        });
        self.set(index, before, Some(seq));
    }

    fn set(&mut self, index: usize, before: Option<Option<&str>>, seq: Option<u64>) {
        let after = &mut self.rows[index].1;
        if after.as_ref().map(Option::as_deref) == before {
            return;
        }
        let names = before.flatten();
        let known = |(sight, _): &(Sight, usize)| sight.user.as_deref() == names;
        if names.is_some() && !self.sights.iter().any(known) {
            let (everybody, rows) = &self.sights[0];
            self.sights.push((Sight { user: names.map(Into::into), turns: everybody.turns.clone() }, *rows));
        }
        for (sight, rows) in &mut self.sights {
            let sees =
                |row: Option<Option<&str>>| row.is_some_and(|only| only.is_none() || only == sight.user.as_deref());
            let was_in_sight = *rows > 0;
            *rows += usize::from(sees(before));
            *rows -= usize::from(sees(after.as_ref().map(Option::as_deref)));
            if was_in_sight != (*rows > 0) {
                sight.turns.extend(seq);
            }
        }
        *after = before.map(|only| only.map(Into::into));
    }

    /// All of them, in the order of the log.
    pub fn finish(self) -> Sights {
        let forwards = |(mut sight, _): (Sight, usize)| {
            sight.turns.reverse();
            sight
        };
        Sights(self.sights.into_iter().map(forwards).collect())
    }
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*, sample::select};

    use super::*;

    fn row(lang: &str, audience: Option<&str>) -> Translation {
        Translation { lang: lang.into(), tag: None, audience: audience.map(Into::into), body: lang.to_owned().into() }
    }

    proptest! {
        #[test]
        fn from_any_place_it_is_told_that_an_alarm_left_and_came_as_one_sees_who_looks_after_each_change(
            changes in vec((select(&["ko", "ja", "en"][..]), select(&[None, Some(None), Some(Some("a")), Some(Some("b"))][..])), 1..60),
            start in 0..60_u64,
        ) {
            let (mut table, mut entries, mut seen) = (Vec::<Translation>::new(), Vec::new(), Vec::new());
            let in_sight = |table: &[Translation]| ["a", "b", "c"].map(|user| table.iter().any(|row| row.is_for(user)));
            seen.push(in_sight(&table));
            for (seq, (lang, audience)) in (1..).zip(&changes) {
                let before = table.iter().find(|row| *row.lang == **lang).cloned();
                entries.push(Entry { seq, lang: (*lang).into(), before });
                table.retain(|row| *row.lang != **lang);
                table.extend(audience.map(|audience| row(lang, audience)));
                seen.push(in_sight(&table));
            }
            let all = Change::new("1".into(), entries.clone(), table.clone());
            let few: Vec<Entry> = entries[entries.len().saturating_sub(EARLIER_MAX + 1)..].to_vec();
            let few = Change::abridged("1".into(), few, all.sights.clone(), table);
            let start = start.min(entries.len() as u64 - 1);
            for (index, user) in ["a", "b", "c"].into_iter().enumerate() {
                let seen: Vec<bool> = seen[start as usize..].iter().map(|seen| seen[index]).collect();
                let turn = |(at, pair): (usize, &[bool])| (pair[0] != pair[1]).then_some((start + at as u64 + 1, pair[1]));
                let turns: Vec<(u64, bool)> = seen.windows(2).enumerate().filter_map(turn).collect();
                let left = turns.iter().find(|turn| !turn.1).filter(|_| seen[0]).map(|turn| Meaning::Left(turn.0));
                let came = turns.last().map_or(Meaning::Stayed(start + 1), |turn| Meaning::Arrived(turn.0));
                let expected: Vec<Meaning> = left.into_iter().chain(Some(came).filter(|_| seen[seen.len() - 1])).collect();
                let told: Vec<Meaning> = all.since(start).unwrap().meanings_for(user).collect();
                prop_assert_eq!(&told, &expected);
                // Of one that only stayed, the first entry that is known tells.
                let told: Vec<Meaning> = few.since(start).unwrap().meanings_for(user).collect();
                let stayed = |told: &[Meaning]| told.iter().map(|told| matches!(told, Meaning::Stayed(_))).collect::<Vec<_>>();
                prop_assert_eq!(stayed(&told), stayed(&expected));
                prop_assert!(told == expected || matches!(told[..], [Meaning::Stayed(_)]));
            }
        }
    }
}
