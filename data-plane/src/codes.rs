//! The closed tables of the client protocol: error codes in replies, disconnect codes in close frames.

use fanfare_proto::client::Error;

/// A code with its words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Code {
    pub(crate) code: u16,
    pub(crate) reason: &'static str,
}

const fn code(code: u16, reason: &'static str) -> Code {
    Code { code, reason }
}

/// Errors in replies. Only 100, 111 and 113 are temporary: SDKs try again.
pub(crate) mod error {
    use super::{Code, code};

    pub(crate) const INTERNAL: Code = code(100, "internal server error");
    pub(crate) const UNKNOWN_CHANNEL: Code = code(102, "unknown channel");
    pub(crate) const PERMISSION_DENIED: Code = code(103, "permission denied");
    pub(crate) const ALREADY_SUBSCRIBED: Code = code(105, "already subscribed");
    pub(crate) const LIMIT_EXCEEDED: Code = code(106, "limit exceeded");
    pub(crate) const BAD_REQUEST: Code = code(107, "bad request");
    pub(crate) const NOT_AVAILABLE: Code = code(108, "not available");
    pub(crate) const TOKEN_EXPIRED: Code = code(109, "token expired");
    pub(crate) const EXPIRED: Code = code(110, "expired");
    pub(crate) const TOO_MANY_REQUESTS: Code = code(111, "too many requests");
    pub(crate) const UNRECOVERABLE_POSITION: Code = code(112, "unrecoverable position");

    /// What an owner has answered with. One of a later version is an internal error here.
    pub(crate) fn of_owner(code: u32) -> Code {
        let known = [LIMIT_EXCEEDED, NOT_AVAILABLE, TOO_MANY_REQUESTS, UNRECOVERABLE_POSITION];
        known.into_iter().find(|known| u32::from(known.code) == code).unwrap_or(INTERNAL)
    }
}

/// Disconnects. SDKs come back after 3000-3499 and stay away after 3500-3999.
pub(crate) mod disconnect {
    use super::{Code, code};

    pub(crate) const SHUTDOWN: Code = code(3001, "shutdown");
    pub(crate) const EXPIRED: Code = code(3005, "connection expired");
    pub(crate) const SLOW: Code = code(3008, "slow");
    pub(crate) const INSUFFICIENT_STATE: Code = code(3010, "insufficient state");
    pub(crate) const NO_PONG: Code = code(3012, "no pong");
    pub(crate) const TOO_MANY_REQUESTS: Code = code(3013, "too many requests");
    pub(crate) const INVALID_TOKEN: Code = code(3500, "invalid token");
    pub(crate) const BAD_REQUEST: Code = code(3501, "bad request");
    pub(crate) const STALE: Code = code(3502, "stale");
    pub(crate) const FORCED: Code = code(3503, "force disconnect");
    pub(crate) const CONNECTION_LIMIT: Code = code(3504, "connection limit");
    pub(crate) const CHANNEL_LIMIT: Code = code(3505, "channel limit");
    pub(crate) const PERMISSION_DENIED: Code = code(3507, "permission denied");
    pub(crate) const NOT_AVAILABLE: Code = code(3508, "not available");
    pub(crate) const TOO_MANY_ERRORS: Code = code(3509, "too many errors");
}

/// Why a subscription ends without the client's asking. SDKs subscribe again from 2500 on.
pub(crate) mod unsubscribe {
    use super::{Code, code};

    pub(crate) const SERVER: Code = code(2000, "server unsubscribe");
    pub(crate) const INSUFFICIENT_STATE: Code = code(2500, "insufficient state");
    pub(crate) const EXPIRED: Code = code(2501, "subscription expired");
}

/// RFC 6455, section 7.4.1: what a WebSocket itself is closed for.
pub(crate) mod websocket {
    use super::{Code, code};

    pub(crate) const NORMAL: Code = code(1000, "");
    pub(crate) const PROTOCOL_ERROR: Code = code(1002, "protocol error");
    pub(crate) const INVALID_UTF8: Code = code(1007, "text is not UTF-8");
    pub(crate) const TOO_BIG: Code = code(1009, "message size limit exceeded");
}

impl Code {
    /// The error as it stands in a reply.
    pub(crate) fn to_error(self) -> Error {
        let temporary = matches!(self.code, 100 | 111 | 113);
        Error { code: self.code.into(), message: self.reason.to_owned(), temporary }
    }
}
