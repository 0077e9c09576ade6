//! What is said in another language than the door's: TLS, HTTP/2, noise, and WebSockets at the wrong door.

use std::net::SocketAddr;

use fanfare_tests::sandbox::Sandbox;
use fanfare_tests::websocket::{Frame, Handshake, TEXT, WebSocket};

use super::siege::{Siege, say};

/// HTTP/2's first words, with empty settings behind them.
const HTTP2: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

/// The same noise every time, from Knuth's generator.
fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed;
    let byte = |_| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    };
    (0..len).map(byte).collect()
}

/// The beginning of a TLS handshake: a ClientHello of 512 bytes.
fn client_hello() -> Vec<u8> {
    [&[0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3][..], &noise(7, 506)].concat()
}

fn foreign_words() -> Vec<(&'static str, Vec<u8>)> {
    vec![
        ("TLS", client_hello()),
        ("HTTP/2", HTTP2.to_vec()),
        ("HTTP/2 and a flood of settings", [HTTP2, &b"\0\0\0\x04\0\0\0\0\0".repeat(50_000)].concat()),
        ("frames without a handshake", Frame::new(TEXT, r#"{"id":1,"connect":{}}"#).to_bytes().repeat(1000)),
        ("the PROXY protocol", b"PROXY TCP4 10.0.0.1 10.0.0.2 1 2\r\n".to_vec()),
        (
            "the PROXY protocol in bytes",
            b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\x0a\0\0\x01\x0a\0\0\x02\0\x01\0\x02".to_vec(),
        ),
        ("SSH", b"SSH-2.0-OpenSSH_9.9\r\n".to_vec()),
        ("SMTP", b"EHLO localhost\r\nMAIL FROM:<a@b>\r\n".to_vec()),
        ("Redis", b"*1\r\n$4\r\nPING\r\n".to_vec()),
        ("zeros", vec![0; 1 << 20]),
        ("line breaks", b"\r\n".repeat(1 << 19)),
        ("noise", noise(42, 1 << 20)),
    ]
}

/// Says it on a few sockets, which are returned.
fn say_to(door: SocketAddr, words: &[u8]) -> Vec<WebSocket> {
    let speak = |_| {
        let socket = WebSocket::dial(door);
        say(&socket, words);
        socket
    };
    (0..10).map(speak).collect()
}

#[test]
fn who_speaks_another_language_to_the_clients_door_is_refused_and_let_go() {
    let mut siege = Siege::begin_with(&["client.handshake_timeout=1s"]);
    for (language, words) in foreign_words() {
        siege.attack(language, |server| {
            let mut crowd = say_to(server.clients, &words);
            for socket in &mut crowd {
                let (status, _) = socket.read_head();
                assert!(matches!(status, 0 | 400..500), "{language}: {status}");
            }
            crowd
        });
    }
    siege.attack("two hundred noises", |server| {
        for seed in 0..200 {
            let mut socket = WebSocket::dial(server.clients);
            say(&socket, &noise(seed, 600));
            let (status, _) = socket.read_head();
            assert!(matches!(status, 0 | 400), "{seed}: {status}");
        }
    });
}

#[test]
fn who_speaks_another_language_to_the_other_doors_disturbs_nobody() {
    let cluster = cluster_door();
    let mut siege = Siege::begin_with(&[&format!("cluster.address={cluster}")]);
    let doors = |server: &Sandbox| [server.api, cluster, server.node_admin, server.replica_admin];
    for (language, words) in foreign_words() {
        siege.attack(&format!("{language} at the other doors"), |server| {
            doors(server).map(|door| say_to(door, &words))
        });
    }
    siege.attack("a WebSocket handshake at the other doors", |server| {
        for door in doors(server) {
            let (status, head) = Handshake::default().answer(door);
            assert!(matches!(status, 0 | 400..500), "{door}: {head}");
        }
    });
}

/// An address for the cluster's port that no other process uses: all of 127.0.0.0/8 is this machine.
fn cluster_door() -> SocketAddr {
    let [_, _, high, low] = std::process::id().to_be_bytes();
    ([127, 9, high, low], 10001).into()
}
