//! A publication on its way through a shard, and the sockets that it goes to as a sweep sees them.

use std::sync::Arc;

use bytes::Bytes;
use fanfare_cluster::connection_id::ConnectionId;

use super::place::Place;
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
    /// It says who came or left, and only those get it who asked for that.
    pub(crate) for_some: bool,
}

impl Delivery {
    /// About how many bytes it holds on to.
    pub(crate) fn weight(&self) -> usize {
        const FLAT: usize = 256;
        FLAT + self.publication.weight() + self.exclude.len() * size_of::<ConnectionId>()
    }

    /// Whether only those get it who asked for such things.
    pub(crate) fn is_for_some(&self) -> bool {
        self.for_some
    }
}

/// Where an entry is in the channel's stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mark {
    /// Nowhere.
    None,
    /// It is the publication at this place.
    At(Place),
    /// It is no publication: the stream had come as far as this place when it came.
    Top(Place),
}

/// Something that some subscriber has not had yet.
#[derive(Debug)]
pub(super) struct Entry {
    /// `None` if it only says how far the stream has come.
    pub(super) delivery: Option<Delivery>,
    pub(super) mark: Mark,
    /// Subscribers that have not had it.
    pub(super) left: usize,
}

impl Entry {
    /// About how many bytes it holds on to.
    pub(super) fn weight(&self) -> usize {
        self.delivery.as_ref().map_or(size_of::<Self>(), Delivery::weight)
    }
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
