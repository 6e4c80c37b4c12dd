//! The commands as a shell sees them: what they print, and their exit codes.

mod client;

use std::{
    fs::{self, Permissions},
    io::{BufRead, BufReader, Read},
    os::unix::fs::PermissionsExt,
    path::Path,
    process::{Child, Command, Stdio},
};

use alarm_hub::config::SETTINGS;
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode};
use serde_json::Value;
use tempfile::{TempDir, tempdir};

/// What a command did.
struct Done {
    code: Option<i32>,
    out: String,
    said: String,
}

/// The binary in a directory of its own, with nothing in the environment that is not said.
fn command(directory: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_alarm-hub"));
    command.args(arguments).current_dir(directory).env_clear().stdin(Stdio::null());
    command
}

fn done(command: &mut Command) -> Done {
    let output = command.output().expect("the binary starts");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("it speaks UTF-8");
    Done { code: output.status.code(), out: text(output.stdout), said: text(output.stderr) }
}

fn run(directory: &TempDir, arguments: &[&str]) -> Done {
    done(&mut command(directory.path(), arguments))
}

fn key(directory: &TempDir, bytes: &[u8], mode: u32) {
    let path = directory.path().join("key");
    fs::write(&path, bytes).unwrap();
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

/// A hub or a demonstration that runs; ended with the test.
struct Running {
    process: Child,
    out: BufReader<std::process::ChildStdout>,
}

impl Running {
    fn start(command: &mut Command) -> Self {
        let mut process = command.stdout(Stdio::piped()).spawn().expect("the binary starts");
        let out = BufReader::new(process.stdout.take().expect("it is piped"));
        Self { process, out }
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.out.read_line(&mut line).expect("it prints a line");
        line.trim_end().to_owned()
    }

    /// The address in the next line.
    fn address(&mut self) -> String {
        let line = self.line();
        let address = line.split("http://").nth(1).and_then(|rest| rest.split('/').next());
        format!("http://{}", address.unwrap_or_else(|| panic!("no address in {line:?}")))
    }

    fn terminate(&self) {
        let kill = Command::new("kill").arg(self.process.id().to_string()).status();
        assert!(kill.expect("there is a kill command").success());
    }

    fn ended(mut self) -> (Option<i32>, String) {
        let mut rest = String::new();
        self.out.read_to_string(&mut rest).expect("it prints UTF-8");
        (self.process.wait().expect("it ends").code(), rest)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.process.kill(); // it may have ended by itself
        let _ = self.process.wait(); // as above
    }
}

#[test]
fn help_tells_every_setting_with_its_variable_and_its_default() {
    let directory = tempdir().unwrap();
    let help = run(&directory, &["--help"]);
    assert_eq!(help.code, Some(0));
    let words: Vec<&str> = help.out.split_ascii_whitespace().collect();
    let help = words.join(" ");
    for setting in SETTINGS {
        assert!(help.contains(&format!("--{} ", setting.name)) || help.contains(&format!("--{}[", setting.name)));
        assert!(help.contains(&format!("[env: {}]", setting.variable())), "{} is not told", setting.variable());
        if !setting.default.is_empty() && setting.default != "false" {
            assert!(help.contains(&format!("[default: {}]", setting.default)), "the default of {}", setting.name);
        }
    }
    for command in ["serve", "init", "send", "tail", "check", "backup", "token", "sessions", "kick", "demo", "config"] {
        assert!(help.contains(&format!(" {command} ")), "{command} is not told");
        let own = run(&directory, &[command, "--help"]);
        assert_eq!(own.code, Some(0));
        assert!(own.out.contains("Usage: alarm-hub"), "{}", own.out);
    }
    let version = run(&directory, &["--version"]);
    assert_eq!((version.code, version.out.trim()), (Some(0), concat!("alarm-hub ", env!("CARGO_PKG_VERSION"))));
}

#[test]
fn what_was_asked_for_wrongly_ends_with_2_and_says_what_would_be_right() {
    let directory = tempdir().unwrap();
    fs::write(directory.path().join("hub.toml"), "heartbeet = '15s'\n").unwrap();
    let cases: [(&[&str], &str); 8] = [
        (&["--lisen", "127.0.0.1:1"], "--listen"),
        (&["--queue", "lots"], "--queue 'lots': it must be a whole number from 1 to 65536"),
        (&["serve", "--heartbeat", "15"], "--heartbeat '15': a duration has a number and a unit"),
        (&["--config", "hub.toml"], "there is no setting 'heartbeet'; did you mean 'heartbeat'?"),
        (&["--config", "none.toml"], "--config none.toml"),
        (&["send"], "LANG=TEXT"),
        (&["tail"], "--user"),
        (&["tokn"], "token"),
    ];
    for (arguments, right) in cases {
        let done = run(&directory, arguments);
        assert_eq!(done.code, Some(2), "{arguments:?}: {}", done.said);
        assert!(done.said.contains(right), "{arguments:?}: {}", done.said);
    }
    let entries = fs::read_dir(directory.path()).unwrap().count();
    assert_eq!(entries, 1, "nothing was made on the way");
}

#[test]
fn a_database_that_was_named_and_is_missing_ends_with_1_and_names_init() {
    let directory = tempdir().unwrap();
    fs::write(directory.path().join("hub.toml"), "db = 'no such.db'\n").unwrap();
    let by_flag = run(&directory, &["--db", "no such.db"]);
    let by_file = run(&directory, &["serve", "--config", "hub.toml"]);
    let by_variable = done(command(directory.path(), &[]).env("ALARM_HUB_DB", "no such.db"));
    let by_check = run(&directory, &["check", "--db", "no such.db"]);
    for done in [by_flag, by_file, by_variable, by_check] {
        assert_eq!(done.code, Some(1), "{}", done.said);
        assert!(done.said.contains("alarm-hub init --db 'no such.db'"), "{}", done.said);
    }
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1, "no database was made");
}

