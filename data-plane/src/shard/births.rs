//! What happens when a subscription becomes live, and when the owner has said what it has missed.

use std::sync::Arc;

use fanfare_cluster::channel::{ChannelName, StreamPosition};
use fanfare_proto::client::{Push, Reply, Subscribe, SubscribeResult};

use super::SlotKey;
use super::channel::Answer;
use super::replies::{failed, subscribed};
use super::state::State;
use super::waiting::{Born, Purpose, Waiting};
use crate::codes::{disconnect, error, unsubscribe};
use crate::links::FromShard;
use crate::publication::Publication;

/// Subscribers that are told in a second that they have lost their continuity: their SDKs come back without delay.
const NOTICES_PER_SECOND: usize = 1_000;
/// What a publication takes in a reply beside its content, in bytes.
const PER_PUBLICATION: usize = 128;
/// Ticks in a second.
const TICKS: usize = 10;

impl State {
    /// The shard has joined a channel.
    pub(crate) fn joined(&mut self, channel: &ChannelName, ticket: u32, position: Option<StreamPosition>) {
        let Some((number, born)) = self.hub.joined(channel, ticket, position) else { return };
        self.begin(number, born, &[]);
    }

    /// The owner has said what was published after a position.
    pub(crate) fn recovered(&mut self, channel: &ChannelName, ticket: u64, answer: &Arc<Answer>) {
        let recovered = self.hub.recovered(channel, ticket, answer, &mut self.connections);
        let Some(recovered) = recovered else { return };
        self.count(recovered.swept);
        for slot in recovered.lost {
            if let Some(key) = self.connections.key_of(slot) {
                self.hub.lost.push_back((key, recovered.channel));
            }
        }
        self.begin(recovered.channel, recovered.born, &answer.publications);
    }

    /// The owner has not said it in time.
    pub(crate) fn recover_failed(&mut self, channel: &ChannelName, ticket: u64) {
        let Some((number, waiting)) = self.hub.recover_failed(channel, ticket) else { return };
        self.give_up(number, channel, waiting);
        self.leave_if_idle(number);
    }

    /// Subscriptions are live: everybody who waits is told.
    fn begin(&mut self, number: u32, born: Vec<Born>, publications: &[Arc<Publication>]) {
        // All places first: what a connection has sent meanwhile can end subscriptions of this very channel,
        // and then others move.
        for Born { waiting, index, .. } in &born {
            self.settle_in(waiting.key, number, *index);
        }
        for born in born {
            if self.hub.name(number).is_none() {
                return;
            }
            let key = born.waiting.key;
            if self.connections.get(key).is_none_or(|connection| connection.subscription(number).is_none()) {
                continue;
            }
            let born = self.unless_too_much(born, publications);
            match born.waiting.purpose {
                Purpose::Subscribe { id } => {
                    let reply = self.answer_subscribe(id, number, &born, publications);
                    self.reply(key, &reply);
                }
                Purpose::Connect => {
                    let result = self.subscribe_result(number, &born, publications);
                    self.connect_has_joined(key, number, result);
                }
                Purpose::Backend => self.tell_subscribed(&born, number),
            }
        }
    }

    /// What does not fit into the queue of a client that reads slowly is not recovered: it would be cut for it, and
    /// then again whenever it comes back.
    fn unless_too_much(&mut self, born: Born, publications: &[Arc<Publication>]) -> Born {
        let limit = self.rules.client.queue_max_size.0;
        let queued = self.connections.get(born.waiting.key).map_or(0, |connection| connection.queued_bytes());
        let bytes: usize =
            publications.iter().map(|publication| PER_PUBLICATION + publication.weight()).sum();
        let recovered = born.recovered.map(|recovered| recovered && queued + bytes <= limit);
        Born { recovered, ..born }
    }

    /// A subscription that waited has its place among the channel's subscribers.
    fn settle_in(&mut self, key: SlotKey, number: u32, index: u32) {
        let connection = self.connections.get(key);
        if let Some(subscription) = connection.and_then(|connection| connection.subscription(number)) {
            subscription.position = index;
        }
    }

    /// The answer to a subscribe whose subscription is live. It ends again if the client wants an error instead.
    pub(super) fn answer_subscribe(
        &mut self,
        id: u32,
        number: u32,
        born: &Born,
        publications: &[Arc<Publication>],
    ) -> Reply {
        let key = born.waiting.key;
        if is_refused(born) {
            let subscription = self.take_subscription(key, number);
            subscription.and_then(|subscription| self.end_subscription(key, subscription));
            return failed(id, error::UNRECOVERABLE_POSITION);
        }
        self.enter(key, number, false);
        subscribed(id, self.subscribe_result(number, born, publications))
    }

