//! The task in the middle of a node: everything that links bring and shards ask passes through it, in order.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use fanfare_cluster::byte_queue::{Bounds, Receiver, Sender, byte_queue};
use fanfare_cluster::channel::ChannelName;
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
use super::node_receipts::{Asked, NodeReceipts};
use super::{Ask, FromShard, ShardIndex};
use crate::codes::error::{INTERNAL, TOO_MANY_REQUESTS};
use crate::publication::Publication;
use crate::shard::{Counts, Delivery, ShardHandle, SlotKey, ToShard};

/// What links may bring before they stop reading.
const FROM_LINKS: Bounds = Bounds { items: 4_096, bytes: 8 << 20 };
/// How often time is looked at.
const TICK: Duration = Duration::from_millis(100);
/// How often load is reported.
const LOAD_TICKS: u32 = 10;
/// How long a client's publish waits for its answer.
const PUBLISH_PATIENCE: Duration = Duration::from_secs(4);
/// Clients' publishes that may wait for an answer.
const MAX_PUBLISHES: usize = 65_536;
/// How long a shard may stand still. A full inbox alone is no fault: it may have much to deliver.
const INBOX_PATIENCE: Duration = Duration::from_secs(10);

/// What the exchange is made of.
pub(crate) struct ExchangeSetup {
    pub(crate) link: LinkSetup,
    pub(crate) shards: Vec<ShardHandle>,
    pub(crate) from_shards: Receiver<Ask>,
    pub(crate) membership: MembershipWatch,
    pub(crate) tasks: Tasks,
}

/// A client's publish that waits for its answer.
struct Publishing {
    shard: ShardIndex,
    key: SlotKey,
    id: u32,
    replica: MemberId,
    since: Instant,
}

/// The exchange. It owns what the node follows, and so the order in which shards see things.
pub(crate) struct Exchange {
    setup: ExchangeSetup,
    started: Instant,
    follows: Follows,
    receipts: NodeReceipts,
    sessions: HashMap<MemberId, Session>,
    /// The link tasks, by replica; each ends when its token is cancelled.
    dialled: HashMap<MemberId, (ReplicaRecord, CancellationToken)>,
    publishing: HashMap<u64, Publishing>,
    last_ticket: u64,
    to_self: Sender<FromReplica>,
    ticks: u32,
}

