//! Where settings come from: flags, then the environment, then a file, then the defaults.

use std::{collections::BTreeMap, ffi::OsString, fmt, path::PathBuf};

use clap::{Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches, value_parser};
use toml::{Table, Value};

use super::{
    Refused,
    setting::{Kind, PREFIX, SETTINGS, Setting, did_you_mean, variable},
};

/// Where a value came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The command line.
    Flag,
    /// The environment.
    Environment,
    /// This file.
    File(PathBuf),
    /// Nobody said anything.
    Default,
}

impl Origin {
    /// Whether somebody said it, as against the default.
    pub fn is_named(&self) -> bool {
        *self != Self::Default
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag => f.write_str("flag"),
            Self::Environment => f.write_str("environment"),
            Self::File(path) => path.display().fmt(f),
            Self::Default => f.write_str("default"),
        }
    }
}

/// What somebody said a setting shall be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Given {
    /// As it was written; exactly one unless the setting is a list.
    pub values: Vec<String>,
    /// By whom.
    pub origin: Origin,
}

/// Environment variables that are no settings but belong to commands.
const OTHER_VARIABLES: [&str; 3] = ["config", "url", "token-file"];

/// The settings on the command line, and which file holds more of them.
#[derive(Clone, Debug, Default)]
pub struct Flags {
    values: BTreeMap<&'static str, Vec<String>>,
    config: Option<PathBuf>,
}

