//! A shard: one thread with its connections, their channels, and nothing that it shares with other shards.

mod book;
mod clock;
mod connections;
mod deliveries;
mod delivery;
mod hub;
mod lifetime;
mod replies;
mod run;
mod state;
mod up;
mod wheel;

use std::cell::{RefCell, RefMut};
use std::future::poll_fn;
use std::panic::AssertUnwindSafe;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use fanfare_cluster::byte_queue::{Bounds, Receiver, Sender, Weighed, byte_queue};
use fanfare_cluster::channel::ChannelName;
use fanfare_cluster::connection_id::ConnectionId;
use fanfare_cluster::member::Incarnation;
use fanfare_cluster::tasks::Tasks;
use futures_util::FutureExt as _;
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::task::{LocalSet, spawn_local, yield_now};
use tracing::{error, warn};

use crate::codes::Code;
use crate::connection;
use crate::frame::FrameReader;
use crate::links::{Ask, ShardIndex};
use crate::listener::{Front, Handshake};
use crate::metrics::Metrics;
use crate::session::Rules;
use clock::{Clock, TICK};
use state::State;

pub(crate) use book::Counts;
pub(crate) use delivery::Delivery;

/// What may wait for a shard before links stop reading.
const INBOX: Bounds = Bounds { items: 16_384, bytes: 8 << 20 };
/// What a shard takes out of its inbox before it goes on delivering.
const INBOX_BATCH: usize = 256;
/// Publications that may wait for subscribers before the inbox waits too, in bytes.
const MAX_BACKLOG: usize = 8 << 20;
/// The largest piece that is read from a socket at once.
const SCRATCH: usize = 64 << 10;

/// A connection within its shard. The serial tells it from others that had the slot before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct SlotKey {
    pub(crate) slot: u32,
    pub(crate) serial: u32,
}

/// What comes to a shard, in order.
#[derive(Debug)]
pub(crate) enum ToShard {
    /// A new socket, before its handshake.
    Socket(std::net::TcpStream),
    /// The shard has joined the channel, here in the order.
    Joined { channel: ChannelName, ticket: u32 },
    /// The channel's owner did not answer.
    JoinFailed { channel: ChannelName, ticket: u32 },
    /// A publication.
    Deliver { delivery: Delivery, receipt_within: Duration },
    /// A message to one connection.
    DeliverTo { id: ConnectionId, data: Bytes, receipt: Option<u64>, receipt_within: Duration },
    /// The answer to a client's publish; 0 or an error code.
    Published { key: SlotKey, id: u32, code: u32 },
    /// All connections shall end.
    Stop,
}

impl Weighed for ToShard {
    fn weight(&self) -> usize {
        const FLAT: usize = 128;
        FLAT + match self {
            Self::Deliver { delivery, .. } => delivery.weight(),
            Self::DeliverTo { data, .. } => data.len(),
            _ => 0,
        }
    }
}

/// The way to a shard from other threads; cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct ShardHandle {
    inbox: Sender<ToShard>,
    sockets: Arc<AtomicUsize>,
    turns: Arc<AtomicU64>,
}

impl ShardHandle {
    /// The inbox.
    pub(crate) fn inbox(&self) -> &Sender<ToShard> {
        &self.inbox
    }

    /// How many sockets it has, or will have when it has taken in what is in its inbox.
    pub(crate) fn sockets(&self) -> usize {
        self.sockets.load(Ordering::Relaxed)
    }

    /// Hands a new socket over, and waits while the inbox is full. The socket counts from now on.
    pub(crate) async fn hand_over(&self, stream: std::net::TcpStream) {
        self.sockets.fetch_add(1, Ordering::Relaxed);
        // A shard is gone only when the node ends.
        let _ = self.inbox.send(ToShard::Socket(stream)).await;
    }

    /// How often its loop has come round: a shard that stands still is broken.
    pub(crate) fn turns(&self) -> u64 {
        self.turns.load(Ordering::Relaxed)
    }
}

/// What all shards of a node share.
#[derive(Clone)]
pub(crate) struct ShardSetup {
    pub(crate) incarnation: Incarnation,
    pub(crate) rules: Arc<Rules>,
    pub(crate) metrics: Metrics,
    pub(crate) front: Arc<Front>,
    pub(crate) exchange: Sender<Ask>,
    pub(crate) tasks: Tasks,
}