impl Exchange {
    /// Runs until the tasks stop.
    pub(crate) async fn run(setup: ExchangeSetup) {
        // queue: from links to the exchange
        let (to_self, from_links) = byte_queue(FROM_LINKS);
        let stopping = setup.tasks.stopping();
        let mut exchange = Self {
            setup,
            started: Instant::now(),
            follows: Follows::default(),
            receipts: NodeReceipts::default(),
            sessions: HashMap::new(),
            dialled: HashMap::new(),
            publishing: HashMap::new(),
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
    }

    async fn take_event(&mut self, replica: MemberId, event: Event) {
        match event {
            Event::Up(session) => {
                let number = session.number;
                session.send(adopted(self.follows.placement_number()));
                self.sessions.insert(replica.clone(), session);
                let mut actions = Vec::new();
                self.follows.link_up(&replica, number, &mut actions);
                self.carry_out(actions).await;
            }
            Event::Down { session } => {
                if self.follows.is_current(&replica, session) {
                    self.sessions.remove(&replica);
                    self.follows.link_down(&replica, session);
                    self.fail_publishes(|publishing| publishing.replica == replica).await;
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
            Message::Following(link::Following { channel }) => {
                if let Ok(channel) = ChannelName::parse(&channel) {
                    let mut actions = Vec::new();
                    self.follows.following(&replica, &channel, &mut actions);
                    self.carry_out(actions).await;
                }
            }
            Message::Published(link::Published { ticket, error }) => self.published(ticket, error).await,
            Message::NotOwner(link::NotOwner { channel, ticket, .. }) => {
                debug!(%replica, channel, "the replica does not own the channel");
                self.published(ticket, INTERNAL.code.into()).await;
                if let Some(channel) = ChannelName::parse(&channel).ok().filter(|_| ticket == 0) {
                    let mut actions = Vec::new();
                    self.follows.not_owner(&replica, &channel, &mut actions);
                    self.carry_out(actions).await;
                }
            }
            Message::Welcome(_) | Message::Act(_) | Message::Inspect(_) | Message::Revocations(_) => {}
        }
    }

    async fn deliver(&mut self, replica: &MemberId, session: u64, deliver: link::Deliver) {
        let (Ok(channel), Some(wire)) = (ChannelName::parse(&deliver.channel), deliver.publication) else {
            return;
        };
        self.setup.link.metrics.deliveries.publications.inc();
        let shards: Vec<ShardIndex> = self.follows.shards(&channel).collect();
        let asked = Asked { session, id: deliver.receipt };
        if shards.is_empty() {
            return self.answer(replica, asked, Counts::default());
        }
        let receipt = (deliver.receipt != 0).then(|| self.receipts.open(asked, shards.len()));
        let exclude = deliver.exclude.iter().filter_map(|id| ConnectionId::try_from(&id[..]).ok()).collect();
        let delivery = Delivery { publication: Arc::new(Publication::new(channel, wire)), exclude, receipt };
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
        let receipt = (deliver.receipt != 0).then(|| self.receipts.open(asked, 1));
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
            FromShard::Publish { key, id, channel, publication } => {
                self.publish(shard, (key, id), channel, publication).await;
            }
            FromShard::Receipt { receipt, counts } => {
                if let Some((asked, counts)) = self.receipts.answer(receipt, counts) {
                    let replica = self.sessions.iter().find(|(_, session)| session.number == asked.session);
                    if let Some(replica) = replica.map(|(replica, _)| replica.clone()) {
                        self.answer(&replica, asked, counts);
                    }
                }
            }
        }
    }

    async fn publish(
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
            (owner.clone(), session, self.publishing.len() < MAX_PUBLISHES)
        else {
            let code = if owner.is_some() { TOO_MANY_REQUESTS } else { INTERNAL }.code.into();
            return self.to_shard(shard, ToShard::Published { key, id, code }).await;
        };
        self.last_ticket += 1;
        let ticket = self.last_ticket;
        let (channel, publication) = (channel.as_str().to_owned(), Some(publication));
        session.send(open_request::Message::Publish(link::Publish { ticket, channel, publication }));
        self.publishing.insert(ticket, Publishing { shard, key, id, replica, since: Instant::now() });
    }

    async fn published(&mut self, ticket: u64, code: u32) {
        if let Some(Publishing { shard, key, id, .. }) = self.publishing.remove(&ticket) {
            self.to_shard(shard, ToShard::Published { key, id, code }).await;
        }
    }

    /// Publishes that will have no answer any more get a temporary error; they are never sent again.
    async fn fail_publishes(&mut self, failed: impl Fn(&Publishing) -> bool) {
        let tickets: Vec<u64> =
            self.publishing.iter().filter(|(_, one)| failed(one)).map(|(id, _)| *id).collect();
        for ticket in tickets {
            self.published(ticket, INTERNAL.code.into()).await;
        }
    }

    async fn tick(&mut self) {
        let mut actions = Vec::new();
        self.follows.tick(self.started.elapsed(), &mut actions);
        self.carry_out(actions).await;
        let now = Instant::now();
        self.fail_publishes(|publishing| now.duration_since(publishing.since) > PUBLISH_PATIENCE).await;
        self.ticks = self.ticks.wrapping_add(1);
        if self.ticks.is_multiple_of(LOAD_TICKS) {
            let connections = self.setup.shards.iter().map(|shard| shard.sockets() as u64).sum();
            let load = link::Load { connections, capacity: self.setup.link.capacity };
            for session in self.sessions.values() {
                session.send(open_request::Message::Load(load));
            }
        }
    }

    fn answer(&self, replica: &MemberId, asked: Asked, Counts { written, pending, cut }: Counts) {
        let session = self.sessions.get(replica).filter(|session| session.number == asked.session);
        if let Some(session) = session.filter(|_| asked.id != 0) {
            session.send(open_request::Message::Receipt(link::Receipt {
                id: asked.id,
                written,
                pending,
                cut,
            }));
        }
    }

    async fn carry_out(&mut self, actions: Vec<Action>) {
        for action in actions {
            match action {
                Action::Follow { replica, channel } => {
                    let channel = channel.as_str().to_owned();
                    self.say(&replica, open_request::Message::Follow(link::Follow { channel }));
                }
                Action::Unfollow { replica, channel } => {
                    let channel = channel.as_str().to_owned();
                    self.say(&replica, open_request::Message::Unfollow(link::Unfollow { channel }));
                }
                Action::CaughtUp { replica, number } => {
                    let number = Some(to_wire(number));
                    self.say(&replica, open_request::Message::CaughtUp(link::CaughtUp { number }));
                }
                Action::Joined { shard, channel, ticket } => {
                    self.to_shard(shard, ToShard::Joined { channel, ticket }).await;
                }
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
    async fn to_shard(&self, shard: ShardIndex, message: ToShard) {
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
