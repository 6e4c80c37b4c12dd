//! Whether the file under the path is still the one that is open. Asked before every use, of the file system alone:
//! an open database never notices that its file was replaced, and a new one that is opened beside the old one's `-wal`
//! would take the old pages for its own.

use std::{
    ffi::OsString,
    fs, io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use actors::alarm::{Failure, Fault};

/// A file, whatever its name.
type Inode = (u64, u64);

/// A database's files as they are now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Files {
    main: Inode,
    size: u64,
    written: (i64, i64),
    /// The files `-wal` and `-shm` beside it.
    beside: [Option<Inode>; 2],
}

/// Where a database's files lie.
#[derive(Clone, Debug)]
pub(super) struct Paths {
    pub(super) main: PathBuf,
    wal: PathBuf,
    shm: PathBuf,
}

/// What became of an open database's files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// They are as they were.
    Same,
    /// The main file was written to: by a checkpoint, or by something that knows nothing of databases.
    Written,
    /// It is the same file, but not to be trusted: it shrank, or its `-wal` or `-shm` was taken away.
    Suspect,
    /// It is another file.
    Replaced,
    /// It is another file, and beside it lies what belongs to the one before.
    Stale,
}

impl Files {
    /// What became of them since `self`.
    pub(super) fn fate(&self, now: &Self) -> Fate {
        let pairs = || self.beside.iter().zip(&now.beside);
        if self.main != now.main {
            let stale = pairs().any(|(before, now)| before.is_some() && before == now);
            return if stale { Fate::Stale } else { Fate::Replaced };
        }
        if now.size < self.size || pairs().any(|(before, now)| before.is_some() && before != now) {
            Fate::Suspect
        } else if (now.size, now.written) != (self.size, self.written) {
            Fate::Written
        } else {
            Fate::Same
        }
    }

    /// Whether the `-wal` or the `-shm` beside the same file was taken away.
    pub(super) fn have_lost(&self, now: &Self) -> bool {
        let lost = |index: usize| self.beside[index].is_some() && now.beside[index].is_none();
        self.is_same_as(now) && self.size <= now.size && (lost(0) || lost(1))
    }

    /// Whether there is no `-wal`.
    pub(super) fn lack_the_wal(&self) -> bool {
        self.beside[0].is_none()
    }

    /// Whether there is a `-wal` without a `-shm`. Just opened that means: another connection of this process still has
    /// the `-shm` that was taken away, and all of a process share one.
    pub(super) fn are_torn(&self) -> bool {
        self.beside[0].is_some() && self.beside[1].is_none()
    }

    /// Whether the main file holds nothing at all.
    pub(super) fn is_empty(&self) -> bool {
        self.size == 0
    }

    /// Whether it is the same main file.
    pub(super) fn is_same_as(&self, other: &Self) -> bool {
        self.main == other.main
    }
}

impl Paths {
    pub(super) fn new(main: &Path) -> Self {
        let beside = |end: &str| {
            let mut name = OsString::from(main);
            name.push(end);
            PathBuf::from(name)
        };
        Self { main: main.to_owned(), wal: beside("-wal"), shm: beside("-shm") }
    }

    /// The files as they are now; `None`: there is no main file.
    pub(super) fn look(&self) -> Result<Option<Files>, Failure> {
        let failed = |cause: io::Error| Failure {
            fault: Fault::Other,
            cause: format!("cannot look at {}: {cause}", self.main.display()),
        };
        let Some(main) = metadata(&self.main).map_err(failed)? else { return Ok(None) };
        let beside = [&self.wal, &self.shm].map(|path| metadata(path).ok().flatten().map(|file| inode(&file)));
        let written = (main.mtime(), main.mtime_nsec());
        Ok(Some(Files { main: inode(&main), size: main.size(), written, beside }))
    }

    /// Puts aside what lies beside a file that was replaced and belongs to the one before, `known`. The `-wal` is kept
    /// under another name; the `-shm` holds nothing that is not in the `-wal`.
    pub(super) fn put_aside(&self, known: &Files) -> io::Result<Vec<PathBuf>> {
        let mut kept = Vec::new();
        for (path, known) in [&self.wal, &self.shm].into_iter().zip(known.beside) {
            if known.is_none() || metadata(path)?.map(|file| inode(&file)) != known {
                continue;
            }
            let mut aside = OsString::from(path);
            aside.push(".replaced");
            fs::rename(path, &aside)?;
            if metadata(Path::new(&aside))?.map(|file| inode(&file)) != known {
                fs::rename(&aside, path)?; // another program was quicker: this one is in use
            } else if *path == self.shm {
                fs::remove_file(&aside)?;
            } else {
                kept.push(aside.into());
            }
        }
        Ok(kept)
    }
}

fn metadata(path: &Path) -> io::Result<Option<fs::Metadata>> {
    match fs::metadata(path) {
        Ok(file) => Ok(Some(file)),
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(cause) => Err(cause),
    }
}

fn inode(file: &fs::Metadata) -> Inode {
    (file.dev(), file.ino())
}

#[cfg(test)]
mod tests {
    use super::*;

    const OPEN: Files = Files { main: (1, 2), size: 8_192, written: (3, 4), beside: [Some((1, 5)), Some((1, 6))] };

    #[test]
    fn what_became_of_the_files_is_told_before_they_are_opened() {
        let none = [None, None];
        for (now, fate) in [
            (OPEN, Fate::Same),
            (Files { written: (3, 5), size: 12_288, ..OPEN }, Fate::Written),
            (Files { size: 4_096, ..OPEN }, Fate::Suspect),
            (Files { beside: none, ..OPEN }, Fate::Suspect),
            (Files { main: (1, 9), beside: none, ..OPEN }, Fate::Replaced),
            (Files { main: (1, 9), beside: [Some((1, 7)), Some((1, 8))], ..OPEN }, Fate::Replaced),
            (Files { main: (1, 9), ..OPEN }, Fate::Stale),
            (Files { main: (2, 2), beside: [None, Some((1, 6))], ..OPEN }, Fate::Stale),
        ] {
            assert_eq!(OPEN.fate(&now), fate, "{now:?}");
        }
        assert_eq!(Files { beside: none, ..OPEN }.fate(&OPEN), Fate::Same, "another program turned WAL on");
        for (now, lost, torn) in [
            (Files { beside: none, ..OPEN }, true, false),
            (Files { beside: [OPEN.beside[0], None], ..OPEN }, true, true),
            (Files { main: (1, 9), beside: none, ..OPEN }, false, false),
            (OPEN, false, false),
        ] {
            assert_eq!((OPEN.have_lost(&now), now.are_torn()), (lost, torn), "{now:?}");
        }
    }

    #[test]
    fn only_what_belonged_to_the_file_before_is_put_aside() {
        let folder = tempfile::tempdir().unwrap();
        let paths = Paths::new(&folder.path().join("alarms.db"));
        for path in [&paths.main, &paths.wal, &paths.shm] {
            fs::write(path, "old").unwrap();
        }
        let known = paths.look().unwrap().unwrap();
        fs::write(folder.path().join("new"), "new").unwrap();
        fs::rename(folder.path().join("new"), &paths.wal).unwrap();
        assert_eq!(paths.put_aside(&known).unwrap(), Vec::<PathBuf>::new());
        assert_eq!((fs::read_to_string(&paths.wal).unwrap(), paths.shm.exists()), ("new".to_owned(), false));
    }
}
