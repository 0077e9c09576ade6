//! One client's session as a plain state machine: a command goes in, what to do about it comes out.

use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;
use fanfare_cluster::channel::{ChannelName, DataFormat, MAX_CHANNEL_BYTES, Namespaces};
use fanfare_proto::client::{
    Command, ConnectRequest, PublishRequest, RefreshRequest, RefreshResult, Reply, SubRefreshRequest,
    SubscribeRequest,
};

use crate::authenticator::{Authenticator, Denied, Identity};
use crate::codes::{Code, disconnect, error};
use crate::config::ClientConfig;
use crate::encoding::Encoding;

/// What holds for all sessions of a node.
pub(crate) struct Rules {
    pub(crate) client: ClientConfig,
    pub(crate) channels: Arc<Namespaces>,
    /// `None` if there is no way to verify a token.
    pub(crate) authenticator: Option<Arc<dyn Authenticator>>,
}

/// What a session needs to know of the connection it belongs to.
pub(crate) struct Surroundings<'a> {
    pub(crate) rules: &'a Rules,
    pub(crate) encoding: Encoding,
    pub(crate) now: SystemTime,
    pub(crate) subscriptions: usize,
    pub(crate) is_subscribed: &'a dyn Fn(&str) -> bool,
}

/// What to do about a command.
#[derive(Debug, PartialEq)]
pub(crate) enum Step {
    /// Nothing.
    Nothing,
    /// Answer.
    Reply(Box<Reply>),
    /// The client is who it says; finish the connect and answer it.
    Connect { id: u32 },
    /// Subscribe and answer.
    Subscribe { id: u32, channel: ChannelName },
    /// Unsubscribe if subscribed; the answer is the same.
    Unsubscribe { id: u32, channel: String },
    /// Publish and answer.
    Publish { id: u32, channel: ChannelName, data: Bytes },
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
    identity: Option<Box<Identity>>,
}

impl Session {
    /// Whether connect has been answered with success.
    pub(crate) fn is_connected(&self) -> bool {
        self.phase == Phase::Connected
    }

    /// Whether connect is under way.
    pub(crate) fn is_connecting(&self) -> bool {
        self.phase == Phase::Connecting
    }

