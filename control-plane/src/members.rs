//! Who is in the channels of one presence task, as a plain state machine: members come from nodes, and leave with them.

mod leaves;
mod looks;
mod roster;
mod sources;
mod users;
mod watches;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use fanfare_cluster::channel::{ChannelName, Namespaces};
use fanfare_cluster::connection_id::ConnectionId;
use fanfare_cluster::member::{Incarnation, MemberId};
use fanfare_cluster::placement::PlacementNumber;
use smallvec::SmallVec;

use crate::owner::SessionId;
use leaves::{Leave, Leaves};
use roster::{Entered, Member, Roster};
use sources::Sources;
use users::Users;
use watches::{Noted, Watches};

pub(crate) use looks::{Counts, MemberView, Pulled, Told, UserView};
pub(crate) use roster::Infos;
pub(crate) use sources::Coverage;
pub(crate) use users::TooManySubscriptions;
pub(crate) use watches::{Change, Cursor, Occasion, Tenure, WatchId};

/// Members up to which joins and leaves are told to subscribers, and all members at once to clients.
pub(crate) const MANY: usize = 10_000;

/// When something happens, on both clocks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Moment {
    pub(crate) instant: Instant,
    pub(crate) unix_ms: u64,
}

/// A connection enters a channel.
#[derive(Debug)]
pub(crate) struct Entering {
    pub(crate) id: ConnectionId,
    pub(crate) user: Arc<str>,
    pub(crate) infos: Option<Infos>,
    /// In Unix milliseconds; 0 if it is now.
    pub(crate) joined_at_ms: u64,
    /// It was a member before its node's link came up.
    pub(crate) again: bool,
    /// In a personal channel: what backends have subscribed the connection to for its user's sake.
    pub(crate) subscriptions: Vec<ChannelName>,
}

/// What has to be done about a change.
#[derive(Debug)]
pub(crate) enum Action {
    /// Tell subscribers that somebody has joined or left.
    Tell {
        sessions: SmallVec<[SessionId; 2]>,
        channel: ChannelName,
        id: ConnectionId,
        member: MemberView,
        joined: bool,
    },
    /// Subscribe a connection to what its user is subscribed to.
    Subscribe { session: SessionId, id: ConnectionId, channel: ChannelName },
    /// Tell a watcher that there is something to look at.
    Wake(WatchId),
}

/// The members of a share of the replica's channels.
#[derive(Debug)]
pub(crate) struct Members {
    channels: Arc<Namespaces>,
    rosters: HashMap<ChannelName, Roster, foldhash::fast::RandomState>,
    sources: Sources,
    users: Users,
    leaves: Leaves,
    watches: Watches,
    /// What was last told of how far answers can be believed.
    coverage: Coverage,
    actions: Vec<Action>,
}

impl Members {
    /// Nobody is there yet. With the time after which a user without connections is offline.
    pub(crate) fn new(channels: Arc<Namespaces>, tenure: Tenure, grace: Duration) -> Self {
        Self {
            channels,
            rosters: HashMap::default(),
            sources: Sources::new(grace),
            users: Users::new(grace),
            leaves: Leaves::default(),
            watches: Watches::new(tenure),
            coverage: Coverage::default(),
            actions: Vec::new(),
        }
    }

    /// A node has a new link session. What an earlier start of the node has reported is over.
    pub(crate) fn session_up(&mut self, id: SessionId, node: &MemberId, start: Incarnation, now: Moment) {
        self.sources.up(id, node.clone(), start);
        let over = self.sources.of_earlier_starts(node, start);
        self.purge(&over, now);
        self.look_at_coverage(now);
    }

    /// A link session has ended. Its members stay until the node comes back or is gone.
    pub(crate) fn session_down(&mut self, id: SessionId, now: Moment) {
        self.sources.down(id);
        let gone = self.sources.gone();
        self.purge(&gone, now);
        self.look_at_coverage(now);
    }

    /// The session has reported all members that its node has. Those that it has not are there no longer.
    pub(crate) fn caught_up(&mut self, id: SessionId, now: Moment) {
        let left = self.sources.caught_up(id);
        self.purge(&left, now);
        self.look_at_coverage(now);
    }

    /// These nodes are registered, with these starts. A node that is neither registered nor linked is gone.
    pub(crate) fn nodes_are(&mut self, registered: BTreeMap<MemberId, Incarnation>, now: Moment) {
        self.sources.registered(registered);
        let gone = self.sources.gone();
        self.purge(&gone, now);
        self.look_at_coverage(now);
    }

