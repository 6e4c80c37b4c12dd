//! `check`: what is wrong, or soon will be.

use std::{os::unix::fs::MetadataExt, path::Path};

use super::{Failure, configure, print, quoted, serve};
use crate::{
    config::Flags,
    store::{
        Make, Options,
        inspect::{Report, inspect},
    },
};

pub fn run(flags: Flags) -> Result<(), Failure> {
    let config = configure(flags)?;
    print("settings: fine")?;
    let mut wrong = Vec::new();
    if !config.db.exists() {
        wrong.push(serve::missing(&config.db));
    } else if let Err(error) = serve::look_around(&config) {
        wrong.push(error.to_string());
    }
    for path in open_to_all(&config.db) {
        let quoted = quoted(&path.display().to_string());
        print(&format!("warning: everybody on this machine can write {}: chmod o-w {quoted}", path.display()))?;
    }
    if config.db.exists() {
        let options = Options {
            path: config.db.clone(),
            make: Make::Nothing,
            aliases: config.aliases.clone(),
            retention: config.retention,
        };
        match inspect(&options, &config.default_languages) {
            Err(failure) => wrong.push(failure.cause),
            Ok(report) => {
                told(&config.db.display().to_string(), &report).iter().try_for_each(|line| print(line))?;
                wrong.extend(report.wrong);
            }
        }
    }
    if wrong.is_empty() { Ok(()) } else { Err(Failure::Failed(wrong.join("\nerror: "))) }
}

/// The database and its directory, as far as whoever is on the machine could put another one in its place. (In a
/// directory with the sticky bit that is not so.)
fn open_to_all(db: &Path) -> impl Iterator<Item = &Path> {
    let directory = db.parent().map(|parent| if parent.as_os_str().is_empty() { Path::new(".") } else { parent });
    let mode = |path: &Path| path.metadata().map_or(0, |file| file.mode());
    [Some(db), directory].into_iter().flatten().filter(move |path| mode(path) & 0o1002 == 0o002)
}

/// What there is to say about a database; what is wrong with it is said elsewhere.
fn told(db: &str, report: &Report) -> Vec<String> {
    let feed = match &report.feed {
        Some(feed) => format!("feed {feed}"),
        None => "not adopted yet, the first start does that".to_owned(),
    };
    let mut lines = vec![format!(
        "database: {db}: {} alarms in {} rows, journal mode {}, {feed}",
        report.alarms, report.rows, report.journal_mode
    )];
    for odd in &report.odd_tags {
        lines.push(match &odd.means {
            Some(means) => format!("warning: {} rows have the language {:?}, read as {means}", odd.rows, odd.written),
            None => format!(
                "warning: {} rows have the language {:?}, which cannot be read: only who can get nothing else gets \
                 them; say what it means with --lang-alias",
                odd.rows, odd.written
            ),
        });
    }
    for lack in &report.lacking {
        let examples = lack.examples.join(", ");
        lines.push(format!("warning: {} alarms have no {}, for example {examples}", lack.alarms, lack.language));
    }
    if lines.len() == 1 && report.wrong.is_empty() {
        lines.push("languages: fine".to_owned());
    }
    lines
}
