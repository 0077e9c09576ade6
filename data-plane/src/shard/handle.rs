//! The way to a shard from other threads: what comes to it, in order.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use fanfare_cluster::byte_queue::{Sender, Weighed};
use fanfare_cluster::channel::ChannelName;
use fanfare_cluster::connection_id::ConnectionId;

use super::acts::Act;
use super::{Delivery, SlotKey};
use crate::admission::ShakingHands;
use crate::links::Asked;

/// A socket that was accepted.
#[derive(Debug)]
pub(crate) struct NewSocket {
    pub(crate) stream: std::net::TcpStream,
    pub(crate) peer: SocketAddr,
    /// Its place among those that shake hands.
    pub(crate) place: ShakingHands,
}

/// What comes to a shard, in order.
#[derive(Debug)]
pub(crate) enum ToShard {
    /// A new socket, before its handshake.
    Socket(NewSocket),
    /// The shard has joined the channel, here in the order.
    Joined { channel: ChannelName, ticket: u32 },
    /// The channel's owner did not answer.
    JoinFailed { channel: ChannelName, ticket: u32 },
    /// A publication.
    Deliver { delivery: Delivery, receipt_within: Duration },
    /// A message to one connection.
    DeliverTo { id: ConnectionId, data: Bytes, receipt: Option<u64>, receipt_within: Duration },
    /// The answer to a client's publish; 0 or an error code.
    Published { key: SlotKey, id: u32, code: u32 },
    /// An operation on connections.
    Act(Box<Act>),
    /// A question about a connection.
    Inspect { id: ConnectionId, asked: Asked },
    /// All connections shall end.
    Stop,
}

impl Weighed for ToShard {
    fn weight(&self) -> usize {
        const FLAT: usize = 128;
        FLAT + match self {
            Self::Deliver { delivery, .. } => delivery.weight(),
            Self::DeliverTo { data, .. } => data.len(),
            _ => 0,
        }
    }
}

/// The way to a shard from other threads; cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct ShardHandle {
    pub(super) inbox: Sender<ToShard>,
    pub(super) sockets: Arc<AtomicUsize>,
    pub(super) turns: Arc<AtomicU64>,
}

impl ShardHandle {
    /// The inbox.
    pub(crate) fn inbox(&self) -> &Sender<ToShard> {
        &self.inbox
    }

    /// How many sockets it has, or will have when it has taken in what is in its inbox.
    pub(crate) fn sockets(&self) -> usize {
        self.sockets.load(Ordering::Relaxed)
    }

    /// Hands a new socket over, and waits while the inbox is full. The socket counts from now on.
    pub(crate) async fn hand_over(&self, socket: NewSocket) {
        self.sockets.fetch_add(1, Ordering::Relaxed);
        // A shard is gone only when the node ends.
        let _ = self.inbox.send(ToShard::Socket(socket)).await;
    }

    /// How often its loop has come round: a shard that stands still is broken.
    pub(crate) fn turns(&self) -> u64 {
        self.turns.load(Ordering::Relaxed)
    }
}
