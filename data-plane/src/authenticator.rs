//! The port that says who a client is and what its tokens grant.

mod cache;
mod capabilities;
mod claims;
mod jwks;
mod jwt;
mod keys;
mod tokens;

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use fanfare_cluster::channel::ChannelName;

pub(crate) use capabilities::{Capabilities, Permission, Permissions};
pub(crate) use jwks::{PublishedKeys, http_client};
pub use keys::KeyError;
pub(crate) use tokens::TokenAuthenticator;

/// Who a client is, and what it may do besides what the options allow to everybody.
#[derive(Debug, Default)]
pub(crate) struct Identity {
    /// The user; empty if anonymous.
    pub(crate) user: Arc<str>,
    /// What other clients see, as JSON or bytes; empty if there is nothing.
    pub(crate) info: Bytes,
    /// What only backends see, as JSON; empty if there is nothing.
    pub(crate) meta: Bytes,
    /// When its token was issued, in Unix seconds; 0 if the token does not say. `None` if there is no token.
    pub(crate) issued_at: Option<u64>,
    /// When the connection ends, in Unix seconds; `None` if never.
    pub(crate) expires_at: Option<u64>,
    /// What it is subscribed to by the server.
    pub(crate) subscriptions: Vec<Granted>,
    pub(crate) capabilities: Capabilities,
}

/// A subscription that a connection's token brings with it.
#[derive(Clone, Debug)]
pub(crate) struct Granted {
    pub(crate) channel: ChannelName,
    /// What other clients in the channel see.
    pub(crate) info: Bytes,
    /// What the client is told with its subscription.
    pub(crate) data: Bytes,
}

/// What a subscription token says.
#[derive(Debug, PartialEq)]
pub(crate) struct SubscriptionGrant {
    /// Whose it is; empty if anonymous.
    pub(crate) user: Arc<str>,
    /// The connection that it is for, if it is for one only.
    pub(crate) client: Option<String>,
    pub(crate) channel: ChannelName,
    /// What other clients in the channel see.
    pub(crate) info: Bytes,
    /// When it was issued, in Unix seconds; 0 if it does not say.
    pub(crate) issued_at: u64,
    /// When the subscription ends, in Unix seconds; `None` if never.
    pub(crate) expires_at: Option<u64>,
    /// What it allows besides subscribing.
    pub(crate) permissions: Permissions,
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
    /// The key it was signed with may become known within seconds: the client may come back with it.
    #[error("the token's key is not known yet")]
    KeyPending,
}

/// Says what tokens grant.
///
/// An adapter never accepts what it does not fully understand: a claim that asks for something this
/// version cannot do makes the token invalid. It never blocks.
pub(crate) trait Authenticator: Send + Sync {
    /// Verifies a connection's token.
    fn connection(&self, token: &str, now: SystemTime) -> Result<Arc<Identity>, Denied>;

    /// Verifies a subscription's token.
    fn subscription(&self, token: &str, now: SystemTime) -> Result<Arc<SubscriptionGrant>, Denied>;
}

/// A time as tokens count it.
pub(crate) fn unix_seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}
