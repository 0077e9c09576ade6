//! Subscriptions of a shard's connections: how they begin, what tokens grant for them, how they end.

use std::time::{Duration, SystemTime};

use fanfare_cluster::channel::ChannelName;
use fanfare_proto::client::{Push, RefreshResult, Reply, SubRefreshResult, SubscribeResult, Unsubscribe};

use super::SlotKey;
use super::clock::ticks;
use super::connections::{NOT_LIVE, Subscription};
use super::grants::Grant;
use super::hub::Subscribed;
use super::replies::{Replies, subscribed};
use super::state::State;
use super::waiting::{Born, Purpose, Waiting};
use crate::authenticator::{SubscriptionGrant, unix_seconds};
use crate::codes::{Code, disconnect, unsubscribe};
use crate::links::FromShard;
use crate::session::seconds_left;

/// How far ahead an expiry is waited for at once: less than a turn of the wheel.
const LOOK_AGAIN: Duration = Duration::from_secs(40);

impl State {
    /// Subscribes a connection; returns how, if the subscription is live already.
    pub(super) fn subscribe(
        &mut self,
        channel: ChannelName,
        waiting: Waiting,
        grant: Option<Grant>,
    ) -> Option<(u32, Born)> {
        let Waiting { key, purpose, .. } = waiting;
        let subscribed = self.hub.subscribe(channel.clone(), waiting);
        let (number, born) = match subscribed {
            Subscribed::Live { channel, born } => (channel, Some(born)),
            Subscribed::Waits { channel: number, join } => {
                if let Some(ticket) = join {
                    self.metrics.deliveries.channels.inc();
                    self.up.push(FromShard::Join { channel, ticket });
                }
                (number, None)
            }
        };
        if let Some(connection) = self.connections.get(key) {
            connection.subscriptions.push(Subscription {
                channel: number,
                position: born.as_ref().map_or(NOT_LIVE, |born| born.index),
                since: 0,
                server_side: purpose.is_server_side(),
                by_backend: purpose == Purpose::Backend,
                member: false,
            });
            self.metrics.deliveries.subscriptions.inc();
            if let Some(grant) = grant {
                connection.grants.set(number, grant);
                self.arm_expiry(key);
            }
        }
        born.map(|born| (number, born))
    }

    /// A client subscribes: answers if the subscription is live already.
    pub(super) fn subscribe_client(
        &mut self,
        channel: ChannelName,
        waiting: Waiting,
        grant: Option<Grant>,
        replies: &mut Replies,
    ) {
        let purpose = waiting.purpose;
        let Some((number, born)) = self.subscribe(channel, waiting, grant) else { return };
        if let Purpose::Subscribe { id } = purpose {
            replies.add(&self.answer_subscribe(id, number, &born, &[]));
        }
    }

    /// When a subscription's token lets it end: seconds from now.
    pub(super) fn subscription_ttl(&mut self, key: SlotKey, number: u32) -> Option<u32> {
        let grant = self.connections.get(key)?.grants.find(number)?;
        seconds_left(grant.expires_at, SystemTime::now())
    }

    /// Returns what the subscription still waited for; `None` if it was live, or there was none.
    pub(super) fn unsubscribe(&mut self, key: SlotKey, channel: &str) -> Option<Purpose> {
        let subscription = self.take_subscription(key, self.hub.find(channel)?)?;
        self.end_subscription(key, subscription)
    }

    pub(super) fn take_subscription(&mut self, key: SlotKey, number: u32) -> Option<Subscription> {
        let connection = self.connections.get(key)?;
        let at = connection.subscriptions.iter().position(|subscription| subscription.channel == number)?;
        Some(connection.subscriptions.swap_remove(at))
    }

    /// Returns what the subscription still waited for.
    pub(super) fn end_subscription(&mut self, key: SlotKey, subscription: Subscription) -> Option<Purpose> {
        let Subscription { channel, position, member, .. } = subscription;
        self.metrics.deliveries.subscriptions.dec();
        if let Some(connection) = self.connections.get(key) {
            connection.grants.remove(channel);
        }
        if let Some(name) = self.hub.name(channel).filter(|_| member).cloned() {
            self.exit(key, name);
        }
        let waited = if position == NOT_LIVE {
            self.hub.stop_waiting(channel, key).map(|waiting| waiting.purpose)
        } else {
            self.hub.unsubscribe(channel, position, &mut self.connections, &mut self.book);
            None
        };
        self.leave_if_idle(channel);
        waited
    }

    /// The shard leaves a channel that nobody here wants any more.
    pub(super) fn leave_if_idle(&mut self, number: u32) {
        if let Some(channel) = self.hub.forget_if_idle(number) {
            self.metrics.deliveries.channels.dec();
            self.up.push(FromShard::Leave { channel });
        }
    }

