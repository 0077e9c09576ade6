//! The channels of one owner task, as a plain state machine: who follows what, and who gets a publication.

use std::collections::{BTreeMap, HashMap};

use fanfare_cluster::channel::ChannelName;
use fanfare_cluster::member::MemberId;
use smallvec::SmallVec;

/// One node's link session at this replica. Never reused while the process lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct SessionId(pub(crate) u64);

/// What a session that has not caught up yet may be sent of channels that it does not follow (yet).
const CATCHING_UP_BYTES: usize = 1 << 20;

type Followers = SmallVec<[SessionId; 2]>;

/// Who gets a publication, and whose part is uncertain.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Reach {
    /// The sessions that get it. Nobody else may hold subscribers but the nodes in `catching_up`.
    pub(crate) sessions: SmallVec<[SessionId; 4]>,
    /// How many of the sessions follow the channel; the others get it only because they are catching up.
    pub(crate) following: usize,
    /// Nodes that have not announced all they follow.
    pub(crate) catching_up: Vec<MemberId>,
    /// Sessions that would have got it on suspicion, but have used up what they may be sent that way.
    pub(crate) withheld: usize,
}

#[derive(Debug)]
struct Session {
    node: MemberId,
    caught_up: bool,
    budget: usize,
}

/// A share of the replica's channels.
///
/// A channel exists here while somebody follows it and costs nothing otherwise.
#[derive(Debug, Default)]
pub(crate) struct Owner {
    channels: HashMap<ChannelName, Followers, foldhash::fast::RandomState>,
    sessions: BTreeMap<SessionId, Session>,
}

impl Owner {
    /// A node has a new link session. Until [`caught_up`](Self::caught_up) it may follow more than is known.
    pub(crate) fn session_up(&mut self, id: SessionId, node: MemberId) {
        self.sessions.insert(id, Session { node, caught_up: false, budget: CATCHING_UP_BYTES });
    }

    /// A link session has ended: it follows nothing any more.
    pub(crate) fn session_down(&mut self, id: SessionId) {
        if self.sessions.remove(&id).is_some() {
            self.channels.retain(|_, followers| {
                followers.retain(|follower| *follower != id);
                !followers.is_empty()
            });
        }
    }

    /// The session follows the channel from now on. Returns whether to tell it so: a session that has
    /// ended meanwhile is not told.
    pub(crate) fn follow(&mut self, id: SessionId, channel: ChannelName) -> bool {
        if !self.sessions.contains_key(&id) {
            return false;
        }
        let followers = self.channels.entry(channel).or_default();
        if !followers.contains(&id) {
            followers.push(id);
        }
        true
    }

    /// The session does not follow the channel any more.
    pub(crate) fn unfollow(&mut self, id: SessionId, channel: &ChannelName) {
        if let Some(followers) = self.channels.get_mut(channel) {
            followers.retain(|follower| *follower != id);
            if followers.is_empty() {
                self.channels.remove(channel);
            }
        }
    }

    /// The session has announced all it follows.
    pub(crate) fn caught_up(&mut self, id: SessionId) {
        if let Some(session) = self.sessions.get_mut(&id) {
            session.caught_up = true;
        }
    }

    /// Who gets a publication of `bytes` in the channel. The order of calls is the channel's order.
    pub(crate) fn publish(&mut self, channel: &ChannelName, bytes: usize) -> Reach {
        let mut reach = Reach::default();
        if let Some(followers) = self.channels.get(channel) {
            reach.sessions.extend_from_slice(followers);
            reach.following = followers.len();
        }
        for (id, session) in self.sessions.iter_mut().filter(|(_, session)| !session.caught_up) {
            reach.catching_up.push(session.node.clone());
            if reach.sessions[..reach.following].contains(id) {
                continue;
            }
            match session.budget.checked_sub(bytes) {
                Some(left) => {
                    session.budget = left;
                    reach.sessions.push(*id);
                }
                None => reach.withheld += 1,
            }
        }
        reach
    }

