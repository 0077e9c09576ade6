//! One client's session as a plain state machine: a command goes in, what to do about it comes out.

mod channels;
mod credentials;
mod streams;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;
use fanfare_cluster::channel::{ChannelName, Namespaces, StreamPosition};
use fanfare_cluster::connection_id::ConnectionId;
use fanfare_proto::client::{Command, Reply};

use crate::admission::Admission;
use crate::authenticator::{Authenticator, Identity, Permissions, SubscriptionGrant, unix_seconds};
use crate::codes::{Code, disconnect, error};
use crate::config::ClientConfig;
use crate::encoding::Encoding;
use crate::links::Question;
use crate::revocations::Revocations;
use crate::shard::Wants;

pub(crate) use streams::server_side_wants;

/// SDKs want an error, and not an answer, if what they missed cannot be had.
const REJECT_UNRECOVERED: i64 = 2;

/// What holds for all sessions of a node.
pub(crate) struct Rules {
    pub(crate) client: ClientConfig,
    pub(crate) channels: Arc<Namespaces>,
    pub(crate) authenticator: Arc<dyn Authenticator>,
    pub(crate) revocations: Arc<Revocations>,
    pub(crate) admission: Arc<Admission>,
}

/// What a session needs to know of the connection it belongs to.
pub(crate) struct Surroundings<'a> {
    pub(crate) rules: &'a Rules,
    pub(crate) id: ConnectionId,
    pub(crate) encoding: Encoding,
    pub(crate) now: SystemTime,
    pub(crate) subscriptions: usize,
    /// What the token of a subscription allows; `None` if there is no such subscription.
    pub(crate) subscription: &'a dyn Fn(&str) -> Option<Permissions>,
}

impl Surroundings<'_> {
    fn is_subscribed(&self, channel: &str) -> bool {
        (self.subscription)(channel).is_some()
    }
}

/// What to do about a command.
#[derive(Debug)]
#[cfg_attr(test, derive(PartialEq))]
pub(crate) enum Step {
    /// Nothing.
    Nothing,
    /// Answer.
    Reply(Box<Reply>),
    /// The client is who it says; finish the connect and answer it. In some of its server-side subscriptions it
    /// wants what was published after a position.
    Connect { id: u32, since: BTreeMap<String, StreamPosition> },
    /// Subscribe and answer. A token may have granted it.
    Subscribe {
        id: u32,
        channel: ChannelName,
        grant: Option<Arc<SubscriptionGrant>>,
        wants: Option<Box<Wants>>,
    },
    /// Unsubscribe if subscribed; the answer is the same.
    Unsubscribe { id: u32, channel: String },
    /// Publish and answer.
    Publish { id: u32, channel: ChannelName, data: Bytes },
    /// Ask the channel's owner, and answer.
    Ask { id: u32, channel: ChannelName, question: Question },
    /// The connection has another end now; answer when.
    Refresh { id: u32 },
    /// A subscription is granted anew; answer when it ends.
    SubRefresh { id: u32, grant: Arc<SubscriptionGrant> },
    /// Close the connection.
    Close(Code),
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Phase {
    /// Nothing but connect may come.
    #[default]
    New,
    /// Connect is under way; what comes meanwhile is kept by the connection.
    Connecting,
    /// All commands may come.
    Connected,
    /// Connect was answered with an error: nothing may come any more.
    Failed,
}

/// A client's session.
#[derive(Debug, Default)]
pub(crate) struct Session {
    phase: Phase,
    awaiting_pong: bool,
    /// When it ends, in Unix seconds; 0 if never. Until 2106 that fits.
    expires_at: u32,
    /// `None` if nobody has said who it is.
    identity: Option<Arc<Identity>>,
}

impl Session {
    /// The session of a client whose user a trusted proxy has named.
    pub(crate) fn of_user(user: Arc<str>) -> Self {
        Self { identity: Some(Arc::new(Identity { user, ..Default::default() })), ..Self::default() }
    }

    /// Whether connect has been answered with success.
    pub(crate) fn is_connected(&self) -> bool {
        self.phase == Phase::Connected
    }

    /// Whether connect is under way.
    pub(crate) fn is_connecting(&self) -> bool {
        self.phase == Phase::Connecting
    }

    /// Who the client is, as far as somebody has said it.
    pub(crate) fn identity(&self) -> Option<&Arc<Identity>> {
        self.identity.as_ref()
    }

