//! What a subscription asks for while it begins, and why somebody waits for it.

use std::sync::Arc;

use fanfare_cluster::channel::StreamPosition;

use super::SlotKey;
use crate::tag_filter::TagFilter;

/// Why a connection waits for a channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// Its subscribe command.
    Subscribe { id: u32 },
    /// Its connect command: the channel is one of its server-side subscriptions.
    Connect,
    /// A backend, which does not wait for it.
    Backend,
}

impl Purpose {
    /// Whether the client did not ask for it by itself.
    pub(crate) fn is_server_side(self) -> bool {
        !matches!(self, Self::Subscribe { .. })
    }
}

/// What a subscription asks for beyond publications from now on.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Wants {
    /// What was published after this.
    pub(crate) since: Option<StreamPosition>,
    /// Only the last of it.
    pub(crate) latest: bool,
    /// An error, and no subscription, if that cannot be had.
    pub(crate) all_or_nothing: bool,
    /// To be told its position.
    pub(crate) positioned: bool,
    /// To be told that it can come back with its position.
    pub(crate) recoverable: bool,
    /// To be told of joins and leaves.
    pub(crate) joins: bool,
    /// Only some publications.
    pub(crate) filter: Option<Arc<TagFilter>>,
}

/// A connection that waits for its subscription.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Waiting {
    pub(crate) key: SlotKey,
    pub(crate) purpose: Purpose,
    /// `None` if it is all the default.
    pub(crate) wants: Option<Box<Wants>>,
}

impl Waiting {
    /// From where it wants what it has missed.
    pub(crate) fn since(&self) -> Option<(StreamPosition, bool)> {
        let wants = self.wants.as_ref()?;
        wants.since.map(|since| (since, wants.latest))
    }
}

/// A subscription that has just become live.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Born {
    pub(crate) waiting: Waiting,
    /// Its place among the channel's subscribers.
    pub(crate) index: u32,
    /// What was published last before it; `None` if the channel has no stream.
    pub(crate) at: Option<StreamPosition>,
    /// What became of its recovery, if it asked for one.
    pub(crate) recovered: Option<bool>,
}
