//! An echo server that reads and writes its frames as the connections of a node do.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::thread;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use fanfare_tests::eventually::PATIENCE;
use fanfare_tests::websocket::{BINARY, TEXT};
use sha1::{Digest as _, Sha1};

use crate::codes::Code;
use crate::frame::{FrameReader, FrameSplitter, Framed, Incoming};

/// Larger than any message of the suite, the largest of which has 16 MiB.
const MESSAGE_SIZE_LIMIT: usize = 64 << 20;

/// What is read from a socket at once, at most.
const SCRATCH: usize = 64 << 10;

/// RFC 6455, section 1.3: what a server adds to the key of a handshake.
const SALT: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// Serves on a free port until the test's process ends.
pub(crate) fn start() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let address = listener.local_addr().expect("the port is bound");
    thread::spawn(move || {
        for stream in listener.incoming() {
            let stream = stream.expect("a connection can be accepted");
            thread::spawn(move || {
                // That the peer goes away without a word is for the suite to judge.
                let _ = Connection::open(stream).and_then(Connection::serve);
            });
        }
    });
    address
}

/// Whether a connection goes on.
#[derive(PartialEq, Eq)]
enum Next {
    Read,
    Close,
}

struct Connection {
    stream: TcpStream,
    splitter: FrameSplitter,
    reader: FrameReader,
    /// What has arrived and is not read yet.
    rest: Vec<u8>,
    /// Whether the message that is coming in is text, which [`Incoming`] does not say.
    text: bool,
}

impl Connection {
    /// Answers the handshake.
    fn open(mut stream: TcpStream) -> std::io::Result<Self> {
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let (request, rest) = read_request(&mut stream)?;
        let key = request
            .lines()
            .filter_map(|line| line.split_once(':'))
            .find(|(name, _)| name.eq_ignore_ascii_case("sec-websocket-key"))
            .map(|(_, key)| key.trim())
            .ok_or(ErrorKind::InvalidData)?;
        let accept = STANDARD.encode(Sha1::digest(format!("{key}{SALT}")));
        write!(
            stream,
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Accept: {accept}\r\n\r\n"
        )?;
        let (splitter, reader) = (FrameSplitter::default(), FrameReader::default());
        Ok(Self { stream, splitter, reader, rest, text: false })
    }

    fn serve(mut self) -> std::io::Result<()> {
        let mut scratch = vec![0; SCRATCH];
        while self.take_frames()? == Next::Read {
            let read = self.stream.read(&mut scratch)?;
            if read == 0 {
                break;
            }
            self.rest.extend_from_slice(&scratch[..read]);
        }
        Ok(())
    }

    /// Takes in all whole frames, and answers them.
    fn take_frames(&mut self) -> std::io::Result<Next> {
        let whole = std::mem::take(&mut self.rest);
        let mut rest = whole.as_slice();
        loop {
            let header = match self.splitter.header(rest, MESSAGE_SIZE_LIMIT) {
                Ok(Some(header)) if rest.len() >= header.frame_len => header,
                Ok(_) => break,
                Err(code) => return self.refuse(code),
            };
            let (frame, behind) = rest.split_at(header.frame_len);
            let opcode = frame[0] & 0x0f;
            if matches!(opcode, TEXT | BINARY) {
                self.text = opcode == TEXT;
            }
            rest = behind;
            match self.splitter.take(&mut self.reader, header, frame) {
                Ok(Incoming::Message(message)) => self.write(&Framed::message(self.text, &message))?,
                Ok(Incoming::Ping(payload)) => self.write(&Framed::pong(&payload))?,
                Ok(Incoming::Fragment | Incoming::Pong) => {}
                Ok(Incoming::Close(code)) => {
                    self.write(&Framed::close(code))?;
                    return Ok(Next::Close);
                }
                Err(code) => return self.refuse(code),
            }
        }
        let taken = whole.len() - rest.len();
        self.rest = whole;
        self.rest.drain(..taken);
        Ok(Next::Read)
    }

    /// Says why, and listens until the peer has closed its side: a socket that is dropped with unread bytes is
    /// reset, and the peer might never see the close frame.
    fn refuse(&mut self, code: Code) -> std::io::Result<Next> {
        self.write(&Framed::close(code))?;
        self.stream.shutdown(Shutdown::Write)?;
        std::io::copy(&mut self.stream, &mut std::io::sink())?;
        Ok(Next::Close)
    }

    fn write(&mut self, frame: &Framed) -> std::io::Result<()> {
        self.stream.write_all(frame.bytes())
    }
}

/// The head of a request, and what came right behind it.
fn read_request(stream: &mut TcpStream) -> std::io::Result<(String, Vec<u8>)> {
    const END: &[u8] = b"\r\n\r\n";
    let (mut received, mut scratch) = (Vec::new(), [0; 4_096]);
    loop {
        let read = stream.read(&mut scratch)?;
        if read == 0 {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        received.extend_from_slice(&scratch[..read]);
        if let Some(at) = received.windows(END.len()).position(|bytes| bytes == END) {
            let rest = received.split_off(at + END.len());
            let head = String::from_utf8(received).map_err(|_| ErrorKind::InvalidData)?;
            return Ok((head, rest));
        }
    }
}
