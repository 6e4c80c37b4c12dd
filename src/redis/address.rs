//! Where Redis is: one server, or whoever the Sentinels say is the primary.

use std::fmt;

use redis::{
    Client, ConnectionAddr, ConnectionInfo, IntoConnectionInfo, RedisResult, TlsCertificates, TlsMode,
    sentinel::{SentinelClientBuilder, SentinelServerType},
};

/// Where Redis is. Without the password, so that it can be shown.
#[derive(Clone, Debug)]
pub struct Address {
    text: String,
    place: Place,
    password: Option<String>,
    /// Who signs the certificate, in PEM; `None`: whom the system trusts.
    authorities: Option<Vec<u8>>,
}

#[derive(Clone, Debug)]
enum Place {
    Server(Box<ConnectionInfo>),
    Sentinels { sentinels: Vec<(String, u16)>, primary: String, database: i64, tls: bool },
}

/// What an address looks like.
const EXAMPLE: &str = "redis://10.0.0.7:6379, rediss:// for TLS, or \
                       redis+sentinel://10.0.0.7:26379,10.0.0.8:26379/NAME for what Sentinels call NAME";

impl Address {
    /// Reads an address.
    ///
    /// # Errors
    /// What is wrong with it and what would be right.
    pub fn parse(text: &str) -> Result<Self, String> {
        let example = |why: &str| format!("{why}; an address looks like {EXAMPLE}");
        let (scheme, rest) = text.split_once("://").ok_or_else(|| example("it has no scheme"))?;
        if rest.split_once('@').is_some_and(|(credentials, _)| credentials.contains(':')) {
            return Err("a password does not belong here, where it can be read by others: put it into a file and add \
                        --redis-password-file FILE"
                .to_owned());
        }
        let place = match scheme {
            "redis" | "rediss" => {
                let info = text.into_connection_info().map_err(|cause| example(&cause.to_string()))?;
                Place::Server(Box::new(info))
            }
            "redis+sentinel" | "rediss+sentinel" => sentinels(rest, scheme == "rediss+sentinel").map_err(example)?,
            _ => return Err(example("it is none of redis, rediss, redis+sentinel, rediss+sentinel")),
        };
        Ok(Self { text: text.to_owned(), place, password: None, authorities: None })
    }

    /// With this password.
    pub fn with_password(self, password: Option<String>) -> Self {
        Self { password, ..self }
    }

    /// With these as the only authorities that certificates may be from, in PEM.
    ///
    /// # Errors
    /// Why they are of no use: there are none, or the connection has no certificates.
    pub fn with_authorities(self, authorities: String) -> Result<Self, &'static str> {
        if !authorities.contains("-----BEGIN CERTIFICATE-----") {
            return Err("there is no certificate in it; it must be a file in PEM");
        }
        if !self.is_tls() {
            return Err("certificates are for rediss:// and rediss+sentinel:// only");
        }
        Ok(Self { authorities: Some(authorities.into_bytes()), ..self })
    }

    fn is_tls(&self) -> bool {
        self.text.starts_with("rediss")
    }

    fn certificates(&self) -> Option<TlsCertificates> {
        self.authorities.clone().map(|root_cert| TlsCertificates { client_tls: None, root_cert: Some(root_cert) })
    }

    /// A client of it; asks the Sentinels, if there are some.
    pub(super) async fn client(&self) -> RedisResult<Client> {
        match &self.place {
            Place::Server(info) => {
                let mut settings = info.redis_settings().clone();
                if let Some(password) = &self.password {
                    settings = settings.set_password(password);
                }
                let info = info.as_ref().clone().set_redis_settings(settings);
                match self.certificates() {
                    Some(certificates) => Client::build_with_tls(info, certificates),
                    None => Client::open(info),
                }
            }
            Place::Sentinels { sentinels, primary, database, tls } => {
                let sentinel = |(host, port): &(String, u16)| match tls {
                    false => ConnectionAddr::Tcp(host.clone(), *port),
                    true => {
                        let (host, port) = (host.clone(), *port);
                        ConnectionAddr::TcpTls { host, port, insecure: false, tls_params: None }
                    }
                };
                let sentinels = sentinels.iter().map(sentinel);
                let mut builder = SentinelClientBuilder::new(sentinels, primary, SentinelServerType::Master)?
                    .set_client_to_redis_db(*database);
                if *tls {
                    builder = builder
                        .set_client_to_redis_tls_mode(TlsMode::Secure)
                        .set_client_to_sentinel_tls_mode(TlsMode::Secure);
                }
                if let Some(certificates) = self.certificates() {
                    builder = builder
                        .set_client_to_redis_certificates(certificates.clone())
                        .set_client_to_sentinel_certificates(certificates);
                }
                if let Some(password) = &self.password {
                    builder = builder.set_client_to_redis_password(password);
                }
                builder.build()?.async_get_client().await
            }
        }
    }
}

/// `host:port,host:port/name` or `…/name/database`.
fn sentinels(rest: &str, tls: bool) -> Result<Place, &'static str> {
    let (hosts, path) = rest.split_once('/').ok_or("it does not say which primary")?;
    let (primary, database) = path.split_once('/').unwrap_or((path, "0"));
    if primary.is_empty() {
        return Err("it does not say which primary");
    }
    let database = database.parse().map_err(|_| "the database is no number")?;
    let sentinel = |host: &str| {
        let (host, port) = host.rsplit_once(':').unwrap_or((host, "26379"));
        let port = port.parse().map_err(|_| "a port is no number")?;
        if host.is_empty() { Err("a host is missing") } else { Ok((host.to_owned(), port)) }
    };
    let sentinels = hosts.split(',').map(sentinel).collect::<Result<_, _>>()?;
    Ok(Place::Sentinels { sentinels, primary: primary.to_owned(), database, tls })
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_a_server_and_of_sentinels_are_read() {
        for good in ["redis://127.0.0.1:6379", "redis://cache/3", "rediss://cache:6380", "redis://user@cache"] {
            assert!(Address::parse(good).is_ok(), "{good}");
        }
        let two = Address::parse("redis+sentinel://a:1,b/main/2").unwrap();
        let Place::Sentinels { sentinels, primary, database, tls } = two.place else { panic!("no sentinels") };
        assert_eq!(sentinels, [("a".to_owned(), 1), ("b".to_owned(), 26379)]);
        assert_eq!((primary.as_str(), database, tls), ("main", 2, false));
    }

    #[test]
    fn an_address_that_cannot_be_meant_is_refused_with_what_would_be_right() {
        for bad in ["127.0.0.1:6379", "http://a", "redis+sentinel://a:1", "redis+sentinel://a:x/main", "redis://"] {
            let why = Address::parse(bad).unwrap_err();
            assert!(why.contains("an address looks like"), "{bad}: {why}");
        }
        let authorities = "-----BEGIN CERTIFICATE-----".to_owned();
        let with = |address: &str, authorities| Address::parse(address).unwrap().with_authorities(authorities);
        assert!(with("rediss://cache", authorities.clone()).is_ok());
        assert!(with("redis://cache", authorities).unwrap_err().contains("rediss://"));
        assert!(with("rediss://cache", "-----BEGIN PRIVATE KEY-----".to_owned()).unwrap_err().contains("PEM"));
        let why = Address::parse("redis://:secret@cache").unwrap_err();
        assert!(why.contains("--redis-password-file") && !why.contains("secret"), "{why}");
    }
}