    pub(super) fn end_subscriptions(&mut self, key: SlotKey) {
        let Some(connection) = self.connections.get(key) else { return };
        for subscription in std::mem::take(&mut connection.subscriptions) {
            self.end_subscription(key, subscription);
        }
    }

    /// Ends a subscription without the client's asking, and tells it so. Returns whether there was one.
    pub(super) fn end_and_tell(&mut self, key: SlotKey, channel: &str, code: Code) -> bool {
        let Some(number) = self.hub.find(channel) else { return false };
        let Some(subscription) = self.take_subscription(key, number) else { return false };
        match self.end_subscription(key, subscription) {
            // Every command has its reply, also one that the end has overtaken.
            Some(Purpose::Subscribe { id }) => self.reply(key, &subscribed(id, SubscribeResult::default())),
            // A connect does not wait for it any more, and does not tell of it.
            Some(Purpose::Connect) => {
                self.connect_lacks_one_less(key);
                return true;
            }
            Some(Purpose::Backend) | None => {}
        }
        let unsubscribe = Unsubscribe { code: code.code.into(), reason: code.reason.to_owned() };
        self.push(
            key,
            Push { channel: channel.to_owned(), unsubscribe: Some(unsubscribe), ..Default::default() },
        );
        true
    }

    /// The connection ends at another time: says when.
    pub(super) fn refreshed(&mut self, key: SlotKey, id: u32) -> Reply {
        self.arm_expiry(key);
        let ends = self.connections.get(key).and_then(|connection| connection.session.expires_at());
        let ttl = seconds_left(ends, SystemTime::now());
        let refresh = RefreshResult { expires: ttl.is_some(), ttl: ttl.unwrap_or(0), ..Default::default() };
        Reply { id, refresh: Some(refresh), ..Default::default() }
    }

    /// A subscription is granted anew: says when it ends.
    pub(super) fn sub_refreshed(&mut self, key: SlotKey, id: u32, grant: &SubscriptionGrant) -> Reply {
        let number = self.hub.find(grant.channel.as_str());
        if let (Some(number), Some(connection)) = (number, self.connections.get(key)) {
            connection.grants.set(number, Grant::from(grant));
        }
        self.arm_expiry(key);
        let ttl = seconds_left(grant.expires_at, SystemTime::now());
        let sub_refresh =
            SubRefreshResult { expires: ttl.is_some(), ttl: ttl.unwrap_or(0), ..Default::default() };
        Reply { id, sub_refresh: Some(sub_refresh), ..Default::default() }
    }

    /// Asks for a look at the connection when the first of what it was granted is over.
    pub(super) fn arm_expiry(&mut self, key: SlotKey) {
        let (late, sub_late) = self.expiry_delays();
        let Some(connection) = self.connections.get(key) else { return };
        let session = connection.session.expires_at().map(|at| at.saturating_add(late));
        let subscription = connection.grants.first_end().map(|at| at.saturating_add(sub_late));
        let Some(first) = session.into_iter().chain(subscription).min() else { return };
        let left = first.saturating_sub(unix_seconds(SystemTime::now()));
        // Far away it is enough to look again before the wheel has turned: entries of connections that are gone,
        // or that were refreshed meanwhile, then leave it with its next turn.
        let due = self.expiries.now() + ticks(LOOK_AGAIN.min(Duration::from_secs(left))) + 1;
        if connection.timers.expiry_armed != due {
            connection.timers.expiry_armed = due;
            self.expiries.add(key, due);
        }
    }

    /// Ends what was granted up to now, with the delays that the configuration gives.
    pub(super) fn look_at_expiry(&mut self, key: SlotKey) {
        let (late, sub_late) = self.expiry_delays();
        let now = unix_seconds(SystemTime::now());
        let Some(connection) = self.connections.get(key).filter(|connection| !connection.closing) else {
            return;
        };
        if connection.session.expires_at().is_some_and(|at| at.saturating_add(late) <= now) {
            return self.close(key, disconnect::EXPIRED);
        }
        for number in connection.grants.ended(now.saturating_sub(sub_late)) {
            if let Some(channel) = self.hub.name(number).cloned() {
                self.end_and_tell(key, channel.as_str(), unsubscribe::EXPIRED);
            }
        }
        self.arm_expiry(key);
    }

    fn expiry_delays(&self) -> (u64, u64) {
        let client = &self.rules.client;
        (client.expired_close_delay.0.as_secs(), client.expired_sub_close_delay.0.as_secs())
    }
}
