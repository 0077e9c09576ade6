//! The HTTP side of the door: the WebSocket handshake, health for load balancers, and the dev page.

use std::cell::Cell;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use fanfare_cluster::admin::{Readiness, health, text};
use fanfare_cluster::tls::ServerTls;
use fastwebsockets::upgrade::{UpgradeFut, is_upgrade_request, upgrade};
use http_body_util::Full;
use hyper::body::{Body as _, Incoming};
use hyper::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HOST, HeaderValue, RETRY_AFTER, SEC_WEBSOCKET_KEY,
    SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_VERSION, X_CONTENT_TYPE_OPTIONS,
};
use hyper::service::service_fn;
use hyper::{HeaderMap, Method, Request, Response, StatusCode, Version};
use hyper_util::rt::{TokioIo, TokioTimer};
use rustls::ServerConnection;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tracing::debug;

use super::origin::OriginRule;
use super::proxy;
use crate::admission::{Admission, Admitted, Refusal};
use crate::config::{ClientConfig, DevMode};
use crate::encoding::{Encoding, Manner};

/// Where clients connect.
const WEBSOCKET_PATH: &str = "/connection/websocket";
/// How long a socket may be used for plain HTTP requests: health checks make new ones.
const HTTP_TIME: Duration = Duration::from_secs(15);
const DEV_PAGE: &str = include_str!("../../assets/dev.html");
const DEV_PAGE_POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; \
     connect-src 'self' ws: wss:; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

type Answer = Response<Full<Bytes>>;

/// A socket whose handshake is done.
#[derive(Debug)]
pub(crate) struct Handshake {
    pub(crate) stream: TcpStream,
    /// Its TLS, if the port speaks that.
    pub(crate) tls: Option<Box<ServerConnection>>,
    /// What the client sent right behind the handshake.
    pub(crate) early: Bytes,
    pub(crate) accepted: Accepted,
}

/// What a handshake has settled.
#[derive(Debug)]
pub(crate) struct Accepted {
    pub(crate) manner: Manner,
    /// The user, if a trusted proxy has named one.
    pub(crate) user: Option<Arc<str>>,
    /// Its place among the node's connections.
    pub(crate) admitted: Admitted,
}

/// The front door.
pub(crate) struct Front {
    pub(crate) origins: OriginRule,
    pub(crate) readiness: Readiness,
    /// The page for developers; `None` where nobody develops.
    pub(crate) dev_page: Option<Bytes>,
    pub(crate) tls: Option<Arc<ServerTls>>,
    pub(crate) client: ClientConfig,
    pub(crate) admission: Arc<Admission>,
}

/// A handshake that hyper still has to hand over.
type Upgrading = Cell<Option<(UpgradeFut, Accepted)>>;

