//! All keys of the configuration, their defaults, and what must hold between them.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use fanfare_cluster::channel::{ChannelOptions, Namespace, Namespaces, PersonalHistory};
use fanfare_cluster::member::MemberId;
use fanfare_cluster::quantity::{Size, Span};
use fanfare_control_plane::{ApiConfig, ControlPlaneConfig, HistoryConfig, HistoryEngine, PresenceConfig};
use fanfare_data_plane::{ClientConfig, DataPlaneConfig, DevMode};
use serde::{Deserialize, Serialize};
use toml::Table;
use tracing_subscriber::EnvFilter;

use super::DEV_SECRET;

/// Shards at most, as many as bits in the set that says which of them follow a channel.
const MAX_SHARDS: usize = 64;

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Config {
    pub(crate) client: ClientConfig,
    pub(crate) channel: ChannelSection,
    pub(crate) presence: PresenceConfig,
    pub(crate) history: HistoryConfig,
    pub(crate) api: ApiConfig,
    pub(crate) cluster: ClusterSection,
    pub(crate) control_plane: ControlPlaneSection,
    pub(crate) data_plane: DataPlaneSection,
    pub(crate) telemetry: TelemetrySection,
    pub(crate) shutdown: ShutdownSection,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct ChannelSection {
    pub(crate) without_namespace: ChannelOptions,
    pub(crate) namespaces: Vec<Namespace>,
    pub(crate) personal: PersonalHistory,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct ClusterSection {
    pub(crate) address: SocketAddr,
    pub(crate) link_queue: Size,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct ControlPlaneSection {
    pub(crate) id: MemberId,
    pub(crate) admin_address: SocketAddr,
    pub(crate) owners: usize,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct DataPlaneSection {
    pub(crate) id: MemberId,
    pub(crate) admin_address: SocketAddr,
    pub(crate) shards: usize,
    pub(crate) memory_limit: Size,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum LogFormat {
    #[default]
    Text,
    Json,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct TelemetrySection {
    pub(crate) log_level: String,
    pub(crate) log_format: LogFormat,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct ShutdownSection {
    pub(crate) grace: Span,
}

impl Default for ClusterSection {
    fn default() -> Self {
        Self { address: loopback(10001), link_queue: Size(8 << 20) }
    }
}

impl Default for ControlPlaneSection {
    fn default() -> Self {
        Self { id: id("replica"), admin_address: loopback(10002), owners: 0 }
    }
}

impl Default for DataPlaneSection {
    fn default() -> Self {
        Self { id: id("node"), admin_address: loopback(8001), shards: 0, memory_limit: Size(0) }
    }
}

impl Default for TelemetrySection {
    fn default() -> Self {
        Self { log_level: "info".to_owned(), log_format: LogFormat::default() }
    }
}

impl Default for ShutdownSection {
    fn default() -> Self {
        Self { grace: Span(Duration::from_secs(10)) }
    }
}

fn loopback(port: u16) -> SocketAddr {
    ([127, 0, 0, 1], port).into()
}

fn id(name: &str) -> MemberId {
    name.parse().expect("a plain word is an id")
}

/// All keys with their defaults.
pub(crate) fn defaults() -> Table {
    Table::try_from(Config::default()).expect("our own defaults are TOML")
}

impl Config {
    /// Checks what must hold between keys.
    pub(crate) fn validate(&self, dev: bool) -> Result<(), String> {
        let client = &self.client;
        if client.pong_timeout.0 >= client.ping_interval.0 {
            return Err("client.pong_timeout must be shorter than client.ping_interval".to_owned());
        }
        if client.ping_interval.0 < Duration::from_secs(1) {
            return Err("client.ping_interval must be at least 1s: the protocol counts in seconds".to_owned());
        }
        let secrets = client.token.keys.iter().map(|key| ("client.token.keys", &key.secret));
        let mut secrets = secrets.chain([("client.token.hmac_secret_key", &client.token.hmac_secret_key)]);
        let public = secrets.find(|(_, secret)| !dev && *secret == DEV_SECRET);
        if let Some((key, _)) = public {
            return Err(format!("{key} is the public secret of --dev: choose another"));
        }
        if self.data_plane.shards > MAX_SHARDS {
            return Err(format!("data_plane.shards is at most {MAX_SHARDS}"));
        }
        if self.api.connection_limit == 0 || self.api.connection_limit > 65_536 {
            return Err("api.connection_limit is 1 to 65536".to_owned());
        }
        if self.api.max_concurrent_calls == 0 {
            return Err("api.max_concurrent_calls must be at least 1".to_owned());
        }
        for (key, header) in [
            ("client.user_id_http_header", &client.user_id_http_header),
            ("client.ip_http_header", &client.ip_http_header),
        ] {
            if !header.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte)) {
                return Err(format!("{key} must be the name of a header, not {header:?}"));
            }
        }
        EnvFilter::try_new(&self.telemetry.log_level)
            .map_err(|error| format!("telemetry.log_level: {error}"))?;
        self.validate_sizes()?;
        self.validate_history()?;
        self.channels()?;
        self.validate_addresses(dev)?;
        self.api.validate().map_err(|error| error.to_string())?;
        self.client.validate().map_err(|error| error.to_string())
    }

    fn validate_sizes(&self) -> Result<(), String> {
        let sizes = [
            ("client.message_size_limit", self.client.message_size_limit, Size(1 << 10), Size(16 << 20)),
            ("client.handshake_max_size", self.client.handshake_max_size, Size(8 << 10), Size(1 << 20)),
            ("client.queue_max_size", self.client.queue_max_size, Size(16 << 10), Size(1 << 30)),
            ("cluster.link_queue", self.cluster.link_queue, Size(1 << 20), Size(1 << 30)),
            ("history.memory_limit", self.history.memory_limit, Size(1 << 20), Size(1 << 40)),
        ];
        match sizes.iter().find(|(_, size, low, high)| size < low || size > high) {
            Some((key, size, low, high)) => Err(format!("{key} is {size}, but must be {low} to {high}")),
            None => Ok(()),
        }
    }

    fn validate_addresses(&self, dev: bool) -> Result<(), String> {
        let addresses = [
            ("client.address", self.client.address, "--dev serves this machine only", dev),
            (
                "control_plane.admin_address",
                self.control_plane.admin_address,
                "--dev serves this machine only",
                dev,
            ),
            (
                "data_plane.admin_address",
                self.data_plane.admin_address,
                "--dev serves this machine only",
                dev,
            ),
            ("api.address", self.api.address, "--dev serves this machine only", dev),
            ("cluster.address", self.cluster.address, "links have no TLS yet", true),
        ];
        let open = addresses.iter().find(|(_, address, _, bound)| *bound && !address.ip().is_loopback());
        match open {
            Some((key, address, why, _)) => {
                Err(format!("{key} is {address}, but must be a loopback address: {why}"))
            }
            None => Ok(()),
        }
    }

    /// All namespaces; [`validate`](Self::validate) has seen that they are good.
    fn channels(&self) -> Result<Arc<Namespaces>, String> {
        let ChannelSection { without_namespace, namespaces, personal } = &self.channel;
        // Clients that know nothing of their personal channel get what is pushed to it as messages without a place.
        let personal = if self.client.user_personal_channel { personal } else { &PersonalHistory::OFF };
        Namespaces::with_personal(without_namespace.clone(), namespaces, personal)
            .map(Arc::new)
            .map_err(|error| error.to_string())
    }

    fn validate_history(&self) -> Result<(), String> {
        let HistoryConfig { engine, meta_ttl, idempotency_window, redis, .. } = &self.history;
        if *engine == HistoryEngine::Redis {
            redis.validate().map_err(|error| error.to_string())?;
        }
        if idempotency_window.0 < Duration::from_secs(1) || *idempotency_window > *meta_ttl {
            return Err("history.idempotency_window must be 1s to history.meta_ttl".to_owned());
        }
        let ChannelSection { without_namespace, namespaces, personal } = &self.channel;
        let named = namespaces.iter().map(|namespace| namespace.options.history_ttl);
        let longest = named.chain([without_namespace.history_ttl, personal.history_ttl]).max();
        match longest.filter(|longest| longest > meta_ttl) {
            Some(longest) => Err(format!(
                "history.meta_ttl is {meta_ttl}, but must not be shorter than the longest history_ttl, {longest}"
            )),
            None => Ok(()),
        }
    }

    pub(crate) fn control_plane(&self) -> Result<ControlPlaneConfig, String> {
        Ok(ControlPlaneConfig {
            id: self.control_plane.id.clone(),
            api: self.api.clone(),
            cluster_address: self.cluster.address,
            admin_address: self.control_plane.admin_address,
            owners: or_cores(self.control_plane.owners),
            link_queue_bytes: self.cluster.link_queue.0,
            presence: self.presence.clone(),
            history: self.history.clone(),
            channels: self.channels()?,
        })
    }

    pub(crate) fn data_plane(&self, dev: Option<DevMode>) -> Result<DataPlaneConfig, String> {
        Ok(DataPlaneConfig {
            id: self.data_plane.id.clone(),
            client: self.client.clone(),
            channels: self.channels()?,
            admin_address: self.data_plane.admin_address,
            shards: or_cores(self.data_plane.shards).min(MAX_SHARDS),
            memory_limit: self.data_plane.memory_limit.0,
            link_queue_bytes: self.cluster.link_queue.0,
            dev,
        })
    }
}

/// 0 means as many as there are cores.
fn or_cores(count: usize) -> usize {
    match count {
        0 => std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
        count => count,
    }
}
