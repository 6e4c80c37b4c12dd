//! What the README and the pages under docs/ tell people to do, done.

use std::{env, ffi::OsStr, fs, path::PathBuf};

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

/// The fenced blocks of a kind. `sh` is run beside a hub, `sh machine` on a machine with the addresses, names and files
/// that it speaks of (tests/machine), and `sh debian` needs systemd: packaging/test runs it in a Debian of its own.
fn blocks(page: &str, kind: &str) -> Vec<String> {
    let fence = format!("```{kind}\n");
    page.split(&fence).skip(1).map(|rest| rest.split("```").next().unwrap_or_default().to_owned()).collect()
}

/// Every block of a kind, with where it stands.
fn all_blocks(kind: &str) -> Vec<(PathBuf, String)> {
    let pages = pages().into_iter();
    pages.flat_map(|(path, page)| blocks(&page, kind).into_iter().map(move |block| (path.clone(), block))).collect()
}

/// A command with those of this build before all others.
fn with_this_build(program: impl AsRef<OsStr>) -> Command {
    let binaries = PathBuf::from(env!("CARGO_BIN_EXE_alarm-hub")).parent().unwrap().to_owned();
    let mut command = Command::new(program);
    command.env("PATH", format!("{}:{}", binaries.display(), env::var("PATH").unwrap()));
    command
}

