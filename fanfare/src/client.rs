//! The command line's side of the public API: how it is reached, and how its refusals are told to people.

use std::time::Duration;

use fanfare_proto::v1::push_service_client::PushServiceClient;
use fanfare_proto::v1::{PublishRequest, PublishResponse};
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status};
use tonic_types::StatusExt as _;

use crate::exit::Failure;

/// A client of the push service.
#[derive(Clone, Debug)]
pub(crate) struct PushClient {
    service: PushServiceClient<Channel>,
    timeout: Duration,
    endpoint: String,
}

impl PushClient {
    /// Connects.
    pub(crate) async fn connect(endpoint: &str, timeout: Duration) -> Result<Self, Failure> {
        let unreachable = |error: &dyn std::error::Error| {
            let source = innermost(error);
            let hint =
                "is the server running? Start one with: fanfare serve --dev, or name another with --endpoint";
            Failure::Failed(format!("cannot reach {endpoint}: {source}\n{hint}"))
        };
        let channel = Endpoint::from_shared(endpoint.to_owned())
            .map_err(|error| Failure::Usage(format!("--endpoint {endpoint}: {error}")))?
            .connect_timeout(timeout)
            .tcp_nodelay(true)
            .connect()
            .await
            .map_err(|error| unreachable(&error))?;
        Ok(Self { service: PushServiceClient::new(channel), timeout, endpoint: endpoint.to_owned() })
    }

    /// Pushes.
    pub(crate) async fn publish(&mut self, request: PublishRequest) -> Result<PublishResponse, Failure> {
        let mut request = Request::new(request);
        request.set_timeout(self.timeout);
        let answer = self.service.publish(request).await;
        answer.map(tonic::Response::into_inner).map_err(|status| refused(&status, &self.endpoint))
    }
}

/// Says what the server refused, and what can be done about it.
fn refused(status: &Status, endpoint: &str) -> Failure {
    let details = status.get_error_details();
    // The library says "cancelled" when its own side of the call has run out of time.
    let late = status.code() == Code::Cancelled && status.message() == "Timeout expired";
    let code = if late { Code::DeadlineExceeded } else { status.code() };
    let mut message = match code {
        Code::DeadlineExceeded => format!("{endpoint} did not answer in time: try a longer --timeout"),
        _ => status.message().to_owned(),
    };
    if let Some(retry) = details.retry_info().and_then(|info| info.retry_delay) {
        message.push_str(&format!(" (in {retry:?})"));
    }
    if let Some(info) = details.error_info() {
        message.push_str(&format!(" [{}]", info.reason));
    }
    Failure::Refused { code: code as i32, message }
}

fn innermost(error: &dyn std::error::Error) -> String {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost.to_string()
}
