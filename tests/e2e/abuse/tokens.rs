//! Tokens that are long, broken, forged, or full.

use fanfare_tests::sandbox::Sandbox;
use fanfare_tests::websocket::WebSocket;
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

use super::siege::{Siege, Verdict, next_verdict};
use crate::tokens::{signed_with, token, token_of};

fn verdict(server: &Sandbox, token: &str) -> Verdict {
    let mut socket = WebSocket::open(server.clients);
    socket.send_json(&json!({ "id": 1, "connect": { "token": token } }));
    next_verdict(&mut socket)
}

/// Claims that are more than a token should have.
fn crammed(count: usize) -> Map<String, Value> {
    let claims = (0..count).map(|number| (format!("c{number}"), json!(number)));
    claims.chain([("sub".to_owned(), json!("42"))]).collect()
}

fn deep_claims(depth: usize) -> Box<RawValue> {
    let deep = format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    RawValue::from_string(format!(r#"{{"sub":"42","later":{deep}}}"#)).expect("JSON")
}

#[test]
fn a_crowd_with_broken_and_forged_tokens_is_closed_with_3500() {
    let mut siege = Siege::begin();
    let good = token_of("42");
    let parts: Vec<_> = good.split('.').collect();
    let (head, claims, signature) = (parts[0], parts[1], parts[2]);
    let forged = |claims: &dyn Fn() -> Box<RawValue>| signed_with("another secret", &claims());
    let bad = [
        "x".repeat(16 * 1024 + 1),
        "x".repeat(60_000),
        ".".repeat(16_000),
        format!("{head}.{claims}.{signature}{}", "A".repeat(16_000)),
        format!("{head}.{claims}"),
        format!("{head}.{claims}.{signature}."),
        format!("{head}.{claims}.{}", signature.to_lowercase()),
        format!("{head}.{}.{signature}", "A".repeat(8_000)),
        format!("{}.{claims}.{signature}", "A".repeat(8_000)),
        format!("{head}==.{claims}.{signature}"),
        format!(" {good}"),
        "\u{1f3ba}.\u{1f3ba}.\u{1f3ba}".to_owned(),
        "%%%.***.\0\0\0".to_owned(),
        // {"alg":"none"}, {"alg":"HS256"} without the type, {"alg":"RS256"}: with an empty signature.
        format!("eyJhbGciOiJub25lIn0.{claims}."),
        format!("eyJhbGciOiJIUzI1NiJ9.{claims}."),
        format!("eyJhbGciOiJSUzI1NiJ9.{claims}.{signature}"),
        forged(&|| deep_claims(4_000)),
        signed_with("another secret", &crammed(500)),
    ];
    siege.attack("bad tokens", |server| {
        for token in bad.iter().cycle().take(200) {
            assert_eq!(verdict(server, token), Verdict::Closed(3500), "{token:.100}");
        }
    });
    siege.attack("bad tokens in a refresh", |server| {
        for token in &bad {
            let mut socket = WebSocket::open(server.clients);
            socket.command("connect", &json!({ "token": good }));
            socket.send_json(&json!({ "id": 9, "refresh": { "token": token } }));
            assert_eq!(next_verdict(&mut socket), Verdict::Closed(3500), "{token:.100}");
        }
    });
}

// A backend has signed these, so they are its own affair; what counts is that they hurt nobody.
#[test]
fn signed_tokens_with_deep_or_many_claims_are_read_up_to_their_limit() {
    let mut siege = Siege::begin();
    siege.attack("signed bombs", |server| {
        for token in [token(&deep_claims(4_000)), token(&crammed(700))] {
            assert!(token.len() <= 16 * 1024, "{}", token.len());
            for _ in 0..20 {
                assert_eq!(verdict(server, &token), Verdict::Served);
            }
        }
        for token in [token(&deep_claims(10_000)), token(&crammed(2_000))] {
            assert!(token.len() > 16 * 1024, "{}", token.len());
            assert_eq!(verdict(server, &token), Verdict::Closed(3500));
        }
    });
}
