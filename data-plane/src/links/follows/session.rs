//! A link that is up, and what its replica has not been told yet of what the node follows.

use std::collections::VecDeque;

use fanfare_cluster::channel::ChannelName;

/// A link that is up.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) number: u64,
    /// What is still to be announced; `None` once it has caught up.
    pub(super) catching_up: Option<CatchingUp>,
}

#[derive(Debug, Default)]
pub(super) struct CatchingUp {
    // queue: follows of a new link
    pub(super) queue: VecDeque<ChannelName>,
    pub(super) unanswered: usize,
    /// The number under which shards announce their members, and how many of them have not.
    pub(super) round: u64,
    pub(super) shards_left: usize,
}
