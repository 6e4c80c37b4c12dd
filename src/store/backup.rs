//! A copy of the database while it is written to.

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use actors::alarm::{Failure, Fault};
use rusqlite::{Connection, OpenFlags, backup::Backup};

use super::{adopt, opening::unopened};

/// Pages that are copied at once where readers and writers exclude each other, and the pause between.
const PAGES: i32 = 1_024;
const PAUSE: Duration = Duration::from_millis(5);

/// How long a writer may hold the database.
const PATIENCE: Duration = Duration::from_secs(10);

/// Copies the database at `from`, as it is at one moment, to a new file.
///
/// The copy has another feed's name: whoever holds a position of the original is told `reset` after it was restored.
/// What came after the copy is lost with the original, and positions would be used a second time.
///
/// # Errors
/// If there is a file already, or if one of the two cannot be read or written; nothing is left at `to` then.
pub fn backup(from: &Path, to: &Path) -> Result<(), Failure> {
    let told = |cause: io::Error| Failure { fault: Fault::Other, cause: format!("{}: {cause}", to.display()) };
    if to.exists() {
        return Err(told(io::Error::new(io::ErrorKind::AlreadyExists, "it is there already; name another file")));
    }
    let part = PathBuf::from(format!("{}.part", to.display()));
    File::create(&part).map_err(told)?;
    let done = copy(from, &part).map_err(|cause| unopened(from, &cause));
    let placed = done.and_then(|()| {
        fs::metadata(from)
            .and_then(|original| fs::set_permissions(&part, original.permissions()))
            .and_then(|()| fs::rename(&part, to))
            .map_err(told)
    });
    if placed.is_err() {
        let _ = fs::remove_file(&part); // the failure is told in any case
    }
    placed
}

fn copy(from: &Path, part: &Path) -> rusqlite::Result<()> {
    let source = Connection::open_with_flags(from, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    source.busy_timeout(PATIENCE)?;
    let mode: String = source.query_row("PRAGMA journal_mode", [], |row| row.get(0))?;
    let mut copy = Connection::open(part)?;
    // With a write-ahead log a reader holds up nobody. Without one the copy lets writers in between, and begins again
    // when they have written.
    let pages = if mode == "wal" { i32::MAX } else { PAGES };
    Backup::new(&source, &mut copy)?.run_to_completion(pages, PAUSE, None)?;
    if adopt::version(&copy)?.is_some() {
        adopt::set_meta(&copy, "feed", adopt::new_feed().to_string())?;
    }
    copy.close().map_err(|(_, cause)| cause)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_that_fails_leaves_nothing_and_one_that_is_there_is_kept() {
        let folder = tempfile::tempdir().unwrap();
        let (from, to) = (folder.path().join("a.db"), folder.path().join("b.db"));
        assert!(backup(&from, &to).is_err());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
        let source = Connection::open(&from).unwrap();
        source
            .execute_batch("CREATE TABLE alarm (id, lang, message); INSERT INTO alarm VALUES (1, 'ko', 'x')")
            .unwrap();
        backup(&from, &to).unwrap();
        let copied: i64 =
            Connection::open(&to).unwrap().query_row("SELECT count(*) FROM alarm", [], |row| row.get(0)).unwrap();
        assert_eq!(copied, 1);
        assert!(backup(&from, &to).unwrap_err().cause.contains("it is there already"));
    }
}
