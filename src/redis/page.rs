//! A page of the log, as it lies in the stream.

use std::sync::Arc;

use actors::{
    alarm::{Batch, FeedName, Round, Translation},
    change::{Change, Entry, Sight, Sights},
    language::Aliases,
};
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::codec;

#[derive(Serialize, Deserialize)]
struct Written {
    feed: u32,
    changes: Vec<Alarm>,
    recent: Vec<String>,
}

#[derive(Serialize, Deserialize)]
struct Alarm {
    id: Arc<str>,
    entries: Vec<(u64, Arc<str>, Option<Row>)>,
    sights: Vec<(Option<Arc<str>>, Vec<u64>)>,
    after: Vec<Row>,
}

#[derive(Serialize, Deserialize)]
struct Row {
    lang: Arc<str>,
    /// What the spelling means where the row was read: its canonical tag.
    tag: Option<String>,
    audience: Option<Arc<str>>,
    /// A piece of JSON.
    body: String,
}

fn row(row: &Translation) -> Row {
    Row {
        lang: row.lang.clone(),
        tag: row.tag.as_ref().map(ToString::to_string),
        audience: row.audience.clone(),
        body: String::from_utf8_lossy(&row.body).into_owned(),
    }
}

fn translation(row: Row, aliases: &Aliases) -> Translation {
    // Read from the spelling, so that it is known for what it is; what the spelling means only where it was read is
    // told as one more alias.
    let tag = row.tag.and_then(|tag| {
        let said = aliases.tag(&row.lang).filter(|said| said.to_string() == tag);
        said.or_else(|| aliases.clone().with(&row.lang, &tag).ok()?.tag(&row.lang)).or_else(|| aliases.tag(&tag))
    });
    Translation { lang: row.lang, tag, audience: row.audience, body: row.body.into() }
}

/// The page as bytes, without its place in the log.
pub fn encode(batch: &Batch) -> Vec<u8> {
    let alarm = |change: &Change| Alarm {
        id: change.id.clone(),
        entries: change
            .entries
            .iter()
            .map(|entry| (entry.seq, entry.lang.clone(), entry.before.as_ref().map(row)))
            .collect(),
        sights: change.sights.0.iter().map(|sight| (sight.user.clone(), sight.turns.clone())).collect(),
        after: change.after.iter().map(row).collect(),
    };
    codec::encode(&Written {
        feed: batch.feed.0,
        changes: batch.changes.iter().map(alarm).collect(),
        recent: batch.recent.iter().map(ToString::to_string).collect(),
    })
}

/// The page that lies between two positions of the log.
///
/// # Errors
/// Why it cannot be read.
pub fn decode(bytes: &[u8], from: u64, to: u64, round: Round) -> Result<Batch, String> {
    let written: Written = codec::decode(bytes)?;
    let aliases = Aliases::default();
    let entry = |(seq, lang, before): (u64, Arc<str>, Option<Row>)| Entry {
        seq,
        lang,
        before: before.map(|row| translation(row, &aliases)),
    };
    let change = |alarm: Alarm| {
        let entries: Vec<Entry> = alarm.entries.into_iter().map(entry).collect();
        let sights = alarm.sights.into_iter().map(|(user, turns)| Sight { user, turns }).collect();
        let after = alarm.after.into_iter().map(|row| translation(row, &aliases)).collect();
        Change::abridged(alarm.id, entries, Sights(sights), after)
    };
    let changes = written.changes.into_iter().map(change).collect();
    let recent = written.recent.iter().filter_map(|lang| Some(*aliases.tag(lang)?.primary())).collect();
    let (feed, seen) = (FeedName(written.feed), Instant::now());
    Ok(Batch { feed, from, to, round, gap: false, changes, recent, seen, made: seen })
}

/// What of a page came after `at`, for readers who have been told everything up to there.
pub fn rest(batch: Batch, at: u64) -> Batch {
    if batch.from >= at {
        return batch;
    }
    let changes = batch.changes.iter().filter_map(|change| change.since(at)).collect();
    let round = Round { start: at, end: batch.round.end };
    Batch { from: at, round, changes, ..batch }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_read_as_it_was_written() {
        let aliases = Aliases::default();
        let row = |lang: &str, audience: Option<&str>| Translation {
            lang: lang.into(),
            tag: aliases.tag(lang),
            audience: audience.map(Into::into),
            body: bytes::Bytes::from(format!("{{\"message\":\"{lang}\"")),
        };
        let entries = vec![
            Entry { seq: 3, lang: "jp".into(), before: None },
            Entry { seq: 5, lang: "US-en".into(), before: Some(row("US-en", Some("tiaz"))) },
        ];
        let after = vec![row("jp", None), row("US-en", None), row("!?", None)];
        let round = Round { start: 2, end: 9 };
        let recent = ["zh-TW", "ko"].iter().filter_map(|tag| Some(*aliases.tag(tag)?.primary())).collect();
        let seen = Instant::now();
        let changes = vec![Change::new("1".into(), entries, after)];
        let feed = FeedName(7);
        let batch = Batch { feed, from: 2, to: 6, round, gap: false, changes, recent, seen, made: seen };
        let read = decode(&encode(&batch), 2, 6, round).unwrap();
        assert_eq!(format!("{:?}", read.changes), format!("{:?}", batch.changes));
        assert_eq!((read.feed, read.recent), (batch.feed, batch.recent));
    }
}
