//! The edge of the public API: transport limits, the guard, health and reflection around all services.

use std::sync::Arc;
use std::time::Duration;

use fanfare_cluster::channel::MAX_PUBLICATION_BYTES;
use fanfare_cluster::tasks::Tasks;
use fanfare_cluster::tls::ServerTls;
use fanfare_proto::DESCRIPTORS;
use fanfare_proto::v1::cluster_service_server::{self, ClusterServiceServer};
use fanfare_proto::v1::connection_service_server::{self, ConnectionServiceServer};
use fanfare_proto::v1::history_service_server::{self, HistoryServiceServer};
use fanfare_proto::v1::presence_service_server::{self, PresenceServiceServer};
use fanfare_proto::v1::push_service_server::{self, PushServiceServer};
use tokio::net::TcpListener;
use tonic::transport::Server;
use tonic_health::server::HealthReporter;
use tracing::error;

use super::guard::{Door, GuardLayer};
use super::push_service::MAX_TARGETS;
use super::{ClusterApi, ConnectionApi, HistoryApi, PresenceApi, PushApi, handshakes};
use crate::metrics::Metrics;

/// A request: the largest publication with its tags and exclusions, and as many targets as a broadcast may have.
const MAX_REQUEST: usize = MAX_PUBLICATION_BYTES + 64 * 1024 + MAX_TARGETS * TARGET;
/// The longest channel name, with what surrounds it.
const TARGET: usize = 272;
/// No call takes longer to begin its answer than the longest wait for a receipt and the way there. Streams begin
/// theirs at once and go on as long as they like.
const CALL_TIMEOUT: Duration = Duration::from_secs(70);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(20);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(10);
/// Bytes that a caller may send ahead, on a stream and in all. The HTTP/2 library (h2 0.4.20) ends a connection on which
/// too many small frames wait to be read: a budget of half the connection's window, of which a frame under 256 bytes
/// takes what it lacks. Most callers send each message in a frame of its own, 30 bytes at least, so a stream that waits
/// takes up to 7.5 times its window: a thirty-second of the connection's keeps two of them below the budget.
const STREAM_WINDOW: u32 = 256 << 10;
const CONNECTION_WINDOW: u32 = 8 << 20;

/// All that is served.
pub(crate) struct Services {
    pub(crate) push: PushApi,
    pub(crate) connections: ConnectionApi,
    pub(crate) history: HistoryApi,
    pub(crate) cluster: ClusterApi,
    pub(crate) presence: PresenceApi,
}

/// How callers come in.
pub(crate) struct Entrance {
    pub(crate) door: Arc<Door>,
    pub(crate) tls: Option<Arc<ServerTls>>,
    pub(crate) max_concurrent_calls: u32,
    pub(crate) connection_limit: usize,
    pub(crate) metrics: Metrics,
}

/// Serves the API on the listener until the tasks stop.
pub(crate) fn serve(
    listener: TcpListener,
    services: Services,
    entrance: Entrance,
    tasks: &Tasks,
) -> Result<(), tonic_reflection::server::Error> {
    // What is not served on this port is not shown on it.
    let reflection = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(DESCRIPTORS)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
            .with_service_name(push_service_server::SERVICE_NAME)
            .with_service_name(connection_service_server::SERVICE_NAME)
            .with_service_name(history_service_server::SERVICE_NAME)
            .with_service_name(cluster_service_server::SERVICE_NAME)
            .with_service_name(presence_service_server::SERVICE_NAME)
            .with_service_name(tonic_health::pb::health_server::SERVICE_NAME)
    };
    let (v1, v1alpha) = (reflection().build_v1()?, reflection().build_v1alpha()?);
    let stopping = tasks.stopping();
    let spawner = tasks.clone();
    tasks.spawn("public API", async move {
        let (health, health_service) = tonic_health::server::health_reporter();
        serves_all(&health).await;
        let server = Server::builder()
            .timeout(CALL_TIMEOUT)
            .max_concurrent_streams(entrance.max_concurrent_calls)
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .http2_keepalive_interval(Some(KEEPALIVE_INTERVAL))
            .http2_keepalive_timeout(Some(KEEPALIVE_TIMEOUT))
            .layer(GuardLayer(entrance.door))
            .add_service(PushServiceServer::new(services.push).max_decoding_message_size(MAX_REQUEST))
            .add_service(ConnectionServiceServer::new(services.connections))
            .add_service(HistoryServiceServer::new(services.history))
            .add_service(ClusterServiceServer::new(services.cluster))
            .add_service(PresenceServiceServer::new(services.presence).max_decoding_message_size(MAX_REQUEST))
            .add_service(health_service)
            .add_service(v1)
            .add_service(v1alpha);
        let served = match entrance.tls {
            None => {
                let callers = handshakes::plain(listener, entrance.connection_limit, &spawner);
                server.serve_with_incoming_shutdown(callers, stopping.cancelled()).await
            }
            Some(tls) => {
                let most = entrance.connection_limit;
                let callers = handshakes::with_tls(listener, (most, tls), entrance.metrics, &spawner);
                server.serve_with_incoming_shutdown(callers, stopping.cancelled()).await
            }
        };
        if let Err(error) = served {
            error!(%error, "the public API has ended");
        }
    });
    Ok(())
}

/// Says that all services are there.
async fn serves_all(health: &HealthReporter) {
    health.set_serving::<PushServiceServer<PushApi>>().await;
    health.set_serving::<ConnectionServiceServer<ConnectionApi>>().await;
    health.set_serving::<HistoryServiceServer<HistoryApi>>().await;
    health.set_serving::<ClusterServiceServer<ClusterApi>>().await;
    health.set_serving::<PresenceServiceServer<PresenceApi>>().await;
}