impl Front {
    /// Serves a new socket. Returns it if it has become a WebSocket.
    pub(crate) async fn serve(&self, stream: TcpStream, peer: SocketAddr) -> Option<Box<Handshake>> {
        let Some(tls) = &self.tls else {
            let (stream, early, accepted) = self.serve_http(stream, peer).await?;
            return Some(Box::new(Handshake { stream, tls: None, early, accepted }));
        };
        let handshake = TlsAcceptor::from(tls.current()).accept(stream);
        let stream = match tokio::time::timeout(self.client.handshake_timeout.0, handshake).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => {
                self.admission.count("tls");
                debug!(%peer, %error, "a TLS handshake failed");
                return None;
            }
            Err(_) => {
                self.admission.count("tls");
                debug!(%peer, "a TLS handshake took too long");
                return None;
            }
        };
        let (stream, early, accepted) = self.serve_http(stream, peer).await?;
        let (stream, tls) = stream.into_inner();
        Some(Box::new(Handshake { stream, tls: Some(Box::new(tls)), early, accepted }))
    }

    /// Serves HTTP on it, until it has become a WebSocket.
    async fn serve_http<S>(&self, stream: S, peer: SocketAddr) -> Option<(S, Bytes, Accepted)>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let upgrading = Upgrading::new(None);
        let service = service_fn(|request| {
            let answer = self.answer(request, peer, &upgrading);
            std::future::ready(Ok::<_, Infallible>(answer))
        });
        let connection = hyper::server::conn::http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(self.client.handshake_timeout.0)
            .max_buf_size(self.client.handshake_max_size.0)
            .serve_connection(TokioIo::new(stream), service)
            .with_upgrades();
        match tokio::time::timeout(HTTP_TIME, connection).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => debug!(%error, "an HTTP connection ended"),
            Err(_) => debug!("an HTTP connection has been open for too long"),
        }
        let (upgrade, accepted) = upgrading.take()?;
        let upgraded = upgrade.await.ok()?.into_inner().into_inner();
        let parts = upgraded.downcast::<TokioIo<S>>().ok()?;
        Some((parts.io.into_inner(), parts.read_buf, accepted))
    }

    fn answer(&self, request: Request<Incoming>, peer: SocketAddr, upgrading: &Upgrading) -> Answer {
        if let Some(answer) = health(request.uri().path(), &self.readiness) {
            return answer;
        }
        if self.dev_page.is_some() && !self.origins.admits(request.headers()) {
            return text(
                StatusCode::FORBIDDEN,
                "in dev mode only pages and names of this machine are let in\n",
            );
        }
        let readable = matches!(*request.method(), Method::GET | Method::HEAD);
        match request.uri().path() {
            WEBSOCKET_PATH => self.handshake(request, peer, upgrading).unwrap_or_else(|refusal| *refusal),
            "/" if readable => match &self.dev_page {
                Some(page) => show_dev_page(page.clone()),
                None => {
                    text(StatusCode::NOT_FOUND, "this is Fanfare; clients connect to /connection/websocket\n")
                }
            },
            _ => text(StatusCode::NOT_FOUND, "not found\n"),
        }
    }

    fn handshake(
        &self,
        mut request: Request<Incoming>,
        peer: SocketAddr,
        upgrading: &Upgrading,
    ) -> Result<Answer, Box<Answer>> {
        self.check_request(&request)?;
        let subprotocol = subprotocol(request.headers());
        let query = request.uri().query().unwrap_or_default();
        let asks = |pair: &str| query.split('&').any(|part| part == pair);
        let protobuf = asks("cf_protocol=protobuf") || asks("format=protobuf");
        let encoding = match (subprotocol, protobuf) {
            (Some(Subprotocol::Protobuf), _) | (_, true) => Encoding::Protobuf,
            _ => Encoding::Json,
        };
        let manner = Manner { encoding, frame_pings: asks("cf_ws_frame_ping_pong=true") };
        let user = proxy::user(request.headers(), &self.client.user_id_http_header)
            .map_err(|why| self.refuse("handshake", StatusCode::BAD_REQUEST, why))?;
        let ip = proxy::ip(request.headers(), &self.client.ip_http_header).unwrap_or(peer.ip());
        let admitted = self.admission.admit(ip).map_err(busy)?;
        let (response, upgrade) = upgrade(&mut request).map_err(|error| {
            let why = format!("no WebSocket handshake: {error}\n");
            self.refuse("handshake", StatusCode::BAD_REQUEST, &why)
        })?;
        upgrading.set(Some((upgrade, Accepted { manner, user, admitted })));
        let mut response = response.map(|_| Full::default());
        if let Some(subprotocol) = subprotocol {
            let name = HeaderValue::from_static(subprotocol.name());
            response.headers_mut().insert(SEC_WEBSOCKET_PROTOCOL, name);
        }
        Ok(response)
    }

    /// Whether this is a handshake at all, from a page that may make one.
    fn check_request(&self, request: &Request<Incoming>) -> Result<(), Box<Answer>> {
        if request.method() != Method::GET
            || request.version() != Version::HTTP_11
            || !is_upgrade_request(request)
        {
            let why = "this is a WebSocket endpoint\n";
            return Err(self.refuse("handshake", StatusCode::UPGRADE_REQUIRED, why));
        }
        if let Some(why) = contradiction(request) {
            return Err(self.refuse("handshake", StatusCode::BAD_REQUEST, why));
        }
        if !self.origins.admits(request.headers()) {
            let why = "the page's origin is not in client.allowed_origins\n";
            return Err(self.refuse("origin", StatusCode::FORBIDDEN, why));
        }
        if !request.headers().get(SEC_WEBSOCKET_KEY).is_some_and(is_key) {
            let why = "Sec-WebSocket-Key must be 16 bytes in Base64\n";
            return Err(self.refuse("handshake", StatusCode::BAD_REQUEST, why));
        }
        Ok(())
    }

    fn refuse(&self, reason: &'static str, status: StatusCode, why: &str) -> Box<Answer> {
        self.admission.count(reason);
        Box::new(text(status, why))
    }
}

