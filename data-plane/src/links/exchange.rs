//! The task in the middle of a node: everything that links bring and shards ask passes through it, in order.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use fanfare_cluster::byte_queue::{Bounds, Receiver, Sender, byte_queue};
use fanfare_cluster::channel::{ChannelName, Epoch, StreamPosition};
use fanfare_cluster::connection_id::ConnectionId;
use fanfare_cluster::member::MemberId;
use fanfare_cluster::placement::PlacementNumber;
use fanfare_cluster::registry::{MembershipWatch, ReplicaRecord};
use fanfare_cluster::tasks::Tasks;
use fanfare_proto::link::{self, open_request, open_response};
use tokio_util::sync::CancellationToken;
use tracing::{debug, error};

use super::dialler::{Event, FromReplica, LinkSetup, Session, keep};
use super::follows::{Action, Follows};
use super::listings::Listings;
use super::node_receipts::{Asked, NodeReceipts};
use super::presence::Announcing;
use super::questions::Questions;
use super::recoveries::Recoveries;
use super::{Ask, FromShard, ShardIndex};
use crate::authenticator::unix_seconds;
use crate::codes::error::INTERNAL;
use crate::publication::Publication;
use crate::session::Rules;
use crate::shard::{Counts, Delivery, Reply, ShardHandle, ToShard};

/// What links may bring before they stop reading.
const FROM_LINKS: Bounds = Bounds { items: 4_096, bytes: 8 << 20 };
/// How often time is looked at.
const TICK: Duration = Duration::from_millis(100);
/// How often load is reported.
const LOAD_TICKS: u32 = 10;
/// How long a shard may stand still. A full inbox alone is no fault: it may have much to deliver.
const INBOX_PATIENCE: Duration = Duration::from_secs(10);

/// What the exchange is made of.
pub(crate) struct ExchangeSetup {
    pub(crate) link: LinkSetup,
    pub(crate) shards: Vec<ShardHandle>,
    pub(crate) from_shards: Receiver<Ask>,
    pub(crate) membership: MembershipWatch,
    pub(crate) rules: Arc<Rules>,
    pub(crate) tasks: Tasks,
}

/// The exchange. It owns what the node follows, and so the order in which shards see things.
pub(crate) struct Exchange {
    setup: ExchangeSetup,
    started: Instant,
    pub(super) follows: Follows,
    receipts: NodeReceipts,
    pub(super) sessions: HashMap<MemberId, Session>,
    /// The link tasks, by replica; each ends when its token is cancelled.
    dialled: HashMap<MemberId, (ReplicaRecord, CancellationToken)>,
    pub(super) questions: Questions,
    pub(super) listings: Listings,
    /// Announcements of members that wait for room on their link.
    // queue: announcements of members
    pub(super) announcing: VecDeque<Announcing>,
    pub(super) recoveries: Recoveries,
    /// Numbers what is asked of owners.
    pub(super) last_ticket: u64,
    to_self: Sender<FromReplica>,
    ticks: u32,
}

impl Exchange {
    /// Runs until the tasks stop.
    pub(crate) async fn run(setup: ExchangeSetup) {
        // queue: from links to the exchange
        let (to_self, from_links) = byte_queue(FROM_LINKS);
        let stopping = setup.tasks.stopping();
        let follows = Follows::new(setup.shards.len());
        let mut exchange = Self {
            setup,
            started: Instant::now(),
            follows,
            receipts: NodeReceipts::default(),
            sessions: HashMap::new(),
            dialled: HashMap::new(),
            questions: Questions::default(),
            listings: Listings::default(),
            announcing: VecDeque::new(),
            recoveries: Recoveries::default(),
            last_ticket: 0,
            to_self,
            ticks: 0,
        };
        tokio::select! {
            () = stopping.cancelled() => {}
            () = exchange.serve(from_links) => {}
        }
    }

    async fn serve(&mut self, mut from_links: Receiver<FromReplica>) {
        let mut ticker = tokio::time::interval(TICK);
        self.membership_changed().await;
        loop {
            tokio::select! {
                Some(FromReplica { replica, event }) = from_links.recv() => self.take_event(replica, event).await,
                Some(Ask { shard, what }) = self.setup.from_shards.recv() => self.take_ask(shard, what).await,
                changed = self.setup.membership.changed() => match changed {
                    true => self.membership_changed().await,
                    false => return,
                },
                _ = ticker.tick() => self.tick().await,
            }
        }
    }

    /// Dials every registered replica, placed or not, and stops dialling those that are gone.
    async fn membership_changed(&mut self) {
        let membership = self.setup.membership.current();
        self.dialled.retain(|replica, (record, stop)| {
            let stays = membership.replicas.get(replica) == Some(record);
            if !stays {
                stop.cancel();
            }
            stays
        });
        for (replica, record) in &membership.replicas {
            if self.dialled.contains_key(replica) {
                continue;
            }
            let stop = self.setup.tasks.stopping().child_token();
            self.dialled.insert(replica.clone(), (record.clone(), stop.clone()));
            let link = self.setup.link.clone();
            let keep = keep(link, replica.clone(), record.clone(), self.to_self.clone(), stop);
            self.setup.tasks.spawn("link", keep);
        }
        let mut actions = Vec::new();
        let number = membership.placement.number();
        for session in self.sessions.values() {
            session.send(adopted(number));
        }
        self.follows.placement(membership.placement.clone(), &mut actions);
        self.carry_out(actions).await;
        self.ask_all_again();
    }

