//! The members of one channel, in the order of their connection ids, with what is counted of them.

use std::collections::{BTreeMap, HashMap, btree_map, hash_map};
use std::ops::Bound;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use fanfare_cluster::connection_id::ConnectionId;
use smallvec::SmallVec;

use crate::owner::SessionId;

/// Members that lie in a plain list. A tree takes several hundred bytes for its first member, and most channels
/// are personal ones with one or two.
const FEW: usize = 16;

/// What tokens say of a member.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Infos {
    pub(crate) connection: Bytes,
    pub(crate) subscription: Bytes,
}

/// A connection in a channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Member {
    /// Empty if it is anonymous. Shared by the connections that a user has in a large channel.
    pub(crate) user: Arc<str>,
    /// None if the tokens say nothing.
    pub(crate) infos: Option<Arc<Infos>>,
    /// In Unix milliseconds.
    pub(crate) joined_at_ms: u64,
    /// The link session that reported it last.
    pub(crate) session: SessionId,
}

/// How a member has come.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Entered {
    /// It was not here.
    New,
    /// It was here, as this.
    Known(Member),
}

/// One channel's members.
#[derive(Debug)]
pub(crate) struct Roster {
    members: Table,
    /// How many members each link session has reported.
    sessions: SmallVec<[(SessionId, u32); 1]>,
    /// After how long leaves are told to subscribers; `None` if neither joins nor leaves are.
    pub(crate) tells: Option<Duration>,
}

#[derive(Debug)]
enum Table {
    Few(Vec<(ConnectionId, Member)>),
    Many { members: BTreeMap<ConnectionId, Member>, users: HashMap<Arc<str>, u32> },
}

impl Roster {
    pub(crate) fn new(tells: Option<Duration>) -> Self {
        Self { members: Table::Few(Vec::new()), sessions: SmallVec::new(), tells }
    }

    /// Takes a member in, in place of what was known of the connection.
    pub(crate) fn enter(&mut self, id: ConnectionId, mut member: Member) -> Entered {
        self.count(member.session, 1);
        let before = match &mut self.members {
            Table::Few(few) => match few.binary_search_by_key(&id, |(id, _)| *id) {
                Ok(at) => Some(std::mem::replace(&mut few[at].1, member)),
                Err(at) => {
                    // Most have one member for ever: a list that doubles would hold four.
                    few.reserve_exact(1);
                    few.insert(at, (id, member));
                    None
                }
            },
            Table::Many { members, users } => {
                match users.entry(member.user.clone()) {
                    hash_map::Entry::Occupied(mut known) => {
                        *known.get_mut() += 1;
                        member.user = known.key().clone();
                    }
                    hash_map::Entry::Vacant(new) => drop(new.insert(1)),
                }
                let before = members.insert(id, member);
                if let Some(before) = &before {
                    uncount(users, &before.user);
                }
                before
            }
        };
        self.grow();
        match before {
            None => Entered::New,
            Some(before) => {
                self.count(before.session, -1);
                Entered::Known(before)
            }
        }
    }

    /// Takes a member out.
    pub(crate) fn remove(&mut self, id: ConnectionId) -> Option<Member> {
        let member = match &mut self.members {
            Table::Few(few) => {
                let at = few.binary_search_by_key(&id, |(id, _)| *id).ok()?;
                few.remove(at).1
            }
            Table::Many { members, users } => {
                let member = members.remove(&id)?;
                uncount(users, &member.user);
                member
            }
        };
        self.count(member.session, -1);
        Some(member)
    }

    /// A member.
    pub(crate) fn member(&self, id: ConnectionId) -> Option<&Member> {
        match &self.members {
            Table::Few(few) => few.binary_search_by_key(&id, |(id, _)| *id).ok().map(|at| &few[at].1),
            Table::Many { members, .. } => members.get(&id),
        }
    }

    /// How many connections there are.
    pub(crate) fn len(&self) -> usize {
        match &self.members {
            Table::Few(few) => few.len(),
            Table::Many { members, .. } => members.len(),
        }
    }

    /// How many users these have. All who are anonymous count as one.
    pub(crate) fn user_count(&self) -> usize {
        match &self.members {
            Table::Few(few) => {
                let is_first = |at: &usize| few[..*at].iter().all(|(_, other)| other.user != few[*at].1.user);
                (0..few.len()).filter(is_first).count()
            }
            Table::Many { users, .. } => users.len(),
        }
    }

