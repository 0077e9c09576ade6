//! Both planes in this process, with a proxy on the road between them.

use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};

use async_trait::async_trait;
use fanfare_cluster::channel::{ChannelOptions, Namespace, Namespaces};
use fanfare_cluster::member::{Incarnation, MemberId};
use fanfare_cluster::placement::PlacementNumber;
use fanfare_cluster::registry::{
    MembershipWatch, MemoryRegistry, Record, Registry, RegistryError, ReplicaRecord,
};
use fanfare_control_plane::{ApiConfig, ControlPlane, ControlPlaneConfig, HistoryConfig, PresenceConfig};
use fanfare_data_plane::{ClientConfig, DataPlane, DataPlaneConfig, TokenConfig};
use fanfare_proto::v1::push_service_client::PushServiceClient;
use fanfare_proto::v1::target::Kind;
use fanfare_proto::v1::{PublishRequest, Receipt, WaitFor};
use fanfare_tests::eventually::eventually;
use fanfare_tests::sandbox::{http, metric, push_request};
use tokio::runtime::Runtime;
use tonic::transport::Channel;

use crate::proxy::Proxy;

/// The secret of tokens.
pub(crate) const SECRET: &str = "a secret of the tests";

/// A registry that sends nodes through a proxy.
#[derive(Default)]
struct Detour {
    registry: MemoryRegistry,
    proxy: OnceLock<Proxy>,
}

#[async_trait]
impl Registry for Detour {
    async fn register(&self, id: &MemberId, record: Record) -> Result<(), RegistryError> {
        let record = match record {
            Record::Replica(replica) => {
                let proxy = self.proxy.get_or_init(|| Proxy::start(replica.cluster_address));
                Record::Replica(ReplicaRecord { cluster_address: proxy.address(), ..replica })
            }
            node @ Record::Node(_) => node,
        };
        self.registry.register(id, record).await
    }

    async fn deregister(&self, id: &MemberId, incarnation: Incarnation) {
        self.registry.deregister(id, incarnation).await;
    }

    async fn place(
        &self,
        expected: PlacementNumber,
        replicas: Vec<(MemberId, u32)>,
    ) -> Result<PlacementNumber, RegistryError> {
        self.registry.place(expected, replicas).await
    }

    fn watch(&self) -> MembershipWatch {
        self.registry.watch()
    }
}

/// Both planes.
pub(crate) struct Planes {
    runtime: Runtime,
    registry: Arc<Detour>,
    control: ControlPlane,
    data: DataPlane,
}

impl Planes {
    /// Starts both planes; so many bytes may wait on the link.
    pub(crate) fn start(link_queue_bytes: usize) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
        let runtime = runtime.expect("a runtime starts");
        let registry = Arc::new(Detour::default());
        let (control, data) = runtime.block_on(async {
            let control = ControlPlane::start(control_config(link_queue_bytes), registry.clone()).await;
            let data = DataPlane::start(data_config(link_queue_bytes), registry.clone()).await;
            (control.expect("the control plane starts"), data.expect("the data plane starts"))
        });
        let planes = Self { runtime, registry, control, data };
        let ready = || http(planes.clients(), "/readyz").starts_with("HTTP/1.1 200").then_some(());
        eventually("the planes are linked", ready);
        planes
    }

    pub(crate) fn clients(&self) -> SocketAddr {
        self.data.client_address()
    }

    pub(crate) fn proxy(&self) -> &Proxy {
        self.registry.proxy.get().expect("the replica has registered")
    }

    /// Pushes and waits until it is written.
    pub(crate) fn push(&self, channel: &str, json: &str) -> Receipt {
        self.publish(push_request(Kind::Channel(channel.to_owned()), json))
    }

    /// Pushes to a user and waits until it is written.
    pub(crate) fn push_to_user(&self, user: &str, json: &str) -> Receipt {
        self.publish(push_request(Kind::User(user.to_owned()), json))
    }

    /// Pushes without waiting for sockets.
    pub(crate) fn push_and_go(&self, channel: &str, json: &str) -> Receipt {
        let request = push_request(Kind::Channel(channel.to_owned()), json);
        self.publish(PublishRequest { wait_for: WaitFor::Accepted.into(), ..request })
    }

    /// A metric of the node.
    pub(crate) fn node_metric(&self, name: &str) -> f64 {
        metric(self.data.admin_address(), name)
    }

    /// A metric of the replica.
    pub(crate) fn control_metric(&self, name: &str) -> f64 {
        metric(self.control.admin_address(), name)
    }

    /// Runs a future to its end.
    pub(crate) fn run<T>(&self, future: impl Future<Output = T>) -> T {
        self.runtime.block_on(future)
    }

    /// Where the API is.
    pub(crate) fn api_url(&self) -> String {
        format!("http://{}", self.control.api_address())
    }

    /// A client of the API.
    pub(crate) async fn api(&self) -> PushServiceClient<Channel> {
        PushServiceClient::connect(self.api_url()).await.expect("the API is reachable")
    }

    fn publish(&self, request: PublishRequest) -> Receipt {
        self.runtime.block_on(async {
            let mut client = self.api().await;
            let answer = client.publish(request).await.expect("the push is accepted");
            answer.into_inner().receipt.expect("there is a receipt")
        })
    }
}

fn free_port() -> SocketAddr {
    ([127, 0, 0, 1], 0).into()
}

fn channels() -> Arc<Namespaces> {
    let options = ChannelOptions {
        allow_subscribe_for_client: true,
        allow_subscribe_for_anonymous: true,
        allow_publish_for_client: true,
        allow_publish_for_anonymous: true,
        ..Default::default()
    };
    let slow = Namespace {
        name: "slow".to_owned(),
        options: ChannelOptions { publication_rate_limit: 2, ..options.clone() },
    };
    Arc::new(Namespaces::new(options, &[slow]).expect("no pattern, a good name"))
}

fn control_config(link_queue_bytes: usize) -> ControlPlaneConfig {
    ControlPlaneConfig {
        id: "replica".parse().expect("an id"),
        api: ApiConfig { address: free_port(), ..Default::default() },
        cluster_address: free_port(),
        admin_address: free_port(),
        owners: 2,
        link_queue_bytes,
        history: HistoryConfig::default(),
        presence: PresenceConfig::default(),
        channels: channels(),
    }
}

fn data_config(link_queue_bytes: usize) -> DataPlaneConfig {
    let client = ClientConfig {
        address: free_port(),
        token: TokenConfig { hmac_secret_key: SECRET.to_owned(), ..Default::default() },
        allow_anonymous_connect_without_token: true,
        ..Default::default()
    };
    DataPlaneConfig {
        id: "node".parse().expect("an id"),
        client,
        channels: channels(),
        admin_address: free_port(),
        // One, so that all clients share it.
        memory_limit: 0,
        shards: 1,
        link_queue_bytes,
        dev: None,
    }
}
