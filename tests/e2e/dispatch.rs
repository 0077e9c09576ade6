//! What a client may say when, in JSON, and what each breach costs.

use fanfare_tests::sandbox::Sandbox;
use fanfare_tests::websocket::{Frame, TEXT, WebSocket};
use serde_json::{Value, json};

use crate::bystander::Bystander;

/// Sends each of these on a connected client of its own and checks what it is closed with.
fn each_is_closed_with(code: u16, messages: &[&str]) {
    let server = Sandbox::start();
    let mut bystander = Bystander::of(&server);
    for message in messages {
        let mut client = WebSocket::connect(server.clients);
        client.send_text(message);
        assert_eq!(client.close_code(), code, "{message:.100}");
        client.send(&Frame::close(code));
        client.ends();
        bystander.is_served(&server);
    }
}

fn read_all(client: &mut WebSocket, count: usize) -> Vec<Value> {
    let mut messages: Vec<Value> = (0..count).map(|_| client.next_message()).collect();
    messages.sort_by_key(|message| message["id"].as_u64());
    messages
}

#[test]
fn the_first_command_is_connect() {
    let server = Sandbox::start();
    let mut bystander = Bystander::of(&server);
    for first in [
        r#"{"id":1,"subscribe":{"channel":"news"}}"#,
        r#"{"id":1,"publish":{"channel":"news","data":1}}"#,
        r#"{"id":1,"unsubscribe":{"channel":"news"}}"#,
        r#"{"id":1,"rpc":{"method":"m"}}"#,
        r#"{"id":1,"refresh":{"token":"t"}}"#,
        r#"{"send":{"data":1}}"#,
        r#"{"id":1}"#,
        r#"{"connect":{}}"#,
        "{}",
        "",
        "hello",
    ] {
        let mut client = WebSocket::open(server.clients);
        client.send_text(first);
        assert_eq!(client.close_code(), 3501, "{first}");
        bystander.is_served(&server);
    }
}

#[test]
fn a_command_that_breaks_the_protocol_is_closed_with_3501() {
    each_is_closed_with(
        3501,
        &[
            r#"{"id":2,"connect":{}}"#,
            r#"{"id":0,"subscribe":{"channel":"a"}}"#,
            r#"{"publish":{"channel":"a","data":1}}"#,
            r#"{"id":2}"#,
            r#"{"id":2,"ping":{}}"#,
            r#"{"id":2,"unheard_of":{}}"#,
            r#"{"id":2,"subscribe":{"channel":""}}"#,
            r#"{"id":2,"subscribe":{}}"#,
            r#"{"id":2,"unsubscribe":{"channel":""}}"#,
            r#"{"id":2,"publish":{"channel":"","data":1}}"#,
            r#"{"id":2,"presence":{"channel":""}}"#,
            r#"{"id":2,"presence_stats":{}}"#,
            r#"{"id":2,"history":{"channel":""}}"#,
            r#"{"id":2,"refresh":{"token":""}}"#,
            r#"{"id":2,"sub_refresh":{"channel":""}}"#,
            r#"{"id":2,"subscribe":{"channel":"a","delta":"xdelta"}}"#,
        ],
    );
}