/// The client may come in later, or elsewhere.
fn busy(refusal: Refusal) -> Box<Answer> {
    let mut answer = text(StatusCode::SERVICE_UNAVAILABLE, refusal.reason());
    answer.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
    Box::new(answer)
}

/// What a proxy in front might read in another way than we do. Host, key and version stand there once (RFC 9112,
/// section 3.2; RFC 6455, section 11.3), and what follows the request are frames, not its body.
fn contradiction(request: &Request<Incoming>) -> Option<&'static str> {
    let headers = request.headers();
    let repeated = |name| headers.get_all(name).iter().nth(1).is_some();
    if [HOST, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_VERSION].into_iter().any(repeated) {
        Some("Host, Sec-WebSocket-Key and Sec-WebSocket-Version must not be repeated\n")
    } else if !headers.contains_key(HOST) {
        Some("Host is missing\n")
    } else if !request.body().is_end_stream() {
        Some("a WebSocket handshake has no body\n")
    } else {
        None
    }
}

/// RFC 6455, section 4.1: 16 bytes in Base64.
fn is_key(key: &HeaderValue) -> bool {
    let key = key.as_bytes();
    let digit = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/');
    key.len() == 24 && key.ends_with(b"==") && key[..22].iter().all(digit)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Subprotocol {
    Json,
    Protobuf,
}

impl Subprotocol {
    fn name(self) -> &'static str {
        match self {
            Self::Json => "centrifuge-json",
            Self::Protobuf => "centrifuge-protobuf",
        }
    }
}

/// The first of the client's subprotocols that is known. Browsers insist that it is echoed.
fn subprotocol(headers: &HeaderMap) -> Option<Subprotocol> {
    let offers = headers.get_all(SEC_WEBSOCKET_PROTOCOL).iter().filter_map(|value| value.to_str().ok());
    let known = |offer: &str| {
        let same = |candidate: &Subprotocol| candidate.name() == offer.trim();
        [Subprotocol::Json, Subprotocol::Protobuf].into_iter().find(same)
    };
    offers.flat_map(|offers| offers.split(',')).find_map(known)
}

/// The page with the command that pushes, which it shows.
pub(crate) fn dev_page(dev: &DevMode) -> Bytes {
    // The command stands inside a JavaScript string.
    let command = dev.push_command.replace(['\\', '\'', '<'], "");
    DEV_PAGE.replace("{{push-command}}", &command).into()
}

fn show_dev_page(page: Bytes) -> Answer {
    let mut response = Response::new(Full::new(page));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(DEV_PAGE_POLICY));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_known_subprotocol_is_chosen() {
        let choose = |values: &[&str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(SEC_WEBSOCKET_PROTOCOL, value.parse().unwrap());
            }
            subprotocol(&headers)
        };
        assert_eq!(choose(&[]), None);
        assert_eq!(choose(&["chat"]), None);
        assert_eq!(choose(&["chat, centrifuge-protobuf, centrifuge-json"]), Some(Subprotocol::Protobuf));
        assert_eq!(choose(&["chat", "centrifuge-json"]), Some(Subprotocol::Json));
    }
}
