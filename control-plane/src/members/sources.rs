//! Where members come from: nodes with their link sessions, and whether all of them have said all they know.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use fanfare_cluster::member::{Incarnation, MemberId};
use fanfare_proto::v1::GapReason;

use super::Moment;
use crate::owner::SessionId;

/// A link session, as long as it lives or has members.
#[derive(Debug)]
struct Source {
    node: MemberId,
    incarnation: Incarnation,
    state: State,
    /// Members that it has reported and that nobody else has reported since.
    members: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    CatchingUp,
    CaughtUp,
    Ended,
}

/// Whether what is known since the start is all that there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Settling {
    /// Some node that is registered has not said all it knows.
    Waiting,
    /// All have; others that were away may still come back until then.
    Until(std::time::Instant),
    Settled,
}

/// How far an answer can be believed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Coverage {
    /// Every node has said all it knows.
    pub(crate) complete: bool,
    /// Those that have not.
    pub(crate) missing: Vec<(MemberId, GapReason)>,
}

/// All nodes and sessions.
#[derive(Debug)]
pub(crate) struct Sources {
    by_session: HashMap<SessionId, Source>,
    registered: BTreeMap<MemberId, Incarnation>,
    settling: Settling,
    grace: Duration,
}

impl Sources {
    pub(crate) fn new(grace: Duration) -> Self {
        Self { by_session: HashMap::new(), registered: BTreeMap::new(), settling: Settling::Waiting, grace }
    }

    /// A node has a new session. An older one of it has ended, though its own end may be told later.
    pub(crate) fn up(&mut self, id: SessionId, node: MemberId, incarnation: Incarnation) {
        for source in self.by_session.values_mut().filter(|source| source.node == node) {
            source.state = State::Ended;
        }
        let source = Source { node, incarnation, state: State::CatchingUp, members: 0 };
        self.by_session.insert(id, source);
        self.forget_the_empty();
    }

    pub(crate) fn down(&mut self, id: SessionId) {
        if let Some(source) = self.by_session.get_mut(&id) {
            source.state = State::Ended;
        }
        self.forget_the_empty();
    }

    /// All members that the node has are known; returns the ended sessions whose members it has not reported again.
    pub(crate) fn caught_up(&mut self, id: SessionId) -> Vec<SessionId> {
        let Some(source) = self.by_session.get_mut(&id).filter(|source| source.state != State::Ended) else {
            return Vec::new();
        };
        source.state = State::CaughtUp;
        let node = source.node.clone();
        self.ended(|source| source.node == node)
    }

    /// The nodes that are registered have changed.
    pub(crate) fn registered(&mut self, registered: BTreeMap<MemberId, Incarnation>) {
        self.registered = registered;
    }

    /// Ended sessions of starts of nodes that are gone: neither registered nor linked.
    pub(crate) fn gone(&self) -> Vec<SessionId> {
        let linked = |of: &Source| {
            let same = |other: &&Source| (&other.node, other.incarnation) == (&of.node, of.incarnation);
            self.by_session.values().filter(same).any(|other| other.state != State::Ended)
        };
        let lives = |of: &Source| self.registered.get(&of.node) == Some(&of.incarnation) || linked(of);
        self.ended(|source| !lives(source))
    }

    /// Ended sessions with members of earlier starts of the node.
    pub(crate) fn of_earlier_starts(&self, node: &MemberId, incarnation: Incarnation) -> Vec<SessionId> {
        self.ended(|source| source.node == *node && source.incarnation != incarnation)
    }

    fn ended(&self, fits: impl Fn(&Source) -> bool) -> Vec<SessionId> {
        let is_meant = |source: &Source| source.state == State::Ended && source.members > 0 && fits(source);
        self.by_session.iter().filter(|(_, source)| is_meant(source)).map(|(id, _)| *id).collect()
    }

    /// What a session's members are of, if it still may say something.
    pub(crate) fn live(&self, id: SessionId) -> Option<Incarnation> {
        let source = self.by_session.get(&id).filter(|source| source.state != State::Ended)?;
        Some(source.incarnation)
    }

    /// The node of a session that lives or has members.
    pub(crate) fn node(&self, id: SessionId) -> Option<&MemberId> {
        self.by_session.get(&id).map(|source| &source.node)
    }

    /// How many members all sessions have.
    pub(crate) fn members(&self) -> usize {
        self.by_session.values().map(|source| source.members).sum()
    }

    /// The session has one member more.
    pub(crate) fn add(&mut self, id: SessionId) {
        if let Some(source) = self.by_session.get_mut(&id) {
            source.members += 1;
        }
    }

    /// The session has one member less.
    pub(crate) fn subtract(&mut self, id: SessionId) {
        if let Some(source) = self.by_session.get_mut(&id) {
            source.members = source.members.saturating_sub(1);
            if source.members == 0 && source.state == State::Ended {
                self.by_session.remove(&id);
            }
        }
    }

    fn forget_the_empty(&mut self) {
        self.by_session.retain(|_, source| source.state != State::Ended || source.members > 0);
    }

    /// Looks whether all is known by now; returns whether that has just come true.
    pub(crate) fn settle(&mut self, now: Moment) -> bool {
        if self.settling == Settling::Settled {
            return false;
        }
        self.settling = match self.settling {
            _ if !self.missing().is_empty() => Settling::Waiting,
            Settling::Waiting => Settling::Until(now.instant + self.grace),
            Settling::Until(due) if due <= now.instant => Settling::Settled,
            same => same,
        };
        self.is_settled()
    }

    /// Whether all nodes have said all they know since the start.
    pub(crate) fn is_settled(&self) -> bool {
        self.settling == Settling::Settled
    }

    /// When to look again whether all is known.
    pub(crate) fn next_due(&self) -> Option<std::time::Instant> {
        match self.settling {
            Settling::Until(due) => Some(due),
            _ => None,
        }
    }

    /// Begins anew to wait for what nodes say.
    pub(crate) fn unsettle(&mut self) {
        self.settling = Settling::Waiting;
    }

    /// How far an answer of this moment can be believed.
    pub(crate) fn coverage(&self) -> Coverage {
        let missing = self.missing();
        Coverage { complete: missing.is_empty() && self.is_settled(), missing }
    }

    fn is_replaced(&self, source: &Source) -> bool {
        self.registered.get(&source.node).is_some_and(|registered| *registered != source.incarnation)
    }

    fn missing(&self) -> Vec<(MemberId, GapReason)> {
        let mut missing: BTreeMap<&MemberId, GapReason> =
            self.registered.keys().map(|node| (node, GapReason::Unreachable)).collect();
        for source in self.by_session.values() {
            match source.state {
                State::CatchingUp => drop(missing.insert(&source.node, GapReason::CatchingUp)),
                // Another start of the node, that is registered by now, has not said anything yet.
                State::CaughtUp if self.is_replaced(source) => {}
                State::CaughtUp => drop(missing.remove(&source.node)),
                State::Ended => {}
            }
        }
        missing.into_iter().map(|(node, reason)| (node.clone(), reason)).collect()
    }
}
