//! What every call passes at the edge: request id, key and role, room among the calls, audit.

use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};

use arc_swap::ArcSwap;
use http::{HeaderMap, HeaderValue, Request, Response, header};
use hyper::body::{Body, Bytes, Frame, SizeHint};
use sha2::{Digest as _, Sha256};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use tonic::transport::server::{TcpConnectInfo, TlsConnectInfo};
use tonic::{Code, Status};
use tower::{Layer, Service};
use tracing::{Instrument as _, debug, info, info_span};

use super::asked::OperatorCall;
use super::keys::KeySet;
use super::methods::{Access, access};
use super::status;
use crate::config::Role;
use crate::metrics::Metrics;
use crate::refusal::Refusal;

const REQUEST_ID: &str = "x-request-id";
/// A longer request id is replaced by one of ours.
const MAX_REQUEST_ID: usize = 128;
/// Health calls under way. They need no key, so they have room of their own: strangers take nobody else's.
const HEALTH_CALLS: usize = 256;

/// Who may come in, and how many at once.
#[derive(Debug)]
pub(crate) struct Door {
    keys: ArcSwap<KeySet>,
    room: Arc<Semaphore>,
    health_room: Arc<Semaphore>,
    request_ids: RequestIds,
    stopping: CancellationToken,
    metrics: Metrics,
}

impl Door {
    pub(crate) fn new(
        keys: KeySet,
        concurrency_limit: usize,
        stopping: CancellationToken,
        metrics: Metrics,
    ) -> Self {
        Self {
            keys: ArcSwap::from_pointee(keys),
            // queue: calls of the API
            room: Arc::new(Semaphore::new(concurrency_limit.min(Semaphore::MAX_PERMITS))),
            // queue: health calls of the API
            health_room: Arc::new(Semaphore::new(HEALTH_CALLS)),
            request_ids: RequestIds::new(),
            stopping,
            metrics,
        }
    }

    /// Other keys count from now on. Calls that are under way go on.
    pub(crate) fn replace_keys(&self, keys: KeySet) {
        self.keys.store(Arc::new(keys));
    }

    /// Lets a call in; returns whose key it has, and its place among the calls.
    fn admit(
        &self,
        headers: &HeaderMap,
        access: Access,
    ) -> Result<(Option<Arc<str>>, OwnedSemaphorePermit), Refusal> {
        let authorization = headers.get(header::AUTHORIZATION).map(HeaderValue::as_bytes);
        let caller = self.keys.load().admit(authorization, access)?;
        let room = if access == Access::Open { &self.health_room } else { &self.room };
        let permit = room.clone().try_acquire_owned().map_err(|_| Refusal::Overloaded)?;
        Ok((caller, permit))
    }

    fn refuse(&self, refusal: Refusal) -> Response<Held> {
        let counter = match &refusal {
            Refusal::Unauthenticated => &self.metrics.api.unauthenticated,
            Refusal::Forbidden { .. } => &self.metrics.api.forbidden,
            _ => &self.metrics.api.shed,
        };
        counter.inc();
        debug!(%refusal, "a call is refused at the door");
        Status::from(refusal).into_http()
    }
}

/// Puts the door in front of all services.
#[derive(Clone, Debug)]
pub(crate) struct GuardLayer(pub(crate) Arc<Door>);

impl<S> Layer<S> for GuardLayer {
    type Service = Guard<S>;

    fn layer(&self, inner: S) -> Guard<S> {
        Guard { inner, door: self.0.clone() }
    }
}

/// All services, behind the door.
#[derive(Clone, Debug)]
pub(crate) struct Guard<S> {
    inner: S,
    door: Arc<Door>,
}

type Answering<E> = Pin<Box<dyn Future<Output = Result<Response<Held>, E>> + Send>>;

impl<S> Service<Request<tonic::body::Body>> for Guard<S>
where
    S: Service<Request<tonic::body::Body>, Response = Response<tonic::body::Body>>,
    S::Future: Send + 'static,
    S::Error: Send + 'static,
{
    type Response = Response<Held>;
    type Error = S::Error;
    type Future = Answering<S::Error>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<tonic::body::Body>) -> Self::Future {
        let door = self.door.clone();
        let request_id = door.request_ids.of(request.headers());
        let access = access(request.uri().path());
        let admitted = door.admit(request.headers(), access);
        let mut audit = None;
        // Strangers do not fill the log: a counter has them.
        let is_known = !matches!(admitted, Err(Refusal::Unauthenticated));
        if access == Access::Role(Role::Operate) && is_known {
            let caller = match &admitted {
                Ok((caller, _)) => caller.clone().unwrap_or_else(|| certificate_of(&request)),
                Err(Refusal::Forbidden { key, .. }) => key.as_str().into(),
                Err(_) => ANONYMOUS.into(),
            };
            let call = OperatorCall { caller, subject: Arc::new(OnceLock::new()) };
            audit = Some(Audit::new(call.clone(), request.uri().path(), &request_id));
            request.extensions_mut().insert(call);
        }
        let permit = match admitted {
            Ok((_, permit)) => permit,
            Err(refusal) => {
                let mut response = door.refuse(refusal);
                if let Some(audit) = &mut audit {
                    audit.answered(&response);
                }
                response.headers_mut().insert(REQUEST_ID, request_id);
                return Box::pin(std::future::ready(Ok(response)));
            }
        };
        let answering = self.inner.call(request);
        let stopping = door.stopping.clone();
        let hold = move |mut response: Response<tonic::body::Body>| {
            response.headers_mut().insert(REQUEST_ID, request_id);
            response.map(|body| Held::new(body, permit, stopping))
        };
        match audit {
            None => Box::pin(async move { answering.await.map(hold) }),
            Some(mut audit) => {
                let span =
                    info_span!("operator call", request_id = audit.request_id, caller = %audit.call.caller);
                let answering = async move {
                    let response = answering.await?;
                    audit.answered(&response);
                    Ok(hold(response))
                };
                Box::pin(answering.instrument(span))
            }
        }
    }
}

