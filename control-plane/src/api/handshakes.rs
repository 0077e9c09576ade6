//! TLS in front of the API: shakes hands with many callers at once, and hands on those that did.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use fanfare_cluster::tasks::Tasks;
use fanfare_cluster::tls::ServerTls;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_stream::Stream;
use tokio_stream::wrappers::ReceiverStream;
use tracing::{debug, warn};

use crate::metrics::Metrics;

/// A handshake takes two round trips and some arithmetic.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// Handshakes under way. Further callers wait in the system's queue.
const HANDSHAKES: usize = 256;
/// What is waited after the system has refused to accept, because files or memory have run out.
const PAUSE: Duration = Duration::from_millis(100);

/// The callers of a listener that have shaken hands.
pub(crate) fn accept(
    listener: TcpListener,
    tls: Arc<ServerTls>,
    metrics: Metrics,
    tasks: &Tasks,
) -> impl Stream<Item = io::Result<TlsStream<TcpStream>>> + use<> {
    // queue: callers that have shaken hands
    let (sender, callers) = mpsc::channel(16);
    // queue: TLS handshakes of the API
    let room = Arc::new(Semaphore::new(HANDSHAKES));
    let (stopping, spawner) = (tasks.stopping(), tasks.clone());
    tasks.spawn("API acceptor", async move {
        loop {
            let accepted = tokio::select! {
                () = stopping.cancelled() => return,
                accepted = listener.accept() => accepted,
            };
            let stream = match accepted {
                Ok((stream, _)) => stream,
                Err(error) => {
                    warn!(%error, "the API cannot accept a connection");
                    tokio::time::sleep(PAUSE).await;
                    continue;
                }
            };
            let permit = tokio::select! {
                () = stopping.cancelled() => return,
                permit = room.clone().acquire_owned() => permit,
            };
            let (tls, metrics, sender) = (tls.clone(), metrics.clone(), sender.clone());
            spawner.spawn("API handshake", async move {
                let _permit = permit;
                match tokio::time::timeout(HANDSHAKE_TIMEOUT, shake_hands(stream, &tls)).await {
                    // The server is gone only when the replica stops.
                    Ok(Ok(caller)) => drop(sender.send(Ok(caller)).await),
                    Ok(Err(error)) => {
                        metrics.api.failed_handshakes.inc();
                        debug!(%error, "a TLS handshake failed");
                    }
                    Err(_) => drop(metrics.api.failed_handshakes.inc()),
                }
            });
        }
    });
    ReceiverStream::new(callers)
}

async fn shake_hands(stream: TcpStream, tls: &ServerTls) -> io::Result<TlsStream<TcpStream>> {
    stream.set_nodelay(true)?;
    TlsAcceptor::from(tls.current()).accept(stream).await
}
