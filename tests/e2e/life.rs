//! How a connection lives by the clock: connecting in time, pings both ways, tokens that end.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use fanfare_proto::v1::target::Kind;
use fanfare_tests::sandbox::{Sandbox, push_request};
use fanfare_tests::websocket::{Frame, Handshake, PING, PONG, TEXT, WebSocket};
use serde_json::value::RawValue;
use serde_json::{Value, json};

use crate::bystander::Bystander;
use crate::tokens::{signed_with, token, token_of};

const OFTEN: [&str; 2] = ["client.ping_interval=1s", "client.pong_timeout=300ms"];
const FRAME_PINGS: &str = "/connection/websocket?cf_ws_frame_ping_pong=true";

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("it is after 1970").as_secs()
}

/// Connects with a token and returns the reply.
fn connect_with(client: &mut WebSocket, token: &str) -> Value {
    client.command("connect", &json!({ "token": token }))
}

#[test]
fn who_does_not_connect_in_time_is_stale() {
    let server = Sandbox::start_with(&["client.stale_close_delay=300ms"]);
    let mut bystander = Bystander::of(&server);
    for _ in 0..4 {
        let started = Instant::now();
        let mut silent = WebSocket::open(server.clients);
        assert_eq!(silent.close_code(), 3502);
        assert!(started.elapsed() >= Duration::from_millis(300), "too early: {:?}", started.elapsed());
    }
    // Answers to nobody and pieces of a message are no connect.
    let mut busy = WebSocket::open(server.clients);
    busy.send(&Frame::new(PONG, ""));
    busy.send(&Frame::new(PING, ""));
    busy.send(&Frame::unfinished(TEXT, "{"));
    assert_eq!(busy.close_code(), 3502);
    busy.send(&Frame::close(3502));
    busy.ends();
    bystander.is_served(&server);
}

#[test]
fn pings_come_again_and_again_and_are_answered_with_an_empty_message() {
    let server = Sandbox::start_with(&OFTEN);
    let mut client = WebSocket::open(server.clients);
    let connected = client.say_connect();
    assert_eq!((&connected["ping"], &connected["pong"]), (&json!(1), &json!(true)));
    let started = Instant::now();
    for _ in 0..3 {
        assert_eq!(client.read_json(), json!({}));
        // A pong may come together with commands.
        client.send_text("{}\n{\"id\":9,\"rpc\":{}}");
        assert_eq!(client.read_json()["id"], 9);
    }
    let elapsed = started.elapsed();
    assert!(elapsed >= Duration::from_millis(2400), "three pings in {elapsed:?}");
}

#[test]
fn who_does_not_answer_a_ping_is_closed_with_3012() {
    let server = Sandbox::start_with(&OFTEN);
    let mut client = WebSocket::connect(server.clients);
    assert_eq!(client.read_json(), json!({}));
    let pinged = Instant::now();
    // Other commands and pong frames are no answer.
    client.send_json(&json!({ "id": 9, "rpc": {} }));
    client.send(&Frame::new(PONG, ""));
    assert_eq!(client.read_json()["id"], 9);
    assert_eq!(client.close_code(), 3012);
    let elapsed = pinged.elapsed();
    assert!(elapsed >= Duration::from_millis(200), "{elapsed:?}");
    assert_eq!(server.metric("fanfare_node_connections"), 0.0);
}

#[test]
fn a_second_pong_is_one_that_nobody_asked_for() {
    let server = Sandbox::start_with(&OFTEN);
    let mut client = WebSocket::connect(server.clients);
    assert_eq!(client.read_json(), json!({}));
    client.send_text("{}\n{}");
    assert_eq!(client.close_code(), 3501);
}

#[test]
fn who_asks_for_ping_frames_gets_these_and_is_closed_without_pong_frames() {
    let server = Sandbox::start_with(&OFTEN);
    let mut client = Handshake::to(FRAME_PINGS).open(server.clients);
    let connected = client.say_connect();
    assert!(connected["ping"].is_null() && connected["pong"].is_null(), "{connected}");
    for _ in 0..2 {
        let ping = client.read_frame().expect("a ping");
        assert_eq!(ping.opcode, PING);
        client.send(&Frame::new(PONG, ping.payload));
    }
    assert_eq!(client.read_frame().expect("a ping").opcode, PING);
    assert_eq!(client.close_code(), 3012);
}

