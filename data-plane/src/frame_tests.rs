//! Tests of the frame splitter: every rule of RFC 6455 that a stranger can break, and any chunking of any stream.

use proptest::prelude::*;

use super::*;

const LIMIT: usize = 1_000;

/// A masked frame as a client writes it.
fn client_frame(fin: bool, opcode: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![u8::from(fin) << 7 | opcode];
    match payload.len() {
        len @ 0..126 => frame.push(0x80 | len as u8),
        len @ 126..65_536 => {
            frame.push(0x80 | 126);
            frame.extend_from_slice(&(len as u16).to_be_bytes());
        }
        len => {
            frame.push(0x80 | 127);
            frame.extend_from_slice(&(len as u64).to_be_bytes());
        }
    }
    let mask = [1, 2, 3, 4];
    frame.extend_from_slice(&mask);
    frame.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    frame
}

/// Feeds a stream in chunks, as a connection's task does.
fn read_all<'a>(chunks: impl IntoIterator<Item = &'a [u8]>) -> (Vec<Incoming>, Option<Code>) {
    let (mut splitter, mut reader) = (FrameSplitter::default(), FrameReader::default());
    let (mut carry, mut incoming) = (Vec::new(), Vec::new());
    for chunk in chunks {
        carry.extend_from_slice(chunk);
        loop {
            match splitter.header(&carry, LIMIT) {
                Ok(Some(header)) if carry.len() >= header.frame_len => {
                    let frame: Vec<u8> = carry.drain(..header.frame_len).collect();
                    match splitter.take(&mut reader, header, &frame) {
                        Ok(item) => incoming.push(item),
                        Err(code) => return (incoming, Some(code)),
                    }
                }
                Ok(_) => break,
                Err(code) => return (incoming, Some(code)),
            }
        }
    }
    (incoming, None)
}

fn read_one(bytes: &[u8]) -> (Vec<Incoming>, Option<Code>) {
    read_all([bytes])
}

fn message(payload: &[u8]) -> Incoming {
    Incoming::Message(BytesMut::from(payload))
}

#[test]
fn a_whole_message_is_read() {
    assert_eq!(read_one(&client_frame(true, TEXT, b"hello")), (vec![message(b"hello")], None));
    assert_eq!(read_one(&client_frame(true, BINARY, &[7; 300])), (vec![message(&[7; 300])], None));
}

#[test]
fn an_unmasked_frame_is_a_protocol_error() {
    assert_eq!(read_one(&[0x81, 0x01, b'x']).1, Some(websocket::PROTOCOL_ERROR));
}

#[test]
fn reserved_bits_and_opcodes_are_protocol_errors() {
    for first in [0xc1, 0xa1, 0x91, 0x83, 0x87, 0x8b, 0x8f] {
        assert_eq!(read_one(&[first, 0x80, 0, 0, 0, 0]).1, Some(websocket::PROTOCOL_ERROR), "{first:x}");
    }
}

#[test]
fn control_frames_are_short_and_whole() {
    for opcode in [8, 9, 10] {
        assert_eq!(read_one(&client_frame(true, opcode, &[0; 126])).1, Some(websocket::PROTOCOL_ERROR));
        assert_eq!(read_one(&client_frame(false, opcode, b"")).1, Some(websocket::PROTOCOL_ERROR));
    }
    assert_eq!(
        read_one(&client_frame(true, 9, &[5; 125])).0,
        vec![Incoming::Ping(BytesMut::from(&[5; 125][..]))]
    );
    assert_eq!(read_one(&client_frame(true, 10, b"")).0, vec![Incoming::Pong]);
}

#[test]
fn a_message_at_the_limit_passes_and_one_above_does_not() {
    assert_eq!(read_one(&client_frame(true, BINARY, &[1; LIMIT])).1, None);
    assert_eq!(read_one(&client_frame(true, BINARY, &[1; LIMIT + 1])).1, Some(websocket::TOO_BIG));
    let huge = [0x82, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff];
    assert_eq!(read_one(&huge).1, Some(websocket::TOO_BIG), "known from the header alone");
}

// fastwebsockets 0.10.0 accepted 502,000 bytes in fragments under a limit of 1,024: a memory hole.
#[test]
fn the_limit_holds_over_all_fragments_of_a_message() {
    let mut stream = client_frame(false, BINARY, &[1; LIMIT - 1]);
    stream.extend(client_frame(false, CONTINUATION, &[1; 1]));
    assert_eq!(read_one(&stream), (vec![Incoming::Fragment, Incoming::Fragment], None));
    stream.extend(client_frame(true, CONTINUATION, &[1; 1]));
    assert_eq!(read_one(&stream).1, Some(websocket::TOO_BIG));
}

