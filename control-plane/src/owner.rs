//! The channels of one owner task, as a plain state machine: who follows what, and who gets a publication.

mod answers;
mod keys;
mod list;
mod recent;
pub(crate) mod request;
mod sessions;
mod stream;
mod turn;

use std::collections::HashMap;
use std::time::{Duration, Instant};

use fanfare_cluster::channel::{ChannelName, StreamPosition};
use fanfare_cluster::member::MemberId;
use fanfare_proto::link;
use smallvec::SmallVec;

use crate::history::HistoryError;
use request::{Act, Action, Asker, Done, Question, Queued, Reply};
pub(crate) use sessions::{Reach, SessionId};
use stream::{Stream, Wish};
use turn::{Shared, Turn};

/// The shortest and the longest pause before a history that was away is asked again.
const PAUSE: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(2));
/// Channels that ask it at once then.
const RETRIED_AT_ONCE: usize = 4_096;
/// How often channels with publications look whether others have written to their streams.
const SWEEP: Duration = Duration::from_secs(30);

type Followers = SmallVec<[SessionId; 2]>;

/// A share of the replica's channels.
///
/// A channel exists here while somebody follows it or something waits, and costs nothing otherwise.
#[derive(Debug)]
pub(crate) struct Owner {
    channels: HashMap<ChannelName, Channel, foldhash::fast::RandomState>,
    shared: Shared,
    /// When the history is asked again for those that are late, and how long the pause was.
    retry: Option<(Instant, Duration)>,
    sweep_at: Option<Instant>,
}

#[derive(Debug, Default)]
struct Channel {
    followers: Followers,
    /// Only in channels with history.
    stream: Option<Box<Stream>>,
}

impl Channel {
    fn is_busy(&self) -> bool {
        self.stream.as_ref().is_some_and(|stream| stream.is_busy())
    }

    fn is_idle(&self) -> bool {
        self.followers.is_empty() && self.stream.as_ref().is_none_or(|stream| stream.is_idle())
    }
}

impl Owner {
    /// Remembers keys of publications that are not stored for so long. With `sweeps` it looks whether others have
    /// written to streams.
    pub(crate) fn new(keys: Duration, sweeps: bool) -> Self {
        let shared = Shared::new(keys, sweeps);
        Self { channels: HashMap::default(), shared, retry: None, sweep_at: None }
    }

    /// A node has a new link session. Until [`caught_up`](Self::caught_up) it may follow more than is known.
    pub(crate) fn session_up(&mut self, id: SessionId, node: MemberId) {
        self.shared.sessions.up(id, node);
    }

    /// A link session has ended: it follows nothing any more.
    pub(crate) fn session_down(&mut self, id: SessionId, now: Instant) {
        if !self.shared.sessions.down(id) {
            return;
        }
        let shared = &mut self.shared;
        self.channels.retain(|name, channel| {
            let mut turn = Turn { name, followers: &mut channel.followers, shared, now };
            turn.remove_follower(id);
            if let Some(stream) = &mut channel.stream {
                stream.forget(id, true, &mut turn);
            }
            let is_idle = channel.is_idle();
            if is_idle && let Some(stream) = &mut channel.stream {
                shared.room += stream.drop_recent();
            }
            !is_idle
        });
    }

    /// The session has announced all it follows.
    pub(crate) fn caught_up(&mut self, id: SessionId) {
        self.shared.sessions.caught_up(id);
    }

    /// The session wants to follow the channel, and has seen it up to a position. If the channel has history it
    /// follows from the moment at which the stream's end is known. A session that has ended meanwhile is not told.
    pub(crate) fn follow(
        &mut self,
        id: SessionId,
        channel: &ChannelName,
        position: Option<StreamPosition>,
        has_history: bool,
        now: Instant,
    ) {
        if !self.shared.sessions.contains(id) {
            return;
        }
        if has_history {
            let wish = Wish::Follow(id, position.unwrap_or_default());
            return self.with_stream(channel, now, |stream, turn| stream.take(wish, turn));
        }
        self.with_channel(channel, now, |_, turn| {
            turn.add_follower(id);
            turn.say_following(id, None);
        });
    }

    /// The session does not follow the channel any more.
    pub(crate) fn unfollow(&mut self, id: SessionId, channel: &ChannelName, now: Instant) {
        if self.channels.contains_key(channel) {
            self.with_channel(channel, now, |stream, turn| {
                turn.remove_follower(id);
                if let Some(stream) = stream {
                    stream.forget(id, false, turn);
                }
            });
        }
    }

    /// A publication. The order of calls is the channel's order.
    pub(crate) fn publish(&mut self, queued: Queued, now: Instant) {
        let name = queued.publish.channel.clone();
        if queued.publish.keep.stored {
            return self
                .with_stream(&name, now, |stream, turn| stream.take(Wish::Publish(queued.into()), turn));
        }
        match self.channels.get_mut(&name) {
            Some(channel) if channel.is_busy() => {
                self.with_stream(&name, now, |stream, turn| stream.take(Wish::Publish(queued.into()), turn));
            }
            Some(Channel { followers, .. }) => {
                Turn { name: &name, followers, shared: &mut self.shared, now }.deliver_unstored(queued);
            }
            None => {
                let (followers, shared) = (&mut Followers::new(), &mut self.shared);
                Turn { name: &name, followers, shared, now }.deliver_unstored(queued);
            }
        }
    }

    /// An operation on the members of a personal channel, in order with its publications.
    pub(crate) fn act(&mut self, act: Act, reply: Reply, now: Instant) {
        let name = act.channel.clone();
        self.with_channel(&name, now, |stream, turn| match stream {
            Some(stream) => stream.take(Wish::Act(act.into(), reply), turn),
            None => turn.deliver_act(act, reply),
        });
    }

