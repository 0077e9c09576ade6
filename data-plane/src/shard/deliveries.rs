//! What a shard does with what comes from links: publications, answers to what clients have asked.

use std::time::Duration;

use bytes::Bytes;
use fanfare_cluster::connection_id::ConnectionId;
use fanfare_proto::client::{HistoryResult, PresenceResult, PresenceStatsResult, PublishResult, Reply};

use super::SlotKey;
use super::clock::ticks;
use super::delivery::{Delivery, Sockets as _, Swept, Written};
use super::handle::{Reply as Answered, ToShard};
use super::replies::failed;
use super::state::State;
use crate::codes::error;
use crate::publication::{client_info, client_publication, message_frame};

impl State {
    /// Takes what came to the shard.
    pub(crate) fn take(&mut self, next: ToShard) {
        match next {
            // That needs more than a state: its handshake is a task.
            ToShard::Socket(_) => {}
            ToShard::Act(act) => self.act_on(&act),
            ToShard::Inspect { id, asked } => self.inspect(id, asked),
            ToShard::Joined { channel, ticket, position } => self.joined(&channel, ticket, position),
            ToShard::Top { channel, position } => self.hub.top(&channel, position),
            ToShard::Recovered { channel, ticket, answer } => self.recovered(&channel, ticket, &answer),
            ToShard::RecoverFailed { channel, ticket } => self.recover_failed(&channel, ticket),
            ToShard::Announce { round, from } => self.announce(round, from),
            ToShard::List(piece) => self.list(&piece),
            ToShard::JoinFailed { channel, ticket } => self.join_failed(&channel, ticket),
            ToShard::Deliver { delivery, receipt_within } => self.deliver(delivery, receipt_within),
            ToShard::DeliverTo { id, data, receipt, receipt_within } => {
                self.deliver_to(id, data, receipt, receipt_within);
            }
            ToShard::Answered { key, id, reply } => self.answered(key, id, reply),
            ToShard::Stop => self.stop(),
        }
    }

    /// An owner has answered what a client has asked it.
    pub(crate) fn answered(&mut self, key: SlotKey, id: u32, answer: Answered) {
        let Some(encoding) = self.connections.get(key).map(|connection| connection.manner.encoding) else {
            return;
        };
        let reply = match answer {
            Answered::Failed(code) => failed(id, error::of_owner(code)),
            Answered::Published => Reply { id, publish: Some(PublishResult {}), ..Default::default() },
            Answered::History { publications, position } => {
                let publications = publications.iter().map(|one| client_publication(one, encoding)).collect();
                let (epoch, offset) = (position.epoch.to_string(), position.offset);
                let history = Some(HistoryResult { publications, epoch, offset });
                Reply { id, history, ..Default::default() }
            }
            Answered::Presence(members) => {
                let infos = members.iter().map(|member| client_info(member, encoding));
                let presence = infos.map(|info| (info.client.clone(), info)).collect();
                Reply { id, presence: Some(PresenceResult { presence }), ..Default::default() }
            }
            Answered::PresenceStats { connections, users } => {
                let stats = PresenceStatsResult { num_clients: connections, num_users: users };
                Reply { id, presence_stats: Some(stats), ..Default::default() }
            }
        };
        self.reply(key, &reply);
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

    /// Goes on with what is to be delivered, for up to so many subscribers.
    pub(crate) fn sweep(&mut self, visits: usize) {
        let swept = self.hub.sweep(visits, &mut self.connections, &mut self.book);
        self.count(swept);
    }

    /// Counts what has been delivered.
    pub(super) fn count(&self, Swept { deliveries, bytes }: Swept) {
        self.metrics.deliveries.deliveries.inc_by(deliveries);
        self.metrics.deliveries.bytes.inc_by(bytes);
    }
}
