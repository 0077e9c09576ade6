//! The task in the middle of a node: everything that links bring and shards ask passes through it, in order.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use fanfare_cluster::byte_queue::{Bounds, Receiver, Sender, byte_queue};
use fanfare_cluster::member::MemberId;
use fanfare_cluster::registry::{MembershipWatch, ReplicaRecord};
use fanfare_cluster::tasks::Tasks;
use fanfare_proto::link;
use tokio_util::sync::CancellationToken;
use tracing::error;

use super::dialler::{FromReplica, LinkSetup, keep};
use super::junction::Junction;
use super::{Ask, ShardIndex};
use crate::authenticator::unix_seconds;
use crate::session::Rules;
use crate::shard::{ShardHandle, ToShard};

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

/// The exchange: dials replicas, waits, and carries what the [`Junction`] decides to shards.
pub(crate) struct Exchange {
    setup: ExchangeSetup,
    started: Instant,
    junction: Junction,
    /// The link tasks, by replica; each ends when its token is cancelled.
    dialled: HashMap<MemberId, (ReplicaRecord, CancellationToken)>,
    to_self: Sender<FromReplica>,
    ticks: u32,
}

impl Exchange {
    /// Runs until the tasks stop.
    pub(crate) async fn run(setup: ExchangeSetup) {
        // queue: from links to the exchange
        let (to_self, from_links) = byte_queue(FROM_LINKS);
        let stopping = setup.tasks.stopping();
        let junction = Junction::new(setup.shards.len(), setup.rules.clone(), setup.link.metrics.clone());
        let (started, dialled) = (Instant::now(), HashMap::new());
        let mut exchange = Self { setup, started, junction, dialled, to_self, ticks: 0 };
        tokio::select! {
            () = stopping.cancelled() => {}
            () = exchange.serve(from_links) => {}
        }
    }

    async fn serve(&mut self, mut from_links: Receiver<FromReplica>) {
        let mut ticker = tokio::time::interval(TICK);
        self.membership_changed();
        loop {
            self.serve_shards().await;
            tokio::select! {
                Some(FromReplica { replica, event }) = from_links.recv() => {
                    self.junction_now().take_event(&replica, event);
                }
                Some(ask) = self.setup.from_shards.recv() => self.junction_now().take_ask(ask),
                changed = self.setup.membership.changed() => match changed {
                    true => self.membership_changed(),
                    false => return,
                },
                _ = ticker.tick() => self.tick(),
            }
        }
    }

    /// The junction, which knows how late it is.
    fn junction_now(&mut self) -> &mut Junction {
        self.junction.pass_time(self.started.elapsed());
        &mut self.junction
    }

    /// Dials every registered replica, placed or not, and stops dialling those that are gone.
    fn membership_changed(&mut self) {
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
        self.junction_now().take_placement(&membership.placement);
    }

    fn tick(&mut self) {
        self.junction_now().tick();
        self.ticks = self.ticks.wrapping_add(1);
        if self.ticks.is_multiple_of(LOAD_TICKS) {
            let connections = self.setup.shards.iter().map(|shard| shard.sockets() as u64).sum();
            self.setup.rules.revocations.forget_old(unix_seconds(SystemTime::now()));
            self.junction.say_load(link::Load { connections, capacity: self.setup.link.capacity });
        }
    }

    /// Hands shards what is for them.
    async fn serve_shards(&mut self) {
        while let Some((shard, message)) = self.junction.next_for_shard() {
            self.to_shard(shard, message).await;
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
