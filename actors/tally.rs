//! What is counted of connections. A session counts in its own state and hands it to the hub, which adds: nothing is
//! shared while alarms are delivered.

use std::{collections::HashMap, fmt, mem};

use crate::{
    alarm::Translation,
    language::{Primary, Tag},
    sink::Reason,
};

/// Languages that are counted apart, at most: a reader may ask for any.
const LANGUAGES_MAX: usize = 64;

/// How a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Ending {
    /// The hub ended it with a `bye`.
    Bye(Reason),
    /// The client left.
    Gone,
    /// The same page came back before its end was noticed.
    Resumed,
    /// Its session failed.
    Failed,
}

/// As metrics name it.
impl fmt::Display for Ending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bye(reason) => reason.fmt(f),
            Self::Gone => f.write_str("gone"),
            Self::Resumed => f.write_str("resumed"),
            Self::Failed => f.write_str("failed"),
        }
    }
}

/// Counts of one language each; what is one too many is counted together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ByLanguage {
    each: Vec<(Primary, u64)>,
    /// Of languages that cannot be read, and of those that are too many to be counted apart.
    pub other: u64,
}

impl ByLanguage {
    fn add(&mut self, language: Option<&Primary>, count: u64) {
        let room = self.each.len() < LANGUAGES_MAX;
        match language.map(|language| (language, self.each.iter_mut().find(|(each, _)| each == language))) {
            Some((_, Some((_, counted)))) => *counted += count,
            Some((language, None)) if room => self.each.push((*language, count)),
            _ => self.other += count,
        }
    }

    fn merge(&mut self, more: &Self) {
        more.each.iter().for_each(|(language, count)| self.add(Some(language), *count));
        self.other += more.other;
    }

    /// Those that are counted apart.
    pub fn each(&self) -> &[(Primary, u64)] {
        &self.each
    }
}

/// What happened on connections.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Connections that began.
    pub opened: u64,
    /// Resumes that were refused because a newer connection owns the user.
    pub refused: u64,
    /// Connections that ended.
    pub ended: HashMap<Ending, u64>,
    /// Alarms and updates that were handed to a sink, by the language chosen.
    pub delivered: ByLanguage,
    /// Of those, such that had none of the reader's own languages.
    pub fallbacks: u64,
    /// Of those, such that lacked the reader's first language, by that.
    pub missing: ByLanguage,
}

impl Tally {
    /// Counts a row that was chosen for a reader whose first language is `first`.
    pub fn deliver(&mut self, row: &Translation, fallback: bool, first: Option<&Primary>) {
        let language = row.tag.as_ref().map(Tag::primary);
        self.delivered.add(language, 1);
        self.fallbacks += u64::from(fallback);
        if first.is_some() && first != language {
            self.missing.add(first, 1);
        }
    }

    /// Counts the end of a connection.
    pub fn end(&mut self, ending: Ending) {
        *self.ended.entry(ending).or_default() += 1;
    }

    /// Takes what was counted, to hand it on.
    pub fn take(&mut self) -> Self {
        mem::take(self)
    }

    /// Adds what somebody else counted.
    pub fn add(&mut self, more: &Self) {
        self.opened += more.opened;
        self.refused += more.refused;
        for (ending, count) in &more.ended {
            *self.ended.entry(*ending).or_default() += count;
        }
        self.delivered.merge(&more.delivered);
        self.fallbacks += more.fallbacks;
        self.missing.merge(&more.missing);
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::language::Aliases;

    fn row(lang: &str) -> Translation {
        Translation { lang: lang.into(), tag: Aliases::default().tag(lang), audience: None, body: Bytes::new() }
    }

    #[test]
    fn what_was_chosen_and_what_was_lacking_are_counted_by_language() {
        let aliases = Aliases::default();
        let (korean, japanese) = (aliases.tag("ko").unwrap(), aliases.tag("ja-JP").unwrap());
        let mut tally = Tally { opened: 1, ..Tally::default() };
        tally.deliver(&row("ko"), false, Some(korean.primary()));
        tally.deliver(&row("ko"), false, Some(japanese.primary()));
        tally.deliver(&row("klingon!"), true, Some(japanese.primary()));
        let mut sum = tally.take();
        assert_eq!(tally, Tally::default());
        sum.add(&sum.clone());
        assert_eq!((sum.opened, sum.fallbacks, sum.delivered.other), (2, 2, 2));
        assert_eq!(sum.delivered.each(), [(*korean.primary(), 4)]);
        assert_eq!(sum.missing.each(), [(*japanese.primary(), 4)]);
    }

    #[test]
    fn readers_cannot_make_it_count_more_languages_than_there_is_room_for() {
        let mut tally = Tally::default();
        for letters in (b'a'..=b'z').flat_map(|first| (b'a'..=b'z').map(move |second| [first, second])) {
            let tag = Aliases::default().tag(std::str::from_utf8(&letters).unwrap()).unwrap();
            tally.deliver(&row("ko"), true, Some(tag.primary()));
        }
        assert_eq!(tally.missing.each().len(), LANGUAGES_MAX);
        let counted = tally.missing.each().iter().map(|(_, count)| count).sum::<u64>() + tally.missing.other;
        assert_eq!(counted, 26 * 26 - 2, "each but ko and kr");
    }
}
