//! The command line's side of the public API: how it is reached, and how its refusals are told to people.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use fanfare_proto::v1::cluster_service_client::ClusterServiceClient;
use fanfare_proto::v1::connection_service_client::ConnectionServiceClient;
use fanfare_proto::v1::history_service_client::HistoryServiceClient;
use fanfare_proto::v1::presence_service_client::PresenceServiceClient;
use fanfare_proto::v1::push_service_client::PushServiceClient;
use fanfare_proto::v1::{
    DisconnectRequest, DisconnectResponse, GetConnectionRequest, GetConnectionResponse, GetHistoryRequest,
    GetHistoryResponse, GetPresenceRequest, GetPresenceResponse, GetPresenceStatsRequest,
    GetPresenceStatsResponse, GetUserPresenceRequest, GetUserPresenceResponse, ListChannelsRequest,
    ListChannelsResponse, ListConnectionsRequest, ListConnectionsResponse, ListNodesRequest,
    ListNodesResponse, PublishRequest, PublishResponse, PublishStreamRequest, PublishStreamResponse,
    RefreshRequest, RefreshResponse, RemoveHistoryRequest, RemoveHistoryResponse, RevokeTokensRequest,
    RevokeTokensResponse, SubscribeRequest, SubscribeResponse, UnsubscribeRequest, UnsubscribeResponse,
    WatchPresenceRequest, WatchPresenceResponse,
};
use futures_util::{Stream, StreamExt as _, TryFutureExt as _};
use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};
use tonic::{Code, Request, Response, Status};
use tonic_types::{ErrorDetails, RpcStatusExt as _, StatusExt as _};

use crate::endpoint::{ApiEndpoint, Tls};
use crate::exit::Failure;

/// How the library says that its own side of a call has run out of time.
const LATE: &str = "Timeout expired";
/// How the library says that the connection has broken under a call.
const BROKEN: [&str; 2] = ["h2 protocol error: http2 error", "transport error"];

type Door = InterceptedService<Channel, Key>;

/// A client of all services of the API.
#[derive(Clone, Debug)]
pub(crate) struct ApiClient {
    door: Door,
    timeout: Duration,
    endpoint: String,
    has_key: bool,
}

/// Shows the key with every call.
#[derive(Clone, Debug)]
struct Key(Option<MetadataValue<Ascii>>);

impl Interceptor for Key {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(key) = &self.0 {
            request.metadata_mut().insert("authorization", key.clone());
        }
        Ok(request)
    }
}

/// Runs what a command does with the API.
pub(crate) fn block_on<T>(work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::Failed(error.to_string()))?;
    runtime.block_on(work)
}

impl ApiClient {
    /// Connects.
    pub(crate) async fn connect(endpoint: &ApiEndpoint) -> Result<Self, Failure> {
        let ApiEndpoint { url, tls, key, timeout } = endpoint;
        let mut dial = Endpoint::from_shared(url.clone())
            .map_err(|error| Failure::Usage(format!("--endpoint {url}: {error}")))?
            .connect_timeout(*timeout)
            .tcp_nodelay(true);
        if let Some(tls) = tls {
            dial = dial
                .tls_config(tls_config(tls))
                .map_err(|error| Failure::Usage(format!("cannot use TLS: {}", innermost(&error))))?;
        }
        // The library's own limit ends with the TCP handshake; this one includes TLS and HTTP/2.
        let channel = match tokio::time::timeout(*timeout, dial.connect()).await {
            Ok(Ok(channel)) => channel,
            Ok(Err(error)) => return Err(unreachable(url, &innermost(&error))),
            Err(_) => return Err(unreachable(url, &format!("no connection within {timeout:?}"))),
        };
        let metadata = key.as_ref().map(|key| format!("Bearer {}", key.as_str()).parse());
        let mut metadata: Option<MetadataValue<Ascii>> = metadata
            .transpose()
            .map_err(|_| Failure::Usage("the API key does not fit into a header".to_owned()))?;
        if let Some(metadata) = &mut metadata {
            metadata.set_sensitive(true);
        }
        Ok(Self {
            door: InterceptedService::new(channel, Key(metadata)),
            timeout: *timeout,
            endpoint: url.clone(),
            has_key: key.is_some(),
        })
    }

    /// Pushes one message.
    pub(crate) async fn publish(&self, request: PublishRequest) -> Result<PublishResponse, Failure> {
        let mut service = PushServiceClient::new(self.door.clone());
        self.answer(service.publish(self.request(request)).await)
    }

