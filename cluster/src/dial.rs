//! How processes of a cluster dial each other: windows, keepalives and deadlines of the gRPC transport.

use std::net::SocketAddr;
use std::time::Duration;

use tonic::transport::{Channel, Endpoint, Error, Server};

/// A peer that says nothing for this long is asked whether it lives.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
/// A peer that does not answer for this long is gone. Without it a half-open peer hangs for ever.
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(5);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// A link carries all of a node's traffic on one stream: large windows and frames are what make it fast.
const STREAM_WINDOW: u32 = 4 << 20;
const CONNECTION_WINDOW: u32 = 16 << 20;
const FRAME: u32 = 64 << 10;

/// The largest message on a link: a publication with its name, tags and exclusions.
pub const MAX_LINK_MESSAGE: usize = 1 << 20;

/// Dials a process of the cluster.
///
/// # Errors
/// If it cannot be reached within three seconds.
pub async fn dial(address: SocketAddr) -> Result<Channel, Error> {
    Endpoint::from_shared(format!("http://{address}"))?
        .connect_timeout(CONNECT_TIMEOUT)
        .tcp_nodelay(true)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_frame_size(FRAME)
        .http2_keep_alive_interval(KEEPALIVE_INTERVAL)
        .keep_alive_timeout(KEEPALIVE_TIMEOUT)
        .keep_alive_while_idle(true)
        .connect()
        .await
}

/// The server that answers [`dial`].
pub fn cluster_server() -> Server {
    Server::builder()
        .tcp_nodelay(true)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_frame_size(FRAME)
        .max_concurrent_streams(64)
        .http2_keepalive_interval(Some(KEEPALIVE_INTERVAL))
        .http2_keepalive_timeout(Some(KEEPALIVE_TIMEOUT))
}