#[test]
fn what_would_be_insecure_does_not_start_and_says_why() {
    let directory = tempdir().unwrap();
    let open = run(&directory, &["--listen", "0.0.0.0:0"]);
    assert_eq!(open.code, Some(2));
    assert!(open.said.contains("without --auth") && open.said.contains("--insecure-no-auth"), "{}", open.said);
    let jwt = ["--listen", "127.0.0.1:0", "--auth", "jwt", "--jwt-key-file", "key"];
    for (bytes, mode, why) in [
        (&b"12345678"[..], 0o600, "holds 8 bytes"),
        (b"0123456789abcdef0123456789abcde\n", 0o600, "holds 31 bytes"),
        (b"0123456789abcdef0123456789abcdef", 0o644, "chmod 600 key"),
    ] {
        key(&directory, bytes, mode);
        let done = run(&directory, &jwt);
        assert_eq!(done.code, Some(1), "{}", done.said);
        assert!(done.said.contains(why), "{}", done.said);
    }
}

#[test]
fn a_variable_that_means_nothing_is_a_warning() {
    let directory = tempdir().unwrap();
    let done = done(command(directory.path(), &["config"]).env("ALARM_HUB_LISSEN", "x"));
    assert_eq!(done.code, Some(0));
    assert!(done.said.contains("ALARM_HUB_LISSEN means nothing") && done.said.contains("'ALARM_HUB_LISTEN'"));
}

#[test]
fn config_tells_each_value_and_who_said_it() {
    let directory = tempdir().unwrap();
    fs::write(directory.path().join("hub.toml"), "queue = 7\n").unwrap();
    let done = done(
        command(directory.path(), &["config", "--rate", "9"])
            .env("ALARM_HUB_CONFIG", "hub.toml")
            .env("ALARM_HUB_SETTLE", "1s"),
    );
    assert_eq!(done.code, Some(0), "{}", done.said);
    for (line, origin) in [
        ("rate = 9 ", "# flag"),
        ("settle = \"1s\" ", "# environment"),
        ("queue = 7 ", "# hub.toml"),
        ("# drain = \"10s\" ", "# default"),
    ] {
        assert!(done.out.lines().any(|told| told.starts_with(line) && told.ends_with(origin)), "{}", done.out);
    }
    assert_eq!(done.out.lines().count(), SETTINGS.len());
}

