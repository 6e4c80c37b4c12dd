//! Who is asking, and what that one may do. Pure: headers, an address and the clock in, a caller out.

pub mod key;

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use aws_lc_rs::digest;
use hyper::{HeaderMap, header};
use ipnet::IpNet;
use jsonwebtoken::{Validation, decode};
use serde::Deserialize;
use tracing::debug;

use crate::config;
use key::{Key, KeyError};

/// The cookie that may hold a token.
const COOKIE: &str = "alarm_hub_token";

/// How far the clock of whoever signs tokens may be ahead. Their end is exact.
const CLOCK_AHEAD: f64 = 5.0;

/// What a caller may do besides reading its own alarms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Write alarms.
    Publish,
    /// See who is connected, and end connections.
    Sessions,
    /// Read the metrics.
    Metrics,
}

impl Scope {
    /// As it is written in a token.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Publish => "publish",
            Self::Sessions => "sessions",
            Self::Metrics => "metrics",
        }
    }

    /// Those in a list separated by spaces (RFC 6749 §3.3); what is not known is skipped.
    fn list(text: &str) -> Vec<Self> {
        text.split_ascii_whitespace().filter_map(Self::named).collect()
    }

    /// The one of that name.
    pub fn named(word: &str) -> Option<Self> {
        [Self::Publish, Self::Sessions, Self::Metrics].into_iter().find(|scope| scope.as_str() == word)
    }
}

/// What a call needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Need {
    /// Nothing: it is open.
    Nothing,
    /// To be this user.
    User(Arc<str>),
    /// A scope.
    Scope(Scope),
}

/// Who is asking.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Caller {
    /// Nobody wants to know: it may do everything.
    Anyone,
    /// Somebody who is vouched for.
    Known {
        /// Which user, if it is one.
        user: Option<Arc<str>>,
        /// What it may do besides.
        scopes: Vec<Scope>,
        /// Until when.
        expires: Option<SystemTime>,
        /// A browser told it by itself (a cookie), whatever page made it ask.
        ambient: bool,
    },
    /// Whoever holds this ticket, by its digest; what it opens has still to be looked up.
    Ticket([u8; 32]),
}

/// Why somebody may not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Denied {
    /// Nobody vouches for the caller; whether it said anything about itself.
    Unknown {
        /// What it said does not hold.
        said: bool,
    },
    /// It is another user.
    OtherUser,
    /// It lacks this scope.
    Scope(Scope),
}

impl Caller {
    /// Whether that is enough.
    ///
    /// # Errors
    /// What is missing.
    pub fn may(&self, need: &Need) -> Result<(), Denied> {
        match (self, need) {
            (_, Need::Nothing) | (Self::Anyone, _) => Ok(()),
            (Self::Known { user: Some(own), .. }, Need::User(user)) if own == user => Ok(()),
            (Self::Known { .. }, Need::User(_)) => Err(Denied::OtherUser),
            (Self::Known { scopes, .. }, Need::Scope(scope)) if scopes.contains(scope) => Ok(()),
            (Self::Known { .. }, Need::Scope(scope)) => Err(Denied::Scope(*scope)),
            (Self::Ticket(_), _) => Err(Denied::Unknown { said: true }),
        }
    }
}

/// Who says who is asking.
#[derive(Clone, Debug)]
pub enum Authority {
    /// Nobody.
    Nobody,
    /// Whoever has this key.
    Key(Arc<Key>),
    /// A proxy.
    Proxy {
        /// Its addresses.
        from: Vec<IpNet>,
        /// The header that names the user.
        user: String,
        /// The header that lists the scopes.
        scopes: String,
    },
}

impl Authority {
    /// As it is set.
    ///
    /// # Errors
    /// A key file that cannot be used.
    pub fn new(config: &config::Config) -> Result<Self, KeyError> {
        Ok(match &config.auth {
            config::Auth::None => Self::Nobody,
            config::Auth::Jwt { key_file } => Self::Key(Arc::new(Key::read(key_file)?)),
            config::Auth::Proxy { user_header, scope_header } => Self::Proxy {
                from: config.trusted_proxies.clone(),
                user: user_header.clone(),
                scopes: scope_header.clone(),
            },
        })
    }

