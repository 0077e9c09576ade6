//! A WebSocket client that knows the client protocol and can break every rule of both.

mod frame;
mod handshake;
mod stream;

use std::collections::VecDeque;
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};

use serde_json::{Value, json};

use crate::eventually::PATIENCE;
use crate::tls::TlsClient;
use stream::Stream;

pub use frame::{BINARY, CLOSE, CONTINUATION, Frame, PING, PONG, TEXT};
pub use handshake::Handshake;

/// What a good server makes of the key that [`Handshake`] sends.
const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

/// A socket, and what is known of the conversation on it.
#[derive(Debug)]
pub struct WebSocket {
    stream: Stream,
    received: Vec<u8>,
    messages: VecDeque<Value>,
    last_id: u32,
}

impl WebSocket {
    /// A socket on which nothing has been said.
    ///
    /// # Panics
    /// If nobody listens.
    pub fn dial(address: SocketAddr) -> Self {
        Self::on(Stream::Plain(Self::dial_tcp(address)))
    }

    /// The same over TLS, whose handshake comes with the first bytes.
    pub fn dial_tls(address: SocketAddr, client: &TlsClient) -> Self {
        Self::on(Stream::tls(Self::dial_tcp(address), client))
    }

    fn dial_tcp(address: SocketAddr) -> TcpStream {
        let stream = TcpStream::connect(address).expect("the port is open");
        stream.set_nodelay(true).expect("small frames can go out at once");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout can be set");
        stream.set_write_timeout(Some(PATIENCE)).expect("a timeout can be set");
        stream
    }

    fn on(stream: Stream) -> Self {
        Self { stream, received: Vec::new(), messages: VecDeque::new(), last_id: 0 }
    }

    /// A WebSocket on which no command has been sent.
    pub fn open(address: SocketAddr) -> Self {
        Handshake::default().open(address)
    }

    /// A connected JSON client, and what its connect was answered with.
    pub fn connect(address: SocketAddr) -> Self {
        let mut socket = Self::open(address);
        socket.say_connect();
        socket
    }

    /// A connected JSON client with one subscription.
    pub fn subscribed(address: SocketAddr, channel: &str) -> Self {
        let mut socket = Self::connect(address);
        socket.subscribe(channel);
        socket
    }

    /// The same socket in another hand, so that one can read while the other writes.
    ///
    /// # Panics
    /// If the system has no file left, or the socket speaks TLS, which only one hand can do.
    pub fn second_hand(&self) -> Self {
        let Stream::Plain(stream) = &self.stream else { panic!("only a plain socket has two hands") };
        let stream = Stream::Plain(stream.try_clone().expect("there is a file left"));
        Self { stream, received: self.received.clone(), messages: VecDeque::new(), last_id: self.last_id }
    }

    /// The socket itself.
    pub fn stream(&self) -> &TcpStream {
        self.stream.tcp()
    }

    /// What it has agreed on with the server over TLS.
    ///
    /// # Panics
    /// If it is plain.
    pub fn tls(&self) -> &rustls::ClientConnection {
        match &self.stream {
            Stream::Plain(_) => panic!("it does not speak TLS"),
            Stream::Tls(stream) => &stream.conn,
        }
    }

