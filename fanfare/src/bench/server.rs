//! The server that is measured: `fanfare serve --dev` on a core of its own.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Result;
use tokio::runtime::Runtime;

use super::part::{Part, SERVER_CORE};
use crate::client::ApiClient;
use crate::endpoint::ApiEndpoint;

/// Clients that share a busy core may answer pings late; that is not what is measured.
const PATIENT: &str = "client.pong_timeout=20s";

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
    pub(super) fn start(shards: usize, settings: &[String], runtime: &Runtime) -> Result<Self> {
        let own = [
            "client.address=127.0.0.1:0".to_owned(),
            "api.address=127.0.0.1:0".to_owned(),
            format!("data_plane.shards={shards}"),
            PATIENT.to_owned(),
        ];
        let mut words = vec!["serve".to_owned(), "--dev".to_owned()];
        words.extend(own.iter().chain(settings).flat_map(|setting| ["--set".to_owned(), setting.clone()]));
        let mut part = Part::start(SERVER_CORE, &words)?;
        let clients = part.address_after("page")?;
        let api = part.address_after("gRPC API")?;
        let pusher = runtime.block_on(ApiClient::connect(&ApiEndpoint::plain(api, PATIENCE)))?;
        Ok(Self { part, clients, pusher })
    }
}
