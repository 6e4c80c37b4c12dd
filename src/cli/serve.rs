//! `serve`: the hub, until it is told to stop.

use std::{
    error::Error,
    io::{self, Write},
    net::{IpAddr, SocketAddr},
    path::Path,
};

use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing::{error, info, warn};

use super::{Failure, manager::Manager, quoted};
use crate::{
    Hub,
    auth::key::Key,
    config::{Auth, Config, Flags, LogFormat, Sources},
    log::Log,
};

pub async fn run(flags: Flags) -> Result<(), Failure> {
    let sources = Sources::read(flags.clone(), std::env::vars_os())?;
    let config = Config::from_sources(&sources)?;
    let log = Log::begin(&config)?;
    for warning in sources.warnings() {
        warn!("{warning}");
    }
    let format = config.log_format;
    let served = serve(flags, config, &log).await;
    served.map_err(|error| match format {
        LogFormat::Pretty => Failure::from(error),
        // Whoever reads JSON reads nothing else.
        LogFormat::Json => {
            error!("{}", super::with_causes(&*error));
            Failure::Told
        }
    })
}

async fn serve(flags: Flags, mut config: Config, log: &Log) -> Result<(), Box<dyn Error + Send + Sync>> {
    look_around(&config)?;
    match rlimit::increase_nofile_limit(u64::MAX) {
        Ok(limit) => info!(limit, "descriptors that may be open"),
        Err(cause) => warn!(%cause, "the limit of open descriptors cannot be raised"),
    }
    let mut signals = Signals::new()?;
    let mut hangups = signal(SignalKind::hangup())?;
    let hub = tokio::select! {
        hub = Hub::start(config.clone(), log.lost()) => hub?,
        () = signals.next() => return Ok(()),
    };
    for address in hub.addresses() {
        let db = if config.is_edge() { "none".into() } else { config.db.to_string_lossy() };
        info!(%address, version = env!("CARGO_PKG_VERSION"), db = &*db, "listening");
    }
    if let Some(address) = hub.metrics_address() {
        info!(%address, "serving metrics");
    }
    // Whoever started the hub may not read what it says: that is no reason to end.
    let _ = writeln!(io::stdout(), "{}", welcome(&config, hub.addresses()));
    let mut manager = Manager::ready();
    loop {
        tokio::select! {
            () = signals.next() => break,
            _ = hangups.recv() => reload(&flags, &mut config, log, &hub),
            () = manager.due() => manager.tell(&hub).await,
        }
    }
    info!(drain = ?config.drain, "stopping; a second signal ends at once");
    manager.stopping();
    tokio::select! {
        all = hub.drain() => match all {
            true => info!("stopped"),
            false => warn!("stopped; not everybody could be told in time"),
        },
        () = signals.next() => return Err("ended at once by a second signal".into()),
    }
    Ok(())
}

/// Reads the settings again and takes over what can be taken over; the old ones stay if one cannot be read.
fn reload(flags: &Flags, config: &mut Config, log: &Log, hub: &Hub) {
    let read = Sources::read(flags.clone(), std::env::vars_os()).and_then(|sources| Config::from_sources(&sources));
    let read = match read {
        Ok(read) => config.renewed(read),
        Err(refused) => return error!(cause = %refused, "the settings stay as they were"),
    };
    if let Err(cause) = log.reload(&read.config).and_then(|()| hub.reload(&read.config)) {
        let _ = log.reload(config); // it could be written before
        return error!(%cause, "the settings stay as they were");
    }
    info!(changed = read.changed.join(" "), "read the settings again");
    if !read.restart.is_empty() {
        warn!(settings = read.restart.join(" "), "these were changed too, and need a restart");
    }
    *config = read.config;
}

/// SIGTERM and SIGINT.
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    /// From now on neither ends the process by itself.
    pub fn new() -> io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    /// Waits for the next of either.
    pub async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// What can be wrong outside the settings, so that it is told before anything is started.
pub fn look_around(config: &Config) -> Result<(), Box<dyn Error + Send + Sync>> {
    if !config.create && !config.db.exists() {
        return Err(missing(&config.db).into());
    }
    if let Auth::Jwt { key_file } = &config.auth {
        Key::read(key_file)?;
    }
    if let Some(files) = &config.tls {
        files.read()?;
    }
    Ok(())
}

/// The database is not there: what makes one.
pub fn missing(db: &Path) -> String {
    let db = db.display();
    format!("there is no database {db}; make it with: alarm-hub init --db {}", quoted(&db.to_string()))
}

/// Where a browser finds what listens at `address`.
pub fn page(config: &Config, address: SocketAddr) -> String {
    // Nobody can go to "every address": this machine is one of them.
    let host = match address.ip() {
        ip if !ip.is_unspecified() => ip,
        IpAddr::V4(_) => IpAddr::from([127, 0, 0, 1]),
        IpAddr::V6(_) => IpAddr::from([0, 0, 0, 0, 0, 0, 0, 1]),
    };
    let user = if config.auth == Auth::None { "?user=tiaz" } else { "" };
    let scheme = if config.tls.is_some() { "https" } else { "http" };
    format!("{scheme}://{}{}/{user}", SocketAddr::new(host, address.port()), config.base_path)
}

/// Where to look and what to do first; the first line has the first address, for whoever starts the hub by a program.
fn welcome(config: &Config, addresses: &[SocketAddr]) -> String {
    let db = quoted(&config.db.display().to_string());
    let mut lines: Vec<String> =
        addresses.iter().map(|address| format!("dashboard    {}", page(config, *address))).collect();
    if config.is_edge() {
        lines.push("alarms       come from the hubs with a database that share this Redis".to_owned());
        return lines.join("\n");
    }
    lines.push(format!("first alarm  alarm-hub send --db {db} ko='안녕하세요' en-US='hello'"));
    lines.push(format!(
        "or           sqlite3 {db} \"INSERT INTO alarm (id, lang, message) VALUES ('1', 'en-US', 'hello')\""
    ));
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_welcome_names_a_page_that_a_browser_can_open() {
        let config = Config { base_path: "/alarms".to_owned(), ..Config::default() };
        let page = |address: &str| page(&config, address.parse().unwrap());
        assert_eq!(page("127.0.0.1:5000"), "http://127.0.0.1:5000/alarms/?user=tiaz");
        assert_eq!(page("0.0.0.0:5000"), "http://127.0.0.1:5000/alarms/?user=tiaz");
        assert_eq!(page("[::]:5000"), "http://[::1]:5000/alarms/?user=tiaz");
    }

    #[test]
    fn the_welcome_can_be_pasted_into_a_shell() {
        let config = Config { db: "my alarms.db".into(), ..Config::default() };
        let welcome = welcome(&config, &["127.0.0.1:5000".parse().unwrap()]);
        assert!(welcome.contains("alarm-hub send --db 'my alarms.db' ko="), "{welcome}");
        assert!(welcome.contains("sqlite3 'my alarms.db' \"INSERT INTO alarm"), "{welcome}");
    }
}
