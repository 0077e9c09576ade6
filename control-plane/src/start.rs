//! Starts a control-plane replica: binds every socket, registers, and wires the tasks together.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use fanfare_cluster::admin::Admin;
use fanfare_cluster::bind::{BindError, bind};
use fanfare_cluster::member::{Incarnation, MemberId};
use fanfare_cluster::registry::{Record, Registry, RegistryError, ReplicaRecord};
use fanfare_cluster::tasks::Tasks;
use tracing::info;

use crate::api::{PushApi, edge};
use crate::config::ControlPlaneConfig;
use crate::link_service::{self, LinkApi};
use crate::links::Links;
use crate::metrics::Metrics;
use crate::owners::Owners;
use crate::receipts::Receipts;
use crate::router::Router;

/// Why a replica did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Free the address or change the key.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// Bind to loopback.
    #[error(
        "api.address {0} is not a loopback address: there are no API keys yet, so the API must not be reachable from outside"
    )]
    OpenToAll(SocketAddr),
    /// Another process has the id, or replicas changed at the same moment.
    #[error(transparent)]
    Registry(#[from] RegistryError),
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
        if !config.api.address.ip().is_loopback() {
            return Err(StartError::OpenToAll(config.api.address));
        }
        let (api, api_address) = bind("api.address", config.api.address).await?;
        let (cluster, cluster_address) = bind("cluster.address", config.cluster_address).await?;
        let (admin, admin_address) = bind("control_plane.admin_address", config.admin_address).await?;

        let tasks = Tasks::default();
        let metrics = Metrics::default();
        let mut exposed = prometheus_client::registry::Registry::default();
        metrics.register(&mut exposed);
        let links = Arc::new(Links::new(config.link_queue_bytes, metrics.clone()));
        let owners = Owners::start(config.owners, config.link_queue_bytes, &metrics, &tasks);
        let receipts = Arc::new(Receipts::default());
        let (me, incarnation) = (config.id, Incarnation::random());
        let router =
            Router::new(me.clone(), owners.clone(), links.clone(), receipts.clone(), registry.watch());
        let router = Arc::new(router);
        let channels = config.channels;

        let push = PushApi::new(router.clone(), channels.clone(), metrics.clone());
        edge::serve(api, push, config.api.max_concurrent_calls, &tasks)?;
        link_service::serve(
            cluster,
            LinkApi {
                me: me.clone(),
                incarnation,
                links,
                owners,
                router,
                receipts,
                channels,
                metrics,
                tasks: tasks.clone(),
            },
        );
        let door = Admin { metrics: Arc::new(exposed), readiness: Arc::new(|| Ok(())) };
        door.serve(admin, &tasks);
        join(&*registry, &me, ReplicaRecord { incarnation, cluster_address }).await?;
        info!(replica = %me, %api_address, %cluster_address, %admin_address, "the control plane runs");
        Ok(Self {
            api_address,
            admin_address,
            id: me,
            incarnation,
            registry: RegistryHandle(registry),
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
