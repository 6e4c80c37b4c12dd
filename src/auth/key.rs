//! The key that tokens are signed and verified with. The algorithm comes from the key, never from a token.

use std::{fmt, fs::File, io::Read, os::unix::fs::PermissionsExt, path::Path};

use jsonwebtoken::{
    Algorithm, DecodingKey, EncodingKey,
    jwk::{AlgorithmParameters, EllipticCurve, Jwk},
};

/// Raw bytes that an HS256 key has at least: as many as its digest (RFC 7518 §3.2).
const SECRET_MIN: usize = 32;

/// Bytes of the modulus that an RSA key has at least (RFC 7518 §3.3); verifying refuses smaller ones anyway.
const MODULUS_MIN: usize = 256;

/// Bytes of a key file that are read; the largest RSA key as PEM has under 13 KiB.
const FILE_MAX: u64 = 65_536;

/// A key file that cannot be used: which, why, and what would be right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyError(String);

impl fmt::Display for KeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for KeyError {}

/// The bytes of a key file, and its mode.
///
/// # Errors
/// It cannot be read.
pub fn contents(path: &Path) -> Result<(Vec<u8>, u32), KeyError> {
    let unreadable = |cause| KeyError(format!("the key file {} cannot be read: {cause}", path.display()));
    let file = File::open(path).map_err(unreadable)?;
    let mode = file.metadata().map_err(unreadable)?.permissions().mode();
    let mut bytes = Vec::new();
    file.take(FILE_MAX).read_to_end(&mut bytes).map_err(unreadable)?;
    Ok((bytes, mode))
}

/// Whether a key file is closed to others as it has to be.
///
/// # Errors
/// A secret one that others than its owner can read; a public one that others can write.
pub fn refuse_exposed(path: &Path, mode: u32, secret: bool) -> Result<(), KeyError> {
    let (others, may) = if secret { (0o077, "read") } else { (0o022, "change") };
    if mode & others == 0 {
        return Ok(());
    }
    let (shown, mode) = (path.display(), mode & 0o777);
    Err(KeyError(format!(
        "the key file {shown} has mode {mode:03o}: others than its owner may {may} it; run chmod 600 {shown}"
    )))
}

/// What a key file holds. Its `Debug` shows no secret.
#[derive(Clone, Debug)]
pub struct Key {
    algorithm: Algorithm,
    verifying: DecodingKey,
    signing: Option<EncodingKey>,
}

impl Key {
    /// Reads a key file: PEM of an RSA (RS256), P-256 (ES256) or Ed25519 (EdDSA) key, public or private, or else the
    /// raw bytes of an HS256 secret, of which a final newline is no part.
    ///
    /// # Errors
    /// A file that cannot be read or holds no such key; a secret one that others than its owner can read; a public
    /// one that others can write.
    pub fn read(path: &Path) -> Result<Self, KeyError> {
        let (bytes, mode) = contents(path)?;
        let key = Self::parse(&bytes).map_err(|why| KeyError(format!("the key file {} {why}", path.display())))?;
        refuse_exposed(path, mode, key.signing.is_some())?;
        Ok(key)
    }

    /// Reads the content of a key file.
    ///
    /// # Errors
    /// What is wrong with it, as the end of a sentence that begins with the file's name.
    pub fn parse(bytes: &[u8]) -> Result<Self, String> {
        // A public key taken for a secret would let whoever knows it sign: what looks like PEM is never raw bytes.
        if bytes.windows(11).any(|window| window == b"-----BEGIN ") {
            return Self::from_pem(bytes);
        }
        if serde_json::from_slice::<serde_json::Map<_, _>>(bytes).is_ok() {
            return Err("is JSON: a JWK is not supported, convert it to PEM".to_owned());
        }
        let secret = bytes.strip_suffix(b"\n").map_or(bytes, |line| line.strip_suffix(b"\r").unwrap_or(line));
        if secret.len() < SECRET_MIN {
            return Err(format!(
                "holds {} bytes: an HS256 key has at least {SECRET_MIN} (a final newline apart), as openssl rand -hex \
                 32 makes them",
                secret.len()
            ));
        }
        Ok(Self {
            algorithm: Algorithm::HS256,
            verifying: DecodingKey::from_secret(secret),
            signing: Some(EncodingKey::from_secret(secret)),
        })
    }

