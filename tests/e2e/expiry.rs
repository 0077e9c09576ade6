//! Credentials that end while their client is connected, and how they are renewed.

use fanfare_tests::sandbox::Sandbox;
use fanfare_tests::websocket::WebSocket;
use serde_json::{Value, json};

use crate::tokens::{connect_outcome, connected_with, in_seconds, token};

/// Ends connections and subscriptions as soon as what they were granted is over.
fn strict() -> Sandbox {
    Sandbox::start_with(&["client.expired_close_delay=0ms", "client.expired_sub_close_delay=0ms"])
}

fn ending(user: &str, seconds: i64) -> String {
    token(&json!({ "sub": user, "exp": in_seconds(seconds) }))
}

/// Waits, with a connection that is not renewed, until what ends within so many seconds has ended.
fn let_pass(server: &Sandbox, seconds: i64) {
    let (mut clock, _) = connected_with(server, &ending("clock", seconds));
    assert_eq!(clock.close_code(), 3005);
}

fn is_served(client: &mut WebSocket) {
    assert_eq!(client.outcome("rpc", &json!({})), 108);
}

/// The ttl of a reply that says that something ends.
fn ttl(result: &Value) -> i64 {
    assert_eq!(result["expires"], true, "{result}");
    result["ttl"].as_i64().unwrap_or_else(|| panic!("{result} has no ttl"))
}

#[test]
fn a_connection_ends_with_its_token_unless_it_is_refreshed() {
    let server = strict();
    let (mut stays, reply) = connected_with(&server, &ending("ann", 2));
    assert!((1..=2).contains(&ttl(&reply)), "{reply}");
    let reply = stays.command("refresh", &json!({ "token": ending("ann", 3_600) }));
    assert!((3_500..=3_600).contains(&ttl(&reply["refresh"])), "{reply}");
    let_pass(&server, 2);
    is_served(&mut stays);
    assert_eq!(server.metric("fanfare_node_closes_total{code=\"3005\"}"), 1.0);
    // A token without an end makes it last for ever.
    let reply = stays.command("refresh", &json!({ "token": token(&json!({ "sub": "ann" })) }));
    assert_eq!(reply["refresh"], json!({}), "{reply}");
}

#[test]
fn a_refresh_may_come_late_within_the_delay() {
    let server = Sandbox::start_with(&["client.expired_close_delay=1h"]);
    let quick = strict();
    let (mut late, _) = connected_with(&server, &ending("ann", 1));
    let_pass(&quick, 1);
    assert_eq!(late.outcome("refresh", &json!({ "token": ending("ann", 60) })), 0);
    is_served(&mut late);
}

#[test]
fn a_refresh_must_be_by_a_token_that_is_good_and_the_same_users() {
    let server = strict();
    let outcome = |request: Value| {
        let claims = json!({ "sub": "ann", "exp": in_seconds(60), "channels": ["a", "b"] });
        connected_with(&server, &token(&claims)).0.outcome("refresh", &request)
    };
    let with = |claims: Value| outcome(json!({ "token": token(&claims) }));
    assert_eq!(with(json!({ "sub": "ann", "channels": ["b"], "subs": { "a": { "info": 1 } } })), 0);
    assert_eq!(with(json!({ "sub": "ann", "channels": ["a", "b"], "exp": in_seconds(-1) })), 3005);
    assert_eq!(with(json!({ "sub": "bob", "channels": ["a", "b"] })), 3500);
    assert_eq!(with(json!({ "channels": ["a", "b"] })), 3500);
    assert_eq!(with(json!({ "sub": "ann", "channels": ["a", "c"] })), 3010);
    assert_eq!(with(json!({ "sub": "ann" })), 3010);
    assert_eq!(with(json!({ "sub": "ann", "channel": "a" })), 3500, "a subscription's token");
    assert_eq!(outcome(json!({ "token": "no token" })), 3500);
    assert_eq!(outcome(json!({})), 3501);
}