    /// A subscription wants what it has missed.
    pub(crate) fn recover(
        &mut self,
        id: SessionId,
        channel: &ChannelName,
        recover: link::Recover,
        now: Instant,
    ) {
        let wish = Wish::Recover(id, recover);
        self.with_stream(channel, now, |stream, turn| stream.take(wish, turn));
    }

    /// Somebody reads the history.
    pub(crate) fn read(&mut self, asker: Asker, channel: &ChannelName, question: Question, now: Instant) {
        let wish = Wish::Read(asker, question);
        self.with_stream(channel, now, |stream, turn| stream.take(wish, turn));
    }

    /// A backend removes the history.
    pub(crate) fn remove(&mut self, channel: &ChannelName, reply: Reply, now: Instant) {
        self.with_stream(channel, now, |stream, turn| stream.take(Wish::Remove(reply), turn));
    }

    /// The history has done what a channel wanted, or not.
    pub(crate) fn finished(
        &mut self,
        channel: &ChannelName,
        result: Result<Done, HistoryError>,
        now: Instant,
    ) {
        let is_away = matches!(result, Err(HistoryError::Unavailable(_)));
        self.with_stream(channel, now, |stream, turn| stream.finished(result, turn));
        let has_traffic = self.shared.active.as_ref().is_some_and(|active| !active.is_empty());
        if has_traffic && self.sweep_at.is_none() {
            self.sweep_at = Some(now + SWEEP);
        }
        if self.shared.late.is_empty() {
            return self.retry = None;
        }
        self.retry = match self.retry {
            None => Some((now + PAUSE.0, PAUSE.0)),
            // It is back: those that are late need not wait longer.
            Some((at, _)) if !is_away => Some((at.min(now + PAUSE.0), PAUSE.0)),
            waiting => waiting,
        };
    }

    /// What is to be done next.
    pub(crate) fn next_action(&mut self) -> Option<Action> {
        self.shared.actions.pop_front()
    }

    /// When [`tick`](Self::tick) has something to do.
    pub(crate) fn next_tick(&self) -> Option<Instant> {
        let retry = self.retry.map(|(at, _)| at);
        let recent = self.shared.recents.front().map(|(until, _)| *until);
        [retry, recent, self.sweep_at].into_iter().flatten().min()
    }

    /// Does what is due. Channels have their turns in the order of their names, so that the same happens again when the
    /// same is done again.
    pub(crate) fn tick(&mut self, now: Instant) {
        while let Some((_, name)) = self.shared.recents.pop_front_if(|(until, _)| *until <= now) {
            if let Some(Channel { stream: Some(stream), .. }) = self.channels.get_mut(&name) {
                self.shared.room += stream.drop_old_recent(now);
            }
        }
        if let Some((_, pause)) = self.retry.take_if(|(at, _)| *at <= now) {
            let mut some: Vec<_> = self.shared.late.iter().take(RETRIED_AT_ONCE).cloned().collect();
            some.sort_unstable();
            let pause = (pause * 2).min(PAUSE.1);
            self.retry = Some((now + pause, pause));
            for name in some {
                self.shared.late.remove(&name);
                self.look_again(&name, now);
            }
        }
        if self.sweep_at.take_if(|at| *at <= now).is_some() {
            let active = self.shared.active.as_mut().map(std::mem::take).unwrap_or_default();
            let mut active: Vec<_> = active.into_iter().collect();
            active.sort_unstable();
            for name in active {
                self.look_again(&name, now);
            }
        }
    }

    /// How many channels are followed.
    pub(crate) fn followed(&self) -> usize {
        self.shared.followed
    }

    /// How many recoveries needed no reading since the last call.
    pub(crate) fn take_saved_reads(&mut self) -> u64 {
        std::mem::take(&mut self.shared.saved_reads)
    }

    fn look_again(&mut self, name: &ChannelName, now: Instant) {
        if self.channels.contains_key(name) {
            self.with_stream(name, now, Stream::retry);
        }
    }

    fn with_stream(
        &mut self,
        name: &ChannelName,
        now: Instant,
        act: impl FnOnce(&mut Stream, &mut Turn<'_>),
    ) {
        if self.channels.get(name).is_none_or(|channel| channel.stream.is_none()) {
            self.channels.entry(name.clone()).or_default().stream = Some(Box::default());
        }
        self.with_channel(name, now, |stream, turn| {
            if let Some(stream) = stream {
                act(stream, turn);
            }
        });
    }

    /// A turn of the channel, which is forgotten if nothing is left of it.
    fn with_channel(
        &mut self,
        name: &ChannelName,
        now: Instant,
        act: impl FnOnce(Option<&mut Stream>, &mut Turn<'_>),
    ) {
        let channel = match self.channels.get_mut(name) {
            Some(channel) => channel,
            None => self.channels.entry(name.clone()).or_default(),
        };
        let followers = &mut channel.followers;
        let mut turn = Turn { name, followers, shared: &mut self.shared, now };
        act(channel.stream.as_deref_mut(), &mut turn);
        if channel.is_idle() {
            if let Some(stream) = &mut channel.stream {
                self.shared.room += stream.drop_recent();
            }
            self.channels.remove(name);
        }
    }
}

#[cfg(test)]
#[path = "owner_tests.rs"]
mod tests;

#[cfg(test)]
mod desk;

#[cfg(test)]
#[path = "owner/stream_tests.rs"]
mod stream_tests;

#[cfg(test)]
#[path = "owner/recovery_tests.rs"]
mod recovery_tests;

#[cfg(test)]
#[path = "owner/interleavings_tests.rs"]
mod interleavings_tests;
