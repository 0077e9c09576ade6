//! The limits of who gets in and of what a client may do: each with its answer, its counter, and its end.

use std::io::Write as _;

use fanfare_proto::v1::PublishRequest;
use fanfare_proto::v1::target::Kind;
use fanfare_tests::eventually::{eventually, eventually_is};
use fanfare_tests::sandbox::{Sandbox, push_request};
use fanfare_tests::websocket::{CLOSE, Handshake, WebSocket};
use serde_json::{Value, json};

use crate::bystander::Bystander;
use crate::tokens::{connect_outcome, connected_with, token, token_of};

fn refused(server: &Sandbox, reason: &str) -> f64 {
    server.metric(&format!("fanfare_node_refused_total{{reason=\"{reason}\"}}"))
}

/// A handshake that is told to come again, or elsewhere.
fn is_turned_away(server: &Sandbox, handshake: &Handshake) {
    let (status, head) = handshake.answer(server.clients);
    assert_eq!(status, 503, "{head}");
    assert!(head.contains("\r\nretry-after: 1\r\n"), "{head}");
}

#[test]
fn a_full_node_turns_away_and_says_so_until_there_is_room() {
    let server = Sandbox::start_with(&["client.connection_limit=2"]);
    let mut first = WebSocket::connect(server.clients);
    // A socket that has not connected yet has a place, too.
    let second = WebSocket::open(server.clients);
    is_turned_away(&server, &Handshake::default());
    is_turned_away(&server, &Handshake::default());
    assert_eq!(refused(&server, "connection_limit"), 2.0);
    let readiness = server.http(server.clients, "/readyz");
    assert!(readiness.starts_with("HTTP/1.1 503") && readiness.contains("full"), "{readiness}");
    assert!(server.http(server.clients, "/livez").starts_with("HTTP/1.1 200"), "it need not be restarted");
    first.subscribe("news");
    assert_eq!(server.push("news", "1").written, 1, "who is in is served");
    drop(second);
    server.wait_until_ready();
    let _third = WebSocket::connect(server.clients);
    is_turned_away(&server, &Handshake::default());
}

#[test]
fn so_many_may_come_per_second() {
    let server = Sandbox::start_with(&["client.connection_rate_limit=2"]);
    let mut held = Vec::new();
    eventually("one is turned away", || {
        let mut socket = Handshake::default().send(server.clients, &[]);
        let (status, head) = socket.read_head();
        held.push(socket);
        assert!(status == 101 || head.contains("\r\nretry-after: 1\r\n"), "{status}: {head}");
        (status == 503).then_some(())
    });
    assert!(held.len() >= 3, "two may come at once: {}", held.len());
    assert!(refused(&server, "connection_rate_limit") >= 1.0);
    assert!(server.readiness().starts_with("HTTP/1.1 200"));
    eventually_is("later they may come", &101, || Handshake::default().answer(server.clients).0);
}

#[test]
fn an_address_has_its_share() {
    let server = Sandbox::start_with(&["client.ip_connection_limit=1"]);
    let only = WebSocket::connect(server.clients);
    let of = |ip: &str| Handshake::default().header("X-Real-IP", ip);
    is_turned_away(&server, &of("192.0.2.1"));
    assert_eq!(refused(&server, "ip_connection_limit"), 1.0);
    drop(only);
    eventually_is("its place is free", &101, || of("192.0.2.1").answer(server.clients).0);

    let behind_proxy =
        Sandbox::start_with(&["client.ip_connection_limit=1", "client.ip_http_header=X-Real-IP"]);
    let _one = of("192.0.2.1").open(behind_proxy.clients);
    let _other = of("192.0.2.2").open(behind_proxy.clients);
    let _direct = WebSocket::open(behind_proxy.clients);
    is_turned_away(&behind_proxy, &of("192.0.2.1"));
    is_turned_away(&behind_proxy, &of("10.9.9.9, 192.0.2.2"));
    is_turned_away(&behind_proxy, &Handshake::default());
    assert_eq!(refused(&behind_proxy, "ip_connection_limit"), 3.0);
}

#[test]
fn a_user_has_its_share_and_failed_connects_take_nothing_of_it() {
    let server = Sandbox::start_with(&["client.user_connection_limit=2"]);
    let (mut first, _) = connected_with(&server, &token_of("ann"));
    for _ in 0..3 {
        let nowhere = token(&json!({ "sub": "ann", "channels": ["nowhere:a"] }));
        assert_eq!(connect_outcome(&server, &nowhere), 102);
    }
    let (second, _) = connected_with(&server, &token_of("ann"));
    for _ in 0..2 {
        assert_eq!(connect_outcome(&server, &token_of("ann")), 3504);
    }
    assert_eq!(refused(&server, "user_connection_limit"), 2.0);
    assert_eq!(connect_outcome(&server, &token_of("bob")), 0);
    assert_eq!(connect_outcome(&server, ""), 0, "those without a user are not one user");
    drop(second);
    eventually("there is room for another", || {
        (connect_outcome(&server, &token_of("ann")) == 0).then_some(())
    });
    assert_eq!(first.outcome("refresh", &json!({ "token": token_of("ann") })), 0);
    drop(first);
    eventually("all of it is free again", || {
        let (mut one, mut other) = (WebSocket::open(server.clients), WebSocket::open(server.clients));
        let outcome =
            |client: &mut WebSocket| client.outcome("connect", &json!({ "token": token_of("ann") }));
        (outcome(&mut one) == 0 && outcome(&mut other) == 0).then_some(())
    });
}

