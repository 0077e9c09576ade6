//! What operators can set for a data-plane node.

use std::net::SocketAddr;
use std::time::Duration;

use fanfare_cluster::channel::ChannelOptions;
use fanfare_cluster::member::MemberId;
use fanfare_cluster::quantity::{Size, Span};
use serde::{Deserialize, Serialize};

/// The `[client]` section: the door for clients.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ClientConfig {
    /// Where clients connect.
    pub address: SocketAddr,
    /// Origins that browsers may come from, besides the host itself.
    pub allowed_origins: Vec<String>,
    /// Whether clients without a token may connect.
    pub allow_anonymous_connect_without_token: bool,
    /// How clients prove who they are.
    pub token: TokenConfig,
    /// The largest message from a client.
    pub message_size_limit: Size,
    /// What may wait for a client that reads slowly, before it is cut.
    pub queue_max_size: Size,
    /// Subscriptions that one connection may have.
    pub channel_limit: usize,
    /// The longest channel name that clients may use, in bytes.
    pub channel_max_length: usize,
    /// How often clients are pinged.
    pub ping_interval: Span,
    /// How long the answer to a ping may take.
    pub pong_timeout: Span,
    /// How long a client may take to connect after its socket is open.
    pub stale_close_delay: Span,
    /// How long a client may take for the HTTP handshake.
    pub handshake_timeout: Span,
}

impl Default for ClientConfig {
    fn default() -> Self {
        let seconds = |seconds| Span(Duration::from_secs(seconds));
        Self {
            address: ([127, 0, 0, 1], 8000).into(),
            allowed_origins: Vec::new(),
            allow_anonymous_connect_without_token: false,
            token: TokenConfig::default(),
            message_size_limit: Size(64 << 10),
            queue_max_size: Size(1 << 20),
            channel_limit: 128,
            channel_max_length: 255,
            ping_interval: seconds(25),
            pong_timeout: seconds(8),
            stale_close_delay: seconds(10),
            handshake_timeout: seconds(10),
        }
    }
}

/// The `[client.token]` section.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TokenConfig {
    /// The secret of tokens signed with HS256; empty if there are none.
    pub hmac_secret_key: String,
}

/// Everything a node needs to know before it starts.
#[derive(Clone, Debug)]
pub struct DataPlaneConfig {
    /// Its id.
    pub id: MemberId,
    /// The door for clients.
    pub client: ClientConfig,
    /// The options of channels.
    pub channels: ChannelOptions,
    /// Where health and metrics are.
    pub admin_address: SocketAddr,
    /// Threads that hold connections, 1 to 64.
    pub shards: usize,
    /// Bytes that may wait on the link to one replica before it is cut.
    pub link_queue_bytes: usize,
    /// Set if this is somebody's own machine.
    pub dev: Option<DevMode>,
}

/// What a node does on somebody's own machine: it serves the dev page, and lets in only loopback hosts
/// and origins.
#[derive(Clone, Debug)]
pub struct DevMode {
    /// The command that pushes, which the page shows.
    pub push_command: String,
}
