//! A commit by another process is told by the operating system: here the poller by itself would look once an hour.

use std::{fs, sync::mpsc, thread, time::Duration};

use tempfile::TempDir;

use crate::{Hub, THREE, write};

#[test]
fn a_commit_wakes_the_hub_before_the_interval_is_over() {
    let directory = TempDir::new().unwrap();
    let hub = Hub::start(directory.path(), &["--poll-interval", "1h"]);
    let mut stream = hub.connect("tiaz", "Accept-Language: ko\r\n");
    assert_eq!(stream.event().0, "hello");
    write(directory.path(), THREE);
    assert_eq!(stream.event().0, "alarm");
    write(directory.path(), "UPDATE alarm SET message = 'new' WHERE lang = 'ko'");
    assert_eq!(stream.event().0, "updated");
}

#[test]
fn a_directory_that_takes_the_place_of_the_old_one_is_watched_in_its_stead() {
    let parent = TempDir::new().unwrap();
    let (directory, aside) = (parent.path().join("data"), parent.path().join("aside"));
    fs::create_dir(&directory).unwrap();
    assert!(init(&directory), "a database is made");
    let db = directory.join("alarms.db").display().to_string();
    let hub = Hub::start(parent.path(), &["--poll-interval", "1h", "--db", &db]);
    let mut stream = hub.connect("tiaz", "Accept-Language: ko\r\n");
    assert_eq!(stream.event().0, "hello");

    fs::rename(&directory, &aside).unwrap();
    fs::create_dir(&directory).unwrap();
    for file in fs::read_dir(&aside).unwrap() {
        let file = file.unwrap();
        fs::rename(file.path(), directory.join(file.file_name())).unwrap();
    }
    // The directory is looked at from time to time only: what is written once it was, is told at once.
    let (stop, stopped) = mpsc::sync_channel(1);
    let writer = thread::spawn(move || {
        for id in 0.. {
            write(&directory, &format!("INSERT INTO alarm (id, lang, message) VALUES ('{id}', 'ko', 'x')"));
            if stopped.recv_timeout(Duration::from_millis(200)).is_ok() {
                break;
            }
        }
    });
    while stream.event().0 != "alarm" {} // it may be told first that there was no database for a moment
    stop.send(()).unwrap();
    writer.join().unwrap();
}

fn init(directory: &std::path::Path) -> bool {
    let mut init = std::process::Command::new(env!("CARGO_BIN_EXE_alarm-hub"));
    let made = init.args(["init", "--db", "alarms.db"]).current_dir(directory).stdout(std::process::Stdio::null());
    made.status().unwrap().success()
}
