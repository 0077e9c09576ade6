//! What a shard knows, and what it does with what comes from clients, without any waiting.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use fanfare_cluster::channel::ChannelName;
use fanfare_cluster::connection_id::ConnectionId;
use fanfare_cluster::member::Incarnation;
use fanfare_proto::client::{
    Command, ConnectResult, Reply, ServerSubscription, SubscribeResult, UnsubscribeResult,
};
use fanfare_proto::link;
use prost::Message as _;
use tokio::net::tcp::OwnedWriteHalf;

use super::SlotKey;
use super::book::Book;
use super::connections::{Connections, NOT_LIVE, Subscription};
use super::delivery::Sockets as _;
use super::hub::{Hub, Purpose, Subscribed, Waiting};
use super::replies::{Replies, failed, subscribed};
use super::up::Up;
use super::wheel::Wheel;
use crate::codes::{disconnect, error};
use crate::encoding::{Encoding, Malformed, Manner};
use crate::frame::Framed;
use crate::links::FromShard;
use crate::metrics::Metrics;
use crate::session::{Rules, Step, Surroundings, seconds_left};

/// How long a connect may wait for its user's personal channel.
const CONNECT_WAIT: Duration = Duration::from_secs(2);
/// Commands that may come while connect is under way.
const MAX_HELD: usize = 128;
/// How the server calls itself in connect replies.
const VERSION: &str = concat!("Fanfare ", env!("CARGO_PKG_VERSION"));

/// A shard's state. One thread has it, and no borrow of it lasts across a wait.
pub(crate) struct State {
    pub(crate) connections: Connections,
    pub(crate) hub: Hub,
    pub(crate) book: Book,
    pub(crate) wheel: Wheel,
    /// What goes to the exchange.
    pub(crate) up: Up,
    /// What clients have sent while their connect is under way.
    pub(super) held: HashMap<SlotKey, Held>,
    pub(super) rules: Arc<Rules>,
    pub(super) metrics: Metrics,
    pub(super) incarnation: Incarnation,
    shard: u8,
    /// The ping of each encoding, and the ping frame.
    pub(super) pings: [Framed; 3],
    /// Set when the node ends: who comes now is sent away at once.
    pub(crate) stopping: bool,
}

impl State {
    pub(crate) fn new(shard: u8, incarnation: Incarnation, rules: Arc<Rules>, metrics: Metrics) -> Self {
        let ping = |encoding: Encoding| Framed::message(encoding.is_text(), encoding.empty_message());
        Self {
            connections: Connections::new(rules.client.queue_max_size.0, metrics.clone()),
            hub: Hub::default(),
            book: Book::default(),
            wheel: Wheel::default(),
            up: Up::default(),
            held: HashMap::new(),
            rules,
            metrics,
            incarnation,
            shard,
            pings: [ping(Encoding::Json), ping(Encoding::Protobuf), Framed::ping()],
            stopping: false,
        }
    }

