//! The replies to a client's commands.

use fanfare_proto::client::{Reply, SubscribeResult};

use crate::codes::Code;
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
        let written = self.encoding.write(reply, &mut self.message);
        debug_assert!(written.is_ok(), "replies hold no data of others");
    }
}

/// The answer to a subscribe. `ttl` is how many seconds the subscription lasts, if it ends by itself.
pub(super) fn subscribed(id: u32, ttl: Option<u32>) -> Reply {
    let subscribe = SubscribeResult { expires: ttl.is_some(), ttl: ttl.unwrap_or(0), ..Default::default() };
    Reply { id, subscribe: Some(subscribe), ..Default::default() }
}

/// The answer to a command that failed.
pub(super) fn failed(id: u32, code: Code) -> Reply {
    Reply { id, error: Some(code.to_error()), ..Default::default() }
}
