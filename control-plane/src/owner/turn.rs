//! One turn of a channel: what it may use of its owner task, and how it says what it wants done.

use std::collections::{HashSet, VecDeque};
use std::time::{Duration, Instant};

use fanfare_cluster::channel::{ChannelName, StreamPosition};
use fanfare_proto::link::{self, open_response};

use super::keys::Keys;
use super::request::{Act, Action, Delivery, Queued, Reply, Settled};
use super::sessions::Sessions;
use super::{Followers, SessionId};
use crate::links::Weight as _;
use crate::refusal::Refusal;

/// What may be kept of what was read a moment ago, in bytes.
const RECENT_BYTES: usize = 8 << 20;
/// Questions of nodes that may wait for the history.
const MAX_QUESTIONS: usize = 65_536;

/// What all channels of an owner task share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) sessions: Sessions,
    // queue: what an owner wants done
    pub(super) actions: VecDeque<Action>,
    keys: Keys,
    /// Channels that keep what they have read, by the time until which they do.
    // queue: recently read channels
    pub(super) recents: VecDeque<(Instant, ChannelName)>,
    /// Bytes that may still be kept of it.
    pub(super) room: usize,
    pub(super) questions: usize,
    /// Channels that shall ask the history again, because it was away.
    pub(super) late: HashSet<ChannelName>,
    /// Channels with publications since the last sweep, if others may write to the history as well.
    pub(super) active: Option<HashSet<ChannelName>>,
    /// How many channels are followed.
    pub(super) followed: usize,
    /// How many recoveries needed no reading.
    pub(super) saved_reads: u64,
}

impl Shared {
    pub(super) fn new(keys: Duration, sweeps: bool) -> Self {
        Self {
            sessions: Sessions::default(),
            actions: VecDeque::new(),
            keys: Keys::new(keys),
            recents: VecDeque::new(),
            room: RECENT_BYTES,
            questions: 0,
            late: HashSet::new(),
            active: sweeps.then(HashSet::new),
            followed: 0,
            saved_reads: 0,
        }
    }

    /// Whether one more question may wait; from then on it does.
    pub(super) fn one_more_question(&mut self) -> bool {
        let has_room = self.questions < MAX_QUESTIONS;
        self.questions += usize::from(has_room);
        has_room
    }
}

/// One turn of a channel.
pub(super) struct Turn<'a> {
    pub(super) name: &'a ChannelName,
    pub(super) followers: &'a mut Followers,
    pub(super) shared: &'a mut Shared,
    pub(super) now: Instant,
}

impl Turn<'_> {
    pub(super) fn act(&mut self, action: Action) {
        self.shared.actions.push_back(action);
    }

    pub(super) fn settle(&mut self, reply: Option<Reply>, settled: Result<Settled, Refusal>) {
        if let Some(reply) = reply {
            self.act(Action::Settle(reply, settled));
        }
    }

    /// A publication that has no place in the stream goes out as it comes.
    pub(super) fn deliver_unstored(&mut self, queued: Queued) {
        let Queued { publish, reply, .. } = queued;
        let key = publish.keep.key.as_str();
        if !key.is_empty() && !self.shared.keys.is_new(self.name, key, self.now) {
            return self.settle(reply, Ok(Settled::Repeated(None)));
        }
        let bytes = publish.publication.weight() + self.name.as_str().len();
        let reach = self.shared.sessions.reach(self.followers, Some(bytes));
        self.act(Action::Deliver(Box::new(Delivery { publish, reply, position: None, reach })));
    }

    pub(super) fn deliver_act(&mut self, Act { act, .. }: Act, reply: Reply) {
        let reach = self.shared.sessions.reach(self.followers, Some(act.weight()));
        self.act(Action::Act(act, reach, reply));
    }

    /// The session follows the channel from now on.
    pub(super) fn add_follower(&mut self, session: SessionId) {
        if !self.followers.contains(&session) {
            self.shared.followed += usize::from(self.followers.is_empty());
            self.followers.push(session);
        }
    }

    pub(super) fn remove_follower(&mut self, session: SessionId) {
        let before = self.followers.len();
        self.followers.retain(|follower| *follower != session);
        self.shared.followed -= usize::from(before > 0 && self.followers.is_empty());
    }

    pub(super) fn drop_followers(&mut self) -> Vec<SessionId> {
        self.shared.followed -= usize::from(!self.followers.is_empty());
        self.followers.drain(..).collect()
    }

    /// Others may write to the stream as well, so that it is worth a look later.
    pub(super) fn has_traffic(&mut self) {
        if let Some(active) = &mut self.shared.active
            && !self.followers.is_empty()
            && !active.contains(self.name)
        {
            active.insert(self.name.clone());
        }
    }

    /// The history was away; somebody may need it to be asked again.
    pub(super) fn is_late(&mut self, somebody_waits: bool) {
        if somebody_waits {
            self.shared.late.insert(self.name.clone());
        }
    }

    pub(super) fn say(&mut self, session: SessionId, message: open_response::Message) {
        self.act(Action::Say(session, message));
    }

    pub(super) fn say_following(&mut self, session: SessionId, position: Option<StreamPosition>) {
        let (channel, position) = (self.name.as_str().to_owned(), position.map(Into::into));
        self.say(session, open_response::Message::Following(link::Following { channel, position }));
    }

    pub(super) fn say_recovered(&mut self, session: SessionId, recovered: link::Recovered) {
        self.say(session, open_response::Message::Recovered(recovered));
    }

    pub(super) fn say_not_owner(&mut self, session: SessionId, ticket: u64) {
        let channel = self.name.as_str().to_owned();
        let not_owner = link::NotOwner { channel, ticket, number: None };
        self.say(session, open_response::Message::NotOwner(not_owner));
    }

    /// Tells followers how far the stream has come without them.
    pub(super) fn say_top(&mut self, top: StreamPosition) {
        for session in self.followers.clone() {
            let top = link::Top { channel: self.name.as_str().to_owned(), position: Some(top.into()) };
            self.say(session, open_response::Message::Top(top));
        }
    }
}
