//! What a node counts.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};

/// Why connections end. The codes are a closed table, so the label is bounded.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct CloseLabels {
    pub(crate) code: u16,
}

/// The counters; cheap to clone.
#[derive(Clone, Debug, Default)]
pub(crate) struct Metrics {
    pub(crate) sockets: Gauge,
    pub(crate) connections: Gauge,
    pub(crate) connects: Counter,
    pub(crate) closes: Family<CloseLabels, Counter>,
    pub(crate) subscriptions: Gauge,
    pub(crate) channels: Gauge,
    pub(crate) publications: Counter,
    pub(crate) client_publications: Counter,
    pub(crate) deliveries: Counter,
    pub(crate) delivered_bytes: Counter,
    pub(crate) queue_bytes: Gauge,
    pub(crate) cuts: Counter,
    pub(crate) commands: Counter,
    pub(crate) links: Gauge,
    pub(crate) link_cuts: Counter,
    pub(crate) handshakes_refused: Counter,
}

impl Metrics {
    /// Gives the counters their names.
    pub(crate) fn register(&self, registry: &mut Registry) {
        let node = registry.sub_registry_with_prefix("fanfare_node");
        node.register("sockets", "Sockets held now, whatever state they are in", self.sockets.clone());
        node.register("connections", "Clients whose connect has been answered", self.connections.clone());
        node.register("connects", "Connects answered with success", self.connects.clone());
        node.register("closes", "Connections closed by the node, by close code", self.closes.clone());
        node.register("subscriptions", "Subscriptions held now", self.subscriptions.clone());
        node.register("channels", "Channels with subscribers, counted once per shard", self.channels.clone());
        node.register("publications", "Publications taken from links", self.publications.clone());
        node.register("client_publications", "Publications from clients", self.client_publications.clone());
        node.register("deliveries", "Publications handed to connections", self.deliveries.clone());
        node.register_with_unit(
            "delivered",
            "Bytes of publications handed to connections",
            Unit::Bytes,
            self.delivered_bytes.clone(),
        );
        node.register_with_unit(
            "queue",
            "Bytes that wait for connections that read slowly",
            Unit::Bytes,
            self.queue_bytes.clone(),
        );
        node.register("cuts", "Connections cut because too much waited for them", self.cuts.clone());
        node.register("commands", "Commands from clients", self.commands.clone());
        node.register("links", "Replicas that are linked now", self.links.clone());
        node.register(
            "link_cuts",
            "Links cut because too much waited for the replica",
            self.link_cuts.clone(),
        );
        node.register(
            "handshakes_refused",
            "HTTP requests for a WebSocket that were answered with an error",
            self.handshakes_refused.clone(),
        );
    }
}