    /// Pushes as many messages as the stream has. There is no deadline for the whole: whoever reads the answers
    /// says how long it waits for one.
    pub(crate) fn publish_stream(
        &self,
        requests: impl Stream<Item = PublishStreamRequest> + Send + 'static,
    ) -> Answers {
        let mut service = PushServiceClient::new(self.door.clone());
        let call = async move { service.publish_stream(requests).await.map(Response::into_inner) };
        Answers { stream: Box::pin(call.try_flatten_stream()), client: self.clone() }
    }

    /// Asks for one connection.
    pub(crate) async fn connection(&self, id: &str) -> Result<GetConnectionResponse, Failure> {
        let request = GetConnectionRequest { connection: id.to_owned() };
        self.answer(self.connections().get_connection(self.request(request)).await)
    }

    /// Closes connections.
    pub(crate) async fn disconnect(&self, request: DisconnectRequest) -> Result<DisconnectResponse, Failure> {
        self.answer(self.connections().disconnect(self.request(request)).await)
    }

    /// Subscribes connections.
    pub(crate) async fn subscribe(&self, request: SubscribeRequest) -> Result<SubscribeResponse, Failure> {
        self.answer(self.connections().subscribe(self.request(request)).await)
    }

    /// Unsubscribes connections.
    pub(crate) async fn unsubscribe(
        &self,
        request: UnsubscribeRequest,
    ) -> Result<UnsubscribeResponse, Failure> {
        self.answer(self.connections().unsubscribe(self.request(request)).await)
    }

    /// Changes when connections expire.
    pub(crate) async fn refresh(&self, request: RefreshRequest) -> Result<RefreshResponse, Failure> {
        self.answer(self.connections().refresh(self.request(request)).await)
    }

    /// Revokes tokens.
    pub(crate) async fn revoke(&self, request: RevokeTokensRequest) -> Result<RevokeTokensResponse, Failure> {
        self.answer(self.connections().revoke_tokens(self.request(request)).await)
    }

    /// Lists one page of nodes.
    pub(crate) async fn nodes(&self, request: ListNodesRequest) -> Result<ListNodesResponse, Failure> {
        let mut service = ClusterServiceClient::new(self.door.clone());
        self.answer(service.list_nodes(self.request(request)).await)
    }

    /// Reads one page of a channel's history.
    pub(crate) async fn history(&self, request: GetHistoryRequest) -> Result<GetHistoryResponse, Failure> {
        let mut service = HistoryServiceClient::new(self.door.clone());
        self.answer(service.get_history(self.request(request)).await)
    }

    /// Removes a channel's history.
    pub(crate) async fn remove_history(
        &self,
        request: RemoveHistoryRequest,
    ) -> Result<RemoveHistoryResponse, Failure> {
        let mut service = HistoryServiceClient::new(self.door.clone());
        self.answer(service.remove_history(self.request(request)).await)
    }

    /// Lists one page of channels.
    pub(crate) async fn channels(
        &self,
        request: ListChannelsRequest,
    ) -> Result<ListChannelsResponse, Failure> {
        let mut service = ClusterServiceClient::new(self.door.clone());
        self.answer(service.list_channels(self.request(request)).await)
    }

    /// Lists one page of connections.
    pub(crate) async fn list_connections(
        &self,
        request: ListConnectionsRequest,
    ) -> Result<ListConnectionsResponse, Failure> {
        self.answer(self.connections().list_connections(self.request(request)).await)
    }

    /// Lists one page of those who are in a channel.
    pub(crate) async fn presence(&self, request: GetPresenceRequest) -> Result<GetPresenceResponse, Failure> {
        self.answer(self.presences().get_presence(self.request(request)).await)
    }

    /// Counts those who are in a channel.
    pub(crate) async fn presence_stats(
        &self,
        request: GetPresenceStatsRequest,
    ) -> Result<GetPresenceStatsResponse, Failure> {
        self.answer(self.presences().get_presence_stats(self.request(request)).await)
    }

    /// Says which users are online.
    pub(crate) async fn user_presence(
        &self,
        request: GetUserPresenceRequest,
    ) -> Result<GetUserPresenceResponse, Failure> {
        self.answer(self.presences().get_user_presence(self.request(request)).await)
    }

    /// Watches who comes and goes, without a deadline for the whole.
    pub(crate) async fn watch_presence(
        &self,
        request: WatchPresenceRequest,
    ) -> Result<Answers<WatchPresenceResponse>, Failure> {
        let mut service = self.presences();
        // The first answer comes at once.
        let opening = tokio::time::timeout(self.timeout, service.watch_presence(request)).await;
        let opened = opening.unwrap_or_else(|_| Err(Status::deadline_exceeded(LATE)));
        let stream = self.answer(opened)?;
        Ok(Answers { stream: Box::pin(stream), client: self.clone() })
    }

