//! What a shard does with what comes from links: births of subscriptions, publications, answers to publishes.

use std::time::Duration;

use bytes::Bytes;
use fanfare_cluster::channel::ChannelName;
use fanfare_cluster::connection_id::ConnectionId;
use fanfare_proto::client::{PublishResult, Reply};

use super::SlotKey;
use super::clock::ticks;
use super::delivery::{Delivery, Sockets as _, Swept, Written};
use super::hub::{Purpose, Waiting};
use super::replies::{failed, subscribed};
use super::state::State;
use crate::codes::error;
use crate::publication::message_frame;

/// Subscribers that are served before others have their turn.
const SWEEP_STEP: usize = 256;

impl State {
    /// The owner has answered a client's publish; `code` is 0 if all is well.
    pub(crate) fn published(&mut self, key: SlotKey, id: u32, code: u32) {
        let reply = match code {
            0 => Reply { id, publish: Some(PublishResult {}), ..Default::default() },
            code if code == u32::from(error::TOO_MANY_REQUESTS.code) => failed(id, error::TOO_MANY_REQUESTS),
            _ => failed(id, error::INTERNAL),
        };
        self.reply(key, &reply);
    }

    /// The shard has joined a channel.
    pub(crate) fn joined(&mut self, channel: &ChannelName, ticket: u32) {
        let Some((number, live)) = self.hub.joined(channel, ticket) else { return };
        // All positions first: what a connection has sent meanwhile can end subscriptions of this very channel,
        // and then others move.
        for (Waiting { key, .. }, position) in &live {
            let connection = self.connections.get(*key);
            if let Some(subscription) = connection.and_then(|connection| connection.subscription(number)) {
                subscription.position = *position;
            }
        }
        for (Waiting { key, purpose }, _) in live {
            match purpose {
                Purpose::Subscribe { id } => {
                    let ttl = self.subscription_ttl(key, channel.as_str());
                    self.reply(key, &subscribed(id, ttl));
                }
                Purpose::Connect => self.connect_has_joined(key),
                Purpose::Backend => self.tell_subscribed(key, channel),
            }
        }
    }

    /// The shard could not join a channel in time.
    pub(crate) fn join_failed(&mut self, channel: &ChannelName, ticket: u32) {
        let Some((number, waited)) = self.hub.join_failed(channel, ticket) else { return };
        self.metrics.deliveries.channels.dec();
        for Waiting { key, purpose } in waited {
            let Some(connection) = self.connections.get(key) else { continue };
            connection.subscriptions.retain(|subscription| subscription.channel != number);
            connection.grants.remove(number);
            self.metrics.deliveries.subscriptions.dec();
            match purpose {
                Purpose::Subscribe { id } => self.reply(key, &failed(id, error::INTERNAL)),
                Purpose::Connect => self.connect_cannot_join(key),
                Purpose::Backend => {
                    tracing::debug!(%channel, "a backend's subscription could not be made: no owner");
                }
            }
        }
    }

    /// A publication has come for a channel's subscribers.
    pub(crate) fn deliver(&mut self, delivery: Delivery, receipt_within: Duration) {
        let due = self.wheel.now().saturating_add(ticks(receipt_within) + 1);
        self.hub.deliver(delivery, due, &mut self.book);
    }

    /// A message has come for one connection.
    pub(crate) fn deliver_to(
        &mut self,
        id: ConnectionId,
        data: Bytes,
        receipt: Option<u64>,
        within: Duration,
    ) {
        let due = self.wheel.now().saturating_add(ticks(within) + 1);
        let key = self.connections.by_id(id);
        let connection = key.and_then(|key| self.connections.get(key));
        let connection =
            connection.filter(|connection| connection.session.is_connected() && !connection.closing);
        if let Some(receipt) = receipt {
            self.book.open(receipt, usize::from(connection.is_some()), due);
        }
        let (Some(key), Some(connection)) = (key, connection) else { return };
        let receipts = receipt.as_slice();
        let written = match message_frame(connection.manner.encoding, data) {
            Some(frame) => self.connections.write(key.slot, frame.bytes(), receipts),
            None => Written::Cut,
        };
        if written != Written::Cut {
            self.metrics.deliveries.deliveries.inc();
        }
        if let Some(receipt) = receipt {
            match written {
                Written::Whole => self.book.written(receipt, 1),
                Written::Queued => {}
                Written::Cut => self.book.cut(receipt, 1),
            }
        }
    }

    /// Goes on with what is to be delivered.
    pub(crate) fn sweep(&mut self) {
        let swept = self.hub.sweep(SWEEP_STEP, &mut self.connections, &mut self.book);
        self.count(swept);
    }

    /// Counts what has been delivered.
    pub(super) fn count(&self, Swept { deliveries, bytes }: Swept) {
        self.metrics.deliveries.deliveries.inc_by(deliveries);
        self.metrics.deliveries.bytes.inc_by(bytes);
    }
}
