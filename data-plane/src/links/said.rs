//! What a replica says on its link, and which shards it concerns.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use fanfare_cluster::channel::{ChannelName, Epoch, StreamPosition};
use fanfare_cluster::connection_id::ConnectionId;
use fanfare_cluster::member::MemberId;
use fanfare_proto::link::{self, open_response};
use tracing::debug;

use super::ShardIndex;
use super::junction::Junction;
use super::node_receipts::Asked;
use crate::codes::error::INTERNAL;
use crate::publication::Publication;
use crate::shard::{Counts, Delivery, Reply, ToShard};

impl Junction {
    pub(super) fn take_message(&mut self, replica: &MemberId, session: u64, message: open_response::Message) {
        use open_response::Message;
        match message {
            Message::Deliver(deliver) => self.deliver(replica, session, deliver),
            Message::DeliverConnection(deliver) => self.deliver_connection(replica, session, deliver),
            Message::Following(link::Following { channel, position }) => {
                if let Ok(channel) = ChannelName::parse(&channel) {
                    let mut actions = Vec::new();
                    let position = position.map(Into::into);
                    self.follows.following(replica, &channel, position, &mut actions);
                    self.carry_out(actions);
                }
            }
            Message::Top(link::Top { channel, position }) => {
                if let Ok(channel) = ChannelName::parse(&channel) {
                    let mut actions = Vec::new();
                    self.follows.top(replica, &channel, position.map(Into::into), &mut actions);
                    self.carry_out(actions);
                }
            }
            Message::Published(published) => {
                self.answered(published.ticket, Reply::to_publish(published));
            }
            Message::HistoryRead(read) => self.answered(read.ticket, Reply::history(read)),
            Message::PresenceRead(read) => self.presence_answered(read),
            Message::Recovered(recovered) => {
                self.with_recoveries(|all, around, actions| {
                    all.answered(replica, recovered, around, actions);
                });
            }
            Message::NotOwner(link::NotOwner { channel, ticket, .. }) => {
                self.not_owner(replica, &channel, ticket);
            }
            Message::Joined(link::Joined { channel, member }) => {
                self.tell_presence(&channel, member, true);
            }
            Message::Left(link::Left { channel, member }) => self.tell_presence(&channel, member, false),
            Message::ListConnections(list) => self.list_connections(session, list),
            Message::Act(act) => self.act(replica, session, act),
            Message::Inspect(inspect) => self.inspect(replica, session, &inspect),
            Message::Revocations(link::Revocations { revocations }) => {
                self.rules().revocations.add(revocations);
            }
            Message::Welcome(_) => {}
        }
    }

    /// A replica does not own a channel, so it has not done what it was asked.
    fn not_owner(&mut self, replica: &MemberId, channel: &str, ticket: u64) {
        debug!(%replica, channel, "the replica does not own the channel");
        if ticket != 0 {
            let mut waits = false;
            self.with_recoveries(|all, around, actions| waits = all.refused(ticket, around, actions));
            if !waits {
                self.answered(ticket, Reply::Failed(INTERNAL.code.into()));
            }
        } else if let Ok(channel) = ChannelName::parse(channel) {
            let mut actions = Vec::new();
            self.follows.not_owner(replica, &channel, &mut actions);
            self.carry_out(actions);
        }
    }

    fn deliver(&mut self, replica: &MemberId, session: u64, deliver: link::Deliver) {
        let (Ok(channel), Some(wire)) = (ChannelName::parse(&deliver.channel), deliver.publication) else {
            return;
        };
        self.metrics.deliveries.publications.inc();
        let epoch = Epoch(deliver.epoch);
        let position = (wire.offset > 0).then_some(StreamPosition { epoch, offset: wire.offset });
        let shards: Vec<ShardIndex> = self.follows.deliver(&channel, position).collect();
        let asked = Asked { session, id: deliver.receipt };
        if shards.is_empty() {
            return self.answer(replica, asked, Counts::default());
        }
        let receipt = self.open_receipt(asked, shards.len());
        let exclude = deliver.exclude.iter().filter_map(|id| ConnectionId::try_from(&id[..]).ok()).collect();
        // Who does not know of personal channels gets their publications as messages.
        let as_message = channel.is_personal() && !self.rules().client.user_personal_channel;
        let publication = match as_message {
            true => Publication::message(channel, wire, epoch),
            false => Publication::new(channel, wire, epoch),
        };
        let delivery = Delivery { publication: Arc::new(publication), exclude, receipt, for_some: false };
        let receipt_within = Duration::from_millis(deliver.receipt_within_ms.into());
        for shard in shards {
            self.for_shard(shard, ToShard::Deliver { delivery: delivery.clone(), receipt_within });
        }
    }

    fn deliver_connection(&mut self, replica: &MemberId, session: u64, deliver: link::DeliverConnection) {
        let Ok(id) = ConnectionId::try_from(&deliver.connection[..]) else { return };
        let asked = Asked { session, id: deliver.receipt };
        if usize::from(id.shard()) >= self.shard_count() {
            return self.answer(replica, asked, Counts::default());
        }
        let receipt = self.open_receipt(asked, 1);
        let receipt_within = Duration::from_millis(deliver.receipt_within_ms.into());
        let data: Bytes = deliver.data;
        self.for_shard(ShardIndex(id.shard()), ToShard::DeliverTo { id, data, receipt, receipt_within });
    }
}
