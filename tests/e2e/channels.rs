//! Subscribing and publishing in JSON: what is granted, what is refused and how data travels.

use std::fmt::Write as _;

use fanfare_proto::v1::message::Payload;
use fanfare_proto::v1::target::Kind;
use fanfare_tests::sandbox::{Sandbox, push_request};
use fanfare_tests::websocket::{TEXT, WebSocket};
use serde_json::{Value, json};

fn code(reply: &Value) -> u64 {
    reply["error"]["code"].as_u64().unwrap_or_else(|| panic!("{reply} is no error"))
}

fn subscribe(client: &mut WebSocket, request: &Value) -> Value {
    client.command("subscribe", request)
}

#[test]
fn unsubscribe_is_always_answered_and_ends_the_pushes() {
    let server = Sandbox::start();
    let mut client = WebSocket::subscribed(server.clients, "news");
    for channel in ["news", "news", "never subscribed", "$private", &"long".repeat(100)] {
        let reply = client.command("unsubscribe", &json!({ "channel": channel }));
        assert_eq!(reply["unsubscribe"], json!({}), "{channel}: {reply}");
    }
    let reply = client.command("unsubscribe", &json!({ "channel": "#42" }));
    assert_eq!(code(&reply), 103, "personal channels are left with the connection");
    assert_eq!(server.push("news", "1").written, 0);
    client.subscribe("news");
    assert_eq!(server.push("news", "2").written, 1);
    assert_eq!(client.next_data("news"), 2);
}

#[test]
fn a_subscription_is_had_once() {
    let server = Sandbox::start();
    let mut client = WebSocket::subscribed(server.clients, "news");
    assert_eq!(code(&subscribe(&mut client, &json!({ "channel": "news" }))), 105);
    client.send_text(
        "{\"id\":50,\"subscribe\":{\"channel\":\"a\"}}\n{\"id\":51,\"subscribe\":{\"channel\":\"a\"}}",
    );
    let mut replies = [client.next_message(), client.next_message()];
    replies.sort_by_key(|reply| reply["id"].as_u64());
    assert_eq!(replies[0], json!({ "id": 50, "subscribe": {} }));
    assert_eq!(code(&replies[1]), 105);
}

// The subscription was taken out of those that wait for the channel, and its command was never answered.
#[test]
fn a_subscribe_that_is_taken_back_at_once_is_answered_too() {
    let server = Sandbox::start();
    let mut client = WebSocket::connect(server.clients);
    let commands = [
        r#"{"id":60,"subscribe":{"channel":"fresh"}}"#,
        r#"{"id":61,"unsubscribe":{"channel":"fresh"}}"#,
        r#"{"id":62,"subscribe":{"channel":"fresh"}}"#,
    ];
    client.send_text(&commands.join("\n"));
    let mut ids: Vec<_> = (0..3).map(|_| client.next_message()["id"].as_u64()).collect();
    ids.sort_unstable();
    assert_eq!(ids, [Some(60), Some(61), Some(62)]);
    assert_eq!(server.push("fresh", "1").written, 1);
    assert_eq!(client.next_data("fresh"), 1);
}

#[test]
fn a_connection_has_as_many_subscriptions_as_the_limit_says() {
    let server = Sandbox::start_with(&["client.channel_limit=2"]);
    let mut client = WebSocket::subscribed(server.clients, "a");
    client.subscribe("b");
    assert_eq!(code(&subscribe(&mut client, &json!({ "channel": "c" }))), 106);
    assert_eq!(code(&subscribe(&mut client, &json!({ "channel": "a" }))), 105, "which is checked first");
    client.command("unsubscribe", &json!({ "channel": "a" }));
    client.subscribe("c");
}

#[test]
fn a_channel_that_may_not_be_subscribed_to_is_refused() {
    let server = Sandbox::start();
    let mut client = WebSocket::connect(server.clients);
    for (channel, expected) in [
        ("x".repeat(256).as_str(), 107),
        (&"ü".repeat(128), 107),
        ("with\na line break", 107),
        ("$private", 103),
        ("#42", 103),
        ("#", 103),
    ] {
        let reply = subscribe(&mut client, &json!({ "channel": channel }));
        assert_eq!(code(&reply), expected, "{channel:.20}");
    }
    for (request, expected) in [
        (json!({ "channel": "a", "token": "t" }), 103),
        (json!({ "channel": "a", "type": 1 }), 103),
        (json!({ "channel": "a", "type": 4 }), 108),
        (json!({ "channel": "a", "tf": { "op": "eq" } }), 107),
        (json!({ "channel": "a", "recover": true, "flag": 3 }), 112),
    ] {
        assert_eq!(code(&subscribe(&mut client, &request)), expected, "{request}");
    }
}

