//! Which channels are open to whom: by namespace, by the channel's name, by subscription token, by capability.

use fanfare_proto::v1::target::Kind;
use fanfare_tests::sandbox::{Sandbox, push_request};
use fanfare_tests::websocket::WebSocket;
use serde_json::{Value, json};

use crate::tokens::{SECRET, connected_with, in_seconds, signed_with};

fn namespaces() -> Sandbox {
    Sandbox::configured(&format!(
        r#"
[client]
allow_anonymous_connect_without_token = true

[client.token]
hmac_secret_key = "{SECRET}"

[channel.personal]
history_size = 0
history_ttl = "0s"

[channel.without_namespace]
allow_subscribe_for_client = true

[[channel.namespaces]]
name = "open"
allow_subscribe_for_client = true
allow_subscribe_for_anonymous = true
allow_publish_for_subscriber = true

[[channel.namespaces]]
name = "board"
allow_publish_for_client = true

[[channel.namespaces]]
name = "users"
allow_user_limited_channels = true
allow_subscribe_for_client = true
allow_publish_for_subscriber = true

[[channel.namespaces]]
name = "rooms"
allow_subscribe_for_client = true
allow_publish_for_client = true
channel_regex = "^[0-9]+$"

[[channel.namespaces]]
name = "closed"
"#
    ))
}

fn signed(claims: &Value) -> String {
    signed_with(SECRET, claims)
}

fn user(server: &Sandbox, name: &str) -> WebSocket {
    connected_with(server, &signed(&json!({ "sub": name }))).0
}

fn subscribe(client: &mut WebSocket, channel: &str) -> u64 {
    client.outcome("subscribe", &json!({ "channel": channel }))
}

fn publish(client: &mut WebSocket, channel: &str) -> u64 {
    client.outcome("publish", &json!({ "channel": channel, "data": 1 }))
}

#[test]
fn a_channel_has_the_options_of_its_namespace_and_no_others() {
    let server = namespaces();
    let (mut ann, mut nobody) = (user(&server, "ann"), WebSocket::connect(server.clients));
    for (channel, for_ann, for_nobody) in [
        ("news", 0, 103),
        ("open:a", 0, 0),
        ("board:a", 103, 103),
        ("closed:a", 103, 103),
        ("rooms:7", 0, 103),
        ("rooms:", 107, 107),
        ("rooms:x7", 107, 107),
        ("nowhere:a", 102, 102),
        (":a", 102, 102),
        ("Open:a", 102, 102),
    ] {
        assert_eq!(subscribe(&mut ann, channel), for_ann, "{channel}");
        assert_eq!(subscribe(&mut nobody, channel), for_nobody, "{channel}");
    }
    for (channel, for_ann, for_nobody) in [
        ("news", 103, 103),
        ("open:a", 0, 0),
        ("open:b", 103, 103),
        ("board:a", 0, 103),
        ("rooms:8", 0, 103),
        ("rooms:x", 107, 107),
        ("nowhere:a", 102, 102),
    ] {
        assert_eq!(publish(&mut ann, channel), for_ann, "{channel}");
        assert_eq!(publish(&mut nobody, channel), for_nobody, "{channel}");
    }
    nobody.outcome("unsubscribe", &json!({ "channel": "open:a" }));
    assert_eq!(publish(&mut nobody, "open:a"), 103, "it is no subscriber any more");
    let refused = |channel: &str| {
        server.publish(push_request(Kind::Channel(channel.to_owned()), "1")).map_err(|status| status.code())
    };
    assert_eq!(refused("nowhere:a").expect_err("unknown"), tonic::Code::InvalidArgument);
    assert_eq!(refused("rooms:x").expect_err("the name is wrong"), tonic::Code::InvalidArgument);
    assert!(refused("closed:a").is_ok(), "backends may always push");
}

#[test]
fn a_name_can_limit_a_channel_to_users() {
    let server = namespaces();
    let (mut ann, mut bob) = (user(&server, "ann"), user(&server, "bob"));
    let mut nobody = WebSocket::connect(server.clients);
    assert_eq!(subscribe(&mut ann, "users:x#bob,ann"), 0);
    assert_eq!(publish(&mut ann, "users:x#bob,ann"), 0);
    assert_eq!(subscribe(&mut bob, "users:x#bob,ann"), 0);
    assert_eq!(subscribe(&mut ann, "users:x#bob"), 103, "though clients may subscribe");
    assert_eq!(subscribe(&mut ann, "users:x#annabel"), 103);
    assert_eq!(subscribe(&mut nobody, "users:x#"), 103, "nobody is no user");
    assert_eq!(subscribe(&mut ann, "users:x"), 0);
    assert_eq!(subscribe(&mut ann, "news#bob"), 0, "where names do not limit, it is a name like any other");
}

