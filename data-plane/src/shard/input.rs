//! What a connection's task needs of its shard while it reads.

use std::cell::RefMut;
use std::rc::Rc;

use bytes::Bytes;

use super::{Shard, SlotKey};
use crate::codes::Code;
use crate::connection::socket::Received;
use crate::frame::FrameReader;

impl Shard {
    pub(crate) fn scratch(&self) -> RefMut<'_, Box<[u8]>> {
        self.scratch.borrow_mut()
    }

    pub(crate) fn plain(&self) -> RefMut<'_, Vec<u8>> {
        self.plain.borrow_mut()
    }

    /// Has a connection's TLS take in bytes, and adds what it makes of them to `plain`.
    pub(crate) fn receive(&self, key: SlotKey, bytes: &[u8], plain: &mut Vec<u8>) -> Received {
        let mut state = self.state.borrow_mut();
        let connection = state.connections.get(key);
        connection.map_or(Received::Ended, |connection| connection.socket().receive(bytes, plain))
    }

    pub(crate) fn frame_reader(&self) -> RefMut<'_, FrameReader> {
        self.reader.borrow_mut()
    }

    pub(crate) fn message_size_limit(&self) -> usize {
        self.message_size_limit
    }

    pub(crate) fn message(self: &Rc<Self>, key: SlotKey, message: Bytes) {
        self.with(|state| state.message(key, message));
    }

    pub(crate) fn ping_frame(self: &Rc<Self>, key: SlotKey, payload: &[u8]) {
        self.with(|state| state.ping_frame(key, payload));
    }

    pub(crate) fn pong_frame(self: &Rc<Self>, key: SlotKey) {
        self.with(|state| state.pong_frame(key));
    }

    /// The peer broke the rules of WebSockets, and is told so.
    pub(crate) fn refuse(self: &Rc<Self>, key: SlotKey, code: Code) {
        self.with(|state| state.refuse(key, code));
    }

    pub(crate) fn closed_by_peer(self: &Rc<Self>, key: SlotKey, code: Code) -> bool {
        self.with(|state| state.closed_by_peer(key, code))
    }

    pub(crate) fn gone(self: &Rc<Self>, key: SlotKey) {
        self.with(|state| state.gone(key));
    }
}