    /// Sends bytes.
    ///
    /// # Panics
    /// If the server does not take them.
    pub fn send_bytes(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).expect("the server takes bytes");
    }

    /// Sends a frame.
    pub fn send(&mut self, frame: &Frame) {
        self.send_bytes(&frame.to_bytes());
    }

    /// Sends a message of text.
    pub fn send_text(&mut self, text: &str) {
        self.send(&Frame::new(TEXT, text));
    }

    /// Sends a command in JSON.
    pub fn send_json(&mut self, command: &Value) {
        self.send_text(&command.to_string());
    }

    /// Waits for bytes. Returns whether some came before the end.
    fn receive(&mut self) -> bool {
        let mut piece = [0; 64 << 10];
        match self.stream.read(&mut piece) {
            Ok(count) => {
                self.received.extend_from_slice(&piece[..count]);
                count > 0
            }
            Err(error) if error.kind() == ErrorKind::ConnectionReset => false,
            Err(error) => panic!("waited in vain for the server to speak: {error}"),
        }
    }

    /// The status and the headers of an answer to a request; status 0 if the socket was closed instead.
    pub fn read_head(&mut self) -> (u16, String) {
        loop {
            let end = self.received.windows(4).position(|window| window == b"\r\n\r\n");
            if let Some(end) = end {
                let head = self.received.drain(..end + 4).collect();
                let head = String::from_utf8(head).expect("headers are text");
                let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
                return (status.expect("the status is a number"), head.to_lowercase());
            }
            if !self.receive() {
                return (0, String::new());
            }
        }
    }

    /// Reads so many bytes and forgets them.
    ///
    /// # Panics
    /// If they do not come.
    pub fn skip(&mut self, count: usize) {
        while self.received.len() < count {
            assert!(self.receive(), "the server ended");
        }
        self.received.drain(..count);
    }

    /// Reads the answer to the handshake.
    ///
    /// # Panics
    /// If the server does not agree.
    pub fn expect_upgrade(&mut self) -> String {
        let (status, head) = self.read_head();
        assert_eq!(status, 101, "{head}");
        assert!(head.contains(&format!("sec-websocket-accept: {}\r\n", ACCEPT.to_lowercase())), "{head}");
        head
    }

    /// The next frame; `None` if the server has ended the socket.
    ///
    /// # Panics
    /// If the server breaks the rules that its own frames have.
    pub fn read_frame(&mut self) -> Option<Frame> {
        loop {
            if let Some((frame, len)) = Frame::parse(&self.received) {
                self.received.drain(..len);
                assert!(frame.fin && frame.reserved == 0 && !frame.masked, "{frame:?}");
                return Some(frame);
            }
            if !self.receive() {
                assert!(self.received.is_empty(), "the server ended within a frame: {:?}", self.received);
                return None;
            }
        }
    }

    /// The next JSON message, be it an answer, a push or a ping.
    ///
    /// # Panics
    /// If something else comes.
    pub fn read_json(&mut self) -> Value {
        self.read_json_or_close().unwrap_or_else(|code| panic!("the server closes with {code}"))
    }

    /// The next JSON message, or the code that the server closes with.
    fn read_json_or_close(&mut self) -> Result<Value, u16> {
        while self.messages.is_empty() {
            let frame = self.read_frame().expect("the server goes on");
            if frame.opcode == CLOSE {
                return Err(frame.code());
            }
            assert_eq!(frame.opcode, TEXT, "{frame:?}");
            let text = String::from_utf8(frame.payload).expect("text is UTF-8");
            let lines = text.split('\n').map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
            self.messages.extend(lines);
        }
        Ok(self.messages.pop_front().expect("there is a message"))
    }

    /// The next JSON message that is not a ping; pings are answered.
    pub fn next_message(&mut self) -> Value {
        self.next_message_or_close().unwrap_or_else(|code| panic!("the server closes with {code}"))
    }

    fn next_message_or_close(&mut self) -> Result<Value, u16> {
        loop {
            let message = self.read_json_or_close()?;
            if message != json!({}) {
                return Ok(message);
            }
            self.send_text("{}");
        }
    }

    /// Sends a command under the next id, which `key` names and `request` fills, and returns the answer. What
    /// else comes before it is kept for later.
    pub fn command(&mut self, key: &str, request: &Value) -> Value {
        self.answer(key, request).unwrap_or_else(|code| panic!("the server closes with {code}"))
    }

    /// The same, where all that counts is what becomes of it: 0 for success, else the code of the error, or the
    /// one that the server closes with.
    pub fn outcome(&mut self, key: &str, request: &Value) -> u64 {
        match self.answer(key, request) {
            Ok(reply) => reply["error"]["code"].as_u64().unwrap_or(0),
            Err(code) => code.into(),
        }
    }

    fn answer(&mut self, key: &str, request: &Value) -> Result<Value, u16> {
        self.last_id += 1;
        let id = self.last_id;
        self.send_json(&json!({ "id": id, key: request }));
        let mut earlier = VecDeque::new();
        loop {
            let message = self.next_message_or_close()?;
            if message["id"] == id {
                earlier.append(&mut self.messages);
                self.messages = earlier;
                return Ok(message);
            }
            earlier.push_back(message);
        }
    }

    /// Connects without a token; returns the result.
    ///
    /// # Panics
    /// If the server refuses.
    pub fn say_connect(&mut self) -> Value {
        let mut reply = self.command("connect", &json!({}));
        assert!(reply["connect"]["client"].is_string(), "{reply}");
        reply["connect"].take()
    }

    /// Subscribes.
    ///
    /// # Panics
    /// If the server refuses.
    pub fn subscribe(&mut self, channel: &str) {
        let reply = self.command("subscribe", &json!({ "channel": channel }));
        assert!(reply["subscribe"].is_object(), "{reply}");
    }

    /// The data of the next push, which must be to the channel.
    ///
    /// # Panics
    /// If something else comes.
    pub fn next_data(&mut self, channel: &str) -> Value {
        let mut message = self.next_message();
        assert_eq!(message["push"]["channel"], channel, "{message}");
        message["push"]["pub"]["data"].take()
    }

    /// Reads on until the server closes, and returns its code.
    ///
    /// # Panics
    /// If the socket ends without a close frame.
    pub fn close_code(&mut self) -> u16 {
        loop {
            let frame = self.read_frame().expect("a close frame comes before the end");
            if frame.opcode == CLOSE {
                return frame.code();
            }
        }
    }

    /// Reads on until the server has answered a close frame with one, and has ended the socket.
    pub fn ends_after_close(&mut self) {
        self.close_code();
        self.ends();
    }

    /// Reads on until the server has ended the socket; nothing may come after a close frame.
    pub fn ends(&mut self) {
        while let Some(frame) = self.read_frame() {
            assert_ne!(frame.opcode, CLOSE, "a second close frame: {frame:?}");
        }
    }
}
