//! The writing side of a connection's socket, plain or with TLS.

use std::io::{ErrorKind, IoSlice, Read as _, Result, Write};
use std::net::{Shutdown, SocketAddr};
use std::task::{Context, Poll};

use rustls::ServerConnection;
use tokio::net::TcpStream;
use tokio::net::tcp::OwnedWriteHalf;

/// Where bytes for a client go.
#[derive(Debug)]
pub(crate) enum Socket {
    /// To the kernel.
    Plain(OwnedWriteHalf),
    /// Through TLS.
    Tls(Box<TlsSocket>),
    /// Into memory, which takes everything: the client is a simulation's.
    Recorded(Box<Recording>),
}

/// What a simulation's client has got. Behind a pointer, so that other sockets are no larger for it.
#[derive(Debug, Default)]
pub(crate) struct Recording(Vec<u8>);

/// TLS, and the socket below it. What is read passes through here, too: there is one state for both directions.
#[derive(Debug)]
pub(crate) struct TlsSocket {
    write: OwnedWriteHalf,
    tls: ServerConnection,
    /// Bytes that are encrypted, but that the kernel has not taken all: they must go out before anything else.
    sealed: usize,
}

/// What TLS has made of bytes from the peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Received {
    /// It goes on.
    Open,
    /// The peer has closed its side, or broken the rules.
    Ended,
}

impl Socket {
    /// A socket whose TLS handshake is done.
    pub(crate) fn tls(write: OwnedWriteHalf, mut tls: ServerConnection) -> Self {
        // What waits is bounded by the connection's queue.
        tls.set_buffer_limit(None);
        Self::Tls(Box::new(TlsSocket { write, tls, sealed: 0 }))
    }

    /// The socket itself, if there is one.
    fn stream(&self) -> Option<&TcpStream> {
        match self {
            Self::Plain(write) => Some(write.as_ref()),
            Self::Tls(socket) => Some(socket.write.as_ref()),
            Self::Recorded(_) => None,
        }
    }

    /// Whether the kernel takes bytes now; if not, the task is woken when it does.
    pub(crate) fn poll_write_ready(&self, cx: &mut Context<'_>) -> Poll<Result<()>> {
        self.stream().map_or(Poll::Ready(Ok(())), |stream| stream.poll_write_ready(cx))
    }

    /// Where the client is; `None` if it is gone.
    pub(crate) fn peer(&self) -> Option<SocketAddr> {
        self.stream()?.peer_addr().ok()
    }

    /// Takes what was recorded.
    pub(crate) fn take_recorded(&mut self) -> Vec<u8> {
        if let Self::Recorded(recording) = self { std::mem::take(&mut recording.0) } else { Vec::new() }
    }

    /// Whether it speaks TLS.
    pub(crate) fn is_tls(&self) -> bool {
        matches!(self, Self::Tls(_))
    }

    /// Writes what the kernel takes now, and says how much that was.
    ///
    /// With TLS bytes are taken as a whole: after `WouldBlock` the next call must begin with the same bytes.
    pub(crate) fn try_write(&mut self, bytes: &[u8]) -> Result<usize> {
        match self {
            Self::Plain(write) => write.try_write(bytes),
            Self::Tls(socket) => socket.try_write(bytes),
            Self::Recorded(recording) => {
                recording.0.extend_from_slice(bytes);
                Ok(bytes.len())
            }
        }
    }

    /// Whether bytes that have not been counted as written have gone out in part, and must be finished.
    pub(crate) fn has_begun(&self) -> bool {
        matches!(self, Self::Tls(socket) if socket.sealed > 0)
    }

    /// Takes in what came from the peer, and adds what it says to `plain`. Only with TLS.
    pub(crate) fn receive(&mut self, bytes: &[u8], plain: &mut Vec<u8>) -> Received {
        let Self::Tls(socket) = self else { return Received::Ended };
        let received = socket.receive(bytes, plain).unwrap_or(Received::Ended);
        // Answers of TLS itself, such as an alert. If they must wait they go out with the next bytes.
        let _ = socket.flush();
        received
    }

    /// Ends the socket: for writing, so that the peer sees the end, or for both, so that its own task does.
    pub(crate) fn shut_down(&mut self, how: Shutdown) {
        if let Self::Tls(socket) = self {
            socket.say_end();
        }
        if let Some(stream) = self.stream() {
            // A socket that is not connected any more needs no end.
            let _ = socket2::SockRef::from(stream).shutdown(how);
        }
    }
}

/// The peer shall see an end that was meant, and not take it for one that somebody has cut short.
impl Drop for TlsSocket {
    fn drop(&mut self) {
        self.say_end();
    }
}

impl TlsSocket {
    fn say_end(&mut self) {
        self.tls.send_close_notify();
        // A peer that does not take it sees the end of the socket.
        let _ = self.flush();
    }

    fn try_write(&mut self, bytes: &[u8]) -> Result<usize> {
        if self.sealed == 0 {
            self.tls.writer().write_all(bytes)?;
            self.sealed = bytes.len();
        } else if self.sealed > bytes.len() {
            // These are other bytes than those that TLS has begun with.
            return Err(ErrorKind::InvalidInput.into());
        }
        self.flush()?;
        Ok(std::mem::take(&mut self.sealed))
    }

    fn flush(&mut self) -> Result<()> {
        while self.tls.wants_write() {
            self.tls.write_tls(&mut Kernel(self.write.as_ref()))?;
        }
        Ok(())
    }

    fn receive(&mut self, mut bytes: &[u8], plain: &mut Vec<u8>) -> Result<Received> {
        loop {
            if !bytes.is_empty() {
                self.tls.read_tls(&mut bytes)?;
            }
            let state = self.tls.process_new_packets().map_err(std::io::Error::other)?;
            let before = plain.len();
            plain.resize(before + state.plaintext_bytes_to_read(), 0);
            self.tls.reader().read_exact(&mut plain[before..])?;
            if state.peer_has_closed() {
                return Ok(Received::Ended);
            }
            if bytes.is_empty() {
                return Ok(Received::Open);
            }
        }
    }
}

/// Writes without waiting.
struct Kernel<'a>(&'a TcpStream);

impl Write for Kernel<'_> {
    fn write(&mut self, bytes: &[u8]) -> Result<usize> {
        more_than_nothing(self.0.try_write(bytes))
    }

    fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> Result<usize> {
        more_than_nothing(self.0.try_write_vectored(slices))
    }

    fn flush(&mut self) -> Result<()> {
        Ok(())
    }
}

/// A socket that takes nothing would be written to for ever.
fn more_than_nothing(written: Result<usize>) -> Result<usize> {
    match written {
        Ok(0) => Err(ErrorKind::WriteZero.into()),
        written => written,
    }
}
