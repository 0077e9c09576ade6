//! Offers of compression, to which the server never agrees, and frames that are compressed all the same.

use fanfare_tests::websocket::{CLOSE, Frame, Handshake, TEXT};

use super::siege::Siege;

/// Deflate's way to write a million zeros takes about 1000 bytes; nothing here unpacks them.
fn bomb() -> Frame {
    Frame { reserved: 0b100, ..Frame::new(TEXT, [0xed, 0xc1, 1, 1, 0, 0, 0].repeat(200)) }
}

#[test]
fn compression_is_never_agreed_to_and_compressed_frames_are_protocol_errors() {
    let mut siege = Siege::begin();
    let many = ["permessage-deflate"; 300].join(", ");
    for offer in [
        "permessage-deflate",
        "permessage-deflate; server_no_context_takeover; client_max_window_bits=15",
        "permessage-bzip2, x-webkit-deflate-frame",
        ";;;,,,===\"",
        &many,
    ] {
        siege.attack(&format!("{offer:.40}"), |server| {
            let compressed = |_| {
                let offer = Handshake::default().header("Sec-WebSocket-Extensions", offer);
                let mut socket = offer.send(server.clients, &[]);
                let head = socket.expect_upgrade();
                assert!(!head.contains("sec-websocket-extensions"), "{head}");
                socket.say_connect();
                socket.send(&bomb());
                let close = socket.read_frame().expect("it is told why");
                assert_eq!((close.opcode, close.code()), (CLOSE, 1002));
                socket
            };
            (0..20).map(compressed).collect::<Vec<_>>()
        });
    }
}
