//! Calls with and without a key.

use fanfare_proto::v1::cluster_service_client::ClusterServiceClient;
use fanfare_proto::v1::push_service_client::PushServiceClient;
use fanfare_proto::v1::target::Kind;
use fanfare_proto::v1::{
    ListNodesRequest, ListNodesResponse, PublishRequest, PublishResponse, PublishStreamRequest,
    PublishStreamResponse,
};
use fanfare_tests::sandbox::push_request;
use tokio::sync::mpsc;
use tokio_stream::StreamExt as _;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;
use tonic::{Request, Status, Streaming};

/// A request with a key.
pub(crate) fn call<T>(message: T, key: Option<&str>) -> Request<T> {
    let mut request = Request::new(message);
    if let Some(key) = key {
        let value = format!("Bearer {key}").parse().expect("it can stand in a header");
        request.metadata_mut().insert("authorization", value);
    }
    request
}

pub(crate) async fn publish(
    channel: Channel,
    key: Option<&str>,
    to: &str,
) -> Result<PublishResponse, Status> {
    let request = push_request(Kind::Channel(to.to_owned()), "1");
    Ok(PushServiceClient::new(channel).publish(call(request, key)).await?.into_inner())
}

pub(crate) async fn list_nodes(channel: Channel, key: Option<&str>) -> Result<ListNodesResponse, Status> {
    let mut client = ClusterServiceClient::new(channel);
    Ok(client.list_nodes(call(ListNodesRequest::default(), key)).await?.into_inner())
}

/// Opens a stream of pushes.
pub(crate) async fn stream(
    channel: Channel,
    requests: mpsc::Receiver<PublishRequest>,
) -> Result<Streaming<PublishStreamResponse>, Status> {
    let requests = ReceiverStream::new(requests);
    let requests = requests.map(|publish| PublishStreamRequest { publish: Some(publish) });
    Ok(PushServiceClient::new(channel).publish_stream(requests).await?.into_inner())
}

/// Calls a method that does not exist.
pub(crate) async fn unknown(channel: Channel, key: Option<&str>) -> Result<(), Status> {
    let mut client = tonic::client::Grpc::new(channel);
    client.ready().await.map_err(|error| Status::unknown(error.to_string()))?;
    let path = tonic::codegen::http::uri::PathAndQuery::from_static("/fanfare.v1.NoService/NoMethod");
    let codec = tonic_prost::ProstCodec::<ListNodesRequest, ListNodesResponse>::default();
    client.unary(call(ListNodesRequest::default(), key), path, codec).await.map(drop)
}
