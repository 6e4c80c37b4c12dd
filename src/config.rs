//! Every setting once: what the hub is started with, and where each value came from.
//!
//! Flags go before the environment (`ALARM_HUB_…`), that before the file that `--config` names, that before the
//! defaults. Putting them together is a pure function of a lookup; nothing here looks at the world.

pub mod setting;
pub mod sources;
pub mod value;

#[cfg(test)]
mod tests;

use std::{fmt, mem, net::SocketAddr, ops::RangeInclusive, path::PathBuf, sync::Arc, time::Duration};

use actors::language::{Aliases, Tag};
use ipnet::IpNet;
use tracing_subscriber::EnvFilter;

use crate::server::{Times, tls};
pub use setting::{Kind, SETTINGS, Setting};
pub use sources::{Flags, Given, Origin, Sources};

const MILLISECOND: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const DAY: Duration = Duration::from_secs(86_400);

/// Settings that cannot be meant: what is wrong, where it was said and what would be right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused(pub String);

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Refused {}

/// Who says who is asking.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Auth {
    /// Nobody: whoever reaches the hub may do everything.
    None,
    /// A signed token.
    Jwt {
        /// The key that it is signed with; see [`crate::auth::key::Key::read`].
        key_file: PathBuf,
    },
    /// A proxy in front of the hub, one of [`Config::trusted_proxies`].
    Proxy {
        /// The header that names the user; lower case.
        user_header: String,
        /// The header that lists the scopes, separated by spaces; lower case.
        scope_header: String,
    },
}

#[cfg(feature = "redis")]
use crate::redis::Address;

/// There is none in this build.
#[cfg(not(feature = "redis"))]
pub type Address = std::convert::Infallible;

/// Reads where Redis is.
fn redis_address(text: &str) -> Result<Address, String> {
    #[cfg(feature = "redis")]
    return Address::parse(text);
    #[cfg(not(feature = "redis"))]
    Err(format!("this build has no Redis in it: leave --redis {text} out, one hub serves by itself"))
}

/// How several hubs behave as one.
#[derive(Clone, Debug)]
pub struct Redis {
    /// Where it is.
    pub address: Address,
    /// The file that holds its password.
    pub password_file: Option<PathBuf>,
    /// The file that holds the certificates of those who may sign that of Redis; `None`: whom the system trusts.
    pub ca_file: Option<PathBuf>,
    /// Whether this hub serves nobody while it cannot reach it.
    pub fence: bool,
    /// Where hubs without a database can ask this one; without a slash at its end.
    pub advertise: Option<String>,
}

/// How to log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For a person.
    Pretty,
    /// One JSON object a line.
    Json,
}

