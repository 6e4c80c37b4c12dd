//! Keys as `openssl genpkey` makes them. They sign nothing but what is in this file.

use std::fs::{self, Permissions};

use jsonwebtoken::{Header, Validation, decode, encode};
use serde_json::{Value, json};

use super::*;

const RSA_PRIVATE: &str = "\
-----BEGIN PRIVATE KEY-----
MIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwggSjAgEAAoIBAQC7WXpCXC9nL9NC
cZf0QCtq6pen+daWk4Q2hBVlR8Kqf20NKhk5jLNMNvVq6HAyG6i5T5MMmjADnZNS
iZnZvfMyogTtPdfb6/CbXdx33MJNgM9xbNejSEX8TzDdgHl0UvOCXmVPGuW4Yl/a
7cO73FXYJECut6NZjTbnWO+XNwfmJQhsOFg0h2Y8ulKQOjD3Ic2y3ct5sxtXT1Ht
MJFQ7/MCpmrVAeMkPslEOu9mrrIjnD8AxJ0OXr1e419T9ublwBxj+ehvODX/2qeQ
4BcNGP48vA/J5FGepbWQ0InOPbY/P8GH3kjZvt6ZZVNkIQAZ+DvIuN02DFd9Jbke
HvWbPJqjAgMBAAECggEATehem/vjxoAv1OCR9QM+St61JCgT4VgE0frJPu3BeM82
lRPdm330DYyJL+TqyxuPZUg++S2hK8+6NMd9z/tah8KyU8m02wJZcvJsPPfzYPFg
0mUVoxPp7osr4eCMISBhnOQOMwAXaT6XZ94Z2CQ/Gnuw3jcFWbcMjtYABBzhTwV+
IM62BhxESJJaySBzDEyZOfRQv7Om76Ne2gk9Y+MaDLZMLcGE0gWT9ywRs3L6AhTQ
0LzVNg+0/zBaACK2id9nfFldRtETHvRcIpmakUpe05CXAwWTTsKI6/wfrokpXAB+
Uv6sFj1y+jNTmQ+yCixMAZ7Okk1vd1bNQY2iwW/d+QKBgQD0rqocak79fZQ/fhWN
Ea7Jaiqpcuobd1+qjrUahiRKkr1TrvFP3CwuPPkIpHIHJ/IQXb+0X4JdT/+h+P/+
3BuwjeaV6CojIUcV91N829OpmOiIL35CNmHZ5j77z9w1gsqNv2QelrhiCigwO+ww
vE8WqShsnZWpKhKlrdY1ROt0hQKBgQDEA+xsYkw5xYCKION+s1anJupvXNqKXoUB
VfiP6LpWRjgUwLseGjgt9pVt42FRH+pxncpSh5GaTHESaJZysGVBmJ2PYG9mYu0A
x/vKiD7WsWoqzwsjRXRSad2xGak0QzCK2x0md7odnRwv3N4zjGFxavLQ1J6Hupjq
8w+bpUgvBwKBgFmygigCjMx+sc8I0KuzVMj/g3404z+IZminAhskG7++xWsdEdd9
1jBpJ74UUrzu1t1LEND1xlugzQy6tFXgqMHzcxl3T6MrOt0BmviFubVNmcj66CUr
vHld367+RzLSrKCEDhbsl9FQ+eScwvwmvDOJdYlDx66I/ub/sCw9BLflAoGAW7v2
Vpb+U38x8/MGZNJreFjHGI0dHeq0Vna0mCzzn9LHBjdYmvLsXd5r+nySm9PS9Y9C
E7OsmciylknqNwyEptlUy7f3CrS7dEUjepqexf1L0XMKJFyp3rP685otzO6w9hsr
nkgkCx3vBhtYxkkphVnm/4KyGpViYXqVUGNez9sCgYEAjVFMatzQ7CnXF5gQRFdl
gfFVCCT5aQMntSkzPztRfM02R2SrvHrCjTffu+eaSeUOWCfBUxHzWlBDOhTEyCnI
XKdnHkVBYhAuSxaWfP2/bpGk2XGCCD/Rv+mnmXpZFQaNZSGdVCgS+UCAJnRfHp5v
WeBkoVxQzQ8wo/O3MFMgJPU=
-----END PRIVATE KEY-----
";
const RSA_PUBLIC: &str = "\
-----BEGIN PUBLIC KEY-----
MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEAu1l6QlwvZy/TQnGX9EAr
auqXp/nWlpOENoQVZUfCqn9tDSoZOYyzTDb1auhwMhuouU+TDJowA52TUomZ2b3z
MqIE7T3X2+vwm13cd9zCTYDPcWzXo0hF/E8w3YB5dFLzgl5lTxrluGJf2u3Du9xV
2CRArrejWY0251jvlzcH5iUIbDhYNIdmPLpSkDow9yHNst3LebMbV09R7TCRUO/z
AqZq1QHjJD7JRDrvZq6yI5w/AMSdDl69XuNfU/bm5cAcY/nobzg1/9qnkOAXDRj+
PLwPyeRRnqW1kNCJzj22Pz/Bh95I2b7emWVTZCEAGfg7yLjdNgxXfSW5Hh71mzya
owIDAQAB
-----END PUBLIC KEY-----
";
const P256_PRIVATE: &str = "\
-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgsbAcddajZWBRaMDJ
cCmS4QKXE4WMv0cop6aGEC5F54GhRANCAARIOs0oun3gAd70FkfulOU2egMo3+r9
nji0BVK627JXRks1SiLydCD3BOCzRwJAyxO3b2dwMUE8DizkM50zCSHB
-----END PRIVATE KEY-----
";
const P256_PUBLIC: &str = "\
-----BEGIN PUBLIC KEY-----
MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAESDrNKLp94AHe9BZH7pTlNnoDKN/q
/Z44tAVSutuyV0ZLNUoi8nQg9wTgs0cCQMsTt29ncDFBPA4s5DOdMwkhwQ==
-----END PUBLIC KEY-----
";
const ED_PRIVATE: &str = "\
-----BEGIN PRIVATE KEY-----
MC4CAQAwBQYDK2VwBCIEIGIrxlfI+/61htLY9VhNmUnekfDgNEBw8LN99qvHbupz
-----END PRIVATE KEY-----
";
const ED_PUBLIC: &str = "\
-----BEGIN PUBLIC KEY-----
MCowBQYDK2VwAyEA85XHb9eNuieQDelMxJ9H663G7MP915MdFIkSBij3pa8=
-----END PUBLIC KEY-----
";
const SMALL_PUBLIC: &str = "\
-----BEGIN PUBLIC KEY-----
MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQDAg/hFWVdA3CT3+I2W/b/03QZ5
laQEAEqPzaepJMhQdf6KZvDYL014BdGW0ks/H5Csq+O4rqFTUWqcZXlik6MlH5Kp
8yXxLPgqx504yju2xve0sfnVpv/z2CIMW7+0FSQ5kLwZhU0B/OFKdth41w7kJUuW
a0GHIfZYxPfDsPdZWQIDAQAB
-----END PUBLIC KEY-----
";
const P384_PUBLIC: &str = "\
-----BEGIN PUBLIC KEY-----
MHYwEAYHKoZIzj0CAQYFK4EEACIDYgAEwIQEk9oRyyfFN/y4UDtNomrQBFGyu1In
hg+wowhwzUZyu3stIOnOPLTGnKaIDiGNRHexzY8D8ojKhJy4WHGtbYk/NqGTH4Pk
QIWbjIOXphDq9SXK5KyNS2nhPv6/Zj4+
-----END PUBLIC KEY-----
";

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
