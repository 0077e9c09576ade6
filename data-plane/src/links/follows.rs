//! What the node follows, as a plain state machine: which channels, for which shards, at which replica.

mod session;

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use fanfare_cluster::channel::{ChannelName, StreamPosition};
use fanfare_cluster::member::MemberId;
use fanfare_cluster::placement::{Placement, PlacementNumber};
use smallvec::SmallVec;

use super::ShardIndex;
use session::{CatchingUp, Session};

/// How long a channel is still followed after its last subscriber here has left: people reload pages.
const UNFOLLOW_AFTER: Duration = Duration::from_secs(1);
/// Unfollows at most in a tick, so that a crowd that leaves does not fill the link: 40,960 per second.
const MAX_UNFOLLOWS: usize = 4_096;
/// How long a subscribe waits for an owner. SDKs give up the whole connection after five seconds.
const JOIN_PATIENCE: Duration = Duration::from_secs(4);
/// Follows that may be unanswered while a new link catches up: four batches of 256.
const MAX_UNANSWERED: usize = 4 * 256;

/// Channels for which there is room in any case.
const LARGE_TABLE: usize = 4_096;

/// Time since the node has started.
pub(crate) type Now = Duration;

/// What the node must do.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// Tell the replica that the node wants the channel, and how far it has seen its stream.
    Follow { replica: MemberId, channel: ChannelName, position: StreamPosition },
    /// Tell the replica that it no longer does.
    Unfollow { replica: MemberId, channel: ChannelName },
    /// Tell the replica that all is announced for the placement.
    CaughtUp { replica: MemberId, number: PlacementNumber },
    /// Tell the shard that it has joined, here in the channel's order, and what was published last before.
    Joined { shard: ShardIndex, channel: ChannelName, ticket: u32, position: Option<StreamPosition> },
    /// Tell the shard how far the channel's stream has come: it may have missed some of it.
    Top { shard: ShardIndex, channel: ChannelName, position: StreamPosition },
    /// Have all shards announce their members; each answers with the number.
    Announce { replica: MemberId, round: u64 },
    /// Tell the shard that it could not join.
    JoinFailed { shard: ShardIndex, channel: ChannelName, ticket: u32 },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// The owner is not linked, or the follow waits for its turn.
    Wanted,
    /// The owner has been told.
    Asked,
    /// The owner has said Following.
    Live,
}

#[derive(Debug)]
struct Waiting {
    shard: ShardIndex,
    ticket: u32,
    since: Now,
}

#[derive(Debug)]
struct Followed {
    state: State,
    /// The shards that get what is delivered, as bits.
    joined: u64,
    waiting: SmallVec<[Waiting; 1]>,
    /// How far the channel's stream has come; the epoch of none if it has no stream.
    position: StreamPosition,
    /// Set while nobody wants the channel.
    idle_since: Option<Now>,
}

impl Followed {
    /// How far the channel's stream has come, if it has one.
    fn stream(&self) -> Option<StreamPosition> {
        self.position.epoch.is_some().then_some(self.position)
    }
}

/// All channels that the node follows or wants to.
#[derive(Debug, Default)]
pub(crate) struct Follows {
    /// How many shards there are.
    pub(super) shard_count: usize,
    last_round: u64,
    channels: HashMap<ChannelName, Followed, foldhash::fast::RandomState>,
    sessions: HashMap<MemberId, Session>,
    placement: Arc<Placement>,
    /// Channels that nobody wants, in the order in which they became so.
    // queue: channels to unfollow
    idle: VecDeque<(Now, ChannelName)>,
    /// Joins that had to wait, in the order in which they came; those that were answered meanwhile, too.
    // queue: joins that wait for an owner
    joins: VecDeque<(Now, ChannelName)>,
}

impl Follows {
    /// For a node with so many shards.
    pub(crate) fn new(shard_count: usize) -> Self {
        Self { shard_count, ..Self::default() }
    }

