//! `fanfare.v1.PushService`: who pushes what.

use std::sync::Arc;
use std::time::Duration;

use fanfare_cluster::channel::Namespaces;
use fanfare_proto::v1::publish_result::Result as OneResult;
use fanfare_proto::v1::push_service_server::PushService;
use fanfare_proto::v1::{
    BroadcastRequest, BroadcastResponse, PublishRequest, PublishResponse, PublishResult,
    PublishStreamRequest, PublishStreamResponse,
};
use futures_util::StreamExt as _;
use futures_util::future::join_all;
use tokio::time::Instant;
use tonic::{Request, Response, Status, Streaming};

use super::deadline::time_left;
use super::push_stream;
use super::receipt::answer;
use super::status::to_message;
use crate::metrics::Metrics;
use crate::push::{Content, Push, Target, parse_wait};
use crate::refusal::Refusal;
use crate::router::{self, Accepted, Router};

/// Targets of one broadcast.
pub(crate) const MAX_TARGETS: usize = 1000;
/// Bytes that a broadcast hands to owners together, before it looks whether links keep up.
const BATCH_BYTES: usize = 256 << 10;
/// Targets that a broadcast hands to owners together.
const BATCH: usize = 256;
/// A broadcast without a deadline has this one, so that it is answered before it is cut off.
const BROADCAST_TIMEOUT: Duration = Duration::from_secs(65);

/// The service; cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct PushApi {
    router: Arc<Router>,
    channels: Arc<Namespaces>,
    metrics: Metrics,
}

impl PushApi {
    pub(crate) fn new(router: Arc<Router>, channels: Arc<Namespaces>, metrics: Metrics) -> Self {
        Self { router, channels, metrics }
    }

    async fn push(
        &self,
        request: PublishRequest,
        left: Option<Duration>,
    ) -> Result<router::Receipt, Refusal> {
        let mut push = Push::parse(request, &self.channels)?;
        if let (Some(wait), Some(left)) = (&mut push.wait, left) {
            *wait = wait.within(left);
        }
        self.router.publish(push).await
    }

    async fn push_to_all(
        &self,
        request: BroadcastRequest,
        left: Option<Duration>,
    ) -> Result<Vec<PublishResult>, Refusal> {
        if request.targets.len() > MAX_TARGETS {
            return Err(Refusal::invalid("targets", format!("at most {MAX_TARGETS} targets")));
        }
        let message = request.message.unwrap_or_default();
        let mut content = Content::parse(message, request.idempotency_key)?;
        let wait = parse_wait(request.wait_for, request.wait_timeout)?;
        let until = Instant::now() + left.unwrap_or(BROADCAST_TIMEOUT).min(BROADCAST_TIMEOUT);
        let at_once = (BATCH_BYTES / content.len().max(1)).clamp(1, BATCH);
        let mut targets = request.targets.into_iter();
        let mut accepted = Vec::with_capacity(targets.len());
        while targets.len() > 0 {
            let some = targets.by_ref().take(at_once);
            let pushes =
                some.map(|target| content.address(Target::parse(Some(target))?, wait, &self.channels));
            accepted.extend(self.router.publish_all(pushes).await);
        }
        let left = until.saturating_duration_since(Instant::now());
        let within = |accepted: Result<Accepted, Refusal>| accepted.map(|accepted| accepted.within(left));
        Ok(join_all(accepted.into_iter().map(|accepted| self.result(within(accepted)))).await)
    }

    async fn result(&self, accepted: Result<Accepted, Refusal>) -> PublishResult {
        let result = match accepted {
            Ok(accepted) => OneResult::Published(answer(self.router.receipt(accepted).await)),
            Err(refusal) => {
                self.metrics.refused.inc();
                OneResult::Error(to_message(refusal))
            }
        };
        PublishResult { result: Some(result) }
    }

    fn refuse(&self, refusal: Refusal) -> Status {
        self.metrics.refused.inc();
        refusal.into()
    }
}

#[tonic::async_trait]
impl PushService for PushApi {
    type PublishStreamStream = tonic::codegen::BoxStream<PublishStreamResponse>;

    async fn broadcast(
        &self,
        request: Request<BroadcastRequest>,
    ) -> Result<Response<BroadcastResponse>, Status> {
        let left = time_left(request.metadata().as_ref());
        let results = self.push_to_all(request.into_inner(), left).await;
        let results = results.map_err(|refusal| self.refuse(refusal))?;
        Ok(Response::new(BroadcastResponse { results }))
    }

    async fn publish_stream(
        &self,
        request: Request<Streaming<PublishStreamRequest>>,
    ) -> Result<Response<Self::PublishStreamStream>, Status> {
        let requests = request.into_inner();
        let requests = requests.map(|request| request.map(|request| request.publish.unwrap_or_default()));
        let (router, channels) = (self.router.clone(), self.channels.clone());
        let answers = push_stream::answers(requests, router, channels, self.metrics.clone());
        Ok(Response::new(Box::pin(answers)))
    }

    async fn publish(&self, request: Request<PublishRequest>) -> Result<Response<PublishResponse>, Status> {
        let left = time_left(request.metadata().as_ref());
        match self.push(request.into_inner(), left).await {
            Ok(receipt) => Ok(Response::new(answer(receipt))),
            Err(refusal) => Err(self.refuse(refusal)),
        }
    }
}
