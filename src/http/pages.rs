//! The pages and their files, embedded in the binary.

use std::hash::{DefaultHasher, Hash, Hasher};

use warp::{
    Reply,
    http::{HeaderValue, StatusCode, header},
    reply::Response,
};

use super::{Api, Request};

const HTML: &str = "text/html; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";

/// A file that is served as it is.
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
static FILES: &[File] = &[file!("", HTML, "index.html"), file!("assets/page.js", SCRIPT, "page.js")];

impl File {
    /// The file at a path, without its first slash.
    pub fn find(path: &str) -> Option<&'static Self> {
        FILES.iter().find(|file| file.path == path)
    }

    /// The same for the same bytes.
    fn etag(&self) -> String {
        let mut hasher = DefaultHasher::new();
        self.bytes.hash(&mut hasher);
        format!("\"{:016x}\"", hasher.finish())
    }
}

/// A file, or 304 to who has it already.
pub fn file(api: &Api, file: &'static File, request: &Request) -> Response {
    let etag = file.etag();
    // A weak comparison (RFC 9110 §13.1.2); a proxy that compresses makes a strong tag weak.
    let known = |list: &str| {
        list.split(',').any(|tag| {
            matches!(tag.trim().trim_start_matches("w/"), "*") || tag.trim().trim_start_matches("w/") == etag
        })
    };
    let unchanged = request.header("if-none-match").is_some_and(|list| known(&list));
    let mut response = if unchanged { StatusCode::NOT_MODIFIED.into_response() } else { file.bytes.into_response() };
    let headers = response.headers_mut();
    let policy = format!(
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
         base-uri 'none'; form-action 'none'; frame-ancestors {}",
        api.frame_ancestors
    );
    let text =
        |text: &str| HeaderValue::from_str(text).unwrap_or_else(|_| HeaderValue::from_static("default-src 'none'"));
    headers.insert(header::ETAG, text(&etag));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(file.kind));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.insert(header::CONTENT_SECURITY_POLICY, text(&policy));
    response
}
