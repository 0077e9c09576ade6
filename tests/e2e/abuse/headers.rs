//! Heads of requests that are huge, contradict themselves, or try to be read in two ways.

use fanfare_tests::sandbox::Sandbox;
use fanfare_tests::websocket::{Handshake, WebSocket};

use super::siege::{Siege, say};

const HOST: &str = "localhost";
/// A good handshake but for its last line.
const HANDSHAKE: &str = "GET /connection/websocket HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\n\
     Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";

/// The status that these bytes are answered with; 0 if the socket is closed instead.
fn status(server: &Sandbox, bytes: &str) -> u16 {
    let mut socket = WebSocket::dial(server.clients);
    socket.send_bytes(bytes.as_bytes());
    socket.read_head().0
}

#[test]
fn a_head_without_end_is_cut_off_early() {
    let mut siege = Siege::begin();
    let line = format!("X: {}\r\n", "h".repeat(8_000));
    for (what, piece) in [("a header without end", "h".repeat(8_000)), ("headers without end", line)] {
        siege.attack(what, |server| {
            let flood = |_| {
                let mut socket = WebSocket::dial(server.clients);
                say(&socket, b"GET / HTTP/1.1\r\nX: ");
                let taken = (0..2_000).take_while(|_| say(&socket, piece.as_bytes())).count();
                assert!(taken < 2_000, "{what}: 16 MB were taken");
                assert!(matches!(socket.read_head().0, 0 | 431), "{what}");
                socket
            };
            (0..20).map(flood).collect::<Vec<_>>()
        });
    }
}

#[test]
fn more_headers_than_anybody_needs_are_refused() {
    let mut siege = Siege::begin();
    siege.attack("headers of one letter", |server| {
        for _ in 0..100 {
            let answer = status(server, &format!("{HANDSHAKE}{}\r\n", "a:\r\n".repeat(2_000)));
            assert!(matches!(answer, 0 | 431), "{answer}");
        }
    });
}

#[test]
fn a_handshake_that_contradicts_itself_is_a_bad_request() {
    let mut siege = Siege::begin();
    siege.attack("contradictory heads", |server| {
        let good = Handshake::default().header("Host", HOST);
        for (name, value) in [
            ("Host", "evil.example"),
            ("Host", HOST),
            ("Sec-WebSocket-Key", "AAAAAAAAAAAAAAAAAAAAAA=="),
            ("Sec-WebSocket-Version", "8"),
            ("Content-Length", "5"),
            ("Transfer-Encoding", "chunked"),
        ] {
            assert_eq!(good.clone().also(name, value).answer(server.clients).0, 400, "{name}: {value}");
        }
        let no_host = HANDSHAKE.replace("Host: localhost\r\n", "");
        assert_eq!(status(server, &format!("{no_host}\r\n")), 403, "in dev mode without a host");
        let two_origins = good.clone().also("Origin", "http://localhost").also("Origin", "http://localhost");
        assert_eq!(two_origins.answer(server.clients).0, 403);
        // To offer more than is taken is no contradiction.
        for (name, value) in [("Upgrade", "h2c"), ("Connection", "keep-alive")] {
            assert_eq!(good.clone().also(name, value).answer(server.clients).0, 101, "{name}: {value}");
        }
    });
}

#[test]
fn a_head_that_two_readers_would_read_differently_is_a_bad_request() {
    let mut siege = Siege::begin();
    siege.attack("ambiguous heads", |server| {
        for line in [
            "Content-Length: 5\r\nTransfer-Encoding: chunked",
            "Content-Length: 5\r\nContent-Length: 6",
            "Content-Length: 5, 6",
            "Content-Length: -1",
            "Content-Length: 18446744073709551617",
            "Transfer-Encoding: gzip",
            "X: folded\r\n over two lines",
            " X: before the first letter",
            "X : with a space",
            "X",
            ": nameless",
            "X: \0",
            "X: a\rY: b",
            "X\u{e4}: letters",
        ] {
            let answer = status(server, &format!("{HANDSHAKE}{line}\r\n\r\n"));
            assert_eq!(answer, 400, "{line:?}");
        }
        for first in [
            "GET /connection/websocket HTTP/1.0",
            "GET /connection/websocket HTTP/2.0",
            "GET /connection/websocket",
            "GET  /connection/websocket HTTP/1.1",
            "G\u{e4}T /connection/websocket HTTP/1.1",
            "CONNECT localhost:8000 HTTP/1.1",
            "OPTIONS * HTTP/1.1",
            "GET /connection/websocket/../websocket HTTP/1.1",
            "GET /connection%2fwebsocket HTTP/1.1",
            "GET \0 HTTP/1.1",
        ] {
            let rest = HANDSHAKE.split_once("\r\n").expect("it has lines").1;
            let answer = status(server, &format!("{first}\r\n{rest}\r\n"));
            assert!(matches!(answer, 0 | 400..500), "{first:?}: {answer}");
        }
    });
}
