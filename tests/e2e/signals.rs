//! What signals do to a server with clients: it says goodbye to them, and a pause costs nobody anything.

use std::io::{ErrorKind, Read as _};
use std::time::{Duration, Instant};

use fanfare_proto::v1::target::Kind;
use fanfare_tests::eventually::eventually;
use fanfare_tests::sandbox::{Sandbox, push_request};
use fanfare_tests::websocket::{Frame, Handshake, WebSocket};
use serde_json::json;

/// A subscriber of "news" whose socket is full.
fn full(server: &Sandbox) -> WebSocket {
    let stranger = WebSocket::subscribed(server.clients, "news");
    let data = format!("\"{}\"", "x".repeat(500 << 10));
    eventually("its socket is full", || {
        let mut request = push_request(Kind::Channel("news".to_owned()), &data);
        request.wait_timeout = Some(fanfare_proto::Duration { seconds: 0, nanos: 300_000_000 });
        let receipt = server.publish(request).expect("the push is accepted").receipt.expect("a receipt");
        (receipt.pending == 1).then_some(())
    });
    stranger
}

#[test]
fn on_sigterm_clients_are_sent_away_to_come_back_and_the_server_ends_when_they_are_gone() {
    let server = Sandbox::start();
    let mut clients: Vec<_> = (0..20).map(|_| WebSocket::subscribed(server.clients, "news")).collect();
    clients.push(WebSocket::open(server.clients));
    let started = Instant::now();
    server.signal("TERM");
    for client in &mut clients {
        assert_eq!(client.close_code(), 3001);
        client.send(&Frame::close(3001));
        client.ends();
    }
    // It has had its signal; this one changes nothing.
    assert!(server.end("CONT").success());
    assert!(started.elapsed() < Duration::from_secs(4), "{:?}", started.elapsed());
}

#[test]
fn clients_that_do_not_read_or_do_not_close_keep_no_server_beyond_its_grace() {
    let server = Sandbox::start_with(&["client.queue_max_size=64MiB"]);
    let _full = full(&server);
    let mut stays = WebSocket::connect(server.clients);
    let _unconnected = WebSocket::open(server.clients);
    let started = Instant::now();
    server.signal("TERM");
    assert_eq!(stays.close_code(), 3001);
    assert!(server.end("CONT").success());
    assert!(started.elapsed() < Duration::from_secs(10), "{:?}", started.elapsed());
}

#[test]
fn sockets_that_are_no_websockets_yet_keep_no_server_beyond_its_grace() {
    let server = Sandbox::start_with(&["shutdown.grace=3s"]);
    let _silent = WebSocket::dial(server.clients);
    let mut kept = Handshake::to("/livez").without("Connection").without("Upgrade").send(server.clients, &[]);
    assert_eq!(kept.read_head().0, 200);
    let mut begun = WebSocket::dial(server.clients);
    begun.send_bytes(b"GET /connection/websocket HTTP/1.1\r\n");
    let mut client = WebSocket::connect(server.clients);
    let started = Instant::now();
    server.signal("TERM");
    assert_eq!(client.close_code(), 3001);
    assert!(server.end("CONT").success());
    // All that there is to end has the same grace.
    assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
}

#[test]
fn a_second_sigterm_ends_the_server_at_once() {
    for signal in ["TERM", "INT"] {
        let server = Sandbox::start();
        let mut stays = WebSocket::connect(server.clients);
        server.signal("TERM");
        assert_eq!(stays.close_code(), 3001);
        let started = Instant::now();
        assert!(server.end(signal).code().is_some(), "it ends of its own accord");
        assert!(started.elapsed() < Duration::from_secs(2), "{:?}", started.elapsed());
    }
}

#[test]
fn sigint_is_a_sigterm() {
    let server = Sandbox::start();
    let mut client = WebSocket::connect(server.clients);
    server.signal("INT");
    assert_eq!(client.close_code(), 3001);
    client.send(&Frame::close(3001));
    assert!(server.end("CONT").success());
}

// All that was due in the pause came at once when it was over: a ping, and behind it the end for want of a pong
// that nobody had had the time to send.
#[test]
fn a_pause_of_the_server_costs_no_client_its_connection() {
    let server = Sandbox::start_with(&["client.ping_interval=1s", "client.pong_timeout=900ms"]);
    let mut clients: Vec<_> = (0..8).map(|_| WebSocket::subscribed(server.clients, "news")).collect();
    let silent = WebSocket::open(server.clients);
    server.signal("STOP");
    let pause = Duration::from_secs(2);
    silent.stream().set_read_timeout(Some(pause)).expect("a timeout can be set");
    let nothing = silent.stream().read(&mut [0; 1]).expect_err("a server that is stopped says nothing");
    assert!(matches!(nothing.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut), "{nothing}");
    server.signal("CONT");
    std::thread::scope(|scope| {
        for client in &mut clients {
            scope.spawn(|| {
                for _ in 0..3 {
                    assert_eq!(client.read_json(), json!({}), "a ping");
                    client.send_text("{}");
                }
            });
        }
    });
    assert_eq!(server.push("news", "1").written, 8);
}