    fn presences(&self) -> PresenceServiceClient<Door> {
        PresenceServiceClient::new(self.door.clone())
    }

    fn connections(&self) -> ConnectionServiceClient<Door> {
        ConnectionServiceClient::new(self.door.clone())
    }

    fn request<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        request.set_timeout(self.timeout);
        request
    }

    fn answer<T>(&self, answer: Result<Response<T>, Status>) -> Result<T, Failure> {
        answer.map(Response::into_inner).map_err(|status| self.refused(&status))
    }

    /// Says what the server refused, and what can be done about it.
    fn refused(&self, status: &Status) -> Failure {
        let late = status.code() == Code::Cancelled && status.message() == LATE;
        let code = if late { Code::DeadlineExceeded } else { status.code() };
        let text = match code {
            Code::DeadlineExceeded => {
                format!("{} did not answer in time: try a longer --timeout", self.endpoint)
            }
            Code::Unimplemented if status.message().is_empty() => {
                format!("{} does not know this call: it runs another version", self.endpoint)
            }
            _ if status.message().is_empty() => code.description().to_owned(),
            _ => status.message().to_owned(),
        };
        let mut message = explained(text, &status.get_error_details());
        match code {
            Code::Unauthenticated if self.has_key => {
                message
                    .push_str("\nis it the right key? It came from --api-key-file or FANFARE_CLI__API_KEY");
            }
            Code::Unauthenticated => {
                message.push_str(
                    "\nname a file that holds a key with --api-key-file, or set FANFARE_CLI__API_KEY",
                );
            }
            Code::PermissionDenied => {
                message.push_str("\nuse a key that has the role: --api-key-file or FANFARE_CLI__API_KEY");
            }
            // What a port that speaks TLS says to plain text is no answer to the call.
            _ if self.endpoint.starts_with("http://") && BROKEN.contains(&status.message()) => {
                message.push_str("\ndoes the server speak TLS there? Then try https:// in place of http://");
            }
            _ => {}
        }
        Failure::Refused { code: code as i32, message }
    }
}

/// What the server says on one stream.
pub(crate) struct Answers<T = PublishStreamResponse> {
    stream: Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>,
    client: ApiClient,
}

impl<T> Answers<T> {
    /// The next answer; none when the server has ended the stream.
    pub(crate) async fn next(&mut self) -> Result<Option<T>, Failure> {
        let answer = self.stream.next().await.transpose();
        answer.map_err(|status| self.client.refused(&status))
    }

    /// What a wait without an answer is told as.
    pub(crate) fn silence(&self) -> Failure {
        self.client.refused(&Status::deadline_exceeded(LATE))
    }
}

/// Whether a gRPC code says that the way to the server has failed, or the server has gone.
pub(crate) fn is_broken(code: i32) -> bool {
    [Code::Unavailable, Code::Unknown, Code::Internal].iter().any(|broken| *broken as i32 == code)
}

/// What one push of a stream was refused with.
pub(crate) fn refusal(status: &tonic_types::Status) -> String {
    explained(status.message.clone(), &status.get_error_details())
}

/// Adds what the details say to programs, which people may want to look up.
fn explained(mut message: String, details: &ErrorDetails) -> String {
    if let Some(retry) = details.retry_info().and_then(|info| info.retry_delay) {
        message.push_str(&format!(" (in {retry:?})"));
    }
    if let Some(info) = details.error_info() {
        message.push_str(&format!(" [{}]", info.reason));
    }
    message
}

fn tls_config(tls: &Tls) -> ClientTlsConfig {
    let config = match &tls.authorities {
        Some(authorities) => ClientTlsConfig::new().ca_certificate(Certificate::from_pem(authorities)),
        None => ClientTlsConfig::new().with_native_roots(),
    };
    match &tls.identity {
        Some((certificate, key)) => config.identity(Identity::from_pem(certificate, key)),
        None => config,
    }
}

fn unreachable(endpoint: &str, why: &str) -> Failure {
    let hint = if why.contains("UnknownIssuer") {
        "the certificate is from an authority that is not known here: name it with --ca-file"
    } else if why.contains("InvalidContentType") {
        "the server does not speak TLS there: try http:// in place of https://"
    } else {
        "is the server running? Start one with: fanfare serve --dev, or name another with --endpoint"
    };
    Failure::Failed(format!("cannot reach {endpoint}: {why}\n{hint}"))
}

fn innermost(error: &dyn std::error::Error) -> String {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost.to_string()
}