    /// The members behind one in the order of ids, or all.
    pub(crate) fn after(&self, id: Option<ConnectionId>) -> After<'_> {
        match &self.members {
            Table::Few(few) => {
                let from = id.map_or(0, |id| few.partition_point(|(other, _)| *other <= id));
                After::Few(few[from..].iter())
            }
            Table::Many { members, .. } => {
                let from = id.map_or(Bound::Unbounded, Bound::Excluded);
                After::Many(members.range((from, Bound::Unbounded)))
            }
        }
    }

    /// The link sessions that have members here.
    pub(crate) fn sessions(&self) -> impl Iterator<Item = SessionId> {
        self.sessions.iter().map(|(session, _)| *session)
    }

    fn count(&mut self, session: SessionId, change: i32) {
        match self.sessions.iter_mut().position(|(other, _)| *other == session) {
            Some(at) => {
                let count = &mut self.sessions[at].1;
                *count = count.saturating_add_signed(change);
                if *count == 0 {
                    self.sessions.swap_remove(at);
                }
            }
            None => self.sessions.push((session, change.unsigned_abs())),
        }
    }

    /// Makes a tree of a list that has become long. It stays one: who has been many may be many again.
    fn grow(&mut self) {
        if let Table::Few(few) = &mut self.members
            && few.len() > FEW
        {
            let (mut members, mut users) = (BTreeMap::new(), HashMap::<Arc<str>, u32>::new());
            for (id, mut member) in few.drain(..) {
                if let Some((known, _)) = users.get_key_value(&member.user) {
                    member.user = known.clone();
                }
                *users.entry(member.user.clone()).or_default() += 1;
                members.insert(id, member);
            }
            self.members = Table::Many { members, users };
        }
    }
}

fn uncount(users: &mut HashMap<Arc<str>, u32>, user: &Arc<str>) {
    if let Some(count) = users.get_mut(user) {
        *count -= 1;
        if *count == 0 {
            users.remove(user);
        }
    }
}

/// Members in the order of their connection ids.
pub(crate) enum After<'a> {
    Few(std::slice::Iter<'a, (ConnectionId, Member)>),
    Many(btree_map::Range<'a, ConnectionId, Member>),
}

impl<'a> Iterator for After<'a> {
    type Item = (ConnectionId, &'a Member);

    fn next(&mut self) -> Option<Self::Item> {
        match self {
            Self::Few(rest) => rest.next().map(|(id, member)| (*id, member)),
            Self::Many(rest) => rest.next().map(|(id, member)| (*id, member)),
        }
    }
}

#[cfg(test)]
mod tests {
    use fanfare_cluster::member::Incarnation;

    use super::*;

    fn member(user: &str, session: u64) -> Member {
        Member { user: user.into(), infos: None, joined_at_ms: 0, session: SessionId(session) }
    }

    fn id(number: usize) -> ConnectionId {
        ConnectionId::new(Incarnation::from_wire(7 << 32), 0, number)
    }

    #[test]
    fn counts_hold_whether_members_are_few_or_many() {
        for count in [FEW, 3 * FEW] {
            let ids: Vec<ConnectionId> = (0..count).map(id).collect();
            let mut roster = Roster::new(None);
            for (at, id) in ids.iter().enumerate() {
                assert_eq!(roster.enter(*id, member(&format!("{}", at % 5), at as u64 % 2)), Entered::New);
            }
            assert_eq!((roster.len(), roster.user_count(), roster.sessions().count()), (count, 5, 2));
            let before = member("0", 0);
            assert_eq!(roster.enter(ids[0], member("new", 1)), Entered::Known(before));
            assert_eq!((roster.len(), roster.user_count()), (count, 6));
            let (mut read, mut last) = (Vec::new(), None);
            while let Some((id, _)) = roster.after(last).next() {
                read.push(id);
                last = Some(id);
            }
            let mut sorted = ids.clone();
            sorted.sort();
            assert_eq!(read, sorted);
            for id in &ids {
                assert!(roster.member(*id).is_some() && roster.remove(*id).is_some());
                assert!(roster.remove(*id).is_none());
            }
            assert_eq!((roster.len(), roster.user_count(), roster.sessions().count()), (0, 0, 0));
        }
    }
}