    async fn take_event(&mut self, replica: MemberId, event: Event) {
        match event {
            Event::Up(session) => {
                let number = session.number;
                session.send(adopted(self.follows.placement_number()));
                self.sessions.insert(replica.clone(), session);
                let mut actions = Vec::new();
                self.follows.link_up(&replica, number, &mut actions);
                self.forget_asked(&replica);
                self.carry_out(actions).await;
                self.ask_all_again();
            }
            Event::Down { session } => {
                if self.follows.is_current(&replica, session) {
                    self.sessions.remove(&replica);
                    self.follows.link_down(&replica, session);
                    self.forget_asked(&replica);
                    self.fail_questions(|one| one.replica == replica).await;
                }
            }
            Event::Said { session, message } => {
                if self.follows.is_current(&replica, session) {
                    self.said(replica, session, message).await;
                }
            }
        }
    }

    async fn said(&mut self, replica: MemberId, session: u64, message: open_response::Message) {
        use open_response::Message;
        match message {
            Message::Deliver(deliver) => self.deliver(&replica, session, deliver).await,
            Message::DeliverConnection(deliver) => self.deliver_connection(&replica, session, deliver).await,
            Message::Following(link::Following { channel, position }) => {
                if let Ok(channel) = ChannelName::parse(&channel) {
                    let mut actions = Vec::new();
                    let position = position.map(Into::into);
                    self.follows.following(&replica, &channel, position, &mut actions);
                    self.carry_out(actions).await;
                }
            }
            Message::Top(link::Top { channel, position }) => {
                if let Ok(channel) = ChannelName::parse(&channel) {
                    let mut actions = Vec::new();
                    self.follows.top(&replica, &channel, position.map(Into::into), &mut actions);
                    self.carry_out(actions).await;
                }
            }
            Message::Published(published) => {
                self.answered(published.ticket, Reply::to_publish(published)).await;
            }
            Message::HistoryRead(read) => self.answered(read.ticket, Reply::history(read)).await,
            Message::PresenceRead(read) => self.presence_answered(read).await,
            Message::Recovered(recovered) => {
                self.recovered(&replica, recovered.ticket, Some(recovered)).await;
            }
            Message::NotOwner(link::NotOwner { channel, ticket, .. }) => {
                self.not_owner(&replica, &channel, ticket).await;
            }
            Message::Joined(link::Joined { channel, member }) => {
                self.tell_presence(&channel, member, true).await;
            }
            Message::Left(link::Left { channel, member }) => {
                self.tell_presence(&channel, member, false).await
            }
            Message::ListConnections(list) => self.list_connections(session, list).await,
            Message::Act(act) => self.act(&replica, session, act).await,
            Message::Inspect(inspect) => self.inspect(&replica, session, inspect).await,
            Message::Revocations(link::Revocations { revocations }) => {
                self.setup.rules.revocations.add(revocations);
            }
            Message::Welcome(_) => {}
        }
    }

    /// A replica does not own a channel, so it has not done what it was asked.
    async fn not_owner(&mut self, replica: &MemberId, channel: &str, ticket: u64) {
        debug!(%replica, channel, "the replica does not own the channel");
        if ticket != 0 {
            if !self.recovered(replica, ticket, None).await {
                self.answered(ticket, Reply::Failed(INTERNAL.code.into())).await;
            }
        } else if let Ok(channel) = ChannelName::parse(channel) {
            let mut actions = Vec::new();
            self.follows.not_owner(replica, &channel, &mut actions);
            self.carry_out(actions).await;
        }
    }

    async fn deliver(&mut self, replica: &MemberId, session: u64, deliver: link::Deliver) {
        let (Ok(channel), Some(wire)) = (ChannelName::parse(&deliver.channel), deliver.publication) else {
            return;
        };
        self.setup.link.metrics.deliveries.publications.inc();
        let epoch = Epoch(deliver.epoch);
        let position = (wire.offset > 0).then_some(StreamPosition { epoch, offset: wire.offset });
        let shards: Vec<ShardIndex> = self.follows.deliver(&channel, position).collect();
        let asked = Asked { session, id: deliver.receipt };
        if shards.is_empty() {
            return self.answer(replica, asked, Counts::default());
        }
        let receipt = self.open_receipt(asked, shards.len());
        let exclude = deliver.exclude.iter().filter_map(|id| ConnectionId::try_from(&id[..]).ok()).collect();
        // Who does not know of personal channels gets their publications as messages.
        let as_message = channel.is_personal() && !self.setup.rules.client.user_personal_channel;
        let publication = match as_message {
            true => Publication::message(channel, wire, epoch),
            false => Publication::new(channel, wire, epoch),
        };
        let delivery = Delivery { publication: Arc::new(publication), exclude, receipt, for_some: false };
        let receipt_within = Duration::from_millis(deliver.receipt_within_ms.into());
        for shard in shards {
            self.to_shard(shard, ToShard::Deliver { delivery: delivery.clone(), receipt_within }).await;
        }
    }