/// What the hub is started with. Made by [`Config::from_lookup`].
#[derive(Clone, Debug)]
pub struct Config {
    /// The database.
    pub db: PathBuf,
    /// Whether a missing database is made: only if nobody named it.
    pub create: bool,
    /// How often to look for changes that the file system did not tell of.
    pub poll_interval: Duration,
    /// How long the log is kept.
    pub retention: Duration,
    /// What tags mean, in the table and in requests.
    pub aliases: Aliases,
    /// Languages for readers whose own are not there, best first; never empty.
    pub default_languages: Arc<[Tag]>,
    /// How long an alarm waits for a translation into the reader's first language.
    pub settle: Duration,
    /// How often a connection hears from the hub when nothing happens.
    pub heartbeat: Duration,
    /// How many alarms a connection may be behind.
    pub queue: u32,
    /// Where to listen; never empty.
    pub listen: Vec<SocketAddr>,
    /// Where to serve `/metrics` without a token.
    pub metrics_listen: Option<SocketAddr>,
    /// What to show to clients that come over TLS; without it they come without.
    pub tls: Option<tls::Files>,
    /// Under which path everything is served: empty, or `/alarms` without a slash at its end.
    pub base_path: String,
    /// Names under which the hub is reached; lower case, no port.
    pub hosts: Vec<String>,
    /// Connections in all.
    pub max_connections: u32,
    /// Connections from one address.
    pub max_per_address: u32,
    /// Requests a second from one address.
    pub rate: u32,
    /// Origins whose pages may read from the hub, as browsers send them.
    pub cors_origins: Vec<String>,
    /// The sources of the `frame-ancestors` directive.
    pub frame_ancestors: String,
    /// Who says who is asking.
    pub auth: Auth,
    /// Proxies in front of the hub: exempt from what is counted per address, believed with [`Auth::Proxy`].
    pub trusted_proxies: Vec<IpNet>,
    /// How long the end may take.
    pub drain: Duration,
    /// How long a connection may take for what; not a setting.
    pub times: Times,
    /// Where the other hubs are found, if there are some.
    pub redis: Option<Redis>,
    /// What to log: a filter of `tracing-subscriber`.
    pub log: String,
    /// How to log.
    pub log_format: LogFormat,
    /// Where the audit trail goes; `None`: with the rest of the log.
    pub audit_log: Option<PathBuf>,
    /// Every setting as it was said and by whom, in the order of [`SETTINGS`]; empty values: not set.
    pub said: Vec<(&'static Setting, Given)>,
}

/// Settings that are taken over while the hub runs. (What lies in a file that a setting names is read again as well.)
const RELOADED: &[&str] = &[
    "lang-alias",
    "default-lang",
    "host",
    "max-connections",
    "max-per-address",
    "rate",
    "cors-origin",
    "frame-ancestors",
    "log",
];

/// Those that are taken over as long as `auth` is what it was: they belong together.
const RELOADED_WITH_AUTH: &[&str] = &["jwt-key-file", "trusted-proxy", "proxy-user-header", "proxy-scope-header"];

/// What came of reading the settings again.
#[derive(Clone, Debug)]
pub struct Renewed {
    /// As they are from now on.
    pub config: Config,
    /// The names of those that are others now.
    pub changed: Vec<&'static str>,
    /// The names of those that were changed, too, and stay as they were until the next start.
    pub restart: Vec<&'static str>,
}

/// The defaults alone.
impl Default for Config {
    fn default() -> Self {
        Self::from_lookup(|_| Ok(None)).expect("the defaults are valid, a test says so")
    }
}

impl Config {
    /// Puts the settings together from what `lookup` tells of each; what it does not know is the default.
    ///
    /// # Errors
    /// The first value that cannot be read or goes beyond its range, or settings that contradict each other.
    pub fn from_lookup(lookup: impl Fn(&Setting) -> Result<Option<Given>, Refused>) -> Result<Self, Refused> {
        let mut read = Reader { lookup, said: Vec::with_capacity(SETTINGS.len()) };
        let file = |text: &str| value::something(text).map(PathBuf::from);
        let address = read.optional("redis", redis_address)?;
        let password_file = read.optional("redis-password-file", file)?;
        let ca_file = read.optional("redis-ca-file", file)?;
        let fence = read.one("on-redis-loss", |text| value::one_of(text, &["serve", "fence"]))? == 1;
        let db = read.one("db", file)?;
        let create = !read.origin("db").is_named();
        let advertise = read.optional("advertise", value::url)?;
        if advertise.is_some() && create {
            return Err(read.refused("advertise", "it is for a hub with a database: name one with --db FILE"));
        }
        let alone = [
            ("redis-password-file", password_file.is_some()),
            ("redis-ca-file", ca_file.is_some()),
            ("on-redis-loss", fence),
            ("advertise", advertise.is_some()),
        ];
        let redis = match (address, alone.into_iter().find(|(_, said)| *said)) {
            (Some(address), _) => Some(Redis { address, password_file, ca_file, fence, advertise }),
            (None, Some((name, _))) => return Err(read.refused(name, "it does nothing by itself: add --redis URL")),
            (None, None) => None,
        };
        let aliases = read.many("lang-alias", |text| {
            let pair = text.split_once('=').ok_or("it must be two tags, as in jp=ja")?;
            Aliases::default().with(pair.0, pair.1).map(|_| (pair.0.to_owned(), pair.1.to_owned()))
        })?;
        let aliases = aliases.iter().try_fold(Aliases::default(), |aliases, (from, to)| aliases.with(from, to));
        let aliases = aliases.map_err(Refused)?; // each was tried alone above
        let auth = match read.one("auth", |text| value::one_of(text, &["none", "jwt", "proxy"]))? {
            0 => None,
            1 => Some(true),
            _ => Some(false),
        };
        let key_file = read.optional("jwt-key-file", file)?;
        let user_header = read.one("proxy-user-header", value::header)?;
        let scope_header = read.one("proxy-scope-header", value::header)?;
        let trusted_proxies = read.many("trusted-proxy", value::network)?;
        let auth = match (auth, key_file) {
            (Some(true), Some(key_file)) => Auth::Jwt { key_file },
            (Some(true), None) => return Err(read.refused("auth", "it needs the key: add --jwt-key-file FILE")),
            (_, Some(_)) => return Err(read.refused("jwt-key-file", "it does nothing by itself: add --auth jwt")),
            (Some(false), None) if trusted_proxies.is_empty() => {
                return Err(read.refused("auth", "it needs the proxy's address: add --trusted-proxy CIDR"));
            }
            (Some(false), None) if user_header == scope_header => {
                return Err(read.refused("proxy-scope-header", "it is the user's header already: name another"));
            }
            (Some(false), None) => Auth::Proxy { user_header, scope_header },
            (None, None) => Auth::None,
        };
        let tls = match (read.optional("tls-cert", file)?, read.optional("tls-key", file)?) {
            (Some(certificate), Some(key)) => Some(tls::Files { certificate, key }),
            (None, None) => None,
            (Some(_), None) => return Err(read.refused("tls-cert", "it needs its key: add --tls-key FILE")),
            (None, Some(_)) => return Err(read.refused("tls-key", "it needs its certificate: add --tls-cert FILE")),
        };
        let listen = read.many("listen", value::address)?;
        if listen.is_empty() {
            return Err(read.refused("listen", "there must be at least one address, as in 127.0.0.1:5000"));
        }
        let metrics_listen = read.optional("metrics-listen", value::address)?;
        let insecure = read.one("insecure-no-auth", value::switch)?;
        if auth == Auth::None && !insecure {
            let open = |address: &&SocketAddr| !address.ip().to_canonical().is_loopback();
            let (name, addresses) = match listen.iter().find(open) {
                Some(address) => ("listen", Some(address)),
                None => ("metrics-listen", metrics_listen.iter().find(open)),
            };
            if let Some(address) = addresses {
                let why = format!(
                    "{address} can be reached from other machines, and without --auth whoever reaches the hub can \
                     read and write every user's alarms; set --auth jwt or --auth proxy, listen on 127.0.0.1 only, \
                     or say --insecure-no-auth if that is meant"
                );
                return Err(read.refused(name, &why));
            }
        }
        if auth != Auth::None && insecure {
            return Err(read.refused("insecure-no-auth", "it contradicts --auth: leave one of the two out"));
        }
        let config = Self {
            db,
            create,
            poll_interval: read.duration("poll-interval", MILLISECOND..=60 * MINUTE)?,
            retention: read.duration("retention", SECOND..=3_650 * DAY)?,
            default_languages: read.one("default-lang", |text| {
                let tags = aliases.list(text)?;
                if tags.is_empty() { Err("it is empty; a list looks like en,ko".to_owned()) } else { Ok(tags) }
            })?,
            aliases,
            settle: read.duration("settle", Duration::ZERO..=MINUTE)?,
            heartbeat: read.duration("heartbeat", 100 * MILLISECOND..=10 * MINUTE)?,
            queue: read.one("queue", |text| value::number(text, 1..=65_536))?,
            listen,
            metrics_listen,
            tls,
            base_path: read.one("base-path", value::base_path)?,
            hosts: read.many("host", value::host)?,
            max_connections: read.one("max-connections", |text| value::number(text, 1..=1_000_000))?,
            max_per_address: read.one("max-per-address", |text| value::number(text, 1..=1_000_000))?,
            rate: read.one("rate", |text| value::number(text, 1..=1_000_000))?,
            cors_origins: read.many("cors-origin", value::origin)?,
            frame_ancestors: read.one("frame-ancestors", value::frame_ancestors)?,
            auth,
            trusted_proxies,
            redis,
            drain: read.duration("drain", Duration::ZERO..=10 * MINUTE)?,
            times: Times::default(),
            log: read.one("log", |text| {
                // Space around a part would lead the filter's parser astray, into a panic even.
                let text = text.split(',').map(str::trim).collect::<Vec<_>>().join(",");
                let filter = EnvFilter::try_new(&text).map(|_| text);
                filter.map_err(|cause| format!("{cause}; a filter looks like info or info,alarm_hub::store=debug"))
            })?,
            audit_log: read.optional("audit-log", file)?,
            log_format: match read.one("log-format", |text| value::one_of(text, &["pretty", "json"]))? {
                0 => LogFormat::Pretty,
                _ => LogFormat::Json,
            },
            said: Vec::new(),
        };
        let mut said = read.said;
        let place = |setting: &Setting| SETTINGS.iter().position(|other| other.name == setting.name);
        said.sort_by_key(|(setting, _)| place(setting));
        Ok(Self { said, ..config })
    }

