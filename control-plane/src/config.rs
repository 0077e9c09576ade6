//! What operators can set for a control-plane replica.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use fanfare_cluster::channel::Namespaces;
use fanfare_cluster::quantity::{Size, Span};
use fanfare_cluster::tls::TlsConfig;
use serde::{Deserialize, Serialize};

use crate::history::RedisConfig;

/// The `[api]` section: the public gRPC API.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ApiConfig {
    /// Where backends reach the API. Without keys and without client certificates only loopback is accepted.
    pub address: SocketAddr,
    /// Calls that one connection may have under way.
    pub max_concurrent_calls: u32,
    /// Connections that callers may have; further ones wait until others end.
    pub connection_limit: usize,
    /// Calls that may be under way in all; further ones are refused at once.
    pub concurrency_limit: usize,
    /// Where revocations are kept, so that they hold after a restart; empty: in memory only.
    pub revocations_file: PathBuf,
    /// How it speaks TLS.
    pub tls: TlsConfig,
    /// Who may call. Empty: whoever reaches the port may do everything.
    pub keys: Vec<ApiKeyConfig>,
}

/// What the holder of a key may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Push messages.
    Push,
    /// See connections and nodes.
    Read,
    /// Act on connections and nodes.
    Operate,
}

impl Role {
    /// As it stands in the configuration.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Push => "push",
            Self::Read => "read",
            Self::Operate => "operate",
        }
    }
}

/// One of `[[api.keys]]`. The key is given in exactly one of the three ways.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ApiKeyConfig {
    /// Who has it: stands in logs and audit events.
    pub name: String,
    /// What its holder may do.
    pub roles: Vec<Role>,
    /// The key itself.
    pub key: String,
    /// A file that holds the key and nothing else.
    pub key_file: PathBuf,
    /// The key's SHA-256, in hexadecimal: so that the configuration holds no secret.
    pub key_sha256: String,
}

impl Default for ApiConfig {
    fn default() -> Self {
        Self {
            address: ([127, 0, 0, 1], 10000).into(),
            max_concurrent_calls: 1024,
            connection_limit: 256,
            concurrency_limit: 8192,
            revocations_file: PathBuf::new(),
            tls: TlsConfig::default(),
            keys: Vec::new(),
        }
    }
}

/// Where the history is kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HistoryEngine {
    /// In this process: it ends with it.
    #[default]
    Memory,
    /// In Redis or Valkey, which outlive it.
    Redis,
}

/// The `[history]` section: where the streams of channels are kept, and what of them besides publications.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HistoryConfig {
    /// Where it is kept.
    pub engine: HistoryEngine,
    /// What may be kept in memory in all. Beyond that the streams that end first are cut short.
    pub memory_limit: Size,
    /// How long a channel's position is kept after its last publication.
    pub meta_ttl: Span,
    /// How long a publication's idempotency key is kept.
    pub idempotency_window: Span,
    /// Where Redis is, if the history is kept there.
    pub redis: RedisConfig,
}

impl Default for HistoryConfig {
    fn default() -> Self {
        Self {
            engine: HistoryEngine::Memory,
            memory_limit: Size(1 << 30),
            meta_ttl: Span(Duration::from_secs(30 * 86_400)),
            idempotency_window: Span(Duration::from_secs(300)),
            redis: RedisConfig::default(),
        }
    }
}

/// Everything a replica needs to know before it starts.
#[derive(Clone, Debug)]
pub struct ControlPlaneConfig {
    /// Its id.
    pub id: fanfare_cluster::member::MemberId,
    /// The public API.
    pub api: ApiConfig,
    /// Where nodes dial it.
    pub cluster_address: SocketAddr,
    /// Where health and metrics are.
    pub admin_address: SocketAddr,
    /// How many tasks own channels.
    pub owners: usize,
    /// Bytes that may wait on the link to one node before it is cut.
    pub link_queue_bytes: usize,
    /// When users are offline.
    pub presence: crate::presence::PresenceConfig,
    /// Where the streams of channels are kept.
    pub history: HistoryConfig,
    /// The options of channels.
    pub channels: Arc<Namespaces>,
}
