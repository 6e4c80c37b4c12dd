//! What the README and the pages under docs/ tell people to do, done.

use std::{fs, path::PathBuf};

use super::*;

fn project() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// The README and every page of docs/.
fn pages() -> Vec<(PathBuf, String)> {
    let docs = fs::read_dir(project().join("docs")).into_iter().flatten().map(|entry| entry.unwrap().path());
    let pages = docs.filter(|path| path.extension().is_some_and(|kind| kind == "md"));
    let pages = std::iter::once(project().join("README.md")).chain(pages);
    pages.map(|path| (path.clone(), fs::read_to_string(path).unwrap())).collect()
}

/// The fenced blocks of a kind. `sh` is to be run as it is written; `sh elsewhere` is for another machine than this.
fn blocks(page: &str, kind: &str) -> Vec<String> {
    let fence = format!("```{kind}\n");
    page.split(&fence).skip(1).map(|rest| rest.split("```").next().unwrap_or_default().to_owned()).collect()
}

#[test]
fn the_readme_opens_with_two_commands_that_exist() {
    let readme = fs::read_to_string(project().join("README.md")).unwrap();
    let setup = blocks(&readme, "sh").swap_remove(0);
    let commands: Vec<&str> = setup.lines().filter_map(|line| line.split('#').next()).map(str::trim).collect();
    assert_eq!(commands, ["cargo run --release", "make test"]);
    assert!(readme.find("new EventSource(").unwrap() < readme.find("sqlite3 -cmd").unwrap());
    for (path, page) in pages() {
        for block in blocks(&page, "sh") {
            for target in block.lines().filter_map(|line| line.trim().strip_prefix("make ")) {
                let target = target.split('#').next().unwrap_or_default();
                let dry =
                    Command::new("make").arg("-n").args(target.split_whitespace()).current_dir(project()).output();
                assert!(dry.unwrap().status.success(), "{}: make {target}", path.display());
            }
        }
    }
}

/// Runs a block beside a hub, with the commands of this build; the block believes that the hub has its usual address.
fn run(hub: &Hub, directory: &Path, program: &str, option: &str, block: &str) {
    let binaries = PathBuf::from(env!("CARGO_BIN_EXE_alarm-hub")).parent().unwrap().to_owned();
    let done = Command::new(program)
        .args([option, &block.replace("127.0.0.1:5000", &hub.address)])
        .env("PATH", format!("{}:{}", binaries.display(), std::env::var("PATH").unwrap()))
        .env("ALARM_HUB_URL", format!("http://{}", hub.address))
        .env("HOME", directory)
        .current_dir(directory)
        .output()
        .unwrap_or_else(|cause| panic!("{program}: {cause}"));
    assert!(done.status.success(), "{block}\n{}", String::from_utf8_lossy(&done.stderr));
}

#[test]
fn the_commands_of_the_other_pages_do_what_they_say() {
    let directory = TempDir::new().unwrap();
    // So that a stream that somebody reads the head of ends soon.
    let hub = Hub::start(directory.path(), &["--heartbeat", "200ms"]);
    let mut stream = hub.connect("other", "Accept-Language: ko\r\nAccept: text/event-stream\r\n");
    let mut ran = 0;
    for (path, page) in pages().into_iter().filter(|(path, _)| !path.ends_with("README.md")) {
        for block in blocks(&page, "sh").iter().filter(|block| !block.starts_with("make ")) {
            eprintln!("{}", path.display());
            run(&hub, directory.path(), "bash", "-ec", block);
            ran += 1;
        }
    }
    assert!(ran >= 4, "{ran}");
    let mut told = || loop {
        let (event, data) = stream.event();
        if !matches!(event.as_str(), "hello" | "ping") {
            return (event, data["id"].clone());
        }
    };
    let what = [told(), told()];
    assert_eq!(what, ["alarm", "cleared"].map(|event| (event.to_owned(), "pump-7".into())));
    let copies =
        fs::read_dir(directory.path()).unwrap().filter_map(|entry| entry.unwrap().file_name().into_string().ok());
    assert_eq!(copies.filter(|name| name.starts_with("alarms-") && name.ends_with(".db")).count(), 1);
}