impl Flags {
    /// These flags and no others, for a command that has only some of the settings and for tests.
    pub fn new(values: impl IntoIterator<Item = (&'static str, String)>, config: Option<PathBuf>) -> Self {
        let mut flags = Self { values: BTreeMap::new(), config };
        for (name, value) in values {
            flags.values.entry(name).or_default().push(value);
        }
        flags
    }
}

fn argument(setting: &'static Setting) -> Arg {
    let mut ends = vec![];
    if setting.kind == Kind::List {
        ends.push("may be repeated".to_owned());
    }
    if !setting.default.is_empty() && setting.kind != Kind::Switch {
        ends.push(format!("default: {}", setting.default));
    }
    ends.push(format!("env: {}", setting.variable()));
    let help = ends.iter().fold(setting.help.to_owned(), |help, end| format!("{help} [{end}]"));
    let argument = Arg::new(setting.name)
        .long(setting.name)
        .value_name(setting.value)
        .help_heading(setting.heading)
        .help(help)
        .value_parser(value_parser!(String));
    match setting.kind {
        Kind::List => argument.action(ArgAction::Append),
        Kind::Switch => argument.num_args(0..=1).require_equals(true).default_missing_value("true"),
        Kind::Text | Kind::Number => argument,
    }
}

impl Args for Flags {
    fn augment_args(command: Command) -> Command {
        let file = Arg::new("config")
            .long("config")
            .value_name("FILE")
            .value_parser(value_parser!(PathBuf))
            .env(variable("config"))
            .hide_env(true)
            .help(format!("A TOML file with any of the settings below [env: {}]", variable("config")));
        SETTINGS.iter().fold(command.arg(file), |command, setting| command.arg(argument(setting)))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for Flags {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let given = SETTINGS.iter().filter_map(|setting| {
            let values = matches.get_many::<String>(setting.name)?;
            Some((setting.name, values.cloned().collect()))
        });
        Ok(Self { values: given.collect(), config: matches.get_one::<PathBuf>("config").cloned() })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

/// All that was said, layer by layer.
#[derive(Debug)]
pub struct Sources {
    flags: Flags,
    environment: BTreeMap<String, String>,
    file: Option<(PathBuf, Table)>,
}

impl Sources {
    /// Reads the file that the flags name, if they name one.
    ///
    /// # Errors
    /// If the file cannot be read, or as [`Sources::new`].
    pub fn read(flags: Flags, environment: impl IntoIterator<Item = (OsString, OsString)>) -> Result<Self, Refused> {
        let file = match &flags.config {
            None => None,
            Some(path) => {
                let text = std::fs::read_to_string(path);
                Some(text.map_err(|cause| Refused(format!("--config {}: {cause}", path.display())))?)
            }
        };
        Self::new(flags, environment, file.as_deref())
    }

    /// `file` is the text of the file that the flags name.
    ///
    /// # Errors
    /// Text that is not TOML, keys that are no settings, and a variable of the hub that is not UTF-8.
    pub fn new(
        flags: Flags,
        environment: impl IntoIterator<Item = (OsString, OsString)>,
        file: Option<&str>,
    ) -> Result<Self, Refused> {
        let mut variables = BTreeMap::new();
        for (name, value) in environment {
            let Some(name) = name.to_str().filter(|name| name.starts_with(PREFIX)) else { continue };
            let value = value.into_string().map_err(|_| Refused(format!("{name}: it must be UTF-8")))?;
            variables.insert(name.to_owned(), value);
        }
        let file = match (&flags.config, file) {
            (Some(path), Some(text)) => Some((path.clone(), read_table(&path.display().to_string(), text)?)),
            _ => None,
        };
        Ok(Self { flags, environment: variables, file })
    }

    /// What was said about a setting, by whoever has the last word.
    ///
    /// # Errors
    /// A value of a kind that no setting has, as a date or a table.
    pub fn given(&self, setting: &Setting) -> Result<Option<Given>, Refused> {
        if let Some(values) = self.flags.values.get(setting.name) {
            let values = values.iter().flat_map(|value| split(setting, value)).collect();
            return Ok(Some(Given { values, origin: Origin::Flag }));
        }
        if let Some(value) = self.environment.get(&setting.variable()) {
            return Ok(Some(Given { values: split(setting, value), origin: Origin::Environment }));
        }
        match self.file.as_ref().and_then(|(path, table)| Some((path, table.get(setting.name)?))) {
            None => Ok(None),
            Some((path, value)) => {
                let values = spelt(setting, value)
                    .map_err(|why| Refused(format!("{} = {value} in {}: {why}", setting.name, path.display())))?;
                Ok(Some(Given { values, origin: Origin::File(path.clone()) }))
            }
        }
    }

    /// What looks like a mistake but stops nothing: variables with the hub's prefix that mean nothing.
    pub fn warnings(&self) -> Vec<String> {
        let known: Vec<String> =
            SETTINGS.iter().map(|setting| setting.name).chain(OTHER_VARIABLES).map(variable).collect();
        let unknown = self.environment.keys().filter(|name| !known.contains(name));
        let hint = |name: &str| did_you_mean(name, known.iter().map(String::as_str));
        unknown.map(|name| format!("the variable {name} means nothing to alarm-hub{}", hint(name))).collect()
    }
}

/// The values of a list may come in one text, joined by commas; none of the lists has values with a comma inside.
fn split(setting: &Setting, text: &str) -> Vec<String> {
    match setting.kind {
        Kind::List => text.split(',').map(|value| value.trim().to_owned()).collect(),
        _ => vec![text.to_owned()],
    }
}

fn read_table(path: &str, text: &str) -> Result<Table, Refused> {
    let table: Table = text.parse().map_err(|cause| Refused(format!("{path} is not TOML: {cause}")))?;
    let unknown = table.keys().filter(|key| Setting::named(key).is_none());
    let named: Vec<String> = unknown
        .map(|key| {
            let hint = did_you_mean(key, SETTINGS.iter().map(|setting| setting.name));
            format!("{path}: there is no setting '{key}'{hint}")
        })
        .collect();
    if named.is_empty() { Ok(table) } else { Err(Refused(named.join("\n"))) }
}

/// A value of a file as somebody would have written it on the command line.
fn spelt(setting: &Setting, value: &Value) -> Result<Vec<String>, String> {
    match (setting.kind, value) {
        (Kind::Text, Value::String(text)) => Ok(vec![text.clone()]),
        (Kind::Text, _) => Err(format!("it must be a text in quotes, as in \"{}\"", example(setting))),
        (Kind::Number, Value::Integer(number)) => Ok(vec![number.to_string()]),
        (Kind::Number, _) => Err(format!("it must be a number without quotes, as in {}", example(setting))),
        (Kind::Switch, Value::Boolean(switch)) => Ok(vec![switch.to_string()]),
        (Kind::Switch, _) => Err("it must be true or false, without quotes".to_owned()),
        (Kind::List, Value::String(text)) => Ok(split(setting, text)),
        (Kind::List, Value::Array(values)) => {
            let texts = values.iter().map(|value| value.as_str().map(str::to_owned));
            texts.collect::<Option<_>>().ok_or_else(|| "it must be an array of texts in quotes".to_owned())
        }
        (Kind::List, _) => Err("it must be an array of texts in quotes".to_owned()),
    }
}

fn example(setting: &Setting) -> &str {
    if setting.default.is_empty() { setting.value } else { setting.default }
}