    /// The node has read a new placement.
    pub(crate) fn placement(&mut self, placement: Arc<Placement>, actions: &mut Vec<Action>) {
        if placement.number() <= self.placement.number() {
            return;
        }
        self.placement = placement;
        let linked: Vec<(MemberId, u64)> =
            self.sessions.iter().map(|(replica, session)| (replica.clone(), session.number)).collect();
        for followed in self.channels.values_mut() {
            followed.state = State::Wanted;
        }
        for (replica, session) in linked {
            self.link_up(&replica, session, actions);
        }
    }

    /// A link is up: what its replica owns is followed there, channels with waiting clients first.
    pub(crate) fn link_up(&mut self, replica: &MemberId, session: u64, actions: &mut Vec<Action>) {
        let owned = |channel: &ChannelName| self.placement.owner(channel) == Some(replica);
        let mut wanted: Vec<(bool, ChannelName)> = Vec::new();
        for (channel, followed) in self.channels.iter_mut().filter(|(channel, _)| owned(channel)) {
            followed.state = State::Wanted;
            wanted.push((followed.waiting.is_empty(), channel.clone()));
        }
        wanted.sort_by_key(|(nobody_waits, _)| *nobody_waits);
        let queue = wanted.into_iter().map(|(_, channel)| channel).collect();
        self.last_round += 1;
        let (round, shards_left) = (self.last_round, self.shard_count);
        if shards_left > 0 {
            actions.push(Action::Announce { replica: replica.clone(), round });
        }
        let catching_up = Some(CatchingUp { queue, unanswered: 0, round, shards_left });
        self.sessions.insert(replica.clone(), Session { number: session, catching_up });
        self.announce(replica, actions);
    }

    /// A link's session has ended. Shards stay joined: they get what comes when it is followed again.
    pub(crate) fn link_down(&mut self, replica: &MemberId, session: u64) {
        if self.sessions.get(replica).is_none_or(|known| known.number != session) {
            return;
        }
        self.sessions.remove(replica);
        for (channel, followed) in &mut self.channels {
            if self.placement.owner(channel) == Some(replica) {
                followed.state = State::Wanted;
            }
        }
    }

    /// For which replica members are announced under this number; `None` if for none any more.
    pub(crate) fn replica_of_round(&self, round: u64) -> Option<MemberId> {
        let is_meant = |session: &Session| session.catching_up.as_ref().is_some_and(|one| one.round == round);
        self.sessions.iter().find(|(_, session)| is_meant(session)).map(|(replica, _)| replica.clone())
    }

    /// A shard has announced its members.
    pub(crate) fn announced(&mut self, round: u64, actions: &mut Vec<Action>) {
        let Some(replica) = self.replica_of_round(round) else { return };
        let session = self.sessions.get_mut(&replica);
        if let Some(catching_up) = session.and_then(|session| session.catching_up.as_mut()) {
            catching_up.shards_left = catching_up.shards_left.saturating_sub(1);
        }
        self.announce(&replica, actions);
    }

    /// The number of the placement that the node goes by.
    pub(crate) fn placement_number(&self) -> PlacementNumber {
        self.placement.number()
    }

    /// The replica has refused a follow: the channel waits for a newer placement.
    pub(crate) fn not_owner(&mut self, replica: &MemberId, channel: &ChannelName, actions: &mut Vec<Action>) {
        if let Some(followed) = self.channels.get_mut(channel) {
            followed.state = State::Wanted;
        }
        self.answered(replica, actions);
    }

    /// Whether this session is the replica's present one. What others say means nothing.
    pub(crate) fn is_current(&self, replica: &MemberId, session: u64) -> bool {
        self.sessions.get(replica).is_some_and(|known| known.number == session)
    }

    /// The replica that owns the channel, if it is linked.
    pub(crate) fn linked_owner(&self, channel: &ChannelName) -> Option<&MemberId> {
        self.placement.owner(channel).filter(|owner| self.sessions.contains_key(*owner))
    }