    fn from_pem(pem: &[u8]) -> Result<Self, String> {
        let says = |tag: &str| pem.windows(tag.len()).any(|window| window == tag.as_bytes());
        if says("BEGIN CERTIFICATE") {
            return Err("is a certificate: take the key out of it with openssl x509 -pubkey -noout".to_owned());
        }
        if says("BEGIN EC PRIVATE KEY") || says("BEGIN EC PARAMETERS") {
            return Err("is a key in the SEC 1 form: convert it with openssl pkcs8 -topk8 -nocrypt".to_owned());
        }
        if says("BEGIN ENCRYPTED") || says("Proc-Type: 4,ENCRYPTED") {
            return Err("is protected by a passphrase: nobody is there to type it, remove it".to_owned());
        }
        let key = if says("PRIVATE KEY-----") { Self::from_private(pem) } else { Self::from_public(pem) };
        let key = key.ok_or("is no key of RSA, P-256 or Ed25519 in PEM (SPKI, PKCS #8 or PKCS #1)")?;
        match Jwk::from_decoding_key(&key.verifying, None).map(|jwk| jwk.algorithm) {
            Ok(AlgorithmParameters::RSA(rsa)) if rsa.n.len() * 3 / 4 < MODULUS_MIN => {
                Err("is an RSA key of fewer than 2048 bits: make a longer one".to_owned())
            }
            Ok(AlgorithmParameters::EllipticCurve(ec)) if ec.curve != EllipticCurve::P256 => {
                Err("is on another curve than P-256: ES256 needs that one".to_owned())
            }
            Ok(_) => Ok(key),
            Err(_) => Err("is a key of RSA, P-256 or Ed25519, but damaged or in a compressed form".to_owned()),
        }
    }

    fn from_private(pem: &[u8]) -> Option<Self> {
        let signing = EncodingKey::from_rsa_pem(pem)
            .map(|key| (Algorithm::RS256, key))
            .or_else(|_| EncodingKey::from_ec_pem(pem).map(|key| (Algorithm::ES256, key)))
            .or_else(|_| EncodingKey::from_ed_pem(pem).map(|key| (Algorithm::EdDSA, key)));
        let (algorithm, signing) = signing.ok()?;
        let public = Jwk::from_encoding_key(&signing, algorithm).ok()?;
        let verifying = match public.algorithm {
            AlgorithmParameters::RSA(rsa) => DecodingKey::from_rsa_components(&rsa.n, &rsa.e),
            AlgorithmParameters::EllipticCurve(ec) => DecodingKey::from_ec_components(&ec.x, &ec.y),
            AlgorithmParameters::OctetKeyPair(ed) => DecodingKey::from_ed_components(&ed.x),
            _ => return None,
        };
        Some(Self { algorithm, verifying: verifying.ok()?, signing: Some(signing) })
    }

    fn from_public(pem: &[u8]) -> Option<Self> {
        let verifying = DecodingKey::from_rsa_pem(pem)
            .map(|key| (Algorithm::RS256, key))
            .or_else(|_| DecodingKey::from_ec_pem(pem).map(|key| (Algorithm::ES256, key)))
            .or_else(|_| DecodingKey::from_ed_pem(pem).map(|key| (Algorithm::EdDSA, key)));
        let (algorithm, verifying) = verifying.ok()?;
        Some(Self { algorithm, verifying, signing: None })
    }

    /// The only algorithm that tokens of this key may have.
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// To verify with.
    pub fn verifying(&self) -> &DecodingKey {
        &self.verifying
    }

    /// To sign with; `None` for a public key.
    pub fn signing(&self) -> Option<&EncodingKey> {
        self.signing.as_ref()
    }
}

#[cfg(test)]
mod tests;
