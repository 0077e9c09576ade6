//! Sockets of which one side is closed, in every phase, and clients that never read.

use std::net::Shutdown;

use fanfare_tests::eventually::eventually;
use fanfare_tests::sandbox::Sandbox;
use fanfare_tests::websocket::{Frame, Handshake, TEXT, WebSocket};
use serde_json::json;

use super::siege::Siege;

type Phase = (&'static str, fn(&Sandbox) -> WebSocket);

fn with(mut socket: WebSocket, bytes: &[u8]) -> WebSocket {
    socket.send_bytes(bytes);
    socket
}

/// How far somebody may have come.
const PHASES: [Phase; 11] = [
    ("before a word", |server| WebSocket::dial(server.clients)),
    ("in the request", |server| with(WebSocket::dial(server.clients), b"GET /connection")),
    ("right behind the request", |server| Handshake::default().send(server.clients, &[])),
    ("before connect", |server| WebSocket::open(server.clients)),
    ("right behind connect", |server| {
        with(WebSocket::open(server.clients), &Frame::new(TEXT, r#"{"id":1,"connect":{}}"#).to_bytes())
    }),
    ("connected", |server| WebSocket::connect(server.clients)),
    ("subscribed", |server| WebSocket::subscribed(server.clients, "half")),
    ("in a frame's header", |server| with(WebSocket::connect(server.clients), &[0x81, 0xfe, 1])),
    ("in a frame", |server| {
        with(WebSocket::connect(server.clients), &Frame::new(TEXT, "{").claiming(60_000))
    }),
    ("between fragments", |server| {
        let fragment = Frame::unfinished(TEXT, vec![b'x'; 60_000]);
        with(WebSocket::connect(server.clients), &fragment.to_bytes())
    }),
    ("behind a close frame", |server| {
        with(WebSocket::subscribed(server.clients, "half"), &Frame::close(1000).to_bytes())
    }),
];

#[test]
fn who_closes_the_sending_side_is_let_go_in_every_phase() {
    let mut siege = Siege::begin();
    for (phase, arrive) in PHASES {
        siege.attack(&format!("closing half {phase}"), |server| {
            let half = |_| {
                let socket = arrive(server);
                socket.stream().shutdown(Shutdown::Write).expect("the socket is open");
                socket
            };
            let crowd: Vec<_> = (0..20).map(half).collect();
            eventually(&format!("{phase}: the server lets go though they hold on"), || {
                (server.metric("fanfare_node_sockets") == 1.0).then_some(())
            });
            crowd
        });
    }
}

#[test]
fn who_is_gone_without_a_word_leaves_nothing_in_every_phase() {
    let mut siege = Siege::begin();
    for (phase, arrive) in PHASES {
        siege.attack(&format!("leaving {phase}"), |server| {
            drop((0..20).map(|_| arrive(server)).collect::<Vec<_>>());
        });
    }
}

#[test]
fn who_connects_and_subscribes_and_reads_nothing_costs_no_more_than_others() {
    let mut siege = Siege::begin();
    siege.attack("a crowd that reads nothing", |server| {
        let commands = [
            json!({ "id": 1, "connect": {} }).to_string(),
            json!({ "id": 2, "subscribe": { "channel": "half" } }).to_string(),
        ];
        let command = Frame::new(TEXT, commands.join("\n")).to_bytes();
        let crowd: Vec<_> = (0..100).map(|_| Handshake::default().send(server.clients, &command)).collect();
        eventually("all are subscribed", || {
            (server.metric("fanfare_node_subscriptions") == 101.0).then_some(())
        });
        // The kernel takes so little as this for everyone.
        assert_eq!(server.push("half", &json!("x".repeat(1000)).to_string()).written, 100);
        crowd
    });
}