#[test]
fn a_message_that_cannot_be_read_is_closed_with_3501() {
    let deep = format!(r#"{{"id":2,"rpc":{{"data":{}}}}}"#, "[".repeat(30_000));
    each_is_closed_with(
        3501,
        &[
            "",
            "\n",
            "{",
            "null",
            "1",
            "[]",
            r#"[{"id":2,"rpc":{}}]"#,
            r#"{"id":2,"rpc":{}}{"id":3,"rpc":{}}"#,
            "{\"id\":2,\"rpc\":{}}\n\n{\"id\":3,\"rpc\":{}}",
            "{\"id\":2,\"rpc\":{}}\n\n",
            r#"{"id":"2","rpc":{}}"#,
            r#"{"id":-2,"rpc":{}}"#,
            r#"{"id":4294967296,"rpc":{}}"#,
            r#"{"id":2,"subscribe":{"channel":7}}"#,
            r#"{"id":2,"subscribe":[]}"#,
            r#"{"id":2,"publish":{"channel":"a","data":{"b":}}}"#,
            r#"{"id":2,"publish":{"channel":"a","data":nope}}"#,
            &deep,
        ],
    );
}

#[test]
fn a_pong_that_nobody_asked_for_is_closed_with_3501() {
    each_is_closed_with(3501, &["{}", "{}\n", "{}\n{}"]);
}

#[test]
fn a_message_that_nobody_takes_is_closed_with_3508() {
    each_is_closed_with(3508, &[r#"{"send":{"data":1}}"#, r#"{"id":5,"send":{}}"#]);
}

#[test]
fn commands_before_a_breach_are_answered_and_those_behind_it_are_not() {
    let server = Sandbox::start();
    let mut client = WebSocket::connect(server.clients);
    client.send_text("{\"id\":2,\"rpc\":{}}\n{\"id\":0,\"rpc\":{}}\n{\"id\":3,\"rpc\":{}}");
    assert_eq!(client.next_message()["id"], 2);
    assert_eq!(client.close_code(), 3501);
}

#[test]
fn one_message_may_hold_many_commands() {
    let server = Sandbox::start();
    let mut bystander = WebSocket::subscribed(server.clients, "news");
    let mut client = WebSocket::open(server.clients);
    let commands = [
        r#"{"id":1,"connect":{"name":"js"}}"#,
        r#"{"id":2,"subscribe":{"channel":"news","flag":1}}"#,
        r#"{"id":3,"publish":{"channel":"news","data":{"a":1}}}"#,
        r#"{"id":4,"rpc":{"method":"m"}}"#,
        "",
    ];
    client.send_text(&commands.join("\n"));
    let messages = read_all(&mut client, 5);
    let push = &messages[0]["push"];
    assert_eq!((&push["channel"], &push["pub"]["data"]), (&json!("news"), &json!({ "a": 1 })));
    let me = &messages[1]["connect"]["client"];
    assert_eq!(push["pub"]["info"], json!({ "user": "", "client": me }));
    assert_eq!(messages[2], json!({ "id": 2, "subscribe": {} }));
    assert_eq!(messages[3], json!({ "id": 3, "publish": {} }));
    assert_eq!(messages[4], json!({ "id": 4, "error": { "code": 108, "message": "not available" } }));
    assert_eq!(bystander.next_data("news"), json!({ "a": 1 }));
}

#[test]
fn answers_to_one_message_come_in_one_frame() {
    let server = Sandbox::start();
    let mut client = WebSocket::connect(server.clients);
    client.send_text("{\"id\":2,\"rpc\":{}}\n{\"id\":3,\"unsubscribe\":{\"channel\":\"a\"}}\n{\"id\":4,\"history\":{\"channel\":\"a\"}}");
    let frame = client.read_frame().expect("an answer");
    assert_eq!(frame.opcode, TEXT);
    let text = String::from_utf8(frame.payload).expect("text");
    let ids = text.split('\n').map(|line| serde_json::from_str::<Value>(line).expect("JSON")["id"].clone());
    assert_eq!(ids.collect::<Vec<_>>(), [2, 3, 4]);
}

#[test]
fn unknown_fields_and_white_space_are_no_breach() {
    let server = Sandbox::start();
    let mut client = WebSocket::open(server.clients);
    client.send_text(" { \"later\" : [ { } , null ] , \"id\" : 1 , \"connect\" : { \"x\" : 1.5e300 } }\t\n");
    assert_eq!(client.next_message()["id"], 1);
    // The encoding decides what a message is, not the kind of its frame.
    client.send(&Frame::new(2, r#"{"id":2,"rpc":{}}"#));
    assert_eq!(client.next_message()["id"], 2);
}

#[test]
fn what_this_version_does_not_do_is_said_to_be_not_available() {
    let server = Sandbox::start();
    let mut client = WebSocket::connect(server.clients);
    for (key, request) in [
        ("rpc", json!({ "method": "m", "data": {} })),
        ("presence", json!({ "channel": "a" })),
        ("presence_stats", json!({ "channel": "a" })),
        ("history", json!({ "channel": "a", "limit": 5 })),
    ] {
        let reply = client.command(key, &request);
        assert_eq!(reply["error"], json!({ "code": 108, "message": "not available" }), "{key}");
    }
}
