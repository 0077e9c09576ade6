//! The links to all nodes: who is linked, how messages get onto a link, and what a lost link took with it.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use fanfare_cluster::byte_queue::{Bounds, Receiver, Sender, TrySendError, Weighed, byte_queue};
use fanfare_cluster::member::{Incarnation, MemberId};
use fanfare_proto::link::{self, open_response};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::metrics::Metrics;
use crate::owner::SessionId;

/// Messages that may wait for one node, however small.
const LINK_ITEMS: usize = 65_536;

/// A message that waits for its node.
#[derive(Debug)]
pub(crate) struct Outgoing(pub(crate) open_response::Message);

impl Weighed for Outgoing {
    fn weight(&self) -> usize {
        // The struct itself is counted at a flat rate.
        const FLAT: usize = 128;
        FLAT + match &self.0 {
            open_response::Message::Deliver(deliver) => deliver.weight(),
            open_response::Message::DeliverConnection(deliver) => deliver.data.len(),
            open_response::Message::Act(act) => act.weight(),
            open_response::Message::Joined(link::Joined { channel, member })
            | open_response::Message::Left(link::Left { channel, member }) => {
                channel.len() + member.as_ref().map_or(0, Weight::weight)
            }
            open_response::Message::PresenceRead(read) => read.members.iter().map(Weight::weight).sum(),
            open_response::Message::Revocations(some) => {
                some.revocations.iter().map(|one| FLAT + one.user.len()).sum()
            }
            open_response::Message::Recovered(recovered) => weight_of_all(&recovered.publications),
            open_response::Message::HistoryRead(read) => weight_of_all(&read.publications),
            _ => 0,
        }
    }
}

fn weight_of_all(publications: &[link::Publication]) -> usize {
    const FLAT: usize = 128;
    publications.iter().map(|publication| FLAT + publication.weight()).sum()
}

/// About how many bytes a message of the link holds on to.
pub(crate) trait Weight {
    fn weight(&self) -> usize;
}

impl Weight for link::Act {
    fn weight(&self) -> usize {
        const PER_EXCLUDED: usize = 48;
        let named = match &self.target {
            Some(link::act::Target::Channel(channel)) => channel.len(),
            _ => 0,
        };
        let said = match &self.action {
            Some(link::act::Action::Disconnect(disconnect)) => disconnect.reason.len(),
            Some(link::act::Action::Subscribe(subscribe)) => subscribe.channel.len(),
            Some(link::act::Action::Unsubscribe(unsubscribe)) => unsubscribe.channel.len(),
            Some(link::act::Action::Refresh(_)) | None => 0,
        };
        named + said + self.exclude.len() * PER_EXCLUDED
    }
}

impl Weight for link::Member {
    fn weight(&self) -> usize {
        // The id, and what surrounds the fields.
        const FLAT: usize = 40;
        FLAT + self.user.len() + self.info.len() + self.channel_info.len()
    }
}

/// What a node has said of itself.
#[derive(Clone, Debug, Default)]
pub(crate) struct NodeReport {
    pub(crate) version: String,
    pub(crate) connections: u64,
    pub(crate) capacity: u64,
    /// When it last said how many connections it has.
    pub(crate) at: Option<SystemTime>,
}

/// One node's link session; cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Link(Arc<LinkState>);

#[derive(Debug)]
struct LinkState {
    session: SessionId,
    node: MemberId,
    incarnation: Incarnation,
    /// The session's number as the node knows it.
    wire_session: u64,
    queue: Sender<Outgoing>,
    /// Messages handed to the queue, which are numbered as they leave it.
    handed: AtomicU64,
    cut: CancellationToken,
    report: Mutex<NodeReport>,
    metrics: Metrics,
}

impl Link {
    pub(crate) fn session(&self) -> SessionId {
        self.0.session
    }

    pub(crate) fn node(&self) -> &MemberId {
        &self.0.node
    }

