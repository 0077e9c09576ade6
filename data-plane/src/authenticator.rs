//! The port that says who a client is.

mod jwt;

use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;

pub(crate) use jwt::JwtAuthenticator;

/// Who a client is, as its token says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    /// The user; never empty.
    pub(crate) user: Arc<str>,
    /// JSON that other clients see; empty if there is none.
    pub(crate) info: Bytes,
    /// When the token ends, in Unix seconds.
    pub(crate) expires_at: Option<u64>,
}

/// Why a token is not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Denied {
    /// The client may get a new one and try again.
    #[error("the token has expired")]
    Expired,
    /// The client must not come back with it.
    #[error("the token is not valid")]
    Invalid,
}

/// Says who the bearer of a token is.
///
/// An adapter never accepts what it does not fully understand: a claim that asks for something this
/// version cannot do makes the token invalid.
pub(crate) trait Authenticator: Send + Sync {
    /// Verifies a token. Does not block.
    fn authenticate(&self, token: &str, now: SystemTime) -> Result<Option<Identity>, Denied>;
}
