//! Who calls the API: so many connections at once, and with TLS those that have shaken hands.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use fanfare_cluster::tasks::Tasks;
use fanfare_cluster::tls::ServerTls;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_stream::Stream;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::server::Connected;
use tracing::{debug, warn};

use crate::metrics::Metrics;

/// A handshake takes two round trips and some arithmetic.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);
/// What is waited after the system has refused to accept, because files or memory have run out.
const PAUSE: Duration = Duration::from_millis(100);

/// A caller's connection, with its place among all of them.
#[derive(Debug)]
pub(crate) struct Caller<S> {
    stream: S,
    _place: OwnedSemaphorePermit,
}

/// The callers of a listener, at most `most` at once: further ones wait in the system's queue.
pub(crate) fn plain(
    listener: TcpListener,
    most: usize,
    tasks: &Tasks,
) -> impl Stream<Item = io::Result<Caller<TcpStream>>> + use<> {
    // queue: callers of the API
    let (sender, callers) = mpsc::channel(16);
    accept(listener, most, tasks, move |stream, place| {
        let sender = sender.clone();
        // The server is gone only when the replica stops.
        async move { drop(sender.send(Ok(Caller { stream, _place: place })).await) }
    });
    ReceiverStream::new(callers)
}

/// The same, of those that have shaken hands.
pub(crate) fn with_tls(
    listener: TcpListener,
    (most, tls): (usize, Arc<ServerTls>),
    metrics: Metrics,
    tasks: &Tasks,
) -> impl Stream<Item = io::Result<Caller<TlsStream<TcpStream>>>> + use<> {
    // queue: callers that have shaken hands
    let (sender, callers) = mpsc::channel(16);
    accept(listener, most, tasks, move |stream, place| {
        let (tls, metrics, sender) = (tls.clone(), metrics.clone(), sender.clone());
        async move {
            let handshake = TlsAcceptor::from(tls.current()).accept(stream);
            match tokio::time::timeout(HANDSHAKE_TIMEOUT, handshake).await {
                Ok(Ok(stream)) => drop(sender.send(Ok(Caller { stream, _place: place })).await),
                Ok(Err(error)) => {
                    metrics.api.failed_handshakes.inc();
                    debug!(%error, "a TLS handshake failed");
                }
                Err(_) => drop(metrics.api.failed_handshakes.inc()),
            }
        }
    });
    ReceiverStream::new(callers)
}

/// Accepts until the tasks stop, while there are places; each connection is seen to in a task of its own.
fn accept<F: Future<Output = ()> + Send + 'static>(
    listener: TcpListener,
    most: usize,
    tasks: &Tasks,
    see_to: impl Fn(TcpStream, OwnedSemaphorePermit) -> F + Send + 'static,
) {
    // queue: connections of the API
    let places = Arc::new(Semaphore::new(most));
    let (stopping, spawner) = (tasks.stopping(), tasks.clone());
    tasks.spawn("API acceptor", async move {
        loop {
            let next = async {
                let place = places.clone().acquire_owned().await;
                (place, listener.accept().await)
            };
            let next = tokio::select! {
                () = stopping.cancelled() => return,
                next = next => next,
            };
            match next {
                (Ok(place), Ok((stream, _))) => {
                    // A socket that is gone already shows it when it is read.
                    let _ = stream.set_nodelay(true);
                    spawner.spawn("API connection", see_to(stream, place));
                }
                (_, Err(error)) => {
                    warn!(%error, "the API cannot accept a connection");
                    tokio::time::sleep(PAUSE).await;
                }
                (Err(_), _) => return,
            }
        }
    });
}

impl<S: Connected> Connected for Caller<S> {
    type ConnectInfo = S::ConnectInfo;

    fn connect_info(&self) -> S::ConnectInfo {
        self.stream.connect_info()
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Caller<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Caller<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
