//! Whose signatures count: every algorithm, keys by their names, published keys, issuer and audience.

#[expect(dead_code, reason = "the set of keys in it is for other tests")]
#[path = "../../data-plane/src/authenticator/jwt_vectors.rs"]
mod vectors;

use std::path::PathBuf;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use fanfare_tests::eventually::{eventually, eventually_is};
use fanfare_tests::sandbox::Sandbox;
use fanfare_tests::websocket::{Handshake, WebSocket};
use serde_json::{Value, json};

use crate::key_server::{KeyServer, NamedKey};
use crate::tokens::{SECRET, connect_outcome, connected_with, in_seconds, signed_with};
use vectors::{ED25519, P256, P384, P521, RSA, TOKENS};

/// The secret of the tokens that another library has made.
const THEIR_SECRET: &str = "a secret of more than 32 bytes, as it should be";

/// A temporary file with this text, which the server reads when it starts.
struct KeyFile(PathBuf);

impl KeyFile {
    fn new(name: &str, text: &str) -> Self {
        let file = std::env::temp_dir().join(format!("fanfare-key-{}-{name}", std::process::id()));
        std::fs::write(&file, text).expect("a temporary file can be written");
        Self(file)
    }

    /// An entry for the configuration: what the file holds, and the name of the key if it has one.
    fn entry(&self, what: &str, kid: Option<&str>) -> String {
        let kid = kid.map_or(String::new(), |kid| format!("kid = {kid:?}\n"));
        format!("[[client.token.keys]]\n{what} = {:?}\n{kid}", self.0.display().to_string())
    }
}

impl Drop for KeyFile {
    fn drop(&mut self) {
        // What is left in the temporary folder harms nobody.
        let _ = std::fs::remove_file(&self.0);
    }
}

