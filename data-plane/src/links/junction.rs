//! The middle of a node, as a plain state machine: what links bring and shards ask goes in, what shards and links get comes out.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use fanfare_cluster::channel::ChannelName;
use fanfare_cluster::member::MemberId;
use fanfare_cluster::placement::{Placement, PlacementNumber};
use fanfare_proto::link::{self, open_request};

use super::dialler::{Event, Session};
use super::follows::{Action, Follows, Now};
use super::listings::Listings;
use super::node_receipts::{Asked, NodeReceipts};
use super::presence::Announcing;
use super::questions::Questions;
use super::recoveries::{self, Missed, Recoveries};
use super::{Ask, FromShard, ShardIndex};
use crate::metrics::Metrics;
use crate::session::Rules;
use crate::shard::{Counts, ToShard};

/// Answers of up to half a mebibyte that may be on their way from replicas: together they fill half of a link's queue.
pub(super) const LARGE_ANSWERS: usize = 8;

/// Owns what the node follows, and so the order in which shards see things. What it says to replicas goes into the
/// queues of their links; what it says to shards is taken out by who drives it, before anything else goes in.
pub(crate) struct Junction {
    rules: Arc<Rules>,
    pub(super) metrics: Metrics,
    pub(super) now: Now,
    pub(super) follows: Follows,
    receipts: NodeReceipts,
    pub(super) sessions: HashMap<MemberId, Session>,
    pub(super) questions: Questions,
    pub(super) listings: Listings,
    /// Announcements of members that wait for room on their link.
    // queue: announcements of members
    pub(super) announcing: VecDeque<Announcing>,
    pub(super) recoveries: Recoveries,
    /// Numbers what is asked of owners.
    pub(super) last_ticket: u64,
    // queue: what one event brings shards
    to_shards: VecDeque<(ShardIndex, ToShard)>,
}

impl Junction {
    /// For a node with so many shards.
    pub(crate) fn new(shards: usize, rules: Arc<Rules>, metrics: Metrics) -> Self {
        Self {
            rules,
            metrics,
            now: Now::ZERO,
            follows: Follows::new(shards),
            receipts: NodeReceipts::default(),
            sessions: HashMap::new(),
            questions: Questions::default(),
            listings: Listings::default(),
            announcing: VecDeque::new(),
            recoveries: Recoveries::new(LARGE_ANSWERS),
            last_ticket: 0,
            to_shards: VecDeque::new(),
        }
    }

    /// It is so late by now.
    pub(crate) fn pass_time(&mut self, now: Now) {
        self.now = now;
    }

    /// The counters of this node.
    pub(crate) fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// What is for a shard next.
    pub(crate) fn next_for_shard(&mut self) -> Option<(ShardIndex, ToShard)> {
        self.to_shards.pop_front()
    }

    /// The node has read a placement.
    pub(crate) fn take_placement(&mut self, placement: &Arc<Placement>) {
        for session in self.sessions.values() {
            session.send(adopted(placement.number()));
        }
        let mut actions = Vec::new();
        self.follows.placement(placement.clone(), &mut actions);
        self.carry_out(actions);
        self.with_recoveries(|all, (follows, _), actions| all.ask_all_again(follows, actions));
    }

    /// A link has come up or has ended, or its replica says something.
    pub(crate) fn take_event(&mut self, replica: &MemberId, event: Event) {
        match event {
            Event::Up(session) => {
                let number = session.number;
                session.send(adopted(self.follows.placement_number()));
                self.sessions.insert(replica.clone(), session);
                let mut actions = Vec::new();
                self.follows.link_up(replica, number, &mut actions);
                self.recoveries.link_down(replica);
                self.carry_out(actions);
                self.with_recoveries(|all, (follows, _), actions| all.ask_all_again(follows, actions));
            }
            Event::Down { session } => {
                if self.follows.is_current(replica, session) {
                    self.sessions.remove(replica);
                    self.follows.link_down(replica, session);
                    self.recoveries.link_down(replica);
                    self.fail_questions(|one| one.replica == *replica);
                }
            }
            Event::Said { session, message } => {
                if self.follows.is_current(replica, session) {
                    self.take_message(replica, session, message);
                }
            }
        }
    }

    /// A shard asks or tells something.
    pub(crate) fn take_ask(&mut self, Ask { shard, what }: Ask) {
        let now = self.now;
        match what {
            FromShard::Join { channel, ticket } => {
                let mut actions = Vec::new();
                self.follows.join(shard, channel, ticket, now, &mut actions);
                self.carry_out(actions);
            }
            FromShard::Leave { channel } => self.follows.leave(shard, &channel, now),
            FromShard::Question { key, id, channel, question } => {
                self.question(shard, (key, id), &channel, question);
            }
            FromShard::Recover { channel, question } => {
                self.last_ticket += 1;
                let (ticket, missed) = (self.last_ticket, Missed { shard, channel, question });
                self.with_recoveries(|all, around, actions| all.ask(ticket, missed, around, actions));
            }
            FromShard::Enter(entering) => self.enter(*entering),
            FromShard::Exit { channel, connection } => self.exit(&channel, &connection),
            FromShard::Announced { round, next } => self.announced(shard, round, next),
            FromShard::Listed { listing, connections, next } => {
                self.listed(listing, connections, next);
            }
            FromShard::Receipt { receipt, counts } => {
                if let Some((asked, counts)) = self.receipts.answer(receipt, counts)
                    && let Some(replica) = self.replica_of(asked)
                {
                    self.answer(&replica, asked, counts);
                }
            }
            FromShard::Inspected { asked, connection } => {
                if let Some(replica) = self.replica_of(asked) {
                    self.inspected(&replica, asked, connection.map(|connection| *connection));
                }
            }
        }
    }

