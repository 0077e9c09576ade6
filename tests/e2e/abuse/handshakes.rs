//! Requests that stand still, trickle, never end, or whose answers nobody reads.

use std::time::Duration;

use fanfare_tests::eventually::eventually;
use fanfare_tests::sandbox::Sandbox;
use fanfare_tests::websocket::{Frame, Handshake, TEXT, WebSocket};
use serde_json::json;

use super::siege::{Siege, say};

/// Waits until the server has let go of all but the bystander, though the others hold on.
fn all_are_ended(server: &Sandbox, mut meanwhile: impl FnMut()) {
    eventually("all are ended", || {
        meanwhile();
        (server.metric("fanfare_node_sockets") == 1.0).then_some(())
    });
}

#[test]
fn a_crowd_of_handshakes_that_trickle_or_stand_still_is_ended() {
    let mut siege = Siege::begin_with(&["client.handshake_timeout=1s"]);
    siege.attack("a crowd of slow handshakes", |server| {
        let crowd: Vec<_> = (0..100).map(|_| WebSocket::dial(server.clients)).collect();
        let request = Handshake::default().to_bytes(server.clients);
        // The last line never comes.
        let mut bytes = request[..request.len() - 2].iter();
        all_are_ended(server, || {
            let Some(byte) = bytes.next() else { return };
            // Every third says nothing at all.
            for (_, socket) in crowd.iter().enumerate().filter(|(number, _)| number % 3 != 0) {
                say(socket, &[*byte]);
            }
        });
        assert!(bytes.len() > 0, "they were cut off before they were done");
        crowd
    });
}

#[test]
fn a_whole_conversation_may_come_byte_by_byte() {
    let mut siege = Siege::begin();
    siege.attack("a crowd that says everything byte by byte", |server| {
        let mut crowd: Vec<_> = (0..20).map(|_| WebSocket::dial(server.clients)).collect();
        let commands = [r#"{"id":1,"connect":{}}"#, r#"{"id":2,"subscribe":{"channel":"crowd"}}"#];
        let request = Handshake::default().to_bytes(server.clients);
        let frames = commands.iter().flat_map(|command| Frame::new(TEXT, *command).to_bytes());
        for byte in request.into_iter().chain(frames) {
            crowd.iter_mut().for_each(|socket| socket.send_bytes(&[byte]));
        }
        for socket in &mut crowd {
            socket.expect_upgrade();
            let answers = [socket.next_message(), socket.next_message()];
            assert_eq!((&answers[0]["id"], &answers[1]), (&json!(1), &json!({ "id": 2, "subscribe": {} })));
        }
        assert_eq!(server.push("crowd", "1").written, 20);
        crowd.iter_mut().for_each(|socket| assert_eq!(socket.next_data("crowd"), 1));
        crowd
    });
}

#[test]
fn a_body_without_end_is_not_waited_for() {
    let mut siege = Siege::begin();
    for (name, value) in [("Content-Length", "1000000000000"), ("Transfer-Encoding", "chunked")] {
        for (target, expected) in [("/livez", 200), ("/nowhere", 404), ("/connection/websocket", 426)] {
            siege.attack(&format!("{name} at {target}"), |server| {
                let request = Handshake::to(target).method("POST").header(name, value);
                let begin = |_| {
                    let mut socket = request.send(server.clients, b"fffffff\r\n");
                    assert_eq!(socket.read_head().0, expected, "{name} at {target}");
                    socket
                };
                let crowd: Vec<_> = (0..20).map(begin).collect();
                all_are_ended(server, || {
                    for socket in &crowd {
                        say(socket, &[b'x'; 4096]);
                    }
                });
                crowd
            });
        }
    }
}

#[test]
fn requests_whose_answers_nobody_reads_are_not_taken_for_ever() {
    let mut siege = Siege::begin();
    siege.attack("requests without reading", |server| {
        let requests = b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n".repeat(1000);
        let flood = |_| {
            let socket = WebSocket::dial(server.clients);
            socket.stream().set_write_timeout(Some(Duration::from_millis(300))).expect("it can be set");
            let taken = (0..1000).take_while(|_| say(&socket, &requests)).count();
            assert!(taken < 1000, "{} MB were taken", taken * requests.len() / 1_000_000);
            socket
        };
        (0..3).map(flood).collect::<Vec<_>>()
    });
}
