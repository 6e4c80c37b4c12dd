//! What the settings promise as a whole.

use std::{ffi::OsString, net::SocketAddr};

use proptest::prelude::*;

use super::*;

fn flags(flags: &[(&'static str, &str)]) -> Flags {
    Flags::new(flags.iter().map(|(name, value)| (*name, (*value).to_owned())), None)
}

fn from_flags(given: &[(&'static str, &str)]) -> Result<Config, Refused> {
    Config::from_sources(&Sources::new(flags(given), [], None)?)
}

fn from_file(text: &str) -> Result<Config, Refused> {
    Config::from_sources(&Sources::new(Flags::new([], Some("hub.toml".into())), [], Some(text))?)
}

fn variables(variables: &[(&str, &str)]) -> Vec<(OsString, OsString)> {
    variables.iter().map(|(name, value)| (name.into(), value.into())).collect()
}

fn why(refused: Result<Config, Refused>) -> String {
    refused.expect_err("these settings are wrong").0
}

#[test]
fn the_defaults_are_valid_and_every_setting_is_read_once() {
    let config = Config::from_lookup(|_| Ok(None)).unwrap();
    let said: Vec<&str> = config.said.iter().map(|(setting, _)| setting.name).collect();
    assert_eq!(said, SETTINGS.iter().map(|setting| setting.name).collect::<Vec<_>>());
    assert!(config.create);
    assert_eq!(config.listen, ["127.0.0.1:5000".parse::<SocketAddr>().unwrap()]);
    assert_eq!(config.auth, Auth::None);
    assert_eq!((config.poll_interval, config.settle), (50 * MILLISECOND, 250 * MILLISECOND));
    assert_eq!((config.heartbeat, config.drain, config.retention), (15 * SECOND, 10 * SECOND, 30 * DAY));
    assert_eq!((config.queue, config.max_connections, config.max_per_address, config.rate), (256, 10_000, 256, 100));
    assert_eq!(config.base_path, "");
    assert_eq!(config.frame_ancestors, "'none'");
}

#[test]
fn flags_go_before_the_environment_before_the_file_before_the_default() {
    let file = "queue = 1\nrate = 1\ndb = 'f.db'\n";
    let environment = variables(&[("ALARM_HUB_QUEUE", "2"), ("ALARM_HUB_RATE", "2")]);
    let flags = Flags::new([("queue", "3".to_owned())], Some("hub.toml".into()));
    let config = Config::from_sources(&Sources::new(flags, environment, Some(file)).unwrap()).unwrap();
    assert_eq!((config.queue, config.rate, config.db), (3, 2, PathBuf::from("f.db")));
    let origin = |name: &str| config.said.iter().find(|(setting, _)| setting.name == name).unwrap().1.origin.clone();
    assert_eq!(origin("queue"), Origin::Flag);
    assert_eq!(origin("rate"), Origin::Environment);
    assert_eq!(origin("db"), Origin::File("hub.toml".into()));
    assert_eq!(origin("drain"), Origin::Default);
}

#[test]
fn a_database_that_anybody_named_is_never_made() {
    assert!(!from_flags(&[("db", "./alarms.db")]).unwrap().create);
    assert!(!from_file("db = './alarms.db'").unwrap().create);
    let environment = variables(&[("ALARM_HUB_DB", "./alarms.db")]);
    assert!(!Config::from_sources(&Sources::new(Flags::default(), environment, None).unwrap()).unwrap().create);
}

#[test]
fn a_bad_value_is_refused_with_its_name_its_value_its_place_and_what_would_be_right() {
    assert_eq!(
        why(from_flags(&[("poll-interval", "250")])),
        "--poll-interval '250': a duration has a number and a unit, as in 250ms, 15s, 10m, 30d"
    );
    assert_eq!(why(from_file("queue = 0")), "queue = '0' in hub.toml: it must be a whole number from 1 to 65536");
    let environment = variables(&[("ALARM_HUB_LOG_FORMAT", "jsn")]);
    assert_eq!(
        why(Config::from_sources(&Sources::new(Flags::default(), environment, None).unwrap())),
        "ALARM_HUB_LOG_FORMAT='jsn': it must be one of pretty, json; did you mean 'json'?"
    );
    assert!(why(from_flags(&[("log", "info,x=loud")])).starts_with("--log 'info,x=loud': "));
    assert!(why(from_flags(&[("log", "\t8\u{202e}=x")])).starts_with("--log "), "and nothing panics");
    assert_eq!(from_flags(&[("log", " warn, x=debug ")]).unwrap().log, "warn,x=debug");
    assert!(why(from_flags(&[("default-lang", "english")])).contains("'english' is no language tag"));
    assert!(why(from_flags(&[("lang-alias", "jp")])).contains("jp=ja"));
}

#[test]
fn an_unknown_key_of_a_file_is_refused_with_the_one_that_was_meant() {
    assert_eq!(
        why(from_file("heartbeet = '15s'\n[server]\nport = 1\n")),
        "hub.toml: there is no setting 'heartbeet'; did you mean 'heartbeat'?\nhub.toml: there is no setting 'server'"
    );
    assert!(why(from_file("queue = ")).contains("hub.toml is not TOML"));
}

#[test]
fn a_value_of_the_wrong_kind_in_a_file_is_told_how_to_be_written() {
    assert!(why(from_file("heartbeat = 15")).contains("it must be a text in quotes, as in \"15s\""));
    assert!(why(from_file("queue = '5'")).contains("without quotes, as in 256"));
    assert!(why(from_file("insecure-no-auth = 'yes'")).contains("true or false"));
    assert!(why(from_file("listen = [5000]")).contains("an array of texts"));
}

#[test]
fn an_unknown_variable_is_only_a_warning() {
    let environment = variables(&[("ALARM_HUB_LISSEN", "x"), ("ALARM_HUB_URL", "x"), ("PATH", "x")]);
    let sources = Sources::new(Flags::default(), environment, None).unwrap();
    assert!(Config::from_sources(&sources).is_ok());
    assert_eq!(
        sources.warnings(),
        ["the variable ALARM_HUB_LISSEN means nothing to alarm-hub; did you mean 'ALARM_HUB_LISTEN'?"]
    );
}

#[test]
fn a_list_may_be_repeated_joined_by_commas_or_an_array() {
    let both = ["127.0.0.1:1", "[::1]:2"].map(|address| address.parse::<SocketAddr>().unwrap());
    assert_eq!(from_flags(&[("listen", "127.0.0.1:1"), ("listen", "[::1]:2")]).unwrap().listen, both);
    assert_eq!(from_flags(&[("listen", "127.0.0.1:1, [::1]:2")]).unwrap().listen, both);
    assert_eq!(from_file("listen = ['127.0.0.1:1', '[::1]:2']").unwrap().listen, both);
    assert!(why(from_flags(&[("listen", "127.0.0.1:1,")])).contains("--listen ''"));
    assert!(why(from_file("listen = []")).contains("at least one"));
}

#[test]
fn without_authentication_only_loopback_is_listened_on_unless_that_is_said_to_be_meant() {
    let refused = why(from_flags(&[("listen", "127.0.0.1:5000"), ("listen", "0.0.0.0:5000")]));
    assert!(refused.starts_with("--listen '127.0.0.1:5000,0.0.0.0:5000': 0.0.0.0:5000 can be reached"), "{refused}");
    assert!(refused.contains("--insecure-no-auth") && refused.contains("--auth jwt"), "{refused}");
    assert!(why(from_flags(&[("listen", "[::]:5000")])).contains("--insecure-no-auth"));
    assert!(why(from_flags(&[("metrics-listen", "10.0.0.1:9000")])).starts_with("--metrics-listen"));
    assert!(from_flags(&[("listen", "[::1]:5000")]).is_ok());
    assert!(from_flags(&[("listen", "0.0.0.0:5000"), ("insecure-no-auth", "true")]).is_ok());
    let jwt = [("listen", "0.0.0.0:5000"), ("auth", "jwt"), ("jwt-key-file", "k")];
    assert_eq!(from_flags(&jwt).unwrap().auth, Auth::Jwt { key_file: "k".into() });
}

#[test]
fn settings_that_contradict_or_lack_each_other_are_refused() {
    assert!(why(from_flags(&[("auth", "jwt")])).contains("--jwt-key-file FILE"));
    assert!(why(from_flags(&[("jwt-key-file", "k")])).contains("add --auth jwt"));
    assert!(why(from_flags(&[("auth", "proxy")])).contains("--trusted-proxy CIDR"));
    let both = [("auth", "jwt"), ("jwt-key-file", "k"), ("insecure-no-auth", "true")];
    assert!(why(from_flags(&both)).contains("contradicts --auth"));
    let same = [("auth", "proxy"), ("trusted-proxy", "10.0.0.7"), ("proxy-scope-header", "x-remote-user")];
    assert!(why(from_flags(&same)).contains("name another"));
    #[cfg(not(feature = "redis"))]
    assert!(why(from_flags(&[("redis", "redis://127.0.0.1"), ("db", "a.db")])).contains("this build has no Redis"));
}

#[test]
fn aliases_mean_something_to_the_default_languages() {
    let config = from_flags(&[("lang-alias", "xx=ja"), ("default-lang", "xx,jp,en-US")]).unwrap();
    let tags: Vec<String> = config.default_languages.iter().map(ToString::to_string).collect();
    assert_eq!(tags, ["ja", "ja", "en-US"]);
}

proptest! {
    #[test]
    fn whatever_is_set_is_taken_or_refused_by_its_name(
        setting in (0..SETTINGS.len()).prop_map(|index| &SETTINGS[index]),
        text in prop_oneof![".{0,40}", "[0-9a-z.:/,=*-]{0,40}", "[0-9]{1,20}(ms|s|h|d)?"],
    ) {
        if let Err(refused) = from_flags(&[(setting.name, &text)]) {
            prop_assert!(refused.0.contains(setting.name), "{}: {}", setting.name, refused);
        }
    }

    #[test]
    fn whatever_a_file_holds_is_taken_or_refused_by_its_name(
        text in prop_oneof![".{0,80}", "(queue|listen|auth|db|rate) ?= ?[0-9a-z\\[\\]\"',.{}]{0,40}\n?"],
    ) {
        if let Err(refused) = from_file(&text) {
            prop_assert!(refused.0.contains("hub.toml"), "{}", refused);
        }
    }
}

#[cfg(feature = "redis")]
#[test]
fn redis_without_a_database_is_an_edge_and_what_belongs_to_it_needs_redis() {
    let redis = ("redis", "redis://127.0.0.1");
    let config = from_flags(&[redis, ("db", "a.db"), ("on-redis-loss", "fence")]).unwrap();
    assert!(!config.is_edge());
    assert!(config.redis.is_some_and(|redis| redis.fence));
    assert!(from_flags(&[redis]).unwrap().is_edge());
    assert!(why(from_flags(&[redis, ("advertise", "http://a:1")])).contains("--db FILE"));
    assert!(why(from_flags(&[("db", "a.db"), ("advertise", "http://a:1")])).contains("add --redis URL"));
    assert!(why(from_flags(&[redis, ("db", "a.db"), ("advertise", "a:1")])).contains("http"));
    assert!(why(from_flags(&[("on-redis-loss", "fence")])).contains("add --redis URL"));
    assert!(why(from_flags(&[("redis-password-file", "p")])).contains("add --redis URL"));
    assert!(why(from_flags(&[("redis-ca-file", "p")])).contains("add --redis URL"));
    assert!(why(from_flags(&[("redis", "redis://:secret@cache"), ("db", "a.db")])).contains("--redis-password-file"));
}
