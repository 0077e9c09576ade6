//! A client that does nothing wrong while others do, and that must not notice.

use fanfare_tests::sandbox::Sandbox;
use fanfare_tests::websocket::WebSocket;
use serde_json::json;

const CHANNEL: &str = "bystander";

/// A connected client with one subscription.
pub(crate) struct Bystander {
    socket: WebSocket,
    pushes: u64,
}

impl Bystander {
    pub(crate) fn of(server: &Sandbox) -> Self {
        Self { socket: WebSocket::subscribed(server.clients, CHANNEL), pushes: 0 }
    }

    /// Pushes to it and checks that it gets the push.
    pub(crate) fn is_served(&mut self, server: &Sandbox) {
        self.pushes += 1;
        let receipt = server.push(CHANNEL, &self.pushes.to_string());
        assert_eq!((receipt.written, receipt.complete), (1, true), "{receipt:?}");
        assert_eq!(self.socket.next_data(CHANNEL), json!(self.pushes));
    }
}
