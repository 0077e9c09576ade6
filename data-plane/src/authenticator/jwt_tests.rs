//! Tests of signatures, with tokens that another library has made (see the end of the file).

#[path = "jwt_vectors.rs"]
mod vectors;

use super::*;
use vectors::{ED25519, JWKS, P256, P384, P521, RSA, TOKENS};

/// The tokens all say `{"sub":"42"}`.
fn is_signed(token: &str, key: &Key) -> bool {
    Parts::of(token).is_some_and(|parts| parts.is_signed_by(key))
}

#[test]
fn every_algorithm_is_verified_with_its_key_and_with_no_other() {
    let keys = [
        Key::public(RSA, Expected::Rsa).unwrap(),
        Key::public(P256, Expected::Ecdsa).unwrap(),
        Key::public(P384, Expected::Ecdsa).unwrap(),
        Key::public(P521, Expected::Ecdsa).unwrap(),
        Key::public(ED25519, Expected::EdDsa).unwrap(),
        Key::secret(b"a secret of more than 32 bytes, as it should be"),
    ];
    for (algorithm, token, signer) in TOKENS {
        for (index, key) in keys.iter().enumerate() {
            assert_eq!(is_signed(token, key), index == signer, "{algorithm} with key {index}");
        }
        let (rest, signature) = token.rsplit_once('.').unwrap();
        let (header, _) = rest.split_once('.').unwrap();
        let other_claims = BASE64_URL_SAFE_NO_PAD.encode(r#"{"sub":"43"}"#);
        let forged = format!("{header}.{other_claims}.{signature}");
        assert!(keys.iter().all(|key| !is_signed(&forged, key)), "{algorithm}, forged");
        assert!(keys.iter().all(|key| !is_signed(&format!("{rest}."), key)), "{algorithm}, unsigned");
    }
}

#[test]
fn a_public_key_is_no_shared_secret_and_none_is_no_algorithm() {
    let rsa = Key::public(RSA, Expected::Rsa).unwrap();
    let secret = jsonwebtoken::EncodingKey::from_secret(RSA.as_bytes());
    let header = jsonwebtoken::Header::new(Algorithm::HS256);
    let confused = jsonwebtoken::encode(&header, &serde_json::json!({"sub": "42"}), &secret).unwrap();
    assert!(!is_signed(&confused, &rsa));
    let encoded = |text: &str| BASE64_URL_SAFE_NO_PAD.encode(text);
    let secret = Key::secret(b"secret");
    for algorithm in ["none", "None", "", "HS1", "HS256 "] {
        let header = encoded(&format!(r#"{{"alg":"{algorithm}"}}"#));
        let token = format!("{header}.{}.", encoded(r#"{"sub":"42"}"#));
        assert!(!is_signed(&token, &secret) && !is_signed(&token, &rsa), "{algorithm}");
    }
}

#[test]
fn what_is_no_token_is_not_looked_at() {
    let header = BASE64_URL_SAFE_NO_PAD.encode(r#"{"alg":"HS256"}"#);
    let critical = BASE64_URL_SAFE_NO_PAD.encode(r#"{"alg":"HS256","crit":["exp"]}"#);
    let long = format!("{header}.{}.x", "x".repeat(MAX_TOKEN));
    for bad in ["", ".", "..", "a.b", "a.b.c", &format!("{critical}.e30."), &format!("{header}.?."), &long] {
        assert!(Parts::of(bad).is_none(), "{bad:.40}");
    }
    assert!(Parts::of(&format!("{header}.e30.")).is_some());
}

#[test]
fn a_key_must_be_of_the_kind_that_is_expected() {
    assert!(Key::public(RSA, Expected::Ecdsa).is_none());
    assert!(Key::public(P256, Expected::Rsa).is_none());
    assert!(Key::public(ED25519, Expected::Ecdsa).is_none());
    assert!(Key::public("nonsense", Expected::Any).is_none());
    for pem in [RSA, P256, P384, P521, ED25519] {
        assert!(Key::public(pem, Expected::Any).is_some(), "{pem}");
    }
}

#[test]
fn a_published_set_gives_its_signing_keys() {
    let keys = Key::read_set(JWKS.as_bytes()).unwrap();
    let names: Vec<_> = keys.iter().map(|(kid, _)| kid.as_deref().unwrap_or_default()).collect();
    assert_eq!(names, ["rsa", "p256", "p521", "ed"], "no secret, no key for encryption, nothing unknown");
    for (kid, algorithm) in [("rsa", "RS256"), ("p256", "ES256"), ("p521", "ES512"), ("ed", "EdDSA")] {
        let (_, key) = keys.iter().find(|(name, _)| name.as_deref() == Some(kid)).unwrap();
        let (_, token, _) = TOKENS.iter().find(|(name, ..)| *name == algorithm).unwrap();
        assert!(is_signed(token, key), "{kid}");
    }
    let (_, rsa) = &keys[0];
    let (_, token, _) = TOKENS.iter().find(|(name, ..)| *name == "RS512").unwrap();
    assert!(!is_signed(token, rsa), "the set says that this key is for RS256");
    assert!(Key::read_set(b"[]").is_none());
}
