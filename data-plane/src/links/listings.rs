//! Lists of the node's connections that replicas ask for: shard by shard, a piece at a time.

use std::collections::HashMap;
use std::sync::Arc;

use fanfare_cluster::connection_id::ConnectionId;
use fanfare_proto::link::{self, open_request};
use prost::Message;

use super::junction::Junction;
use super::{Asked, ShardIndex};
use crate::shard::ToShard;

/// Lists that may be under way.
const MAX_LISTINGS: usize = 64;
/// Connections in a list at most.
const MAX_LISTED: u32 = 1_000;

/// Bytes of a list, and of a shard's piece of it, after which it ends: the link carries no messages above a mebibyte.
pub(crate) const MAX_LISTED_BYTES: usize = 256 << 10;

/// About how many bytes connections take in a list.
pub(super) fn bytes_of(connections: &[link::ListedConnection]) -> usize {
    connections.iter().map(Message::encoded_len).sum()
}

/// What a shard is asked for a list.
#[derive(Clone, Debug)]
pub(crate) struct ListPiece {
    /// The list that it is for.
    pub(crate) listing: u64,
    pub(crate) filter: Arc<link::ListConnections>,
    /// The first slot to look at.
    pub(crate) from: u32,
    /// Connections at most.
    pub(crate) limit: usize,
}

/// The lists that are under way. Each ends with its shards' answers.
#[derive(Default)]
pub(super) struct Listings {
    last: u64,
    open: HashMap<u64, Listing>,
}

struct Listing {
    asked: Asked,
    filter: Arc<link::ListConnections>,
    limit: usize,
    shard: u8,
    found: Vec<link::ListedConnection>,
    /// What they take.
    bytes: usize,
}

impl Junction {
    /// A replica asks for a list of connections.
    pub(super) fn list_connections(&mut self, session: u64, list: link::ListConnections) {
        let asked = Asked { session, id: list.id };
        let after = ConnectionId::try_from(&list.after[..]).ok();
        let (shard, from) = after.map_or((0, 0), |id| (id.shard(), id.slot() as u32 + 1));
        if self.listings.open.len() >= MAX_LISTINGS || usize::from(shard) >= self.shard_count() {
            let more = self.listings.open.len() >= MAX_LISTINGS;
            return self.say_listed(asked, Vec::new(), more);
        }
        self.listings.last += 1;
        let listing = self.listings.last;
        let limit = list.limit.clamp(1, MAX_LISTED) as usize;
        let filter = Arc::new(list);
        let piece = ListPiece { listing, filter: filter.clone(), from, limit };
        self.listings
            .open
            .insert(listing, Listing { asked, filter, limit, shard, found: Vec::new(), bytes: 0 });
        self.for_shard(ShardIndex(shard), ToShard::List(piece));
    }

    /// A shard has answered; `next` is the slot at which it has not looked yet.
    pub(super) fn listed(
        &mut self,
        number: u64,
        connections: Vec<link::ListedConnection>,
        next: Option<u32>,
    ) {
        let last_shard = self.shard_count() - 1;
        let Some(listing) = self.listings.open.get_mut(&number) else { return };
        listing.bytes += bytes_of(&connections);
        listing.found.extend(connections);
        let is_last = next.is_none() && usize::from(listing.shard) == last_shard;
        if is_last || listing.found.len() >= listing.limit || listing.bytes > MAX_LISTED_BYTES {
            let Some(Listing { asked, found, .. }) = self.listings.open.remove(&number) else { return };
            return self.say_listed(asked, found, !is_last);
        }
        listing.shard += u8::from(next.is_none());
        let (filter, limit) = (listing.filter.clone(), listing.limit - listing.found.len());
        let piece = ListPiece { listing: number, filter, from: next.unwrap_or(0), limit };
        let shard = ShardIndex(listing.shard);
        self.for_shard(shard, ToShard::List(piece));
    }

    fn say_listed(&self, asked: Asked, connections: Vec<link::ListedConnection>, more: bool) {
        let listed = link::ConnectionsListed { id: asked.id, connections, more };
        if let Some(replica) = self.replica_of(asked) {
            self.say_in(&replica, asked.session, open_request::Message::ConnectionsListed(listed));
        }
    }
}
