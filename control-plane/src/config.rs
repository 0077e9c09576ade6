//! What operators can set for a control-plane replica.

use std::net::SocketAddr;

use fanfare_cluster::channel::ChannelOptions;
use serde::{Deserialize, Serialize};

/// The `[api]` section: the public gRPC API.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ApiConfig {
    /// Where backends reach the API. There are no API keys yet, so only loopback addresses are accepted.
    pub address: SocketAddr,
    /// Calls that one connection may have under way.
    pub max_concurrent_calls: u32,
}

impl Default for ApiConfig {
    fn default() -> Self {
        Self { address: ([127, 0, 0, 1], 10000).into(), max_concurrent_calls: 1024 }
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
    /// The options of channels.
    pub channels: ChannelOptions,
}
