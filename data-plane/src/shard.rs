//! A shard: one thread with its connections, their channels, and nothing that it shares with other shards.

mod acts;
mod allowance;
mod apart;
mod births;
mod book;
mod channel;
mod clock;
mod connecting;
mod connections;
mod deliveries;
mod delivery;
mod grants;
mod handle;
mod hub;
mod input;
mod lifetime;
mod members;
mod place;
mod profile;
mod replies;
mod run;
mod state;
mod stream;
mod subscriptions;
mod up;
mod waiting;
mod wheel;

use std::cell::RefCell;
use std::future::poll_fn;
use std::panic::AssertUnwindSafe;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Instant;

use fanfare_cluster::byte_queue::{Bounds, Receiver, Sender, byte_queue};
use fanfare_cluster::member::Incarnation;
use fanfare_cluster::tasks::Tasks;
use futures_util::FutureExt as _;
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::task::{LocalSet, spawn_local, yield_now};
use tracing::{error, warn};

use crate::connection;
use crate::connection::socket::Socket;
use crate::frame::FrameReader;
use crate::links::{Ask, ShardIndex};
use crate::listener::{Accepted, Front, Handshake};
use crate::metrics::Metrics;
use crate::session::Rules;
use clock::{Clock, TICK};

pub(crate) use acts::{Act, ActTarget};
pub(crate) use book::Counts;
pub(crate) use channel::Answer;
pub(crate) use delivery::Delivery;
pub(crate) use handle::{NewSocket, Reply, ShardHandle, ToShard};
pub(crate) use state::State;
pub(crate) use stream::RecoverQuestion;
pub(crate) use waiting::Wants;

/// What may wait for a shard before links stop reading.
const INBOX: Bounds = Bounds { items: 16_384, bytes: 8 << 20 };
/// What a shard takes out of its inbox before it goes on delivering.
const INBOX_BATCH: usize = 256;
/// Subscribers that are served before others have their turn.
const SWEEP_STEP: usize = 256;
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
    /// What TLS has made of the scratch buffer's content.
    plain: RefCell<Vec<u8>>,
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
            plain: RefCell::default(),
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
                state.sweep(SWEEP_STEP);
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
            ToShard::Socket(socket) => self.accept(socket),
            next => self.with(|state| state.take(next)),
        }
    }

    /// Serves a new socket: first its handshake, then, in a task of its own, its frames.
    fn accept(self: &Rc<Self>, NewSocket { stream, peer, place }: NewSocket) {
        let socket = SocketCount::new(self);
        let stream = match TcpStream::from_std(stream) {
            Ok(stream) => stream,
            Err(error) => return warn!(%error, "a socket cannot be used"),
        };
        let shard = self.clone();
        self.spawn(async move {
            let handshake = shard.setup.front.serve(stream, peer).await;
            drop(place);
            let Some(handshake) = handshake else { return };
            // The handshake's task was large; the connection's is small and lives long.
            let Handshake { stream, tls, early, accepted } = *handshake;
            let Accepted { manner, user, admitted } = accepted;
            let (read, write) = stream.into_split();
            let is_tls = tls.is_some();
            let writer = match tls {
                Some(tls) => Socket::tls(write, *tls),
                None => Socket::Plain(write),
            };
            let key = shard.with(|state| state.open(writer, manner, user));
            let task = connection::run(shard.clone(), key, (read, is_tls), &early);
            shard.spawn(async move {
                task.await;
                drop((socket, admitted));
            });
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
