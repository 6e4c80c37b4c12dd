//! The hub's own certificate, as curl sees it.

use std::{
    fs::{self, Permissions},
    io::Lines,
    os::unix::fs::PermissionsExt,
    process::{ChildStdout, Output},
};

use super::*;
use crate::server::until;

/// A certificate for 127.0.0.1 that signs itself, with its key.
fn certificate(directory: &Path) {
    let new = ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"];
    let of = ["-subj", "/CN=hub", "-addext", "subjectAltName=IP:127.0.0.1", "-addext", "basicConstraints=CA:FALSE"];
    let to = ["-keyout", "new.key", "-out", "new.pem"];
    let made =
        Command::new("openssl").args(new).args(of).args(to).current_dir(directory).stderr(Stdio::null()).status();
    assert!(made.expect("openssl is there").success());
    fs::set_permissions(directory.join("new.key"), Permissions::from_mode(0o600)).unwrap();
    for kind in ["key", "pem"] {
        fs::rename(directory.join(format!("new.{kind}")), directory.join(format!("hub.{kind}"))).unwrap();
    }
}

const TLS: [&str; 4] = ["--tls-cert", "hub.pem", "--tls-key", "hub.key"];

/// A stream over curl.
struct Curl {
    process: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Curl {
    fn open(hub: &Hub, directory: &Path, user: &str, version: &str) -> Self {
        let url = format!("https://{}/connection/{user}", hub.address);
        let arguments = ["-sS", "-N", "-i", version, "--cacert", "hub.pem", "-H", "Accept: text/event-stream", &url];
        let mut process =
            Command::new("curl").args(arguments).current_dir(directory).stdout(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(process.stdout.take().unwrap()).lines();
        Self { process, lines }
    }

    /// Reads on until a line begins so.
    fn line(&mut self, begins: &str) -> String {
        let found = self.lines.by_ref().map(Result::unwrap).find(|line| line.starts_with(begins));
        found.unwrap_or_else(|| panic!("no line begins with {begins}"))
    }
}

impl Drop for Curl {
    fn drop(&mut self) {
        let _ = self.process.kill(); // it may have ended by itself
        let _ = self.process.wait(); // as above
    }
}

fn get(hub: &Hub, directory: &Path, authority: &str) -> Output {
    let url = format!("https://{}/healthz", hub.address);
    Command::new("curl").args(["-sS", "--cacert", authority, &url]).current_dir(directory).output().unwrap()
}

#[test]
fn a_stream_comes_over_http_2_and_over_http_1_1_and_each_ends_with_its_bye() {
    let directory = TempDir::new().unwrap();
    let directory = directory.path();
    certificate(directory);
    let mut hub = Hub::start(directory, &TLS);
    let mut streams = [("--http2", "HTTP/2 200"), ("--http1.1", "HTTP/1.1 200")].map(|(version, status)| {
        let mut stream = Curl::open(&hub, directory, &version[2..], version);
        assert!(stream.line("HTTP/").starts_with(status));
        stream.line("event: hello");
        stream
    });
    write(directory, THREE);
    for stream in &mut streams {
        stream.line("event: alarm");
    }
    let mut newer = Curl::open(&hub, directory, "http2", "--http2");
    newer.line("event: hello");
    let [mut older, mut other] = streams;
    older.line("event: bye");
    assert!(older.line("data: ").contains("superseded"));
    assert!(older.process.wait().unwrap().success(), "the stream ends as it should");
    hub.signal("TERM");
    for stream in [&mut newer, &mut other] {
        stream.line("event: bye");
        assert!(stream.line("data: ").contains("shutdown"));
        assert!(stream.process.wait().unwrap().success());
    }
    assert_eq!(hub.code(), Some(0));
}

#[test]
fn a_new_certificate_is_shown_after_a_hangup_or_by_itself_and_a_broken_one_never() {
    let directory = TempDir::new().unwrap();
    let directory = directory.path();
    certificate(directory);
    let hub = Hub::start(directory, &TLS);
    fs::copy(directory.join("hub.pem"), directory.join("old.pem")).unwrap();
    let shown = |authority: &str| get(&hub, directory, authority).status.success();
    assert!(shown("old.pem"));
    let mut stream = Curl::open(&hub, directory, "a", "--http2");
    stream.line("event: hello");

    fs::write(directory.join("hub.pem"), "no certificate").unwrap();
    hub.signal("HUP");
    assert!(shown("old.pem"), "the old one stays");
    certificate(directory);
    hub.signal("HUP");
    until("the new one is shown", || shown("hub.pem") && !shown("old.pem"));
    fs::copy(directory.join("hub.pem"), directory.join("old.pem")).unwrap();
    certificate(directory);
    until("the next is shown by itself", || shown("hub.pem") && !shown("old.pem"));
    write(directory, THREE);
    stream.line("event: alarm");
}

#[test]
fn a_certificate_that_cannot_be_used_is_refused_at_the_start_with_what_would_be_right() {
    let directory = TempDir::new().unwrap();
    let directory = directory.path();
    certificate(directory);
    let refused = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_alarm-hub"));
        let command = command.args(["--listen", "127.0.0.1:0"]).args(arguments).current_dir(directory);
        let done = command.output().unwrap();
        assert!(!done.status.success());
        String::from_utf8(done.stderr).unwrap()
    };
    assert!(refused(&["--tls-cert", "hub.pem"]).contains("add --tls-key"));
    assert!(refused(&["--tls-cert", "hub.key", "--tls-key", "hub.key"]).contains("hub.key holds no certificate"));
    assert!(refused(&["--tls-cert", "hub.pem", "--tls-key", "hub.pem"]).contains("chmod 600"));
    fs::copy(directory.join("hub.key"), directory.join("other.key")).unwrap();
    certificate(directory);
    let other = refused(&["--tls-cert", "hub.pem", "--tls-key", "other.key"]);
    assert!(other.contains("hub.pem cannot be used with the key other.key"), "{other}");
    fs::set_permissions(directory.join("hub.key"), Permissions::from_mode(0o640)).unwrap();
    assert!(refused(&TLS).contains("chmod 600 hub.key"));
}

#[test]
fn the_host_of_a_request_is_known_whatever_the_version() {
    let directory = TempDir::new().unwrap();
    let directory = directory.path();
    certificate(directory);
    let hub = Hub::start(directory, &TLS);
    let own = format!("Origin: https://{}", hub.address);
    for version in ["--http1.1", "--http2"] {
        let status = |more: &[&str]| {
            let url = format!("https://{}/users/a/alarms", hub.address);
            let arguments = ["-sS", version, "--cacert", "hub.pem", "-o", "/dev/null", "-w", "%{http_code}", &url];
            let asked = Command::new("curl").args(arguments).args(more).current_dir(directory).output().unwrap();
            String::from_utf8(asked.stdout).unwrap()
        };
        assert_eq!(status(&["-H", &own]), "200", "{version}: its own page");
        assert_eq!(status(&["-H", "Origin: https://evil.example"]), "403", "{version}");
        assert_eq!(status(&["-H", "Host: evil.example"]), "421", "{version}");
    }
}

#[test]
fn the_command_line_talks_over_tls_to_a_hub_whose_authority_it_was_given() {
    let directory = TempDir::new().unwrap();
    let directory = directory.path();
    certificate(directory);
    let hub = Hub::start(directory, &TLS);
    let url = format!("https://{}", hub.address);
    let command = |authority: &str, arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_alarm-hub"));
        command.args(arguments).args(["--url", &url]).env("SSL_CERT_FILE", authority).current_dir(directory);
        command
    };
    let done = |arguments: &[&str]| {
        let done = command("hub.pem", arguments).output().unwrap();
        assert!(done.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&done.stderr));
        String::from_utf8(done.stdout).unwrap()
    };
    let stranger = command("hub.key", &["sessions"]).output().unwrap();
    let said = String::from_utf8_lossy(&stranger.stderr).into_owned();
    assert!(!stranger.status.success() && said.contains("SSL_CERT_FILE=FILE"), "{said}");

    let mut tail = command("hub.pem", &["tail", "--user", "tiaz", "--lang", "ko"]);
    let mut tail = tail.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    until("it is connected", || done(&["sessions"]).contains("tiaz"));
    done(&["send", "ko=안녕"]);
    let mut line = String::new();
    BufReader::new(tail.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert!(line.contains("안녕"), "{line}");
    done(&["kick", "tiaz"]);
    assert!(tail.wait().unwrap().success());
}
