//! What tokens say, and with what they are signed.

use clap::Parser as _;
use jsonwebtoken::{DecodingKey, Validation, decode, decode_header};
use serde_json::json;

use super::*;
use crate::cli::{Cli, Command};

/// A key for this test and nothing else.
const RSA: &str = "\
-----BEGIN PRIVATE KEY-----
MIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwggSjAgEAAoIBAQDCXkaWgfmnUxR3
v1sz2WHv53TAQIld4QZiutnOFx4nZUajfqq+tGaG4560VTdK3hmiKHbEORQwu24k
7c9ktP2c+qXH68n/o6XGzQQZSgOQarlNFOf6bO+Jw+cUULYG3Ci9ekLCIxiS2JZs
bc+zTDi+PpNdfsf3DZlF4mt5SfUuSEdByH9X3GQCOeMll6K206xL1LL76ADcmOWn
KByPAHUDCnNx0njETIXl3a7YJ80oKgZU6MeD+wOpldTT5z325IqzWqiKi7H84Iyi
uNsSVi9lqdUTK9NzS/bykyXXBETtIIlRAcbybAFo5fOInyt3GyLPdzT0lyVVbYo4
4BotSp79AgMBAAECggEAF7eC5nzv9nuxPNa5LWT3nzCUyEa3saBdHpv31WlwZlSP
H4Zmau8UBElEWsh71DiwqQmbSws/TEj6l3/7H/85DmLD6takfHs+pbjrffMlkdrW
nIdnXQvWLhnHmcIqy+so/3cqgTTgxpOuGzH1DPGeijw+0BhBvy1wx/G+X9DnSCEW
eYi2NsV7lJxrz6oy/rCuOznq8I9zbESRklJCFBKQkYSBgXabPDpPAYrHn7QSdZH4
apKWmBm44S/vYf1rLvD+kAIm7EvS0SgbzzERacsDGg1a84cHDFYTfkyeLN1GKws9
z+jHsftyArd/jGz1ofrgp67nbtoNb1jSqZj88psiowKBgQD842LlePRP1fstXbJB
YiJFFAAF9KKYQkE4Ccy6aBn67DG0S9VJMwRkxqX6PidBNud90lHAaCMOgUTAPJ7G
FTDP5fuscwjEPY7qevUr0GYKzbL+F2hoGXEIytGD6HY99chOlPoSsll7v19DyO4E
BuLhpqny3WjBEqaWBkWnGB1f4wKBgQDEwoxCU8irHsiYsy2bOVUhEhVC8GmJEqAC
t/Lt5IcyhbREehETSMboeDma28xDxqXf1CGkg61e6gweGITt6VjvsUHNUq8uvo7s
Ona2TKopSWgQKsvFsJWPF6JqaWpsOQbhEUg/vLLSCgyj8EVe8IlwjrpuVaTMHlan
NFPCPz57nwKBgQDL4PaGUnGFO9p4xKVFmTxPvMQYCRZc8m1qJFxtnCf16B5aYRjf
HsZYCN8fVKSJKx6OjdVi7ZH1y7oF0dmfkM39jkjMyyEyNP7Xg7HNVQIvi47W00BV
TM2YbQtk8TEC2vhWgjzqfecuoSbIm2Fo1bRsf9Vb+6zMm6C6KuxUvlhQSQKBgAvV
v+YFcB6K3XoB3Q5nJm20zr6WA2MRUbqYIe6ZPmCVlkBAL2K/j+dPw/dCnUi+XB/Y
fKWOnhEFdvEgfG5rCMRyHwkgnhTrtWEUKyvP9LRDDBVc3aDofDZ9L3HDIXmc/ILx
LS1YRlFH9Xau7x1Ezp+Mlj4ovJ7ifEfWZ+tZLoL1AoGAflqgOiTD21g9JsuV57zd
r6eB7Bi0fubMftC0yr9k/T9ffJ3Al3Rv/r5aK+/eRIFVgU0u07ZYcWgGvZ7i+PzQ
wXsqFpIIKw+/exHawM+2ACZQ9PYAhRgnJNz2j0LjcWHMdtb54nM2bUTmNVdFTE7Z
d1JJMZkNgmJUYjGbl4wmXPA=
-----END PRIVATE KEY-----
";

