//! A public API that answers what a test wants to see printed, and remembers what it was asked.

use std::net::{SocketAddr, TcpListener};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::Poll;

use fanfare_proto::Timestamp;
use fanfare_proto::v1::cluster_service_server::{ClusterService, ClusterServiceServer};
use fanfare_proto::v1::connection_service_server::{ConnectionService, ConnectionServiceServer};
use fanfare_proto::v1::message::Payload;
use fanfare_proto::v1::presence_service_server::PresenceServiceServer;
use fanfare_proto::v1::publish_stream_response::Result as Answer;
use fanfare_proto::v1::push_service_server::{PushService, PushServiceServer};
use fanfare_proto::v1::*;
use futures_util::{Stream, StreamExt as _, stream};
use tokio::sync::oneshot;
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Server, ServerTlsConfig};
use tonic::{Request, Response, Status, Streaming};

/// The key that may do everything, and the one that may only read.
pub(crate) const KEY: &str = "key-of-an-operator";
pub(crate) const READER: &str = "key-of-a-reader";
/// A second of 2026.
pub(super) const THEN: Timestamp = Timestamp { seconds: 1_772_366_400, nanos: 5_000_000 };

/// A fake that runs on a thread of its own and ends with the test.
pub(crate) struct FakeApi {
    pub(crate) address: SocketAddr,
    asked: Arc<Mutex<Vec<String>>>,
    _end: oneshot::Sender<()>,
}

/// What the fake does.
#[derive(Clone)]
pub(super) struct Fake {
    keys: bool,
    asked: Arc<Mutex<Vec<String>>>,
}

impl FakeApi {
    /// Lets everybody in.
    pub(crate) fn open() -> Self {
        Self::start(false, None)
    }

    /// Wants a key.
    pub(crate) fn with_keys() -> Self {
        Self::start(true, None)
    }

    /// Speaks TLS.
    pub(crate) fn with_tls(tls: ServerTlsConfig) -> Self {
        Self::start(true, Some(tls))
    }

    fn start(keys: bool, tls: Option<ServerTlsConfig>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("there is a free port");
        listener.set_nonblocking(true).expect("a listener can be without blocking");
        let address = listener.local_addr().expect("a listener has an address");
        let asked = Arc::new(Mutex::new(Vec::new()));
        let fake = Fake { keys, asked: asked.clone() };
        let (end, ended) = oneshot::channel();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.expect("a runtime starts").block_on(async {
                let listener = tokio::net::TcpListener::from_std(listener).expect("the listener is good");
                let mut server = Server::builder();
                if let Some(tls) = tls {
                    server = server.tls_config(tls).expect("the certificates are good");
                }
                let serve = server
                    .add_service(PushServiceServer::new(fake.clone()))
                    .add_service(ConnectionServiceServer::new(fake.clone()))
                    .add_service(PresenceServiceServer::new(fake.clone()))
                    .add_service(ClusterServiceServer::new(fake))
                    .serve_with_incoming(TcpIncoming::from(listener));
                tokio::select! {
                    served = serve => served.expect("the fake serves"),
                    _ = ended => {}
                }
            });
        });
        Self { address, asked, _end: end }
    }

    /// The endpoint without TLS.
    pub(crate) fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// All requests so far, as Rust prints them.
    pub(crate) fn asked(&self) -> Vec<String> {
        self.asked.lock().expect("no test panics while it holds the lock").clone()
    }
}

impl Fake {
    pub(super) fn note<T: std::fmt::Debug>(&self, request: Request<T>, role: &str) -> Result<T, Status> {
        let key = request.metadata().get("authorization").and_then(|value| value.to_str().ok());
        let key = key.and_then(|value| value.strip_prefix("Bearer "));
        match key {
            _ if !self.keys => {}
            Some(KEY) => {}
            Some(READER) if role == "read" => {}
            Some(READER) => return Err(Status::permission_denied(format!("the key has no role \"{role}\""))),
            _ => return Err(Status::unauthenticated("no key that is known")),
        }
        let request = request.into_inner();
        self.asked.lock().expect("no test panics while it holds the lock").push(format!("{request:?}"));
        Ok(request)
    }
}

