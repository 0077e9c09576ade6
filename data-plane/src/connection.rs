//! A connection's task: reads whole frames from its socket and hands them to the shard; holds no buffer while idle.

pub(crate) mod outbound;
pub(crate) mod socket;

use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::Buf as _;
use tokio::io::{AsyncRead, ReadBuf};
use tokio::net::tcp::OwnedReadHalf;

use crate::codes::Code;
use crate::frame::{FrameSplitter, Incoming};
use crate::shard::{Shard, SlotKey};
use socket::Received;

/// Reads until the peer or the shard ends the connection. `early` is what came right behind the handshake; with
/// TLS the socket may hold more of it.
///
/// The future is what a connection costs while it is idle, so it holds as little as it can.
pub(crate) fn run(
    shard: Rc<Shard>,
    key: SlotKey,
    (read, is_tls): (OwnedReadHalf, bool),
    early: &[u8],
) -> impl Future<Output = ()> + use<> {
    let mut input =
        Input { key, read, is_tls, splitter: FrameSplitter::default(), rest: Vec::new(), deaf: false };
    let mut open = early.is_empty() || input.take(&shard, early).is_ok();
    open = open && (!is_tls || input.take_encrypted(&shard, &[]));
    async move {
        while open {
            open = poll_fn(|cx| input.poll(&shard, cx)).await;
        }
        shard.gone(key);
    }
}

/// Both sides have closed.
struct Over;

struct Input {
    key: SlotKey,
    read: OwnedReadHalf,
    is_tls: bool,
    splitter: FrameSplitter,
    /// The beginning of a frame whose end has not arrived; without allocation between frames.
    rest: Vec<u8>,
    /// What else the peer says does not count. It is still read until the peer closes its side: a socket that
    /// is dropped with unread bytes is reset, and the peer might never see the close frame.
    deaf: bool,
}

impl Input {
    /// Reads once and takes in what is there. Ready with whether the connection goes on.
    fn poll(&mut self, shard: &Rc<Shard>, cx: &mut Context<'_>) -> Poll<bool> {
        let mut scratch = shard.scratch();
        let mut buffer = ReadBuf::new(&mut scratch);
        let read = ready!(Pin::new(&mut self.read).poll_read(cx, &mut buffer));
        let bytes = buffer.filled();
        if read.is_err() || bytes.is_empty() {
            return Poll::Ready(false);
        }
        let open =
            if self.is_tls { self.take_encrypted(shard, bytes) } else { self.take(shard, bytes).is_ok() };
        Poll::Ready(open)
    }

    /// Takes in what TLS makes of the bytes. Returns whether the connection goes on.
    fn take_encrypted(&mut self, shard: &Rc<Shard>, bytes: &[u8]) -> bool {
        let mut plain = shard.plain();
        plain.clear();
        let received = shard.receive(self.key, bytes, &mut plain);
        (plain.is_empty() || self.take(shard, &plain).is_ok()) && received == Received::Open
    }

    /// Takes in all whole frames and keeps the rest.
    fn take(&mut self, shard: &Rc<Shard>, bytes: &[u8]) -> Result<(), Over> {
        if self.rest.is_empty() {
            let taken = self.take_frames(shard, bytes)?;
            if taken < bytes.len() {
                self.rest = bytes[taken..].to_vec();
            }
            return Ok(());
        }
        let mut whole = std::mem::take(&mut self.rest);
        whole.extend_from_slice(bytes);
        let taken = self.take_frames(shard, &whole)?;
        whole.drain(..taken);
        if !whole.is_empty() {
            self.rest = whole;
        }
        Ok(())
    }

    /// Returns how many bytes made whole frames.
    fn take_frames(&mut self, shard: &Rc<Shard>, bytes: &[u8]) -> Result<usize, Over> {
        let mut rest = bytes;
        while !self.deaf {
            let header = match self.splitter.header(rest, shard.message_size_limit()) {
                Ok(Some(header)) if rest.len() >= header.frame_len => header,
                Ok(_) => return Ok(bytes.len() - rest.len()),
                Err(code) => {
                    self.refuse(shard, code);
                    break;
                }
            };
            let frame = &rest[..header.frame_len];
            let incoming = self.splitter.take(&mut shard.frame_reader(), header, frame);
            rest.advance(header.frame_len);
            match incoming {
                Ok(Incoming::Message(message)) => shard.message(self.key, message.freeze()),
                Ok(Incoming::Ping(payload)) => shard.ping_frame(self.key, &payload),
                Ok(Incoming::Pong) => shard.pong_frame(self.key),
                Ok(Incoming::Fragment) => {}
                Ok(Incoming::Close(code)) => {
                    self.deaf = true;
                    if shard.closed_by_peer(self.key, code) {
                        return Err(Over);
                    }
                }
                Err(code) => self.refuse(shard, code),
            }
        }
        Ok(bytes.len())
    }

    /// The peer broke the rules of WebSockets, and is told so.
    fn refuse(&mut self, shard: &Rc<Shard>, code: Code) {
        self.deaf = true;
        shard.refuse(self.key, code);
    }
}