    /// A shard wants the channel.
    pub(crate) fn join(
        &mut self,
        shard: ShardIndex,
        channel: ChannelName,
        ticket: u32,
        now: Now,
        actions: &mut Vec<Action>,
    ) {
        if let Some(followed) = self.channels.get_mut(&channel) {
            followed.idle_since = None;
            if followed.state == State::Live {
                followed.joined |= 1 << shard.0;
                let position = followed.stream();
                actions.push(Action::Joined { shard, channel, ticket, position });
            } else {
                followed.waiting.push(Waiting { shard, ticket, since: now });
                self.joins.push_back((now, channel));
            }
            return;
        }
        let position = StreamPosition::default();
        let waiting = SmallVec::new();
        let mut followed = Followed { state: State::Wanted, joined: 0, waiting, position, idle_since: None };
        followed.waiting.push(Waiting { shard, ticket, since: now });
        if let Some(owner) = self.linked_owner(&channel) {
            followed.state = State::Asked;
            actions.push(Action::Follow { replica: owner.clone(), channel: channel.clone(), position });
        }
        self.joins.push_back((now, channel.clone()));
        self.channels.insert(channel, followed);
    }

    /// A shard no longer wants the channel.
    pub(crate) fn leave(&mut self, shard: ShardIndex, channel: &ChannelName, now: Now) {
        let Some(followed) = self.channels.get_mut(channel) else { return };
        followed.joined &= !(1 << shard.0);
        followed.waiting.retain(|waiting| waiting.shard != shard);
        self.idle_if_unwanted(channel, now);
    }

    /// The owner has said that from here on the node gets what is published, and what was published last before.
    pub(crate) fn following(
        &mut self,
        replica: &MemberId,
        channel: &ChannelName,
        position: Option<StreamPosition>,
        actions: &mut Vec<Action>,
    ) {
        self.top(replica, channel, position, actions);
        if let Some(followed) = self.channels.get_mut(channel)
            && self.placement.owner(channel) == Some(replica)
        {
            followed.state = State::Live;
            let position = followed.stream();
            for Waiting { shard, ticket, .. } in followed.waiting.drain(..) {
                followed.joined |= 1 << shard.0;
                actions.push(Action::Joined { shard, channel: channel.clone(), ticket, position });
            }
        }
        self.answered(replica, actions);
    }

    /// The owner has said how far the channel's stream has come: those who have joined may have missed something.
    pub(crate) fn top(
        &mut self,
        replica: &MemberId,
        channel: &ChannelName,
        position: Option<StreamPosition>,
        actions: &mut Vec<Action>,
    ) {
        let is_owner = self.placement.owner(channel) == Some(replica);
        let Some(followed) = self.channels.get_mut(channel).filter(|_| is_owner) else { return };
        let Some(position) = position else { return };
        if std::mem::replace(&mut followed.position, position) != position {
            let joined = shards_in(followed.joined);
            actions.extend(joined.map(|shard| Action::Top { shard, channel: channel.clone(), position }));
        }
    }

    /// A publication passes; returns the shards that get it.
    pub(crate) fn deliver(
        &mut self,
        channel: &ChannelName,
        position: Option<StreamPosition>,
    ) -> impl Iterator<Item = ShardIndex> + use<> {
        let followed = self.channels.get_mut(channel);
        let joined = followed.map_or(0, |followed| {
            followed.position = position.unwrap_or(followed.position);
            followed.joined
        });
        shards_in(joined)
    }

    /// A follow has its answer, so that a link that catches up can go on.
    fn answered(&mut self, replica: &MemberId, actions: &mut Vec<Action>) {
        let session = self.sessions.get_mut(replica);
        if let Some(catching_up) = session.and_then(|session| session.catching_up.as_mut()) {
            catching_up.unanswered = catching_up.unanswered.saturating_sub(1);
            self.announce(replica, actions);
        }
    }

    /// The shards that get a publication of the channel.
    pub(crate) fn shards(&self, channel: &ChannelName) -> impl Iterator<Item = ShardIndex> + use<> {
        let joined = self.channels.get(channel).map_or(0, |followed| followed.joined);
        shards_in(joined)
    }

