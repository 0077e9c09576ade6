//! Why a call was not carried out, and so what its caller can do.

use std::time::Duration;

use crate::config::Role;

/// Why a call was not carried out.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal {
    /// Mend the request.
    #[error("{field}: {why}")]
    Invalid { field: &'static str, why: String },
    /// Leave the option out.
    #[error("{field} is not available in this version: leave it out")]
    NotBuilt { field: &'static str },
    /// Forget the connection: it is gone, or never was.
    #[error("no node of this cluster holds the connection")]
    UnknownConnection,
    /// Try again a little later.
    #[error("the channel's owner has too much to do: try again")]
    Busy,
    /// Try again a little later.
    #[error("those who know who is present have too much to do: try again")]
    PresenceBusy,
    /// Watch again, with the last cursor.
    #[error("the replica stops: watch again")]
    Stopping,
    /// Turn presence on for the channel's namespace, or ask about another channel.
    #[error("the channel's namespace does not have presence: set the option presence in channel.namespaces")]
    PresenceOff,
    /// Take subscriptions of the user away first.
    #[error("as many subscriptions are kept for the user as may be: unsubscribe it from some channels first")]
    TooManySubscriptions,
    /// Try again a little later.
    #[error("the channel is changing its owner: try again")]
    NoOwner,
    /// Try again a little later, with an idempotency key if it must not come twice.
    #[error("the channel's history is not available, so it is not certain whether this was done: try again")]
    HistoryUnavailable,
    /// Begin with what there is, or at the beginning.
    #[error("the history has nothing that follows this position: it is too old, or of another stream")]
    Unrecoverable,
    /// Set the options of the channel's namespace, or leave the field out.
    #[error("{field} needs a history: set history_size and history_ttl for the channel's namespace")]
    NoHistory { field: &'static str },
    /// Try again when the channel takes the next publication.
    #[error("the channel takes no more publications per second: its publication_rate_limit is reached")]
    TooFast { wait: Duration },
    /// Try again: the node may be slow, or on its way out.
    #[error("the node of the connection did not answer in time: try again")]
    NoAnswer,
    /// Try again when older revocations have ended.
    #[error("so many users have revoked tokens that no further one can be remembered")]
    TooManyRevocations,
    /// Call again when the operator has seen to the disk.
    #[error(
        "the tokens are refused, but only until the server starts anew: it cannot write api.revocations_file"
    )]
    NotKept,
    /// Send a key that is configured.
    #[error("send one of the configured keys as authorization: Bearer KEY")]
    Unauthenticated,
    /// Use a key that has the role.
    #[error("the key {key:?} does not have the role {role:?} that this method needs", role = .role.name())]
    Forbidden { key: String, role: Role },
    /// Try again a little later.
    #[error("as many calls as api.concurrency_limit allows are under way: try again")]
    Overloaded,
}

impl Refusal {
    pub(crate) fn invalid(field: &'static str, why: impl Into<String>) -> Self {
        Self::Invalid { field, why: why.into() }
    }
}