    /// The start of the node that it leads to.
    pub(crate) fn incarnation(&self) -> Incarnation {
        self.0.incarnation
    }

    /// Queues a message for the node. A link that is full is cut, never thinned: the node dials again.
    pub(crate) fn send(&self, message: open_response::Message) {
        self.0.handed.fetch_add(1, Ordering::Relaxed);
        let full = matches!(self.0.queue.try_send(Outgoing(message)), Err(TrySendError::Full(_)));
        if full && !self.0.cut.is_cancelled() {
            warn!(node = %self.0.node, "too much waits for the node: its link is cut");
            self.0.metrics.link_cuts.inc();
            self.0.cut.cancel();
        }
    }

    /// Queues a message for the node and waits for room, as long as the link lives.
    pub(crate) async fn send_when_there_is_room(&self, message: open_response::Message) {
        self.0.handed.fetch_add(1, Ordering::Relaxed);
        tokio::select! {
            () = self.0.cut.cancelled() => {}
            // If the other side is gone, so is the link.
            _ = self.0.queue.send(Outgoing(message)) => {}
        }
    }

    /// Whether so much waits for the node that those who can wait should.
    pub(crate) fn is_pressed(&self) -> bool {
        !self.0.cut.is_cancelled() && self.0.queue.is_half_full()
    }

    /// What the node has said of itself.
    pub(crate) fn report(&self) -> NodeReport {
        self.lock_report().clone()
    }

    /// The node says how it stands.
    pub(crate) fn take_load(&self, load: link::Load) {
        let mut report = self.lock_report();
        report.connections = load.connections;
        report.capacity = load.capacity;
        report.at = Some(SystemTime::now());
    }

    fn lock_report(&self) -> MutexGuard<'_, NodeReport> {
        // Plain values, whole at any moment.
        self.0.report.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Is cancelled when the link shall end.
    pub(crate) fn ended(&self) -> &CancellationToken {
        &self.0.cut
    }
}

/// All links of this replica.
#[derive(Debug)]
pub(crate) struct Links {
    state: Mutex<State>,
    queue_bytes: usize,
    metrics: Metrics,
}

#[derive(Debug, Default)]
struct State {
    last_session: u64,
    by_node: HashMap<MemberId, Link>,
    by_tag: HashMap<u32, Link>,
    /// The last session of each node, to count at its next hello what was handed to it and never seen.
    ended: HashMap<MemberId, Link>,
}

impl Links {
    pub(crate) fn new(queue_bytes: usize, metrics: Metrics) -> Self {
        Self { state: Mutex::default(), queue_bytes, metrics }
    }

    /// A node has dialled and is welcomed before anybody else can say something to it. An older session of the
    /// same node ends.
    pub(crate) fn open(
        &self,
        hello: &link::Hello,
        node: &MemberId,
        welcome: link::Welcome,
    ) -> (Link, Receiver<Outgoing>) {
        // queue: link to a node
        let (queue, outgoing) = byte_queue(Bounds { items: LINK_ITEMS, bytes: self.queue_bytes });
        let incarnation = Incarnation::from_wire(hello.incarnation);
        let report = NodeReport {
            version: hello.fanfare_version.clone(),
            capacity: hello.capacity,
            ..Default::default()
        };
        let mut state = self.lock();
        state.last_session += 1;
        let link = Link(Arc::new(LinkState {
            session: SessionId(state.last_session),
            node: node.clone(),
            incarnation,
            wire_session: hello.session,
            queue,
            handed: AtomicU64::new(0),
            cut: CancellationToken::new(),
            report: Mutex::new(report),
            metrics: self.metrics.clone(),
        }));
        link.send(open_response::Message::Welcome(welcome));
        if let Some(older) = state.by_node.insert(node.clone(), link.clone()) {
            info!(%node, "the node has dialled anew: its older link ends");
            older.ended().cancel();
            state.forget(&older);
        }
        state.by_tag.insert(incarnation.tag(), link.clone());
        if let Some(last) = state.ended.remove(node)
            && last.0.wire_session == hello.last_session
        {
            let handed = last.0.handed.load(Ordering::Relaxed);
            self.metrics.link_lost.inc_by(handed.saturating_sub(hello.last_sequence));
        }
        self.metrics.links.set(state.by_node.len() as i64);
        (link, outgoing)
    }