    /// The shards that have joined the channel or wait for it.
    pub(crate) fn interested(&self, channel: &ChannelName) -> impl Iterator<Item = ShardIndex> + use<> {
        let followed = self.channels.get(channel);
        let shards = followed.map_or(0, |followed| {
            followed.waiting.iter().fold(followed.joined, |shards, waiting| shards | 1 << waiting.shard.0)
        });
        shards_in(shards)
    }

    /// Time has passed: gives up joins that have waited too long, unfollows what nobody wants.
    pub(crate) fn tick(&mut self, now: Now, actions: &mut Vec<Action>) {
        self.give_up_joins(now, actions);
        for _ in 0..MAX_UNFOLLOWS {
            let Some((_, channel)) = self.idle.pop_front_if(|(since, _)| *since + UNFOLLOW_AFTER <= now)
            else {
                break;
            };
            let Some(followed) = self.channels.get(&channel) else { continue };
            // It may have been wanted again meanwhile, and left again: then another entry follows.
            if followed.idle_since.is_none_or(|since| since + UNFOLLOW_AFTER > now) {
                continue;
            }
            if followed.state == State::Asked {
                // An answer under way would be taken for the answer to a later follow.
                self.idle.push_back((now, channel));
                continue;
            }
            let told = followed.state == State::Live;
            self.channels.remove(&channel);
            if let Some(owner) = self.linked_owner(&channel).filter(|_| told) {
                actions.push(Action::Unfollow { replica: owner.clone(), channel });
            }
        }
        // After a crowd has left, its table need not stay.
        if self.channels.capacity() > LARGE_TABLE.max(self.channels.len() * 8) {
            self.channels.shrink_to(self.channels.len() * 2);
        }
    }

    fn give_up_joins(&mut self, now: Now, actions: &mut Vec<Action>) {
        while let Some((_, channel)) = self.joins.pop_front_if(|(since, _)| *since + JOIN_PATIENCE <= now) {
            let Some(followed) = self.channels.get_mut(&channel) else { continue };
            followed.waiting.retain(|Waiting { shard, ticket, since }| {
                let patient = *since + JOIN_PATIENCE > now;
                if !patient {
                    let (shard, ticket) = (*shard, *ticket);
                    actions.push(Action::JoinFailed { shard, channel: channel.clone(), ticket });
                }
                patient
            });
            self.idle_if_unwanted(&channel, now);
        }
    }

    /// Notes since when nobody wants the channel.
    fn idle_if_unwanted(&mut self, channel: &ChannelName, now: Now) {
        let Some(followed) = self.channels.get_mut(channel) else { return };
        if followed.joined == 0 && followed.waiting.is_empty() && followed.idle_since.is_none() {
            followed.idle_since = Some(now);
            self.idle.push_back((now, channel.clone()));
        }
    }

    /// Announces what a new link still lacks, as far as the unanswered allow, and says when that was all.
    fn announce(&mut self, replica: &MemberId, actions: &mut Vec<Action>) {
        let Some(session) = self.sessions.get_mut(replica) else { return };
        let Some(catching_up) = &mut session.catching_up else { return };
        while catching_up.unanswered < MAX_UNANSWERED {
            let Some(channel) = catching_up.queue.pop_front() else { break };
            let followed = self.channels.get_mut(&channel);
            if let Some(followed) = followed.filter(|followed| followed.state == State::Wanted) {
                followed.state = State::Asked;
                catching_up.unanswered += 1;
                let position = followed.position;
                actions.push(Action::Follow { replica: replica.clone(), channel, position });
            }
        }
        if catching_up.queue.is_empty() && catching_up.shards_left == 0 {
            session.catching_up = None;
            actions.push(Action::CaughtUp { replica: replica.clone(), number: self.placement.number() });
        }
    }
}

/// The shards of a set.
fn shards_in(set: u64) -> impl Iterator<Item = ShardIndex> {
    (0..64).filter(move |shard| set & (1 << shard) != 0).map(ShardIndex)
}

#[cfg(test)]
#[path = "follows_tests.rs"]
mod tests;
