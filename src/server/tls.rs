//! The hub's own certificate: read at the start, and again when its files change.

use std::{
    error::Error,
    fmt,
    fs::{self, Metadata},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use tokio::{sync::watch, task::JoinSet, time::sleep};
use tokio_rustls::rustls::{
    ServerConfig,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};
use tracing::{info, warn};

use crate::auth::key;

/// How an HTTP/2 connection is asked for (RFC 7301, RFC 9113 §3.2), and an HTTP/1.1 connection.
pub const HTTP2: &[u8] = b"h2";
const HTTP1: &[u8] = b"http/1.1";

/// How often to look whether the files are others.
const LOOK: Duration = Duration::from_secs(5);

/// Where a certificate and its key lie.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Files {
    /// PEM: the certificate, then those that lead to the authority that signed it.
    pub certificate: PathBuf,
    /// PEM: the private key, which nobody but its owner can read.
    pub key: PathBuf,
}

/// Why a certificate cannot be used: which file, and what would be right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unusable(String);

impl fmt::Display for Unusable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Error for Unusable {}

/// What the server shows to its clients. Dropped, it is not read again.
pub struct Certificate {
    files: Files,
    current: watch::Sender<Arc<ServerConfig>>,
    _follows: JoinSet<()>,
}

impl Certificate {
    /// Reads it, and reads it again when its files change; connections that are open keep what they have.
    ///
    /// # Errors
    /// As [`Files::read`].
    pub fn follow(files: Files) -> Result<Self, Unusable> {
        let seen = files.stamp();
        let current = watch::Sender::new(files.read()?);
        let mut follows = JoinSet::new();
        follows.spawn(follow(files.clone(), seen, current.clone()));
        Ok(Self { files, current, _follows: follows })
    }

    /// Reads it now.
    ///
    /// # Errors
    /// As [`Files::read`]; the one before stays.
    pub fn reread(&self) -> Result<(), Unusable> {
        self.current.send_replace(self.files.read()?);
        Ok(())
    }

    /// What is to be shown to the next client.
    pub fn current(&self) -> watch::Receiver<Arc<ServerConfig>> {
        self.current.subscribe()
    }
}

/// Which file it is and when it was written, through links.
type Stamp = [Option<(u64, u64, i64, i64)>; 2];

impl Files {
    /// Reads both.
    ///
    /// # Errors
    /// One of them cannot be read or holds nothing that fits, they do not belong together, or others than its owner
    /// can read the key.
    pub fn read(&self) -> Result<Arc<ServerConfig>, Unusable> {
        let shown = self.certificate.display();
        let chain = fs::read(&self.certificate)
            .map_err(|cause| Unusable(format!("the certificate file {shown} cannot be read: {cause}")))?;
        let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&chain).collect();
        let chain = chain.ok().filter(|chain| !chain.is_empty());
        let chain =
            chain.ok_or_else(|| Unusable(format!("the certificate file {shown} holds no certificate in PEM")))?;
        let key = read_key(&self.key)?;
        let provider = Arc::new(aws_lc_rs::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, key));
        let mut config = config.map_err(|cause| {
            Unusable(format!("the certificate {shown} cannot be used with the key {}: {cause}", self.key.display()))
        })?;
        config.alpn_protocols = vec![HTTP2.to_vec(), HTTP1.to_vec()];
        // So that a thousand clients that come back at once cost no thousand signatures.
        config.ticketer =
            aws_lc_rs::Ticketer::new().map_err(|cause| Unusable(format!("no session tickets: {cause}")))?;
        Ok(Arc::new(config))
    }

    fn stamp(&self) -> Stamp {
        let stamp = |file: Metadata| (file.dev(), file.ino(), file.mtime(), file.mtime_nsec());
        [&self.certificate, &self.key].map(|path| fs::metadata(path).ok().map(stamp))
    }
}

fn read_key(path: &Path) -> Result<PrivateKeyDer<'static>, Unusable> {
    let (bytes, mode) = key::contents(path).map_err(|error| Unusable(error.to_string()))?;
    key::refuse_exposed(path, mode, true).map_err(|error| Unusable(error.to_string()))?;
    PrivateKeyDer::from_pem_slice(&bytes).map_err(|_| {
        Unusable(format!("the key file {} holds no private key in PEM (PKCS #8, PKCS #1 or SEC 1)", path.display()))
    })
}

async fn follow(files: Files, mut seen: Stamp, current: watch::Sender<Arc<ServerConfig>>) {
    let mut told = seen;
    loop {
        sleep(LOOK).await;
        let looking = files.clone();
        let look = move || {
            let now = looking.stamp();
            (now != seen).then(|| (now, looking.read()))
        };
        match tokio::task::spawn_blocking(look).await {
            Ok(Some((now, Ok(config)))) => {
                current.send_replace(config);
                info!(certificate = %files.certificate.display(), "read the certificate again");
                (seen, told) = (now, now);
            }
            // Two files are not replaced at once: what does not fit together now may do so at the next look.
            Ok(Some((now, Err(cause)))) if told != now => {
                warn!(%cause, "the certificate was changed and cannot be used; the one before stays");
                told = now;
            }
            _ => {}
        }
    }
}
