//! Protobuf that is nested, wide, or announces more than comes.

use fanfare_proto::client::Reply;
use fanfare_tests::sandbox::Sandbox;
use fanfare_tests::websocket::{BINARY, CLOSE, Frame, Handshake, WebSocket};
use prost::Message as _;

use super::siege::{Siege, Verdict, say};

/// A number of any size, as Protobuf writes it.
fn number(mut value: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    while value >= 0x80 {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
    bytes
}

/// A field that holds bytes or a message.
fn field(tag: u8, bytes: &[u8]) -> Vec<u8> {
    [&[tag << 3 | 2][..], &number(bytes.len()), bytes].concat()
}

/// A command with an id and one more field, behind its length.
fn command(tag: u8, request: &[u8]) -> Vec<u8> {
    let command = [vec![0x08, 7], field(tag, request)].concat();
    [number(command.len()), command].concat()
}

/// A subscribe with a filter.
fn filtered(filter: &[u8]) -> Vec<u8> {
    command(5, &[field(1, b"c"), field(13, filter)].concat())
}

/// A filter within a filter, so many times.
fn nested(count: usize) -> Vec<u8> {
    (0..count).fold(Vec::new(), |inner, _| field(6, &inner))
}

fn connected(server: &Sandbox) -> WebSocket {
    let offer = Handshake::default().header("Sec-WebSocket-Protocol", "centrifuge-protobuf");
    let mut socket = offer.open(server.clients);
    socket.send(&Frame::new(BINARY, [4, 0x08, 1, 0x22, 0]));
    assert_eq!(socket.read_frame().expect("an answer").opcode, BINARY);
    socket
}

fn verdict(server: &Sandbox, bytes: &[u8]) -> Verdict {
    let mut socket = connected(server);
    say(&socket, &Frame::new(BINARY, bytes).to_bytes());
    let frame = socket.read_frame().expect("nobody is left without a word");
    if frame.opcode == CLOSE {
        return Verdict::Closed(frame.code());
    }
    let reply = Reply::decode_length_delimited(frame.payload.as_slice()).expect("a reply");
    reply.error.map_or(Verdict::Served, |error| Verdict::Error(error.code.into()))
}

fn each_gets(what: &str, cases: &[(&str, Vec<u8>, Verdict)]) {
    let mut siege = Siege::begin();
    siege.attack(what, |server| {
        for (name, bytes, expected) in cases {
            for _ in 0..10 {
                assert_eq!(verdict(server, bytes), *expected, "{what}: {name}");
            }
        }
    });
}

#[test]
fn filters_within_filters_are_read_to_a_depth_and_no_further() {
    each_gets(
        "nested filters",
        &[
            ("few", filtered(&nested(50)), Verdict::Error(107)),
            ("many", filtered(&nested(200)), Verdict::Closed(3501)),
            ("as many as fit", filtered(&nested(14_000)), Verdict::Closed(3501)),
            (
                "groups of unknown fields",
                [number(60_000), [0x93_u8, 1].repeat(30_000)].concat(),
                Verdict::Closed(3501),
            ),
        ],
    );
}

#[test]
fn what_is_wide_costs_its_sender_only() {
    let empty_field = |tag: u8| field(tag, b"").repeat(30_000);
    each_gets(
        "wide messages",
        &[
            ("operands", filtered(&empty_field(6)), Verdict::Error(107)),
            ("values", filtered(&empty_field(5)), Verdict::Error(107)),
            ("untracked keys", command(15, &[field(1, b"c"), empty_field(5)].concat()), Verdict::Error(103)),
            ("tracked keys", command(15, &[field(1, b"c"), empty_field(4)].concat()), Verdict::Error(103)),
            ("one field again and again", command(13, &field(2, b"m").repeat(20_000)), Verdict::Error(108)),
            ("unknown fields", command(13, &field(14, b"").repeat(30_000)), Verdict::Error(108)),
        ],
    );
}

#[test]
fn what_announces_more_than_comes_is_closed_with_3501() {
    let endless = vec![0xff; 60_000];
    let claims = |len: usize| [vec![0x08, 7, 0x6a], number(len), b"x".to_vec()].concat();
    let behind_its_length = |bytes: Vec<u8>| [number(bytes.len()), bytes].concat();
    let closed = Verdict::Closed(3501);
    each_gets(
        "false lengths",
        &[
            ("numbers without end", endless, closed),
            ("more than the message", claims(1 << 20), closed),
            ("a field of 2 GiB", behind_its_length(claims(1 << 31)), closed),
            ("a field of all memory", behind_its_length(claims(usize::MAX)), closed),
            ("a text of all memory", command(5, &[vec![0x0a], number(usize::MAX)].concat()), closed),
            ("field 0", behind_its_length(vec![0x02, 0]), closed),
            ("an end without a beginning", behind_its_length(vec![0x08, 7, 0x6c]), closed),
            ("pongs without end", vec![0; 60_000], closed),
        ],
    );
}
