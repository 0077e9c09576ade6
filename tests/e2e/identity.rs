//! Who a client is, and what the server subscribes it to: anonymous, named by a proxy, by token.

use std::sync::atomic::{AtomicBool, Ordering};

use fanfare_tests::sandbox::Sandbox;
use fanfare_tests::websocket::{Handshake, WebSocket};
use serde_json::{Value, json};

use crate::tokens::{connect_outcome, connected_with, token, token_of};

#[test]
fn who_names_no_user_is_anonymous_where_that_is_allowed() {
    let server = Sandbox::start();
    let (mut nobody, reply) = connected_with(&server, &token(&json!({ "caps": [] })));
    assert!(reply["subs"].is_null(), "it has no personal channel: {reply}");
    assert_eq!(nobody.outcome("subscribe", &json!({ "channel": "news" })), 0);

    let strict = Sandbox::start_with(&["client.disallow_anonymous_connection_tokens=true"]);
    assert_eq!(connect_outcome(&strict, &token(&json!({}))), 3507);
    assert_eq!(connect_outcome(&strict, &token(&json!({ "sub": "" }))), 3507);
    assert_eq!(connect_outcome(&strict, &token_of("ann")), 0);
    assert_eq!(connect_outcome(&strict, ""), 0, "another key says whether one may come without any token");
    let closed = Sandbox::start_with(&["client.allow_anonymous_connect_without_token=false"]);
    assert_eq!(connect_outcome(&closed, ""), 3501);
    assert_eq!(connect_outcome(&closed, &token(&json!({}))), 0);
}

#[test]
fn a_trusted_proxy_says_who_the_user_is() {
    let server = Sandbox::start_with(&[
        "client.user_id_http_header=X-User-Id",
        "client.allow_anonymous_connect_without_token=false",
    ]);
    let subs = |handshake: &Handshake, connect: Value| {
        handshake.open(server.clients).command("connect", &connect)["connect"]["subs"].take()
    };
    let ann = Handshake::default().header("X-User-Id", "ann");
    assert_eq!(subs(&ann, json!({})), json!({ "#ann": {} }));
    assert_eq!(subs(&ann, json!({ "token": token_of("bob") })), json!({ "#bob": {} }), "a token is stronger");
    for nobody in [Handshake::default(), Handshake::default().header("X-User-Id", "")] {
        assert_eq!(nobody.open(server.clients).outcome("connect", &json!({})), 3501);
    }
    let long = Handshake::default().header("X-User-Id", &"x".repeat(255));
    assert_eq!(long.answer(server.clients).0, 400);
    let twice = Handshake::default().header("X-User-Id", "ann\r\nX-User-Id: bob");
    assert_eq!(twice.answer(server.clients).0, 400);
    let distrustful = Sandbox::start_with(&["client.allow_anonymous_connect_without_token=false"]);
    assert_eq!(ann.open(distrustful.clients).outcome("connect", &json!({})), 3501);
}

#[test]
fn a_token_brings_subscriptions_with_what_it_says_of_each() {
    let server = Sandbox::start();
    let claims = json!({
        "sub": "ann",
        "info": { "name": "Ann" },
        "channels": ["news", "$secret"],
        "subs": { "room": { "info": { "role": "host" }, "data": { "topic": ["a", 1] } }, "b64": { "b64data": "MQ==" } },
    });
    let (mut ann, reply) = connected_with(&server, &token(&claims));
    let expected = json!({
        "#ann": {}, "news": {}, "$secret": {}, "room": { "data": { "topic": ["a", 1] } }, "b64": { "data": 1 },
    });
    assert_eq!(reply["subs"], expected, "{reply}");
    for channel in ["news", "$secret", "room", "b64"] {
        assert_eq!(server.push(channel, "7").written, 1, "{channel}");
        assert_eq!(ann.next_data(channel), 7);
    }
    // Others see of a member what its token says of it in this channel.
    let mut reader = WebSocket::subscribed(server.clients, "room");
    assert_eq!(ann.outcome("publish", &json!({ "channel": "room", "data": 1 })), 0);
    let info = reader.next_message()["push"]["pub"]["info"].take();
    assert_eq!(
        (&info["conn_info"], &info["chan_info"]),
        (&json!({ "name": "Ann" }), &json!({ "role": "host" }))
    );
    assert_eq!(ann.outcome("subscribe", &json!({ "channel": "room" })), 105);
    assert_eq!(ann.outcome("unsubscribe", &json!({ "channel": "news" })), 0);
    assert_eq!(server.push("news", "8").written, 0);
}

