//! The servers that are measured: the hub, Nchan in nginx with one and with two channels a client, and the floor.

use std::{
    collections::HashMap,
    fmt::{self, Write as _},
    fs::{self, File},
    io::{BufRead, BufReader},
    net::{SocketAddr, TcpListener, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use rusqlite::{Connection, params};
use tempfile::TempDir;

use crate::{Outcome, Run, load::Load};

/// Which server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// The hub.
    Hub,
    /// Nchan, each client on its user's channel and on everybody's: what the hub does.
    NchanTwo,
    /// Nchan, each client on everybody's channel only.
    NchanOne,
    /// One thread that writes.
    Floor,
}

impl Kind {
    /// All, in the order in which they take turns.
    pub const ALL: [Self; 4] = [Self::Hub, Self::NchanTwo, Self::NchanOne, Self::Floor];
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Hub => "hub",
            Self::NchanTwo => "Nchan, two channels",
            Self::NchanOne => "Nchan, one channel",
            Self::Floor => "floor",
        })
    }
}

/// How alarms get to the hub.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// Another process (this one) writes into the table.
    Insert,
    /// `POST /alarms`.
    Post,
}

/// A server that runs.
pub struct Server {
    kind: Kind,
    process: Child,
    /// Where it listens.
    pub address: SocketAddr,
    directory: TempDir,
    table: Option<Connection>,
    publisher: Option<usize>,
    published: u64,
    spent: HashMap<String, u64>,
}

/// Alarms in one `POST /alarms`, at most.
const POSTED_TOGETHER: usize = 500;

const LANGUAGES: [&str; 3] = ["ko", "en-US", "ja"];

/// A text of 60 bytes, as alarms have them.
fn text(number: u64) -> String {
    format!("The pressure in tank {number:08} is above the limit set for it.")
}

