//! What replicas ask of connections, on its way through the exchange to the shards that hold them.

use std::sync::Arc;

use fanfare_cluster::channel::ChannelName;
use fanfare_cluster::connection_id::ConnectionId;
use fanfare_cluster::member::MemberId;
use fanfare_proto::link::{self, act::Target, open_request};

use super::ShardIndex;
use super::junction::Junction;
use super::node_receipts::Asked;
use crate::shard::{Act, ActTarget, Counts, ToShard};

impl Junction {
    /// An operation on connections. Shards that have not joined the channel yet get it, too: members may be
    /// connecting there.
    pub(super) fn act(&mut self, replica: &MemberId, session: u64, act: link::Act) {
        let asked = Asked { session, id: act.receipt };
        let (Some(target), Some(action)) = (act.target, act.action) else {
            return self.answer(replica, asked, Counts::default());
        };
        let (target, shards) = match target {
            Target::Channel(name) => {
                let Ok(channel) = ChannelName::parse(&name) else {
                    return self.answer(replica, asked, Counts::default());
                };
                let shards = self.shards_of(&channel);
                (ActTarget::Members(channel), shards)
            }
            Target::Connection(id) => match self.shard_of(&id) {
                Some((id, shard)) => (ActTarget::Connection(id), vec![shard]),
                None => return self.answer(replica, asked, Counts::default()),
            },
        };
        if shards.is_empty() {
            return self.answer(replica, asked, Counts::default());
        }
        let receipt = self.open_receipt(asked, shards.len());
        let exclude: Arc<[ConnectionId]> =
            act.exclude.iter().filter_map(|id| ConnectionId::try_from(&id[..]).ok()).collect();
        let action = Arc::new(action);
        for shard in shards {
            let act =
                Act { target: target.clone(), action: action.clone(), exclude: exclude.clone(), receipt };
            self.for_shard(shard, ToShard::Act(Box::new(act)));
        }
    }

    /// A question about a connection.
    pub(super) fn inspect(&mut self, replica: &MemberId, session: u64, inspect: &link::Inspect) {
        let asked = Asked { session, id: inspect.id };
        match self.shard_of(&inspect.connection) {
            Some((id, shard)) => self.for_shard(shard, ToShard::Inspect { id, asked }),
            None => self.inspected(replica, asked, None),
        }
    }

    /// The answer to such a question.
    pub(super) fn inspected(
        &self,
        replica: &MemberId,
        asked: Asked,
        connection: Option<link::ConnectionState>,
    ) {
        let inspected = link::Inspected { id: asked.id, connection };
        self.say_in(replica, asked.session, open_request::Message::Inspected(inspected));
    }

    /// The shard that an id names, if this node has it.
    fn shard_of(&self, id: &[u8]) -> Option<(ConnectionId, ShardIndex)> {
        let id = ConnectionId::try_from(id).ok()?;
        (usize::from(id.shard()) < self.shard_count()).then_some((id, ShardIndex(id.shard())))
    }
}