/// A shard as its own thread sees it.
pub(crate) struct Shard {
    state: RefCell<State>,
    scratch: RefCell<Box<[u8]>>,
    reader: RefCell<FrameReader>,
    /// Wakes the task that hands things up to the exchange.
    up: Notify,
    sockets: Arc<AtomicUsize>,
    turns: Arc<AtomicU64>,
    message_size_limit: usize,
    setup: ShardSetup,
}

/// Starts a shard's thread.
pub(crate) fn start(
    index: ShardIndex,
    setup: ShardSetup,
) -> std::io::Result<(ShardHandle, std::thread::JoinHandle<()>)> {
    // queue: inbox of a shard
    let (sender, inbox) = byte_queue(INBOX);
    let sockets = Arc::new(AtomicUsize::new(0));
    let turns = Arc::new(AtomicU64::new(0));
    let handle = ShardHandle { inbox: sender, sockets: sockets.clone(), turns: turns.clone() };
    let tasks = setup.tasks.clone();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let thread = std::thread::Builder::new().name(format!("shard-{}", index.0)).spawn(move || {
        let run = || {
            let local = LocalSet::new();
            let shard = Rc::new(Shard::new(index, setup, (sockets, turns)));
            let up = spawn_up(&local, &shard, index);
            local.block_on(&runtime, shard.run(inbox));
            up.abort();
        };
        if std::panic::catch_unwind(AssertUnwindSafe(run)).is_err() {
            error!(shard = index.0, "a shard panicked: the process must end");
            tasks.mark_broken();
        }
    })?;
    Ok((handle, thread))
}

/// Hands things up to the exchange, and waits where the shard itself must not.
fn spawn_up(local: &LocalSet, shard: &Rc<Shard>, index: ShardIndex) -> tokio::task::JoinHandle<()> {
    let shard = shard.clone();
    local.spawn_local(async move {
        loop {
            shard.up.notified().await;
            loop {
                let next = shard.state.borrow_mut().up.pop();
                let Some(what) = next else { break };
                if shard.setup.exchange.send(Ask { shard: index, what }).await.is_err() {
                    return;
                }
            }
        }
    })
}

impl Shard {
    fn new(
        index: ShardIndex,
        setup: ShardSetup,
        (sockets, turns): (Arc<AtomicUsize>, Arc<AtomicU64>),
    ) -> Self {
        let state = State::new(index.0, setup.incarnation, setup.rules.clone(), setup.metrics.clone());
        Self {
            state: RefCell::new(state),
            scratch: RefCell::new(vec![0; SCRATCH].into()),
            reader: RefCell::default(),
            up: Notify::new(),
            sockets,
            turns,
            message_size_limit: setup.rules.client.message_size_limit.0,
            setup,
        }
    }

