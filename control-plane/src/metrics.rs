//! What a control-plane replica counts.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// The counters; cheap to clone.
#[derive(Clone, Debug, Default)]
pub(crate) struct Metrics {
    pub(crate) publications: Counter,
    pub(crate) refused: Counter,
    pub(crate) deliveries: Counter,
    pub(crate) followed_channels: Gauge,
    pub(crate) links: Gauge,
    pub(crate) link_cuts: Counter,
    pub(crate) link_lost: Counter,
    pub(crate) namespace_mismatches: Counter,
    pub(crate) presence_members: Gauge,
    pub(crate) history: HistoryMetrics,
    pub(crate) api: ApiMetrics,
}

/// What owners count of the history.
#[derive(Clone, Debug, Default)]
pub(crate) struct HistoryMetrics {
    pub(crate) stored: Counter,
    pub(crate) errors: Counter,
    pub(crate) bytes: Gauge,
    pub(crate) complete: Counter,
    pub(crate) incomplete: Counter,
    pub(crate) saved_reads: Counter,
    pub(crate) redis: RedisMetrics,
}

/// What a history in Redis counts.
#[derive(Clone, Debug, Default)]
pub(crate) struct RedisMetrics {
    pub(crate) is_connected: Gauge,
    pub(crate) connects: Counter,
    pub(crate) failures: Counter,
}

/// What the public API counts.
#[derive(Clone, Debug, Default)]
pub(crate) struct ApiMetrics {
    pub(crate) unauthenticated: Counter,
    pub(crate) forbidden: Counter,
    pub(crate) shed: Counter,
    pub(crate) failed_handshakes: Counter,
    pub(crate) acts: Counter,
    pub(crate) revocations: Gauge,
}

impl Metrics {
    /// Gives the counters their names.
    pub(crate) fn register(&self, registry: &mut Registry) {
        let control = registry.sub_registry_with_prefix("fanfare_control");
        control.register(
            "publications",
            "Publications accepted from backends and clients",
            self.publications.clone(),
        );
        control.register("refused_pushes", "Pushes that were answered with an error", self.refused.clone());
        control.register("node_deliveries", "Publications sent to a node", self.deliveries.clone());
        control.register(
            "followed_channels",
            "Channels that some node follows",
            self.followed_channels.clone(),
        );
        control.register("links", "Nodes that are linked now", self.links.clone());
        control.register(
            "link_cuts",
            "Links cut because too much waited for the node",
            self.link_cuts.clone(),
        );
        control.register(
            "link_lost_messages",
            "Messages that nodes did not get: lost with a link, withheld, or made while a node had no link",
            self.link_lost.clone(),
        );
        control.register(
            "namespace_mismatches",
            "Nodes that dialled with other namespace options than this replica's",
            self.namespace_mismatches.clone(),
        );
        control.register(
            "presence_members",
            "Connections in channels with presence, users' personal channels among them",
            self.presence_members.clone(),
        );
        self.history.register(control);
        self.api.register(control);
    }
}

impl HistoryMetrics {
    fn register(&self, control: &mut Registry) {
        control.register(
            "stored_publications",
            "Publications that have got a place in a history",
            self.stored.clone(),
        );
        control.register(
            "history_errors",
            "What the history could not do: not available, too slow, or owned by another replica",
            self.errors.clone(),
        );
        control.register("history_bytes", "What the history keeps in this process", self.bytes.clone());
        control.register(
            "complete_recoveries",
            "Recoveries that were given all that was missed",
            self.complete.clone(),
        );
        control.register(
            "incomplete_recoveries",
            "Recoveries that could not be given all that was missed",
            self.incomplete.clone(),
        );
        control.register(
            "recoveries_without_reading",
            "Recoveries answered with what was read for another one a moment before",
            self.saved_reads.clone(),
        );
        self.redis.register(control);
    }
}

impl RedisMetrics {
    fn register(&self, control: &mut Registry) {
        control.register(
            "redis_connected",
            "Whether the history in Redis can be reached: 1 or 0, and 0 without one",
            self.is_connected.clone(),
        );
        control.register(
            "redis_connects",
            "Connections made to the history in Redis, the first one and those after it was lost",
            self.connects.clone(),
        );
        control.register(
            "redis_failures",
            "Calls of the history in Redis that failed, as it could not be reached or was in trouble",
            self.failures.clone(),
        );
    }
}

impl ApiMetrics {
    fn register(&self, control: &mut Registry) {
        control.register(
            "unauthenticated_calls",
            "Calls refused because they had none of the configured keys",
            self.unauthenticated.clone(),
        );
        control.register(
            "forbidden_calls",
            "Calls refused because their key does not have the method's role",
            self.forbidden.clone(),
        );
        control.register(
            "shed_calls",
            "Calls refused because api.concurrency_limit was reached",
            self.shed.clone(),
        );
        control.register(
            "failed_handshakes",
            "TLS handshakes on the API's port that failed or took too long",
            self.failed_handshakes.clone(),
        );
        control.register("acts", "Operations on connections carried out", self.acts.clone());
        control.register(
            "revocations",
            "Users whose older tokens are refused, as remembered",
            self.revocations.clone(),
        );
    }
}
