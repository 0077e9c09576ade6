//! The replies to a client's commands.

use fanfare_proto::client::{Reply, SubscribeResult};

use crate::codes::{Code, error};
use crate::encoding::Encoding;

/// The replies to one message, which go out as one.
pub(super) struct Replies {
    pub(super) encoding: Encoding,
    pub(super) message: Vec<u8>,
}

impl Replies {
    pub(super) fn new(encoding: Encoding) -> Self {
        Self { encoding, message: Vec::new() }
    }

    pub(super) fn add(&mut self, reply: &Reply) {
        if self.encoding.write(reply, &mut self.message).is_err() {
            // It holds data of others that cannot be written in this encoding.
            let written = self.encoding.write(&failed(reply.id, error::INTERNAL), &mut self.message);
            debug_assert!(written.is_ok(), "an error holds no data of others");
        }
    }
}

/// The answer to a subscribe.
pub(super) fn subscribed(id: u32, result: SubscribeResult) -> Reply {
    Reply { id, subscribe: Some(result), ..Default::default() }
}

/// The answer to a command that failed.
pub(super) fn failed(id: u32, code: Code) -> Reply {
    Reply { id, error: Some(code.to_error()), ..Default::default() }
}