#[test]
fn fragments_join_and_control_frames_may_come_between() {
    let mut stream = client_frame(false, TEXT, b"hel");
    stream.extend(client_frame(true, 9, b"p"));
    stream.extend(client_frame(true, CONTINUATION, b"lo"));
    let expected = vec![Incoming::Fragment, Incoming::Ping(BytesMut::from(&b"p"[..])), message(b"hello")];
    assert_eq!(read_one(&stream), (expected, None));
}

#[test]
fn fragments_out_of_order_are_protocol_errors() {
    assert_eq!(read_one(&client_frame(true, CONTINUATION, b"x")).1, Some(websocket::PROTOCOL_ERROR));
    let mut stream = client_frame(false, TEXT, b"a");
    stream.extend(client_frame(true, TEXT, b"b"));
    assert_eq!(read_one(&stream).1, Some(websocket::PROTOCOL_ERROR));
}

#[test]
fn text_must_be_utf8_also_across_fragments() {
    assert_eq!(read_one(&client_frame(true, TEXT, &[0xff])).1, Some(websocket::INVALID_UTF8));
    let euro = "€".as_bytes();
    let mut split = client_frame(false, TEXT, &euro[..1]);
    split.extend(client_frame(true, CONTINUATION, &euro[1..]));
    assert_eq!(read_one(&split).0.last(), Some(&message(euro)));
    let mut cut = client_frame(false, TEXT, &euro[..1]);
    cut.extend(client_frame(true, CONTINUATION, b"x"));
    assert_eq!(read_one(&cut).1, Some(websocket::INVALID_UTF8));
}

#[test]
fn close_frames_are_checked() {
    let close = |payload: &[u8]| read_one(&client_frame(true, 8, payload));
    assert_eq!(close(b"").0, vec![Incoming::Close(websocket::NORMAL)]);
    assert_eq!(close(&[0x03, 0xe8, b'x']).0, vec![Incoming::Close(Code { code: 1000, reason: "" })]);
    assert_eq!(close(&[0x03]).1, Some(websocket::PROTOCOL_ERROR));
    assert_eq!(close(&[0x03, 0xed]).1, Some(websocket::PROTOCOL_ERROR), "1005 is never sent");
    assert_eq!(close(&[0x03, 0xe8, 0xff]).1, Some(websocket::INVALID_UTF8));
}

#[test]
fn a_reader_is_clean_after_a_broken_frame() {
    let (mut splitter, mut reader) = (FrameSplitter::default(), FrameReader::default());
    let bad = client_frame(true, TEXT, &[0xff; 10]);
    let header = splitter.header(&bad, LIMIT).unwrap().unwrap();
    assert_eq!(splitter.take(&mut reader, header, &bad), Err(websocket::INVALID_UTF8));
    let good = client_frame(true, TEXT, b"other connection");
    let mut other = FrameSplitter::default();
    let header = other.header(&good, LIMIT).unwrap().unwrap();
    assert_eq!(other.take(&mut reader, header, &good), Ok(message(b"other connection")));
}

fn split(stream: &[u8], cuts: &[prop::sample::Index]) -> Vec<Vec<u8>> {
    let mut at: Vec<usize> = cuts.iter().map(|cut| cut.index(stream.len() + 1)).collect();
    at.extend([0, stream.len()]);
    at.sort_unstable();
    at.windows(2).map(|pair| stream[pair[0]..pair[1]].to_vec()).collect()
}

proptest! {
    #[test]
    fn any_chunking_of_any_stream_reads_the_same(
        stream in prop::collection::vec(any::<u8>(), 0..200),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..8),
    ) {
        let chunks = split(&stream, &cuts);
        prop_assert_eq!(read_all(chunks.iter().map(Vec::as_slice)), read_one(&stream));
    }

    #[test]
    fn any_chunking_of_good_messages_gives_them_back(
        payloads in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..LIMIT), 1..6),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..20),
    ) {
        let stream: Vec<u8> = payloads.iter().flat_map(|payload| client_frame(true, BINARY, payload)).collect();
        let chunks = split(&stream, &cuts);
        let (incoming, error) = read_all(chunks.iter().map(Vec::as_slice));
        prop_assert_eq!(error, None);
        prop_assert_eq!(incoming, payloads.iter().map(|payload| message(payload)).collect::<Vec<_>>());
    }
}
