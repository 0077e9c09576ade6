//! The edge of the public API: transport limits, health and reflection around all services.

use std::time::Duration;

use fanfare_cluster::channel::MAX_PUBLICATION_BYTES;
use fanfare_cluster::tasks::Tasks;
use fanfare_proto::DESCRIPTORS;
use fanfare_proto::v1::push_service_server::{self, PushServiceServer};
use tokio::net::TcpListener;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tracing::error;

use super::PushApi;

/// A request: the largest publication with its target, tags and exclusions.
const MAX_REQUEST: usize = MAX_PUBLICATION_BYTES + 64 * 1024;
/// No call takes longer than the longest wait for a receipt and the way there.
const CALL_TIMEOUT: Duration = Duration::from_secs(70);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(20);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(10);

/// Serves the API on the listener until the tasks stop.
pub(crate) fn serve(
    listener: TcpListener,
    push: PushApi,
    max_concurrent_calls: u32,
    tasks: &Tasks,
) -> Result<(), tonic_reflection::server::Error> {
    // What is not served on this port is not shown on it.
    let reflection = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(DESCRIPTORS)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
            .with_service_name(push_service_server::SERVICE_NAME)
            .with_service_name(tonic_health::pb::health_server::SERVICE_NAME)
    };
    let (v1, v1alpha) = (reflection().build_v1()?, reflection().build_v1alpha()?);
    let stopping = tasks.stopping();
    tasks.spawn("public API", async move {
        let (health, health_service) = tonic_health::server::health_reporter();
        health.set_serving::<PushServiceServer<PushApi>>().await;
        let server = Server::builder()
            .tcp_nodelay(true)
            .timeout(CALL_TIMEOUT)
            .max_concurrent_streams(max_concurrent_calls)
            .http2_keepalive_interval(Some(KEEPALIVE_INTERVAL))
            .http2_keepalive_timeout(Some(KEEPALIVE_TIMEOUT))
            .add_service(PushServiceServer::new(push).max_decoding_message_size(MAX_REQUEST))
            .add_service(health_service)
            .add_service(v1)
            .add_service(v1alpha);
        let served =
            server.serve_with_incoming_shutdown(TcpIncoming::from(listener), stopping.cancelled()).await;
        if let Err(error) = served {
            error!(%error, "the public API has ended");
        }
    });
    Ok(())
}
