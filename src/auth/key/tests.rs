//! Keys as `openssl genpkey` makes them. They sign nothing but what is in tests.

use std::fs::{self, Permissions};

use jsonwebtoken::{Header, Validation, decode, encode};
use serde_json::{Value, json};

use super::*;

const RSA_PRIVATE: &str = include_str!("../../../tests/keys/rsa.pem");
const RSA_PUBLIC: &str = include_str!("../../../tests/keys/rsa-public.pem");
const P256_PRIVATE: &str = include_str!("../../../tests/keys/p256.pem");
const P256_PUBLIC: &str = include_str!("../../../tests/keys/p256-public.pem");
const ED_PRIVATE: &str = include_str!("../../../tests/keys/ed25519.pem");
const ED_PUBLIC: &str = include_str!("../../../tests/keys/ed25519-public.pem");
const SMALL_PUBLIC: &str = include_str!("../../../tests/keys/rsa1024-public.pem");
const P384_PUBLIC: &str = include_str!("../../../tests/keys/p384-public.pem");

const SECRET: &[u8] = b"0123456789abcdef0123456789abcdef";

fn signed(key: &Key) -> String {
    let claims = json!({"sub": "tiaz", "exp": 4_000_000_000_u64});
    encode(&Header::new(key.algorithm()), &claims, key.signing().expect("a private key")).expect("it signs")
}

fn is_verified(token: &str, key: &Key) -> bool {
    decode::<Value>(token, key.verifying(), &Validation::new(key.algorithm())).is_ok()
}

fn why(bytes: &[u8]) -> String {
    Key::parse(bytes).expect_err("this is no key")
}

#[test]
fn the_algorithm_comes_from_the_key() {
    let files = [
        (RSA_PRIVATE, RSA_PUBLIC, Algorithm::RS256),
        (P256_PRIVATE, P256_PUBLIC, Algorithm::ES256),
        (ED_PRIVATE, ED_PUBLIC, Algorithm::EdDSA),
    ];
    for (private, public, algorithm) in files {
        let private = Key::parse(private.as_bytes()).unwrap();
        let public = Key::parse(public.as_bytes()).unwrap();
        assert_eq!((private.algorithm(), public.algorithm()), (algorithm, algorithm));
        assert!(public.signing().is_none());
        let token = signed(&private);
        assert!(is_verified(&token, &public), "{algorithm:?}: what a private key signs its public key verifies");
        assert!(is_verified(&token, &private), "{algorithm:?}: and so does the private one itself");
    }
}

#[test]
fn a_key_of_another_pair_verifies_nothing() {
    let token = signed(&Key::parse(SECRET).unwrap());
    for key in [RSA_PUBLIC, P256_PUBLIC, ED_PUBLIC] {
        assert!(!is_verified(&token, &Key::parse(key.as_bytes()).unwrap()));
    }
    assert!(!is_verified(&token, &Key::parse(b"0123456789abcdef0123456789abcdeF").unwrap()));
}

#[test]
fn a_final_newline_is_no_part_of_a_secret() {
    let token = signed(&Key::parse(SECRET).unwrap());
    for end in ["\n", "\r\n"] {
        let key = Key::parse(&[SECRET, end.as_bytes()].concat()).unwrap();
        assert_eq!(key.algorithm(), Algorithm::HS256);
        assert!(is_verified(&token, &key));
    }
    let two = Key::parse(&[SECRET, b"\n\n"].concat()).unwrap();
    assert!(!is_verified(&token, &two), "a newline before the final one is");
}

#[test]
fn a_short_secret_is_refused_also_when_a_newline_makes_it_long_enough() {
    assert!(why(b"12345678").starts_with("holds 8 bytes: an HS256 key has at least 32"));
    assert!(why(&[&SECRET[..31], b"\n"].concat()).starts_with("holds 31 bytes"));
    assert!(why(b"").starts_with("holds 0 bytes"));
}

#[test]
fn what_is_no_usable_key_is_told_what_would_be() {
    assert!(why(SMALL_PUBLIC.as_bytes()).contains("fewer than 2048 bits"));
    assert!(why(P384_PUBLIC.as_bytes()).contains("another curve than P-256"));
    assert!(why(b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n").contains("openssl x509 -pubkey"));
    assert!(why(b"-----BEGIN EC PRIVATE KEY-----\nAAAA\n-----END EC PRIVATE KEY-----\n").contains("openssl pkcs8"));
    assert!(why(b"-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n").contains("passphrase"));
    assert!(why(b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n").contains("is no key of RSA"));
    assert!(why(br#"{"kty":"oct","k":"AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8gISIj"}"#).contains("JWK"));
}

#[test]
fn a_secret_that_others_can_read_is_refused_and_a_public_key_that_they_can_change() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("key");
    let read = |content: &[u8], mode| {
        fs::write(&path, content).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
        Key::read(&path)
    };
    for mode in [0o644, 0o640, 0o604, 0o620] {
        let why = read(SECRET, mode).expect_err("others have a part in it").to_string();
        assert!(why.contains(&format!("mode {mode:03o}")) && why.contains("chmod 600"), "{why}");
        assert!(read(RSA_PRIVATE.as_bytes(), mode).is_err());
    }
    assert!(read(SECRET, 0o600).is_ok() && read(SECRET, 0o400).is_ok());
    assert!(read(RSA_PUBLIC.as_bytes(), 0o644).is_ok());
    assert!(read(RSA_PUBLIC.as_bytes(), 0o664).is_err_and(|why| why.to_string().contains("may change it")));
    fs::remove_file(&path).unwrap();
    assert!(Key::read(&path).is_err_and(|why| why.to_string().contains("cannot be read")));
}

#[test]
fn a_key_in_a_log_shows_no_secret() {
    let shown = format!("{:?}", Key::parse(SECRET).unwrap());
    assert!(!shown.contains("48, 49, 50") && !shown.contains("0123"), "{shown}");
}
