//! WebSocket frames: where one ends in a stream of bytes, what it holds, and how one is written.
//!
//! The reader of fastwebsockets 0.10 must not be dropped in the middle of a frame, does not limit
//! fragmented messages, accepts unmasked frames and oversize control frames, and sends no close frame
//! on errors. So [`FrameSplitter`] finds the whole frame first and checks its header; only then the
//! library sees it, and never has to wait.

use std::cell::RefCell;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::{Buf as _, Bytes, BytesMut};
use fastwebsockets::{
    CloseCode, Frame, OpCode, Payload, Role, WebSocketError, WebSocketRead, after_handshake_split,
};
use futures_util::FutureExt as _;
use tokio::io::{AsyncRead, ReadBuf};

use crate::codes::{Code, websocket};

/// RFC 6455, section 5.5: a control frame carries at most this much.
const MAX_CONTROL_PAYLOAD: u64 = 125;

/// What the header of a frame says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    /// Header and payload together, in bytes.
    pub(crate) frame_len: usize,
    payload_len: usize,
    fin: bool,
    opcode: u8,
}

const CONTINUATION: u8 = 0;
const TEXT: u8 = 1;
const BINARY: u8 = 2;

/// Follows the frames of one connection, to check each header before its payload is waited for.
#[derive(Debug, Default)]
pub(crate) struct FrameSplitter {
    /// The bytes of a fragmented message so far; `None` between messages.
    fragmented: Option<Box<Fragmented>>,
}

#[derive(Debug)]
struct Fragmented {
    text: bool,
    data: Vec<u8>,
}

/// What arrived.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Incoming {
    /// A whole message.
    Message(BytesMut),
    /// A piece of a message that goes on.
    Fragment,
    /// A ping, to be answered with these bytes.
    Ping(BytesMut),
    /// An answer to a ping.
    Pong,
    /// The peer closes, and gets this code back.
    Close(Code),
}

impl FrameSplitter {
    /// Looks for the header of the next frame at the start of `bytes`.
    ///
    /// `None` means that more bytes are needed to tell. A header is checked as soon as it is there,
    /// long before its payload must be: nobody can make the server wait for more than `limit` bytes.
    pub(crate) fn header(&self, bytes: &[u8], limit: usize) -> Result<Option<Header>, Code> {
        let [first, second, rest @ ..] = bytes else { return Ok(None) };
        let (fin, reserved, opcode) = (first & 0x80 != 0, first & 0x70, first & 0x0f);
        let (masked, short_len) = (second & 0x80 != 0, u64::from(second & 0x7f));
        let control = opcode & 0x08 != 0;
        let known = matches!(opcode, 0..=2 | 8..=10);
        if reserved != 0 || !known || !masked || (control && (!fin || short_len > MAX_CONTROL_PAYLOAD)) {
            return Err(websocket::PROTOCOL_ERROR);
        }
        let in_order = match opcode {
            CONTINUATION => self.fragmented.is_some(),
            TEXT | BINARY => self.fragmented.is_none(),
            _ => true,
        };
        if !in_order {
            return Err(websocket::PROTOCOL_ERROR);
        }
        let (len, len_bytes) = match short_len {
            126 => match rest {
                [a, b, ..] => (u64::from(u16::from_be_bytes([*a, *b])), 2),
                _ => return Ok(None),
            },
            127 => match rest.first_chunk() {
                Some(len) => (u64::from_be_bytes(*len), 8),
                None => return Ok(None),
            },
            len => (len, 0),
        };
        let so_far = self.fragmented.as_ref().map_or(0, |fragmented| fragmented.data.len());
        if !control && len > (limit.saturating_sub(so_far)) as u64 {
            return Err(websocket::TOO_BIG);
        }
        let payload_len = len as usize; // at most `limit`, as just checked
        let frame_len = 2 + len_bytes + 4 + payload_len;
        Ok(Some(Header { frame_len, payload_len, fin, opcode }))
    }

    /// Takes in a whole frame, whose header was found at its start.
    pub(crate) fn take(
        &mut self,
        reader: &mut FrameReader,
        header: Header,
        frame: &[u8],
    ) -> Result<Incoming, Code> {
        debug_assert_eq!(frame.len(), header.frame_len);
        let (opcode, payload) = reader.read(frame)?;
        debug_assert_eq!(payload.len(), header.payload_len);
        match opcode {
            OpCode::Ping => Ok(Incoming::Ping(payload)),
            OpCode::Pong => Ok(Incoming::Pong),
            OpCode::Close => close_answer(&payload).map(Incoming::Close),
            OpCode::Text | OpCode::Binary if header.fin => Ok(Incoming::Message(payload)),
            OpCode::Text | OpCode::Binary => {
                let text = header.opcode == TEXT;
                self.fragmented = Some(Box::new(Fragmented { text, data: payload.to_vec() }));
                Ok(Incoming::Fragment)
            }
            OpCode::Continuation => self.continuation(&payload, header.fin),
        }
    }

