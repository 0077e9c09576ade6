//! A replica in this process, and files for it.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use fanfare_cluster::channel::Namespaces;
use fanfare_cluster::registry::{MemoryRegistry, Registry as _};
use fanfare_control_plane::{
    ApiConfig, ControlPlane, ControlPlaneConfig, HistoryConfig, PresenceConfig, StartError,
};
use fanfare_proto::v1::connection_service_client::ConnectionServiceClient;
use fanfare_tests::sandbox::metric;
use tokio::runtime::Runtime;
use tonic::transport::{Channel, Endpoint};

/// A replica that runs.
pub(crate) struct Replica {
    pub(crate) runtime: Runtime,
    pub(crate) registry: Arc<MemoryRegistry>,
    pub(crate) control: ControlPlane,
}

impl Replica {
    pub(crate) fn start(api: ApiConfig) -> Self {
        Self::try_start(api).expect("the control plane starts")
    }

    pub(crate) fn try_start(api: ApiConfig) -> Result<Self, StartError> {
        let channels = Namespaces::new(Default::default(), &[]).expect("there is nothing to check");
        Self::start_with(api, channels, PresenceConfig::default())
    }

    pub(crate) fn start_with(
        api: ApiConfig,
        channels: Namespaces,
        presence: PresenceConfig,
    ) -> Result<Self, StartError> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
        let runtime = runtime.expect("a runtime starts");
        let registry = Arc::new(MemoryRegistry::default());
        let free = ([127, 0, 0, 1], 0).into();
        let config = ControlPlaneConfig {
            id: "replica".parse().expect("an id"),
            api,
            cluster_address: free,
            admin_address: free,
            owners: 2,
            link_queue_bytes: 8 << 20,
            history: HistoryConfig::default(),
            presence,
            channels: Arc::new(channels),
        };
        let control = runtime.block_on(ControlPlane::start(config, registry.clone()))?;
        Ok(Self { runtime, registry, control })
    }

    /// Runs a future to its end.
    pub(crate) fn run<T>(&self, future: impl Future<Output = T>) -> T {
        self.runtime.block_on(future)
    }

    /// Connects to the API, without TLS.
    pub(crate) fn connect(&self) -> Channel {
        let endpoint = Endpoint::from_shared(format!("http://{}", self.control.api_address()));
        self.run(endpoint.expect("a URL").connect()).expect("the API is reachable")
    }

    pub(crate) fn connections(&self) -> ConnectionServiceClient<Channel> {
        ConnectionServiceClient::new(self.connect())
    }

    pub(crate) fn metric(&self, name: &str) -> f64 {
        metric(self.control.admin_address(), name)
    }

    pub(crate) fn cluster_address(&self) -> std::net::SocketAddr {
        let members = self.registry.watch().peek();
        members.replicas.values().next().expect("the replica has registered").cluster_address
    }
}

/// An API on any free port of this machine.
pub(crate) fn local() -> ApiConfig {
    ApiConfig { address: ([127, 0, 0, 1], 0).into(), ..Default::default() }
}

/// A folder that goes away with the test.
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let folder = std::env::temp_dir().join(format!("fanfare-api-{}-{number}", std::process::id()));
        fs::create_dir_all(&folder).expect("a folder can be made");
        Self(folder)
    }

    pub(crate) fn write(&self, name: &str, text: &str) -> PathBuf {
        let file = self.0.join(name);
        fs::write(&file, text).expect("a file can be written");
        file
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What is left in the temporary folder harms nobody.
        let _ = fs::remove_dir_all(&self.0);
    }
}
