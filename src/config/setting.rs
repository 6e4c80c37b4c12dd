//! Every setting once: its name, what it may hold, its default and the words for `--help`.

/// How a setting is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// One value.
    Text,
    /// One whole number.
    Number,
    /// `true` or `false`; as a flag its mere presence means `true`.
    Switch,
    /// Any number of values: the flag is repeated or its values are joined by commas; an array in a file.
    List,
}

/// One row of [`SETTINGS`].
#[derive(Debug)]
pub struct Setting {
    /// The flag without its dashes, and the key in a file.
    pub name: &'static str,
    /// How it is written.
    pub kind: Kind,
    /// What `--help` calls its value.
    pub value: &'static str,
    /// As somebody would write it; empty: not set.
    pub default: &'static str,
    /// Under which heading `--help` lists it.
    pub heading: &'static str,
    /// What it does; no full stop.
    pub help: &'static str,
}

impl Setting {
    /// The environment variable of the same name.
    pub fn variable(&self) -> String {
        variable(self.name)
    }

    /// The setting of that name.
    pub fn named(name: &str) -> Option<&'static Self> {
        SETTINGS.iter().find(|setting| setting.name == name)
    }
}

/// What all environment variables of the hub begin with.
pub const PREFIX: &str = "ALARM_HUB_";

/// The environment variable of a flag.
pub fn variable(name: &str) -> String {
    format!("{PREFIX}{}", name.replace('-', "_").to_ascii_uppercase())
}

/// The name among `known` that was probably meant, as the end of a sentence: `; did you mean 'listen'?`, or nothing.
pub fn did_you_mean<'a>(written: &str, known: impl Iterator<Item = &'a str>) -> String {
    let plain = |name: &str| name.replace('_', "-").to_ascii_lowercase();
    let written = plain(written);
    // A third of the letters wrong is still a slip; more is another word.
    let allowed = 1 + written.chars().count() / 3;
    let near = known.map(|name| (strsim::damerau_levenshtein(&written, &plain(name)), name));
    let nearest = near.filter(|(distance, _)| *distance <= allowed).min_by_key(|(distance, _)| *distance);
    nearest.map_or_else(String::new, |(_, name)| format!("; did you mean '{name}'?"))
}

const DATABASE: &str = "Database";
const DELIVERY: &str = "Delivery";
const NETWORK: &str = "Network";
const ACCESS: &str = "Access";
const OPERATION: &str = "Operation";

const fn setting(
    heading: &'static str,
    name: &'static str,
    kind: Kind,
    value: &'static str,
    default: &'static str,
    help: &'static str,
) -> Setting {
    Setting { name, kind, value, default, heading, help }
}