    /// A session has ended.
    pub(crate) fn close(&self, link: &Link) {
        link.ended().cancel();
        let mut state = self.lock();
        if state.by_node.get(link.node()).is_some_and(|other| other.session() == link.session()) {
            state.by_node.remove(link.node());
        }
        state.forget(link);
        self.metrics.links.set(state.by_node.len() as i64);
    }

    /// The link to the node that holds a connection.
    pub(crate) fn of_connection(&self, node_tag: u32) -> Option<Link> {
        self.lock().by_tag.get(&node_tag).cloned()
    }

    /// The counters of this replica.
    pub(crate) fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// The link to a node.
    pub(crate) fn of_node(&self, node: &MemberId) -> Option<Link> {
        self.lock().by_node.get(node).cloned()
    }

    /// Every link there is.
    pub(crate) fn all(&self) -> Vec<Link> {
        self.lock().by_node.values().cloned().collect()
    }

    /// Those of the nodes that have no link.
    pub(crate) fn unlinked<'a>(&self, nodes: impl Iterator<Item = &'a MemberId>) -> Vec<MemberId> {
        let state = self.lock();
        nodes.filter(|node| !state.by_node.contains_key(*node)).cloned().collect()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Each change leaves the maps whole, so a panic elsewhere cannot have broken them.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn forget(&mut self, link: &Link) {
        let tag = link.0.incarnation.tag();
        if self.by_tag.get(&tag).is_some_and(|other| other.session() == link.session()) {
            self.by_tag.remove(&tag);
        }
        self.ended.insert(link.node().clone(), link.clone());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hello(session: u64, last_session: u64, last_sequence: u64) -> link::Hello {
        link::Hello { incarnation: 7 << 32, session, last_session, last_sequence, ..Default::default() }
    }

    fn message() -> open_response::Message {
        open_response::Message::Following(link::Following::default())
    }

    fn welcome() -> link::Welcome {
        link::Welcome::default()
    }

    #[test]
    fn a_full_link_is_cut_and_what_was_lost_is_counted_at_the_next_hello() {
        let metrics = Metrics::default();
        let links = Links::new(300, metrics.clone());
        let node: MemberId = "node".parse().unwrap();
        let (link, mut outgoing) = links.open(&hello(1, 0, 0), &node, welcome());
        link.send(message());
        assert!(!link.ended().is_cancelled());
        assert!(outgoing.try_recv().is_some(), "the node has seen one");
        link.send(message());
        link.send(message());
        assert!(link.ended().is_cancelled());
        links.close(&link);
        assert!(links.of_connection(7).is_none());
        links.open(&hello(2, 1, 1), &node, welcome());
        assert_eq!((metrics.link_cuts.get(), metrics.link_lost.get()), (1, 3));
    }

    #[test]
    fn a_node_that_dials_anew_ends_its_older_session() {
        let links = Links::new(1 << 20, Metrics::default());
        let node: MemberId = "node".parse().unwrap();
        let (older, _queue) = links.open(&hello(1, 0, 0), &node, welcome());
        let (newer, _queue) = links.open(&hello(2, 1, 0), &node, welcome());
        assert!(older.ended().is_cancelled() && !newer.ended().is_cancelled());
        links.close(&older);
        assert_eq!(links.of_connection(7).map(|link| link.session()), Some(newer.session()));
        assert!(links.of_node(&node).is_some() && links.unlinked([&node].into_iter()).is_empty());
    }
}