#[test]
fn the_readme_opens_with_two_commands_that_exist() {
    let readme = fs::read_to_string(project().join("README.md")).unwrap();
    let setup = blocks(&readme, "sh").swap_remove(0);
    let commands: Vec<&str> = setup.lines().filter_map(|line| line.split('#').next()).map(str::trim).collect();
    assert_eq!(commands, ["cargo run --release", "make test"]);
    assert!(readme.find("new EventSource(").unwrap() < readme.find("sqlite3 ").unwrap());
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
    // By itself sqlite3 does not wait at all for another program that writes.
    fs::write(directory.join(".sqliterc"), ".timeout 20000\n").unwrap();
    let done = with_this_build(program)
        .args([option, &block.replace("127.0.0.1:5000", &hub.address)])
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
fn the_commands_for_other_machines_do_what_they_say_on_such_a_machine() {
    let apart = || {
        let mut command = with_this_build(project().join("packaging/apart"));
        command.args(["unshare", "--net"]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    };
    if !apart().arg("true").status().unwrap().success() {
        eprintln!("LEFT OUT: no namespaces here, so nobody knows whether the blocks `sh machine` do what they say");
        return;
    }
    let mut ran = 0;
    for (path, block) in all_blocks("sh machine") {
        if !cfg!(feature = "redis") && block.contains("redis") {
            continue;
        }
        let mut machine = apart().arg(project().join("tests/machine")).spawn().unwrap();
        machine.stdin.take().unwrap().write_all(block.as_bytes()).unwrap();
        let done = machine.wait_with_output().unwrap();
        assert!(done.status.success(), "{}: {block}\n{}", path.display(), String::from_utf8_lossy(&done.stderr));
        ran += 1;
    }
    assert!(ran >= 1, "{ran}");
}

#[test]
fn the_commands_that_need_systemd_are_run_by_the_test_of_the_package() {
    let script = fs::read_to_string(project().join("packaging/test")).unwrap();
    let blocks = all_blocks("sh debian");
    for (number, (path, block)) in (1..).zip(&blocks) {
        eprintln!("NOT RUN HERE, but by make package-test: {}\n{block}", path.display());
        assert!(path.ends_with("docs/operating.md"));
        assert!(script.contains(&format!("\nas_told {number}\n")), "make package-test does not run {block}");
    }
    assert!(!script.contains(&format!("\nas_told {}\n", blocks.len() + 1)));
}

#[test]
fn every_block_of_commands_is_run_by_some_test() {
    for (path, page) in pages() {
        for fence in page.lines().filter_map(|line| line.strip_prefix("```")) {
            let known = ["", "sh", "sh machine", "sh debian", "python", "html", "jsx", "json", "text"];
            assert!(known.contains(&fence), "{}: nobody runs ```{fence}", path.display());
        }
    }
}

#[test]
fn commands_and_flags_within_sentences_are_those_that_there_are() {
    let hub = |words: &[&str]| Command::new(env!("CARGO_BIN_EXE_alarm-hub")).args(words).output().unwrap();
    let help = |words: &[&str]| String::from_utf8(hub(&[words, &["--help"]].concat()).stdout).unwrap();
    let commands = help(&[]);
    let commands = commands.split("Commands:\n").nth(1).expect("it lists its commands");
    let commands =
        commands.lines().take_while(|line| !line.is_empty()).filter_map(|line| line.split_whitespace().next());
    let flags: String = commands.map(|command| help(&[command])).collect();
    let mut checked = 0;
    for (path, page) in pages() {
        // What stands between single backquotes, outside of blocks.
        let sentences: String = page.split("```").step_by(2).collect();
        for span in sentences.split('`').skip(1).step_by(2).map(|span| span.replace('\n', " ")) {
            let words: Vec<&str> = span.split_whitespace().collect();
            let holds = match words[..] {
                ["alarm-hub", ref words @ ..] if !words.is_empty() => {
                    // Settings are read as `serve` reads them; of other commands only the words are.
                    let told = if words[0].starts_with("--") { [&["config"], words].concat() } else { words.to_vec() };
                    hub(&[&told[..], if words[0].starts_with("--") { &[] } else { &["--help"] }].concat())
                        .status
                        .success()
                }
                ["make", ref words @ ..] => {
                    let mut dry = Command::new("make");
                    dry.arg("-n").args(words).current_dir(project()).output().unwrap().status.success()
                }
                // What begins with --alarm- is a variable of CSS.
                [flag, ..] if flag.starts_with("--") && !flag.starts_with("--alarm-") => {
                    let flag = flag.split('=').next().unwrap_or(flag);
                    flags
                        .split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '-')
                        .any(|known| known == flag)
                }
                _ => continue,
            };
            assert!(holds, "{}: there is no `{span}`", path.display());
            checked += 1;
        }
    }
    assert!(checked >= 20, "{checked}");
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

/// Where the links of the README and of docs/ lead, with the page that each stands on.
fn links() -> Vec<(PathBuf, String)> {
    let links = |(path, page): (PathBuf, String)| {
        let links = page.split("](").skip(1).filter_map(|rest| rest.split(')').next().map(str::to_owned));
        links.map(|link| (path.clone(), link)).collect::<Vec<_>>()
    };
    pages().into_iter().flat_map(links).collect()
}

#[test]
fn every_link_between_the_pages_leads_somewhere() {
    for (path, link) in links().into_iter().filter(|(_, link)| !link.contains("://")) {
        let (file, anchor) = link.split_once('#').unwrap_or((&link, ""));
        let target = if file.is_empty() { path.clone() } else { path.parent().unwrap().join(file) };
        assert!(target.exists(), "{}: {link}", path.display());
        if !anchor.is_empty() {
            let headings = fs::read_to_string(&target).unwrap();
            let mut headings = headings.lines().filter_map(|line| line.trim_start_matches('#').strip_prefix(' '));
            let kept = |letter: &char| letter.is_alphanumeric() || [' ', '-', '_'].contains(letter);
            let plain =
                |heading: &str| heading.to_lowercase().chars().filter(kept).collect::<String>().replace(' ', "-");
            assert!(headings.any(|heading| plain(heading) == anchor), "{}: {link}", path.display());
        }
    }
}

#[test]
fn every_link_to_elsewhere_is_a_whole_https_address_that_make_links_follows() {
    let script = fs::read_to_string(project().join("tests/links")).unwrap();
    assert!(script.contains("README.md docs/*.md"));
    let elsewhere: Vec<_> = links().into_iter().filter(|(_, link)| link.contains("://")).collect();
    assert!(elsewhere.len() >= 10, "{elsewhere:?}");
    for (path, link) in elsewhere {
        let address: hyper::Uri = link.parse().unwrap_or_else(|cause| panic!("{}: {link}: {cause}", path.display()));
        let host = address.host().unwrap_or_default();
        assert!(address.scheme_str() == Some("https") && host.contains('.'), "{}: {link}", path.display());
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
