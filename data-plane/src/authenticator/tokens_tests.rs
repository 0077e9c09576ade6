//! Tests of what tokens grant, and of the memory for those that were verified.

use std::time::{Duration, UNIX_EPOCH};

use jsonwebtoken::{EncodingKey, Header, encode};
use serde_json::{Value, json};

use super::*;
use crate::authenticator::Permission;
use crate::config::TokenKey;

const SECRET: &str = "a secret that is long enough";
const NOW: u64 = 1_000;

fn now() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(NOW)
}

fn config() -> TokenConfig {
    TokenConfig { hmac_secret_key: SECRET.into(), ..Default::default() }
}

fn sign(claims: &Value, kid: Option<&str>, secret: &str) -> String {
    let header = Header { kid: kid.map(str::to_owned), ..Header::default() };
    encode(&header, claims, &EncodingKey::from_secret(secret.as_bytes())).unwrap()
}

fn tokens(config: &TokenConfig) -> TokenAuthenticator {
    TokenAuthenticator::new(config, None).unwrap()
}

fn connection(claims: &Value) -> Result<Arc<Identity>, Denied> {
    tokens(&config()).connection(&sign(claims, None, SECRET), now())
}

fn subscription(claims: &Value) -> Result<Arc<SubscriptionGrant>, Denied> {
    tokens(&config()).subscription(&sign(claims, None, SECRET), now())
}