/// All of them, in the order of `--help`.
pub const SETTINGS: &[Setting] = &[
    setting(
        DATABASE,
        "db",
        Kind::Text,
        "FILE",
        "./alarms.db",
        "The SQLite database; made if it is missing and was not named, an error if it was named and is missing",
    ),
    setting(
        DATABASE,
        "poll-interval",
        Kind::Text,
        "DURATION",
        "50ms",
        "How often to look for changes that the file system did not tell of (1ms to 1h)",
    ),
    setting(
        DATABASE,
        "retention",
        Kind::Text,
        "DURATION",
        "30d",
        "How long a reader can stay away and still get exactly what it missed (1s to 3650d)",
    ),
    setting(
        DELIVERY,
        "default-lang",
        Kind::Text,
        "TAGS",
        "en",
        "Languages for readers whose own are not there, best first, as in Accept-Language without q",
    ),
    setting(
        DELIVERY,
        "lang-alias",
        Kind::List,
        "FROM=TO",
        "",
        "What a spelling in the table or in a request means, as in jp=ja; some are built in",
    ),
    setting(
        DELIVERY,
        "settle",
        Kind::Text,
        "DURATION",
        "250ms",
        "How long an alarm waits for a translation into the reader's first language (0s to 1m)",
    ),
    setting(
        DELIVERY,
        "heartbeat",
        Kind::Text,
        "DURATION",
        "15s",
        "How often a connection hears from the hub when nothing happens (100ms to 10m)",
    ),
    setting(
        DELIVERY,
        "queue",
        Kind::Number,
        "ALARMS",
        "256",
        "How far a connection may be behind before it is told to come back (1 to 65536)",
    ),
    setting(
        NETWORK,
        "listen",
        Kind::List,
        "ADDRESS",
        "127.0.0.1:5000",
        "Where to listen, as in 127.0.0.1:5000, [::1]:5000 or localhost:5000; port 0 takes a free one",
    ),
    setting(NETWORK, "metrics-listen", Kind::Text, "ADDRESS", "", "Where to serve /metrics as well, without a token"),
    setting(
        NETWORK,
        "tls-cert",
        Kind::Text,
        "FILE",
        "",
        "Serve over TLS, with HTTP/2, and show this certificate and those above it, in PEM; read again when it changes",
    ),
    setting(
        NETWORK,
        "tls-key",
        Kind::Text,
        "FILE",
        "",
        "The key of that certificate, in PEM, readable by its owner only",
    ),
    setting(
        NETWORK,
        "base-path",
        Kind::Text,
        "PATH",
        "/",
        "The path under which everything is served, for a proxy that passes it on",
    ),
    setting(
        NETWORK,
        "host",
        Kind::List,
        "NAME",
        "",
        "A name under which the hub is reached, without a port; needed where there is no --auth",
    ),
    setting(NETWORK, "max-connections", Kind::Number, "COUNT", "10000", "Connections in all (1 to 1000000)"),
    setting(
        NETWORK,
        "max-per-address",
        Kind::Number,
        "COUNT",
        "256",
        "Connections from one address; loopback and trusted proxies are exempt (1 to 1000000)",
    ),
    setting(
        NETWORK,
        "rate",
        Kind::Number,
        "COUNT",
        "100",
        "Requests a second from one address; loopback and trusted proxies are exempt (1 to 1000000)",
    ),
    setting(
        NETWORK,
        "cors-origin",
        Kind::List,
        "ORIGIN",
        "",
        "An origin whose pages may read from the hub, as in https://intranet.example",
    ),
    setting(
        NETWORK,
        "frame-ancestors",
        Kind::Text,
        "SOURCES",
        "'none'",
        "Who may show the dashboard in a frame: 'none', 'self' or origins, separated by spaces",
    ),
    setting(ACCESS, "auth", Kind::Text, "none|jwt|proxy", "none", "Who says who is asking"),
    setting(
        ACCESS,
        "insecure-no-auth",
        Kind::Switch,
        "true|false",
        "false",
        "Listen beyond loopback without --auth: whoever reaches the hub can read and write everything",
    ),
    setting(
        ACCESS,
        "jwt-key-file",
        Kind::Text,
        "FILE",
        "",
        "The key of --auth jwt: at least 32 raw bytes (HS256), or PEM of RSA (RS256), P-256 (ES256), Ed25519 (EdDSA)",
    ),
    setting(
        ACCESS,
        "trusted-proxy",
        Kind::List,
        "CIDR",
        "",
        "A proxy in front of the hub, as in 10.0.0.7 or 10.0.0.0/28; with --auth proxy its word is believed",
    ),
    setting(
        ACCESS,
        "proxy-user-header",
        Kind::Text,
        "NAME",
        "X-Remote-User",
        "The header in which the proxy of --auth proxy names the user",
    ),
    setting(
        ACCESS,
        "proxy-scope-header",
        Kind::Text,
        "NAME",
        "X-Remote-Scope",
        "The header in which that proxy lists the user's scopes: publish sessions metrics",
    ),
    setting(
        OPERATION,
        "redis",
        Kind::Text,
        "URL",
        "",
        "Behave as one with the other hubs that share this Redis: redis://HOST:6379, rediss:// for TLS, or \
         redis+sentinel://HOST:26379,HOST:26379/NAME; where no database is named, serve the alarms of those hubs",
    ),
    setting(
        OPERATION,
        "advertise",
        Kind::Text,
        "URL",
        "",
        "Where hubs without a database can ask this one, as in http://10.0.0.5:5000; if not set, where it listens",
    ),
    setting(OPERATION, "redis-password-file", Kind::Text, "FILE", "", "The file that holds the password of Redis"),
    setting(
        OPERATION,
        "redis-ca-file",
        Kind::Text,
        "FILE",
        "",
        "Who may sign the certificate of Redis, in PEM; if not set, whoever the system trusts",
    ),
    setting(
        OPERATION,
        "on-redis-loss",
        Kind::Text,
        "serve|fence",
        "serve",
        "While Redis is away: serve alone, or end all connections and serve nobody, so that no user has two",
    ),
    setting(
        OPERATION,
        "drain",
        Kind::Text,
        "DURATION",
        "10s",
        "How long a hub that was told to stop may take to say good-bye (0s to 10m)",
    ),
    setting(OPERATION, "log", Kind::Text, "FILTER", "info", "What to log, as in debug or info,alarm_hub::store=debug"),
    setting(OPERATION, "log-format", Kind::Text, "pretty|json", "pretty", "How to log, to the standard error output"),
    setting(
        OPERATION,
        "audit-log",
        Kind::Text,
        "FILE",
        "",
        "Where to write who connected, displaced, published and was refused, one JSON a line, instead of into the log",
    ),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_setting_is_there_twice() {
        for (index, setting) in SETTINGS.iter().enumerate() {
            assert!(SETTINGS[index + 1..].iter().all(|later| later.name != setting.name), "{}", setting.name);
        }
    }

    #[test]
    fn a_slip_of_the_pen_is_recognised_and_another_word_is_not() {
        let names = || SETTINGS.iter().map(|setting| setting.name);
        assert_eq!(did_you_mean("lisen", names()), "; did you mean 'listen'?");
        assert_eq!(did_you_mean("poll_interval", names()), "; did you mean 'poll-interval'?");
        assert_eq!(did_you_mean("HEARTBEET", names()), "; did you mean 'heartbeat'?");
        assert_eq!(did_you_mean("colour", names()), "");
    }

    #[test]
    fn a_variable_is_the_name_in_capitals() {
        assert_eq!(variable("poll-interval"), "ALARM_HUB_POLL_INTERVAL");
    }
}
