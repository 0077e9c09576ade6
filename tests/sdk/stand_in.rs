//! A push service that is as busy as a test wants: it refuses first and tells when to come again.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use fanfare_proto::v1::message::Payload;
use fanfare_proto::v1::publish_stream_response::Result as Answer;
use fanfare_proto::v1::push_service_server::{PushService, PushServiceServer};
use fanfare_proto::v1::{
    BroadcastRequest, BroadcastResponse, PublishRequest, PublishResponse, PublishStreamRequest,
    PublishStreamResponse, Receipt,
};
use futures_util::StreamExt as _;
use prost::Message as _;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tonic::codegen::BoxStream;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tonic::{Code, Request, Response, Status, Streaming};
use tonic_types::{ErrorDetails, StatusExt as _};

const RETRY_AFTER: Duration = Duration::from_millis(20);

/// A stand-in that serves until it is dropped.
pub(crate) struct StandIn {
    pub(crate) address: SocketAddr,
    busy: Busy,
    _runtime: Runtime,
}

impl StandIn {
    /// Starts one that refuses the first call, and every tenth message of the first stream.
    pub(crate) fn start() -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .expect("a runtime starts");
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).expect("there is a free port");
        let address = listener.local_addr().expect("it is bound");
        let busy = Busy::default();
        let server = Server::builder().add_service(PushServiceServer::new(busy.clone()));
        // It ends with its runtime.
        runtime.spawn(server.serve_with_incoming(TcpIncoming::from(listener)));
        Self { address, busy, _runtime: runtime }
    }

    /// The JSON of what was accepted, in its order.
    pub(crate) fn accepted(&self) -> Vec<String> {
        self.busy.accepted.lock().expect("nothing panics under the lock").clone()
    }

    /// How many requests were refused.
    pub(crate) fn refused(&self) -> usize {
        self.busy.refused.load(Ordering::Relaxed)
    }
}

#[derive(Clone, Default)]
struct Busy {
    calls: Arc<AtomicUsize>,
    refused: Arc<AtomicUsize>,
    accepted: Arc<Mutex<Vec<String>>>,
}

impl Busy {
    fn answer(&self, request: Option<PublishRequest>, refuse: bool) -> Result<PublishResponse, Status> {
        if refuse {
            self.refused.fetch_add(1, Ordering::Relaxed);
            let mut details = ErrorDetails::with_error_info("OWNER_BUSY", "fanfare.v1", HashMap::new());
            details.set_retry_info(Some(RETRY_AFTER));
            return Err(Status::with_error_details(Code::ResourceExhausted, "too many wait", details));
        }
        let payload = request.and_then(|request| request.message).and_then(|message| message.payload);
        let Some(Payload::Json(json)) = payload else { panic!("the programs push JSON: {payload:?}") };
        self.accepted.lock().expect("nothing panics under the lock").push(json);
        let receipt = Receipt { nodes_asked: 1, written: 1, complete: true, ..Default::default() };
        Ok(PublishResponse { receipt: Some(receipt), ..Default::default() })
    }

    fn is_first_call(&self) -> bool {
        self.calls.fetch_add(1, Ordering::Relaxed) == 0
    }
}

#[tonic::async_trait]
impl PushService for Busy {
    type PublishStreamStream = BoxStream<PublishStreamResponse>;

    async fn publish(&self, request: Request<PublishRequest>) -> Result<Response<PublishResponse>, Status> {
        self.answer(Some(request.into_inner()), self.is_first_call()).map(Response::new)
    }

    async fn broadcast(&self, _: Request<BroadcastRequest>) -> Result<Response<BroadcastResponse>, Status> {
        Err(Status::unimplemented("the programs do not broadcast"))
    }

    async fn publish_stream(
        &self,
        requests: Request<Streaming<PublishStreamRequest>>,
    ) -> Result<Response<Self::PublishStreamStream>, Status> {
        let (busy, is_first) = (self.clone(), self.is_first_call());
        let answers =
            requests.into_inner().zip(futures_util::stream::iter(1..)).map(move |(request, sequence)| {
                let answer = match busy.answer(request?.publish, is_first && sequence % 10 == 0) {
                    Ok(published) => Answer::Published(published),
                    Err(status) => Answer::Error(
                        tonic_types::Status::decode(status.details())
                            .expect("the details are the whole status"),
                    ),
                };
                Ok(PublishStreamResponse { sequence, result: Some(answer) })
            });
        Ok(Response::new(Box::pin(answers)))
    }
}