#[test]
fn a_connection_may_end_at_another_time_than_its_token() {
    let server = strict();
    let claims = |exp: i64, expire_at: i64| json!({ "sub": "ann", "exp": exp, "expire_at": expire_at });
    // A token that is good for a moment opens a connection for ever, or for an hour.
    let (mut for_ever, reply) = connected_with(&server, &token(&claims(in_seconds(1), 0)));
    assert!(reply["expires"].is_null() && reply["ttl"].is_null(), "{reply}");
    let (mut for_an_hour, reply) = connected_with(&server, &token(&claims(in_seconds(1), in_seconds(3_600))));
    assert!(ttl(&reply) > 3_500, "{reply}");
    // And one that is good for an hour a connection for a moment.
    let (mut short, _) = connected_with(&server, &token(&claims(in_seconds(3_600), in_seconds(1))));
    assert_eq!(short.close_code(), 3005);
    let_pass(&server, 1);
    is_served(&mut for_ever);
    is_served(&mut for_an_hour);
    assert_eq!(connect_outcome(&server, &token(&claims(in_seconds(-1), in_seconds(3_600)))), 109);
    assert_eq!(connect_outcome(&server, &token(&claims(in_seconds(3_600), in_seconds(-1)))), 110);
}

/// A client's token for a channel.
fn grant(channel: &str, seconds: i64) -> Value {
    let claims = json!({ "sub": "ann", "channel": channel, "exp": in_seconds(seconds) });
    json!({ "channel": channel, "token": token(&claims) })
}

#[test]
fn a_subscription_ends_with_its_token_unless_it_is_refreshed() {
    let server = strict();
    let (mut ann, _) = connected_with(&server, &token(&json!({ "sub": "ann" })));
    let channels = ["$stays", "$without", "$ends", "$for-ever"];
    for channel in &channels[..3] {
        let reply = ann.command("subscribe", &grant(channel, 2));
        assert!((1..=2).contains(&ttl(&reply["subscribe"])), "{reply}");
    }
    let for_ever =
        token(&json!({ "sub": "ann", "channel": "$for-ever", "exp": in_seconds(2), "expire_at": 0 }));
    let reply = ann.command("subscribe", &json!({ "channel": "$for-ever", "token": for_ever }));
    assert_eq!(reply["subscribe"], json!({}), "{reply}");
    let reply = ann.command("sub_refresh", &grant("$stays", 3_600));
    assert!(ttl(&reply["sub_refresh"]) > 3_500, "{reply}");
    // The Python SDK leaves the channel out.
    let mut nameless = grant("$without", 3_600);
    nameless["channel"] = json!("");
    assert!(ttl(&ann.command("sub_refresh", &nameless)["sub_refresh"]) > 3_500);

    let push = ann.next_message()["push"].take();
    assert_eq!((&push["channel"], &push["unsubscribe"]["code"]), (&json!("$ends"), &json!(2501)), "{push}");
    let written = channels.map(|channel| server.push(channel, "1").written);
    assert_eq!(written, [1, 1, 0, 1], "{channels:?}");
    for channel in ["$stays", "$without", "$for-ever"] {
        assert_eq!(ann.next_data(channel), 1);
    }
    // It may come back with another token.
    assert_eq!(ann.outcome("subscribe", &grant("$ends", 60)), 0);
    assert_eq!(server.push("$ends", "2").written, 1);
}

#[test]
fn a_subscription_is_refreshed_by_a_token_that_fits_it() {
    let server = strict();
    let outcome = |request: Value| {
        let (mut ann, _) = connected_with(&server, &token(&json!({ "sub": "ann" })));
        assert_eq!(ann.outcome("subscribe", &grant("$a", 60)), 0);
        ann.outcome("sub_refresh", &request)
    };
    let with = |claims: Value| outcome(json!({ "channel": "$a", "token": token(&claims) }));
    assert_eq!(with(json!({ "sub": "ann", "channel": "$a" })), 0);
    assert_eq!(with(json!({ "sub": "ann", "channel": "$a", "exp": in_seconds(-1) })), 110);
    assert_eq!(with(json!({ "sub": "bob", "channel": "$a" })), 3500);
    assert_eq!(with(json!({ "sub": "ann", "channel": "$b" })), 3500);
    assert_eq!(with(json!({ "sub": "ann" })), 3500, "a connection's token");
    assert_eq!(outcome(grant("$b", 60)), 103, "not subscribed");
    assert_eq!(outcome(json!({ "channel": "$a" })), 107);
    assert_eq!(outcome(json!({ "channel": "$b" })), 103);
    assert_eq!(outcome(json!({})), 3501);
}
