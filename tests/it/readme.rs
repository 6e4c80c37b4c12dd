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

/// The fenced blocks of a kind.
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
    assert!(readme.find("new EventSource(").unwrap() < readme.find("sqlite3 alarms.db").unwrap());
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

#[test]
fn the_usage_blocks_of_the_readme_do_what_they_say() {
    let readme = fs::read_to_string(project().join("README.md")).unwrap();
    let directory = TempDir::new().unwrap();
    // Without arguments, as the README says; the environment only moves it to a free port.
    let hub = Hub::start(directory.path(), &[]);
    let mut stream = hub.connect("tiaz", "Accept-Language: ko\r\nAccept: text/event-stream\r\n");
    assert_eq!(stream.event().0, "hello");
    let binaries = PathBuf::from(env!("CARGO_BIN_EXE_alarm-hub")).parent().unwrap().to_owned();
    let path = format!("{}:{}", binaries.display(), std::env::var("PATH").unwrap());
    let run = |program: &str, arguments: &[&str], text: &str| {
        let text = text.replace("127.0.0.1:5000", &hub.address);
        let done = Command::new(program)
            .args(arguments)
            .arg(&text)
            .env("PATH", &path)
            .env("ALARM_HUB_URL", format!("http://{}", hub.address))
            .current_dir(directory.path())
            .output()
            .unwrap_or_else(|cause| panic!("{program}: {cause}"));
        assert!(done.status.success(), "{text}\n{}", String::from_utf8_lossy(&done.stderr));
    };
    let usage = readme.split("## A first alarm").nth(1).expect("the README tells how to send a first alarm");
    let usage = usage.split("\n## ").next().unwrap_or_default();
    let shell = blocks(usage, "sh");
    let python = blocks(usage, "python");
    assert!(!shell.is_empty() && !python.is_empty());
    shell.iter().for_each(|block| run("sh", &["-ec"], block));
    python.iter().for_each(|block| run("python3", &["-c"], block));
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
            let target = path.parent().unwrap().join(link.split('#').next().unwrap_or_default());
            assert!(target.exists(), "{}: {link}", path.display());
        }
    }
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