#[test]
fn init_makes_a_database_once_and_send_writes_into_it() {
    let directory = tempdir().unwrap();
    let lost = run(&directory, &["send", "ko=안녕"]);
    assert_eq!(lost.code, Some(1), "an alarm for nobody is not sent: {}", lost.said);
    assert!(lost.said.contains("alarm-hub init"), "{}", lost.said);
    let made = run(&directory, &["init", "--db", "a.db"]);
    assert_eq!((made.code, made.out.contains("was made")), (Some(0), true), "{}", made.said);
    let again = run(&directory, &["init", "--db", "a.db"]);
    assert_eq!((again.code, again.out.contains("is ready")), (Some(0), true), "{}", again.said);
    let sent = run(&directory, &["send", "--db", "a.db", "--id", "7", "ko=안녕", "en-US=hello"]);
    assert_eq!((sent.code, sent.out.trim()), (Some(0), "7"), "{}", sent.said);
    let twice = run(&directory, &["send", "--db", "a.db", "--id", "7", "ko=안녕", "en-US=hello"]);
    assert_eq!(twice.code, Some(0), "the same again is no error: {}", twice.said);
    let other = run(&directory, &["send", "--db", "a.db", "--id", "7", "ko=잘 가"]);
    assert_eq!(other.code, Some(1));
    assert!(other.said.contains("other content"), "{}", other.said);
    let fresh = run(&directory, &["send", "--db", "a.db", "ko=안녕"]);
    assert_eq!((fresh.code, fresh.out.trim().len()), (Some(0), 32), "a new id is a UUID: {}", fresh.said);
}

#[test]
fn init_refuses_what_is_no_database_and_leaves_it_alone() {
    let directory = tempdir().unwrap();
    let path = directory.path().join("letter.txt");
    fs::write(&path, "dear operator, ".repeat(100)).unwrap();
    let done = run(&directory, &["init", "--db", "letter.txt"]);
    assert_eq!(done.code, Some(1));
    assert!(done.said.contains("letter.txt: file is not a database"), "{}", done.said);
    assert_eq!(fs::read_to_string(path).unwrap(), "dear operator, ".repeat(100));
    fs::create_dir(directory.path().join("folder")).unwrap();
    let folder = run(&directory, &["init", "--db", "folder"]);
    assert!(folder.code == Some(1) && folder.said.matches("folder").count() == 1, "{}", folder.said);
}

#[test]
fn init_tells_what_it_adds_to_a_table_that_is_there() {
    let directory = tempdir().unwrap();
    crate::write(
        directory.path(),
        "CREATE TABLE alarm (id, lang, message, isn_dt, PRIMARY KEY (id, lang)); INSERT INTO alarm VALUES (1, 'ko', 'x', 'y')",
    );
    let adopted = run(&directory, &["init", "--db", "alarms.db"]);
    assert!(adopted.code == Some(0) && adopted.out.contains("alarms.db is ready"), "{}", adopted.said);
    for said in ["adopted the table alarm: added the tables alarm_log, alarm_index", "rows=1"] {
        assert!(adopted.said.contains(said), "{}", adopted.said);
    }
    let again = run(&directory, &["init", "--db", "alarms.db"]);
    assert!(again.code == Some(0) && !again.said.contains("adopted"), "{}", again.said);
}