    /// Time has passed.
    pub(crate) fn tick(&mut self) {
        let mut actions = Vec::new();
        self.follows.tick(self.now, &mut actions);
        self.carry_out(actions);
        self.fail_late_questions();
        self.with_recoveries(Recoveries::tick);
        self.go_on_announcing();
    }

    /// Tells all replicas how much the node has to do.
    pub(crate) fn say_load(&self, load: link::Load) {
        for session in self.sessions.values() {
            session.send(open_request::Message::Load(load));
        }
    }

    /// Who has asked, if its session still stands.
    pub(super) fn replica_of(&self, asked: Asked) -> Option<MemberId> {
        let replica = self.sessions.iter().find(|(_, session)| session.number == asked.session);
        replica.map(|(replica, _)| replica.clone())
    }

    pub(super) fn answer(&self, replica: &MemberId, asked: Asked, counts: Counts) {
        if asked.id != 0 {
            let Counts { written, pending, cut } = counts;
            let receipt = link::Receipt { id: asked.id, written, pending, cut };
            self.say_in(replica, asked.session, open_request::Message::Receipt(receipt));
        }
    }

    /// Says something that belongs to a session, if that still stands.
    pub(super) fn say_in(&self, replica: &MemberId, session: u64, message: open_request::Message) {
        if let Some(session) = self.sessions.get(replica).filter(|known| known.number == session) {
            session.send(message);
        }
    }

    pub(super) fn shards_of(&self, channel: &ChannelName) -> Vec<ShardIndex> {
        self.follows.interested(channel).collect()
    }

    pub(super) fn shard_count(&self) -> usize {
        self.follows.shard_count
    }

    pub(super) fn rules(&self) -> &Rules {
        &self.rules
    }

    pub(super) fn open_receipt(&mut self, asked: Asked, shards: usize) -> Option<u64> {
        (asked.id != 0).then(|| self.receipts.open(asked, shards))
    }

    pub(super) fn carry_out(&mut self, actions: Vec<Action>) {
        for action in actions {
            match action {
                Action::Follow { replica, channel, position } => {
                    let channel = channel.as_str().to_owned();
                    let position = position.epoch.is_some().then(|| position.into());
                    self.say(&replica, open_request::Message::Follow(link::Follow { channel, position }));
                }
                Action::Unfollow { replica, channel } => {
                    let channel = channel.as_str().to_owned();
                    self.say(&replica, open_request::Message::Unfollow(link::Unfollow { channel }));
                }
                Action::CaughtUp { replica, number } => {
                    let number = Some(to_wire(number));
                    self.say(&replica, open_request::Message::CaughtUp(link::CaughtUp { number }));
                }
                Action::Joined { shard, channel, ticket, position } => {
                    self.for_shard(shard, ToShard::Joined { channel, ticket, position });
                }
                Action::Top { shard, channel, position } => {
                    self.for_shard(shard, ToShard::Top { channel, position });
                }
                Action::Announce { replica, round } => self.announce_members(&replica, round),
                Action::JoinFailed { shard, channel, ticket } => {
                    self.for_shard(shard, ToShard::JoinFailed { channel, ticket });
                }
            }
        }
    }

    fn say(&self, replica: &MemberId, message: open_request::Message) {
        if let Some(session) = self.sessions.get(replica) {
            session.send(message);
        }
    }

    /// Has the recoveries decide, and carries that out.
    pub(super) fn with_recoveries(
        &mut self,
        decide: impl FnOnce(&mut Recoveries, (&Follows, Now), &mut Vec<recoveries::Action>),
    ) {
        let mut actions = Vec::new();
        decide(&mut self.recoveries, (&self.follows, self.now), &mut actions);
        for action in actions {
            match action {
                recoveries::Action::Ask { replica, recover } => {
                    self.say(&replica, open_request::Message::Recover(recover));
                }
                recoveries::Action::Answer { shard, channel, ticket, answer } => {
                    self.for_shard(shard, ToShard::Recovered { channel, ticket, answer });
                }
                recoveries::Action::Fail { shard, channel, ticket } => {
                    self.for_shard(shard, ToShard::RecoverFailed { channel, ticket });
                }
            }
        }
    }

    /// Something is for a shard.
    pub(super) fn for_shard(&mut self, shard: ShardIndex, message: ToShard) {
        self.to_shards.push_back((shard, message));
    }
}

fn to_wire(number: PlacementNumber) -> link::PlacementNumber {
    link::PlacementNumber { generation: number.generation, revision: number.revision }
}

fn adopted(number: PlacementNumber) -> open_request::Message {
    open_request::Message::Placement(link::PlacementAdopted { number: Some(to_wire(number)) })
}