    /// Channels whose names begin with `prefix` and come behind `after`, in the order of their names, with how many
    /// nodes follow each. It looks at all of them.
    pub(crate) fn list(
        &self,
        after: Option<&ChannelName>,
        prefix: &str,
        most: usize,
    ) -> Vec<(ChannelName, usize)> {
        let mut first = BTreeMap::new();
        for (channel, followers) in &self.channels {
            let is_meant = channel.as_str().starts_with(prefix) && after.is_none_or(|after| channel > after);
            if is_meant && !channel.is_personal() {
                first.insert(channel, followers.len());
                if first.len() > most {
                    first.pop_last();
                }
            }
        }
        first.into_iter().map(|(channel, nodes)| (channel.clone(), nodes)).collect()
    }

    /// How many channels are followed.
    pub(crate) fn channel_count(&self) -> usize {
        self.channels.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: SessionId = SessionId(1);
    const B: SessionId = SessionId(2);

    fn channel(name: &str) -> ChannelName {
        ChannelName::parse(name).unwrap()
    }

    fn node(id: &str) -> MemberId {
        id.parse().unwrap()
    }

    fn owner_with_two_caught_up_sessions() -> Owner {
        let mut owner = Owner::default();
        owner.session_up(A, node("a"));
        owner.session_up(B, node("b"));
        owner.caught_up(A);
        owner.caught_up(B);
        owner
    }

    #[test]
    fn a_publication_reaches_those_who_follow() {
        let mut owner = owner_with_two_caught_up_sessions();
        assert!(owner.follow(A, channel("news")));
        assert!(owner.follow(A, channel("news")), "following twice is following");
        let reach = owner.publish(&channel("news"), 1);
        assert_eq!((reach.sessions.as_slice(), reach.following), ([A].as_slice(), 1));
        assert!(owner.publish(&channel("sport"), 1).sessions.is_empty());
        owner.unfollow(A, &channel("news"));
        assert_eq!(owner.publish(&channel("news"), 1), Reach::default());
        assert_eq!(owner.channel_count(), 0);
    }

    // A node restarts within moments; 200,000 follows are in transit when a user is pushed to. Without
    // the flood the answer would be "0 connections" and the message lost (interleaving 3).
    #[test]
    fn a_session_that_catches_up_gets_everything_and_is_named() {
        let mut owner = owner_with_two_caught_up_sessions();
        owner.follow(A, channel("news"));
        let late = SessionId(3);
        owner.session_up(late, node("late"));
        let reach = owner.publish(&channel("news"), 1);
        assert_eq!(reach.sessions.as_slice(), [A, late]);
        assert_eq!((reach.following, reach.catching_up), (1, vec![node("late")]));
        owner.caught_up(late);
        assert_eq!(owner.publish(&channel("news"), 1).sessions.as_slice(), [A]);
    }

    #[test]
    fn what_a_catching_up_session_is_sent_on_suspicion_is_bounded_and_counted() {
        let mut owner = Owner::default();
        owner.session_up(A, node("a"));
        assert_eq!(owner.publish(&channel("news"), CATCHING_UP_BYTES).sessions.as_slice(), [A]);
        let reach = owner.publish(&channel("news"), 1);
        assert_eq!((reach.sessions.len(), reach.withheld), (0, 1));
        owner.follow(A, channel("news"));
        assert_eq!(
            owner.publish(&channel("news"), 1).sessions.as_slice(),
            [A],
            "what it follows is not suspicion"
        );
    }

    #[test]
    fn an_ended_session_follows_nothing_and_cannot_come_back() {
        let mut owner = owner_with_two_caught_up_sessions();
        owner.follow(A, channel("news"));
        owner.follow(B, channel("news"));
        owner.session_down(A);
        assert!(!owner.follow(A, channel("news")), "a late follow of an ended session");
        owner.caught_up(A);
        assert_eq!(owner.publish(&channel("news"), 1).sessions.as_slice(), [B]);
    }
}