#[test]
fn an_empty_message_is_no_pong_for_who_asked_for_ping_frames() {
    let server = Sandbox::start();
    let mut client = Handshake::to(FRAME_PINGS).open(server.clients);
    client.say_connect();
    client.send_text("{}");
    assert_eq!(client.close_code(), 3501);
}

#[test]
fn a_user_has_its_personal_channel_from_the_connect_on() {
    let server = Sandbox::start();
    let mut client = WebSocket::open(server.clients);
    let reply = connect_with(&mut client, &token(&json!({ "sub": "42", "info": { "name": "Ann" } })));
    assert_eq!(reply["connect"]["subs"], json!({ "#42": {} }));
    assert!(reply["connect"]["expires"].is_null(), "{reply}");
    let receipt = server.publish(push_request(Kind::User("42".to_owned()), "1")).expect("the user is there");
    assert_eq!(receipt.receipt.expect("a receipt").written, 1);
    assert_eq!(client.next_data("#42"), 1);
    let again = client.command("subscribe", &json!({ "channel": "#42" }));
    assert_eq!(again["error"]["code"], 105);
    client.subscribe("news");
    client.send_json(&json!({ "id": 50, "publish": { "channel": "news", "data": 1 } }));
    let messages = [client.next_message(), client.next_message()];
    let push = messages.iter().find(|message| message["push"].is_object()).expect("the echo");
    let info = &push["push"]["pub"]["info"];
    assert_eq!((&info["user"], &info["conn_info"]), (&json!("42"), &json!({ "name": "Ann" })));
}

// The line break stood in what all subscribers were sent, and parted it into two broken messages.
#[test]
fn line_breaks_in_a_tokens_info_do_not_reach_others() {
    let server = Sandbox::start();
    let mut reader = WebSocket::subscribed(server.clients, "news");
    let mut author = WebSocket::open(server.clients);
    let claims = RawValue::from_string("{\"sub\":\"42\",\"info\":{\n\"name\":\"Ann\"}}".to_owned());
    connect_with(&mut author, &token(&claims.expect("JSON")));
    author.command("publish", &json!({ "channel": "news", "data": 1 }));
    assert_eq!(reader.next_message()["push"]["pub"]["info"]["conn_info"], json!({ "name": "Ann" }));
}

#[test]
fn commands_right_behind_a_users_connect_are_served_when_it_is_done() {
    let server = Sandbox::start();
    let mut client = WebSocket::open(server.clients);
    let connect = json!({ "id": 1, "connect": { "token": token_of("7") } });
    client.send_text(&format!("{connect}\n{}", json!({ "id": 2, "subscribe": { "channel": "news" } })));
    client.send_json(&json!({ "id": 3, "rpc": {} }));
    assert_eq!(client.next_message()["id"], 1, "nothing comes before the answer to connect");
    let mut ids = [client.next_message()["id"].as_u64(), client.next_message()["id"].as_u64()];
    ids.sort_unstable();
    assert_eq!(ids, [Some(2), Some(3)]);
    assert_eq!(server.push("news", "1").written, 1);
}

#[test]
fn only_so_many_commands_are_kept_while_a_users_connect_is_under_way() {
    let server = Sandbox::start();
    let mut bystander = Bystander::of(&server);
    let all = |user: &str, count: usize| {
        let connect = json!({ "id": 1, "connect": { "token": token_of(user) } }).to_string();
        let behind = (0..count).map(|number| json!({ "id": number + 2, "rpc": {} }).to_string());
        std::iter::once(connect).chain(behind).collect::<Vec<_>>().join("\n")
    };
    let mut eager = WebSocket::open(server.clients);
    eager.send_text(&all("7", 128));
    for id in 1..=129 {
        assert_eq!(eager.next_message()["id"], id);
    }
    let mut flooding = WebSocket::open(server.clients);
    flooding.send_text(&all("8", 129));
    assert_eq!(flooding.close_code(), 3013);
    bystander.is_served(&server);
}

#[test]
fn a_token_without_a_user_is_anonymous() {
    let server = Sandbox::start();
    let mut client = WebSocket::open(server.clients);
    let reply = connect_with(&mut client, &token(&json!({})));
    assert!(reply["connect"]["client"].is_string() && reply["connect"]["subs"].is_null(), "{reply}");
}