    /// The placement has changed: what is somebody else's now is forgotten, and watchers begin anew.
    pub(crate) fn take_over(&mut self, placement: PlacementNumber, is_ours: impl Fn(&ChannelName) -> bool) {
        let sources = &mut self.sources;
        self.rosters.retain(|channel, roster| {
            let stays = is_ours(channel);
            if !stays {
                roster.after(None).for_each(|(_, member)| sources.subtract(member.session));
            }
            stays
        });
        self.users.retain(is_ours);
        self.sources.unsettle();
        self.watches.take_over(placement);
        self.wake();
    }

    /// A connection has become a member of a channel.
    pub(crate) fn enter(
        &mut self,
        session: SessionId,
        channel: &ChannelName,
        entering: Entering,
        now: Moment,
    ) {
        let Entering { id, user, infos, joined_at_ms, again, subscriptions } = entering;
        // What a session says after its end means nothing, and nobody speaks for another node's connections.
        if self.sources.live(session).is_none_or(|start| start.tag() != id.node_tag()) {
            return;
        }
        let tells = || {
            let options = self.channels.of(channel).map(|rules| &rules.options).ok();
            options.filter(|options| options.join_leave).map(|options| options.join_leave_grace.0)
        };
        if !self.rosters.contains_key(channel) {
            let tells = tells();
            self.rosters.insert(channel.clone(), Roster::new(tells));
        }
        let Some(roster) = self.rosters.get_mut(channel) else { return };
        let known = roster.member(id).filter(|_| again).map(|known| known.joined_at_ms);
        let given = if joined_at_ms == 0 { now.unix_ms } else { joined_at_ms };
        let infos = infos.map(Arc::new);
        let member = Member { user, infos, joined_at_ms: known.unwrap_or(given), session };
        let entered = roster.enter(id, member.clone());
        self.sources.add(session);
        if channel.is_personal() {
            self.user_entered(channel, &member, now);
            self.pass_on_subscriptions(session, channel, id, (again, entered == Entered::New), subscriptions);
        }
        match entered {
            Entered::Known(before) => {
                self.sources.subtract(before.session);
                if (&before.user, &before.infos) != (&member.user, &member.infos) {
                    self.member_changed(channel, (id, &member), true, now);
                }
            }
            Entered::New => {
                self.member_changed(channel, (id, &member), true, now);
                let is_back = self.leaves.take_back(channel, &member.user, now.instant);
                if !again && !is_back {
                    self.tell(channel, id, &member, true);
                }
            }
        }
        self.wake();
    }

    /// A connection is no longer a member of a channel.
    pub(crate) fn exit(&mut self, session: SessionId, channel: &ChannelName, id: ConnectionId, now: Moment) {
        if self.sources.live(session).is_some_and(|start| start.tag() == id.node_tag()) {
            self.remove(channel, id, now, false);
            self.wake();
        }
    }

    /// Keeps a subscription that a backend has made for a user, as long as the user is online.
    ///
    /// # Errors
    /// If as many are kept as may be.
    pub(crate) fn subscribe(
        &mut self,
        personal: &ChannelName,
        to: ChannelName,
    ) -> Result<(), TooManySubscriptions> {
        self.users.subscribe(personal, to)
    }

    /// Keeps a user's subscription no longer.
    pub(crate) fn unsubscribe(&mut self, personal: &ChannelName, from: &ChannelName) {
        self.users.unsubscribe(personal, from);
    }

    /// Does what is due, but tells no more than `most` leaves.
    pub(crate) fn tick(&mut self, now: Moment, most: usize) {
        for _ in 0..most {
            let Some(Leave { channel, id, member }) = self.leaves.next(now.instant) else { break };
            // Who is back under the same id has never left, as far as subscribers are concerned.
            if self.rosters.get(&channel).is_none_or(|roster| roster.member(id).is_none()) {
                self.tell(&channel, id, &member, false);
            }
        }
        self.watches.forget(now.instant);
        self.look_at_coverage(now);
        // Who has come back may be known to a node that has not said so yet.
        while self.sources.is_settled()
            && let Some(channel) = self.users.next_offline(now)
        {
            self.user_changed(channel, now);
        }
        self.wake();
    }

    /// When [`tick`](Self::tick) has something to do.
    pub(crate) fn next_due(&self) -> Option<Instant> {
        let offline = self.users.next_due().filter(|_| self.sources.is_settled());
        let others = [self.leaves.next_due(), self.watches.next_due(), self.sources.next_due()];
        others.into_iter().chain([offline]).flatten().min()
    }

    /// How many members all channels have.
    pub(crate) fn len(&self) -> usize {
        self.sources.members()
    }

    /// What has to be done, in order.
    pub(crate) fn actions(&mut self) -> Vec<Action> {
        std::mem::take(&mut self.actions)
    }

