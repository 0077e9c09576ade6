//! Members on their way to owners, and who came or left on its way to subscribers.

use std::sync::Arc;

use fanfare_cluster::channel::ChannelName;
use fanfare_cluster::connection_id::ConnectionId;
use fanfare_cluster::member::MemberId;
use fanfare_proto::link::{self, open_request};

use super::dialler::Session;
use super::junction::Junction;
use super::{Entering, ShardIndex};
use crate::publication::Publication;
use crate::shard::{Delivery, ToShard};

/// A piece of work: the members of a shard, from this slot on, shall enter again.
pub(super) struct Announcing {
    replica: MemberId,
    round: u64,
    shard: ShardIndex,
    from: u32,
}

impl Junction {
    /// A connection has become a member. If the owner is not linked it learns of it when it is: then all members
    /// enter again.
    pub(super) fn enter(&self, entering: Entering) {
        let Entering { channel, member, again, subscriptions } = entering;
        let enter =
            link::Enter { channel: channel.as_str().to_owned(), member: Some(member), again, subscriptions };
        self.say_to_owner(&channel, open_request::Message::Enter(enter));
    }

    /// A connection is no longer a member.
    pub(super) fn exit(&self, channel: &ChannelName, connection: &ConnectionId) {
        let exit = link::Exit { channel: channel.as_str().to_owned(), connection: connection.to_bytes() };
        self.say_to_owner(channel, open_request::Message::Exit(exit));
    }

    fn say_to_owner(&self, channel: &ChannelName, message: open_request::Message) {
        if let Some(session) = self.follows.linked_owner(channel).and_then(|owner| self.sessions.get(owner)) {
            session.send(message);
        }
    }

    /// Has the members of all shards enter again.
    pub(super) fn announce_members(&mut self, replica: &MemberId, round: u64) {
        self.announcing.retain(|one| one.replica != *replica);
        // One shard after the other: each step is bounded, but not what all of them say at once.
        self.announcing.push_back(Announcing {
            replica: replica.clone(),
            round,
            shard: ShardIndex(0),
            from: 0,
        });
        self.go_on_announcing();
    }

    /// A shard has had some members enter again.
    pub(super) fn announced(&mut self, shard: ShardIndex, round: u64, next: Option<u32>) {
        let mut actions = Vec::new();
        match (next, self.follows.replica_of_round(round)) {
            (Some(from), Some(replica)) => {
                self.announcing.push_back(Announcing { replica, round, shard, from });
            }
            (None, Some(replica)) => {
                self.follows.announced(round, &mut actions);
                let shard = ShardIndex(shard.0 + 1);
                if usize::from(shard.0) < self.shard_count() {
                    self.announcing.push_back(Announcing { replica, round, shard, from: 0 });
                }
            }
            // The link is gone, or has begun anew.
            (_, None) => {}
        }
        self.carry_out(actions);
        self.go_on_announcing();
    }

    /// Goes on with what has room on its link.
    pub(super) fn go_on_announcing(&mut self) {
        for _ in 0..self.announcing.len() {
            let Some(one) = self.announcing.pop_front() else { return };
            match self.sessions.get(&one.replica).map(Session::has_room_for_clients) {
                Some(true) => {
                    let Announcing { round, shard, from, .. } = one;
                    self.for_shard(shard, ToShard::Announce { round, from });
                }
                Some(false) => self.announcing.push_back(one),
                None => {}
            }
        }
    }

    /// Somebody has joined or left a channel.
    pub(super) fn tell_presence(&mut self, channel: &str, member: Option<link::Member>, joined: bool) {
        let (Ok(channel), Some(member)) = (ChannelName::parse(channel), member) else { return };
        let Ok(rules) = self.rules().channels.of(&channel) else { return };
        let for_some = !rules.options.force_push_join_leave;
        let shards: Vec<_> = self.follows.shards(&channel).collect();
        let publication = match joined {
            true => Publication::join(channel, member),
            false => Publication::leave(channel, member),
        };
        let publication = Arc::new(publication);
        for shard in shards {
            let publication = publication.clone();
            let delivery = Delivery { publication, exclude: Arc::default(), receipt: None, for_some };
            let receipt_within = std::time::Duration::ZERO;
            self.for_shard(shard, ToShard::Deliver { delivery, receipt_within });
        }
    }
}