/// A key of each kind that needs no choice, with what it signs with.
fn keys() -> [(&'static str, String, Algorithm); 4] {
    let generated = |kind| rcgen::KeyPair::generate_for(kind).unwrap().serialize_pem();
    [
        ("rsa", RSA.to_owned(), Algorithm::RS256),
        ("p256", generated(&rcgen::PKCS_ECDSA_P256_SHA256), Algorithm::ES256),
        ("p384", generated(&rcgen::PKCS_ECDSA_P384_SHA384), Algorithm::ES384),
        ("ed25519", generated(&rcgen::PKCS_ED25519), Algorithm::EdDSA),
    ]
}

fn arguments(words: &[&str]) -> TokenArguments {
    let words = ["fanfare", "token"].iter().chain(words);
    match Cli::try_parse_from(words).unwrap().command {
        Command::Token(arguments) => *arguments,
        other => panic!("{other:?}"),
    }
}

fn said(words: &[&str]) -> Result<Value, String> {
    claims(&arguments(words), 1_000).map(Value::Object).map_err(|failure| failure.to_string())
}

/// A file of this text, gone with the test.
struct Temporary(std::path::PathBuf);

impl Temporary {
    fn new(name: &str, text: &str) -> Self {
        let path = std::env::temp_dir().join(format!("fanfare-token-{}-{name}", std::process::id()));
        std::fs::write(&path, text).unwrap();
        Self(path)
    }

    fn path(&self) -> &str {
        self.0.to_str().unwrap()
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

fn signed(words: &[&str]) -> Result<String, String> {
    let arguments = arguments(words);
    let claims = claims(&arguments, print::unix_now()).unwrap();
    sign(&claims, &arguments.key).map_err(|failure| failure.to_string())
}

#[test]
fn a_token_ends_after_an_hour_unless_something_else_is_said() {
    assert_eq!(said(&["--user", "42"]), Ok(json!({"sub": "42", "iat": 1_000, "exp": 4_600})));
    assert_eq!(said(&["--user", "42", "--expires", "1m"]).unwrap()["exp"], 1_060);
    assert_eq!(said(&["--user", "", "--no-expiry"]), Ok(json!({"iat": 1_000})));
}

#[test]
fn claims_have_the_names_and_forms_that_the_server_knows() {
    let all = said(&[
        "--user",
        "42",
        "--no-expiry",
        "--info",
        "{\"name\":\"Ann\"}",
        "--meta",
        "[1]",
        "--channels",
        "a,b",
        "--caps",
        "[{\"channels\":[\"a\"],\"allow\":[\"sub\"]}]",
        "--audience",
        "x",
        "--issuer",
        "y",
        "--claim",
        "jti=\"7\"",
        "--claim",
        "iat=5",
    ]);
    let expected = json!({
        "sub": "42", "iat": 5, "info": {"name": "Ann"}, "meta": [1], "channels": ["a", "b"],
        "caps": [{"channels": ["a"], "allow": ["sub"]}], "aud": "x", "iss": "y", "jti": "7",
    });
    assert_eq!(all, Ok(expected));
    assert_eq!(said(&["--user", "42", "--channel", "$a,b"]).unwrap()["channel"], "$a,b");
}

#[test]
fn what_is_not_json_is_told_with_what_would_be() {
    let error = said(&["--user", "42", "--info", "Ann"]).unwrap_err();
    assert!(error.starts_with("--info:") && error.contains("'\"Ann\"'"), "{error}");
    assert!(said(&["--user", "42", "--claim", "a"]).unwrap_err().contains("KEY=JSON"));
    assert!(said(&["--user", "42", "--claim", "a=b"]).unwrap_err().starts_with("--claim a:"));
}

#[test]
fn a_secret_signs_with_hs256_and_is_used_without_its_line_break() {
    let file = Temporary::new("secret", "s3cret\n");
    let token = signed(&["--user", "42", "--secret-file", file.path(), "--kid", "k1"]).unwrap();
    let header = decode_header(&token).unwrap();
    assert_eq!((header.alg, header.kid.as_deref()), (Algorithm::HS256, Some("k1")));
    let key = DecodingKey::from_secret(b"s3cret");
    let claims = decode::<Value>(&token, &key, &Validation::new(Algorithm::HS256)).unwrap().claims;
    assert_eq!(claims["sub"], "42");
    let error = signed(&["--user", "42", "--secret-file", file.path(), "--algorithm", "rs256"]).unwrap_err();
    assert!(error.contains("HS256"), "{error}");
}

#[test]
fn private_keys_sign_by_their_kind() {
    for (name, pem, algorithm) in keys() {
        let file = Temporary::new(name, &pem);
        let token = signed(&["--user", "42", "--private-key-file", file.path()]).unwrap();
        assert_eq!(decode_header(&token).unwrap().alg, algorithm, "{name}");
    }
    let rsa = Temporary::new("rsa-ps", RSA);
    let token = signed(&["--user", "1", "--private-key-file", rsa.path(), "--algorithm", "PS256"]).unwrap();
    assert_eq!(decode_header(&token).unwrap().alg, Algorithm::PS256);
    let error =
        signed(&["--user", "1", "--private-key-file", rsa.path(), "--algorithm", "ES256"]).unwrap_err();
    assert!(error.contains("ES256"), "{error}");
    let none = Temporary::new("none", "hello");
    let error = signed(&["--user", "1", "--private-key-file", none.path()]).unwrap_err();
    assert!(error.contains("openssl pkcs8"), "{error}");
}

#[test]
fn a_configuration_names_the_secret_and_the_kid_chooses_among_its_keys() {
    let text = "[client.token]\nhmac_secret_key = \"first\"\n\
        [[client.token.keys]]\nkid = \"k2\"\nsecret = \"second\"\n";
    let file = Temporary::new("config", text);
    let verifies = |words: &[&str], secret: &str| {
        let words = [&["--user", "42", "--config", file.path()], words].concat();
        let token = signed(&words).unwrap();
        let key = DecodingKey::from_secret(secret.as_bytes());
        decode::<Value>(&token, &key, &Validation::new(Algorithm::HS256)).is_ok()
    };
    assert!(verifies(&[], "first") && verifies(&["--kid", "other"], "first"));
    assert!(verifies(&["--kid", "k2"], "second"));
    let empty = Temporary::new("empty", "");
    let error = signed(&["--user", "42", "--config", empty.path()]).unwrap_err();
    assert!(error.contains("client.token.hmac_secret_key") && !error.contains("--kid"), "{error}");
    let text = "[[client.token.keys]]\nkid = \"k1\"\nsecret = \"first\"\n\
        [[client.token.keys]]\nkid = \"k2\"\nsecret = \"second\"\n";
    let without = Temporary::new("kids", text);
    let error = signed(&["--user", "42", "--config", without.path()]).unwrap_err();
    assert!(error.contains("--kid (k1, k2)"), "{error}");
}
