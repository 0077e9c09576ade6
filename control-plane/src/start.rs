//! Starts a control-plane replica: binds every socket, registers, and wires the tasks together.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use fanfare_cluster::admin::Admin;
use fanfare_cluster::bind::{BindError, bind};
use fanfare_cluster::member::{Incarnation, MemberId};
use fanfare_cluster::registry::{Record, Registry, RegistryError, ReplicaRecord};
use fanfare_cluster::tasks::Tasks;
use fanfare_cluster::tls::{ServerTls, TlsConfig};
use tracing::{info, warn};

use crate::api::edge::{self, Entrance, Services};
use crate::api::keys::KeySet;
use crate::api::opening::InvalidApi;
use crate::api::{ClusterApi, ConnectionApi, Door, HistoryApi, PresenceApi, PushApi};
use crate::config::{ApiConfig, ControlPlaneConfig, HistoryConfig, HistoryEngine};
use crate::history::{History, InvalidRedis, MemoryHistory, RedisHistory};
use crate::link_service::{self, LinkApi};
use crate::links::Links;
use crate::metrics::Metrics;
use crate::operation::unix_seconds;
use crate::owners::{Owners, OwnersSetup};
use crate::presence::{Presence, PresenceSetup};
use crate::receipts::Receipts;
use crate::revocations::Revocations;
use crate::router::Router;

/// Why a replica did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Free the address or change the key.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// The API must not be opened like this.
    #[error(transparent)]
    Api(#[from] InvalidApi),
    /// Redis is configured in a way that no server could be used.
    #[error(transparent)]
    Redis(#[from] InvalidRedis),
    /// Another process has the id, or replicas changed at the same moment.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// The file of revocations cannot be used.
    #[error("api.revocations_file {}: {source}", file.display())]
    Revocations {
        /// The file.
        file: PathBuf,
        /// What is wrong with it.
        source: std::io::Error,
    },
    /// Our own descriptors are broken.
    #[error("the API's descriptors cannot be read: {0}")]
    Reflection(#[from] tonic_reflection::server::Error),
}

/// A replica that runs.
#[derive(Debug)]
pub struct ControlPlane {
    api_address: SocketAddr,
    admin_address: SocketAddr,
    id: MemberId,
    incarnation: Incarnation,
    registry: RegistryHandle,
    door: Arc<Door>,
    api_tls: TlsConfig,
    tls: Option<Arc<ServerTls>>,
    tasks: Tasks,
}

struct RegistryHandle(Arc<dyn Registry>);

impl std::fmt::Debug for RegistryHandle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Registry")
    }
}

impl ControlPlane {
    /// Starts a replica. Everything that can fail fails here.
    ///
    /// # Errors
    /// Says what to change.
    pub async fn start(config: ControlPlaneConfig, registry: Arc<dyn Registry>) -> Result<Self, StartError> {
        let (keys, tls) = load(&config.api)?;
        let (api, api_address) = bind("api.address", config.api.address).await?;
        let (cluster, cluster_address) = bind("cluster.address", config.cluster_address).await?;
        let (admin, admin_address) = bind("control_plane.admin_address", config.admin_address).await?;

        let tasks = Tasks::default();
        let metrics = Metrics::default();
        let mut exposed = prometheus_client::registry::Registry::default();
        metrics.register(&mut exposed);
        let file = &config.api.revocations_file;
        let revocations = Revocations::open(file, metrics.clone(), unix_seconds(SystemTime::now()));
        let revocations =
            revocations.map_err(|source| StartError::Revocations { file: file.clone(), source })?;
        let (me, incarnation, settings) = (config.id.clone(), Incarnation::random(), config.api.clone());
        let history = open_history(&config.history, &metrics, &tasks).await?;
        let link_api = wire(config, incarnation, (&*registry, revocations, history), (&metrics, &tasks));
        let limit = settings.concurrency_limit;
        let door = Arc::new(Door::new(keys, limit, tasks.stopping(), metrics.clone()));
        let entrance = Entrance {
            door: door.clone(),
            tls: tls.clone(),
            max_concurrent_calls: settings.max_concurrent_calls,
            connection_limit: settings.connection_limit,
            metrics,
        };
        edge::serve(api, services(&link_api), entrance, &tasks)?;
        link_service::serve(cluster, link_api);
        let admin_door = Admin { metrics: Arc::new(exposed), readiness: Arc::new(|| Ok(())) };
        admin_door.serve(admin, &tasks);
        join(&*registry, &me, ReplicaRecord { incarnation, cluster_address }).await?;
        info!(replica = %me, %api_address, %cluster_address, %admin_address, "the control plane runs");
        Ok(Self {
            api_address,
            admin_address,
            id: me,
            incarnation,
            registry: RegistryHandle(registry),
            door,
            api_tls: settings.tls,
            tls,
            tasks,
        })
    }

    /// Where the public API is.
    pub fn api_address(&self) -> SocketAddr {
        self.api_address
    }

    /// Where health and metrics are.
    pub fn admin_address(&self) -> SocketAddr {
        self.admin_address
    }

