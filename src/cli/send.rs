//! `send`: one alarm, into the database or over HTTP.

use actors::{
    alarm::{NewAlarm, Refusal},
    language::Aliases,
};
use clap::Args;
use reqwest::{Method, Url};
use serde_json::{Map, Value};
use uuid::Uuid;

use super::{
    Database, Failure,
    client::{Client, HubAddress, address, no_answer},
    configure, print, serve, user,
};
use crate::store::{self, Make, Options};

/// What `send` is told.
#[derive(Args, Debug)]
#[command(after_help = "Example: alarm-hub send ko='예약에 성공했습니다!' en-US='Your reservation is made.'")]
pub struct Arguments {
    #[command(flatten)]
    database: Database,
    /// Send to the hub that runs there instead, as in http://127.0.0.1:5000
    #[arg(long, value_name = "URL", value_parser = address, conflicts_with = "db")]
    url: Option<Url>,
    /// With --url: a file that holds the token [env: ALARM_HUB_TOKEN_FILE]
    #[arg(long, value_name = "FILE", env = "ALARM_HUB_TOKEN_FILE", hide_env = true)]
    token_file: Option<std::path::PathBuf>,
    /// The only user it is for [default: everyone]
    #[arg(long, value_parser = user)]
    user: Option<String>,
    /// Its id [default: a new one]
    #[arg(long)]
    id: Option<String>,
    /// Its time as readers shall see it, as in '2023-12-01 11:10:04' [default: now]
    #[arg(long, value_name = "TEXT")]
    isn_dt: Option<String>,
    /// A language and the text in it, as in en-US='hello'
    #[arg(value_name = "LANG=TEXT", required = true)]
    messages: Vec<String>,
}

pub async fn run(arguments: Arguments) -> Result<(), Failure> {
    let id = arguments.id.unwrap_or_else(|| Uuid::now_v7().simple().to_string());
    if id.is_empty() {
        return Err(Failure::Usage("--id '': an id has at least one character; leave it out for a new one".to_owned()));
    }
    let (user, isn_dt) = (arguments.user, arguments.isn_dt);
    if let Some(url) = arguments.url {
        let messages = messages(&arguments.messages, &Aliases::default())?;
        let alarm = NewAlarm { id, user, isn_dt, messages };
        return over_http(HubAddress::new(url, arguments.token_file), &alarm).await;
    }
    let config = configure(arguments.database.into())?;
    let messages = messages(&arguments.messages, &config.aliases)?;
    let alarm = NewAlarm { id, user, isn_dt, messages };
    if !config.db.exists() {
        // Not even the unnamed one is made: in a wrong folder the alarm would be lost without a word.
        return Err(Failure::Failed(serve::missing(&config.db)));
    }
    let options = Options { path: config.db, make: Make::Table, aliases: config.aliases, retention: config.retention };
    store::send::send(options, &alarm).map_err(|refusal| Failure::Failed(refused(refusal)))?;
    print(&alarm.id)
}

/// Why the database did not take an alarm.
pub fn refused(refusal: Refusal) -> String {
    match refusal {
        Refusal::Conflict(why) | Refusal::Impossible(why) => why,
        Refusal::Failed(failure) => failure.cause,
        Refusal::NotFound | Refusal::Busy => "the database did not take the alarm".to_owned(),
    }
}

/// Reads `LANG=TEXT`; each language once.
fn messages(arguments: &[String], aliases: &Aliases) -> Result<Vec<(String, String)>, Failure> {
    let mut messages: Vec<(String, String)> = Vec::with_capacity(arguments.len());
    for argument in arguments {
        let wrong = |why: &str| Failure::Usage(format!("'{argument}': {why}"));
        let (lang, text) =
            argument.split_once('=').ok_or_else(|| wrong("it must be a language and a text, as in en-US='hello'"))?;
        if aliases.tag(lang).is_none() {
            return Err(wrong(&format!("'{lang}' is no language tag; a tag looks like ko or en-US")));
        }
        if messages.iter().any(|(other, _)| other == lang) {
            return Err(wrong("that language is there twice"));
        }
        messages.push((lang.to_owned(), text.to_owned()));
    }
    Ok(messages)
}

fn body(alarm: &NewAlarm) -> Value {
    let text = |text: &String| Value::String(text.clone());
    let messages: Map<String, Value> = alarm.messages.iter().map(|(lang, said)| (lang.clone(), text(said))).collect();
    let members = [
        ("id", Some(text(&alarm.id))),
        ("user_id", alarm.user.as_ref().map(text)),
        ("isn_dt", alarm.isn_dt.as_ref().map(text)),
        ("messages", Some(Value::Object(messages))),
    ];
    Value::Object(members.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect())
}

async fn over_http(hub: HubAddress, alarm: &NewAlarm) -> Result<(), Failure> {
    let client = Client::new(hub)?;
    let request = client.request(Method::POST, &["alarms"])?.json(&body(alarm));
    let answer: Value = client.answer(request).await?.json().await.map_err(|cause| no_answer(&cause))?;
    // The hub's word counts, not what was asked for.
    let id = answer.pointer("/ids/0").and_then(Value::as_str);
    print(id.ok_or_else(|| Failure::Failed("the answer names no id: is this the address of a hub?".to_owned()))?)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(arguments: &[&str]) -> Result<Vec<(String, String)>, Failure> {
        let arguments: Vec<String> = arguments.iter().map(|argument| (*argument).to_owned()).collect();
        messages(&arguments, &Aliases::default())
    }

    #[test]
    fn only_the_first_equals_sign_parts_language_and_text() {
        assert_eq!(
            read(&["en-US=1 = 1", "US-en="]).unwrap(),
            [("en-US".to_owned(), "1 = 1".to_owned()), ("US-en".to_owned(), String::new())]
        );
    }

    #[test]
    fn what_no_reader_could_be_given_is_refused() {
        for bad in [&["hello"][..], &["=hello"], &["english=hello"], &["ko=a", "ko=b"]] {
            assert!(matches!(read(bad), Err(Failure::Usage(_))), "{bad:?}");
        }
    }

    #[test]
    fn what_was_not_said_is_left_to_the_hub() {
        let alarm = NewAlarm { id: "7".to_owned(), user: None, isn_dt: None, messages: read(&["ko=안녕"]).unwrap() };
        assert_eq!(body(&alarm), json!({"id": "7", "messages": {"ko": "안녕"}}));
    }
}