#[test]
fn what_is_asked_for_and_not_given_is_left_out_of_the_answer() {
    let server = Sandbox::start();
    let mut client = WebSocket::connect(server.clients);
    let wishes = json!({
        "channel": "x".repeat(255), "recover": true, "recoverable": true, "positioned": true, "join_leave": true,
        "delta": "fossil", "flag": 1, "epoch": "e", "offset": 7, "data": { "a": 1 },
    });
    assert_eq!(subscribe(&mut client, &wishes)["subscribe"], json!({}));
}

#[test]
fn a_publication_without_data_or_a_place_is_refused() {
    let server = Sandbox::start();
    let mut client = WebSocket::connect(server.clients);
    for (request, expected) in [
        (json!({ "channel": "news" }), 107),
        (json!({ "channel": "x".repeat(256), "data": 1 }), 107),
        (json!({ "channel": "#42", "data": 1 }), 103),
        (json!({ "channel": "news", "data": 1, "type": 1, "key": "k" }), 103),
    ] {
        let reply = client.command("publish", &request);
        assert_eq!(code(&reply), expected, "{request:.60}");
    }
}

#[test]
fn any_json_passes_byte_by_byte_from_a_client() {
    let server = Sandbox::start();
    let mut client = WebSocket::subscribed(server.clients, "news");
    for data in [
        "null",
        "true",
        "-0",
        "1.0",
        "1e400",
        "12345678901234567890123456789",
        r#""""#,
        r#""\u00fc\u0000\ud83c\udfba\/\\\"""#,
        r#""für 5 € 🎺""#,
        r#"{"b":1,"a":2,"b":3}"#,
        r#"{ "a" : [ 1 , 2 ]	}"#,
        "[[[[[[[[[[]]]]]]]]]]",
        "\"a\u{2028}b\u{7f}c\"",
    ] {
        client.send_text(&format!(r#"{{"id":9,"publish":{{"channel":"news","data":{data}}}}}"#));
        let mut text = String::new();
        while !(text.contains(r#""push""#) && text.contains(r#""publish":{}"#)) {
            let frame = client.read_frame().expect("an answer");
            assert_eq!(frame.opcode, TEXT, "{}", frame.code());
            writeln!(text, "{}", String::from_utf8(frame.payload).expect("text"))
                .expect("a String takes all");
        }
        assert!(text.contains(&format!(r#""pub":{{"data":{data},"info":"#)), "{data}: {text}");
    }
}

#[test]
fn a_push_of_json_loses_line_breaks_between_tokens_and_nothing_else() {
    let server = Sandbox::start();
    let mut client = WebSocket::subscribed(server.clients, "news");
    let receipt = server.push("news", "{\r\n\t\"a\" : \"x\\ny\\r\",\n\n \"b\": [\n1,\r2 ]\n}\n");
    assert_eq!(receipt.written, 1);
    let frame = client.read_frame().expect("a push");
    let expected = r#"{"push":{"channel":"news","pub":{"data":{	"a" : "x\ny\r", "b": [1,2 ]}}}}"#;
    assert_eq!(String::from_utf8(frame.payload).expect("text"), expected);
}

#[test]
fn a_push_of_bytes_that_are_json_is_a_push_of_json() {
    let server = Sandbox::start();
    let mut client = WebSocket::subscribed(server.clients, "news");
    let mut request = push_request(Kind::Channel("news".to_owned()), "");
    let message = request.message.as_mut().expect("it has one");
    message.payload = Some(Payload::Data(b"{\"a\":1}".to_vec().into()));
    message.tags.insert("kind".to_owned(), "ü\n".to_owned());
    server.publish(request.clone()).expect("JSON is JSON");
    let push = client.next_message();
    assert_eq!(push["push"]["pub"], json!({ "data": { "a": 1 }, "tags": { "kind": "ü\n" } }));
    for not_json in [&b"\xff"[..], b"{", b"\"\xc3\"", b""] {
        request.message.as_mut().expect("it has one").payload = Some(Payload::Data(not_json.to_vec().into()));
        let refused = server.publish(request.clone()).expect_err("not JSON");
        assert_eq!(refused.code(), tonic::Code::InvalidArgument);
    }
}

#[test]
fn a_publication_of_the_largest_size_arrives_whole() {
    let server = Sandbox::start();
    let mut client = WebSocket::subscribed(server.clients, "news");
    let text = "x".repeat((512 << 10) - 2);
    assert_eq!(server.push("news", &format!("\"{text}\"")).written, 1);
    assert_eq!(client.next_data("news"), text);
}

#[test]
fn channels_with_odd_names_are_channels() {
    let server = Sandbox::start();
    let mut client = WebSocket::connect(server.clients);
    let long = "ü".repeat(127);
    for channel in ["a b", "\"quoted\\\"", "news/eu/1?x=%20", "🎺", "a#1", "a$", "*", &long] {
        client.subscribe(channel);
        assert_eq!(server.push(channel, "1").written, 1, "{channel}");
        assert_eq!(client.next_data(channel), 1);
    }
}
