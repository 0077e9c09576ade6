//! What a shard knows, and what it does with what comes from clients, without any waiting.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;
use fanfare_cluster::channel::ChannelName;
use fanfare_cluster::connection_id::ConnectionId;
use fanfare_cluster::member::Incarnation;
use fanfare_proto::client::{Command, Push, Reply, SubscribeResult, UnsubscribeResult};
use fanfare_proto::link;

use super::SlotKey;
use super::allowance::Verdict;
use super::book::Book;
use super::clock::TICKS_PER_SECOND;
use super::connecting::Held;
use super::connections::Connections;
use super::delivery::Sockets as _;
use super::grants::Grant;
use super::hub::Hub;
use super::profile::{Sdk, Sdks};
use super::replies::{Replies, failed, subscribed};
use super::up::Up;
use super::waiting::{Purpose, Waiting};
use super::wheel::Wheel;
use crate::authenticator::Permissions;
use crate::codes::{disconnect, error};
use crate::connection::socket::Socket;
use crate::encoding::{Malformed, Manner};
use crate::frame::Framed;
use crate::links::{FromShard, Question};
use crate::metrics::Metrics;
use crate::session::{Rules, Session, Step, Surroundings};

/// What the ids of a shard's connections begin with.
#[derive(Clone, Copy, Debug)]
struct Place {
    incarnation: Incarnation,
    shard: u8,
}

/// A shard's state. One thread has it, and no borrow of it lasts across a wait.
pub(crate) struct State {
    pub(crate) connections: Connections,
    pub(crate) hub: Hub,
    pub(crate) book: Book,
    pub(crate) wheel: Wheel,
    /// When what was granted is over: a wheel of its own, because few connections need it.
    pub(crate) expiries: Wheel,
    /// What goes to the exchange.
    pub(crate) up: Up,
    /// What clients have sent while their connect is under way.
    pub(super) held: HashMap<SlotKey, Held>,
    pub(super) rules: Arc<Rules>,
    sdks: Sdks,
    pub(super) metrics: Metrics,
    place: Place,
    /// Set when the node ends: who comes now is sent away at once.
    pub(crate) stopping: bool,
}

impl State {
    pub(crate) fn new(shard: u8, incarnation: Incarnation, rules: Arc<Rules>, metrics: Metrics) -> Self {
        Self {
            connections: Connections::new(rules.client.queue_max_size.0, metrics.clone()),
            hub: Hub::default(),
            book: Book::default(),
            wheel: Wheel::default(),
            expiries: Wheel::default(),
            up: Up::default(),
            held: HashMap::new(),
            rules,
            sdks: Sdks::default(),
            metrics,
            place: Place { incarnation, shard },
            stopping: false,
        }
    }

    /// A handshake is done. A trusted proxy may have said whose it is.
    pub(crate) fn open(&mut self, socket: Socket, manner: Manner, user: Option<Arc<str>>) -> SlotKey {
        let Place { incarnation, shard } = self.place;
        let id = |slot| ConnectionId::new(incarnation, shard, slot);
        let session = user.map_or_else(Session::default, Session::of_user);
        let key = self.connections.insert(socket, (manner, session), id);
        self.set_due(key, self.rules.client.stale_close_delay.0);
        if self.stopping {
            self.close(key, disconnect::SHUTDOWN);
        }
        key
    }

    /// A whole message has come from a client.
    pub(crate) fn message(&mut self, key: SlotKey, message: Bytes) {
        let Some(encoding) = self.connections.get(key).map(|connection| connection.manner.encoding) else {
            return;
        };
        let mut replies = Replies::new(encoding);
        let read = encoding.read(message, |command| self.command(key, command, &mut replies));
        self.write_replies(key, &replies);
        if read == Err(Malformed) {
            self.close(key, disconnect::BAD_REQUEST);
        }
    }

    /// Returns whether more may come.
    pub(super) fn command(&mut self, key: SlotKey, command: Command, replies: &mut Replies) -> bool {
        let Some(connection) = self.connections.get(key).filter(|connection| !connection.closing) else {
            return false;
        };
        if connection.session.is_connecting() {
            return self.hold(key, command);
        }
        self.metrics.clients.commands.inc();
        let second = self.wheel.now() / TICKS_PER_SECOND;
        match connection.allowance.spend(second, self.rules.client.command_rate_limit) {
            Verdict::Take => {}
            Verdict::Refuse => {
                self.metrics.clients.command_limit.inc();
                if command.id != 0 {
                    replies.add(&failed(command.id, error::TOO_MANY_REQUESTS));
                }
                return true;
            }
            Verdict::End => return self.act(key, Step::Close(disconnect::TOO_MANY_ERRORS), replies),
        }
        let sdk = command.connect.as_ref().and_then(Sdk::of);
        let mut session = std::mem::take(&mut connection.session);
        let connection = &*connection;
        let hub = &self.hub;
        let around = Surroundings {
            rules: &self.rules,
            id: connection.id,
            encoding: connection.manner.encoding,
            now: SystemTime::now(),
            subscriptions: connection.subscriptions.len(),
            subscription: &|channel| {
                let number = hub.find(channel)?;
                connection.subscriptions.iter().find(|subscription| subscription.channel == number)?;
                let grant = connection.grants.find(number);
                Some(grant.map_or(Permissions::default(), |grant| grant.permissions))
            },
        };
        let step = session.command(command, &around);
        if let Some(connection) = self.connections.get(key) {
            connection.session = session;
            if let (Some(sdk), Step::Connect { .. }) = (sdk, &step) {
                connection.profile.sdk = self.sdks.share(sdk);
            }
        }
        self.act(key, step, replies)
    }