#[test]
fn a_private_channel_needs_a_token_that_fits_the_channel_the_user_and_the_connection() {
    let server = namespaces();
    let (_, connect) = connected_with(&server, &signed(&json!({ "sub": "ann" })));
    let other_id = connect["client"].clone();
    let outcome = |claims: Value| {
        let (mut ann, _) = connected_with(&server, &signed(&json!({ "sub": "ann" })));
        ann.outcome("subscribe", &json!({ "channel": "$closed:a", "token": signed(&claims) }))
    };
    assert_eq!(outcome(json!({ "sub": "ann", "channel": "$closed:a", "exp": in_seconds(60) })), 0);
    assert_eq!(outcome(json!({ "sub": "ann", "channel": "$closed:a", "exp": in_seconds(-1) })), 109);
    assert_eq!(outcome(json!({ "sub": "ann", "channel": "$closed:a", "expire_at": in_seconds(-1) })), 110);
    assert_eq!(outcome(json!({ "sub": "ann", "channel": "$closed:b" })), 3500);
    assert_eq!(outcome(json!({ "sub": "bob", "channel": "$closed:a" })), 3500);
    assert_eq!(outcome(json!({ "channel": "$closed:a" })), 3500);
    assert_eq!(outcome(json!({ "sub": "ann", "channel": "$closed:a", "client": other_id })), 3500);
    assert_eq!(outcome(json!({ "sub": "ann" })), 103, "a connection's token");

    let (mut ann, connect) = connected_with(&server, &signed(&json!({ "sub": "ann" })));
    assert_eq!(subscribe(&mut ann, "$closed:a"), 103);
    assert_eq!(subscribe(&mut ann, "$news"), 103);
    let mut with = |channel: &str, token: String| {
        ann.outcome("subscribe", &json!({ "channel": channel, "token": token }))
    };
    let forged = signed_with("another secret of thirty-two bytes", &json!({ "sub": "ann", "channel": "$a" }));
    assert_eq!(with("$a", forged), 103);
    assert_eq!(with("$a", "no token".to_owned()), 103);
    assert_eq!(with("#bob", signed(&json!({ "sub": "ann", "channel": "#bob" }))), 103);
    assert_eq!(with("$nowhere:a", signed(&json!({ "sub": "ann", "channel": "$nowhere:a" }))), 102);
    let bound = json!({ "sub": "ann", "channel": "closed:c", "client": connect["client"], "allow": ["pub"] });
    assert_eq!(with("closed:c", signed(&bound)), 0, "a token opens what the options close");
    assert_eq!(publish(&mut ann, "closed:c"), 0);
    let silent = signed(&json!({ "sub": "ann", "channel": "$closed:a" }));
    assert_eq!(ann.outcome("subscribe", &json!({ "channel": "$closed:a", "token": silent })), 0);
    assert_eq!(publish(&mut ann, "$closed:a"), 103, "nobody has allowed it");
    let mut nobody = WebSocket::connect(server.clients);
    let nobodys = signed(&json!({ "channel": "$closed:a" }));
    assert_eq!(nobody.outcome("subscribe", &json!({ "channel": "$closed:a", "token": nobodys })), 0);
}

