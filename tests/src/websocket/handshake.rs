//! A request for a WebSocket, as a good client makes it or otherwise.

use std::net::SocketAddr;

use super::WebSocket;
use crate::tls::TlsClient;

/// The key and its answer are the example of RFC 6455, section 1.3.
const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";

/// A request for a WebSocket.
#[derive(Clone, Debug)]
pub struct Handshake {
    method: String,
    target: String,
    headers: Vec<(String, String)>,
}

impl Default for Handshake {
    fn default() -> Self {
        Self::to("/connection/websocket")
    }
}

impl Handshake {
    /// What a well-behaved client asks for at a path, which may have a query.
    pub fn to(target: &str) -> Self {
        let headers = [
            ("Connection", "Upgrade"),
            ("Upgrade", "websocket"),
            ("Sec-WebSocket-Version", "13"),
            ("Sec-WebSocket-Key", KEY),
        ];
        let headers = headers.map(|(name, value)| (name.to_owned(), value.to_owned()));
        Self { method: "GET".to_owned(), target: target.to_owned(), headers: headers.into() }
    }

    /// With another method.
    #[must_use]
    pub fn method(mut self, method: &str) -> Self {
        method.clone_into(&mut self.method);
        self
    }

    /// With a header, in place of the one that has the name.
    #[must_use]
    pub fn header(self, name: &str, value: &str) -> Self {
        let mut changed = self.without(name);
        changed.headers.push((name.to_owned(), value.to_owned()));
        changed
    }

    /// With a further header, whatever others there are.
    #[must_use]
    pub fn also(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Without a header.
    #[must_use]
    pub fn without(mut self, name: &str) -> Self {
        self.headers.retain(|(other, _)| other != name);
        self
    }

    /// The bytes of the request.
    pub fn to_bytes(&self, address: SocketAddr) -> Vec<u8> {
        let mut text = format!("{} {} HTTP/1.1\r\n", self.method, self.target);
        let has_host = self.headers.iter().any(|(name, _)| name == "Host");
        let host = (!has_host).then(|| ("Host".to_owned(), address.to_string()));
        for (name, value) in host.iter().chain(&self.headers) {
            text.push_str(&format!("{name}: {value}\r\n"));
        }
        text.push_str("\r\n");
        text.into_bytes()
    }

    /// Sends the request, and right behind it what is `early`.
    pub fn send(&self, address: SocketAddr, early: &[u8]) -> WebSocket {
        let mut socket = WebSocket::dial(address);
        let mut bytes = self.to_bytes(address);
        bytes.extend_from_slice(early);
        socket.send_bytes(&bytes);
        socket
    }

    /// The status and the headers that the request is answered with.
    pub fn answer(&self, address: SocketAddr) -> (u16, String) {
        self.send(address, &[]).read_head()
    }

    /// Sends the request over TLS.
    pub fn send_tls(&self, address: SocketAddr, client: &TlsClient) -> WebSocket {
        let mut socket = WebSocket::dial_tls(address, client);
        socket.send_bytes(&self.to_bytes(address));
        socket
    }

    /// Opens the WebSocket over TLS.
    ///
    /// # Panics
    /// If the server does not agree.
    pub fn open_tls(&self, address: SocketAddr, client: &TlsClient) -> WebSocket {
        let mut socket = self.send_tls(address, client);
        socket.expect_upgrade();
        socket
    }

    /// Opens the WebSocket.
    ///
    /// # Panics
    /// If the server does not agree.
    pub fn open(&self, address: SocketAddr) -> WebSocket {
        let mut socket = self.send(address, &[]);
        socket.expect_upgrade();
        socket
    }
}