    fn act(&mut self, key: SlotKey, step: Step, replies: &mut Replies) -> bool {
        match step {
            Step::Nothing => {}
            Step::Reply(reply) => replies.add(&reply),
            Step::Connect { id, since } => self.connect(key, id, &since, replies),
            Step::Subscribe { id, .. } | Step::Publish { id, .. } | Step::Ask { id, .. }
                if self.up.is_full() =>
            {
                replies.add(&failed(id, error::TOO_MANY_REQUESTS));
            }
            Step::Subscribe { id, channel, grant, wants } => {
                let grant = grant.map(|grant| Grant::from(&*grant));
                let waiting = Waiting { key, purpose: Purpose::Subscribe { id }, wants };
                self.subscribe_client(channel, waiting, grant, replies);
            }
            Step::Unsubscribe { id, channel } => {
                if let Some(Purpose::Subscribe { id }) = self.unsubscribe(key, &channel) {
                    // It was taken back before the owner had answered. Every command has its reply.
                    replies.add(&subscribed(id, SubscribeResult::default()));
                }
                let unsubscribe = Some(UnsubscribeResult {});
                replies.add(&Reply { id, unsubscribe, ..Default::default() });
            }
            Step::Publish { id, channel, data } => self.publish(key, id, channel, data),
            Step::Ask { id, channel, question } => {
                self.up.push(FromShard::Question { key, id, channel, question });
            }
            Step::Refresh { id } => replies.add(&self.refreshed(key, id)),
            Step::SubRefresh { id, grant } => replies.add(&self.sub_refreshed(key, id, &grant)),
            Step::Close(code) => {
                self.write_replies(key, replies);
                replies.message.clear();
                self.close(key, code);
                return false;
            }
        }
        true
    }

    fn publish(&mut self, key: SlotKey, id: u32, channel: ChannelName, data: Bytes) {
        let Some(connection) = self.connections.get(key) else { return };
        let identity = connection.session.identity();
        let grant = self.hub.find(channel.as_str()).and_then(|number| connection.grants.find(number));
        let publisher = link::Publisher {
            user: connection.session.user().to_owned(),
            connection: connection.id.to_string(),
            info: identity.map_or(Bytes::new(), |identity| identity.info.clone()),
            channel_info: grant.map_or(Bytes::new(), |grant| grant.info.clone()),
        };
        let publication = link::Publication { data, publisher: Some(publisher), ..Default::default() };
        self.metrics.clients.publications.inc();
        let question = Question::Publish(publication);
        self.up.push(FromShard::Question { key, id, channel, question });
    }

    pub(super) fn reply(&mut self, key: SlotKey, reply: &Reply) {
        let Some(encoding) = self.connections.get(key).map(|connection| connection.manner.encoding) else {
            return;
        };
        let mut replies = Replies::new(encoding);
        replies.add(reply);
        self.write_replies(key, &replies);
    }

    /// Tells a client something that it has not asked for.
    pub(super) fn push(&mut self, key: SlotKey, push: Push) {
        self.reply(key, &Reply { push: Some(push), ..Default::default() });
    }

    pub(super) fn write_replies(&mut self, key: SlotKey, replies: &Replies) {
        if !replies.message.is_empty() && self.connections.get(key).is_some() {
            let frame = Framed::message(replies.encoding.is_text(), &replies.message);
            self.connections.write(key.slot, frame.bytes(), &[]);
        }
    }

    /// A pong frame has come. It counts only where pings are frames.
    pub(crate) fn pong_frame(&mut self, key: SlotKey) {
        if let Some(connection) = self.connections.get(key).filter(|connection| connection.manner.frame_pings)
        {
            connection.session.pong_came();
        }
    }

    /// Answers a ping frame.
    pub(crate) fn ping_frame(&mut self, key: SlotKey, payload: &[u8]) {
        if self.connections.get(key).is_some() {
            self.connections.write(key.slot, Framed::pong(payload).bytes(), &[]);
        }
    }
}
