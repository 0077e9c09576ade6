//! The server that is measured: `fanfare serve --dev` on a core of its own.

use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

use anyhow::Result;
use tokio::runtime::Runtime;

use super::link_node::LinkNode;
use super::part::{Part, SERVER_CORE};
use crate::cli::ServeArguments;
use crate::client::ApiClient;
use crate::config;
use crate::endpoint::ApiEndpoint;
use crate::exit::Failure;

/// Clients that share a busy core may answer pings late; that is not what is measured.
const PATIENT: &str = "client.pong_timeout=20s";

/// Channels that keep nothing and of which nobody knows who is there: the least that a channel can be.
const PLAIN: [&str; 6] = [
    "channel.without_namespace.history_size=0",
    "channel.without_namespace.history_ttl=0s",
    "channel.without_namespace.force_recovery=false",
    "channel.without_namespace.presence=false",
    "channel.without_namespace.force_push_join_leave=false",
    "channel.without_namespace.join_leave=false",
];

/// What names of channels begin with that have history.
pub(super) const KEPT: &str = "kept:";
/// Beside these there are channels that begin with `present:` and have presence.
const NAMESPACES: &str = concat!(
    r#"channel.namespaces=[{name="kept",allow_subscribe_for_client=true,allow_subscribe_for_anonymous=true,"#,
    r#"history_size=100,history_ttl="10m",force_recovery=true},{name="present",presence=true}]"#,
);

/// How long a push may take.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);

/// A server with its pusher.
pub(super) struct Server {
    pub(super) part: Part,
    pub(super) clients: SocketAddr,
    pub(super) pusher: ApiClient,
}

impl Server {
    /// Starts it with further settings, each `key=value`.
    pub(super) fn start(shards: usize, further: &[String], runtime: &Runtime) -> Result<Self> {
        let settings = settings(shards, further);
        let mut words = vec!["serve".to_owned(), "--dev".to_owned()];
        words.extend(settings.into_iter().flat_map(|setting| ["--set".to_owned(), setting]));
        let mut part = Part::start(SERVER_CORE, &words)?;
        let clients = part.address_after("page")?;
        let api = part.address_after("gRPC API")?;
        let pusher = runtime.block_on(ApiClient::connect(&ApiEndpoint::plain(api, PATIENCE)))?;
        Ok(Self { part, clients, pusher })
    }
}

/// A server with a node beside its own, which has nothing to do meanwhile.
pub(super) struct LinkedServer {
    pub(super) server: Server,
    pub(super) node: LinkNode,
}

impl LinkedServer {
    pub(super) fn start(shards: usize, runtime: &Runtime) -> Result<Self> {
        let cluster = free_address()?;
        let server = Server::start(shards, &[format!("cluster.address={cluster}")], runtime)?;
        let node = runtime.block_on(LinkNode::dial(cluster, namespaces_hash()?))?;
        Ok(Self { server, node })
    }
}

/// All that such a server is told, each `key=value`.
fn settings(shards: usize, further: &[String]) -> Vec<String> {
    let own = ["client.address=127.0.0.1:0", "api.address=127.0.0.1:0", PATIENT, NAMESPACES];
    let own = own.into_iter().chain(PLAIN).map(str::to_owned);
    own.chain([format!("data_plane.shards={shards}")]).chain(further.iter().cloned()).collect()
}

/// The hash of the channel options that such a server has, which its nodes say they have as well.
fn namespaces_hash() -> Result<u64, Failure> {
    let arguments = ServeArguments { dev: true, config: None, set: settings(1, &[]) };
    Ok(config::load(&arguments)?.control_plane().map_err(Failure::Usage)?.channels.hash())
}

/// An address where nobody listens at this moment, for programs that do not say which one they have chosen.
pub(super) fn free_address() -> Result<SocketAddr> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}

#[cfg(test)]
mod tests {
    use fanfare_cluster::channel::ChannelName;

    use super::*;

    #[test]
    fn each_kind_of_channel_has_what_is_measured_there_and_nothing_else() {
        let arguments = ServeArguments { dev: true, config: None, set: settings(1, &[]) };
        let channels = config::load(&arguments).unwrap().control_plane().unwrap().channels;
        let has = |name: &str| {
            let rules = channels.of(&ChannelName::parse(name).unwrap()).unwrap();
            (rules.options.has_history(), rules.options.has_presence())
        };
        assert_eq!(has("crowd"), (false, false));
        assert_eq!(has(&format!("{KEPT}crowd")), (true, false));
        assert_eq!(has("present:crowd"), (false, true));
    }
}
