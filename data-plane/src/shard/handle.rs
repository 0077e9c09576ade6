//! The way to a shard from other threads: what comes to it, in order.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use fanfare_cluster::byte_queue::{Sender, Weighed};
use fanfare_cluster::channel::{ChannelName, StreamPosition};
use fanfare_cluster::connection_id::ConnectionId;
use fanfare_proto::link;

use super::acts::Act;
use super::channel::Answer;
use super::{Delivery, SlotKey};
use crate::admission::ShakingHands;
use crate::links::{Asked, ListPiece};

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
    /// The shard has joined the channel, here in the order; its stream, if it has one, has come as far as this.
    Joined { channel: ChannelName, ticket: u32, position: Option<StreamPosition> },
    /// The channel's owner did not answer.
    JoinFailed { channel: ChannelName, ticket: u32 },
    /// How far a channel's stream has come.
    Top { channel: ChannelName, position: StreamPosition },
    /// What was published after a position.
    Recovered { channel: ChannelName, ticket: u64, answer: Arc<Answer> },
    /// The owner did not answer what was published after a position.
    RecoverFailed { channel: ChannelName, ticket: u64 },
    /// The members of some connections, from this slot on, shall enter again.
    Announce { round: u64, from: u32 },
    /// A piece of a list of connections.
    List(ListPiece),
    /// A publication.
    Deliver { delivery: Delivery, receipt_within: Duration },
    /// A message to one connection.
    DeliverTo { id: ConnectionId, data: Bytes, receipt: Option<u64>, receipt_within: Duration },
    /// The answer to what a client has asked of an owner.
    Answered { key: SlotKey, id: u32, reply: Reply },
    /// An operation on connections.
    Act(Box<Act>),
    /// A question about a connection.
    Inspect { id: ConnectionId, asked: Asked },
    /// All connections shall end.
    Stop,
}

/// What an owner has answered to a client.
#[derive(Debug)]
pub(crate) enum Reply {
    /// The client protocol's error code.
    Failed(u32),
    /// It is published.
    Published,
    /// A part of the history, and the end of the stream.
    History { publications: Vec<link::Publication>, position: StreamPosition },
    /// Who is present.
    Presence(Vec<link::Member>),
    /// How many are present.
    PresenceStats { connections: u32, users: u32 },
}

impl Reply {
    fn weight(&self) -> usize {
        const FLAT: usize = 128;
        match self {
            Self::Failed(_) | Self::Published | Self::PresenceStats { .. } => 0,
            Self::History { publications, .. } => publications.iter().map(|one| FLAT + one.weight()).sum(),
            Self::Presence(members) => members.iter().map(|one| FLAT + one.weight()).sum(),
        }
    }
}

impl Weighed for ToShard {
    fn weight(&self) -> usize {
        const FLAT: usize = 128;
        FLAT + match self {
            Self::Deliver { delivery, .. } => delivery.weight(),
            Self::DeliverTo { data, .. } => data.len(),
            Self::Recovered { answer, .. } => answer.weight(),
            Self::Answered { reply, .. } => reply.weight(),
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
