//! Tells the poller of a commit as soon as the operating system tells of a write to the database's files.
//!
//! Such notices can be lost, and some file systems never give any: they only make the poller faster, which looks
//! every interval all the same.

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
    time::Duration,
};

use actors::{poller::PollerMessage, tree::Actors};
use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use tokio::{
    sync::{mpsc, watch},
    task::spawn_blocking,
    time::{MissedTickBehavior, interval},
};
use tracing::{debug, warn};

/// How often the directory is watched anew: it may be another one by now. On the same one this changes nothing.
const AGAIN: Duration = Duration::from_secs(5);

/// Wakes the poller, for as long as there are actors, whenever the files of the database at `db` are written to.
pub async fn wake_on_writes(db: PathBuf, actors: watch::Receiver<Actors>) {
    // One notice waits while another is on its way; what is told meanwhile is contained in the one that waits.
    let (tell, mut told) = mpsc::channel(1);
    let mut again = interval(AGAIN);
    again.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut eyes, mut failing) = (None, None);
    while actors.has_changed().is_ok() {
        tokio::select! {
            Some(()) = told.recv() => {
                let poller = actors.borrow().poller.clone();
                let _ = poller.call(PollerMessage::Wake, None).await; // one that is being restarted looks by itself
            }
            _ = again.tick() => {
                let (db, tell, before) = (db.clone(), tell.clone(), eyes.take());
                let opened = spawn_blocking(move || Eyes::open(before, &db, tell)).await;
                let cause = match opened {
                    Ok(Ok(open)) => {
                        eyes = Some(open);
                        None
                    }
                    Ok(Err(cause)) => Some(cause.to_string()),
                    Err(panicked) => Some(panicked.to_string()),
                };
                match &cause {
                    Some(cause) if failing.as_ref() != Some(cause) => {
                        warn!(cause, "cannot watch the database's directory; it is looked at every interval");
                    }
                    None if failing.is_some() => debug!("the database's directory is watched again"),
                    _ => {}
                }
                failing = cause;
            }
        }
    }
}

/// What watches a directory.
struct Eyes {
    watcher: RecommendedWatcher,
    directory: PathBuf,
}

impl Eyes {
    /// Watches the directory in which the database's file really lies.
    fn open(before: Option<Self>, db: &Path, tell: mpsc::Sender<()>) -> notify::Result<Self> {
        let db = db.canonicalize().or_else(|_| std::path::absolute(db))?;
        let directory = db.parent().unwrap_or(&db).to_path_buf();
        let mut eyes = match before {
            Some(same) if same.directory == directory => same,
            _ => {
                let (names, watched) = (names(&db), directory.clone());
                let watcher = notify::recommended_watcher(move |event: notify::Result<Event>| {
                    if event.is_ok_and(|event| is_write(&event, &names, &watched)) {
                        let _ = tell.try_send(()); // full: one that waits says the same
                    }
                })?;
                Self { watcher, directory }
            }
        };
        eyes.watcher.watch(&eyes.directory, RecursiveMode::NonRecursive)?;
        Ok(eyes)
    }
}

/// The files that a commit writes to. Not `-shm`: readers write to it, the hub among them.
fn names(db: &Path) -> [OsString; 3] {
    ["", "-wal", "-journal"].map(|suffix| {
        let mut name = db.file_name().unwrap_or_default().to_owned();
        name.push(suffix);
        name
    })
}

/// Whether the database may have changed. `Access` means that a file was opened or closed, which the hub does itself.
fn is_write(event: &Event, names: &[OsString], directory: &Path) -> bool {
    let of_it = |path: &PathBuf| {
        path == directory || path.file_name().is_some_and(|file| names.iter().any(|name| name == file))
    };
    event.need_rescan() || !matches!(event.kind, EventKind::Access(_)) && event.paths.iter().any(of_it)
}

#[cfg(test)]
mod tests {
    use notify::event::{AccessKind, AccessMode, CreateKind, DataChange, ModifyKind, RemoveKind};

    use super::*;

    #[test]
    fn only_what_a_commit_or_a_replacement_does_wakes() {
        let written = EventKind::Modify(ModifyKind::Data(DataChange::Any));
        let opened = EventKind::Access(AccessKind::Open(AccessMode::Any));
        for (kind, path, wakes) in [
            (written, "/data/alarms.db", true),
            (written, "/data/alarms.db-wal", true),
            (EventKind::Remove(RemoveKind::File), "/data/alarms.db-journal", true),
            (EventKind::Create(CreateKind::File), "/data/alarms.db", true),
            (EventKind::Remove(RemoveKind::Folder), "/data", true),
            (written, "/data/alarms.db-shm", false),
            (opened, "/data/alarms.db", false),
            (written, "/data/hub.log", false),
            (written, "/data/other.db", false),
        ] {
            let event = Event::new(kind).add_path(path.into());
            assert_eq!(is_write(&event, &names(Path::new("/data/alarms.db")), Path::new("/data")), wakes, "{event:?}");
        }
        let overflow = Event::new(EventKind::Other).set_flag(notify::event::Flag::Rescan);
        assert!(is_write(&overflow, &[], Path::new("/data")), "what was told is not known");
    }
}
