//! `config`: every setting and where it comes from.

use super::{Failure, configure, print};
use crate::config::{Flags, Given, Kind, Setting};

pub fn run(flags: Flags) -> Result<(), Failure> {
    let config = configure(flags)?;
    lines(&config.said).iter().try_for_each(|line| print(line))
}

/// A TOML file that says the same again, with the source of each line as a comment. What nobody said stays unsaid in it:
/// to name the database would forbid to make it.
fn lines(said: &[(&'static Setting, Given)]) -> Vec<String> {
    let written: Vec<(String, String)> = said
        .iter()
        .map(|(setting, given)| match value(setting, given) {
            Some(value) if given.origin.is_named() => (format!("{} = {value}", setting.name), given.origin.to_string()),
            Some(value) => (format!("# {} = {value}", setting.name), given.origin.to_string()),
            None => (format!("# {} =", setting.name), "not set".to_owned()),
        })
        .collect();
    let width = written.iter().map(|(line, _)| line.chars().count()).max().unwrap_or(0);
    written.into_iter().map(|(line, origin)| format!("{line:<width$}  # {}", one_line(&origin))).collect()
}

fn value(setting: &Setting, given: &Given) -> Option<String> {
    let text = |value: &String| toml::Value::String(value.clone()).to_string();
    match setting.kind {
        _ if given.values.is_empty() => None,
        Kind::List => Some(format!("[{}]", given.values.iter().map(text).collect::<Vec<_>>().join(", "))),
        Kind::Text => given.values.first().map(text),
        // `1` and `0` are taken for a switch, but TOML wants the words.
        Kind::Switch => given.values.first().map(|value| matches!(&**value, "true" | "1").to_string()),
        Kind::Number => given.values.first().and_then(|value| value.parse::<u32>().ok()).map(|value| value.to_string()),
    }
}

fn one_line(text: &str) -> String {
    text.chars().map(|letter| if letter.is_control() { ' ' } else { letter }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, Sources};

    #[test]
    fn what_is_printed_can_be_read_back_and_says_the_same() {
        let flags = Flags::new(
            [
                ("db", "it's \"mine\"\\.db".to_owned()),
                ("listen", "127.0.0.1:1,[::1]:2".to_owned()),
                ("queue", "7".to_owned()),
                ("insecure-no-auth", "1".to_owned()),
            ],
            None,
        );
        let config = Config::from_sources(&Sources::new(flags, [], None).unwrap()).unwrap();
        let printed = lines(&config.said).join("\n");
        let sources = Sources::new(Flags::new([], Some("again.toml".into())), [], Some(&printed)).unwrap();
        let again = Config::from_sources(&sources).unwrap();
        assert_eq!((again.db, again.listen, again.queue), (config.db, config.listen, config.queue));
        assert_eq!(again.create, config.create);
        assert!(printed.contains("insecure-no-auth = true"), "{printed}");
        assert!(printed.lines().any(|line| line.starts_with("queue = 7 ") && line.ends_with("# flag")), "{printed}");
        assert!(printed.lines().any(|line| line.starts_with("# redis =") && line.ends_with("# not set")), "{printed}");
        assert!(printed.lines().any(|line| line.starts_with("# drain = ") && line.ends_with("# default")), "{printed}");
    }
}