impl Server {
    /// Starts one; `under` is what the hub runs under, such as a profiler.
    pub fn start(kind: Kind, run: &Run, arguments: &[&str], under: &[&str], rows: u64) -> Outcome<Self> {
        let directory = tempfile::Builder::new().prefix("alarm-hub-bench").tempdir()?;
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        let mut command = Command::new("taskset");
        command.args(["-c", &run.core.to_string()]).args(under);
        match kind {
            Kind::Hub => {
                let hub = run.hub.canonicalize().map_err(|error| format!("{}: {error}", run.hub.display()))?;
                if rows > 0 {
                    let path = directory.path().join("alarms.db");
                    let made = Command::new(&hub).args(["init", "--db"]).arg(&path).stdout(Stdio::null()).status()?;
                    if !made.success() {
                        return Err("init makes no database".into());
                    }
                    fill(&path, rows)?;
                }
                command.arg(hub).args(["--listen", &address.to_string()]);
                if !arguments.iter().any(|argument| argument.starts_with("--heartbeat")) {
                    command.arg("--heartbeat=10m"); // no other server sends any
                }
                command.args(arguments);
            }
            Kind::NchanTwo | Kind::NchanOne => {
                let conf = directory.path().join("nginx.conf");
                let root = directory.path().display().to_string();
                let text = include_str!("../nginx.conf").replace("DIRECTORY", &root).replace("PORT", &port.to_string());
                fs::write(&conf, text)?;
                command.args(["nginx", "-e", "error.log", "-p", &root, "-c"]).arg(conf);
            }
            Kind::Floor => {
                command.arg(std::env::current_exe()?).arg("floor").arg(address.to_string());
            }
        }
        let log = File::create(directory.path().join("log"))?;
        command.current_dir(directory.path()).stdout(Stdio::piped()).stderr(log);
        let mut process = command.spawn()?;
        if kind == Kind::Hub {
            let mut said = String::new();
            BufReader::new(process.stdout.take().ok_or("no output")?).read_line(&mut said)?;
            if !said.contains("http://") {
                return Err(
                    format!("the hub did not start: {}", fs::read_to_string(directory.path().join("log"))?).into()
                );
            }
        }
        let begun = Instant::now();
        while TcpStream::connect(address).is_err() {
            if begun.elapsed() > Duration::from_secs(10) {
                return Err(format!("{kind} does not listen").into());
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        let (spent, table) = (HashMap::new(), None);
        Ok(Self { kind, process, address, directory, table, publisher: None, published: rows, spent })
    }

    /// The request that opens a user's stream.
    pub fn request(&self, user: usize, lang: usize, query: &str) -> String {
        let address = self.address;
        let path = match self.kind {
            Kind::Hub | Kind::Floor => format!("connection/{user}?{query}"),
            Kind::NchanTwo => format!("two/{user}"),
            Kind::NchanOne => "one".to_owned(),
        };
        let lang = LANGUAGES[lang % 3];
        format!(
            "GET /{path} HTTP/1.1\r\nHost: {address}\r\nAccept: text/event-stream\r\nAccept-Language: {lang}\r\n\r\n"
        )
    }

    /// Opens the streams of these users.
    pub fn open(&self, load: &mut Load, users: std::ops::Range<usize>, query: &str) -> Outcome<()> {
        load.open_all(users.map(|user| self.request(user, user, query)))
    }

    /// Publishes so many alarms at once: for everybody, or each for one of these users in turn.
    pub fn publish(&mut self, load: &mut Load, count: u64, users: Option<usize>, way: Way) -> Outcome<()> {
        let first = self.published;
        self.published += count;
        let user = |number: u64| users.map(|users| (number % users as u64).to_string());
        // One that is for a single user is in that user's language.
        let languages = if users.is_some() { &LANGUAGES[..1] } else { &LANGUAGES };
        if self.kind == Kind::Hub && way == Way::Insert {
            let table = match &mut self.table {
                Some(table) => table,
                None => self.table.insert(table(&self.directory.path().join("alarms.db"))?),
            };
            let transaction = table.transaction()?;
            {
                let mut insert = transaction.prepare(
                    "INSERT INTO alarm (id, lang, message, isn_dt, user_id) VALUES (?1, ?2, ?3, '2026-01-01 00:00:00', ?4)",
                )?;
                for number in first..first + count {
                    for lang in languages {
                        insert.execute(params![number.to_string(), lang, text(number), user(number)])?;
                    }
                }
            }
            transaction.commit()?;
            return Ok(());
        }
        let mut requests = String::new();
        let mut post = |path: &str, body: &str| {
            let _ = write!(
                requests,
                "POST /{path} HTTP/1.1\r\nHost: {}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
                self.address,
                body.len()
            ); // writing to a string cannot fail
        };
        let numbers: Vec<u64> = (first..first + count).collect();
        if self.kind == Kind::Hub {
            // Each request is one transaction, on the disk before it is answered: what is there at once goes together.
            for together in numbers.chunks(POSTED_TOGETHER) {
                let alarm = |number: &u64| {
                    let to = user(*number).map_or_else(String::new, |user| format!(r#""user_id":"{user}","#));
                    let messages = languages.iter().map(|lang| format!(r#""{lang}":"{}""#, text(*number)));
                    let messages = messages.collect::<Vec<_>>().join(",");
                    format!(r#"{{"id":"{number}",{to}"messages":{{{messages}}}}}"#)
                };
                post("alarms", &format!("[{}]", together.iter().map(alarm).collect::<Vec<_>>().join(",")));
            }
        } else {
            for number in numbers {
                let (to, text) = (user(number).unwrap_or_else(|| "all".to_owned()), text(number));
                // About as many bytes as the hub's event.
                let body = format!(
                    r#"{{"message":"{text}","id":"{number}","lang":"en-US","isn_dt":"2026-01-01 00:00:00","fallback":false}}"#
                );
                post(&format!("publish?to={to}"), &body);
            }
        }
        let publisher = match self.publisher {
            Some(publisher) => publisher,
            None => *self.publisher.insert(load.open("")?),
        };
        load.send(publisher, requests.as_bytes())
    }

    /// Publishes one alarm for everybody.
    pub fn publish_one(&mut self, load: &mut Load) -> Outcome<()> {
        self.publish(load, 1, None, Way::Insert)
    }

    fn processes(&self) -> Vec<u32> {
        let main = self.process.id();
        let children = fs::read_to_string(format!("/proc/{main}/task/{main}/children")).unwrap_or_default();
        std::iter::once(main).chain(children.split_whitespace().filter_map(|pid| pid.parse().ok())).collect()
    }

    /// CPU time until now, user and system, of all its processes and threads.
    pub fn cpu(&mut self) -> Duration {
        for process in self.processes() {
            spent(process, &mut self.spent);
        }
        Duration::from_nanos(self.spent.values().sum())
    }

    /// Resident memory now, in bytes.
    pub fn memory(&self) -> u64 {
        let resident = |process: u32| -> Option<u64> {
            fs::read_to_string(format!("/proc/{process}/statm")).ok()?.split(' ').nth(1)?.parse().ok()
        };
        self.processes().into_iter().filter_map(resident).sum::<u64>() * 4096
    }

    /// Switches the counting of instructions `on` or `off`.
    pub fn instrument(&self, state: &str) -> Outcome<()> {
        let mut control = Command::new("callgrind_control");
        control.args(["-i", state]).arg(self.process.id().to_string());
        let done = control.stdout(Stdio::null()).stderr(Stdio::null()).status()?;
        if done.success() { Ok(()) } else { Err("callgrind_control failed".into()) }
    }

    /// Ends it as an operator does and waits for that.
    pub fn stop(mut self) -> Outcome<TempDir> {
        Command::new("kill").arg(self.process.id().to_string()).status()?;
        self.process.wait()?;
        let empty = tempfile::tempdir()?;
        Ok(std::mem::replace(&mut self.directory, empty))
    }
}

/// Notes the CPU time of each thread of a process, in nanoseconds. One that ended keeps what it was last seen to have
/// spent.
pub fn spent(process: u32, threads: &mut HashMap<String, u64>) {
    let Ok(tasks) = fs::read_dir(format!("/proc/{process}/task")) else { return };
    for task in tasks.flatten() {
        let spent = fs::read_to_string(task.path().join("schedstat")).unwrap_or_default();
        if let Some(spent) = spent.split(' ').next().and_then(|spent| spent.parse().ok()) {
            threads.insert(task.path().display().to_string(), spent);
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // nginx ends its worker only if it is asked to.
        let _ = Command::new("kill").arg(self.process.id().to_string()).stderr(Stdio::null()).status(); // it may have ended
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_secs(5) && matches!(self.process.try_wait(), Ok(None)) {
            std::thread::sleep(Duration::from_millis(5));
        }
        let _ = self.process.kill(); // as above
        let _ = self.process.wait(); // as above
    }
}

fn table(path: &Path) -> Outcome<Connection> {
    let table = Connection::open(path)?;
    table.busy_timeout(Duration::from_secs(5))?;
    table.pragma_update(None, "synchronous", "normal")?;
    Ok(table)
}

/// Fills the table as a program would that has written for years.
fn fill(path: &Path, rows: u64) -> Outcome<()> {
    let mut table = table(path)?;
    let transaction = table.transaction()?;
    {
        let mut insert = transaction
            .prepare("INSERT INTO alarm (id, lang, message, isn_dt) VALUES (?1, 'ko', ?2, '2026-01-01 00:00:00')")?;
        for number in 0..rows {
            insert.execute(params![number.to_string(), text(number)])?;
        }
    }
    transaction.commit()?;
    Ok(())
}