/// An outcome that lacks a node.
fn outcome() -> Option<Outcome> {
    let gap = NodeGap { node: "node-2".to_owned(), reason: GapReason::Silent.into() };
    Some(Outcome { connections: 3, nodes_asked: 2, complete: false, gaps: vec![gap] })
}

/// What is said of a connection.
fn connection(id: String) -> Connection {
    Connection {
        connection: id,
        user: "42".to_owned(),
        node: "node-1".to_owned(),
        remote_address: "203.0.113.7:40000".to_owned(),
        encoding: "json".to_owned(),
        tls: true,
        sdk_name: "js\u{1b}[31m".to_owned(),
        sdk_version: "5.8.0".to_owned(),
        connected_at: Some(THEN),
        expires_at: None,
        info: "{\"name\":\"Ann\"}".into(),
        meta: Default::default(),
        channels: vec!["#42".to_owned(), "news".to_owned()],
        queued_bytes: 0,
    }
}

/// An answer that lacks a node.
pub(super) fn lacking() -> Coverage {
    let missing = vec![NodeGap { node: "node-2".to_owned(), reason: GapReason::CatchingUp.into() }];
    Coverage { as_of: Some(THEN), complete: false, missing }
}

#[tonic::async_trait]
impl PushService for Fake {
    async fn publish(&self, request: Request<PublishRequest>) -> Result<Response<PublishResponse>, Status> {
        self.note(request, "push")?;
        Ok(Response::new(PublishResponse::default()))
    }

    async fn broadcast(&self, _: Request<BroadcastRequest>) -> Result<Response<BroadcastResponse>, Status> {
        Err(Status::unimplemented("the command line does not broadcast"))
    }

    type PublishStreamStream = Pin<Box<dyn Stream<Item = Result<PublishStreamResponse, Status>> + Send>>;

    /// Answers each push. The data "late" is answered behind the next, "never" not at all; "refuse" is refused,
    /// "break" breaks the stream.
    async fn publish_stream(
        &self,
        request: Request<Streaming<PublishStreamRequest>>,
    ) -> Result<Response<Self::PublishStreamStream>, Status> {
        let mut late = Vec::new();
        let owing = Arc::new(AtomicBool::new(false));
        let owes = owing.clone();
        let answers = request.into_inner().enumerate().map(move |(index, request)| {
            let message = request?.publish.and_then(|push| push.message).unwrap_or_default();
            let data = match message.payload {
                Some(Payload::Json(text)) => text,
                _ => String::new(),
            };
            let published = Answer::Published(PublishResponse {
                receipt: Some(Receipt { nodes_asked: 1, written: 1, complete: true, ..Default::default() }),
                ..Default::default()
            });
            let answer = |result| PublishStreamResponse { sequence: index as u64 + 1, result: Some(result) };
            match data.as_str() {
                "\"late\"" => late.push(answer(published)),
                "\"never\"" => owes.store(true, Ordering::Relaxed),
                "\"break\"" => return Err(Status::unavailable("the replica ends")),
                "\"refuse\"" => {
                    let refusal =
                        tonic_types::Status { code: 3, message: "no such thing".to_owned(), details: vec![] };
                    return Ok(vec![answer(Answer::Error(refusal))]);
                }
                _ => {
                    let mut answers = vec![answer(published)];
                    answers.append(&mut late);
                    return Ok(answers);
                }
            }
            Ok(Vec::new())
        });
        let answers = answers.flat_map(|answers: Result<Vec<_>, Status>| match answers {
            Ok(answers) => stream::iter(answers.into_iter().map(Ok).collect::<Vec<_>>()),
            Err(status) => stream::iter(vec![Err(status)]),
        });
        // While an answer is owed the stream does not end.
        let end = stream::poll_fn(move |_| match owing.load(Ordering::Relaxed) {
            true => Poll::Pending,
            false => Poll::Ready(None),
        });
        Ok(Response::new(Box::pin(answers.chain(end))))
    }
}

