//! `token`: a token for `--auth jwt`, signed with a key at hand.

use std::{
    path::PathBuf,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use clap::Args;
use jsonwebtoken::{Header, encode};
use serde::Serialize;

use super::{Failure, print, user};
use crate::{
    auth::{Scope, key::Key},
    config::value,
};

/// What `token` is told.
#[derive(Args, Debug)]
pub struct Arguments {
    /// Whom it lets in
    #[arg(long, value_parser = user)]
    user: String,
    /// The key to sign with: at least 32 raw bytes (HS256), or a private PEM key of RSA, P-256 or Ed25519
    #[arg(long, value_name = "FILE")]
    key_file: PathBuf,
    /// What it allows besides the user's own stream and history: publish, sessions, metrics [may be repeated]
    #[arg(long, value_parser = scopes)]
    scope: Vec<String>,
    /// How long it holds (1s to 3650d)
    #[arg(long, value_name = "DURATION", default_value = "1h", value_parser = time_to_live)]
    ttl: Duration,
}

fn time_to_live(text: &str) -> Result<Duration, String> {
    value::duration(text, Duration::from_secs(1)..=Duration::from_secs(3_650 * 86_400))
}

/// One scope, or several as a token lists them; a comma is as good as a space.
fn scopes(text: &str) -> Result<String, String> {
    let list = text.replace(',', " ");
    match list.split_whitespace().find(|word| Scope::named(word).is_none()) {
        Some(word) => Err(format!("'{word}' is no scope; there are publish, sessions, metrics")),
        None => Ok(list.split_whitespace().collect::<Vec<_>>().join(" ")),
    }
}

/// The claims of a token (RFC 7519 §4.1; `scope` as RFC 8693 §4.2).
#[derive(Debug, Serialize)]
struct Claims {
    sub: String,
    iat: u64,
    exp: u64,
    #[serde(skip_serializing_if = "String::is_empty")]
    scope: String,
}

pub fn run(arguments: Arguments) -> Result<(), Failure> {
    let key = Key::read(&arguments.key_file).map_err(|cause| Failure::Failed(cause.to_string()))?;
    let path = arguments.key_file.display();
    let signing = key.signing().ok_or_else(|| {
        Failure::Failed(format!("the key file {path} is a public key: only the private one of the pair can sign"))
    })?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let claims =
        Claims { sub: arguments.user, iat: now, exp: now + arguments.ttl.as_secs(), scope: arguments.scope.join(" ") };
    let token = encode(&Header::new(key.algorithm()), &claims, signing);
    print(&token.map_err(|cause| Failure::Failed(format!("the key file {path} cannot sign: {cause}")))?)
}