    /// Who the client is; `None` if anonymous.
    pub(crate) fn identity(&self) -> Option<&Identity> {
        self.identity.as_deref()
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
            non_empty(&unsubscribe.channel, || Step::Unsubscribe { id, channel: unsubscribe.channel.clone() })
        } else if let Some(publish) = command.publish {
            self.publish(id, publish, around)
        } else if let Some(presence) = command.presence {
            non_empty(&presence.channel, || refuse(id, error::NOT_AVAILABLE))
        } else if let Some(presence_stats) = command.presence_stats {
            non_empty(&presence_stats.channel, || refuse(id, error::NOT_AVAILABLE))
        } else if let Some(history) = command.history {
            non_empty(&history.channel, || refuse(id, error::NOT_AVAILABLE))
        } else if command.rpc.is_some() {
            refuse(id, error::NOT_AVAILABLE)
        } else if command.send.is_some() {
            Step::Close(disconnect::NOT_AVAILABLE)
        } else if let Some(refresh) = command.refresh {
            self.refresh(id, &refresh, around)
        } else if let Some(sub_refresh) = command.sub_refresh {
            sub_refresh_answer(id, &sub_refresh, around)
        } else {
            bad
        }
    }

    fn connect(&mut self, id: u32, connect: &ConnectRequest, around: &Surroundings<'_>) -> Step {
        let identity = match (&around.rules.authenticator, connect.token.as_str()) {
            (_, "") => None,
            (None, _) => return Step::Close(disconnect::INVALID_TOKEN),
            (Some(authenticator), token) => match authenticator.authenticate(token, around.now) {
                Ok(identity) => identity,
                Err(Denied::Expired) => {
                    self.phase = Phase::Failed;
                    return refuse(id, error::TOKEN_EXPIRED);
                }
                Err(Denied::Invalid) => return Step::Close(disconnect::INVALID_TOKEN),
            },
        };
        if identity.is_none() && !around.rules.client.allow_anonymous_connect_without_token {
            return Step::Close(disconnect::BAD_REQUEST);
        }
        self.identity = identity.map(Box::new);
        self.phase = Phase::Connecting;
        Step::Connect { id }
    }

    /// The order of the checks is the protocol's (section 2.7).
    fn subscribe(&self, id: u32, request: &SubscribeRequest, around: &Surroundings<'_>) -> Step {
        const REJECT_UNRECOVERED: i64 = 2;
        if request.channel.is_empty() || !matches!(request.delta.as_str(), "" | "fossil") {
            return Step::Close(disconnect::BAD_REQUEST);
        }
        if request.r#type == 4 {
            return refuse(id, error::NOT_AVAILABLE);
        }
        if request.channel.len() > around.rules.client.channel_max_length.min(MAX_CHANNEL_BYTES) {
            return refuse(id, error::BAD_REQUEST);
        }
        if (around.is_subscribed)(&request.channel) {
            return refuse(id, error::ALREADY_SUBSCRIBED);
        }
        if around.subscriptions >= around.rules.client.channel_limit {
            return refuse(id, error::LIMIT_EXCEEDED);
        }
        let Ok(channel) = ChannelName::parse(&request.channel) else {
            return refuse(id, error::BAD_REQUEST);
        };
        let Ok(rules) = around.rules.channels.of(&channel) else {
            return refuse(id, error::UNKNOWN_CHANNEL);
        };
        if !rules.admits_name(&channel) {
            return refuse(id, error::BAD_REQUEST);
        }
        let options = &rules.options;
        let reserved = channel.is_personal() || request.channel.starts_with('$') || !request.token.is_empty();
        let allowed = options.allow_subscribe_for_client
            && (self.identity.is_some() || options.allow_subscribe_for_anonymous);
        if request.r#type != 0 || reserved || !allowed {
            return refuse(id, error::PERMISSION_DENIED);
        }
        let json_of_binary =
            options.publication_data_format == DataFormat::Binary && around.encoding == Encoding::Json;
        if request.tf.is_some() || json_of_binary {
            return refuse(id, error::BAD_REQUEST);
        }
        if request.recover && request.flag & REJECT_UNRECOVERED != 0 {
            return refuse(id, error::UNRECOVERABLE_POSITION);
        }
        Step::Subscribe { id, channel }
    }

    fn publish(&self, id: u32, request: PublishRequest, around: &Surroundings<'_>) -> Step {
        if request.channel.is_empty() {
            return Step::Close(disconnect::BAD_REQUEST);
        }
        if request.data.is_empty() {
            return refuse(id, error::BAD_REQUEST);
        }
        let Ok(channel) = ChannelName::parse(&request.channel) else {
            return refuse(id, error::BAD_REQUEST);
        };
        let Ok(rules) = around.rules.channels.of(&channel) else {
            return refuse(id, error::UNKNOWN_CHANNEL);
        };
        let options = &rules.options;
        let allowed = options.allow_publish_for_client
            && (self.identity.is_some() || options.allow_publish_for_anonymous);
        if channel.is_personal() || request.r#type != 0 || !allowed {
            return refuse(id, error::PERMISSION_DENIED);
        }
        match options.admit(request.data) {
            Ok(data) => Step::Publish { id, channel, data },
            Err(_) => refuse(id, error::BAD_REQUEST),
        }
    }

    /// A new token must be the same user's.
    fn refresh(&mut self, id: u32, request: &RefreshRequest, around: &Surroundings<'_>) -> Step {
        let (Some(authenticator), false) = (&around.rules.authenticator, request.token.is_empty()) else {
            return Step::Close(disconnect::BAD_REQUEST);
        };
        match authenticator.authenticate(&request.token, around.now) {
            Err(Denied::Expired) => Step::Close(disconnect::EXPIRED),
            Ok(Some(new)) if self.identity().is_some_and(|old| old.user == new.user) => {
                let ttl = seconds_left(&new, around.now);
                self.identity = Some(Box::new(new));
                let refresh =
                    RefreshResult { expires: ttl.is_some(), ttl: ttl.unwrap_or(0), ..Default::default() };
                Step::Reply(Box::new(Reply { id, refresh: Some(refresh), ..Default::default() }))
            }
            Ok(_) | Err(Denied::Invalid) => Step::Close(disconnect::INVALID_TOKEN),
        }
    }
}

/// How long an identity lasts; `None` if for ever.
pub(crate) fn seconds_left(identity: &Identity, now: SystemTime) -> Option<u32> {
    let now = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
    identity.expires_at.map(|at| u32::try_from(at.saturating_sub(now)).unwrap_or(u32::MAX))
}

/// An error reply.
pub(crate) fn refuse(id: u32, code: Code) -> Step {
    Step::Reply(Box::new(Reply { id, error: Some(code.to_error()), ..Default::default() }))
}

fn non_empty(channel: &str, step: impl FnOnce() -> Step) -> Step {
    if channel.is_empty() { Step::Close(disconnect::BAD_REQUEST) } else { step() }
}

/// There are no subscription tokens yet, so no subscription can need a new one.
fn sub_refresh_answer(id: u32, request: &SubRefreshRequest, around: &Surroundings<'_>) -> Step {
    if request.channel.is_empty() {
        Step::Close(disconnect::BAD_REQUEST)
    } else if (around.is_subscribed)(&request.channel) && request.token.is_empty() {
        refuse(id, error::BAD_REQUEST)
    } else {
        refuse(id, error::PERMISSION_DENIED)
    }
}

/// A pong is a command with nothing set.
fn is_pong(command: &Command) -> bool {
    *command == Command::default()
}

#[cfg(test)]
#[path = "session_tests.rs"]
mod tests;