#[test]
fn a_token_that_is_not_ours_or_grants_what_we_cannot_is_closed_with_3500() {
    let server = Sandbox::start();
    let mut bystander = Bystander::of(&server);
    let unsigned = "eyJhbGciOiJub25lIiwidHlwIjoiSldUIn0.eyJzdWIiOiI0MiJ9.";
    let mut tokens = vec![
        "x".to_owned(),
        unsigned.to_owned(),
        signed_with("another secret", &json!({ "sub": "42" })),
        token(&json!({ "sub": "42", "nbf": now() + 3600 })),
        token(&json!({ "sub": "u".repeat(255) })),
        token(&json!({ "sub": 42 })),
        "x".repeat(20_000),
    ];
    tokens.push(token(&json!({ "sub": "42", "channel": "news" })));
    tokens.push(token(&json!({ "sub": "42", "channels": ["#43"] })));
    tokens.push(token(&json!({ "sub": "42", "subs": { "news": { "override": {} } } })));
    tokens.push(token(&json!({ "sub": "42", "caps": [{ "channels": ["news"], "allow": ["everything"] }] })));
    for token in tokens {
        let mut client = WebSocket::open(server.clients);
        client.send_json(&json!({ "id": 1, "connect": { "token": token } }));
        assert_eq!(client.close_code(), 3500, "{token:.120}");
    }
    bystander.is_served(&server);
}

#[test]
fn an_expired_token_is_an_error_after_which_nothing_may_come() {
    let server = Sandbox::start_with(&["client.stale_close_delay=500ms"]);
    let expired = token(&json!({ "sub": "42", "exp": now() - 1 }));
    let mut client = WebSocket::open(server.clients);
    let reply = connect_with(&mut client, &expired);
    assert_eq!(reply["error"], json!({ "code": 109, "message": "token expired" }));
    client.send_json(&json!({ "id": 2, "connect": { "token": token_of("42") } }));
    assert_eq!(client.close_code(), 3501);
    let mut silent = WebSocket::open(server.clients);
    connect_with(&mut silent, &expired);
    assert_eq!(silent.close_code(), 3502);
}

#[test]
fn a_token_can_be_refreshed_by_the_same_user_only() {
    let server = Sandbox::start();
    let lasting = |user: &str, seconds: u64| token(&json!({ "sub": user, "exp": now() + seconds }));
    let mut client = WebSocket::open(server.clients);
    let reply = connect_with(&mut client, &lasting("42", 100));
    let ttl = reply["connect"]["ttl"].as_u64().expect("a ttl");
    assert!(reply["connect"]["expires"] == true && (90..=100).contains(&ttl), "{reply}");
    let reply = client.command("refresh", &json!({ "token": lasting("42", 1000) }));
    assert!(reply["refresh"]["ttl"].as_u64().is_some_and(|ttl| (990..=1000).contains(&ttl)), "{reply}");
    client.send_json(&json!({ "id": 50, "refresh": { "token": lasting("43", 1000) } }));
    assert_eq!(client.close_code(), 3500);
    let mut late = WebSocket::open(server.clients);
    connect_with(&mut late, &lasting("42", 100));
    late.send_json(&json!({ "id": 50, "refresh": { "token": token(&json!({ "sub": "42", "exp": 1 })) } }));
    assert_eq!(late.close_code(), 3005);
}

#[test]
fn without_the_dev_settings_nobody_is_let_in_without_a_token() {
    let server = Sandbox::configured("[client.token]\nhmac_secret_key = \"of our own\"\n");
    let mut anonymous = WebSocket::open(server.clients);
    anonymous.send_json(&json!({ "id": 1, "connect": {} }));
    assert_eq!(anonymous.close_code(), 3501);
    let mut dev = WebSocket::open(server.clients);
    dev.send_json(&json!({ "id": 1, "connect": { "token": token_of("42") } }));
    assert_eq!(dev.close_code(), 3500);
    let mut user = WebSocket::open(server.clients);
    connect_with(&mut user, &signed_with("of our own", &json!({ "sub": "42" })));
    for (key, request) in
        [("subscribe", json!({ "channel": "news" })), ("publish", json!({ "channel": "news", "data": 1 }))]
    {
        assert_eq!(user.command(key, &request)["error"]["code"], 103, "{key}");
    }
}
