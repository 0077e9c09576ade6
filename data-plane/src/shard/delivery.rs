//! A publication on its way through a shard, and the sockets that it goes to as a sweep sees them.

use std::sync::Arc;

use bytes::Bytes;
use fanfare_cluster::connection_id::ConnectionId;

use crate::encoding::Encoding;
use crate::publication::Publication;

/// A publication on its way to a channel's subscribers here.
#[derive(Clone, Debug)]
pub(crate) struct Delivery {
    pub(crate) publication: Arc<Publication>,
    /// Connections that shall not get it.
    pub(crate) exclude: Arc<[ConnectionId]>,
    /// The receipt's number on this node, if somebody waits.
    pub(crate) receipt: Option<u64>,
}

impl Delivery {
    /// About how many bytes it holds on to.
    pub(crate) fn weight(&self) -> usize {
        const FLAT: usize = 256;
        FLAT + self.publication.weight() + self.exclude.len() * size_of::<ConnectionId>()
    }
}

/// A publication that some subscriber has not had yet.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) delivery: Delivery,
    /// Subscribers that have not had it.
    pub(super) left: usize,
}

/// The connections, as the hub sees them.
pub(crate) trait Sockets {
    /// How the client speaks.
    fn encoding(&self, slot: u32) -> Encoding;
    /// The connection's id.
    fn id(&self, slot: u32) -> ConnectionId;
    /// Writes whole frames. The receipts are due when the bytes have gone out.
    fn write(&mut self, slot: u32, frames: &Bytes, receipts: &[u64]) -> Written;
    /// The subscription of a connection has moved to another place within its channel.
    fn moved(&mut self, slot: u32, channel: u32, position: u32);
}

/// What became of a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Written {
    /// The kernel has it all.
    Whole,
    /// Some of it waits; receipts were noted with it.
    Queued,
    /// The connection is gone or is being closed.
    Cut,
}

/// What one step of a sweep has done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Swept {
    pub(crate) deliveries: u64,
    pub(crate) bytes: u64,
}

impl Swept {
    pub(super) fn add(&mut self, other: Self) {
        self.deliveries += other.deliveries;
        self.bytes += other.bytes;
    }
}
