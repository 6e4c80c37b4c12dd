//! What a row says, whatever its columns hold: nothing in it is an error, and one odd row is never more than that.

use std::{collections::HashSet, sync::Arc};

use actors::{alarm::Translation, language::Aliases};
use rusqlite::{
    Row, ToSql,
    types::{FromSql, FromSqlResult, ToSqlOutput, ValueRef},
};
use tracing::warn;

use super::busy::Busy;
use crate::wire;

/// Bytes of a text that are delivered.
const TEXT_MAX: usize = 65_536;

/// Oddities that are logged at most.
const TOLD_MAX: usize = 100;

const TOLD_ALL_THE_SAME: &str = "it is delivered as well as it can be";

/// A value as the database holds it: its text need not be UTF-8.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Raw {
    Null,
    Integer(i64),
    Real(f64),
    Text(Vec<u8>),
    Blob(Vec<u8>),
}

impl Raw {
    fn as_ref(&self) -> ValueRef<'_> {
        match self {
            Self::Null => ValueRef::Null,
            Self::Integer(number) => ValueRef::Integer(*number),
            Self::Real(number) => ValueRef::Real(*number),
            Self::Text(bytes) => ValueRef::Text(bytes),
            Self::Blob(bytes) => ValueRef::Blob(bytes),
        }
    }

    /// As it is shown.
    pub(super) fn text(&self) -> Arc<str> {
        text(self.as_ref()).0.into()
    }
}

impl FromSql for Raw {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        Ok(match value {
            ValueRef::Null => Self::Null,
            ValueRef::Integer(number) => Self::Integer(number),
            ValueRef::Real(number) => Self::Real(number),
            ValueRef::Text(bytes) => Self::Text(bytes.to_vec()),
            ValueRef::Blob(bytes) => Self::Blob(bytes.to_vec()),
        })
    }
}

impl ToSql for Raw {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(self.as_ref()))
    }
}

/// Text of whatever a column holds, and whether it was cut.
pub(super) fn text(value: ValueRef<'_>) -> (String, bool) {
    let mut text = match value {
        ValueRef::Null => String::new(),
        ValueRef::Integer(number) => number.to_string(),
        ValueRef::Real(number) => number.to_string(),
        ValueRef::Text(bytes) | ValueRef::Blob(bytes) => String::from_utf8_lossy(start(bytes)).into_owned(),
    };
    let cut = text.len() > TEXT_MAX;
    if cut {
        text.truncate(text.floor_char_boundary(TEXT_MAX));
    }
    (text, cut)
}

/// A little more than is delivered, so that 10 MB are not copied to be thrown away.
fn start(bytes: &[u8]) -> &[u8] {
    &bytes[..bytes.len().min(TEXT_MAX + 4)]
}

/// Counts rows that could not be read as they should, and logs each oddity once.
#[derive(Debug, Default)]
pub(super) struct Oddities {
    pub(super) rows: u64,
    told: HashSet<String>,
}

impl Oddities {
    pub(super) fn note(&mut self, id: &str, what: String) {
        self.rows += 1;
        if self.told.len() < TOLD_MAX && !self.told.contains(&what) {
            warn!(alarm.id = ?id, "a row of the table alarm is odd: {what}");
            self.told.insert(what);
        }
    }
}

/// Reads translations.
pub(super) struct Reading<'a> {
    pub(super) aliases: &'a Aliases,
    pub(super) odd: &'a mut Oddities,
    pub(super) busy: &'a mut Busy,
    /// Entries of the log in a page, at most.
    pub(super) page: usize,
}

impl Reading<'_> {
    /// A translation from the columns lang, message, isn_dt, user_id that begin at `first`.
    pub(super) fn translation(&mut self, id: &str, row: &Row<'_>, first: usize) -> rusqlite::Result<Translation> {
        let (lang, message) = (row.get_ref(first)?, row.get_ref(first + 1)?);
        let odd = match message {
            ValueRef::Null => Some("its message is NULL"),
            ValueRef::Blob(_) => Some("its message is a BLOB"),
            ValueRef::Text(bytes) if std::str::from_utf8(bytes).is_err() => Some("its message is not UTF-8"),
            ValueRef::Text(bytes) if bytes.len() > TEXT_MAX => Some("its message is longer than 64 KiB"),
            _ => None,
        };
        let (lang, _) = text(lang);
        let (message, truncated) = text(message);
        let optional = |index: usize| -> rusqlite::Result<Option<String>> {
            let value = row.get_ref(index)?;
            Ok((value != ValueRef::Null).then(|| text(value).0))
        };
        let tag = self.aliases.tag(&lang);
        match (&tag, odd) {
            (None, _) => {
                let start: String = lang.chars().take(40).collect();
                self.odd.note(id, format!("its language {start:?} cannot be read; {TOLD_ALL_THE_SAME}"));
            }
            (_, Some(odd)) => self.odd.note(id, format!("{odd}; {TOLD_ALL_THE_SAME}")),
            _ => {}
        }
        let shown = tag.as_ref().map_or_else(|| lang.clone(), ToString::to_string);
        let body = wire::body(id, &shown, &message, optional(first + 2)?.as_deref(), truncated);
        Ok(Translation { lang: lang.into(), tag, audience: optional(first + 3)?.map(Into::into), body })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sixty_four_kibibytes_are_exact_and_more_is_cut_between_two_characters() {
        let full = "가".repeat(TEXT_MAX / 3) + "a";
        assert_eq!(full.len(), TEXT_MAX);
        assert_eq!(text(ValueRef::Text(full.as_bytes())), (full.clone(), false));
        let long = format!("{full}b");
        assert_eq!(text(ValueRef::Text(long.as_bytes())), (full, true));
        let wide = "가".repeat(TEXT_MAX);
        let (cut, truncated) = text(ValueRef::Text(wide.as_bytes()));
        assert_eq!((cut.chars().all(|character| character == '가'), cut.len(), truncated), (true, 65_535, true));
    }

    #[test]
    fn bytes_that_are_no_text_are_shown_as_well_as_they_can_be() {
        assert_eq!(text(ValueRef::Blob(b"a\xffb")).0, "a\u{fffd}b");
        assert_eq!(text(ValueRef::Integer(5)).0, "5");
        assert_eq!(text(ValueRef::Null).0, "");
    }
}