#[test]
fn a_token_says_what_its_bearer_can_do_where() {
    let server = namespaces();
    let caps = json!([
        { "channels": ["closed:news", "$closed:a"], "allow": ["sub"] },
        { "channels": ["closed:ann.*"], "match": "wildcard", "allow": ["sub", "pub"] },
        { "channels": ["closed:room-[0-9]+"], "match": "regex", "allow": ["pub", "prs", "hst"] },
    ]);
    let (mut ann, _) = connected_with(&server, &signed(&json!({ "sub": "ann", "caps": caps })));
    for (channel, may_subscribe, may_publish) in [
        ("closed:news", true, false),
        ("closed:newspaper", false, false),
        ("closed:ann.a", true, true),
        ("closed:ann.", true, true),
        ("closed:anna", false, false),
        ("closed:room-42", false, true),
        ("closed:room-", false, false),
        ("closed:room-1b", false, false),
        ("$closed:a", false, false),
    ] {
        assert_eq!(publish(&mut ann, channel), if may_publish { 0 } else { 103 }, "publish to {channel}");
        assert_eq!(
            subscribe(&mut ann, channel),
            if may_subscribe { 0 } else { 103 },
            "subscribe to {channel}"
        );
    }
    // They count from the token of a refresh on.
    let caps = json!([{ "channels": ["closed:news"], "allow": ["pub"] }]);
    let token = signed(&json!({ "sub": "ann", "caps": caps }));
    assert_eq!(ann.outcome("refresh", &json!({ "token": token })), 0);
    assert_eq!(publish(&mut ann, "closed:news"), 0);
    assert_eq!(publish(&mut ann, "closed:ann.a"), 103);
}

#[test]
fn a_personal_channel_is_its_users_and_only_the_server_subscribes_to_it() {
    let server = namespaces();
    let caps = json!([{ "channels": ["*"], "match": "wildcard", "allow": ["sub", "pub"] }]);
    let (mut ann, reply) = connected_with(&server, &signed(&json!({ "sub": "ann", "caps": caps })));
    assert_eq!(reply["subs"], json!({ "#ann": {} }));
    for channel in ["#ann", "#bob", "#"] {
        assert!(matches!(subscribe(&mut ann, channel), 103 | 105), "{channel}");
        assert_eq!(publish(&mut ann, channel), 103, "{channel}");
        assert_eq!(ann.outcome("unsubscribe", &json!({ "channel": channel })), 103, "{channel}");
    }
    let pushed = server.publish(push_request(Kind::User("ann".to_owned()), "1")).expect("it is accepted");
    assert_eq!(pushed.receipt.expect("there is a receipt").written, 1);
    assert_eq!(ann.next_data("#ann"), 1);
}

#[test]
fn a_personal_channel_can_be_kept_from_sdks() {
    let server = Sandbox::start_with(&["client.user_personal_channel=false"]);
    let token = crate::tokens::token(&json!({ "sub": "ann", "channels": ["news"] }));
    let (mut ann, reply) = connected_with(&server, &token);
    assert_eq!(reply["subs"], json!({ "news": {} }));
    let (mut phone, reply) = connected_with(&server, &crate::tokens::token_of("ann"));
    assert!(reply["subs"].is_null(), "{reply}");
    let pushed = server.publish(push_request(Kind::User("ann".to_owned()), "{\"a\":1}"));
    let receipt = pushed.expect("it is accepted").receipt.expect("there is a receipt");
    assert_eq!((receipt.written, receipt.user_offline), (2, false));
    for client in [&mut ann, &mut phone] {
        assert_eq!(client.next_message(), json!({ "push": { "message": { "data": { "a": 1 } } } }));
    }
}

#[test]
fn others_see_what_a_subscription_token_says_of_its_bearer() {
    let server = namespaces();
    let (mut ann, _) = connected_with(&server, &signed(&json!({ "sub": "ann", "info": "conn" })));
    let mut reader = WebSocket::subscribed(server.clients, "open:a");
    let token = signed(&json!({ "sub": "ann", "channel": "open:a", "info": { "seat": 7 } }));
    assert_eq!(ann.outcome("subscribe", &json!({ "channel": "open:a", "token": token })), 0);
    assert_eq!(publish(&mut ann, "open:a"), 0);
    let info = reader.next_message()["push"]["pub"]["info"].take();
    assert_eq!((&info["user"], &info["conn_info"]), (&json!("ann"), &json!("conn")));
    assert_eq!(info["chan_info"], json!({ "seat": 7 }));
    // It is this channel's, and gone with the subscription.
    assert_eq!(publish(&mut ann, "board:a"), 0);
    ann.outcome("unsubscribe", &json!({ "channel": "open:a" }));
    assert_eq!(subscribe(&mut ann, "open:a"), 0);
    assert_eq!(publish(&mut ann, "open:a"), 0);
    let info = reader.next_message()["push"]["pub"]["info"].take();
    assert!(info["chan_info"].is_null() && info["conn_info"] == "conn", "{info}");
}