    /// The client's user; empty if anonymous.
    pub(crate) fn user(&self) -> &str {
        self.identity.as_ref().map_or("", |identity| &identity.user)
    }

    /// When the session ends, in Unix seconds; `None` if never.
    pub(crate) fn expires_at(&self) -> Option<u64> {
        (self.expires_at != 0).then_some(self.expires_at.into())
    }

    /// The session ends at another time.
    pub(crate) fn expire_at(&mut self, at: Option<u64>) {
        self.expires_at = at.map_or(0, |at| u32::try_from(at).unwrap_or(u32::MAX).max(1));
    }

    /// The connect is complete.
    pub(crate) fn connected(&mut self) {
        self.phase = Phase::Connected;
    }

    /// The connect could not be completed; the client is answered with an error.
    pub(crate) fn failed(&mut self) {
        self.phase = Phase::Failed;
    }

    /// A ping goes out.
    pub(crate) fn ping_sent(&mut self) {
        self.awaiting_pong = true;
    }

    /// The answer to a ping has come outside of commands.
    pub(crate) fn pong_came(&mut self) {
        self.awaiting_pong = false;
    }

    /// Whether the last ping has no answer yet.
    pub(crate) fn is_awaiting_pong(&self) -> bool {
        self.awaiting_pong
    }

    /// Takes a command (client-protocol, section 2.4).
    pub(crate) fn command(&mut self, command: Command, around: &Surroundings<'_>) -> Step {
        let bad = Step::Close(disconnect::BAD_REQUEST);
        let Command { id, .. } = command;
        if is_pong(&command) {
            return if std::mem::take(&mut self.awaiting_pong) { Step::Nothing } else { bad };
        }
        if id == 0 && command.send.is_none() {
            return bad;
        }
        if self.phase == Phase::New {
            return match command.connect {
                Some(connect) => self.connect(id, &connect, around),
                None => bad,
            };
        }
        if self.phase != Phase::Connected || command.connect.is_some() || command.ping.is_some() {
            return bad;
        }
        if let Some(subscribe) = command.subscribe {
            self.subscribe(id, &subscribe, around)
        } else if let Some(unsubscribe) = command.unsubscribe {
            unsubscribe_step(id, &unsubscribe.channel)
        } else if let Some(publish) = command.publish {
            self.publish(id, publish, around)
        } else if let Some(presence) = command.presence {
            self.presence(id, &presence.channel, false, around)
        } else if let Some(presence_stats) = command.presence_stats {
            self.presence(id, &presence_stats.channel, true, around)
        } else if let Some(history) = command.history {
            self.history(id, &history, around)
        } else if command.rpc.is_some() {
            refuse(id, error::NOT_AVAILABLE)
        } else if command.send.is_some() {
            Step::Close(disconnect::NOT_AVAILABLE)
        } else if let Some(refresh) = command.refresh {
            self.refresh(id, &refresh, around)
        } else if let Some(sub_refresh) = command.sub_refresh {
            self.sub_refresh(id, &sub_refresh, around)
        } else {
            bad
        }
    }
}

/// How long something lasts; `None` if for ever.
pub(crate) fn seconds_left(ends: Option<u64>, now: SystemTime) -> Option<u32> {
    ends.map(|at| u32::try_from(at.saturating_sub(unix_seconds(now))).unwrap_or(u32::MAX))
}

/// An error reply.
pub(crate) fn refuse(id: u32, code: Code) -> Step {
    Step::Reply(Box::new(Reply { id, error: Some(code.to_error()), ..Default::default() }))
}

/// A user's connections stay members of its personal channel: operations on the user reach them there.
fn unsubscribe_step(id: u32, channel: &str) -> Step {
    if channel.starts_with('#') {
        return refuse(id, error::PERMISSION_DENIED);
    }
    non_empty(channel, || Step::Unsubscribe { id, channel: channel.to_owned() })
}

fn non_empty(channel: &str, step: impl FnOnce() -> Step) -> Step {
    if channel.is_empty() { Step::Close(disconnect::BAD_REQUEST) } else { step() }
}

/// A pong is a command with nothing set.
fn is_pong(command: &Command) -> bool {
    *command == Command::default()
}

#[cfg(test)]
#[path = "session/channels_tests.rs"]
mod channels_tests;
#[cfg(test)]
#[path = "session/streams_tests.rs"]
mod streams_tests;
#[cfg(test)]
#[path = "session_tests.rs"]
mod tests;
