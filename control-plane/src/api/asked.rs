//! What is known of a call that acts on something, for its audit line and for its repetition.

use std::hash::BuildHasher as _;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use foldhash::fast::FixedState;
use tonic::Request;

use super::deadline::time_left;
use crate::refusal::Refusal;
use crate::repeats::RequestKey;

/// How long nodes may take to carry an operation out.
const PATIENCE: Duration = Duration::from_secs(5);
/// The longest request id, in bytes.
const MAX_REQUEST_ID: usize = 128;

/// What the edge knows of a call that acts on something, and what its audit line still has to learn.
#[derive(Clone, Debug)]
pub(crate) struct OperatorCall {
    pub(crate) caller: Arc<str>,
    /// Whom it concerns, once that is known.
    pub(crate) subject: Arc<OnceLock<String>>,
}

/// An operation with what is known of its call.
pub(super) struct Asked {
    pub(super) key: RequestKey,
    pub(super) patience: Duration,
}

impl Asked {
    pub(super) fn new<T: prost::Message>(
        request: &Request<T>,
        method: &'static str,
        id: &str,
        subject: String,
    ) -> Result<Self, Refusal> {
        let call = request.extensions().get::<OperatorCall>();
        if let Some(call) = call {
            // It is set once per call.
            let _ = call.subject.set(subject);
        }
        if id.len() > MAX_REQUEST_ID {
            return Err(Refusal::invalid("request_id", format!("at most {MAX_REQUEST_ID} bytes")));
        }
        let caller = call.map_or_else(|| "".into(), |call| call.caller.clone());
        let content = FixedState::default().hash_one(request.get_ref().encode_to_vec());
        let left = time_left(request.metadata().as_ref());
        let patience = left.map_or(PATIENCE, |left| left.min(PATIENCE));
        Ok(Self { key: RequestKey { caller, method, id: id.to_owned(), content }, patience })
    }
}