    /// These settings with what of `read` can be taken over while the hub runs.
    pub fn renewed(&self, read: Self) -> Renewed {
        let mut said = self.said.clone();
        let (mut changed, mut restart) = (Vec::new(), Vec::new());
        let same_auth = mem::discriminant(&self.auth) == mem::discriminant(&read.auth);
        let is_taken = |name| RELOADED.contains(&name) || (same_auth && RELOADED_WITH_AUTH.contains(&name));
        for ((setting, given), (_, now)) in said.iter_mut().zip(&read.said) {
            if given.values != now.values {
                let names = if is_taken(setting.name) { &mut changed } else { &mut restart };
                names.push(setting.name);
            }
            if is_taken(setting.name) {
                *given = now.clone();
            }
        }
        let (auth, trusted_proxies) = match same_auth {
            true => (read.auth, read.trusted_proxies),
            false => (self.auth.clone(), self.trusted_proxies.clone()),
        };
        let config = Self {
            aliases: read.aliases,
            default_languages: read.default_languages,
            hosts: read.hosts,
            max_connections: read.max_connections,
            max_per_address: read.max_per_address,
            rate: read.rate,
            auth,
            trusted_proxies,
            cors_origins: read.cors_origins,
            frame_ancestors: read.frame_ancestors,
            log: read.log,
            said,
            ..self.clone()
        };
        Renewed { config, changed, restart }
    }

