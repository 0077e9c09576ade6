//! The operator's door of a process: liveness, readiness and metrics over plain HTTP.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use prometheus_client::registry::Registry as Metrics;
use tokio::net::{TcpListener, TcpStream};
use tracing::{debug, warn};

use crate::tasks::Tasks;

/// OpenMetrics text, which every Prometheus since 2.5 reads.
const METRICS_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
const HEADER_TIMEOUT: Duration = Duration::from_secs(5);
const CONNECTION_TIME: Duration = Duration::from_secs(300);

/// Whether the process can take work, and if not, why.
pub type Readiness = Arc<dyn Fn() -> Result<(), &'static str> + Send + Sync>;

/// What the door shows.
#[derive(Clone)]
pub struct Admin {
    /// What `/metrics` prints.
    pub metrics: Arc<Metrics>,
    /// What `/readyz` answers.
    pub readiness: Readiness,
}

impl std::fmt::Debug for Admin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Admin").finish_non_exhaustive()
    }
}

impl Admin {
    /// Serves until the tasks stop.
    pub fn serve(self, listener: TcpListener, tasks: &Tasks) {
        let (connections, stopping) = (tasks.clone(), tasks.stopping());
        tasks.spawn("admin listener", async move {
            loop {
                tokio::select! {
                    () = stopping.cancelled() => return,
                    accepted = listener.accept() => match accepted {
                        Ok((stream, _)) => self.clone().serve_connection(stream, &connections),
                        Err(error) => {
                            warn!(%error, "the admin port cannot accept");
                            tokio::time::sleep(Duration::from_millis(100)).await;
                        }
                    }
                }
            }
        });
    }

    fn serve_connection(self, stream: TcpStream, tasks: &Tasks) {
        let stopping = tasks.stopping();
        tasks.spawn("admin connection", async move {
            let service =
                service_fn(|request| std::future::ready(Ok::<_, Infallible>(self.answer(&request))));
            let connection = hyper::server::conn::http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEADER_TIMEOUT)
                .serve_connection(TokioIo::new(stream), service);
            tokio::select! {
                () = stopping.cancelled() => {}
                served = tokio::time::timeout(CONNECTION_TIME, connection) => {
                    if let Ok(Err(error)) = served {
                        debug!(%error, "an admin connection ended");
                    }
                }
            }
        });
    }

    fn answer(&self, request: &Request<Incoming>) -> Response<Full<Bytes>> {
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            return text(StatusCode::METHOD_NOT_ALLOWED, "only GET is answered here\n");
        }
        match request.uri().path() {
            "/metrics" => {
                let mut body = String::new();
                if prometheus_client::encoding::text::encode(&mut body, &self.metrics).is_err() {
                    return text(StatusCode::INTERNAL_SERVER_ERROR, "metrics cannot be written\n");
                }
                let mut response = Response::new(Full::new(Bytes::from(body)));
                response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(METRICS_TYPE));
                response
            }
            path => health(path, &self.readiness)
                .unwrap_or_else(|| text(StatusCode::NOT_FOUND, "try /livez, /readyz or /metrics\n")),
        }
    }
}

/// Answers `/livez` and `/readyz`; other paths are not its business.
pub fn health(path: &str, readiness: &Readiness) -> Option<Response<Full<Bytes>>> {
    match path {
        "/livez" => Some(text(StatusCode::OK, "ok\n")),
        "/readyz" => Some(match readiness() {
            Ok(()) => text(StatusCode::OK, "ok\n"),
            Err(why) => text(StatusCode::SERVICE_UNAVAILABLE, &format!("{why}\n")),
        }),
        _ => None,
    }
}

/// A plain text answer.
pub fn text(status: StatusCode, body: &str) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body.to_owned())));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}