    fn continuation(&mut self, payload: &[u8], fin: bool) -> Result<Incoming, Code> {
        let Some(fragmented) = &mut self.fragmented else { return Err(websocket::PROTOCOL_ERROR) };
        fragmented.data.extend_from_slice(payload);
        if !fin {
            return Ok(Incoming::Fragment);
        }
        let text = fragmented.text;
        let data = self.fragmented.take().map(|fragmented| fragmented.data).unwrap_or_default();
        if text && std::str::from_utf8(&data).is_err() {
            return Err(websocket::INVALID_UTF8);
        }
        Ok(Incoming::Message(BytesMut::from(data.as_slice())))
    }
}

/// What to answer to a close frame.
fn close_answer(payload: &[u8]) -> Result<Code, Code> {
    match payload {
        [] => Ok(websocket::NORMAL),
        [_] => Err(websocket::PROTOCOL_ERROR),
        [a, b, reason @ ..] => {
            let code = u16::from_be_bytes([*a, *b]);
            if std::str::from_utf8(reason).is_err() {
                Err(websocket::INVALID_UTF8)
            } else if CloseCode::from(code).is_allowed() {
                Ok(Code { code, reason: "" })
            } else {
                Err(websocket::PROTOCOL_ERROR)
            }
        }
    }
}

/// Reads whole frames with fastwebsockets. One serves all connections of a shard, because nothing of a
/// frame stays in it: connections hold no buffer while they are idle.
pub(crate) struct FrameReader {
    feed: Feed,
    reader: WebSocketRead<Feed>,
}

/// The bytes that the library may read: exactly one frame.
#[derive(Clone, Default)]
struct Feed(Rc<RefCell<BytesMut>>);

impl AsyncRead for Feed {
    fn poll_read(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        let mut fed = self.0.borrow_mut();
        let taken = fed.len().min(buffer.remaining());
        buffer.put_slice(&fed[..taken]);
        fed.advance(taken);
        Poll::Ready(Ok(()))
    }
}

impl Default for FrameReader {
    fn default() -> Self {
        Self::with_feed(Feed::default())
    }
}

impl FrameReader {
    fn with_feed(feed: Feed) -> Self {
        let (mut reader, _) = after_handshake_split(feed.clone(), tokio::io::sink(), Role::Server);
        reader.set_auto_close(false);
        reader.set_auto_pong(false);
        reader.set_max_message_size(usize::MAX); // the splitter has checked the size
        Self { feed, reader }
    }

    fn read(&mut self, frame: &[u8]) -> Result<(OpCode, BytesMut), Code> {
        self.feed.0.borrow_mut().extend_from_slice(frame);
        let mut nothing_to_send = |_: Frame<'_>| std::future::ready(Ok::<(), WebSocketError>(()));
        let read = match self.reader.read_frame(&mut nothing_to_send).now_or_never() {
            Some(Ok(frame)) => return Ok((frame.opcode, into_bytes(frame.payload))),
            Some(Err(WebSocketError::InvalidUTF8)) => Err(websocket::INVALID_UTF8),
            _ => Err(websocket::PROTOCOL_ERROR),
        };
        // What is left in the reader belongs to a connection that ends: begin afresh.
        *self = Self::default();
        read
    }
}

fn into_bytes(payload: Payload<'_>) -> BytesMut {
    match payload {
        Payload::Bytes(bytes) => bytes,
        other => BytesMut::from(&*other),
    }
}

/// A frame ready to be written, and to be shared by all who get it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Framed(Bytes);

impl Framed {
    /// A message to a client: text if it is JSON.
    pub(crate) fn message(text: bool, payload: &[u8]) -> Self {
        let borrowed = Payload::Borrowed(payload);
        let frame = if text { Frame::text(borrowed) } else { Frame::binary(borrowed) };
        Self::from_frame(frame)
    }

    /// The answer to a ping frame.
    pub(crate) fn pong(payload: &[u8]) -> Self {
        Self::from_frame(Frame::pong(Payload::Borrowed(payload)))
    }

    /// A ping frame without content.
    pub(crate) fn ping() -> Self {
        Self::from_frame(Frame::new(true, OpCode::Ping, None, Payload::Borrowed(&[])))
    }

    /// A close frame. [`websocket::NORMAL`] has no content.
    pub(crate) fn close(code: Code) -> Self {
        if code == websocket::NORMAL {
            return Self::from_frame(Frame::close_raw(Payload::Borrowed(&[])));
        }
        Self::close_with(code.code, code.reason)
    }

    /// A close frame with a code and a reason.
    pub(crate) fn close_with(code: u16, reason: &str) -> Self {
        Self::from_frame(Frame::close(code, reason.as_bytes()))
    }

    fn from_frame(mut frame: Frame<'_>) -> Self {
        let mut bytes = Vec::new();
        let len = frame.write(&mut bytes).len();
        bytes.truncate(len);
        Self(bytes.into())
    }

    /// The bytes for the wire.
    pub(crate) fn bytes(&self) -> &Bytes {
        &self.0
    }
}

#[cfg(test)]
#[path = "frame_tests.rs"]
mod tests;
