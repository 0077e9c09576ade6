//! The node's links to replicas: what is said on them, who says it, and how it finds the shards.

mod acts;
mod dialler;
mod exchange;
mod follows;
mod node_receipts;
mod publishes;

use fanfare_cluster::byte_queue::Weighed;
use fanfare_cluster::channel::ChannelName;
use fanfare_proto::link::{self, open_request};

use crate::shard::{Counts, SlotKey};

pub(crate) use dialler::LinkSetup;
pub(crate) use exchange::{Exchange, ExchangeSetup};
pub(crate) use node_receipts::Asked;

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
    /// A client publishes.
    Publish { key: SlotKey, id: u32, channel: ChannelName, publication: link::Publication },
    /// How far a delivery came.
    Receipt { receipt: u64, counts: Counts },
    /// What is known of a connection; `None` if the shard does not hold it.
    Inspected { asked: Asked, connection: Option<Box<link::ConnectionState>> },
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
            Self::Publish { publication, .. } => publication.weight(),
            _ => 0,
        }
    }
}

impl Weighed for Ask {
    fn weight(&self) -> usize {
        self.what.weight()
    }
}
