//! The pages and their files, embedded in the binary.

use std::{
    borrow::Cow,
    hash::{DefaultHasher, Hash, Hasher},
    time::SystemTime,
};

use warp::{
    Reply,
    http::{HeaderValue, StatusCode, header},
    reply::Response,
};

use super::{Api, Request};
use crate::auth::{Authority, Caller};

const HTML: &str = "text/html; charset=utf-8";
const YAML: &str = "application/yaml";
const SCRIPT: &str = "text/javascript; charset=utf-8";
const STYLE: &str = "text/css; charset=utf-8";
const TEXT: &str = "text/plain; charset=utf-8";

/// Where the page is told whose it is, and that there is somebody to be.
const WHOSE: &str = r#"name="alarm-hub-user" content="""#;

/// A file that is served as it is, the page at `/` apart, which is told who is signed in.
#[derive(Debug, PartialEq, Eq)]
pub struct File {
    path: &'static str,
    kind: &'static str,
    bytes: &'static [u8],
}

/// The file `$name` of the folder `dashboard`, served at `$path` (without its first slash) as `$kind`.
macro_rules! file {
    ($path:literal, $kind:expr, $name:literal) => {
        File { path: $path, kind: $kind, bytes: include_bytes!(concat!("../../dashboard/", $name)) }
    };
}

/// All of them, a line each.
static FILES: &[File] = &[
    file!("", HTML, "index.html"),
    file!("operator", HTML, "operator.html"),
    file!("assets/page.js", SCRIPT, "page.js"),
    file!("assets/page-words.js", SCRIPT, "page-words.js"),
    file!("assets/page.css", STYLE, "page.css"),
    file!("assets/icon.svg", "image/svg+xml", "icon.svg"),
    file!("assets/operator.js", SCRIPT, "operator.js"),
    file!("assets/operator-words.js", SCRIPT, "operator-words.js"),
    file!("assets/chart.js", SCRIPT, "chart.js"),
    file!("assets/metrics.js", SCRIPT, "metrics.js"),
    file!("assets/alarm-hub.js", SCRIPT, "alarm-hub.js"),
    file!("assets/alarm-client.js", SCRIPT, "alarm-client.js"),
    file!("assets/alarm-list.js", SCRIPT, "alarm-list.js"),
    file!("assets/alarm-model.js", SCRIPT, "alarm-model.js"),
    file!("assets/words.js", SCRIPT, "words.js"),
    file!("assets/alarm-hub.css", STYLE, "alarm-hub.css"),
    file!("assets/alarm-hub.d.ts", TEXT, "types/alarm-hub.d.ts"),
    file!("assets/alarm-client.d.ts", TEXT, "types/alarm-client.d.ts"),
    file!("assets/alarm-list.d.ts", TEXT, "types/alarm-list.d.ts"),
    file!("assets/types.d.ts", TEXT, "types/types.d.ts"),
    file!("assets/eventsource-parser.js", SCRIPT, "eventsource-parser.js"),
    file!("assets/eventsource-parser.LICENSE", TEXT, "eventsource-parser.LICENSE"),
    File { path: "openapi.yaml", kind: YAML, bytes: include_bytes!("openapi.yaml") },
];

impl File {
    /// The file at a path, without its first slash.
    pub fn find(path: &str) -> Option<&'static Self> {
        FILES.iter().find(|file| file.path == path)
    }
}

/// The same for the same bytes.
fn etag(bytes: &[u8]) -> String {
    let mut hasher = DefaultHasher::new();
    bytes.hash(&mut hasher);
    format!("\"{:016x}\"", hasher.finish())
}

/// The page with the signed-in user in it, where there is a sign-in. A page has no other way to learn it: the cookie
/// may be one that scripts cannot read.
fn told(api: &Api, page: &'static [u8], request: &Request) -> Cow<'static, [u8]> {
    if matches!(api.authority, Authority::Nobody) {
        return page.into();
    }
    let caller = api.authority.caller(&request.headers, request.remote, None, SystemTime::now());
    let user = match &caller {
        Ok(Caller::Known { user: Some(user), .. }) => attribute(user),
        _ => String::new(),
    };
    let whose = format!(r#"name="alarm-hub-user" data-auth content="{user}""#);
    String::from_utf8_lossy(page).replacen(WHOSE, &whose, 1).into_bytes().into()
}

/// As the value of an attribute in double quotes (WHATWG HTML §13.1.2.3).
fn attribute(text: &str) -> String {
    text.replace('&', "&amp;").replace('"', "&quot;").replace('<', "&lt;")
}

/// A file, or 304 to who has it already.
pub fn file(api: &Api, file: &'static File, request: &Request) -> Response {
    let bytes = if file.path.is_empty() { told(api, file.bytes, request) } else { file.bytes.into() };
    let etag = etag(&bytes);
    // A weak comparison (RFC 9110 §13.1.2): a proxy that compresses makes a strong tag weak.
    let known = |tag: &str| matches!(tag.trim().trim_start_matches("w/"), tag if tag == "*" || tag == etag);
    let unchanged = request.header("if-none-match").is_some_and(|tags| tags.split(',').any(known));
    let response =
        if unchanged { StatusCode::NOT_MODIFIED.into_response() } else { bytes.into_owned().into_response() };
    let mut response = headed(api, response, file.kind);
    response.headers_mut().insert(header::ETAG, text(etag));
    response
}

/// A page that is made on the spot.
pub fn html(api: &Api, page: String) -> Response {
    headed(api, page.into_response(), HTML)
}

/// The base path without its last slash: relative links would go astray from there.
pub fn moved(api: &Api, request: &Request) -> Response {
    let mark = if request.query.is_empty() { "" } else { "?" };
    let mut response = StatusCode::PERMANENT_REDIRECT.into_response();
    response.headers_mut().insert(header::LOCATION, text(format!("{}/{mark}{}", api.base, request.query)));
    response
}

fn headed(api: &Api, mut response: Response, kind: &'static str) -> Response {
    let headers = response.headers_mut();
    let policy = format!(
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
         base-uri 'none'; form-action 'none'; frame-ancestors {}",
        api.frame_ancestors
    );
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("private, no-cache"));
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.insert(header::CONTENT_SECURITY_POLICY, text(policy));
    response
}

/// A header of text that was checked when the settings were read, or of a query, which HTTP let through.
fn text(text: String) -> HeaderValue {
    HeaderValue::try_from(text).unwrap_or_else(|_| HeaderValue::from_static(""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_has_a_place_for_the_user_and_no_user_can_leave_it() {
        let page = String::from_utf8_lossy(File::find("").unwrap().bytes);
        assert_eq!(page.matches(WHOSE).count(), 1);
        assert_eq!(attribute(r#""><script>&amp;"#), "&quot;>&lt;script>&amp;amp;");
    }
}
