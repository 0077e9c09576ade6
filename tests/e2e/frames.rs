//! The rules of WebSockets (RFC 6455), broken from outside and kept in unusual ways.

use std::net::Shutdown;

use fanfare_tests::sandbox::Sandbox;
use fanfare_tests::websocket::{BINARY, CLOSE, CONTINUATION, Frame, Handshake, PING, PONG, TEXT, WebSocket};
use serde_json::json;

use crate::bystander::Bystander;

const LIMIT: usize = 64 << 10;
const CONNECT: &str = r#"{"id":1,"connect":{}}"#;

/// Sends each of these on a connection of its own and checks what it is closed with.
fn each_is_closed_with(code: u16, cases: &[(&str, Vec<u8>)]) {
    let server = Sandbox::start();
    let mut bystander = Bystander::of(&server);
    for (name, bytes) in cases {
        let mut client = WebSocket::connect(server.clients);
        client.send_bytes(bytes);
        assert_eq!(client.close_code(), code, "{name}");
        client.send(&Frame::close(code));
        client.stream().shutdown(Shutdown::Write).expect("the socket is open");
        client.ends();
        bystander.is_served(&server);
    }
}

/// Frames one behind the other.
fn together(frames: &[Frame]) -> Vec<u8> {
    frames.iter().flat_map(Frame::to_bytes).collect()
}