// What stands in a token goes out as it stands there, but a line break would end the message.
#[test]
fn what_a_token_says_on_several_lines_stays_one_message() {
    let server = Sandbox::start();
    let claims = "{\n \"sub\": \"ann\",\n \"info\": {\n  \"name\": \"Ann\"\n },\n \"subs\": {\"room\": {\"data\": [\n1,\r\n2 ]}}\n}";
    let raw: Box<serde_json::value::RawValue> = serde_json::from_str(claims).expect("it is JSON");
    let (mut ann, reply) = connected_with(&server, &token(&raw));
    assert_eq!(reply["subs"]["room"], json!({ "data": [1, 2] }));
    assert_eq!(ann.outcome("publish", &json!({ "channel": "room", "data": 1 })), 0);
    assert_eq!(ann.next_message()["push"]["pub"]["info"]["conn_info"], json!({ "name": "Ann" }));
}

#[test]
fn a_token_that_brings_what_cannot_be_had_is_refused() {
    let server = Sandbox::start_with(&["client.channel_limit=3"]);
    let outcome = |claims: Value| connect_outcome(&server, &token(&claims));
    assert_eq!(outcome(json!({ "sub": "ann", "channels": ["a", "b"] })), 0);
    assert_eq!(
        outcome(json!({ "channels": ["a", "b", "c"] })),
        0,
        "without a user there is no personal channel"
    );
    assert_eq!(outcome(json!({ "sub": "ann", "channels": ["a", "b", "c"] })), 3505);
    assert_eq!(outcome(json!({ "sub": "ann", "channels": ["a"], "subs": { "b": {}, "c": {} } })), 3505);
    assert_eq!(server.metric("fanfare_node_closes_total{code=\"3505\"}"), 2.0);
    let mut client = WebSocket::open(server.clients);
    let nowhere = token(&json!({ "sub": "ann", "channels": ["a", "nowhere:b"] }));
    assert_eq!(client.outcome("connect", &json!({ "token": nowhere })), 102);
    assert_eq!(client.outcome("connect", &json!({})), 3501, "after an error nothing else may come");
    assert_eq!(outcome(json!({ "sub": "ann", "channels": ["a\nb"] })), 3500);
    assert_eq!(outcome(json!({ "sub": "ann", "subs": { "a": { "override": {} } } })), 3500, "not built yet");
    assert_eq!(server.metric("fanfare_node_subscriptions"), 0.0, "nothing is left of those who were refused");
}

/// Publishes to a channel, each time the next number, until told to stop.
fn pour(server: &Sandbox, channel: &str, stop: &AtomicBool) {
    let mut publisher = WebSocket::connect(server.clients);
    let mut number = 0;
    while !stop.load(Ordering::Relaxed) {
        assert_eq!(publisher.outcome("publish", &json!({ "channel": channel, "data": number })), 0);
        number += 1;
    }
}

#[test]
fn nothing_arrives_before_the_reply_to_connect_however_much_is_published() {
    const POURED: [&str; 3] = ["0", "1", "2"];
    let server = Sandbox::start_with(&["client.command_rate_limit=0"]);
    // Some channels are live while others still wait for their owners.
    let channels: Vec<_> = (0..120).map(|number| number.to_string()).collect();
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for channel in POURED {
            scope.spawn(|| pour(&server, channel, &stop));
        }
        for round in 0..40 {
            let mut client = WebSocket::open(server.clients);
            let user = format!("user {round}");
            let connect = json!({ "token": token(&json!({ "sub": user, "channels": channels })) });
            client.send_json(&json!({ "id": 1, "connect": connect }));
            let first = client.next_message();
            assert_eq!(
                first["connect"]["subs"].as_object().map(serde_json::Map::len),
                Some(121),
                "{first:.200}"
            );
            // And from there on nothing is missing.
            let mut seen = [(); POURED.len()].map(|()| Vec::new());
            while seen.iter().any(|numbers| numbers.len() < 5) {
                let push = client.next_message()["push"].take();
                let channel =
                    POURED.iter().position(|channel| push["channel"] == *channel).expect("one of them");
                seen[channel].push(push["pub"]["data"].as_u64().expect("a number"));
            }
            for numbers in seen {
                assert!(numbers.windows(2).all(|pair| pair[0] + 1 == pair[1]), "{numbers:?}");
            }
        }
        stop.store(true, Ordering::Relaxed);
    });
}