#[test]
fn every_algorithm_is_verified_with_keys_from_files() {
    let keys = [("rsa", RSA), ("p256", P256), ("p384", P384), ("p521", P521), ("ed25519", ED25519)];
    let files = keys.map(|(name, pem)| KeyFile::new(&format!("all-{name}"), pem));
    let secret = KeyFile::new("all-secret", &format!("{THEIR_SECRET}\n"));
    let mut text: String = files.iter().map(|file| file.entry("public_key_file", None)).collect();
    text.push_str(&secret.entry("secret_file", None));
    let server = Sandbox::configured(&text);
    for (algorithm, token, _) in TOKENS {
        let (_, reply) = connected_with(&server, token);
        assert!(reply["subs"]["#42"].is_object(), "{algorithm}: {reply}");
        let (rest, signature) = token.rsplit_once('.').expect("it is a token");
        let header = rest.split('.').next().expect("it has a header");
        let others = BASE64_URL_SAFE_NO_PAD.encode(r#"{"sub":"43"}"#);
        assert_eq!(connect_outcome(&server, &format!("{header}.{others}.{signature}")), 3500, "{algorithm}");
        assert_eq!(connect_outcome(&server, &format!("{rest}.")), 3500, "{algorithm}, unsigned");
    }
    let header = BASE64_URL_SAFE_NO_PAD.encode(r#"{"alg":"none"}"#);
    let claims = BASE64_URL_SAFE_NO_PAD.encode(r#"{"sub":"42"}"#);
    assert_eq!(connect_outcome(&server, &format!("{header}.{claims}.")), 3500, "none is no algorithm");
    assert_eq!(connect_outcome(&server, &signed_with(RSA, &json!({ "sub": "42" }))), 3500, "no secret");
}

#[test]
fn a_key_with_a_name_is_for_tokens_that_say_it() {
    let (spring, autumn, unnamed) = (NamedKey::new("spring"), NamedKey::new("autumn"), NamedKey::new("-"));
    let files = [("spring", &spring), ("autumn", &autumn), ("unnamed", &unnamed)]
        .map(|(name, key)| KeyFile::new(&format!("named-{name}"), &key.public_pem()));
    let kids = [Some("spring"), Some("autumn"), None];
    let text: String = files.iter().zip(kids).map(|(file, kid)| file.entry("public_key_file", kid)).collect();
    let server = Sandbox::configured(&text);
    let ann = json!({ "sub": "ann" });
    let outcome = |key: &NamedKey, kid| connect_outcome(&server, &key.token_naming(kid, &ann));
    assert_eq!(outcome(&spring, Some("spring")), 0);
    assert_eq!(outcome(&autumn, Some("autumn")), 0);
    assert_eq!(outcome(&unnamed, None), 0);
    assert_eq!(outcome(&unnamed, Some("winter")), 0, "a name that nobody knows is no name");
    assert_eq!(outcome(&spring, Some("autumn")), 3500, "another's name");
    assert_eq!(outcome(&spring, Some("winter")), 3500);
    assert_eq!(outcome(&spring, None), 3500, "it has not said its name");
    assert_eq!(outcome(&unnamed, Some("spring")), 3500);
}

#[test]
fn a_token_must_be_for_us_by_the_issuer_in_its_time() {
    let text = format!(
        "[client.token]\nhmac_secret_key = \"{SECRET}\"\naudience = \"push\"\nissuer = \"idp\"\nleeway = \"1m\"\n"
    );
    let server = Sandbox::configured(&text);
    let good = json!({ "sub": "ann", "aud": "push", "iss": "idp" });
    let outcome = |key: &str, value: Value| {
        let mut claims = good.clone();
        claims[key] = value;
        connect_outcome(&server, &signed_with(SECRET, &claims))
    };
    assert_eq!(outcome("sub", json!("bob")), 0);
    assert_eq!(outcome("aud", json!(["web", "push"])), 0);
    assert_eq!(outcome("exp", json!(in_seconds(60))), 0);
    assert_eq!(outcome("exp", json!(in_seconds(-30))), 0, "a clock may be wrong by a minute");
    assert_eq!(outcome("nbf", json!(in_seconds(30))), 0);
    for (key, value, expected) in [
        ("aud", json!("web"), 3500),
        ("aud", Value::Null, 3500),
        ("iss", json!("other"), 3500),
        ("iss", Value::Null, 3500),
        ("nbf", json!(in_seconds(3_600)), 3500),
        ("exp", json!(in_seconds(-61)), 109),
        ("expire_at", json!(in_seconds(-61)), 110),
        ("exp", json!("soon"), 3500),
        ("sub", json!(7), 3500),
        ("sub", json!("x".repeat(255)), 3500),
        ("caps", json!([{ "channels": ["a"], "allow": ["fly"] }]), 3500),
        ("channel", json!("news"), 3500),
        ("channels", json!(["#bob"]), 3500),
        ("info", json!("x".repeat(20 << 10)), 3500),
    ] {
        let what = format!("{key} {value:.40}");
        assert_eq!(outcome(key, value), expected, "{what}");
    }
    assert_eq!(connect_outcome(&server, ""), 3501, "no token at all");
    assert_eq!(server.metric("fanfare_node_closes_total{code=\"3501\"}"), 1.0);
}

#[test]
fn published_keys_are_read_before_the_node_is_ready_and_again_when_a_token_needs_another() {
    let provider = KeyServer::start();
    let (old, new) = (NamedKey::new("old"), NamedKey::new("new"));
    let server = Sandbox::configured_unready(&provider.configuration());
    let ann = json!({ "sub": "ann" });
    eventually("it says what it waits for", || {
        let answer = server.readiness();
        (answer.starts_with("HTTP/1.1 503") && answer.contains("published token keys")).then_some(())
    });
    assert_eq!(connect_outcome(&server, &old.token(&ann)), 100, "the key may still come");
    provider.publish(&[&old]);
    server.wait_until_ready();
    assert_eq!(connect_outcome(&server, &old.token(&ann)), 0);
    assert_eq!(server.metric("fanfare_node_token_keys"), 1.0);

    provider.publish(&[&old, &new]);
    assert_eq!(connect_outcome(&server, &new.token(&ann)), 100, "a name that is not known yet");
    eventually_is("the new key is read", &0, || connect_outcome(&server, &new.token(&ann)));
    assert_eq!(connect_outcome(&server, &old.token(&ann)), 0);
    let nobodys = NamedKey::new("nobody's");
    assert_eq!(connect_outcome(&server, &nobodys.token(&ann)), 100);
    eventually_is("the set was read and does not have it", &3500, || {
        connect_outcome(&server, &nobodys.token(&ann))
    });
}

#[test]
fn while_the_keys_cannot_be_read_the_last_good_ones_hold() {
    let provider = KeyServer::start();
    let (old, new) = (NamedKey::new("old"), NamedKey::new("new"));
    provider.publish(&[&old]);
    let server = Sandbox::configured(&provider.configuration());
    provider.go_away();
    let claims = |number: u64| json!({ "sub": "ann", "jti": number.to_string() });
    assert_eq!(connect_outcome(&server, &new.token(&claims(0))), 100);
    eventually("a read has failed", || {
        (server.metric("fanfare_node_token_key_read_failures_total") >= 1.0).then_some(())
    });
    // Another token each time: a verified one is remembered.
    assert_eq!(connect_outcome(&server, &old.token(&claims(1))), 0);
    assert_eq!(connect_outcome(&server, &new.token(&claims(2))), 100, "it may still come");
    assert!(server.readiness().starts_with("HTTP/1.1 200"));
    provider.publish(&[&new]);
    eventually_is("the new key is read", &0, || connect_outcome(&server, &new.token(&claims(3))));
    // Its name is unknown now, so once more the key may come; then the old one is gone for good.
    eventually_is("the old key counts no more", &3500, || connect_outcome(&server, &old.token(&claims(4))));
    // What was verified with keys that are gone is not remembered either.
    assert_eq!(connect_outcome(&server, &old.token(&claims(1))), 3500);
}

#[test]
fn without_any_key_a_token_proves_nothing() {
    let server = Sandbox::configured("[client]\nallow_anonymous_connect_without_token = true\n");
    assert_eq!(connect_outcome(&server, &signed_with(SECRET, &json!({ "sub": "ann" }))), 3500);
    let mut anonymous = WebSocket::connect(server.clients);
    let refreshed = anonymous.outcome("refresh", &json!({ "token": signed_with(SECRET, &json!({})) }));
    assert_eq!(refreshed, 3500);
    assert_eq!(Handshake::default().answer(server.clients).0, 101, "all else goes on");
}
