//! The link sessions of one owner task, and whom a publication reaches.

use std::collections::BTreeMap;

use fanfare_cluster::member::MemberId;
use smallvec::SmallVec;

/// One node's link session at this replica. Never reused while the process lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct SessionId(pub(crate) u64);

/// What a session that has not caught up yet may be sent of channels that it does not follow (yet).
pub(super) const CATCHING_UP_BYTES: usize = 1 << 20;

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

/// All sessions that there are.
#[derive(Debug, Default)]
pub(super) struct Sessions(BTreeMap<SessionId, Session>);

impl Sessions {
    pub(super) fn up(&mut self, id: SessionId, node: MemberId) {
        self.0.insert(id, Session { node, caught_up: false, budget: CATCHING_UP_BYTES });
    }

    /// Returns whether it was there.
    pub(super) fn down(&mut self, id: SessionId) -> bool {
        self.0.remove(&id).is_some()
    }

    pub(super) fn contains(&self, id: SessionId) -> bool {
        self.0.contains_key(&id)
    }

    pub(super) fn caught_up(&mut self, id: SessionId) {
        if let Some(session) = self.0.get_mut(&id) {
            session.caught_up = true;
        }
    }

    /// Whom something of a channel reaches. What has no place in a stream is sent on suspicion, too, to sessions that
    /// may follow the channel without having said so yet: `on_suspicion` is its weight in bytes. What has a place is
    /// not, because who follows late learns from the stream's position that something is missing.
    pub(super) fn reach(&mut self, followers: &[SessionId], on_suspicion: Option<usize>) -> Reach {
        let sessions = SmallVec::from_slice(followers);
        let mut reach = Reach { sessions, following: followers.len(), ..Reach::default() };
        for (id, session) in self.0.iter_mut().filter(|(_, session)| !session.caught_up) {
            reach.catching_up.push(session.node.clone());
            let Some(bytes) = on_suspicion.filter(|_| !followers.contains(id)) else { continue };
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
}
