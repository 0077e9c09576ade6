//! `fanfare.v1.PushService`: who pushes what, and the one place where push errors become gRPC statuses.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use fanfare_cluster::channel::Namespaces;
use fanfare_proto::v1::push_service_server::PushService;
use fanfare_proto::v1::{
    BroadcastRequest, BroadcastResponse, NodeGap, PublishRequest, PublishResponse, PublishStreamRequest,
    PublishStreamResponse, Receipt,
};
use tonic::metadata::MetadataMap;
use tonic::{Code, Request, Response, Status, Streaming};
use tonic_types::{ErrorDetails, StatusExt as _};

use crate::metrics::Metrics;
use crate::push::{Push, PushError};
use crate::router::{self, Router};

/// The domain of our `google.rpc.ErrorInfo`s.
const DOMAIN: &str = "fanfare.v1";
/// What a receipt is answered ahead of the call's deadline, so that the caller gets it.
const AHEAD_OF_DEADLINE: Duration = Duration::from_millis(50);
const RETRY_AFTER: Duration = Duration::from_millis(200);

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
        deadline: Option<Duration>,
    ) -> Result<router::Receipt, PushError> {
        let mut push = Push::parse(request, &self.channels)?;
        if let (Some(wait), Some(deadline)) = (&mut push.wait, deadline) {
            *wait = wait.within(deadline.saturating_sub(AHEAD_OF_DEADLINE));
        }
        self.router.publish(push).await
    }
}

#[tonic::async_trait]
impl PushService for PushApi {
    type PublishStreamStream = tonic::codegen::BoxStream<PublishStreamResponse>;

    async fn broadcast(&self, _: Request<BroadcastRequest>) -> Result<Response<BroadcastResponse>, Status> {
        Err(Status::unimplemented("Broadcast comes with the next change"))
    }

    async fn publish_stream(
        &self,
        _: Request<Streaming<PublishStreamRequest>>,
    ) -> Result<Response<Self::PublishStreamStream>, Status> {
        Err(Status::unimplemented("PublishStream comes with the next change"))
    }

    async fn publish(&self, request: Request<PublishRequest>) -> Result<Response<PublishResponse>, Status> {
        let deadline = deadline(request.metadata());
        match self.push(request.into_inner(), deadline).await {
            Ok(receipt) => {
                Ok(Response::new(PublishResponse { receipt: Some(receipt.into()), ..Default::default() }))
            }
            Err(error) => {
                self.metrics.refused.inc();
                Err(error.into())
            }
        }
    }
}

impl From<router::Receipt> for Receipt {
    fn from(receipt: router::Receipt) -> Self {
        let gap = |(node, reason): (fanfare_cluster::member::MemberId, fanfare_proto::v1::GapReason)| {
            NodeGap { node: node.into(), reason: reason.into() }
        };
        Self {
            nodes_asked: receipt.nodes_asked as u32,
            written: receipt.counts.written,
            pending: receipt.counts.pending,
            cut: receipt.counts.cut,
            user_offline: receipt.user_offline,
            complete: receipt.gaps.is_empty(),
            gaps: receipt.gaps.into_iter().map(gap).collect(),
        }
    }
}

impl From<PushError> for Status {
    fn from(error: PushError) -> Self {
        let (code, reason) = match &error {
            PushError::Invalid { .. } => (Code::InvalidArgument, "INVALID_FIELD"),
            PushError::NotBuilt { .. } => (Code::Unimplemented, "OPTION_NOT_AVAILABLE"),
            PushError::UnknownConnection => (Code::NotFound, "CONNECTION_NOT_FOUND"),
            PushError::Busy => (Code::ResourceExhausted, "OWNER_BUSY"),
            PushError::NoOwner => (Code::Unavailable, "OWNER_CHANGING"),
        };
        let mut details = ErrorDetails::with_error_info(reason, DOMAIN, HashMap::<String, String>::new());
        match &error {
            PushError::Invalid { field, why } => {
                details.add_bad_request_violation(*field, why);
            }
            PushError::Busy | PushError::NoOwner => {
                details.set_retry_info(Some(RETRY_AFTER));
            }
            PushError::NotBuilt { .. } | PushError::UnknownConnection => {}
        }
        Self::with_error_details(code, error.to_string(), details)
    }
}

/// What is left of the call's time, from the `grpc-timeout` header: up to 8 digits and a unit.
fn deadline(metadata: &MetadataMap) -> Option<Duration> {
    let text = metadata.get("grpc-timeout")?.to_str().ok()?;
    let (number, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let number: u64 = number.parse().ok()?;
    match unit {
        "H" => Some(Duration::from_secs(number.saturating_mul(3600))),
        "M" => Some(Duration::from_secs(number.saturating_mul(60))),
        "S" => Some(Duration::from_secs(number)),
        "m" => Some(Duration::from_millis(number)),
        "u" => Some(Duration::from_micros(number)),
        "n" => Some(Duration::from_nanos(number)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_error_has_a_reason_and_retryable_ones_say_when() {
        let errors = [
            PushError::Invalid { field: "target", why: "is required".into() },
            PushError::NotBuilt { field: "message.ttl" },
            PushError::UnknownConnection,
            PushError::Busy,
            PushError::NoOwner,
        ];
        for error in errors {
            let retryable = matches!(error, PushError::Busy | PushError::NoOwner);
            let status = Status::from(error);
            let details = status.get_error_details();
            assert!(details.error_info().is_some_and(|info| info.domain == DOMAIN), "{status:?}");
            assert_eq!(details.retry_info().is_some(), retryable, "{status:?}");
            let bad_field = details.bad_request().is_some();
            assert_eq!(bad_field, status.code() == Code::InvalidArgument);
        }
    }

    #[test]
    fn the_deadline_is_read_as_grpc_writes_it() {
        let parse = |text: &'static str| {
            let mut metadata = MetadataMap::new();
            metadata.insert("grpc-timeout", text.parse().unwrap());
            deadline(&metadata)
        };
        assert_eq!(parse("250m"), Some(Duration::from_millis(250)));
        assert_eq!(parse("3S"), Some(Duration::from_secs(3)));
        assert_eq!(parse("3"), None);
        assert_eq!(parse("3x"), None);
    }
}