#[test]
fn check_finds_odd_tags_and_missing_translations_and_ends_with_1_only_for_what_is_wrong() {
    let directory = tempdir().unwrap();
    assert_eq!(run(&directory, &["init", "--db", "a.db"]).code, Some(0));
    let fine = run(&directory, &["check", "--db", "a.db"]);
    assert_eq!((fine.code, fine.out.contains("languages: fine")), (Some(0), true), "{}{}", fine.out, fine.said);
    assert_eq!(run(&directory, &["send", "--db", "a.db", "--id", "1", "ko=a", "US-en=b"]).code, Some(0));
    assert_eq!(run(&directory, &["send", "--db", "a.db", "--id", "2", "ko=c"]).code, Some(0));
    let warned = run(&directory, &["check", "--db", "a.db"]);
    assert_eq!(warned.code, Some(0), "{}", warned.said);
    assert!(warned.out.contains("1 rows have the language \"US-en\", read as en-US"), "{}", warned.out);
    assert!(warned.out.contains("1 alarms have no en, for example 2"), "{}", warned.out);
    assert!(!warned.out.contains("everybody"), "{}", warned.out);
    let row = "INSERT INTO alarm (id, lang, message) VALUES ('2', '영어 (미국)', 'd')";
    crate::write_python(directory.path(), &format!("c = sqlite3.connect('a.db', timeout=20)\nc.execute(\"{row}\")"));
    let unread = run(&directory, &["check", "--db", "a.db"]);
    assert!(unread.out.contains("say what it means with --lang-alias"), "{}", unread.out);
    let said = run(&directory, &["check", "--db", "a.db", "--lang-alias", "영어 (미국)=en-US"]);
    assert!(said.out.contains("read as en-US") && !said.out.contains("alarms have no en"), "{}{}", said.out, said.said);
    fs::set_permissions(directory.path().join("a.db"), Permissions::from_mode(0o666)).unwrap();
    let open = run(&directory, &["check", "--db", "a.db"]);
    assert!(open.out.contains("everybody on this machine can write a.db: chmod o-w a.db"), "{}", open.out);
    key(&directory, b"short", 0o600);
    let wrong = run(&directory, &["check", "--db", "a.db", "--auth", "jwt", "--jwt-key-file", "key"]);
    assert_eq!(wrong.code, Some(1));
    assert!(wrong.said.contains("holds 5 bytes"), "{}", wrong.said);
}

#[test]
fn check_says_why_a_database_cannot_be_served_and_leaves_it_as_it_is() {
    let columns = "id TEXT, lang TEXT, message TEXT";
    let view = format!("CREATE TABLE real ({columns}); CREATE VIEW alarm AS SELECT * FROM real");
    let keyless = format!("CREATE TABLE alarm ({columns})");
    let newer = "CREATE TABLE alarm (id, lang, message, PRIMARY KEY (id, lang)); CREATE TABLE hub_meta (key PRIMARY KEY, value);
                 INSERT INTO hub_meta VALUES ('feed', '00000001'), ('schema', 99)";
    for (sql, said) in [
        ("CREATE TABLE other (a)", "there is no table alarm yet: alarm-hub init makes it"),
        ("CREATE TABLE alarm (id, text)", "the table alarm cannot be adopted: it has no column lang, message"),
        (&view, "alarm is a view"),
        (&keyless, "no unique key on (id, lang)"),
        (newer, "newer alarm-hub (version 99"),
    ] {
        let directory = tempdir().unwrap();
        let path = directory.path().join("alarms.db");
        crate::write(directory.path(), sql);
        let before = fs::read(&path).unwrap();
        let done = run(&directory, &["check"]);
        assert_eq!(done.code, Some(1), "{sql}: {}", done.out);
        assert!(done.said.contains(said), "{sql}: {}", done.said);
        assert_eq!(fs::read(path).unwrap(), before, "{sql}");
    }
    let directory = tempdir().unwrap();
    let path = directory.path().join("alarms.db");
    fs::write(&path, "dear operator, ".repeat(100)).unwrap();
    let letter = run(&directory, &["check"]);
    assert!(letter.code == Some(1) && letter.said.contains("alarms.db: file is not a database"), "{}", letter.said);
    fs::remove_file(&path).unwrap();
    crate::write(
        directory.path(),
        "CREATE TABLE alarm (id, lang, message, PRIMARY KEY (id, lang));
         WITH RECURSIVE n (id) AS (SELECT 1 UNION ALL SELECT id + 1 FROM n LIMIT 40)
         INSERT INTO alarm SELECT id, 'ko', hex(zeroblob(2000)) FROM n",
    );
    let mut damaged = fs::read(&path).unwrap();
    let middle = damaged.len() / 2;
    damaged[middle..middle + 8_192].fill(0x55);
    fs::write(&path, damaged).unwrap();
    let done = run(&directory, &["check"]);
    assert!(done.code == Some(1) && done.said.contains("damaged"), "{}{}", done.out, done.said);
}