/// A command of exactly so many bytes.
fn rpc_of(len: usize) -> String {
    let bare = r#"{"id":7,"rpc":{"method":""}}"#.len();
    format!(r#"{{"id":7,"rpc":{{"method":"{}"}}}}"#, "m".repeat(len - bare))
}

#[test]
fn an_unmasked_frame_is_a_protocol_error() {
    let unmasked = |opcode, payload: &str| Frame { masked: false, ..Frame::new(opcode, payload) };
    each_is_closed_with(
        1002,
        &[
            ("text", unmasked(TEXT, "{}").to_bytes()),
            ("empty", unmasked(TEXT, "").to_bytes()),
            ("ping", unmasked(PING, "").to_bytes()),
            ("close", unmasked(CLOSE, "").to_bytes()),
            ("only the header", unmasked(BINARY, "").claiming(60_000)),
        ],
    );
}

#[test]
fn a_reserved_bit_is_a_protocol_error() {
    let reserved = |opcode, reserved| Frame { reserved, ..Frame::new(opcode, "{}") }.to_bytes();
    each_is_closed_with(
        1002,
        &[
            ("first", reserved(TEXT, 0b100)),
            ("second", reserved(TEXT, 0b010)),
            ("third", reserved(BINARY, 0b001)),
            ("in a ping", reserved(PING, 0b100)),
        ],
    );
}

#[test]
fn a_reserved_opcode_is_a_protocol_error() {
    let cases: Vec<_> = [3, 4, 5, 6, 7, 11, 12, 13, 14, 15]
        .map(|opcode| ("reserved opcode", Frame::new(opcode, "{}").to_bytes()))
        .into();
    each_is_closed_with(1002, &cases);
}

#[test]
fn a_control_frame_that_is_fragmented_or_long_is_a_protocol_error() {
    each_is_closed_with(
        1002,
        &[
            ("fragmented ping", Frame::unfinished(PING, "x").to_bytes()),
            ("fragmented close", Frame::unfinished(CLOSE, 1000u16.to_be_bytes()).to_bytes()),
            ("long ping", Frame::new(PING, [b'x'; 126]).to_bytes()),
            ("long pong", Frame::new(PONG, [b'x'; 126]).to_bytes()),
            ("long close", Frame::new(CLOSE, [b'x'; 126]).to_bytes()),
            ("a ping that claims gigabytes", Frame::new(PING, "").claiming(1 << 33)),
        ],
    );
}

#[test]
fn a_message_out_of_order_is_a_protocol_error() {
    let begun = Frame::unfinished(TEXT, "{");
    each_is_closed_with(
        1002,
        &[
            ("continuation of nothing", Frame::new(CONTINUATION, "}").to_bytes()),
            ("unfinished continuation of nothing", Frame::unfinished(CONTINUATION, "}").to_bytes()),
            ("text within text", together(&[begun.clone(), Frame::new(TEXT, "}")])),
            ("binary within text", together(&[begun.clone(), Frame::unfinished(BINARY, "}")])),
            (
                "continuation of what has ended",
                together(&[
                    begun,
                    Frame::new(CONTINUATION, r#""id":2,"rpc":{}}"#),
                    Frame::new(CONTINUATION, "}"),
                ]),
            ),
        ],
    );
}

#[test]
fn text_that_is_not_utf8_is_closed_with_1007() {
    each_is_closed_with(
        1007,
        &[
            ("a byte that is never", Frame::new(TEXT, *b"{\"id\":2,\"x\":\"\xff\"}").to_bytes()),
            ("half a character at the end", Frame::new(TEXT, *b"{}\xc3").to_bytes()),
            ("a surrogate", Frame::new(TEXT, *b"\xed\xa0\x80").to_bytes()),
            (
                "broken across fragments",
                together(&[Frame::unfinished(TEXT, *b"{\"x\":\"\xc3"), Frame::new(CONTINUATION, *b"\"}")]),
            ),
            (
                "half a character in the last fragment",
                together(&[Frame::unfinished(TEXT, *b"{}"), Frame::new(CONTINUATION, *b"\xe2\x82")]),
            ),
            ("in the reason of a close", Frame::new(CLOSE, *b"\x03\xe8\xff\xfe").to_bytes()),
        ],
    );
}

#[test]
fn a_character_may_be_split_between_fragments() {
    let server = Sandbox::start();
    let mut client = WebSocket::subscribed(server.clients, "news");
    let text = r#"{"id":9,"publish":{"channel":"news","data":"für 5 € 🎺"}}"#;
    let (first, rest) = text.as_bytes().split_at(text.find('ü').expect("it is there") + 1);
    let (second, third) = rest.split_at(rest.len() - 6);
    client.send(&Frame::unfinished(TEXT, first));
    client.send(&Frame::unfinished(CONTINUATION, second));
    client.send(&Frame::new(CONTINUATION, third));
    let (mut pushed, mut answered) = (client.next_message(), client.next_message());
    if pushed["id"] == 9 {
        (pushed, answered) = (answered, pushed);
    }
    assert_eq!(answered, json!({ "id": 9, "publish": {} }));
    assert_eq!(pushed["push"]["pub"]["data"], "für 5 € 🎺");
}

#[test]
fn a_message_over_the_limit_is_closed_with_1009_as_soon_as_it_is_announced() {
    let half = Frame::unfinished(TEXT, vec![b' '; LIMIT / 2]);
    let other_half = Frame::unfinished(CONTINUATION, vec![b' '; LIMIT / 2]);
    each_is_closed_with(
        1009,
        &[
            ("one byte more", Frame::new(TEXT, vec![b' '; LIMIT + 1]).to_bytes()),
            ("only announced", Frame::new(BINARY, "").claiming(LIMIT as u64 + 1)),
            ("announced beyond all memory", Frame::new(BINARY, "").claiming(u64::MAX)),
            (
                "one byte more in fragments",
                together(&[half.clone(), other_half.clone(), Frame::new(CONTINUATION, " ")]),
            ),
            ("announced in a fragment", [half.to_bytes(), other_half.claiming(LIMIT as u64)].concat()),
        ],
    );
}

#[test]
fn a_message_of_exactly_the_limit_is_served_whole_and_in_fragments() {
    let server = Sandbox::start();
    let mut client = WebSocket::connect(server.clients);
    let rpc = rpc_of(LIMIT);
    client.send_text(&rpc);
    assert_eq!(client.next_message()["error"]["code"], 108);
    let (first, second) = rpc.as_bytes().split_at(LIMIT / 3);
    client.send(&Frame::unfinished(TEXT, first));
    client.send(&Frame::unfinished(CONTINUATION, second));
    client.send(&Frame::new(CONTINUATION, ""));
    assert_eq!(client.next_message()["error"]["code"], 108);
}

#[test]
fn pings_are_answered_with_their_payload_also_between_fragments() {
    let server = Sandbox::start();
    let mut client = WebSocket::open(server.clients);
    let payloads = [Vec::new(), b"a".to_vec(), (0..125).collect::<Vec<u8>>()];
    client.send(&Frame::unfinished(TEXT, &CONNECT[..5]));
    for payload in &payloads {
        client.send(&Frame::new(PING, payload.clone()));
        client.send(&Frame::new(PONG, "unasked"));
        client.send(&Frame::unfinished(CONTINUATION, ""));
        let answer = client.read_frame().expect("an answer");
        assert_eq!((answer.opcode, &answer.payload), (PONG, payload));
    }
    client.send(&Frame::new(CONTINUATION, &CONNECT[5..]));
    assert_eq!(client.next_message()["id"], 1);
}

#[test]
fn a_close_frame_is_answered_in_kind_and_then_the_socket_ends() {
    let server = Sandbox::start();
    let mut bystander = Bystander::of(&server);
    for code in [1000, 1001, 1002, 1003, 1007, 1011, 3000, 3999, 4000, 4999] {
        let mut client = WebSocket::connect(server.clients);
        client.send(&Frame::close(code));
        // An answer of 1000 and one without a code mean the same.
        let answer = client.close_code();
        assert!(answer == code || (code == 1000 && answer == 1005), "{code} was answered with {answer}");
        client.ends();
    }
    let mut silent = WebSocket::open(server.clients);
    silent.send(&Frame::new(CLOSE, ""));
    assert_eq!(silent.close_code(), 1005);
    silent.ends();
    bystander.is_served(&server);
}

#[test]
fn a_close_frame_that_must_not_be_is_a_protocol_error() {
    let code = |code: u16| Frame::close(code).to_bytes();
    each_is_closed_with(
        1002,
        &[
            ("half a code", Frame::new(CLOSE, *b"\x03").to_bytes()),
            ("0", code(0)),
            ("999", code(999)),
            ("1004", code(1004)),
            ("1005", code(1005)),
            ("1006", code(1006)),
            ("1015", code(1015)),
            ("1016", code(1016)),
            ("2999", code(2999)),
            ("5000", code(5000)),
            ("65535", code(65535)),
        ],
    );
}

#[test]
fn a_command_may_come_byte_by_byte() {
    let server = Sandbox::start();
    let mut client = WebSocket::open(server.clients);
    for byte in Frame::new(TEXT, CONNECT).to_bytes() {
        client.send_bytes(&[byte]);
    }
    assert_eq!(client.next_message()["id"], 1);
}

#[test]
fn frames_that_come_in_one_piece_are_all_served_in_order() {
    let server = Sandbox::start();
    let mut client = WebSocket::connect(server.clients);
    let frames: Vec<Frame> =
        (2..200).map(|id| Frame::new(TEXT, json!({ "id": id, "rpc": {} }).to_string())).collect();
    let mut bytes = together(&frames);
    // The last piece ends within a frame.
    let last = bytes.split_off(bytes.len() - 7);
    client.send_bytes(&bytes);
    for id in 2..199 {
        assert_eq!(client.next_message()["id"], id);
    }
    client.send_bytes(&last);
    assert_eq!(client.next_message()["id"], 199);
}

#[test]
fn what_comes_right_behind_the_handshake_is_not_lost() {
    let server = Sandbox::start();
    let whole = Frame::new(TEXT, CONNECT).to_bytes();
    for early in [whole.len(), whole.len() - 3, 1] {
        let mut client = Handshake::default().send(server.clients, &whole[..early]);
        client.expect_upgrade();
        client.send_bytes(&whole[early..]);
        assert_eq!(client.next_message()["id"], 1);
    }
}

#[test]
fn more_behind_the_handshake_than_a_head_may_have_is_not_lost() {
    let server = Sandbox::start();
    let mut early = Frame::new(TEXT, CONNECT).to_bytes();
    early.extend(Frame::new(TEXT, rpc_of(60_000)).to_bytes());
    let mut client = Handshake::default().send(server.clients, &early);
    client.expect_upgrade();
    assert_eq!(client.next_message()["id"], 1);
    assert_eq!(client.next_message()["id"], 7);
}

#[test]
fn a_client_that_closes_only_its_sending_side_is_let_go() {
    let server = Sandbox::start();
    let mut bystander = Bystander::of(&server);
    let mut client = WebSocket::subscribed(server.clients, "news");
    client.stream().shutdown(Shutdown::Write).expect("the socket is open");
    client.ends();
    let mut within_a_frame = WebSocket::connect(server.clients);
    within_a_frame.send_bytes(&Frame::new(TEXT, "{}").claiming(1000));
    within_a_frame.stream().shutdown(Shutdown::Write).expect("the socket is open");
    within_a_frame.ends();
    bystander.is_served(&server);
    assert_eq!(server.push("news", "1").written, 0);
}

#[test]
fn the_close_frame_arrives_though_much_is_still_being_sent() {
    let server = Sandbox::start();
    let mut bystander = Bystander::of(&server);
    let mut client = WebSocket::connect(server.clients);
    // A socket that is dropped with unread bytes is reset, and a reset takes the close frame with it.
    let mut bytes = Frame::new(3, "").to_bytes();
    bytes.resize(2 << 20, b'x');
    client.send_bytes(&bytes);
    assert_eq!(client.close_code(), 1002);
    client.stream().shutdown(Shutdown::Write).expect("the socket is open");
    client.ends();
    bystander.is_served(&server);
}