#[tonic::async_trait]
impl ConnectionService for Fake {
    async fn get_connection(
        &self,
        request: Request<GetConnectionRequest>,
    ) -> Result<Response<GetConnectionResponse>, Status> {
        let id = self.note(request, "read")?.connection;
        if id == "gone" {
            return Err(Status::not_found("no node holds it"));
        }
        Ok(Response::new(GetConnectionResponse { connection: Some(connection(id)) }))
    }

    /// Two pages.
    async fn list_connections(
        &self,
        request: Request<ListConnectionsRequest>,
    ) -> Result<Response<ListConnectionsResponse>, Status> {
        let request = self.note(request, "read")?;
        let answer = |id: &str, next: &str, coverage| ListConnectionsResponse {
            connections: vec![connection(id.to_owned())],
            next_page_token: next.to_owned(),
            coverage: Some(coverage),
        };
        let whole = Coverage { complete: true, ..Default::default() };
        Ok(Response::new(match request.page_token.as_str() {
            "" => answer("abc", "second", lacking()),
            _ => answer("def", "", whole),
        }))
    }

    async fn disconnect(
        &self,
        request: Request<DisconnectRequest>,
    ) -> Result<Response<DisconnectResponse>, Status> {
        self.note(request, "operate")?;
        Ok(Response::new(DisconnectResponse { outcome: outcome() }))
    }

    async fn subscribe(
        &self,
        request: Request<SubscribeRequest>,
    ) -> Result<Response<SubscribeResponse>, Status> {
        self.note(request, "operate")?;
        Ok(Response::new(SubscribeResponse { outcome: outcome() }))
    }

    async fn unsubscribe(
        &self,
        request: Request<UnsubscribeRequest>,
    ) -> Result<Response<UnsubscribeResponse>, Status> {
        self.note(request, "operate")?;
        Ok(Response::new(UnsubscribeResponse { outcome: outcome() }))
    }

    async fn refresh(&self, request: Request<RefreshRequest>) -> Result<Response<RefreshResponse>, Status> {
        self.note(request, "operate")?;
        Ok(Response::new(RefreshResponse { outcome: outcome() }))
    }

    async fn revoke_tokens(
        &self,
        request: Request<RevokeTokensRequest>,
    ) -> Result<Response<RevokeTokensResponse>, Status> {
        self.note(request, "operate")?;
        Ok(Response::new(RevokeTokensResponse { outcome: outcome() }))
    }
}

#[tonic::async_trait]
impl ClusterService for Fake {
    /// Two pages.
    async fn list_nodes(
        &self,
        request: Request<ListNodesRequest>,
    ) -> Result<Response<ListNodesResponse>, Status> {
        let request = self.note(request, "read")?;
        let (node, next) = match request.page_token.as_str() {
            "" => (
                Node {
                    node: "node-1".to_owned(),
                    state: NodeState::Linked.into(),
                    version: "0.1.0".to_owned(),
                    connections: 12_345,
                    capacity: 19_800,
                    reported_at: Some(THEN),
                },
                "second",
            ),
            _ => {
                (Node { node: "node-2".to_owned(), state: NodeState::Unlinked.into(), ..Node::default() }, "")
            }
        };
        Ok(Response::new(ListNodesResponse { nodes: vec![node], next_page_token: next.to_owned() }))
    }

    async fn list_channels(
        &self,
        request: Request<ListChannelsRequest>,
    ) -> Result<Response<ListChannelsResponse>, Status> {
        self.note(request, "read")?;
        let with =
            Channel { channel: "news".to_owned(), nodes: 2, has_presence: true, connections: 5, users: 3 };
        let without = Channel { channel: "sport".to_owned(), nodes: 1, ..Default::default() };
        let coverage = Some(Coverage { complete: true, ..Default::default() });
        let channels = vec![with, without];
        Ok(Response::new(ListChannelsResponse { channels, coverage, ..Default::default() }))
    }
}
