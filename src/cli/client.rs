//! Asking a hub over HTTP.

use std::{error::Error, net::IpAddr, path::PathBuf, time::Duration};

use clap::Args;
use reqwest::{Method, RequestBuilder, Response, StatusCode, Url, header::CONTENT_TYPE};
use serde_json::Value;

use super::{Failure, with_causes};
use crate::client;

/// How long making a connection may take.
const CONNECT: Duration = Duration::from_secs(10);

/// How long a request that is not a stream may take in all.
const REQUEST: Duration = Duration::from_secs(30);

/// Which hub, and by what right.
#[derive(Args, Clone, Debug)]
pub struct HubAddress {
    /// The hub, with its base path if it has one [default: http://127.0.0.1:5000] [env: ALARM_HUB_URL]
    #[arg(long, value_name = "URL", env = "ALARM_HUB_URL", hide_env = true, value_parser = address)]
    url: Option<Url>,
    /// A file that holds the token, for a hub with --auth jwt [env: ALARM_HUB_TOKEN_FILE]
    #[arg(long, value_name = "FILE", env = "ALARM_HUB_TOKEN_FILE", hide_env = true)]
    token_file: Option<PathBuf>,
}

impl HubAddress {
    /// This hub.
    pub fn new(url: Url, token_file: Option<PathBuf>) -> Self {
        Self { url: Some(url), token_file }
    }
}

/// A URL that a hub can have.
pub fn address(text: &str) -> Result<Url, String> {
    let wants = || "it must be the address of a hub, as in http://127.0.0.1:5000".to_owned();
    let url = Url::parse(text).map_err(|_| wants())?;
    let fits = matches!(url.scheme(), "http" | "https") && url.query().is_none() && url.fragment().is_none();
    if fits { Ok(url) } else { Err(wants()) }
}

/// Talks to one hub.
pub struct Client {
    base: Url,
    token_file: Option<PathBuf>,
    http: reqwest::Client,
}

impl Client {
    /// Prepares; nothing is asked yet.
    pub fn new(hub: HubAddress) -> Result<Self, Failure> {
        let base = match hub.url {
            Some(url) => url,
            None => address("http://127.0.0.1:5000").map_err(Failure::Usage)?,
        };
        // A company's proxy is never the way to this machine itself.
        let host = base.host_str().unwrap_or_default().trim_matches(['[', ']']);
        let here = host == "localhost" || host.parse().is_ok_and(|address: IpAddr| address.is_loopback());
        let builder = || {
            let agent = concat!("alarm-hub/", env!("CARGO_PKG_VERSION"));
            let builder = reqwest::Client::builder().connect_timeout(CONNECT).user_agent(agent);
            if here { builder.no_proxy() } else { builder }
        };
        let http = client::build(builder).map_err(|cause| no_answer(&cause))?;
        Ok(Self { base, token_file: hub.token_file, http })
    }

    /// The address of a resource; each segment is encoded, so that `a/b` stays one.
    pub fn url(&self, segments: &[&str]) -> Url {
        let mut url = self.base.clone();
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty().extend(segments);
        }
        url
    }

    /// A request with the token, which is read anew each time because it may have been renewed.
    pub fn request_to(&self, method: Method, url: Url) -> Result<RequestBuilder, Failure> {
        let request = self.http.request(method, url);
        let Some(path) = &self.token_file else { return Ok(request) };
        let token = std::fs::read_to_string(path)
            .map_err(|cause| Failure::Failed(format!("the token file {}: {cause}", path.display())))?;
        Ok(request.bearer_auth(token.trim()))
    }

    /// As [`Client::request_to`], for a request that is not a stream.
    pub fn request(&self, method: Method, segments: &[&str]) -> Result<RequestBuilder, Failure> {
        Ok(self.request_to(method, self.url(segments))?.timeout(REQUEST))
    }

    /// Sends a request and takes only success for an answer.
    pub async fn answer(&self, request: RequestBuilder) -> Result<Response, Failure> {
        let response = request.send().await.map_err(|cause| no_answer(&cause))?;
        if response.status().is_success() {
            return Ok(response);
        }
        let refused = refusal(response).await;
        Err(Failure::Failed(refused))
    }
}

/// The hub did not answer.
pub fn no_answer(cause: &reqwest::Error) -> Failure {
    Failure::Failed(unanswered(cause))
}

/// Why a hub did not answer.
pub fn unanswered(cause: &reqwest::Error) -> String {
    let mut said = match cause.url() {
        // The last cause is the one that says something; those above it are reqwest's and hyper's own affairs.
        Some(url) if cause.is_connect() => {
            format!("no hub answers at {}: {}", url.origin().ascii_serialization(), last(cause))
        }
        _ => with_causes(cause),
    };
    if said.contains("invalid peer certificate") {
        said.push_str(
            "; an authority that this system does not know is named by SSL_CERT_FILE=FILE, its certificate in PEM",
        );
    }
    said
}

fn last(error: &dyn Error) -> String {
    error.source().map_or_else(|| error.to_string(), last)
}

/// What a refusal says: the `detail` of a problem (RFC 9457 §3.1.4), or as much as there is.
pub async fn refusal(response: Response) -> String {
    let status = response.status();
    let is_problem = response
        .headers()
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .is_some_and(|value| value.starts_with("application/problem+json"));
    let body = match response.bytes().await {
        Ok(body) if is_problem => body,
        _ => return spoken(status, None),
    };
    spoken(status, serde_json::from_slice(&body).ok().as_ref())
}

fn spoken(status: StatusCode, problem: Option<&Value>) -> String {
    let member = |name| problem?.get(name)?.as_str();
    match member("detail").or_else(|| member("title")) {
        // What comes from afar may not steer the terminal.
        Some(detail) => {
            let plain = detail.chars().map(|letter| if letter.is_control() { ' ' } else { letter });
            format!("the hub answered {}: {}", status.as_u16(), plain.collect::<String>())
        }
        None => format!("the answer was {status}, from something that may be no hub"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn client(base: &str) -> Client {
        Client::new(HubAddress::new(address(base).unwrap(), None)).unwrap()
    }

    #[test]
    fn a_user_with_a_slash_stays_one_segment_below_the_base_path() {
        let url = client("http://127.0.0.1:5000/alarms/").url(&["connection", "a/b 가%"]);
        assert_eq!(url.as_str(), "http://127.0.0.1:5000/alarms/connection/a%2Fb%20%EA%B0%80%25");
        assert_eq!(client("http://h").url(&["sessions"]).as_str(), "http://h/sessions");
    }

    #[test]
    fn only_http_is_the_address_of_a_hub() {
        for bad in ["127.0.0.1:5000", "redis://h", "http://h/?user=tiaz", "http://h/#x", ""] {
            assert!(address(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_refusal_says_its_detail_and_cannot_steer_the_terminal() {
        let problem = json!({"title": "Forbidden", "detail": "not\u{1b}[2Jyours"});
        assert_eq!(spoken(StatusCode::FORBIDDEN, Some(&problem)), "the hub answered 403: not [2Jyours");
        assert!(spoken(StatusCode::BAD_GATEWAY, None).contains("may be no hub"));
    }
}
