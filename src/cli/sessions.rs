//! `sessions` and `kick`: who is connected, and no longer.

use clap::Args;
use reqwest::{Method, StatusCode};
use serde_json::Value;

use super::{
    Failure,
    client::{Client, HubAddress, no_answer, refusal},
    print, user,
};

/// What `sessions` is told.
#[derive(Args, Debug)]
pub struct Arguments {
    /// Print one JSON object a line instead of a table
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    hub: HubAddress,
}

/// What `kick` is told.
#[derive(Args, Debug)]
pub struct KickArguments {
    /// Whose connection
    #[arg(value_parser = user)]
    user: String,
    #[command(flatten)]
    hub: HubAddress,
}

const COLUMNS: [&str; 9] =
    ["user", "conn", "languages", "since", "took_over", "delivered", "last_alarm_at", "queued", "cursor"];

pub async fn run(arguments: Arguments) -> Result<(), Failure> {
    let client = Client::new(arguments.hub)?;
    let answer = client.answer(client.request(Method::GET, &["sessions"])?).await?;
    let answer: Value = answer.json().await.map_err(|cause| no_answer(&cause))?;
    let sessions = answer.get("sessions").unwrap_or(&answer).as_array();
    let sessions = sessions
        .ok_or_else(|| Failure::Failed("the answer lists no sessions: is this the address of a hub?".into()))?;
    if arguments.json {
        return sessions.iter().try_for_each(|session| print(&session.to_string()));
    }
    table(sessions).iter().try_for_each(|line| print(line))
}

pub async fn kick(arguments: KickArguments) -> Result<(), Failure> {
    let client = Client::new(arguments.hub)?;
    let request = client.request(Method::DELETE, &["sessions", &arguments.user])?;
    let response = request.send().await.map_err(|cause| no_answer(&cause))?;
    match response.status() {
        StatusCode::NOT_FOUND => Err(Failure::Failed(format!("{} is not connected", arguments.user))),
        status if status.is_success() => print(&format!("the connection of {} was ended", arguments.user)),
        _ => Err(Failure::Failed(refusal(response).await)),
    }
}

/// A heading and a line a session, aligned; numbers to the right.
fn table(sessions: &[Value]) -> Vec<String> {
    let cell = |session: &Value, column: &str| match session.get(column) {
        None | Some(Value::Null) => "-".to_owned(),
        Some(Value::String(text)) => text.clone(),
        Some(Value::Array(texts)) => texts.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(","),
        Some(Value::Bool(is)) => if *is { "yes" } else { "no" }.to_owned(),
        Some(other) => other.to_string(),
    };
    let heading = COLUMNS.map(|column| column.replace('_', "-").to_ascii_uppercase());
    let rows = sessions.iter().map(|session| COLUMNS.map(|column| cell(session, column)));
    let rows: Vec<[String; COLUMNS.len()]> = std::iter::once(heading).chain(rows).collect();
    let width = |index: usize| rows.iter().map(|row| row[index].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..COLUMNS.len()).map(width).collect();
    let line = |row: &[String; COLUMNS.len()]| {
        let cells = row.iter().zip(&widths).zip(COLUMNS).map(|((cell, width), column)| match column {
            "delivered" | "queued" => format!("{cell:>width$}"),
            _ => format!("{cell:<width$}"),
        });
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    rows.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_table_is_aligned_and_what_is_not_told_is_a_dash() {
        let sessions = [
            json!({"user": "tiaz", "conn": "ab", "languages": ["ko-KR", "ko"], "since": "2026-01-01T00:00:00Z",
                   "took_over": true, "delivered": 1200, "last_alarm_at": null, "cursor": "0a.5", "queued": 0}),
            json!({"user": "b", "conn": "cd", "languages": [], "took_over": false, "delivered": 7, "queued": 12}),
        ];
        assert_eq!(
            table(&sessions),
            [
                "USER  CONN  LANGUAGES  SINCE                 TOOK-OVER  DELIVERED  LAST-ALARM-AT  QUEUED  CURSOR",
                "tiaz  ab    ko-KR,ko   2026-01-01T00:00:00Z  yes             1200  -                   0  0a.5",
                "b     cd               -                     no                 7  -                  12  -",
            ]
        );
    }
}
