//! The one place where refusals become gRPC statuses.

use std::collections::HashMap;
use std::time::Duration;

use prost::Message as _;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt as _};

use crate::refusal::Refusal;

/// The domain of our `google.rpc.ErrorInfo`s.
const DOMAIN: &str = "fanfare.v1";
const RETRY_AFTER: Duration = Duration::from_millis(200);

impl From<Refusal> for Status {
    fn from(refusal: Refusal) -> Self {
        let (code, reason, retry) = match &refusal {
            Refusal::Invalid { .. } => (Code::InvalidArgument, "INVALID_FIELD", None),
            Refusal::NotBuilt { .. } => (Code::Unimplemented, "OPTION_NOT_AVAILABLE", None),
            Refusal::UnknownConnection => (Code::NotFound, "CONNECTION_NOT_FOUND", None),
            Refusal::Busy => (Code::ResourceExhausted, "OWNER_BUSY", Some(RETRY_AFTER)),
            Refusal::PresenceBusy => (Code::ResourceExhausted, "PRESENCE_BUSY", Some(RETRY_AFTER)),
            Refusal::Stopping => (Code::Unavailable, "REPLICA_STOPPING", Some(RETRY_AFTER)),
            Refusal::PresenceOff => (Code::FailedPrecondition, "PRESENCE_OFF", None),
            Refusal::TooManySubscriptions => (Code::FailedPrecondition, "TOO_MANY_SUBSCRIPTIONS", None),
            Refusal::NoOwner => (Code::Unavailable, "OWNER_CHANGING", Some(RETRY_AFTER)),
            Refusal::HistoryUnavailable => (Code::Unavailable, "HISTORY_UNAVAILABLE", Some(RETRY_AFTER)),
            Refusal::Unrecoverable => (Code::OutOfRange, "UNRECOVERABLE_POSITION", None),
            Refusal::NoHistory { .. } => (Code::FailedPrecondition, "NO_HISTORY", None),
            Refusal::TooFast { wait } => (Code::ResourceExhausted, "PUBLICATION_RATE_LIMIT", Some(*wait)),
            Refusal::NoAnswer => (Code::Unavailable, "NODE_SILENT", Some(RETRY_AFTER)),
            Refusal::TooManyRevocations => {
                (Code::ResourceExhausted, "TOO_MANY_REVOCATIONS", Some(Duration::from_secs(60)))
            }
            Refusal::NotKept => (Code::Internal, "REVOCATION_NOT_KEPT", None),
            Refusal::Unauthenticated => (Code::Unauthenticated, "KEY_REQUIRED", None),
            Refusal::Forbidden { .. } => (Code::PermissionDenied, "ROLE_REQUIRED", None),
            Refusal::Overloaded => (Code::ResourceExhausted, "CONCURRENCY_LIMIT", Some(RETRY_AFTER)),
        };
        let mut details = ErrorDetails::with_error_info(reason, DOMAIN, HashMap::<String, String>::new());
        if let Refusal::Invalid { field, why } = &refusal {
            details.add_bad_request_violation(*field, why);
        }
        if retry.is_some() {
            details.set_retry_info(retry);
        }
        Self::with_error_details(code, refusal.to_string(), details)
    }
}

/// The same as a message, for answers that hold several results.
pub(crate) fn to_message(refusal: Refusal) -> tonic_types::Status {
    let status = Status::from(refusal);
    // A status with details holds the whole message, as the header `grpc-status-details-bin` wants it.
    tonic_types::Status::decode(status.details()).unwrap_or_else(|_| tonic_types::Status {
        code: status.code().into(),
        message: status.message().to_owned(),
        ..Default::default()
    })
}

/// The name of a code as documents and other languages write it.
pub(crate) fn name(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "CANCELLED",
        Code::Unknown => "UNKNOWN",
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Code::NotFound => "NOT_FOUND",
        Code::AlreadyExists => "ALREADY_EXISTS",
        Code::PermissionDenied => "PERMISSION_DENIED",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        Code::Aborted => "ABORTED",
        Code::OutOfRange => "OUT_OF_RANGE",
        Code::Unimplemented => "UNIMPLEMENTED",
        Code::Internal => "INTERNAL",
        Code::Unavailable => "UNAVAILABLE",
        Code::DataLoss => "DATA_LOSS",
        Code::Unauthenticated => "UNAUTHENTICATED",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Role;

    #[test]
    fn every_error_has_a_reason_and_retryable_ones_say_when() {
        let refusals = [
            Refusal::invalid("target", "is required"),
            Refusal::NotBuilt { field: "message.ttl" },
            Refusal::UnknownConnection,
            Refusal::Busy,
            Refusal::PresenceBusy,
            Refusal::Stopping,
            Refusal::PresenceOff,
            Refusal::TooManySubscriptions,
            Refusal::NoOwner,
            Refusal::HistoryUnavailable,
            Refusal::Unrecoverable,
            Refusal::NoHistory { field: "message.ttl" },
            Refusal::TooFast { wait: Duration::from_millis(7) },
            Refusal::NoAnswer,
            Refusal::TooManyRevocations,
            Refusal::Unauthenticated,
            Refusal::Forbidden { key: "shop".into(), role: Role::Read },
            Refusal::Overloaded,
        ];
        for refusal in refusals {
            let status = Status::from(refusal.clone());
            let details = status.get_error_details();
            assert!(details.error_info().is_some_and(|info| info.domain == DOMAIN), "{status:?}");
            let retryable = matches!(status.code(), Code::ResourceExhausted | Code::Unavailable);
            assert_eq!(details.retry_info().is_some(), retryable, "{status:?}");
            assert_eq!(details.bad_request().is_some(), status.code() == Code::InvalidArgument);
            let message = to_message(refusal);
            assert_eq!((message.code, message.message.as_str()), (status.code().into(), status.message()));
            assert!(!message.details.is_empty(), "the details are there, too");
        }
    }
}
