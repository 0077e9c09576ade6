//! What a push is answered with: how many connections took the bytes, and how many have not.

use std::time::{Duration, Instant};

use fanfare_proto::v1::target::Kind;
use fanfare_proto::v1::{PublishRequest, Receipt, WaitFor};
use fanfare_tests::eventually::eventually;
use fanfare_tests::sandbox::{Sandbox, push_request};
use fanfare_tests::websocket::{Frame, WebSocket};
use serde_json::json;

use crate::tokens::token_of;

fn to_channel(channel: &str, json: &str) -> PublishRequest {
    push_request(Kind::Channel(channel.to_owned()), json)
}

fn to_connection(id: &str, json: &str) -> PublishRequest {
    push_request(Kind::Connection(id.to_owned()), json)
}

fn receipt(server: &Sandbox, request: PublishRequest) -> Receipt {
    server.publish(request).expect("the push is accepted").receipt.expect("there is a receipt")
}

/// Asks for an answer within 300 ms.
fn impatient(mut request: PublishRequest) -> PublishRequest {
    request.wait_timeout = Some(fanfare_proto::Duration { seconds: 0, nanos: 300_000_000 });
    request
}

#[test]
fn every_subscriber_that_took_the_bytes_is_counted() {
    let server = Sandbox::start();
    assert_eq!(server.push("news", "0"), Receipt { complete: true, ..Default::default() });
    let mut clients: Vec<_> = (0..25).map(|_| WebSocket::subscribed(server.clients, "news")).collect();
    let _elsewhere = WebSocket::subscribed(server.clients, "other");
    let all = server.push("news", "1");
    let expected = Receipt { nodes_asked: 1, written: 25, complete: true, ..Default::default() };
    assert_eq!(all, expected);
    for client in &mut clients {
        assert_eq!(client.next_data("news"), 1);
    }
    clients.truncate(10);
    eventually("those that went are no longer counted", || {
        (server.push("news", "2").written == 10).then_some(())
    });
}

#[test]
fn an_excluded_connection_is_neither_served_nor_counted() {
    let server = Sandbox::start();
    let mut author = WebSocket::open(server.clients);
    let id = author.say_connect()["client"].as_str().expect("an id").to_owned();
    author.subscribe("news");
    let mut reader = WebSocket::subscribed(server.clients, "news");
    let mut request = to_channel("news", "1");
    request.message.as_mut().expect("it has one").exclude_connections = vec![id];
    assert_eq!(receipt(&server, request).written, 1);
    assert_eq!(reader.next_data("news"), 1);
    assert_eq!(server.push("news", "2").written, 2);
    assert_eq!(author.next_data("news"), 2, "the first is none of its");
}

