//! The command line: one small file a command. Exit code 0: done; 1: it could not be done; 2: it was asked for wrongly.

mod backup;
mod check;
mod client;
mod demo;
mod event_stream;
mod generate;
mod init;
mod manager;
mod send;
mod serve;
mod sessions;
mod settings;
mod tail;
mod token;

use std::{
    error::Error,
    ffi::OsString,
    io::{self, Write},
    path::PathBuf,
    process::ExitCode,
};

use clap::{Args, CommandFactory, Parser, Subcommand};

use crate::config::{Config, Flags, Refused, Sources};

/// Sends alarms from a SQLite table to browsers, each user in the language that user reads now
///
/// Any program INSERTs an alarm, one row a language; within milliseconds it is on the dashboard of every user it is
/// for. Without a command, and with `serve`, the hub runs. Settings come from flags, then from the environment
/// (ALARM_HUB_…), then from the file that --config names, then from the defaults shown below.
#[derive(Debug, Parser)]
#[command(name = "alarm-hub", version, max_term_width = 110, args_conflicts_with_subcommands = true)]
#[command(after_help = "Exit codes: 0 done, 1 it could not be done, 2 it was asked for wrongly.")]
struct CommandLine {
    #[command(subcommand)]
    command: Option<Verb>,
    #[command(flatten)]
    settings: Flags,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Run the hub; what happens without a command, too
    Serve(Flags),
    /// Make a database, or adopt an alarm table that is there already
    Init(init::Arguments),
    /// Send one alarm, in as many languages as you like; prints its id
    Send(send::Arguments),
    /// Follow a user's alarms in the terminal: one JSON object a line, over every loss of the connection
    Tail(tail::Arguments),
    /// Look for trouble: in the settings, the database, its language tags and its translations
    Check(Flags),
    /// Copy the database while everybody goes on; readers of a restored copy are told to fetch the list again
    Backup(backup::Arguments),
    /// Sign a token for --auth jwt; prints it
    Token(token::Arguments),
    /// Show who is connected
    Sessions(sessions::Arguments),
    /// End a user's connection; it does not come back by itself
    Kick(sessions::KickArguments),
    /// Show it at work: made-up alarms in ko, en-US and ja, in a database that is deleted at the end
    Demo(demo::Arguments),
    /// Print every setting and where it comes from, as a file that --config can read
    Config(Flags),
    /// Write man pages and completions for a package
    #[command(hide = true)]
    Generate(generate::Arguments),
}

/// Which database, for commands that need no other setting.
#[derive(Args, Debug)]
struct Database {
    /// The SQLite database [default: ./alarms.db] [env: ALARM_HUB_DB]
    #[arg(long, value_name = "FILE")]
    db: Option<String>,
    /// A TOML file with settings [env: ALARM_HUB_CONFIG]
    #[arg(long, value_name = "FILE", env = "ALARM_HUB_CONFIG", hide_env = true)]
    config: Option<PathBuf>,
}

impl From<Database> for Flags {
    fn from(database: Database) -> Self {
        Self::new(database.db.map(|db| ("db", db)), database.config)
    }
}

/// Why a command ends otherwise than well.
#[derive(Debug)]
enum Failure {
    /// What was asked for cannot be meant.
    Usage(String),
    /// It could not be done.
    Failed(String),
    /// It could not be done, and that has been told already.
    Told,
    /// Nobody reads the result any more, as after `| head`: that is no failure.
    Unread,
}

impl From<Refused> for Failure {
    fn from(refused: Refused) -> Self {
        Self::Usage(refused.0)
    }
}

impl From<Box<dyn Error + Send + Sync>> for Failure {
    fn from(error: Box<dyn Error + Send + Sync>) -> Self {
        Self::Failed(with_causes(&*error))
    }
}

/// An error with what it says its causes are, as far as they add something.
fn with_causes(error: &dyn Error) -> String {
    let mut said = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !said.contains(&more) {
            said = format!("{said}: {more}");
        }
        cause = error.source();
    }
    said
}