#[test]
fn a_token_holds_what_was_asked_for_and_nothing_else() {
    let directory = tempdir().unwrap();
    let secret = b"0123456789abcdef0123456789abcdef";
    key(&directory, secret, 0o600);
    let token = ["token", "--user", "tiaz", "--key-file", "key"];
    let plain = run(&directory, &token);
    let rich =
        run(&directory, &[&token[..], &["--scope", "publish,sessions", "--scope", "metrics", "--ttl", "2h"]].concat());
    let claims = |done: &Done| {
        assert_eq!(done.code, Some(0), "{}", done.said);
        let key = DecodingKey::from_secret(secret);
        decode::<Value>(done.out.trim(), &key, &Validation::new(Algorithm::HS256)).expect("it verifies").claims
    };
    let (plain, rich) = (claims(&plain), claims(&rich));
    assert_eq!((plain["sub"].as_str(), plain.get("scope")), (Some("tiaz"), None));
    assert_eq!(plain["exp"].as_u64().unwrap() - plain["iat"].as_u64().unwrap(), 3_600);
    assert_eq!(rich["scope"].as_str(), Some("publish sessions metrics"));
    assert_eq!(rich["exp"].as_u64().unwrap() - rich["iat"].as_u64().unwrap(), 7_200);
    let as_in_a_token = run(&directory, &[&token[..], &["--scope", "publish metrics"]].concat());
    assert_eq!(claims(&as_in_a_token)["scope"].as_str(), Some("publish metrics"));
    let unknown = run(&directory, &[&token[..], &["--scope", "publish everything"]].concat());
    assert!(unknown.code == Some(2) && unknown.said.contains("'everything' is no scope"), "{}", unknown.said);
    assert_eq!(run(&directory, &["token", "--user", "..", "--key-file", "key"]).code, Some(2));
    assert_eq!(run(&directory, &["token", "--user", "tiaz", "--key-file", "none"]).code, Some(1));
}

#[test]
fn a_hub_says_where_it_is_and_ends_with_0_when_it_is_told_to() {
    let directory = tempdir().unwrap();
    let mut hub = Running::start(&mut command(directory.path(), &["--listen", "127.0.0.1:0", "--log", "off"]));
    assert!(hub.address().starts_with("http://127.0.0.1:"));
    assert!(hub.line().contains("alarm-hub send --db ./alarms.db "));
    assert!(directory.path().join("alarms.db").exists(), "the unnamed database is made");
    hub.terminate();
    assert_eq!(hub.ended().0, Some(0));
}

#[test]
fn in_json_every_line_of_the_log_is_an_object_also_the_one_of_the_end() {
    let directory = tempdir().unwrap();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let done = run(&directory, &["--listen", &address, "--log-format", "json"]);
    assert_eq!(done.code, Some(1));
    let lines: Vec<Value> = done.said.lines().map(|line| serde_json::from_str(line).expect("an object")).collect();
    let last = lines.last().expect("it says why");
    assert_eq!(last["level"].as_str(), Some("ERROR"));
    assert!(last["message"].as_str().unwrap().contains(&address), "{last}");
}

#[test]
fn a_demonstration_sends_three_languages_and_leaves_nothing_behind() {
    let directory = tempdir().unwrap();
    let mut command_ = command(directory.path(), &["demo", "--listen", "127.0.0.1:0", "--every", "20ms"]);
    // What a real hub is told has no part in it.
    command_.env("TMPDIR", directory.path()).env("ALARM_HUB_DB", "real.db").stderr(Stdio::null());
    let mut demo = Running::start(&mut command_);
    let url = demo.address();
    for (lang, word) in [("ko", "예약"), ("en-US", "reservation"), ("ja", "予約")] {
        let tail = ["tail", "--user", "tiaz", "--lang", lang, "--history", "1000", "--url", &url];
        let mut tail = Running::start(command(directory.path(), &tail).stderr(Stdio::null()));
        let first: Value = serde_json::from_str(&tail.line()).expect("a line is an object");
        assert_eq!((first["event"].as_str(), first["lang"].as_str()), (Some("alarm"), Some(lang)));
        assert!(first["message"].as_str().unwrap().contains(word), "{first}");
    }
    demo.terminate();
    assert_eq!(demo.ended().0, Some(0));
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0, "the database is gone");
}