#[test]
fn a_push_to_one_connection_reaches_it_until_it_is_gone() {
    let server = Sandbox::start();
    let mut client = WebSocket::open(server.clients);
    let id = client.say_connect()["client"].as_str().expect("an id").to_owned();
    let mut other = WebSocket::connect(server.clients);
    let sent = receipt(&server, to_connection(&id, r#"{"a":1}"#));
    assert_eq!((sent.written, sent.pending, sent.cut, sent.complete), (1, 0, 0, true));
    assert_eq!(client.next_message(), json!({ "push": { "message": { "data": { "a": 1 } } } }));
    client.send(&Frame::close(1000));
    client.ends_after_close();
    let sent = receipt(&server, to_connection(&id, "1"));
    assert_eq!((sent.written, sent.pending, sent.cut, sent.complete), (0, 0, 0, true));
    // Its slot may be another's now, but the id is not.
    let mut next = WebSocket::connect(server.clients);
    assert_eq!(receipt(&server, to_connection(&id, "1")).written, 0);
    for socket in [&mut next, &mut other] {
        assert_eq!(socket.command("rpc", &json!({}))["error"]["code"], 108, "nothing came before");
    }
}

#[test]
fn a_socket_that_has_not_connected_is_no_connection() {
    let server = Sandbox::start();
    let _silent = WebSocket::open(server.clients);
    assert_eq!(server.push("news", "1").written, 0);
    assert_eq!(server.metric("fanfare_node_connections"), 0.0);
}

#[test]
fn a_connection_that_no_node_can_have_is_not_found() {
    let server = Sandbox::start();
    let refused = |id: &str| server.publish(to_connection(id, "1")).expect_err("it is nobody's").code();
    assert_eq!(refused("0b2e1f7c-9d41-4c2a-8f00-3f1f7a0e2b11"), tonic::Code::NotFound);
    for no_id in ["", "42", "0b2e1f7c-9d41-4c2a-8f00-3f1f7a0e2b1"] {
        assert_eq!(refused(no_id), tonic::Code::InvalidArgument, "{no_id:?}");
    }
}

#[test]
fn a_push_to_a_user_reaches_all_its_connections_and_nobody_else() {
    let server = Sandbox::start();
    let of = |user: &str| {
        let mut client = WebSocket::open(server.clients);
        let reply = client.command("connect", &json!({ "token": token_of(user) }));
        assert!(reply["connect"].is_object(), "{reply}");
        client
    };
    let (mut phone, mut laptop, mut other) = (of("ann"), of("ann"), of("bob"));
    let sent = receipt(&server, push_request(Kind::User("ann".to_owned()), "1"));
    assert_eq!((sent.written, sent.user_offline, sent.complete), (2, false, true));
    assert_eq!((phone.next_data("#ann"), laptop.next_data("#ann")), (json!(1), json!(1)));
    assert_eq!(other.command("rpc", &json!({}))["error"]["code"], 108, "nothing came before");
    drop((phone, laptop));
    eventually("the user is offline", || {
        let sent = receipt(&server, push_request(Kind::User("ann".to_owned()), "2"));
        (sent.user_offline && sent.written == 0).then_some(())
    });
}

#[test]
fn a_push_that_does_not_wait_is_answered_when_it_is_accepted() {
    let server = Sandbox::start();
    let mut client = WebSocket::subscribed(server.clients, "news");
    let mut request = to_channel("news", "1");
    request.wait_for = WaitFor::Accepted.into();
    let sent = receipt(&server, request);
    assert_eq!((sent.nodes_asked, sent.written, sent.complete), (1, 0, true));
    assert_eq!(client.next_data("news"), 1);
}

#[test]
fn a_subscriber_whose_socket_is_full_is_pending_when_the_time_is_over() {
    let server = Sandbox::start_with(&["client.queue_max_size=64MiB"]);
    let mut reader = WebSocket::subscribed(server.clients, "news");
    let mut full = WebSocket::subscribed(server.clients, "news");
    let large = format!("\"{}\"", "x".repeat(500 << 10));
    eventually("its socket is full", || {
        let sent = receipt(&server, impatient(to_channel("news", &large)));
        assert_eq!(reader.next_data("news").as_str().map(str::len), Some(500 << 10));
        (sent.pending == 1).then_some(())
    });
    let (sent, elapsed) = eventually("an answer in time, however busy the machine", || {
        let asked = Instant::now();
        let sent = receipt(&server, impatient(to_channel("news", "1")));
        assert_eq!(reader.next_data("news"), 1);
        sent.complete.then(|| (sent, asked.elapsed()))
    });
    assert_eq!((sent.written, sent.pending, sent.cut), (1, 1, 0), "{sent:?}");
    assert!(elapsed >= Duration::from_millis(100) && elapsed < Duration::from_secs(5), "{elapsed:?}");
    // What was pending comes when it reads.
    while full.next_data("news") != 1 {}
    assert_eq!(server.push("news", "2").written, 2);
    while full.next_data("news") != 2 {}
    eventually("nothing waits", || (server.metric("fanfare_node_queue_bytes") == 0.0).then_some(()));
}
