//! What operators can set for a data-plane node.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use fanfare_cluster::channel::Namespaces;
use fanfare_cluster::member::MemberId;
use fanfare_cluster::quantity::{Size, Span};
use fanfare_cluster::tls::{ServerTls, TlsConfig, TlsError};
use hyper::Uri;
use serde::{Deserialize, Serialize};

use crate::authenticator::{KeyError, TokenAuthenticator};

/// The `[client]` section: the door for clients.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ClientConfig {
    /// Where clients connect.
    pub address: SocketAddr,
    /// Origins that browsers may come from, besides the host itself.
    pub allowed_origins: Vec<String>,
    /// Whether clients without a token may connect.
    pub allow_anonymous_connect_without_token: bool,
    /// Whether tokens that name no user are refused.
    pub disallow_anonymous_connection_tokens: bool,
    /// A header of the handshake that names the user: set by a proxy that clients cannot go around.
    pub user_id_http_header: String,
    /// A header of the handshake that says where the client comes from: set by such a proxy.
    pub ip_http_header: String,
    /// How clients prove who they are.
    pub token: TokenConfig,
    /// How the port speaks TLS.
    pub tls: TlsConfig,
    /// Whether SDKs see the personal channel; if not, what is pushed to a user arrives as a message.
    pub user_personal_channel: bool,
    /// Connections that the node may hold; 0 means as many as it has files for.
    pub connection_limit: usize,
    /// New connections per second; 0 means no limit.
    pub connection_rate_limit: u32,
    /// Connections that one user may have on the node; 0 means no limit.
    pub user_connection_limit: u32,
    /// Connections that may come from one address; 0 means no limit.
    pub ip_connection_limit: u32,
    /// Commands per second from one connection; 0 means no limit.
    pub command_rate_limit: u32,
    /// The largest message from a client.
    pub message_size_limit: Size,
    /// What may wait for a client that reads slowly, before it is cut.
    pub queue_max_size: Size,
    /// Subscriptions that one connection may have.
    pub channel_limit: usize,
    /// The longest channel name that clients may use, in bytes.
    pub channel_max_length: usize,
    /// How often clients are pinged.
    pub ping_interval: Span,
    /// How long the answer to a ping may take.
    pub pong_timeout: Span,
    /// How long a client may take to connect after its socket is open.
    pub stale_close_delay: Span,
    /// How long a client may take for the HTTP handshake.
    pub handshake_timeout: Span,
    /// The largest head of an HTTP request.
    pub handshake_max_size: Size,
    /// How long after its credentials' end a connection is closed, so that a refresh can come late.
    pub expired_close_delay: Span,
    /// How long after its token's end a subscription is ended.
    pub expired_sub_close_delay: Span,
}

impl Default for ClientConfig {
    fn default() -> Self {
        let seconds = |seconds| Span(Duration::from_secs(seconds));
        Self {
            address: ([127, 0, 0, 1], 8000).into(),
            allowed_origins: Vec::new(),
            allow_anonymous_connect_without_token: false,
            disallow_anonymous_connection_tokens: false,
            user_id_http_header: String::new(),
            ip_http_header: String::new(),
            token: TokenConfig::default(),
            tls: TlsConfig::default(),
            user_personal_channel: true,
            connection_limit: 0,
            connection_rate_limit: 0,
            user_connection_limit: 0,
            ip_connection_limit: 0,
            command_rate_limit: 1_000,
            message_size_limit: Size(64 << 10),
            queue_max_size: Size(1 << 20),
            channel_limit: 128,
            channel_max_length: 255,
            ping_interval: seconds(25),
            pong_timeout: seconds(8),
            stale_close_delay: seconds(10),
            handshake_timeout: seconds(10),
            handshake_max_size: Size(16 << 10),
            expired_close_delay: seconds(25),
            expired_sub_close_delay: seconds(25),
        }
    }
}

