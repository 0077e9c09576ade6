//! How a client's connect is completed: its server-side subscriptions first, then the answer, then what it sent meanwhile.

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use fanfare_cluster::channel::ChannelName;
use fanfare_proto::client::{Command, ConnectResult, Reply, ServerSubscription, SubscribeResult};
use prost::Message as _;

use super::SlotKey;
use super::grants::Grant;
use super::hub::Purpose;
use super::replies::{Replies, failed};
use super::state::State;
use crate::authenticator::unix_seconds;
use crate::codes::{disconnect, error};
use crate::encoding::Encoding;
use crate::frame::Framed;
use crate::session::seconds_left;

/// How long a connect may wait for its server-side subscriptions.
const CONNECT_WAIT: Duration = Duration::from_secs(2);
/// Commands that may come while connect is under way.
const MAX_HELD: usize = 128;
/// How the server calls itself in connect replies.
const VERSION: &str = concat!("Fanfare ", env!("CARGO_PKG_VERSION"));

/// A connect that is under way.
#[derive(Debug, Default)]
pub(super) struct Held {
    /// The id of the connect command.
    connect: u32,
    /// Server-side subscriptions that are not live yet.
    missing: usize,
    /// Commands that came meanwhile: no more than fit into one message.
    commands: Vec<Command>,
    bytes: usize,
}

impl State {
    /// Keeps a command until connect is answered. Returns whether more may come.
    pub(super) fn hold(&mut self, key: SlotKey, command: Command) -> bool {
        let held = self.held.entry(key).or_default();
        held.bytes += command.encoded_len();
        if held.commands.len() >= MAX_HELD || held.bytes > self.rules.client.message_size_limit.0 {
            self.close(key, disconnect::TOO_MANY_REQUESTS);
            return false;
        }
        held.commands.push(command);
        true
    }

    /// The client is who it says. It is connected when all its server-side subscriptions are live; nothing
    /// reaches it before.
    pub(super) fn connect(&mut self, key: SlotKey, id: u32, replies: &mut Replies) {
        let Some(connection) = self.connections.get(key) else { return };
        if connection.is_blocked() {
            // Only pings are answered before, and nobody who reads has so many of them unread. What comes next
            // would have to wait for the rest of what has begun to go out.
            connection.session.failed();
            return self.close(key, disconnect::SLOW);
        }
        let Some(identity) = connection.session.identity().cloned() else {
            return self.connected(key, id, replies);
        };
        if !identity.user.is_empty() {
            if !self.rules.admission.enter_user(&identity.user) {
                return self.close(key, disconnect::CONNECTION_LIMIT);
            }
            connection.profile.holds_place = true;
        }
        self.connections.hold_back(key);
        let mut missing = 0;
        if let Ok(channel) = ChannelName::personal(&identity.user) {
            missing += usize::from(!self.subscribe(key, channel, Purpose::Connect, None));
        }
        for granted in &identity.subscriptions {
            let (channel, grant) = (granted.channel.clone(), Some(Grant::from(granted)));
            missing += usize::from(!self.subscribe(key, channel, Purpose::Connect, grant));
        }
        if missing == 0 {
            return self.connected(key, id, replies);
        }
        self.held.insert(key, Held { connect: id, missing, ..Held::default() });
        self.set_due(key, CONNECT_WAIT);
    }

    /// One more server-side subscription of a connect is live.
    pub(super) fn connect_has_joined(&mut self, key: SlotKey) {
        let Some(held) = self.held.get_mut(&key) else { return };
        held.missing = held.missing.saturating_sub(1);
        if held.missing > 0 {
            return;
        }
        let id = held.connect;
        let Some(connection) = self.connections.get(key) else { return };
        let mut replies = Replies::new(connection.manner.encoding);
        self.connected(key, id, &mut replies);
        self.write_replies(key, &replies);
    }