#[test]
fn a_connections_token_says_who_it_is_and_what_it_brings() {
    let identity = connection(&json!({
        "sub": "42", "exp": 2_000.7, "iat": 900, "jti": "one",
        "info": {"name": "Ann"}, "meta": {"plan": "pro"},
        "channels": ["news", "sport"],
        "subs": {"sport": {"info": {"role": "fan"}, "data": {"score": 1}}},
        "caps": [{"channels": ["room.*"], "match": "wildcard", "allow": ["sub"]}],
    }))
    .unwrap();
    assert_eq!((&*identity.user, identity.issued_at, identity.expires_at), ("42", Some(900), Some(2_000)));
    assert_eq!(
        (&identity.info[..], &identity.meta[..]),
        (&br#"{"name":"Ann"}"#[..], &br#"{"plan":"pro"}"#[..])
    );
    let subscriptions: Vec<_> =
        identity.subscriptions.iter().map(|one| (one.channel.as_str(), &one.data[..])).collect();
    assert_eq!(subscriptions, [("news", &b""[..]), ("sport", &br#"{"score":1}"#[..])]);
    assert!(identity.capabilities.allow("room.1", Permission::Subscribe));
    let anonymous = connection(&json!({"b64info": "/w=="})).unwrap();
    assert_eq!((&*anonymous.user, &anonymous.info[..]), ("", &[0xff][..]));
}

#[test]
fn a_subscriptions_token_is_for_one_channel() {
    let grant = subscription(&json!({
        "sub": "42", "channel": "$room", "client": "abc", "exp": 2_000, "iat": 900,
        "info": {"role": "host"}, "allow": ["pub", "hst"],
    }))
    .unwrap();
    assert_eq!((&*grant.user, grant.channel.as_str(), grant.client.as_deref()), ("42", "$room", Some("abc")));
    assert_eq!((grant.expires_at, &grant.info[..]), (Some(2_000), &br#"{"role":"host"}"#[..]));
    assert!(grant.permissions.allow(Permission::Publish) && !grant.permissions.allow(Permission::Presence));
}

#[test]
fn the_two_kinds_of_tokens_do_not_serve_for_each_other() {
    assert_eq!(connection(&json!({"sub": "42", "channel": "news"})).unwrap_err(), Denied::Invalid);
    assert_eq!(subscription(&json!({"sub": "42"})).unwrap_err(), Denied::Invalid);
    let tokens = tokens(&config());
    let token = sign(&json!({"sub": "42", "channel": "news"}), None, SECRET);
    assert!(tokens.subscription(&token, now()).is_ok());
    assert_eq!(
        tokens.connection(&token, now()).unwrap_err(),
        Denied::Invalid,
        "nor when they are remembered"
    );
}

#[test]
fn times_are_held_against_the_clock() {
    let expires_at = |claims: Value| connection(&claims).map(|identity| identity.expires_at);
    assert_eq!(expires_at(json!({"exp": NOW})), Err(Denied::Expired));
    assert_eq!(expires_at(json!({"exp": NOW + 1})), Ok(Some(NOW + 1)));
    assert_eq!(expires_at(json!({"nbf": NOW + 1})), Err(Denied::Invalid));
    assert_eq!(expires_at(json!({"nbf": NOW, "exp": "soon"})), Err(Denied::Invalid));
    assert_eq!(
        expires_at(json!({"exp": NOW + 1, "expire_at": 0})),
        Ok(None),
        "the token ends, the connection does not"
    );
    assert_eq!(expires_at(json!({"exp": NOW + 1, "expire_at": NOW + 50})), Ok(Some(NOW + 50)));
    let lenient =
        tokens(&TokenConfig { leeway: fanfare_cluster::quantity::Span(Duration::from_secs(5)), ..config() });
    let late = sign(&json!({"exp": NOW - 4}), None, SECRET);
    assert!(lenient.connection(&late, now()).is_ok());
    let too_late = sign(&json!({"exp": NOW - 5}), None, SECRET);
    assert_eq!(lenient.connection(&too_late, now()).unwrap_err(), Denied::Expired);
}

#[test]
fn audience_and_issuer_are_checked_where_they_are_configured() {
    let strict = tokens(&TokenConfig { audience: "app".into(), issuer: "idp".into(), ..config() });
    let connect = |claims: Value| strict.connection(&sign(&claims, None, SECRET), now()).map(drop);
    assert_eq!(connect(json!({"aud": "app", "iss": "idp"})), Ok(()));
    assert_eq!(connect(json!({"aud": ["web", "app"], "iss": "idp"})), Ok(()));
    for other in [
        json!({}),
        json!({"aud": "app"}),
        json!({"aud": "web", "iss": "idp"}),
        json!({"aud": [], "iss": "idp"}),
    ] {
        assert_eq!(connect(other.clone()), Err(Denied::Invalid), "{other}");
    }
}

#[test]
fn what_is_not_understood_is_invalid() {
    let long = "x".repeat(255);
    for claims in [
        json!({"sub": 42}),
        json!({"sub": long}),
        json!({"sub": "a\nb"}),
        json!({"channels": ["#other"]}),
        json!({"channels": [""]}),
        json!({"subs": {"news": {"override": {"presence": {"value": true}}}}}),
        json!({"caps": [{"channels": ["a"], "allow": ["everything"]}]}),
        json!({"b64info": "?"}),
        json!({"exp": -1}),
    ] {
        assert_eq!(connection(&claims).unwrap_err(), Denied::Invalid, "{claims}");
    }
    assert!(
        connection(&json!({"sub": "42", "name": "Ann", "groups": ["a"]})).is_ok(),
        "other claims are others' business"
    );
}

#[test]
fn a_token_names_its_key() {
    let keys = vec![
        TokenKey { kid: "new".into(), secret: "the new secret".into(), ..Default::default() },
        TokenKey { kid: "old".into(), secret: "the old secret".into(), ..Default::default() },
    ];
    let tokens = tokens(&TokenConfig { keys, ..config() });
    let connect = |kid: Option<&str>, secret: &str| {
        tokens.connection(&sign(&json!({"sub": "42"}), kid, secret), now()).map(drop)
    };
    assert_eq!(connect(Some("new"), "the new secret"), Ok(()));
    assert_eq!(connect(Some("old"), "the old secret"), Ok(()));
    assert_eq!(connect(Some("new"), "the old secret"), Err(Denied::Invalid));
    assert_eq!(connect(Some("new"), SECRET), Err(Denied::Invalid));
    assert_eq!(connect(None, SECRET), Ok(()));
    assert_eq!(connect(Some("unheard of"), SECRET), Ok(()), "keys without a name are for all others");
}

#[test]
fn a_remembered_token_still_expires_and_does_not_outlive_its_key() {
    let tokens = tokens(&config());
    let token = sign(&json!({"sub": "42", "exp": NOW + 10}), None, SECRET);
    let first = tokens.connection(&token, now()).unwrap();
    let again = tokens.connection(&token, now()).unwrap();
    assert!(Arc::ptr_eq(&first, &again), "it was not verified again");
    let later = now() + Duration::from_secs(10);
    assert_eq!(tokens.connection(&token, later).unwrap_err(), Denied::Expired);
    let rotated = TokenConfig { hmac_secret_key: "another secret".into(), ..config() };
    tokens.reload(&rotated).unwrap();
    assert_eq!(tokens.connection(&token, now()).unwrap_err(), Denied::Invalid);
}

#[test]
fn keys_that_cannot_be_used_are_named() {
    let error = |config: &TokenConfig| TokenAuthenticator::new(config, None).err().unwrap().to_string();
    assert!(error(&TokenConfig { rsa_public_key: "x".into(), ..config() }).contains("rsa_public_key"));
    let neither = TokenConfig { keys: vec![TokenKey::default()], ..config() };
    assert!(error(&neither).contains("client.token.keys[0]"));
    let missing = TokenKey { secret_file: "/does/not/exist".into(), ..Default::default() };
    assert!(error(&TokenConfig { keys: vec![missing], ..config() }).contains("/does/not/exist"));
    let tokens = tokens(&config());
    assert!(tokens.reload(&neither).is_err());
    assert!(tokens.connection(&sign(&json!({}), None, SECRET), now()).is_ok(), "all stays as it was");
}

#[test]
fn without_keys_no_token_is_good() {
    let keyless = tokens(&TokenConfig::default());
    for token in ["", "x", "a.b.c", &sign(&json!({"sub": "42"}), None, "")] {
        assert_eq!(keyless.connection(token, now()).unwrap_err(), Denied::Invalid);
    }
}