    fn user_entered(&mut self, channel: &ChannelName, member: &Member, now: Moment) {
        let joined_at_ms = member.joined_at_ms.min(now.unix_ms);
        if self.users.entered(channel, joined_at_ms) {
            self.user_changed(channel.clone(), now);
        }
    }

    /// A connection that is new gets what its user is subscribed to. One that was there before the owner tells it.
    fn pass_on_subscriptions(
        &mut self,
        session: SessionId,
        personal: &ChannelName,
        id: ConnectionId,
        (again, unknown): (bool, bool),
        listed: Vec<ChannelName>,
    ) {
        if !again {
            let missing = self.users.subscriptions(personal).filter(|channel| !listed.contains(channel));
            let subscribe =
                |channel: &ChannelName| Action::Subscribe { session, id, channel: channel.clone() };
            self.actions.extend(missing.map(subscribe));
        } else if unknown {
            for channel in listed {
                // More than there may be cannot have been kept by the owner before.
                let _ = self.users.subscribe(personal, channel);
            }
        }
    }

    /// Those whom these sessions have reported are no longer there. Their leaves are told at leisure: a node may
    /// have had many members, and to tell all at once would fill the links of others.
    fn purge(&mut self, sessions: &[SessionId], now: Moment) {
        if sessions.is_empty() {
            return;
        }
        let mut left = Vec::new();
        for (channel, roster) in &self.rosters {
            if roster.sessions().any(|session| sessions.contains(&session)) {
                let of_them = roster.after(None).filter(|(_, member)| sessions.contains(&member.session));
                left.extend(of_them.map(|(id, _)| (channel.clone(), id)));
            }
        }
        for (channel, id) in left {
            self.remove(&channel, id, now, true);
        }
        self.wake();
    }

    fn remove(&mut self, channel: &ChannelName, id: ConnectionId, now: Moment, later: bool) {
        let Some(roster) = self.rosters.get_mut(channel) else { return };
        let Some(member) = roster.remove(id) else { return };
        let (tells, is_empty) = (roster.tells, roster.len() == 0);
        if is_empty {
            self.rosters.remove(channel);
            if channel.is_personal() {
                self.users.left(channel, now);
            }
        }
        self.member_changed(channel, (id, &member), false, now);
        match tells {
            None => {}
            Some(Duration::ZERO) if !later => self.tell(channel, id, &member, false),
            Some(grace) => {
                let leave = Leave { channel: channel.clone(), id, member: member.clone() };
                self.leaves.push(now.instant + grace, leave);
            }
        }
        // Behind all that needs to know which node it was.
        self.sources.subtract(member.session);
    }

    fn member_changed(
        &mut self,
        channel: &ChannelName,
        (id, member): (ConnectionId, &Member),
        is_here: bool,
        now: Moment,
    ) {
        // Those who watch a user want to know whether it is online, and not of its connections.
        if !channel.is_personal() && self.watches.care_about(channel) {
            let view = self.view(member);
            let change = if is_here { Change::Joined(id, view) } else { Change::Left(id, view) };
            self.watches.changed(Noted { channel: channel.clone(), change, at_ms: now.unix_ms });
        }
    }

    fn user_changed(&mut self, channel: ChannelName, now: Moment) {
        if self.watches.care_about(&channel) {
            let change = Change::User(self.user(&channel));
            self.watches.changed(Noted { channel, change, at_ms: now.unix_ms });
        }
    }

    /// Tells subscribers of a join or a leave, if they are told and not too many. Only nodes that have members
    /// have subscribers.
    fn tell(&mut self, channel: &ChannelName, id: ConnectionId, member: &Member, joined: bool) {
        if let Some(roster) = self.rosters.get(channel)
            && roster.tells.is_some()
            && roster.len() <= MANY
        {
            let (channel, sessions) = (channel.clone(), roster.sessions().collect());
            let member = self.view(member);
            self.actions.push(Action::Tell { sessions, channel, id, member, joined });
        }
    }

    fn look_at_coverage(&mut self, now: Moment) {
        self.sources.settle(now);
        let coverage = self.sources.coverage();
        if coverage != self.coverage {
            self.coverage = coverage;
            self.watches.coverage_changed();
        }
        self.wake();
    }

    fn wake(&mut self) {
        self.actions.extend(self.watches.woken().into_iter().map(Action::Wake));
    }
}

#[cfg(test)]
#[path = "members_tests.rs"]
mod tests;

#[cfg(test)]
#[path = "members/watches_tests.rs"]
mod watches_tests;

#[cfg(test)]
#[path = "members/subscriptions_tests.rs"]
mod subscriptions_tests;
