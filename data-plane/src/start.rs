//! Starts a data-plane node: binds every socket, starts its shards, registers, and wires the parts together.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use fanfare_cluster::admin::{Admin, Readiness};
use fanfare_cluster::bind::{BindError, bind};
use fanfare_cluster::byte_queue::{Bounds, byte_queue};
use fanfare_cluster::member::{Incarnation, MemberId};
use fanfare_cluster::registry::{NodeRecord, Record, Registry, RegistryError};
use fanfare_cluster::tasks::Tasks;
use fanfare_cluster::tls::ServerTls;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::admission::Admission;
use crate::authenticator::{PublishedKeys, TokenAuthenticator, http_client};
use crate::config::{ClientConfig, DataPlaneConfig, InvalidClient};
use crate::links::{Exchange, ExchangeSetup, LinkSetup, ShardIndex};
use crate::listener::{self, Front, OriginRule, dev_page};
use crate::memory;
use crate::metrics::Metrics;
use crate::revocations::Revocations;
use crate::session::Rules;
use crate::shard::{self, ShardHandle, ShardSetup, ToShard};

/// What shards may ask of the exchange before their asking waits.
const FROM_SHARDS: Bounds = Bounds { items: 16_384, bytes: 8 << 20 };
/// Files that are not sockets of clients, if that is not more than half of them: links, listeners, logs, and callers
/// of the API in the same process.
const FILES_FOR_OTHERS: usize = 500;
/// Sockets above what the node may hold that are still accepted, to be refused in words.
const REFUSED_IN_WORDS: usize = 100;

/// Why a node did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Free the address or change the key.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// The system has no threads left.
    #[error("cannot start a shard's thread: {0}")]
    Shard(std::io::Error),
    /// Another process has the id.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// The door for clients cannot be opened as it is configured.
    #[error(transparent)]
    Client(#[from] InvalidClient),
    /// The system's certificate authorities cannot be read.
    #[error("client.token.jwks_public_endpoint: {0}")]
    Authorities(std::io::Error),
}

/// A node that runs.
pub struct DataPlane {
    client_address: SocketAddr,
    admin_address: SocketAddr,
    id: MemberId,
    incarnation: Incarnation,
    registry: Arc<dyn Registry>,
    shards: Vec<(ShardHandle, JoinHandle<()>)>,
    accepting: CancellationToken,
    leaving: Arc<AtomicBool>,
    doors: Doors,
    tasks: Tasks,
}

/// What can be read anew while the node runs.
struct Doors {
    tls: Option<Arc<ServerTls>>,
    tokens: Arc<TokenAuthenticator>,
    published: Option<Arc<PublishedKeys>>,
}

impl std::fmt::Debug for DataPlane {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DataPlane").field("id", &self.id).finish_non_exhaustive()
    }
}

impl DataPlane {
    /// Starts a node. Everything that can fail fails here.
    ///
    /// # Errors
    /// Says what to change.
    pub async fn start(config: DataPlaneConfig, registry: Arc<dyn Registry>) -> Result<Self, StartError> {
        let (clients, client_address) = bind("client.address", config.client.address).await?;
        let (admin, admin_address) = bind("data_plane.admin_address", config.admin_address).await?;

        let tasks = Tasks::default();
        let metrics = Metrics::default();
        let mut exposed = prometheus_client::registry::Registry::default();
        metrics.register(&mut exposed);
        let leaving = Arc::new(AtomicBool::new(false));
        let (rules, doors) = open_doors(&config, &metrics, &tasks)?;
        let readiness = readiness((leaving.clone(), rules.admission.clone()), &doors, metrics.clone());
        let incarnation = Incarnation::random();
        let capacity = rules.admission.connection_limit() as u64;

        // queue: from shards to the exchange
        let (exchange, from_shards) = byte_queue(FROM_SHARDS);
        let setup = ShardSetup {
            incarnation,
            rules: rules.clone(),
            metrics: metrics.clone(),
            front: front(&config, readiness.clone(), (rules.admission.clone(), doors.tls.clone())),
            exchange,
            tasks: tasks.clone(),
        };
        let shards = start_shards(config.shards, &setup)?;
        let handles: Vec<ShardHandle> = shards.iter().map(|(handle, _)| handle.clone()).collect();
        let exchange = ExchangeSetup {
            link: link_setup(&config, incarnation, capacity, metrics),
            shards: handles.clone(),
            from_shards,
            membership: registry.watch(),
            rules: rules.clone(),
            tasks: tasks.clone(),
        };
        tasks.spawn("exchange", Exchange::run(exchange));

        let door = Admin { metrics: Arc::new(exposed), readiness };
        door.serve(admin, &tasks);
        let record = NodeRecord { incarnation, capacity };
        registry.register(&config.id, Record::Node(record)).await?;
        let accepting = CancellationToken::new();
        let bound = (files_for_sockets() + REFUSED_IN_WORDS, rules.admission.clone());
        tasks.spawn("client listener", listener::accept(clients, handles, bound, accepting.clone()));
        info!(node = %config.id, %client_address, %admin_address, "the data plane runs");
        let id = config.id;
        Ok(Self {
            client_address,
            admin_address,
            id,
            incarnation,
            registry,
            shards,
            accepting,
            leaving,
            doors,
            tasks,
        })
    }

    /// Reads certificates and token keys anew, for handshakes and tokens that come from now on. Other changes of
    /// the configuration count from the next start.
    ///
    /// # Errors
    /// Says what cannot be used. Then everything stays as it was.
    pub fn reload(&self, client: &ClientConfig) -> Result<(), InvalidClient> {
        if let Some(tls) = &self.doors.tls {
            tls.reload(&client.tls)?;
        }
        self.doors.tokens.reload(&client.token)?;
        Ok(())
    }