    /// The shard's own loop: takes what comes and delivers it, until it is stopped and empty.
    async fn run(self: Rc<Self>, mut inbox: Receiver<ToShard>) {
        let mut clock = Clock::new(Instant::now());
        let mut ticker = tokio::time::interval(TICK);
        ticker.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            if self.state.borrow().hub.has_work() {
                yield_now().await;
            } else {
                tokio::select! {
                    _ = ticker.tick() => {}
                    next = inbox.recv() => match next {
                        Some(next) => self.take(next),
                        None => return,
                    }
                }
            }
            for _ in 0..INBOX_BATCH {
                if self.state.borrow().hub.backlog() > MAX_BACKLOG {
                    break;
                }
                match inbox.try_recv() {
                    Some(next) => self.take(next),
                    None => break,
                }
            }
            self.turns.fetch_add(1, Ordering::Relaxed);
            let now = clock.tick(Instant::now());
            self.with(|state| {
                state.sweep();
                while state.wheel.now() < now {
                    state.tick();
                }
            });
            if self.state.borrow().stopping && self.sockets.load(Ordering::Relaxed) == 0 {
                return;
            }
        }
    }

    fn take(self: &Rc<Self>, next: ToShard) {
        match next {
            ToShard::Socket(stream) => self.accept(stream),
            ToShard::Joined { channel, ticket } => self.with(|state| state.joined(&channel, ticket)),
            ToShard::JoinFailed { channel, ticket } => self.with(|state| state.join_failed(&channel, ticket)),
            ToShard::Deliver { delivery, receipt_within } => {
                self.with(|state| state.deliver(delivery, receipt_within));
            }
            ToShard::DeliverTo { id, data, receipt, receipt_within } => {
                self.with(|state| state.deliver_to(id, data, receipt, receipt_within));
            }
            ToShard::Published { key, id, code } => self.with(|state| state.published(key, id, code)),
            ToShard::Stop => self.with(State::stop),
        }
    }

    /// Serves a new socket: first its handshake, then, in a task of its own, its frames.
    fn accept(self: &Rc<Self>, stream: std::net::TcpStream) {
        let socket = SocketCount::new(self);
        let stream = match TcpStream::from_std(stream) {
            Ok(stream) => stream,
            Err(error) => return warn!(%error, "a socket cannot be used"),
        };
        let shard = self.clone();
        self.spawn(async move {
            if let Some(Handshake { stream, early, manner }) = shard.setup.front.serve(stream).await {
                // The handshake's task was large; the connection's is small and lives long.
                let (read, write) = stream.into_split();
                let key = shard.with(|state| state.open(write, manner));
                let task = connection::run(shard.clone(), key, read, &early);
                shard.spawn(async move {
                    task.await;
                    drop(socket);
                });
            }
        });
    }

    /// Runs a task on this shard; a panic in it ends the process.
    fn spawn(self: &Rc<Self>, task: impl Future<Output = ()> + 'static) {
        let shard = self.clone();
        spawn_local(async move {
            if AssertUnwindSafe(task).catch_unwind().await.is_err() {
                error!("a connection's task panicked: the process must end");
                shard.setup.tasks.mark_broken();
            }
        });
    }

    /// Changes the state, then sees to what the change has left to do.
    fn with<T>(self: &Rc<Self>, change: impl FnOnce(&mut State) -> T) -> T {
        let mut state = self.state.borrow_mut();
        let result = change(&mut state);
        let blocked = state.settle();
        if !state.up.is_empty() {
            self.up.notify_one();
        }
        drop(state);
        for key in blocked {
            self.spawn_flush(key);
        }
        result
    }

    /// Waits for a socket that has stopped taking bytes. Such a task lives only while something waits.
    fn spawn_flush(self: &Rc<Self>, key: SlotKey) {
        let shard = self.clone();
        self.spawn(async move {
            poll_fn(|cx| {
                let mut state = shard.state.borrow_mut();
                let state = &mut *state;
                state.connections.poll_flush(key, cx, &mut state.book)
            })
            .await;
            shard.with(|_| ());
        });
    }
}

/// What a connection's task needs of its shard.
impl Shard {
    pub(crate) fn scratch(&self) -> RefMut<'_, Box<[u8]>> {
        self.scratch.borrow_mut()
    }

    pub(crate) fn frame_reader(&self) -> RefMut<'_, FrameReader> {
        self.reader.borrow_mut()
    }

    pub(crate) fn message_size_limit(&self) -> usize {
        self.message_size_limit
    }

    pub(crate) fn message(self: &Rc<Self>, key: SlotKey, message: Bytes) {
        self.with(|state| state.message(key, message));
    }

    pub(crate) fn ping_frame(self: &Rc<Self>, key: SlotKey, payload: &[u8]) {
        self.with(|state| state.ping_frame(key, payload));
    }

    pub(crate) fn pong_frame(self: &Rc<Self>, key: SlotKey) {
        self.with(|state| state.pong_frame(key));
    }

    /// The peer broke the rules of WebSockets, and is told so.
    pub(crate) fn refuse(self: &Rc<Self>, key: SlotKey, code: Code) {
        self.with(|state| state.refuse(key, code));
    }

    pub(crate) fn closed_by_peer(self: &Rc<Self>, key: SlotKey, code: Code) -> bool {
        self.with(|state| state.closed_by_peer(key, code))
    }

    pub(crate) fn gone(self: &Rc<Self>, key: SlotKey) {
        self.with(|state| state.gone(key));
    }
}

/// Counts a socket, which counted as the shard's since it was handed over, for as long as it is there.
struct SocketCount(Rc<Shard>);

impl SocketCount {
    fn new(shard: &Rc<Shard>) -> Self {
        shard.setup.metrics.clients.sockets.inc();
        Self(shard.clone())
    }
}

impl Drop for SocketCount {
    fn drop(&mut self) {
        self.0.sockets.fetch_sub(1, Ordering::Relaxed);
        self.0.setup.metrics.clients.sockets.dec();
    }
}
