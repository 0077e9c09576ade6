//! The door for clients: accepts sockets and hands each to the shard that has the fewest.

mod front;
mod origin;
mod proxy;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use crate::admission::{Admission, ShakingHands};
use crate::shard::{NewSocket, ShardHandle};

pub(crate) use front::{Accepted, Front, Handshake, dev_page};
pub(crate) use origin::OriginRule;

/// How long accepting rests when the system refuses, for example because no file is left.
const REST: Duration = Duration::from_millis(100);

/// Accepts until told to stop. With `most` sockets open it rests: the files that are left are for links and
/// the operator's door. Long before that handshakes are answered with 503.
pub(crate) async fn accept(
    listener: TcpListener,
    shards: Vec<ShardHandle>,
    (most, admission): (usize, Arc<Admission>),
    stopping: CancellationToken,
) {
    let mut resting = false;
    loop {
        let full = shards.iter().map(ShardHandle::sockets).sum::<usize>() >= most;
        if full && !resting {
            warn!(most, "hardly any file is left: no sockets are accepted");
        }
        resting = full;
        admission.set_short_of_files(full);
        if full {
            tokio::select! {
                () = stopping.cancelled() => return,
                () = tokio::time::sleep(REST) => continue,
            }
        }
        let accepted = tokio::select! {
            () = stopping.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, peer)) => match admission.admit_socket(peer.ip()) {
                Some(place) => hand_over(stream, (peer, place), &shards).await,
                None => debug!(%peer, "too many sockets of one address shake hands"),
            },
            Err(error) => {
                warn!(%error, "cannot accept clients: is the file limit reached?");
                tokio::time::sleep(REST).await;
            }
        }
    }
}

async fn hand_over(stream: TcpStream, (peer, place): (SocketAddr, ShakingHands), shards: &[ShardHandle]) {
    let ready = stream.set_nodelay(true).and_then(|()| stream.into_std());
    match ready {
        Ok(stream) => {
            let Some(shard) = shards.iter().min_by_key(|shard| shard.sockets()) else { return };
            shard.hand_over(NewSocket { stream, peer, place }).await;
        }
        Err(error) => debug!(%peer, %error, "a client was gone before it was served"),
    }
}