const ANONYMOUS: &str = "anonymous";

/// Who calls without a key: the holder of a client certificate, by its fingerprint, or nobody in particular.
fn certificate_of<B>(request: &Request<B>) -> Arc<str> {
    let info = request.extensions().get::<TlsConnectInfo<TcpConnectInfo>>();
    let certificates = info.and_then(TlsConnectInfo::peer_certs);
    match certificates.as_ref().and_then(|certificates| certificates.first()) {
        Some(certificate) => {
            let fingerprint: [u8; 32] = Sha256::digest(certificate.as_ref()).into();
            let digits = fingerprint.iter().map(|byte| format!("{byte:02x}"));
            format!("certificate {}", digits.collect::<String>()).into()
        }
        None => ANONYMOUS.into(),
    }
}

/// Writes one line when the call ends, however it ends.
struct Audit {
    call: OperatorCall,
    method: String,
    request_id: String,
    code: Code,
}

impl Audit {
    fn new(call: OperatorCall, path: &str, request_id: &HeaderValue) -> Self {
        let request_id = request_id.to_str().unwrap_or_default().to_owned();
        // Nothing else has been said if the call is given up: by its caller, or because its time is over.
        Self { call, method: path.trim_start_matches('/').to_owned(), request_id, code: Code::Cancelled }
    }

    /// An answer without a body says its code at once; one with a body has been carried out.
    fn answered<B>(&mut self, response: &Response<B>) {
        let code = response.headers().get("grpc-status");
        self.code = code.map_or(Code::Ok, |code| Code::from_bytes(code.as_bytes()));
    }
}

impl Drop for Audit {
    fn drop(&mut self) {
        info!(
            target: "fanfare::audit",
            caller = %self.call.caller,
            method = self.method,
            subject = self.call.subject.get().map(String::as_str).unwrap_or_default(),
            request_id = self.request_id,
            code = status::name(self.code),
            "operator call"
        );
    }
}

/// Names calls whose callers do not.
#[derive(Debug)]
struct RequestIds {
    start: u32,
    next: AtomicU64,
}

impl RequestIds {
    fn new() -> Self {
        Self { start: rand::random(), next: AtomicU64::new(1) }
    }

    /// The caller's own id if it can stand in a log, else a new one.
    fn of(&self, headers: &HeaderMap) -> HeaderValue {
        let is_good = |id: &&HeaderValue| {
            (1..=MAX_REQUEST_ID).contains(&id.len())
                && id.as_bytes().iter().all(|byte| (b' '..=b'~').contains(byte))
        };
        headers.get(REQUEST_ID).filter(is_good).cloned().unwrap_or_else(|| {
            let id = format!("{:08x}-{:x}", self.start, self.next.fetch_add(1, Ordering::Relaxed));
            HeaderValue::try_from(id).expect("digits can stand in a header")
        })
    }
}

/// The body of an answer, with the call's place among all calls until it ends. When the replica stops, a body that
/// would wait is ended: streams must not hold that up.
pub(crate) struct Held(Option<Holding>);

struct Holding {
    body: tonic::body::Body,
    stopping: CancellationToken,
    stopped: Option<Pin<Box<WaitForCancellationFutureOwned>>>,
    _permit: OwnedSemaphorePermit,
}

impl Held {
    fn new(body: tonic::body::Body, permit: OwnedSemaphorePermit, stopping: CancellationToken) -> Self {
        Self(Some(Holding { body, stopping, stopped: None, _permit: permit }))
    }
}

/// The body of an answer that has none.
impl Default for Held {
    fn default() -> Self {
        Self(None)
    }
}

impl Body for Held {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let Some(held) = &mut self.0 else { return Poll::Ready(None) };
        if let Poll::Ready(frame) = Pin::new(&mut held.body).poll_frame(cx) {
            if frame.is_none() {
                self.0 = None;
            }
            return Poll::Ready(frame);
        }
        let stopping = &held.stopping;
        let stopped = held.stopped.get_or_insert_with(|| Box::pin(stopping.clone().cancelled_owned()));
        match stopped.as_mut().poll(cx) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(()) => {
                self.0 = None;
                let mut trailers = HeaderMap::new();
                let status = Status::unavailable("the replica stops: call again");
                match status.add_header(&mut trailers) {
                    Ok(()) => Poll::Ready(Some(Ok(Frame::trailers(trailers)))),
                    Err(status) => Poll::Ready(Some(Err(status))),
                }
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.0.as_ref().is_none_or(|held| held.body.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        self.0.as_ref().map_or_else(|| SizeHint::with_exact(0), |held| held.body.size_hint())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_id_that_can_be_logged_is_kept_and_others_are_replaced() {
        let ids = RequestIds::new();
        let of = |id: &[u8]| {
            let mut headers = HeaderMap::new();
            headers.insert(REQUEST_ID, HeaderValue::from_bytes(id).unwrap());
            ids.of(&headers)
        };
        assert_eq!(of(b"order 7"), "order 7");
        assert_eq!(of(&[b'x'; MAX_REQUEST_ID]).len(), MAX_REQUEST_ID);
        for bad in [&b""[..], "\u{e4}".as_bytes(), b"a\tb", &[b'x'; MAX_REQUEST_ID + 1]] {
            assert!(of(bad).to_str().unwrap().starts_with(&format!("{:08x}-", ids.start)), "{bad:?}");
        }
        assert_ne!(ids.of(&HeaderMap::new()), ids.of(&HeaderMap::new()));
    }
}
