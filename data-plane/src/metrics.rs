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

/// Why handshakes and connects are turned away. A closed set.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct RefusedLabels {
    pub(crate) reason: &'static str,
}

/// All counters of a node; cheap to clone.
#[derive(Clone, Debug, Default)]
pub(crate) struct Metrics {
    pub(crate) clients: ClientMetrics,
    pub(crate) deliveries: DeliveryMetrics,
    pub(crate) links: LinkMetrics,
    pub(crate) tokens: TokenMetrics,
}

/// Clients, from their handshake to their end.
#[derive(Clone, Debug, Default)]
pub(crate) struct ClientMetrics {
    pub(crate) sockets: Gauge,
    pub(crate) refused: Family<RefusedLabels, Counter>,
    pub(crate) command_limit: Counter,
    pub(crate) connections: Gauge,
    pub(crate) connects: Counter,
    pub(crate) commands: Counter,
    pub(crate) publications: Counter,
    pub(crate) closes: Family<CloseLabels, Counter>,
    pub(crate) cuts: Counter,
}

/// What goes out to clients.
#[derive(Clone, Debug, Default)]
pub(crate) struct DeliveryMetrics {
    pub(crate) subscriptions: Gauge,
    pub(crate) channels: Gauge,
    pub(crate) publications: Counter,
    pub(crate) deliveries: Counter,
    pub(crate) bytes: Counter,
    pub(crate) queue_bytes: Gauge,
    pub(crate) recoveries: Counter,
    pub(crate) lost: Counter,
}

/// The keys of tokens.
#[derive(Clone, Debug, Default)]
pub(crate) struct TokenMetrics {
    pub(crate) keys: Gauge,
    pub(crate) key_reads: Counter,
    pub(crate) key_read_failures: Counter,
}

/// Links to replicas.
#[derive(Clone, Debug, Default)]
pub(crate) struct LinkMetrics {
    pub(crate) linked: Gauge,
    pub(crate) cuts: Counter,
}

impl Metrics {
    /// Gives the counters their names.
    pub(crate) fn register(&self, registry: &mut Registry) {
        let node = registry.sub_registry_with_prefix("fanfare_node");
        self.clients.register(node);
        self.deliveries.register(node);
        self.tokens.register(node);
        node.register("links", "Replicas that are linked now", self.links.linked.clone());
        node.register(
            "link_cuts",
            "Links cut because too much waited for the replica",
            self.links.cuts.clone(),
        );
    }
}

impl ClientMetrics {
    fn register(&self, node: &mut Registry) {
        node.register("sockets", "Sockets held now, whatever state they are in", self.sockets.clone());
        let refused = "Handshakes and connects that were turned away, by reason";
        node.register("refused", refused, self.refused.clone());
        let limited = "Commands refused because their connection sends too many";
        node.register("command_limit", limited, self.command_limit.clone());
        node.register("connections", "Clients whose connect has been answered", self.connections.clone());
        node.register("connects", "Connects answered with success", self.connects.clone());
        node.register("commands", "Commands from clients", self.commands.clone());
        node.register("client_publications", "Publications from clients", self.publications.clone());
        node.register("closes", "Connections closed by the node, by close code", self.closes.clone());
        node.register("cuts", "Connections cut because too much waited for them", self.cuts.clone());
    }
}

impl TokenMetrics {
    fn register(&self, node: &mut Registry) {
        node.register("token_keys", "Published token keys that are known", self.keys.clone());
        node.register("token_key_reads", "Reads of the published token keys", self.key_reads.clone());
        let failures = "Reads of the published token keys that failed";
        node.register("token_key_read_failures", failures, self.key_read_failures.clone());
    }
}

impl DeliveryMetrics {
    fn register(&self, node: &mut Registry) {
        node.register("subscriptions", "Subscriptions held now", self.subscriptions.clone());
        let channels = "Channels with subscribers, counted once per shard";
        node.register("channels", channels, self.channels.clone());
        node.register("publications", "Publications taken from links", self.publications.clone());
        node.register("deliveries", "Publications handed to connections", self.deliveries.clone());
        let bytes = "Bytes of publications handed to connections";
        node.register_with_unit("delivered", bytes, Unit::Bytes, self.bytes.clone());
        node.register(
            "recoveries",
            "Questions to owners for what subscriptions have missed",
            self.recoveries.clone(),
        );
        let lost = "Subscriptions that were told that they have missed something for good";
        node.register("lost_continuity", lost, self.lost.clone());
        let queued = "Bytes that wait for connections that read slowly";
        node.register_with_unit("queue", queued, Unit::Bytes, self.queue_bytes.clone());
    }
}
