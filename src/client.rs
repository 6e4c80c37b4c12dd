//! What asks another hub over HTTP.

use reqwest::{Client, ClientBuilder};

/// A client as `builder` says. A system that has no certificates of authorities, as in a container with nothing but
/// the binary, is no reason not to have one: only hubs with TLS are then strangers.
///
/// # Errors
/// Whatever else it cannot be made of.
pub fn build(builder: impl Fn() -> ClientBuilder) -> reqwest::Result<Client> {
    builder().build().or_else(|_| builder().tls_certs_only([]).build())
}
