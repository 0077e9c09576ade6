//! What backends and operators do with connections: end, subscribe, unsubscribe, refresh, look at.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use fanfare_cluster::channel::ChannelName;
use fanfare_cluster::connection_id::ConnectionId;
use fanfare_proto::client::{Push, Refresh};
use fanfare_proto::link::{self, act::Action};

use super::SlotKey;
use super::state::State;
use super::waiting::{Purpose, Waiting};
use crate::codes::unsubscribe;
use crate::encoding::Encoding;
use crate::links::{Asked, FromShard};
use crate::session::{seconds_left, server_side_wants};

/// Whom an operation concerns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ActTarget {
    /// The members of a user's personal channel.
    Members(ChannelName),
    /// One connection.
    Connection(ConnectionId),
}

/// An operation on connections of the shard.
#[derive(Clone, Debug)]
pub(crate) struct Act {
    pub(crate) target: ActTarget,
    pub(crate) action: Arc<Action>,
    /// Connections that it does not concern.
    pub(crate) exclude: Arc<[ConnectionId]>,
    /// The receipt's number on this node, if somebody waits.
    pub(crate) receipt: Option<u64>,
}

impl State {
    /// Carries out an operation. What was published to its target before goes out first.
    pub(crate) fn act_on(&mut self, act: &Act) {
        let keys = match &act.target {
            ActTarget::Connection(id) => self.connections.by_id(*id).into_iter().collect(),
            ActTarget::Members(channel) => self.members(channel),
        };
        let (mut done, mut concerned) = (0, 0);
        for key in keys {
            let is_concerned = self.connections.get(key).is_some_and(|connection| {
                let here = connection.session.is_connected() || connection.session.is_connecting();
                here && !connection.closing && !act.exclude.contains(&connection.id)
            });
            if is_concerned {
                concerned += 1;
                done += u64::from(self.carry_out(key, &act.action));
            }
        }
        if let Some(receipt) = act.receipt {
            // Nothing waits: what is not done will not be.
            self.book.open(receipt, concerned, u32::MAX);
            self.book.written(receipt, done);
            self.book.cut(receipt, concerned as u64 - done);
        }
    }

    /// The connections of a personal channel, live or still connecting.
    fn members(&mut self, channel: &ChannelName) -> Vec<SlotKey> {
        let Some(number) = self.hub.find(channel.as_str()) else { return Vec::new() };
        let swept = self.hub.deliver_all(number, &mut self.connections, &mut self.book);
        self.count(swept);
        let slots = self.hub.slots(number).into_iter();
        let mut keys: Vec<SlotKey> = slots.filter_map(|slot| self.connections.key_of(slot)).collect();
        keys.extend(self.hub.waiting(number));
        keys
    }

    /// Returns whether anything was done or was so already.
    fn carry_out(&mut self, key: SlotKey, action: &Action) -> bool {
        match action {
            Action::Disconnect(link::Disconnect { code, reason }) => {
                let code = u16::try_from(*code).unwrap_or(crate::codes::disconnect::FORCED.code);
                self.close_with(key, code, reason);
                true
            }
            Action::Subscribe(link::Subscribe { channel }) => self.subscribe_for_backend(key, channel),
            Action::Unsubscribe(link::Unsubscribe { channel }) => {
                !channel.starts_with('#') && self.end_and_tell(key, channel, unsubscribe::SERVER)
            }
            Action::Refresh(link::Refresh { expires_at }) => {
                self.refresh_for_backend(key, *expires_at);
                true
            }
        }
    }

    fn subscribe_for_backend(&mut self, key: SlotKey, channel: &str) -> bool {
        let Ok(name) = ChannelName::parse(channel) else { return false };
        let number = self.hub.find(channel);
        let limit = self.rules.client.channel_limit;
        let Some(connection) = self.connections.get(key) else { return false };
        if name.is_personal() || self.rules.check_channel(&name, connection.manner.encoding).is_err() {
            return false;
        }
        if number.is_some_and(|number| connection.subscription(number).is_some()) {
            return true;
        }
        if connection.subscriptions.len() >= limit {
            return false;
        }
        let rules = self.rules.channels.of(&name);
        let wants = rules.ok().and_then(|rules| server_side_wants(&rules.options, None));
        let waiting = Waiting { key, purpose: Purpose::Backend, wants };
        if let Some((number, born)) = self.subscribe(name, waiting, None) {
            self.tell_subscribed(&born, number);
        }
        true
    }

    fn refresh_for_backend(&mut self, key: SlotKey, expires_at: u64) {
        let ends = (expires_at != 0).then_some(expires_at);
        let Some(connection) = self.connections.get(key) else { return };
        connection.session.expire_at(ends);
        self.arm_expiry(key);
        let ttl = seconds_left(ends, SystemTime::now());
        let refresh = Some(Refresh { expires: ttl.is_some(), ttl: ttl.unwrap_or(0) });
        self.push(key, Push { refresh, ..Default::default() });
    }

    /// Answers what is known of a connection.
    pub(crate) fn inspect(&mut self, id: ConnectionId, asked: Asked) {
        let known = self.connections.by_id(id).and_then(|key| self.describe(key));
        self.up.push(FromShard::Inspected { asked, connection: known.map(Box::new) });
    }

    pub(super) fn describe(&mut self, key: SlotKey) -> Option<link::ConnectionState> {
        let connection = self.connections.get(key)?;
        if !connection.session.is_connected() || connection.closing {
            return None;
        }
        let channels = connection.subscriptions.iter();
        let channels =
            channels.filter_map(|one| self.hub.name(one.channel)).map(ToString::to_string).collect();
        let remote = connection.socket().peer();
        let tls = connection.socket().is_tls();
        let identity = connection.session.identity();
        let sdk = connection.profile.sdk.as_deref().cloned().unwrap_or_default();
        Some(link::ConnectionState {
            user: connection.session.user().to_owned(),
            remote_address: remote.map_or(String::new(), |peer| peer.to_string()),
            protobuf: connection.manner.encoding == Encoding::Protobuf,
            tls,
            sdk_name: sdk.name,
            sdk_version: sdk.version,
            connected_at_ms: Duration::from_secs(connection.profile.connected_at.into()).as_millis() as u64,
            expires_at: connection.session.expires_at().unwrap_or(0),
            info: identity.map_or(Bytes::new(), |identity| identity.info.clone()),
            meta: identity.map_or(Bytes::new(), |identity| identity.meta.clone()),
            channels,
            queued_bytes: connection.queued_bytes() as u64,
        })
    }
}