    /// What a client is told of its subscription.
    pub(super) fn subscribe_result(
        &mut self,
        number: u32,
        born: &Born,
        publications: &[Arc<Publication>],
    ) -> SubscribeResult {
        let wants = born.waiting.wants.as_deref().cloned().unwrap_or_default();
        let ttl = self.subscription_ttl(born.waiting.key, number);
        let mut result =
            SubscribeResult { expires: ttl.is_some(), ttl: ttl.unwrap_or(0), ..Default::default() };
        let Some(at) = born.at else { return result };
        result.positioned = wants.positioned;
        result.recoverable = wants.recoverable;
        result.was_recovering = born.recovered.is_some();
        if !wants.positioned {
            return result;
        }
        (result.epoch, result.offset) = (at.epoch.to_string(), at.offset);
        if born.recovered == Some(true) {
            let Some(connection) = self.connections.get(born.waiting.key) else { return result };
            let encoding = connection.manner.encoding;
            let wanted = |one: &&Arc<Publication>| {
                wants.filter.as_ref().is_none_or(|filter| one.is_wanted(filter))
                    && one.framed(encoding).is_some()
            };
            result.recovered = true;
            let wanted = publications.iter().filter(wanted);
            result.publications = wanted.filter_map(|one| one.to_client(encoding)).collect();
            if let (Some(since), false) = (wants.since, result.publications.is_empty()) {
                result.offset = since.offset;
            }
        }
        result
    }

    /// A backend's subscription is live: the client learns of it.
    pub(super) fn tell_subscribed(&mut self, born: &Born, number: u32) {
        let key = born.waiting.key;
        let result = self.subscribe_result(number, born, &[]);
        if self.connections.get(key).is_some_and(|connection| connection.session.is_connecting()) {
            // The answer to its connect will say so.
            return self.hold_result(key, number, result);
        }
        let Some(channel) = self.hub.name(number).map(ToString::to_string) else { return };
        let SubscribeResult { recoverable, epoch, offset, positioned, .. } = result;
        let subscribe = Subscribe { recoverable, epoch, offset, positioned, ..Default::default() };
        self.push(key, Push { channel, subscribe: Some(subscribe), ..Default::default() });
        self.enter(key, number, false);
    }

    /// The shard could not join a channel in time.
    pub(crate) fn join_failed(&mut self, channel: &ChannelName, ticket: u32) {
        let Some((number, waiting)) = self.hub.join_failed(channel, ticket) else { return };
        self.metrics.deliveries.channels.dec();
        self.give_up(number, channel, waiting);
    }

    /// Subscriptions could not be made: everybody who waits is told.
    fn give_up(&mut self, number: u32, channel: &ChannelName, waiting: Vec<Waiting>) {
        for Waiting { key, purpose, .. } in waiting {
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

    /// Tells some of those that have lost their continuity.
    pub(super) fn tell_lost(&mut self) {
        for _ in 0..NOTICES_PER_SECOND / TICKS {
            let Some((key, number)) = self.hub.lost.pop_front() else { return };
            if !self.hub.is_lost(number, key.slot) {
                continue;
            }
            let Some(connection) = self.connections.get(key) else { continue };
            let Some(subscription) = connection.subscription(number) else { continue };
            let server_side = subscription.server_side;
            self.metrics.deliveries.lost.inc();
            if server_side {
                self.close(key, disconnect::INSUFFICIENT_STATE);
            } else if let Some(channel) = self.hub.name(number).cloned() {
                self.end_and_tell(key, channel.as_str(), unsubscribe::INSUFFICIENT_STATE);
            }
        }
    }

    /// What owners are to be asked goes on its way.
    pub(super) fn ask_owners(&mut self) {
        for (channel, question) in self.hub.take_asks() {
            self.metrics.deliveries.recoveries.inc();
            self.up.push(FromShard::Recover { channel, question });
        }
    }
}

/// Whether a client wants an error in place of an incomplete recovery.
fn is_refused(born: &Born) -> bool {
    let all_or_nothing =
        born.waiting.wants.as_ref().is_some_and(|wants| wants.all_or_nothing && wants.since.is_some());
    all_or_nothing && born.recovered != Some(true)
}