/// Reads the settings, and tells of those that look like a mistake.
fn configure(flags: Flags) -> Result<Config, Failure> {
    let sources = Sources::read(flags, std::env::vars_os())?;
    for warning in sources.warnings() {
        tell(&format!("warning: {warning}"));
    }
    Ok(Config::from_sources(&sources)?)
}

/// Prints a line for programs and persons who read the result.
fn print(line: &str) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    match writeln!(out, "{line}").and_then(|()| out.flush()) {
        Err(cause) if cause.kind() == io::ErrorKind::BrokenPipe => Err(Failure::Unread),
        Err(cause) => Err(Failure::Failed(format!("the result cannot be written: {cause}"))),
        Ok(()) => Ok(()),
    }
}

/// Tells a person something beside the result.
fn tell(line: &str) {
    let _ = writeln!(io::stderr(), "{line}"); // nobody listens: nothing else to be done
}

/// A user as the hub takes it: 1 to 128 characters, none of them a control character, not `.` or `..`.
fn user(text: &str) -> Result<String, String> {
    let fits = (1..=128).contains(&text.chars().count());
    if fits && !text.chars().any(char::is_control) && !matches!(text, "." | "..") {
        return Ok(text.to_owned());
    }
    Err("a user is 1 to 128 characters, no control characters, not . or ..".to_owned())
}

/// Text as a shell reads it back.
fn quoted(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._/:=@%+,".contains(&byte);
    if !text.is_empty() && text.bytes().all(plain) {
        return text.to_owned();
    }
    format!("'{}'", text.replace('\'', r"'\''"))
}

/// Does what the command line asks for.
pub async fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let line = match CommandLine::try_parse_from(arguments) {
        Ok(line) => line,
        Err(error) => {
            let _ = error.print(); // nobody listens: the exit code still tells
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
        }
    };
    let done = match line.command {
        None => serve::run(line.settings).await,
        Some(Verb::Serve(settings)) => serve::run(settings).await,
        Some(Verb::Init(arguments)) => init::run(arguments),
        Some(Verb::Send(arguments)) => send::run(arguments).await,
        Some(Verb::Tail(arguments)) => tail::run(arguments).await,
        Some(Verb::Check(settings)) => check::run(settings),
        Some(Verb::Backup(arguments)) => backup::run(arguments),
        Some(Verb::Token(arguments)) => token::run(arguments),
        Some(Verb::Sessions(arguments)) => sessions::run(arguments).await,
        Some(Verb::Kick(arguments)) => sessions::kick(arguments).await,
        Some(Verb::Demo(arguments)) => demo::run(arguments).await,
        Some(Verb::Config(settings)) => settings::run(settings),
        Some(Verb::Generate(arguments)) => generate::run(&arguments, CommandLine::command()),
    };
    match done {
        Ok(()) | Err(Failure::Unread) => ExitCode::SUCCESS,
        Err(Failure::Usage(why)) => {
            tell(&format!("error: {why}\n\nFor more information, try 'alarm-hub --help'."));
            ExitCode::from(2)
        }
        Err(Failure::Failed(why)) => {
            tell(&format!("error: {why}"));
            ExitCode::FAILURE
        }
        Err(Failure::Told) => ExitCode::FAILURE,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        CommandLine::command().debug_assert();
    }

    #[test]
    fn a_path_is_quoted_so_that_a_shell_reads_it_back() {
        assert_eq!(quoted("./alarms.db"), "./alarms.db");
        assert_eq!(quoted("my alarms' db"), r"'my alarms'\'' db'");
        assert_eq!(quoted(""), "''");
    }

    #[test]
    fn a_user_is_what_the_hub_takes_for_one() {
        for good in ["tiaz", "a/b", "가", "...", &"x".repeat(128)] {
            assert!(user(good).is_ok(), "{good}");
        }
        for bad in ["", ".", "..", "a\nb", "\u{7f}", &"x".repeat(129)] {
            assert!(user(bad).is_err(), "{bad:?}");
        }
    }
}
