//! Leaves that are told to subscribers a little later, and not at all if their users are back by then.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Instant;

use fanfare_cluster::channel::ChannelName;
use fanfare_cluster::connection_id::ConnectionId;

use super::roster::Member;

/// Somebody is no longer a member.
#[derive(Debug)]
pub(crate) struct Leave {
    pub(crate) channel: ChannelName,
    pub(crate) id: ConnectionId,
    pub(crate) member: Member,
}

/// All leaves that wait.
#[derive(Debug, Default)]
pub(crate) struct Leaves {
    next: u64,
    by_time: BTreeMap<(Instant, u64), Leave>,
    by_user: BTreeSet<(ChannelName, Arc<str>, Instant, u64)>,
}

impl Leaves {
    /// Tells the leave when `due` has come.
    pub(crate) fn push(&mut self, due: Instant, leave: Leave) {
        self.next += 1;
        // Nobody knows whether one who is anonymous is back.
        if !leave.member.user.is_empty() {
            let (channel, user) = (leave.channel.clone(), leave.member.user.clone());
            self.by_user.insert((channel, user, due, self.next));
        }
        self.by_time.insert((due, self.next), leave);
    }

    /// The user is in the channel again: the leave that has waited longest is not told. Returns whether there was one.
    pub(crate) fn take_back(&mut self, channel: &ChannelName, user: &Arc<str>, now: Instant) -> bool {
        // What is due would have been told by now if there were nothing else to do.
        let from = (channel.clone(), user.clone(), now, u64::MAX);
        let first = self.by_user.range(from..).next().cloned();
        let Some(entry) = first.filter(|(of, by, _, _)| of == channel && by == user) else { return false };
        self.by_time.remove(&(entry.2, entry.3));
        self.by_user.remove(&entry)
    }

    /// The next leave that is due.
    pub(crate) fn next(&mut self, now: Instant) -> Option<Leave> {
        if self.next_due().is_none_or(|due| due > now) {
            return None;
        }
        let ((due, number), leave) = self.by_time.pop_first()?;
        self.by_user.remove(&(leave.channel.clone(), leave.member.user.clone(), due, number));
        Some(leave)
    }

    /// When the next leave is due.
    pub(crate) fn next_due(&self) -> Option<Instant> {
        self.by_time.first_key_value().map(|((due, _), _)| *due)
    }
}