    /// Whether the hub has no database: all alarms come from other hubs.
    pub fn is_edge(&self) -> bool {
        self.redis.is_some() && self.create
    }

    /// Puts the settings together from `sources`.
    ///
    /// # Errors
    /// As [`Config::from_lookup`].
    pub fn from_sources(sources: &Sources) -> Result<Self, Refused> {
        Self::from_lookup(|setting| sources.given(setting))
    }
}

/// Reads one setting after the other and remembers what was said.
struct Reader<L> {
    lookup: L,
    said: Vec<(&'static Setting, Given)>,
}

impl<L: Fn(&Setting) -> Result<Option<Given>, Refused>> Reader<L> {
    fn given(&mut self, name: &str) -> Result<(&'static Setting, Given), Refused> {
        let setting = Setting::named(name).expect("the name is one of the table's, a test says so");
        let given = (self.lookup)(setting)?.unwrap_or_else(|| {
            let values = if setting.default.is_empty() { vec![] } else { vec![setting.default.to_owned()] };
            Given { values, origin: Origin::Default }
        });
        self.said.push((setting, given.clone()));
        Ok((setting, given))
    }

    fn many<T>(&mut self, name: &str, parse: impl Fn(&str) -> Result<T, String>) -> Result<Vec<T>, Refused> {
        let (setting, given) = self.given(name)?;
        let wrong = |value: &str, why: String| refused(setting, value, &given.origin, &why);
        given.values.iter().map(|value| parse(value).map_err(|why| wrong(value, why))).collect()
    }

    fn optional<T>(&mut self, name: &str, parse: impl Fn(&str) -> Result<T, String>) -> Result<Option<T>, Refused> {
        Ok(self.many(name, parse)?.pop())
    }

    fn one<T>(&mut self, name: &str, parse: impl Fn(&str) -> Result<T, String>) -> Result<T, Refused> {
        let value = self.optional(name, parse)?;
        Ok(value.expect("it has a default, a test says so"))
    }

    fn duration(&mut self, name: &str, range: RangeInclusive<Duration>) -> Result<Duration, Refused> {
        self.one(name, |text| value::duration(text, range.clone()))
    }

    fn said(&self, name: &str) -> Option<&(&'static Setting, Given)> {
        self.said.iter().find(|(setting, _)| setting.name == name)
    }

    fn origin(&self, name: &str) -> Origin {
        self.said(name).map_or(Origin::Default, |(_, given)| given.origin.clone())
    }

    /// Why a setting that has been read cannot be, given the others.
    fn refused(&self, name: &str, why: &str) -> Refused {
        match self.said(name) {
            Some((setting, given)) => refused(setting, &given.values.join(","), &given.origin, why),
            None => Refused(format!("--{name}: {why}")),
        }
    }
}

/// As it was written, where it was written.
fn refused(setting: &Setting, value: &str, origin: &Origin, why: &str) -> Refused {
    Refused(match origin {
        Origin::Flag | Origin::Default => format!("--{} '{value}': {why}", setting.name),
        Origin::Environment => format!("{}='{value}': {why}", setting.variable()),
        Origin::File(path) => format!("{} = '{value}' in {}: {why}", setting.name, path.display()),
    })
}
