//! What was written to a recorded socket, as the client it is for reads it.

use bytes::Bytes;
use fanfare_proto::client::Reply;
use prost::Message as _;

use super::Received;
use crate::encoding::Encoding;

/// The kind of frame with which a connection ends.
const CLOSE: u8 = 8;
/// Those that carry a message.
const MESSAGES: [u8; 2] = [1, 2];

/// Reads whole frames, as a server writes them: without masks, in one piece.
pub(super) fn read(bytes: &[u8], encoding: Encoding) -> Vec<Received> {
    let (mut rest, mut received) = (bytes, Vec::new());
    while !rest.is_empty() {
        let kind = rest[0] & 0x0f;
        let (length, begin) = match rest[1] {
            126 => (usize::from(u16::from_be_bytes([rest[2], rest[3]])), 4),
            127 => (rest[2..10].iter().fold(0, |length, byte| length << 8 | usize::from(*byte)), 10),
            length => (usize::from(length), 2),
        };
        let payload = &rest[begin..begin + length];
        if MESSAGES.contains(&kind) {
            received.extend(replies(payload, encoding));
        } else if kind == CLOSE {
            received.push(Received::Closed(u16::from_be_bytes([payload[0], payload[1]])));
        }
        rest = &rest[begin + length..];
    }
    received
}

fn replies(message: &[u8], encoding: Encoding) -> Vec<Received> {
    let mut replies: Vec<Reply> = Vec::new();
    match encoding {
        Encoding::Json => {
            let lines = message.split(|byte| *byte == b'\n');
            replies.extend(lines.map(|line| serde_json::from_slice(line).expect("replies are JSON")));
        }
        Encoding::Protobuf => {
            let mut rest = Bytes::copy_from_slice(message);
            while !rest.is_empty() {
                replies.push(Reply::decode_length_delimited(&mut rest).expect("replies are Protobuf"));
            }
        }
    }
    replies.into_iter().map(|reply| Received::Reply(Box::new(reply))).collect()
}
