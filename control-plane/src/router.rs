//! Where a push goes: to the owner of its channel, or straight to the node of its connection.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use fanfare_cluster::channel::ChannelName;
use fanfare_cluster::connection_id::ConnectionId;
use fanfare_cluster::member::MemberId;
use fanfare_cluster::registry::MembershipWatch;
use fanfare_proto::link::{self, open_response};
use fanfare_proto::v1::GapReason;
use smallvec::SmallVec;
use tokio::sync::oneshot;

use crate::links::{Link, Links};
use crate::metrics::Metrics;
use crate::owner::SessionId;
use crate::owners::{Owners, Placed, Publish};
use crate::push::{Push, PushError, Target, Wait};
use crate::receipts::{Counts, Receipts, Ticket};

/// How long an owner may take to give a publication its place.
const PLACING: Duration = Duration::from_secs(5);

/// What became of a push.
#[derive(Debug, Default)]
pub(crate) struct Receipt {
    pub(crate) nodes_asked: usize,
    pub(crate) counts: Counts,
    pub(crate) user_offline: bool,
    pub(crate) gaps: Vec<(MemberId, GapReason)>,
}

/// The way of all pushes.
#[derive(Debug)]
pub(crate) struct Router {
    me: MemberId,
    owners: Owners,
    links: Arc<Links>,
    receipts: Arc<Receipts>,
    membership: Mutex<MembershipWatch>,
    metrics: Metrics,
}

impl Router {
    pub(crate) fn new(
        me: MemberId,
        owners: Owners,
        links: Arc<Links>,
        receipts: Arc<Receipts>,
        membership: MembershipWatch,
    ) -> Self {
        let metrics = links.metrics().clone();
        Self { me, owners, links, receipts, membership: Mutex::new(membership), metrics }
    }

    /// Carries out a push.
    pub(crate) async fn publish(&self, push: Push) -> Result<Receipt, PushError> {
        match push.target {
            Target::Channel(channel) => {
                self.to_channel(channel, push.publication, push.exclude, push.wait).await
            }
            Target::User(channel) => {
                // Who is excluded is online all the same.
                let waited = push.wait.is_some() && push.exclude.is_empty();
                let mut receipt = self.to_channel(channel, push.publication, push.exclude, push.wait).await?;
                let Counts { written, pending, cut } = receipt.counts;
                let nobody = if waited { written + pending + cut == 0 } else { receipt.nodes_asked == 0 };
                receipt.user_offline = nobody && receipt.gaps.is_empty();
                Ok(receipt)
            }
            Target::Connection(id) => self.to_connection(id, push.publication.data, push.wait).await,
        }
    }

    /// A channel is published to here only if this replica owns it.
    pub(crate) fn owns(&self, channel: &ChannelName) -> bool {
        self.membership().placement.owner(channel) == Some(&self.me)
    }

    async fn to_channel(
        &self,
        channel: ChannelName,
        publication: link::Publication,
        exclude: Vec<Bytes>,
        wait: Option<Wait>,
    ) -> Result<Receipt, PushError> {
        if !self.owns(&channel) {
            return Err(PushError::NoOwner);
        }
        let ticket = wait.map(|wait| (self.receipts.open(), wait));
        let (placed, placing) = oneshot::channel();
        let receipt = ticket.as_ref().map(|(ticket, wait)| (ticket.id(), milliseconds(wait.sockets)));
        self.owners.publish(Publish { channel, publication, exclude, receipt, placed })?;
        let placed = match tokio::time::timeout(PLACING, placing).await {
            Ok(Ok(placed)) => placed,
            _ => return Err(PushError::Busy),
        };
        Ok(self.receipt(placed, ticket).await)
    }

    async fn to_connection(
        &self,
        id: ConnectionId,
        data: Bytes,
        wait: Option<Wait>,
    ) -> Result<Receipt, PushError> {
        let link = self.links.of_connection(id.node_tag()).ok_or(PushError::UnknownConnection)?;
        let ticket = wait.map(|wait| (self.receipts.open(), wait));
        let (receipt, receipt_within_ms) =
            ticket.as_ref().map_or((0, 0), |(ticket, wait)| (ticket.id(), milliseconds(wait.sockets)));
        let connection = Bytes::copy_from_slice(id.as_bytes());
        link.send(open_response::Message::DeliverConnection(link::DeliverConnection {
            connection,
            data,
            receipt,
            receipt_within_ms,
        }));
        let placed = Placed { links: SmallVec::from_iter([link]), catching_up: Vec::new() };
        let mut receipt = self.receipt(placed, ticket).await;
        receipt.gaps.retain(|(_, reason)| *reason == GapReason::Silent);
        Ok(receipt)
    }

    /// Waits for what the nodes say, if the push asked for it, and names those whose part is missing.
    async fn receipt(&self, placed: Placed, ticket: Option<(Ticket, Wait)>) -> Receipt {
        let mut gaps = self.unreachable();
        self.metrics.link_lost.inc_by(gaps.len() as u64);
        gaps.extend(placed.catching_up.into_iter().map(|node| (node, GapReason::CatchingUp)));
        let mut counts = Counts::default();
        if let Some((ticket, wait)) = ticket {
            let sessions: SmallVec<[SessionId; 4]> = placed.links.iter().map(Link::session).collect();
            let outcome = ticket.wait(&sessions, wait.nodes).await;
            counts = outcome.counts;
            for link in placed.links.iter().filter(|link| outcome.silent.contains(&link.session())) {
                gaps.retain(|(other, _)| other != link.node());
                gaps.push((link.node().clone(), GapReason::Silent));
            }
        }
        Receipt { nodes_asked: placed.links.len(), counts, user_offline: false, gaps }
    }

    /// A client has published: what nodes without a link miss is counted, as there is no receipt to say it.
    pub(crate) fn count_unreachable(&self) {
        self.metrics.link_lost.inc_by(self.unreachable().len() as u64);
    }

    /// Nodes that are registered but have no link.
    fn unreachable(&self) -> Vec<(MemberId, GapReason)> {
        let membership = self.membership();
        let unlinked = membership.nodes.keys().filter(|node| !self.links.is_linked(node));
        unlinked.map(|node| (node.clone(), GapReason::Unreachable)).collect()
    }

    fn membership(&self) -> Arc<fanfare_cluster::registry::Membership> {
        self.membership.lock().unwrap_or_else(PoisonError::into_inner).current()
    }
}

fn milliseconds(duration: Duration) -> u32 {
    u32::try_from(duration.as_millis()).unwrap_or(u32::MAX)
}