    async fn deliver_connection(
        &mut self,
        replica: &MemberId,
        session: u64,
        deliver: link::DeliverConnection,
    ) {
        let Ok(id) = ConnectionId::try_from(&deliver.connection[..]) else { return };
        let asked = Asked { session, id: deliver.receipt };
        if usize::from(id.shard()) >= self.setup.shards.len() {
            return self.answer(replica, asked, Counts::default());
        }
        let receipt = self.open_receipt(asked, 1);
        let receipt_within = Duration::from_millis(deliver.receipt_within_ms.into());
        let data: Bytes = deliver.data;
        self.to_shard(ShardIndex(id.shard()), ToShard::DeliverTo { id, data, receipt, receipt_within }).await;
    }

    async fn take_ask(&mut self, shard: ShardIndex, event: FromShard) {
        let now = self.started.elapsed();
        match event {
            FromShard::Join { channel, ticket } => {
                let mut actions = Vec::new();
                self.follows.join(shard, channel, ticket, now, &mut actions);
                self.carry_out(actions).await;
            }
            FromShard::Leave { channel } => self.follows.leave(shard, &channel, now),
            FromShard::Question { key, id, channel, question } => {
                self.question(shard, (key, id), channel, question).await;
            }
            FromShard::Recover { channel, question } => self.recover(shard, channel, question).await,
            FromShard::Enter(entering) => self.enter(*entering),
            FromShard::Exit { channel, connection } => self.exit(&channel, &connection),
            FromShard::Announced { round, next } => self.announced(shard, round, next).await,
            FromShard::Listed { listing, connections, next } => {
                self.listed(listing, connections, next).await;
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

    async fn tick(&mut self) {
        let mut actions = Vec::new();
        self.follows.tick(self.started.elapsed(), &mut actions);
        self.carry_out(actions).await;
        self.fail_late_questions().await;
        self.look_at_recoveries().await;
        self.go_on_announcing().await;
        self.ticks = self.ticks.wrapping_add(1);
        if self.ticks.is_multiple_of(LOAD_TICKS) {
            let connections = self.setup.shards.iter().map(|shard| shard.sockets() as u64).sum();
            self.setup.rules.revocations.forget_old(unix_seconds(SystemTime::now()));
            let load = link::Load { connections, capacity: self.setup.link.capacity };
            for session in self.sessions.values() {
                session.send(open_request::Message::Load(load));
            }
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
        self.setup.shards.len()
    }

    pub(super) fn all_shards(&self) -> impl Iterator<Item = ShardIndex> + use<> {
        (0..self.setup.shards.len() as u8).map(ShardIndex)
    }

    pub(super) fn rules(&self) -> &Rules {
        &self.setup.rules
    }

    pub(super) fn open_receipt(&mut self, asked: Asked, shards: usize) -> Option<u64> {
        (asked.id != 0).then(|| self.receipts.open(asked, shards))
    }

    pub(super) async fn carry_out(&mut self, actions: Vec<Action>) {
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
                    self.to_shard(shard, ToShard::Joined { channel, ticket, position }).await;
                }
                Action::Top { shard, channel, position } => {
                    self.to_shard(shard, ToShard::Top { channel, position }).await;
                }
                Action::Announce { replica, round } => self.announce_members(&replica, round).await,
                Action::JoinFailed { shard, channel, ticket } => {
                    self.to_shard(shard, ToShard::JoinFailed { channel, ticket }).await;
                }
            }
        }
    }

    fn say(&self, replica: &MemberId, message: open_request::Message) {
        if let Some(session) = self.sessions.get(replica) {
            session.send(message);
        }
    }

    /// Puts something into a shard's inbox, and waits while it is full: the links stop reading meanwhile.
    pub(super) async fn to_shard(&self, shard: ShardIndex, message: ToShard) {
        let Some(handle) = self.setup.shards.get(usize::from(shard.0)) else { return };
        let mut sending = std::pin::pin!(handle.inbox().send(message));
        loop {
            let turns = handle.turns();
            if tokio::time::timeout(INBOX_PATIENCE, &mut sending).await.is_ok() {
                return;
            }
            if handle.turns() == turns {
                error!(shard = shard.0, "a shard has stood still: the process must end");
                return self.setup.tasks.mark_broken();
            }
        }
    }
}

fn to_wire(number: PlacementNumber) -> link::PlacementNumber {
    link::PlacementNumber { generation: number.generation, revision: number.revision }
}

fn adopted(number: PlacementNumber) -> open_request::Message {
    open_request::Message::Placement(link::PlacementAdopted { number: Some(to_wire(number)) })
}