    /// How to make oneself known (RFC 9110 §11.6.1).
    pub fn challenge(&self) -> &'static str {
        match self {
            Self::Nobody | Self::Key(_) => "Bearer realm=\"alarm-hub\"",
            Self::Proxy { .. } => "Proxy realm=\"alarm-hub\"",
        }
    }

    /// Who sent this. `ticket` is what the query says, for a call that takes one.
    ///
    /// # Errors
    /// [`Denied::Unknown`].
    pub fn caller(
        &self,
        headers: &HeaderMap,
        from: Option<SocketAddr>,
        ticket: Option<&str>,
        now: SystemTime,
    ) -> Result<Caller, Denied> {
        match self {
            Self::Nobody => Ok(Caller::Anyone),
            Self::Key(key) => {
                let (token, ambient) = match (bearer(headers)?, ticket) {
                    (Some(token), _) => (token, false),
                    (None, Some(ticket)) => return Ok(Caller::Ticket(digest_of(ticket))),
                    (None, None) => (cookie(headers).ok_or(Denied::Unknown { said: false })?, true),
                };
                let caller = verify(key, token, now).map(|known| Caller::Known {
                    user: known.user,
                    scopes: known.scopes,
                    expires: known.expires,
                    ambient,
                });
                caller.map_err(|why| {
                    debug!(why, "a token is refused");
                    Denied::Unknown { said: true }
                })
            }
            Self::Proxy { from: proxies, user, scopes } => {
                let address = from.map(|from| from.ip().to_canonical());
                if !address.is_some_and(|address| contains(proxies, address)) {
                    debug!(?address, "not from a trusted proxy");
                    return Err(Denied::Unknown { said: false });
                }
                let (user, scopes) = (only(headers, user)?, only(headers, scopes)?);
                match (user, scopes, ticket) {
                    (None, None, Some(ticket)) => Ok(Caller::Ticket(digest_of(ticket))),
                    (None, None, None) => Err(Denied::Unknown { said: false }),
                    (user, scopes, _) => Ok(Caller::Known {
                        user: user.map(Into::into),
                        scopes: Scope::list(scopes.unwrap_or_default()),
                        expires: None,
                        ambient: false,
                    }),
                }
            }
        }
    }
}

fn contains(networks: &[IpNet], address: IpAddr) -> bool {
    networks.iter().any(|network| network.contains(&address))
}

/// The value of a header that must not be there twice: one of the two would be somebody else's.
fn only<'a>(headers: &'a HeaderMap, name: &str) -> Result<Option<&'a str>, Denied> {
    let mut lines = headers.get_all(name).iter();
    let (first, second) = (lines.next(), lines.next());
    let Some(value) = first else { return Ok(None) };
    let text = std::str::from_utf8(value.as_bytes()).map(str::trim);
    match text {
        Ok(text) if second.is_none() => Ok((!text.is_empty()).then_some(text)),
        _ => Err(Denied::Unknown { said: true }),
    }
}

/// The token of the header (RFC 6750 §2.1); another scheme's credentials are not meant for the hub.
fn bearer(headers: &HeaderMap) -> Result<Option<&str>, Denied> {
    let Some(value) = only(headers, header::AUTHORIZATION.as_str())? else { return Ok(None) };
    let (scheme, token) = value.split_once(' ').unwrap_or((value, ""));
    Ok(scheme.eq_ignore_ascii_case("bearer").then(|| token.trim()))
}

fn cookie(headers: &HeaderMap) -> Option<&str> {
    let lines = headers.get_all(header::COOKIE).iter().filter_map(|line| line.to_str().ok());
    let mut pairs = lines.flat_map(|line| line.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs.find(|(name, _)| *name == COOKIE).map(|(_, token)| token.trim_matches('"'))
}

/// What is kept of a ticket: who reads the database cannot use it.
pub fn digest_of(ticket: &str) -> [u8; 32] {
    let digest = digest::digest(&digest::SHA256, ticket.as_bytes());
    let mut bytes = [0; 32];
    bytes.copy_from_slice(digest.as_ref());
    bytes
}

/// The claims of a token that matter (RFC 7519 §4.1; `scope` as RFC 8693 §4.2).
#[derive(Deserialize)]
struct Claims {
    sub: Option<Arc<str>>,
    exp: f64,
    nbf: Option<f64>,
    #[serde(default)]
    scope: String,
}

struct Verified {
    user: Option<Arc<str>>,
    scopes: Vec<Scope>,
    expires: Option<SystemTime>,
}

/// What a token says, if it holds; otherwise why not, in words that show nothing of it.
fn verify(key: &Key, token: &str, now: SystemTime) -> Result<Verified, &'static str> {
    let mut validation = Validation::new(key.algorithm());
    // Who may use a token is told by its `sub`. The clock is looked at below, so that a stream ends when the token does.
    validation.validate_aud = false;
    validation.validate_exp = false;
    validation.required_spec_claims.clear();
    let token = decode::<Claims>(token, key.verifying(), &validation).map_err(|error| match error.kind() {
        jsonwebtoken::errors::ErrorKind::InvalidAlgorithm => "its algorithm is not the key's",
        jsonwebtoken::errors::ErrorKind::InvalidSignature => "its signature is not the key's",
        _ => "it is no token, or its claims are not as they should be",
    })?;
    if token.header.crit.is_some() {
        return Err("it asks for an extension"); // RFC 7515 §4.1.11: what is not understood is refused
    }
    let seconds = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
    let Claims { sub, exp, nbf, scope } = token.claims;
    if exp <= seconds {
        return Err("it has expired");
    }
    if nbf.is_some_and(|nbf| nbf > seconds + CLOCK_AHEAD) {
        return Err("it does not hold yet");
    }
    let expires = Duration::try_from_secs_f64(exp).ok().and_then(|exp| UNIX_EPOCH.checked_add(exp));
    Ok(Verified { user: sub, scopes: Scope::list(&scope), expires: Some(expires.ok_or("its end cannot be told")?) })
}
