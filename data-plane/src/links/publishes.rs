//! Clients' publishes on their way to owners, and the answers on their way back.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use fanfare_cluster::channel::ChannelName;
use fanfare_cluster::member::MemberId;
use fanfare_proto::link::{self, open_request};

use super::ShardIndex;
use super::exchange::Exchange;
use crate::codes::error::{INTERNAL, TOO_MANY_REQUESTS};
use crate::shard::{SlotKey, ToShard};

/// How long a client's publish waits for its answer.
const PUBLISH_PATIENCE: Duration = Duration::from_secs(4);
/// Clients' publishes that may wait for an answer.
const MAX_PUBLISHES: usize = 65_536;

/// The publishes that wait for an answer.
#[derive(Default)]
pub(super) struct Publishes {
    waiting: HashMap<u64, Publishing>,
    last_ticket: u64,
}

/// A client's publish that waits for its answer.
pub(super) struct Publishing {
    shard: ShardIndex,
    key: SlotKey,
    id: u32,
    pub(super) replica: MemberId,
    since: Instant,
}

impl Exchange {
    pub(super) async fn publish(
        &mut self,
        shard: ShardIndex,
        (key, id): (SlotKey, u32),
        channel: ChannelName,
        publication: link::Publication,
    ) {
        let owner = self.follows.linked_owner(&channel).cloned();
        let session = owner.as_ref().and_then(|owner| self.sessions.get(owner));
        // The rest of the link's queue is left to what must not wait: follows, receipts.
        let session = session.filter(|session| session.has_room_for_publishes());
        let (Some(replica), Some(session), true) =
            (owner.clone(), session, self.publishes.waiting.len() < MAX_PUBLISHES)
        else {
            let code = if owner.is_some() { TOO_MANY_REQUESTS } else { INTERNAL }.code.into();
            return self.to_shard(shard, ToShard::Published { key, id, code }).await;
        };
        self.publishes.last_ticket += 1;
        let ticket = self.publishes.last_ticket;
        let (channel, publication) = (channel.as_str().to_owned(), Some(publication));
        session.send(open_request::Message::Publish(link::Publish { ticket, channel, publication }));
        self.publishes.waiting.insert(ticket, Publishing { shard, key, id, replica, since: Instant::now() });
    }

    pub(super) async fn published(&mut self, ticket: u64, code: u32) {
        if let Some(Publishing { shard, key, id, .. }) = self.publishes.waiting.remove(&ticket) {
            self.to_shard(shard, ToShard::Published { key, id, code }).await;
        }
    }

    /// Publishes that will have no answer any more get a temporary error; they are never sent again.
    pub(super) async fn fail_publishes(&mut self, failed: impl Fn(&Publishing) -> bool) {
        let tickets: Vec<u64> =
            self.publishes.waiting.iter().filter(|(_, one)| failed(one)).map(|(id, _)| *id).collect();
        for ticket in tickets {
            self.published(ticket, INTERNAL.code.into()).await;
        }
    }

    /// Gives up those that have waited too long.
    pub(super) async fn fail_late_publishes(&mut self) {
        let now = Instant::now();
        self.fail_publishes(|one| now.duration_since(one.since) > PUBLISH_PATIENCE).await;
    }
}