#[test]
fn the_commands_for_other_machines_have_flags_that_there_are() {
    let mut checked = 0;
    for (path, page) in pages() {
        for block in blocks(&page, "sh elsewhere") {
            for line in block.replace("\\\n", " ").lines().filter(|line| line.starts_with("alarm-hub ")) {
                let words: Vec<&str> = line.split_whitespace().skip(1).collect();
                // Settings are read as `serve` reads them; of other commands only the words are.
                let words = if words[0].starts_with("--") {
                    [&["config"], &words[..]].concat()
                } else {
                    [&words[..], &["--help"]].concat()
                };
                let done = Command::new(env!("CARGO_BIN_EXE_alarm-hub")).args(words).output().unwrap();
                assert!(done.status.success(), "{}: {line}\n{}", path.display(), String::from_utf8_lossy(&done.stderr));
                checked += 1;
            }
        }
    }
    assert!(checked >= 4, "{checked}");
}

#[test]
fn the_usage_blocks_of_the_readme_do_what_they_say() {
    let readme = fs::read_to_string(project().join("README.md")).unwrap();
    let directory = TempDir::new().unwrap();
    // Without arguments, as the README says; the environment only moves it to a free port.
    let hub = Hub::start(directory.path(), &[]);
    let mut stream = hub.connect("tiaz", "Accept-Language: ko\r\nAccept: text/event-stream\r\n");
    assert_eq!(stream.event().0, "hello");
    let run = |program, option, text: &str| run(&hub, directory.path(), program, option, text);
    let usage = readme.split("## A first alarm").nth(1).expect("the README tells how to send a first alarm");
    let usage = usage.split("\n## ").next().unwrap_or_default();
    let shell = blocks(usage, "sh");
    let python = blocks(usage, "python");
    assert!(!shell.is_empty() && !python.is_empty());
    shell.iter().for_each(|block| run("sh", "-ec", block));
    python.iter().for_each(|block| run("python3", "-c", block));
    let sent = usage.matches("INSERT INTO alarm").count()
        + usage.matches("alarm-hub send").count()
        + usage.matches("curl").count();
    for _ in 0..sent {
        let (event, data) = stream.event();
        assert_eq!(event, "alarm", "{data}");
    }
}

#[test]
fn every_link_between_the_pages_leads_somewhere() {
    for (path, page) in pages() {
        let links = page.split("](").skip(1).filter_map(|rest| rest.split(')').next());
        for link in links.filter(|link| !link.contains("://") && !link.starts_with('#')) {
            let (file, anchor) = link.split_once('#').unwrap_or((link, ""));
            let target = path.parent().unwrap().join(file);
            assert!(target.exists(), "{}: {link}", path.display());
            if !anchor.is_empty() {
                let headings = fs::read_to_string(&target).unwrap();
                let mut headings = headings.lines().filter_map(|line| line.trim_start_matches('#').strip_prefix(' '));
                let plain = |heading: &str| heading.to_lowercase().replace(' ', "-").replace([',', '.', '?', ':'], "");
                assert!(headings.any(|heading| plain(heading) == anchor), "{}: {link}", path.display());
            }
        }
    }
}

#[test]
fn the_readme_can_be_read_to_its_end() {
    assert!(fs::read_to_string(project().join("README.md")).unwrap().lines().count() <= 300);
}

#[test]
fn the_readme_lists_every_setting_with_its_default() {
    let readme = fs::read_to_string(project().join("README.md")).unwrap();
    let rows = alarm_hub::config::SETTINGS.iter().map(|setting| {
        let default = if setting.default.is_empty() { String::new() } else { format!("`{}`", setting.default) };
        format!("| `--{}` | {default} | {} |", setting.name, setting.help)
    });
    let missing: Vec<String> = rows.filter(|row| !readme.contains(row.as_str())).collect();
    assert!(missing.is_empty(), "the README lacks\n{}", missing.join("\n"));
}