    fn connected(&mut self, key: SlotKey, id: u32, replies: &mut Replies) {
        if self.is_revoked(key) {
            self.held.remove(&key);
            return self.close(key, disconnect::INVALID_TOKEN);
        }
        let interval = self.rules.client.ping_interval.0;
        let subs = self.server_subscriptions(key);
        let Some(connection) = self.connections.get(key) else { return };
        let now = SystemTime::now();
        connection.session.connected();
        connection.profile.connected_at = u32::try_from(unix_seconds(now)).unwrap_or(u32::MAX);
        let ttl = seconds_left(connection.session.expires_at(), now);
        let frame_pings = connection.manner.frame_pings;
        let connect = ConnectResult {
            client: connection.id.to_string(),
            version: VERSION.to_owned(),
            ping: if frame_pings { 0 } else { u32::try_from(interval.as_secs()).unwrap_or(u32::MAX) },
            pong: !frame_pings,
            expires: ttl.is_some(),
            ttl: ttl.unwrap_or(0),
            subs,
            ..Default::default()
        };
        replies.add(&Reply { id, connect: Some(connect), ..Default::default() });
        let first = Framed::message(replies.encoding.is_text(), &std::mem::take(&mut replies.message));
        self.connections.release(key, first.bytes());
        self.metrics.clients.connects.inc();
        self.metrics.clients.connections.inc();
        // The first ping comes at a random time, so that pings of a reconnect storm spread.
        self.set_due(key, interval.mul_f64(rand::random_range(0.5..1.0)));
        self.arm_expiry(key);
        for command in self.held.remove(&key).unwrap_or_default().commands {
            if !self.command(key, command, replies) {
                break;
            }
        }
    }

    /// A revocation may have come while the connect was under way: a node that has just started learns of those
    /// before it follows anything.
    fn is_revoked(&mut self, key: SlotKey) -> bool {
        let identity = self.connections.get(key).and_then(|connection| connection.session.identity());
        let issued_at = identity.and_then(|identity| Some((identity.user.clone(), identity.issued_at?)));
        issued_at.is_some_and(|(user, issued_at)| self.rules.revocations.refuse(&user, issued_at))
    }

    /// What the client is told it is subscribed to.
    fn server_subscriptions(&mut self, key: SlotKey) -> Vec<ServerSubscription> {
        let Some(connection) = self.connections.get(key) else { return Vec::new() };
        let encoding = connection.manner.encoding;
        let shows = |channel: &ChannelName| !channel.is_personal() || self.rules.client.user_personal_channel;
        let subscriptions = connection.subscriptions.iter().filter_map(|subscription| {
            let channel = self.hub.name(subscription.channel).filter(|channel| shows(channel))?;
            let data = connection.grants.find(subscription.channel).map(|grant| grant.data.clone());
            let data = data.filter(|data| can_be_written(data, encoding)).unwrap_or_default();
            let value = Some(SubscribeResult { data, ..Default::default() });
            Some(ServerSubscription { key: channel.as_str().to_owned(), value })
        });
        subscriptions.collect()
    }

    /// A connect has waited too long.
    pub(super) fn connect_is_late(&mut self, key: SlotKey) {
        let id = self.held.get(&key).map_or(0, |held| held.connect);
        self.connect_failed(key, id);
    }

    /// A server-side subscription of a connect could not be made.
    pub(super) fn connect_cannot_join(&mut self, key: SlotKey) {
        if let Some(held) = self.held.get(&key) {
            self.connect_failed(key, held.connect);
        }
    }

    /// Connect could not be completed: the client is told to try again.
    fn connect_failed(&mut self, key: SlotKey, id: u32) {
        self.held.remove(&key);
        self.end_subscriptions(key);
        self.leave_user(key);
        self.connections.drop_queue(key, &mut self.book);
        let Some(connection) = self.connections.get(key) else { return };
        connection.session.failed();
        let mut replies = Replies::new(connection.manner.encoding);
        replies.add(&failed(id, error::INTERNAL));
        let first = Framed::message(replies.encoding.is_text(), &replies.message);
        self.connections.release(key, first.bytes());
        self.set_due(key, self.rules.client.stale_close_delay.0);
    }
}

/// Bytes that are no JSON are nothing that a JSON client can be told.
fn can_be_written(data: &Bytes, encoding: Encoding) -> bool {
    encoding == Encoding::Protobuf || serde_json::from_slice::<&serde_json::value::RawValue>(data).is_ok()
}
