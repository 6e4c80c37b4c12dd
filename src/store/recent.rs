//! Which languages the table lately had alarms in: only for one of these is it worth to wait a moment.

use std::sync::Arc;

use actors::{
    change::Change,
    language::{Aliases, Primary},
};

use super::{Opened, row::text};

/// How many of the newest alarms count.
const ALARMS: u64 = 200;

/// The languages of the newest alarms.
#[derive(Debug, Default)]
pub(super) struct Recent {
    /// Alarms until now.
    alarms: u64,
    /// Each language with the number of the last alarm that had it.
    seen: Vec<(Primary, u64)>,
    list: Arc<[Primary]>,
}

impl Recent {
    /// As the table has them.
    pub(super) fn read(opened: &Opened, aliases: &Aliases) -> rusqlite::Result<Self> {
        let mut recent = Self::default();
        let sql = format!(
            "SELECT DISTINCT a.lang FROM (SELECT alarm_id FROM alarm_index ORDER BY seq DESC LIMIT {ALARMS}) AS i
             CROSS JOIN alarm AS a ON {}",
            opened.table.is_of("a", "i.alarm_id")
        );
        let mut newest = opened.connection.prepare(&sql)?;
        let mut rows = newest.query([])?;
        while let Some(row) = rows.next()? {
            if let Some(tag) = aliases.tag(&text(row.get_ref(0)?).0) {
                recent.see(tag.primary());
            }
        }
        recent.list = recent.seen.iter().map(|(language, _)| *language).collect();
        Ok(recent)
    }

    /// Goes on with these changes.
    pub(super) fn note(&mut self, changes: &[Change]) -> Arc<[Primary]> {
        for change in changes.iter().filter(|change| !change.after.is_empty()) {
            self.alarms += 1;
            for row in &change.after {
                if let Some(tag) = &row.tag {
                    self.see(tag.primary());
                }
            }
        }
        let since = self.alarms.saturating_sub(ALARMS);
        self.seen.retain(|(_, last)| *last >= since);
        if self.seen.len() != self.list.len() || !self.seen.iter().all(|(language, _)| self.list.contains(language)) {
            self.list = self.seen.iter().map(|(language, _)| *language).collect();
        }
        self.list.clone()
    }

    fn see(&mut self, language: &Primary) {
        match self.seen.iter_mut().find(|(seen, _)| seen == language) {
            Some((_, last)) => *last = self.alarms,
            None => self.seen.push((*language, self.alarms)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use actors::alarm::Translation;

    #[test]
    fn a_language_is_forgotten_once_two_hundred_alarms_went_by_without_it() {
        let aliases = Aliases::default();
        let change = |lang: &str| {
            let tag = aliases.tag(lang);
            let row = Translation { lang: lang.into(), tag, audience: None, body: bytes::Bytes::new() };
            Change::standing("1".into(), 1, vec![row])
        };
        let primary = |lang: &str| *aliases.tag(lang).unwrap().primary();
        let mut recent = Recent::default();
        assert_eq!(*recent.note(&[change("ja")]), [primary("ja")]);
        let korean: Vec<Change> = (0..200).map(|_| change("ko")).collect();
        assert_eq!(*recent.note(&korean), [primary("ja"), primary("ko")]);
        assert_eq!(*recent.note(&korean[..1]), [primary("ko")]);
    }
}