    /// Goes by these keys from now on, and reads key files and certificates anew. If anything is wrong, all stays as
    /// it was. The rest of the section counts at the next start.
    ///
    /// # Errors
    /// Says what to mend.
    pub fn reload(&self, api: &ApiConfig) -> Result<(), InvalidApi> {
        // The port is what it was at the start, whatever the section says now.
        let (address, tls) = (self.api_address, self.api_tls.clone());
        let keys = ApiConfig { address, tls, ..api.clone() }.load_keys()?;
        if let Some(tls) = &self.tls {
            tls.reload(&api.tls)?;
        }
        self.door.replace_keys(keys);
        Ok(())
    }

    /// Waits until something has broken that the process cannot live without. It need not ever come.
    pub async fn broken(&self) {
        self.tasks.broken().await;
    }

    /// Takes the replica out of the registry and ends its tasks; returns whether all ended in time.
    pub async fn stop(self, patience: Duration) -> bool {
        self.registry.0.deregister(&self.id, self.incarnation).await;
        self.tasks.stop(patience).await
    }
}

/// The keys and certificates of the API.
fn load(api: &ApiConfig) -> Result<(KeySet, Option<Arc<ServerTls>>), InvalidApi> {
    let keys = api.load_keys()?;
    let tls = ServerTls::load(&api.tls, &["h2"])?.map(Arc::new);
    if api.shows_keys() {
        warn!(
            "api.keys travel without TLS, and api.address is not a loopback address: who listens can use them"
        );
    }
    Ok((keys, tls))
}

/// Where streams are kept.
async fn open_history(
    config: &HistoryConfig,
    metrics: &Metrics,
    tasks: &Tasks,
) -> Result<Arc<dyn History>, InvalidRedis> {
    Ok(match config.engine {
        HistoryEngine::Memory => Arc::new(MemoryHistory::new(config.memory_limit.0)),
        HistoryEngine::Redis => {
            Arc::new(RedisHistory::open(&config.redis, metrics.history.redis.clone(), tasks).await?)
        }
    })
}

/// The tasks that own channels and know who is present, and what leads to them.
fn wire(
    config: ControlPlaneConfig,
    incarnation: Incarnation,
    (registry, revocations, history): (&dyn Registry, Revocations, Arc<dyn History>),
    (metrics, tasks): (&Metrics, &Tasks),
) -> LinkApi {
    let links = Arc::new(Links::new(config.link_queue_bytes, metrics.clone()));
    let setup = OwnersSetup {
        count: config.owners,
        link_bytes: config.link_queue_bytes,
        history,
        settings: config.history,
        channels: config.channels.clone(),
        membership: registry.watch(),
        metrics: metrics.clone(),
    };
    let owners = Owners::start(&setup, tasks);
    let setup = PresenceSetup {
        me: config.id.clone(),
        incarnation,
        channels: config.channels.clone(),
        membership: registry.watch(),
        config: config.presence,
        metrics: metrics.clone(),
    };
    let presence = Presence::start(config.owners, &setup, tasks);
    let receipts = Arc::new(Receipts::default());
    let router =
        Router::new(config.id.clone(), owners.clone(), links.clone(), receipts.clone(), registry.watch());
    LinkApi {
        me: config.id,
        incarnation,
        links,
        owners,
        presence,
        router: Arc::new(router),
        receipts,
        inspections: Arc::default(),
        revocations: Arc::new(revocations),
        channels: config.channels,
        metrics: metrics.clone(),
        tasks: tasks.clone(),
    }
}

/// What the public API serves.
fn services(of: &LinkApi) -> Services {
    let (router, links, channels) = (of.router.clone(), of.links.clone(), of.channels.clone());
    Services {
        push: PushApi::new(router.clone(), channels.clone(), of.metrics.clone()),
        history: HistoryApi::new(router.clone(), channels.clone()),
        cluster: ClusterApi {
            router: router.clone(),
            links: links.clone(),
            owners: of.owners.clone(),
            presence: of.presence.clone(),
            channels: channels.clone(),
            listing: Arc::default(),
        },
        presence: PresenceApi {
            router: router.clone(),
            presence: of.presence.clone(),
            channels: channels.clone(),
        },
        connections: ConnectionApi {
            router,
            links,
            presence: of.presence.clone(),
            inspections: of.inspections.clone(),
            revocations: of.revocations.clone(),
            repeats: Arc::default(),
            channels,
        },
    }
}

/// Registers the replica and adds it to the placement.
async fn join(registry: &dyn Registry, me: &MemberId, record: ReplicaRecord) -> Result<(), RegistryError> {
    registry.register(me, Record::Replica(record)).await?;
    let mut watch = registry.watch();
    loop {
        let placement = watch.current().placement.clone();
        if placement.contains(me) {
            return Ok(());
        }
        let mut replicas = placement.replicas().to_vec();
        replicas.push((me.clone(), 1));
        match registry.place(placement.number(), replicas).await {
            // Somebody else was faster: read theirs and add to it.
            Err(RegistryError::PlacementChanged) => {}
            other => return other.map(drop),
        }
    }
}