    /// A handshake is done.
    pub(crate) fn open(&mut self, write: OwnedWriteHalf, manner: Manner) -> SlotKey {
        let (incarnation, shard) = (self.incarnation, self.shard);
        let id = |slot| ConnectionId::new(incarnation, shard, slot);
        let key = self.connections.insert(write, manner, id);
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
    fn command(&mut self, key: SlotKey, command: Command, replies: &mut Replies) -> bool {
        let Some(connection) = self.connections.get(key).filter(|connection| !connection.closing) else {
            return false;
        };
        if connection.session.is_connecting() {
            return self.hold(key, command);
        }
        self.metrics.clients.commands.inc();
        let mut session = std::mem::take(&mut connection.session);
        let connection = &*connection;
        let hub = &self.hub;
        let around = Surroundings {
            rules: &self.rules,
            encoding: connection.manner.encoding,
            now: SystemTime::now(),
            subscriptions: connection.subscriptions.len(),
            is_subscribed: &|channel| {
                let number = hub.find(channel);
                connection.subscriptions.iter().any(|subscription| Some(subscription.channel) == number)
            },
        };
        let step = session.command(command, &around);
        if let Some(connection) = self.connections.get(key) {
            connection.session = session;
        }
        self.act(key, step, replies)
    }

    fn act(&mut self, key: SlotKey, step: Step, replies: &mut Replies) -> bool {
        match step {
            Step::Nothing => {}
            Step::Reply(reply) => replies.add(&reply),
            Step::Connect { id } => self.connect(key, id, replies),
            Step::Subscribe { id, .. } | Step::Publish { id, .. } if self.up.is_full() => {
                replies.add(&failed(id, error::TOO_MANY_REQUESTS));
            }
            Step::Subscribe { id, channel } => {
                if self.subscribe(key, channel, Purpose::Subscribe { id }) {
                    replies.add(&subscribed(id));
                }
            }
            Step::Unsubscribe { id, channel } => {
                if let Some(Purpose::Subscribe { id }) = self.unsubscribe(key, &channel) {
                    // It was taken back before the owner had answered. Every command has its reply.
                    replies.add(&subscribed(id));
                }
                let unsubscribe = Some(UnsubscribeResult {});
                replies.add(&Reply { id, unsubscribe, ..Default::default() });
            }
            Step::Publish { id, channel, data } => self.publish(key, id, channel, data),
            Step::Close(code) => {
                self.write_replies(key, replies);
                replies.message.clear();
                self.close(key, code);
                return false;
            }
        }
        true
    }

    fn hold(&mut self, key: SlotKey, command: Command) -> bool {
        let held = self.held.entry(key).or_default();
        held.bytes += command.encoded_len();
        if held.commands.len() >= MAX_HELD || held.bytes > self.rules.client.message_size_limit.0 {
            self.close(key, disconnect::TOO_MANY_REQUESTS);
            return false;
        }
        held.commands.push(command);
        true
    }

    /// The client is who it says. An anonymous one is connected at once, a user when it is a member of its
    /// personal channel.
    fn connect(&mut self, key: SlotKey, id: u32, replies: &mut Replies) {
        let user = self.connections.get(key).and_then(|connection| connection.session.identity());
        let Some(personal) = user.and_then(|identity| ChannelName::personal(&identity.user).ok()) else {
            return self.connected(key, id, None, replies);
        };
        if self.subscribe(key, personal.clone(), Purpose::Connect { id }) {
            self.connected(key, id, Some(&personal), replies);
        } else {
            self.held.insert(key, Held { connect: id, ..Held::default() });
            self.set_due(key, CONNECT_WAIT);
        }
    }

    pub(super) fn connected(
        &mut self,
        key: SlotKey,
        id: u32,
        personal: Option<&ChannelName>,
        replies: &mut Replies,
    ) {
        let interval = self.rules.client.ping_interval.0;
        let Some(connection) = self.connections.get(key) else { return };
        connection.session.connected();
        let ttl =
            connection.session.identity().and_then(|identity| seconds_left(identity, SystemTime::now()));
        let frame_pings = connection.manner.frame_pings;
        let subscription = |channel: &ChannelName| ServerSubscription {
            key: channel.as_str().to_owned(),
            value: Some(SubscribeResult::default()),
        };
        let connect = ConnectResult {
            client: connection.id.to_string(),
            version: VERSION.to_owned(),
            ping: if frame_pings { 0 } else { u32::try_from(interval.as_secs()).unwrap_or(u32::MAX) },
            pong: !frame_pings,
            expires: ttl.is_some(),
            ttl: ttl.unwrap_or(0),
            subs: personal.map(subscription).into_iter().collect(),
            ..Default::default()
        };
        replies.add(&Reply { id, connect: Some(connect), ..Default::default() });
        self.metrics.clients.connects.inc();
        self.metrics.clients.connections.inc();
        // The first ping comes at a random time, so that pings of a reconnect storm spread.
        self.set_due(key, interval.mul_f64(rand::random_range(0.5..1.0)));
        for command in self.held.remove(&key).unwrap_or_default().commands {
            if !self.command(key, command, replies) {
                break;
            }
        }
    }

    /// Returns whether the subscription is live already.
    fn subscribe(&mut self, key: SlotKey, channel: ChannelName, purpose: Purpose) -> bool {
        let (number, position) = match self.hub.subscribe(channel.clone(), Waiting { key, purpose }) {
            Subscribed::Live { channel, position } => (channel, position),
            Subscribed::Waits { channel: number, join } => {
                if let Some(ticket) = join {
                    self.metrics.deliveries.channels.inc();
                    self.up.push(FromShard::Join { channel, ticket });
                }
                (number, NOT_LIVE)
            }
        };
        if let Some(connection) = self.connections.get(key) {
            connection.subscriptions.push(Subscription { channel: number, position });
            self.metrics.deliveries.subscriptions.inc();
        }
        position != NOT_LIVE
    }

    /// Returns what the subscription still waited for.
    fn unsubscribe(&mut self, key: SlotKey, channel: &str) -> Option<Purpose> {
        let number = self.hub.find(channel)?;
        let connection = self.connections.get(key)?;
        let at = connection.subscriptions.iter().position(|subscription| subscription.channel == number)?;
        let subscription = connection.subscriptions.swap_remove(at);
        self.end_subscription(key, subscription)
    }

    /// Returns what the subscription still waited for.
    pub(super) fn end_subscription(&mut self, key: SlotKey, subscription: Subscription) -> Option<Purpose> {
        let Subscription { channel, position } = subscription;
        self.metrics.deliveries.subscriptions.dec();
        let waited = if position == NOT_LIVE {
            self.hub.stop_waiting(channel, key)
        } else {
            self.hub.unsubscribe(channel, position, &mut self.connections, &mut self.book);
            None
        };
        if let Some(channel) = self.hub.forget_if_idle(channel) {
            self.metrics.deliveries.channels.dec();
            self.up.push(FromShard::Leave { channel });
        }
        waited
    }

    fn publish(&mut self, key: SlotKey, id: u32, channel: ChannelName, data: Bytes) {
        let Some(connection) = self.connections.get(key) else { return };
        let identity = connection.session.identity();
        let publisher = link::Publisher {
            user: identity.map_or(String::new(), |identity| identity.user.as_ref().to_owned()),
            connection: connection.id.to_string(),
            info: identity.map_or(Bytes::new(), |identity| identity.info.clone()),
            channel_info: Bytes::new(),
        };
        let publication = link::Publication { data, publisher: Some(publisher), ..Default::default() };
        self.metrics.clients.publications.inc();
        self.up.push(FromShard::Publish { key, id, channel, publication });
    }

    pub(super) fn reply(&mut self, key: SlotKey, reply: &Reply) {
        let Some(encoding) = self.connections.get(key).map(|connection| connection.manner.encoding) else {
            return;
        };
        let mut replies = Replies::new(encoding);
        replies.add(reply);
        self.write_replies(key, &replies);
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

/// Commands that came while connect was under way: no more than fit into one message.
#[derive(Debug, Default)]
pub(super) struct Held {
    /// The id of the connect command.
    pub(super) connect: u32,
    commands: Vec<Command>,
    bytes: usize,
}
