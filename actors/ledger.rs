//! A table and its log in memory: what tests write to in the place of SQLite.

use std::sync::Arc;

use bytes::Bytes;
use tokio::time::Instant;

use crate::{
    alarm::{Batch, FeedName, Round, Translation},
    change::{Change, Entry, rows_at},
    language::{Aliases, Primary},
};

/// A table of alarms and the log of its changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ledger {
    /// The name of its feed.
    pub feed: FeedName,
    changes: Vec<Row>,
}

/// One change of one row; its `seq` is its place, counted from 1.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Row {
    id: Arc<str>,
    lang: Arc<str>,
    before: Option<Translation>,
    after: Option<Translation>,
}

impl Default for Ledger {
    fn default() -> Self {
        Self { feed: FeedName(7), changes: Vec::new() }
    }
}

impl Ledger {
    /// The end of its log.
    pub fn head(&self) -> u64 {
        self.changes.len() as u64
    }

    /// Writes a row, or over it. Its body is `id-lang-text`.
    pub fn put(&mut self, id: &str, lang: &str, text: &str, audience: Option<&str>) {
        let tag = Aliases::default().tag(lang);
        let body = Bytes::from(format!("{id}-{lang}-{text}"));
        self.change(id, lang, Some(Translation { lang: lang.into(), tag, audience: audience.map(Into::into), body }));
    }

    /// Deletes a row.
    pub fn delete(&mut self, id: &str, lang: &str) {
        self.change(id, lang, None);
    }

    fn change(&mut self, id: &str, lang: &str, after: Option<Translation>) {
        let before = self.rows(id, self.head()).into_iter().find(|row| &*row.lang == lang);
        if before.is_some() || after.is_some() {
            self.changes.push(Row { id: id.into(), lang: lang.into(), before, after });
        }
    }

    /// The rows of an alarm just after `seq`.
    pub fn rows(&self, id: &str, seq: u64) -> Vec<Translation> {
        let mut rows: Vec<Translation> = Vec::new();
        for change in self.changes[..seq as usize].iter().filter(|change| &*change.id == id) {
            rows.retain(|row| row.lang != change.lang);
            rows.extend(change.after.clone());
        }
        rows
    }

    /// The ids of all alarms that were ever there, in the order of their first rows.
    pub fn ids(&self) -> Vec<Arc<str>> {
        let mut ids = Vec::new();
        for change in &self.changes {
            if !ids.contains(&change.id) {
                ids.push(change.id.clone());
            }
        }
        ids
    }

    /// The page from `from` to `to` of a round.
    pub fn page(&self, from: u64, to: u64, round: Round) -> Batch {
        let within = |seq: u64, from: u64, to: u64| from < seq && seq <= to;
        let changes = self.ids().into_iter().filter_map(|id| {
            let entries = self.changes.iter().zip(1..).filter(|(change, _)| change.id == id);
            let entries =
                entries.map(|(change, seq)| Entry { seq, lang: change.lang.clone(), before: change.before.clone() });
            let mut entries: Vec<Entry> = entries.filter(|entry| entry.seq > round.start).collect();
            let touched = entries.iter().any(|entry| within(entry.seq, from, to));
            let later = entries.split_off(entries.partition_point(|entry| entry.seq <= round.end));
            let after = rows_at(&later, &self.rows(&id, self.head()));
            touched.then(|| Change::new(id, entries, after))
        });
        let (changes, now) = (changes.collect(), Instant::now());
        Batch { feed: self.feed, from, to, round, gap: false, changes, recent: self.recent(), seen: now, made: now }
    }

    fn recent(&self) -> Arc<[Primary]> {
        let tags = self.changes.iter().filter_map(|change| Some(*change.after.as_ref()?.tag.as_ref()?.primary()));
        tags.collect()
    }
}
