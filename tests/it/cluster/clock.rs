//! Hubs whose clocks are wrong: what decides is the time of Redis.

use super::*;

/// A hub whose clock is wrong by so much, as faketime writes it; its steady clock is right, as on any machine.
fn wrong(cluster: &Cluster, by: &str) -> Hub {
    // From Debian, as tests/setup installs it. Started by itself it would be the hub's parent, and outlived by it.
    let library =
        Command::new("faketime").args(["-f", by, "printenv", "LD_PRELOAD"]).output().expect("faketime is there");
    let mut command = Command::new(env!("CARGO_BIN_EXE_alarm-hub"));
    command
        .args(["--listen", "127.0.0.1:0", "--db", "alarms.db", "--settle", "0s", "--redis", &cluster.redis.url()])
        .env("LD_PRELOAD", String::from_utf8(library.stdout).unwrap().trim())
        .env("FAKETIME", by)
        .env("FAKETIME_DONT_FAKE_MONOTONIC", "1")
        .current_dir(cluster.directory.path())
        .stderr(Stdio::null());
    let hub = Hub::run(&mut command);
    is_well(&hub);
    hub
}

#[test]
fn the_newest_opening_wins_though_the_clock_of_its_hub_or_of_the_other_one_is_an_hour_wrong() {
    let cluster = Cluster::start(1);
    let right = &cluster.hubs[0];
    for by in ["+1h", "-1h"] {
        let wrong = wrong(&cluster, by);
        let mut newest = open(right, "tiaz");
        for hub in [&wrong, right, &wrong, right] {
            let next = open(hub, "tiaz");
            is_superseded(&mut newest);
            for hub in [&wrong, right] {
                let back = resume(hub, "tiaz", &newest.id);
                assert!(back.status.contains(" 204 "), "{by}: {}", back.status);
            }
            let mut back = resume(hub, "tiaz", &next.id);
            assert_eq!(back.event().1["resumed"], true, "{by}: {}", back.status);
            newest = back;
            drop(next);
        }
        drop(newest);
    }
}
