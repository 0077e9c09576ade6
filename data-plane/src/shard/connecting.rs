//! How a client's connect is completed: its server-side subscriptions first, then the answer, then what it sent meanwhile.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use fanfare_cluster::channel::{ChannelName, StreamPosition};
use fanfare_proto::client::{Command, ConnectResult, Reply, ServerSubscription, SubscribeResult};
use prost::Message;

use super::SlotKey;
use super::grants::Grant;
use super::replies::{Replies, failed};
use super::state::State;
use super::waiting::{Purpose, Waiting};
use crate::authenticator::unix_seconds;
use crate::codes::{disconnect, error};
use crate::frame::Framed;
use crate::publication::{MAX_GIVEN_BYTES, writable};
use crate::session::{seconds_left, server_side_wants};

/// How long a connect may wait for its server-side subscriptions.
const CONNECT_WAIT: Duration = Duration::from_secs(2);
/// Commands that may come while connect is under way, if `client.channel_limit` is not more.
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
    /// What the answer says of those that are.
    results: Vec<(u32, SubscribeResult)>,
    /// Bytes of publications in these.
    result_bytes: usize,
    /// Commands that came meanwhile: no more than fit into one message.
    commands: Vec<Command>,
    bytes: usize,
}

impl State {
    /// Keeps a command until connect is answered. Returns whether more may come.
    pub(super) fn hold(&mut self, key: SlotKey, command: Command) -> bool {
        let held = self.held.entry(key).or_default();
        held.bytes += command.encoded_len();
        // SDKs send all their subscribes right behind connect.
        let most = MAX_HELD.max(self.rules.client.channel_limit);
        if held.commands.len() >= most || held.bytes > self.rules.client.message_size_limit.0 {
            self.close(key, disconnect::TOO_MANY_REQUESTS);
            return false;
        }
        held.commands.push(command);
        true
    }

    /// The client is who it says. It is connected when all its server-side subscriptions are live; nothing
    /// reaches it before. `since` is what it has had of some of them.
    pub(super) fn connect(
        &mut self,
        key: SlotKey,
        id: u32,
        since: &BTreeMap<String, StreamPosition>,
        replies: &mut Replies,
    ) {
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
        self.held.insert(key, Held { connect: id, missing: 1, ..Held::default() });
        if let Ok(channel) = ChannelName::personal(&identity.user) {
            self.subscribe_for_connect(key, channel, None, since);
        }
        for granted in &identity.subscriptions {
            self.subscribe_for_connect(key, granted.channel.clone(), Some(Grant::from(granted)), since);
        }
        let Some(held) = self.held.get_mut(&key) else { return };
        held.missing -= 1;
        match held.missing {
            0 => self.connected(key, id, replies),
            _ => self.set_due(key, CONNECT_WAIT),
        }
    }

    fn subscribe_for_connect(
        &mut self,
        key: SlotKey,
        channel: ChannelName,
        grant: Option<Grant>,
        since: &BTreeMap<String, StreamPosition>,
    ) {
        let since = since.get(channel.as_str()).copied();
        let rules = self.rules.channels.of(&channel);
        let wants = rules.ok().and_then(|rules| server_side_wants(&rules.options, since));
        let waiting = Waiting { key, purpose: Purpose::Connect, wants };
        match self.subscribe(channel, waiting, grant) {
            Some((number, born)) => {
                let result = self.subscribe_result(number, &born, &[]);
                self.hold_result(key, number, result);
            }
            None => {
                if let Some(held) = self.held.get_mut(&key) {
                    held.missing += 1;
                }
            }
        }
    }

    /// Keeps what the answer to a connect will say of a subscription.
    pub(super) fn hold_result(&mut self, key: SlotKey, number: u32, mut result: SubscribeResult) {
        let Some(held) = self.held.get_mut(&key) else { return };
        let bytes: usize = result.publications.iter().map(Message::encoded_len).sum();
        if held.result_bytes > 0 && held.result_bytes + bytes > MAX_GIVEN_BYTES as usize {
            // All or nothing: the client is told that it has missed something.
            result.offset = result.publications.last().map_or(result.offset, |last| last.offset);
            result.recovered = false;
            result.publications.clear();
        } else {
            held.result_bytes += bytes;
        }
        held.results.push((number, result));
    }

    /// One more server-side subscription of a connect is live.
    pub(super) fn connect_has_joined(&mut self, key: SlotKey, number: u32, result: SubscribeResult) {
        self.hold_result(key, number, result);
        self.connect_lacks_one_less(key);
    }

    /// A connect has one server-side subscription less to wait for.
    pub(super) fn connect_lacks_one_less(&mut self, key: SlotKey) {
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
        let held = self.held.remove(&key).unwrap_or_default();
        if self.is_revoked(key) {
            return self.close(key, disconnect::INVALID_TOKEN);
        }
        let interval = self.rules.client.ping_interval.0;
        let entered: Vec<u32> = held.results.iter().map(|(number, _)| *number).collect();
        let subs = self.server_subscriptions(key, held.results);
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
        for number in entered {
            self.enter(key, number, false);
        }
        for command in held.commands {
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
    fn server_subscriptions(
        &mut self,
        key: SlotKey,
        results: Vec<(u32, SubscribeResult)>,
    ) -> Vec<ServerSubscription> {
        let Some(connection) = self.connections.get(key) else { return Vec::new() };
        let encoding = connection.manner.encoding;
        let shows = |channel: &ChannelName| !channel.is_personal() || self.rules.client.user_personal_channel;
        let subscriptions = results.into_iter().filter_map(|(number, result)| {
            // It may have ended meanwhile.
            connection.subscription(number)?;
            let channel = self.hub.name(number).filter(|channel| shows(channel))?;
            let data =
                connection.grants.find(number).map_or(Bytes::new(), |grant| writable(&grant.data, encoding));
            let value = Some(SubscribeResult { data, ..result });
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