/// The codes of what so many commands in one message are answered with, and at last the close code if there is one.
fn codes(client: &mut WebSocket, count: usize) -> (Vec<u64>, Option<u16>) {
    let commands: Vec<_> =
        (0..count).map(|number| json!({ "id": 100 + number, "rpc": {} }).to_string()).collect();
    client.send_text(&commands.join("\n"));
    let mut codes = Vec::new();
    while codes.len() < count {
        let frame = client.read_frame().expect("an answer");
        if frame.opcode == CLOSE {
            return (codes, Some(frame.code()));
        }
        let text = String::from_utf8(frame.payload).expect("text");
        for line in text.lines() {
            let reply: Value = serde_json::from_str(line).expect("JSON");
            codes.push(reply["error"]["code"].as_u64().expect("it is an error"));
        }
    }
    (codes, None)
}

#[test]
fn a_client_that_sends_too_much_is_told_so_and_then_closed() {
    const LIMIT: usize = 200;
    let server = Sandbox::start_with(&[&format!("client.command_rate_limit={LIMIT}")]);
    let mut bystander = Bystander::of(&server);
    // A message is taken in at once, so all of it falls into one second; connect may fall into it, too.
    let mut hasty = WebSocket::connect(server.clients);
    let (answers, closed) = codes(&mut hasty, LIMIT + 5);
    let taken = answers.iter().filter(|code| **code == 108).count();
    assert!((LIMIT - 1..=LIMIT).contains(&taken), "{answers:?}");
    assert!(answers[taken..].iter().all(|code| *code == 111) && closed.is_none(), "{answers:?}");
    assert!(server.metric("fanfare_node_command_limit_total") >= 5.0);
    eventually_is("in another second it is served", &108, || hasty.outcome("rpc", &json!({})));

    let mut stubborn = WebSocket::connect(server.clients);
    let (answers, closed) = codes(&mut stubborn, 2 * LIMIT + 5);
    assert_eq!(answers.iter().filter(|code| **code == 111).count(), LIMIT, "{answers:?}");
    assert_eq!(closed, Some(3509));
    assert_eq!(server.metric("fanfare_node_closes_total{code=\"3509\"}"), 1.0);
    bystander.is_served(&server);
}

#[test]
fn a_node_without_memory_turns_away_and_says_so() {
    let server = Sandbox::start_unready(&["data_plane.memory_limit=1MiB"]);
    eventually("it says so", || {
        let readiness = server.readiness();
        (readiness.starts_with("HTTP/1.1 503") && readiness.contains("memory")).then_some(())
    });
    is_turned_away(&server, &Handshake::default());
    assert_eq!(refused(&server, "memory_limit"), 1.0);
}

#[test]
fn those_who_are_connected_stay_while_memory_is_short() {
    let server = Sandbox::start_with(&["data_plane.memory_limit=128MiB", "client.queue_max_size=1GiB"]);
    let mut bystander = Bystander::of(&server);
    let greedy = WebSocket::subscribed(server.clients, "much");
    let large = json!("x".repeat(500 << 10)).to_string();
    let request = PublishRequest { wait_for: 0, ..push_request(Kind::Channel("much".to_owned()), &large) };
    eventually("memory is short", || {
        for _ in 0..20 {
            server.publish(request.clone()).expect("the push is accepted");
        }
        server.readiness().contains("memory").then_some(())
    });
    is_turned_away(&server, &Handshake::default());
    bystander.is_served(&server);
    drop(greedy);
    server.wait_until_ready();
    let _new = WebSocket::connect(server.clients);
    bystander.is_served(&server);
}

#[test]
fn a_head_that_is_too_large_is_refused() {
    let server = Sandbox::start_with(&["client.handshake_max_size=8KiB"]);
    let with = |len: usize| Handshake::default().header("X-Large", &"x".repeat(len));
    assert_eq!(with(7 << 10).answer(server.clients).0, 101);
    assert_eq!(with(9 << 10).answer(server.clients).0, 431);
}

#[test]
fn a_head_must_come_in_time() {
    let server = Sandbox::start_with(&["client.handshake_timeout=300ms"]);
    let mut slow = WebSocket::dial(server.clients);
    slow.stream().write_all(b"GET /connection/websocket HT").expect("the server takes bytes");
    let (status, _) = slow.read_head();
    assert!(matches!(status, 0 | 408), "{status}");
    eventually_is("it is gone", &0.0, || server.metric("fanfare_node_sockets"));
}
