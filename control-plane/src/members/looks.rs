//! What those who ask are shown: members in pages, counts, users, and what a watcher has not been told yet.

use std::sync::Arc;

use fanfare_cluster::channel::ChannelName;
use fanfare_cluster::connection_id::ConnectionId;
use fanfare_cluster::member::MemberId;

use super::roster::{Infos, Member, Roster};
use super::sources::Coverage;
use super::watches::{Change, Cursor, Noted, Occasion, Progress, WatchId};
use super::{Members, Moment};

/// A member as it is shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct MemberView {
    /// Empty if it is anonymous.
    pub(crate) user: Arc<str>,
    pub(crate) infos: Option<Arc<Infos>>,
    /// In Unix milliseconds.
    pub(crate) joined_at_ms: u64,
    /// The node that holds the connection, unless it is forgotten.
    pub(crate) node: Option<MemberId>,
}

/// A user as it is shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct UserView {
    pub(crate) user: String,
    pub(crate) online: bool,
    pub(crate) connections: usize,
    /// The nodes that hold its connections, in order.
    pub(crate) nodes: Vec<MemberId>,
    /// When it came, in Unix milliseconds; 0 if it is offline.
    pub(crate) since_ms: u64,
    /// When its last connection ended, in Unix milliseconds; 0 if that is not known, or it has one.
    pub(crate) last_seen_ms: u64,
}

/// How many are in a channel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) connections: usize,
    pub(crate) users: usize,
}

/// Some members, in the order of their connection ids.
#[derive(Debug, Default)]
pub(crate) struct Page {
    pub(crate) members: Vec<(ConnectionId, MemberView)>,
    /// There are more behind the last one.
    pub(crate) more: bool,
}

/// What a watcher is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Told {
    /// All that it was told of the channel or user is void; what follows is all.
    Begin(ChannelName, Occasion),
    /// With when it happened, in Unix milliseconds; 0 if it is part of a snapshot.
    Change(ChannelName, Change, u64),
    /// It has been told all of the channel or user.
    End(ChannelName),
}

/// What a watcher has not been told yet, or the first part of it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Pulled {
    /// If it has changed.
    pub(crate) coverage: Option<Coverage>,
    pub(crate) told: Vec<Told>,
    /// Where it stands then; none while it is being told a snapshot.
    pub(crate) cursor: Option<Cursor>,
}

impl Members {
    /// How far an answer of this moment can be believed.
    pub(crate) fn coverage(&self) -> Coverage {
        self.sources.coverage()
    }

    /// How many are in a channel.
    pub(crate) fn counts(&self, channel: &ChannelName) -> Counts {
        let roster = self.rosters.get(channel);
        roster.map_or_else(Counts::default, |roster| Counts {
            connections: roster.len(),
            users: roster.user_count(),
        })
    }

    /// Members behind one in the order of ids, or the first ones.
    pub(crate) fn page(&self, channel: &ChannelName, after: Option<ConnectionId>, most: usize) -> Page {
        let Some(roster) = self.rosters.get(channel) else { return Page::default() };
        let mut rest = roster.after(after);
        let members = rest.by_ref().take(most).map(|(id, member)| (id, self.view(member))).collect();
        Page { members, more: rest.next().is_some() }
    }

    /// The user of a personal channel.
    pub(crate) fn user(&self, channel: &ChannelName) -> UserView {
        let state = self.users.state(channel);
        let roster = self.rosters.get(channel);
        let sessions = roster.into_iter().flat_map(Roster::sessions);
        let mut nodes: Vec<MemberId> =
            sessions.filter_map(|session| self.sources.node(session)).cloned().collect();
        nodes.sort();
        nodes.dedup();
        UserView {
            user: channel.as_str().strip_prefix('#').unwrap_or_default().to_owned(),
            online: state.online,
            connections: roster.map_or(0, Roster::len),
            nodes,
            since_ms: state.since_ms,
            last_seen_ms: state.last_seen_ms,
        }
    }

    /// Somebody watches these channels from now on; a personal one stands for its user.
    pub(crate) fn watch(&mut self, id: WatchId, channels: Vec<ChannelName>, cursor: Option<Cursor>) {
        self.watches.open(id, channels, cursor);
        self.wake();
    }

    /// Nobody reads the watch any more.
    pub(crate) fn unwatch(&mut self, id: WatchId, now: Moment) {
        self.watches.close(id, now.instant);
    }

    /// What the watcher has not been told yet, about `most` things of it. It is woken again if there is more.
    pub(crate) fn pull(&mut self, id: WatchId, most: usize) -> Option<Pulled> {
        let coverage = self.watches.look(id)?.then(|| self.sources.coverage());
        let mut told = Vec::new();
        while told.len() < most && self.pull_snapshot(id, most, &mut told) {}
        while told.len() < most
            && let Some(Noted { channel, change, at_ms }) = self.watches.next_change(id)
        {
            told.push(Told::Change(channel, change, at_ms));
        }
        let cursor = self.watches.cursor(id);
        self.wake();
        Some(Pulled { coverage, told, cursor })
    }

    /// Tells a part of a snapshot; returns whether there is another part.
    fn pull_snapshot(&mut self, id: WatchId, most: usize, told: &mut Vec<Told>) -> bool {
        let Some(snapshot) = self.watches.snapshot(id) else { return false };
        let channel = snapshot.channel.clone();
        let after = match snapshot.progress {
            Progress::Behind(last) => last,
            Progress::NotBegun => {
                told.push(Told::Begin(channel.clone(), snapshot.occasion));
                snapshot.progress = Progress::Behind(None);
                None
            }
        };
        if channel.is_personal() {
            let user = self.user(&channel);
            told.push(Told::Change(channel.clone(), Change::User(user), 0));
        } else {
            let Page { members, more } = self.page(&channel, after, most.saturating_sub(told.len()).max(1));
            if let Some(snapshot) = self.watches.snapshot(id)
                && let Some((last, _)) = members.last()
            {
                snapshot.progress = Progress::Behind(Some(*last));
            }
            let change = |(id, view)| Told::Change(channel.clone(), Change::Joined(id, view), 0);
            told.extend(members.into_iter().map(change));
            if more {
                return true;
            }
        }
        told.push(Told::End(channel));
        self.watches.end_snapshot(id);
        true
    }

    pub(super) fn view(&self, member: &Member) -> MemberView {
        let Member { user, infos, joined_at_ms, session } = member;
        MemberView {
            user: user.clone(),
            infos: infos.clone(),
            joined_at_ms: *joined_at_ms,
            node: self.sources.node(*session).cloned(),
        }
    }
}