    /// Where clients connect.
    pub fn client_address(&self) -> SocketAddr {
        self.client_address
    }

    /// Where health and metrics are.
    pub fn admin_address(&self) -> SocketAddr {
        self.admin_address
    }

    /// Waits until something has broken that the process cannot live without. It need not ever come.
    pub async fn broken(&self) {
        self.tasks.broken().await;
    }

    /// Closes all clients with 3001, which tells them to come back, and ends everything; returns whether all
    /// ended within `patience`.
    pub async fn stop(self, patience: Duration) -> bool {
        self.leaving.store(true, Ordering::Relaxed);
        self.accepting.cancel();
        self.registry.deregister(&self.id, self.incarnation).await;
        let (handles, threads): (Vec<_>, Vec<_>) = self.shards.into_iter().unzip();
        let shards_end = async {
            for handle in &handles {
                // A shard that is gone already need not be told.
                let _ = handle.inbox().send(ToShard::Stop).await;
            }
            let join = || threads.into_iter().all(|thread| thread.join().is_ok());
            tokio::task::spawn_blocking(join).await.unwrap_or(false)
        };
        let shards_ended = tokio::time::timeout(patience, shards_end).await.unwrap_or(false);
        if !shards_ended {
            warn!("some clients have not closed in time");
        }
        self.tasks.stop(patience).await && shards_ended
    }
}

fn start_shards(count: usize, setup: &ShardSetup) -> Result<Vec<(ShardHandle, JoinHandle<()>)>, StartError> {
    let start = |index| shard::start(ShardIndex(index), setup.clone()).map_err(StartError::Shard);
    (0..count.clamp(1, 64) as u8).map(start).collect()
}

fn link_setup(
    config: &DataPlaneConfig,
    incarnation: Incarnation,
    capacity: u64,
    metrics: Metrics,
) -> LinkSetup {
    LinkSetup {
        node: config.id.clone(),
        incarnation: incarnation.to_wire(),
        capacity,
        namespaces_hash: config.channels.hash(),
        queue_bytes: config.link_queue_bytes,
        metrics,
    }
}

/// Reads certificates and keys, and begins to watch what decides who is let in.
fn open_doors(
    config: &DataPlaneConfig,
    metrics: &Metrics,
    tasks: &Tasks,
) -> Result<(Arc<Rules>, Doors), StartError> {
    let client = &config.client;
    let files = files_for_sockets();
    if client.connection_limit > files {
        warn!(
            limit = client.connection_limit,
            files,
            "client.connection_limit is more than the process has files for: raise its limit of open files"
        );
    }
    let admission = Arc::new(Admission::new(client, files, metrics.clients.clone()));
    if let Some(limit) = memory::limit(config.memory_limit) {
        tasks.spawn("memory", until(tasks.stopping(), memory::watch(limit, admission.clone())));
    }
    let published = published_keys(client, metrics, tasks)?;
    let tokens =
        Arc::new(TokenAuthenticator::new(&client.token, published.clone()).map_err(InvalidClient::from)?);
    let tls = ServerTls::load(&client.tls, &["http/1.1"]).map_err(InvalidClient::from)?.map(Arc::new);
    let rules = Rules {
        client: client.clone(),
        channels: config.channels.clone(),
        authenticator: tokens.clone(),
        revocations: Arc::new(Revocations::default()),
        admission,
    };
    Ok((Arc::new(rules), Doors { tls, tokens, published }))
}

/// Keys that are published elsewhere, with the task that reads them.
fn published_keys(
    client: &ClientConfig,
    metrics: &Metrics,
    tasks: &Tasks,
) -> Result<Option<Arc<PublishedKeys>>, StartError> {
    let Some(url) = client.token.endpoint()? else { return Ok(None) };
    let http = http_client().map_err(StartError::Authorities)?;
    let published = Arc::new(PublishedKeys::new(metrics.tokens.clone()));
    tasks.spawn("token keys", until(tasks.stopping(), published.clone().keep(url, http)));
    Ok(Some(published))
}

/// Runs something that has no end of its own.
async fn until(stopping: CancellationToken, endless: impl Future<Output = ()>) {
    tokio::select! {
        () = stopping.cancelled() => {}
        () = endless => {}
    }
}

fn front(
    config: &DataPlaneConfig,
    readiness: Readiness,
    (admission, tls): (Arc<Admission>, Option<Arc<ServerTls>>),
) -> Arc<Front> {
    let origins = if config.dev.is_some() {
        OriginRule::LoopbackOnly
    } else {
        OriginRule::Listed(config.client.allowed_origins.clone())
    };
    let dev_page = config.dev.as_ref().map(dev_page);
    Arc::new(Front { origins, readiness, dev_page, tls, client: config.client.clone(), admission })
}

/// A node is ready while it stays, can take connections, can verify tokens, and has a link: without one it can
/// connect clients but not subscribe them.
fn readiness(
    (leaving, admission): (Arc<AtomicBool>, Arc<Admission>),
    doors: &Doors,
    metrics: Metrics,
) -> Readiness {
    let published = doors.published.clone();
    Arc::new(move || {
        if leaving.load(Ordering::Relaxed) {
            Err("shutting down")
        } else if metrics.links.linked.get() == 0 {
            Err("no link to a control-plane replica")
        } else if published.as_ref().is_some_and(|published| !published.is_loaded()) {
            Err("the published token keys have not been read yet")
        } else {
            admission.readiness()
        }
    })
}

/// How many clients' sockets the process has files for.
fn files_for_sockets() -> usize {
    let limits = std::fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"));
    let soft = line.and_then(|line| line.split_whitespace().next()).and_then(|soft| soft.parse().ok());
    let files: usize = soft.unwrap_or(1024);
    files - FILES_FOR_OTHERS.min(files / 2)
}
