//! The door for clients: accepts sockets and hands each to the shard that has the fewest.

mod front;
mod origin;

use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use crate::shard::ShardHandle;

pub(crate) use front::{Front, Handshake, dev_page};
pub(crate) use origin::OriginRule;

/// How long accepting rests when the system refuses, for example because no file is left.
const REST: Duration = Duration::from_millis(100);

/// Accepts until told to stop.
pub(crate) async fn accept(listener: TcpListener, shards: Vec<ShardHandle>, stopping: CancellationToken) {
    loop {
        let accepted = tokio::select! {
            () = stopping.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, peer)) => hand_over(stream, peer, &shards).await,
            Err(error) => {
                warn!(%error, "cannot accept clients: is the file limit reached?");
                tokio::time::sleep(REST).await;
            }
        }
    }
}

async fn hand_over(stream: TcpStream, peer: SocketAddr, shards: &[ShardHandle]) {
    let ready = stream.set_nodelay(true).and_then(|()| stream.into_std());
    match ready {
        Ok(stream) => {
            let Some(shard) = shards.iter().min_by_key(|shard| shard.sockets()) else { return };
            shard.hand_over(stream).await;
        }
        Err(error) => debug!(%peer, %error, "a client was gone before it was served"),
    }
}