/// Why the door for clients cannot be opened as it is configured: mend the key or the file that is named.
#[derive(Debug, thiserror::Error)]
pub enum InvalidClient {
    /// A certificate or its key cannot be used.
    #[error("client.tls: {0}")]
    Tls(#[from] TlsError),
    /// A key for tokens cannot be used.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The address of the published keys is none.
    #[error("client.token.jwks_public_endpoint {0:?} is not an http or https URL")]
    Endpoint(String),
}

impl ClientConfig {
    /// Checks what can be checked without opening the port; reads the files that are named.
    ///
    /// # Errors
    /// Says what to mend.
    pub fn validate(&self) -> Result<(), InvalidClient> {
        ServerTls::load(&self.tls, &[])?;
        self.token.endpoint()?;
        TokenAuthenticator::new(&self.token, None)?;
        Ok(())
    }
}

impl TokenConfig {
    /// Where keys are published, if they are.
    pub(crate) fn endpoint(&self) -> Result<Option<Uri>, InvalidClient> {
        let text = &self.jwks_public_endpoint;
        if text.is_empty() {
            return Ok(None);
        }
        let is_web =
            |url: &Uri| matches!(url.scheme_str(), Some("http" | "https")) && url.authority().is_some();
        let url = text.parse().ok().filter(is_web);
        url.map(Some).ok_or_else(|| InvalidClient::Endpoint(text.clone()))
    }
}

/// The `[client.token]` section.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TokenConfig {
    /// The secret of tokens signed with HS256, HS384 or HS512; empty if there are none.
    pub hmac_secret_key: String,
    /// The public key of tokens signed with RS or PS, in PEM; empty if there are none.
    pub rsa_public_key: String,
    /// The public key of tokens signed with ES, in PEM; empty if there are none.
    pub ecdsa_public_key: String,
    /// The public key of tokens signed with EdDSA, in PEM; empty if there are none.
    pub eddsa_public_key: String,
    /// Further keys.
    pub keys: Vec<TokenKey>,
    /// Where a set of public keys is published (JWKS); empty if nowhere.
    pub jwks_public_endpoint: String,
    /// What the claim `aud` must hold; empty if anything or nothing.
    pub audience: String,
    /// What the claim `iss` must be; empty if anything or nothing.
    pub issuer: String,
    /// How far the clocks of the issuer and the node may differ.
    pub leeway: Span,
    /// Verified tokens that are remembered, so that a reconnect does not verify the same signature again.
    pub cache_size: usize,
}

impl Default for TokenConfig {
    fn default() -> Self {
        Self {
            hmac_secret_key: String::new(),
            rsa_public_key: String::new(),
            ecdsa_public_key: String::new(),
            eddsa_public_key: String::new(),
            keys: Vec::new(),
            jwks_public_endpoint: String::new(),
            audience: String::new(),
            issuer: String::new(),
            leeway: Span(Duration::ZERO),
            cache_size: 65_536,
        }
    }
}

/// One of `[[client.token.keys]]`. The key is given in exactly one of the four ways.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TokenKey {
    /// The `kid` of tokens that it is for; empty: tokens without one.
    pub kid: String,
    /// A shared secret, for HS.
    pub secret: String,
    /// A file that holds such a secret and nothing else.
    pub secret_file: PathBuf,
    /// A public key in PEM: RSA, ECDSA or Ed25519.
    pub public_key: String,
    /// A file that holds such a key.
    pub public_key_file: PathBuf,
}

/// Everything a node needs to know before it starts.
#[derive(Clone, Debug)]
pub struct DataPlaneConfig {
    /// Its id.
    pub id: MemberId,
    /// The door for clients.
    pub client: ClientConfig,
    /// The options of channels.
    pub channels: Arc<Namespaces>,
    /// Where health and metrics are.
    pub admin_address: SocketAddr,
    /// Threads that hold connections, 1 to 64.
    pub shards: usize,
    /// Bytes of memory above which no new connections are let in; 0 means what the container or machine has.
    pub memory_limit: usize,
    /// Bytes that may wait on the link to one replica before it is cut.
    pub link_queue_bytes: usize,
    /// Set if this is somebody's own machine.
    pub dev: Option<DevMode>,
}

/// What a node does on somebody's own machine: it serves the dev page, and lets in only loopback hosts
/// and origins.
#[derive(Clone, Debug)]
pub struct DevMode {
    /// The command that pushes, which the page shows.
    pub push_command: String,
}
