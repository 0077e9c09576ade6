//! The node's links to replicas: what is said on them, who says it, and how it finds the shards.

mod acts;
mod dialler;
mod exchange;
mod follows;
mod junction;
mod listings;
mod node_receipts;
mod presence;
mod questions;
mod recoveries;
mod said;

use fanfare_cluster::byte_queue::Weighed;
use fanfare_cluster::channel::ChannelName;
use fanfare_cluster::connection_id::ConnectionId;
use fanfare_proto::link::{self, open_request};

use crate::shard::{Counts, RecoverQuestion, SlotKey};

pub(crate) use dialler::{Event, LinkSetup, Session};
pub(crate) use exchange::{Exchange, ExchangeSetup};
pub(crate) use junction::Junction;
pub(crate) use listings::{ListPiece, MAX_LISTED_BYTES};
pub(crate) use node_receipts::Asked;
pub(crate) use questions::{Question, Reading};

/// Which shard of the node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct ShardIndex(pub(crate) u8);

/// What a shard asks of the exchange or tells it.
#[derive(Debug)]
pub(crate) enum FromShard {
    /// Somebody here wants the channel.
    Join { channel: ChannelName, ticket: u32 },
    /// Nobody here wants it any more.
    Leave { channel: ChannelName },
    /// What was published after a position?
    Recover { channel: ChannelName, question: RecoverQuestion },
    /// A client asks something of a channel.
    Question { key: SlotKey, id: u32, channel: ChannelName, question: Question },
    /// A connection has become a member of a channel, or was one before the link came up.
    Enter(Box<Entering>),
    /// A connection is no longer a member of a channel.
    Exit { channel: ChannelName, connection: ConnectionId },
    /// Some members have entered again; `next` is where to go on, unless that was all.
    Announced { round: u64, next: Option<u32> },
    /// Connections that a replica has asked for.
    Listed { listing: u64, connections: Vec<link::ListedConnection>, next: Option<u32> },
    /// How far a delivery came.
    Receipt { receipt: u64, counts: Counts },
    /// What is known of a connection; `None` if the shard does not hold it.
    Inspected { asked: Asked, connection: Option<Box<link::ConnectionState>> },
}

/// A member on its way to its channel's owner.
#[derive(Debug)]
pub(crate) struct Entering {
    pub(crate) channel: ChannelName,
    pub(crate) member: link::Member,
    /// It was a member before the link came up.
    pub(crate) again: bool,
    /// Channels that backends have subscribed it to, for its user's sake.
    pub(crate) subscriptions: Vec<String>,
}

/// What waits for a replica.
#[derive(Debug)]
pub(crate) struct ToReplica(pub(crate) open_request::Message);

impl Weighed for ToReplica {
    fn weight(&self) -> usize {
        const FLAT: usize = 128;
        FLAT + match &self.0 {
            open_request::Message::Publish(publish) => {
                publish.publication.as_ref().map_or(0, link::Publication::weight)
            }
            open_request::Message::Enter(enter) => {
                let member = enter.member.as_ref().map_or(0, link::Member::weight);
                member + enter.subscriptions.iter().map(|channel| FLAT + channel.len()).sum::<usize>()
            }
            open_request::Message::ConnectionsListed(listed) => listings::bytes_of(&listed.connections),
            _ => 0,
        }
    }
}

/// What one shard asks.
#[derive(Debug)]
pub(crate) struct Ask {
    pub(crate) shard: ShardIndex,
    pub(crate) what: FromShard,
}

impl FromShard {
    /// About how many bytes it holds on to.
    pub(crate) fn weight(&self) -> usize {
        const FLAT: usize = 128;
        FLAT + match self {
            Self::Question { question, .. } => question.weight(),
            Self::Enter(entering) => entering.member.weight(),
            Self::Listed { connections, .. } => listings::bytes_of(connections),
            _ => 0,
        }
    }
}

impl Weighed for Ask {
    fn weight(&self) -> usize {
        self.what.weight()
    }
}
