//! What operators can set for a history in Redis or Valkey.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use fanfare_cluster::quantity::Span;
use serde::{Deserialize, Serialize};

/// A prefix is a part of every key.
const MAX_PREFIX_BYTES: usize = 64;
const MAX_TIMEOUT: Duration = Duration::from_secs(60);
const MAX_WAIT_REPLICAS: u32 = 16;

/// The `[history.redis]` section: where streams are kept when they shall outlive this process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RedisConfig {
    /// Where the servers are, each `host:port`: one server, the servers of a cluster, or the Sentinels.
    pub addresses: Vec<String>,
    /// The user of the server's access control list; empty: its default user.
    pub user: String,
    /// The user's password; empty: none.
    pub password: String,
    /// A file that holds the password and nothing else. It is read at each connect.
    pub password_file: PathBuf,
    /// The database's number.
    pub database: u32,
    /// What the names of all keys begin with.
    pub prefix: String,
    /// Whether the addresses are those of a cluster.
    pub cluster: bool,
    /// So many replicas must have a publication before it counts as stored; 0: none.
    pub wait_replicas: u32,
    /// How long a connect may take.
    pub connect_timeout: Span,
    /// How long an answer may take.
    pub response_timeout: Span,
    /// How it speaks TLS.
    pub tls: RedisTls,
    /// Who says where the server is.
    pub sentinel: RedisSentinel,
}

/// The `[history.redis.tls]` section.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RedisTls {
    /// Whether it speaks TLS.
    pub enabled: bool,
    /// The authorities that have signed the servers' certificates, in PEM; empty: those that the system trusts.
    pub ca_file: PathBuf,
    /// Our own certificate, in PEM, for servers that ask for one.
    pub certificate_file: PathBuf,
    /// Its private key, in PEM.
    pub key_file: PathBuf,
}

/// The `[history.redis.sentinel]` section.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RedisSentinel {
    /// The name by which Sentinels know the server; empty: there are no Sentinels.
    pub master: String,
    /// The Sentinels' own user; empty: their default user.
    pub user: String,
    /// The Sentinels' own password; empty: none.
    pub password: String,
    /// A file that holds it and nothing else.
    pub password_file: PathBuf,
}

/// Why a history in Redis cannot be configured like this: mend the key that is named.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("history.redis.{key} {why}")]
pub struct InvalidRedis {
    key: &'static str,
    why: String,
}

/// Where a server is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Address {
    pub(super) host: String,
    pub(super) port: u16,
}

impl Default for RedisConfig {
    fn default() -> Self {
        Self {
            addresses: vec!["127.0.0.1:6379".to_owned()],
            user: String::new(),
            password: String::new(),
            password_file: PathBuf::new(),
            database: 0,
            prefix: "fanfare:".to_owned(),
            cluster: false,
            wait_replicas: 0,
            connect_timeout: Span(Duration::from_secs(1)),
            response_timeout: Span(Duration::from_secs(2)),
            tls: RedisTls::default(),
            sentinel: RedisSentinel::default(),
        }
    }
}

impl RedisConfig {
    /// Checks what can be checked without a server.
    ///
    /// # Errors
    /// Names the key to mend.
    pub fn validate(&self) -> Result<(), InvalidRedis> {
        self.parse_addresses()?;
        let is_good = |c: char| c.is_ascii_graphic() && !matches!(c, '{' | '}');
        if self.prefix.len() > MAX_PREFIX_BYTES || !self.prefix.chars().all(is_good) {
            let why =
                format!("is at most {MAX_PREFIX_BYTES} printable ASCII characters without spaces and braces");
            return Err(invalid("prefix", why));
        }
        if self.cluster && !self.sentinel.master.is_empty() {
            return Err(invalid("cluster", "cannot be set together with history.redis.sentinel.master"));
        }
        if self.cluster && self.database != 0 {
            return Err(invalid("database", "must be 0 in a cluster"));
        }
        if self.wait_replicas > MAX_WAIT_REPLICAS {
            return Err(invalid("wait_replicas", format!("is at most {MAX_WAIT_REPLICAS}")));
        }
        let timeouts =
            [("connect_timeout", self.connect_timeout), ("response_timeout", self.response_timeout)];
        for (key, Span(timeout)) in timeouts {
            if timeout < Duration::from_millis(10) || timeout > MAX_TIMEOUT {
                return Err(invalid(key, "must be 10ms to 60s"));
            }
        }
        if !self.user.is_empty() && self.password.is_empty() && is_unset(&self.password_file) {
            return Err(invalid("user", "needs history.redis.password or history.redis.password_file"));
        }
        self.tls.validate()?;
        self.read_password()?;
        self.sentinel.validate()
    }

    pub(super) fn parse_addresses(&self) -> Result<Vec<Address>, InvalidRedis> {
        let parsed = self.addresses.iter().map(|text| {
            let why =
                || invalid("addresses", format!("has {text:?}, which is not of the form \"host:port\""));
            Address::parse(text).ok_or_else(why)
        });
        let addresses = parsed.collect::<Result<Vec<_>, _>>()?;
        if addresses.is_empty() {
            return Err(invalid("addresses", "must name at least one server"));
        }
        if addresses.iter().collect::<HashSet<_>>().len() < addresses.len() {
            return Err(invalid("addresses", "has an address twice"));
        }
        Ok(addresses)
    }

    /// The password, from wherever it is; `None` if there is none.
    pub(super) fn read_password(&self) -> Result<Option<String>, InvalidRedis> {
        read_secret(["password", "password_file"], &self.password, &self.password_file)
    }
}

impl RedisTls {
    fn validate(&self) -> Result<(), InvalidRedis> {
        let files = [&self.ca_file, &self.certificate_file, &self.key_file];
        if !self.enabled && files.iter().any(|file| !is_unset(file)) {
            return Err(invalid("tls.enabled", "must be true if files for TLS are given"));
        }
        if is_unset(&self.certificate_file) != is_unset(&self.key_file) {
            return Err(invalid("tls.certificate_file", "and history.redis.tls.key_file need each other"));
        }
        Ok(())
    }
}

impl RedisSentinel {
    fn validate(&self) -> Result<(), InvalidRedis> {
        let has_login = !self.user.is_empty() || !self.password.is_empty() || !is_unset(&self.password_file);
        if self.master.is_empty() && has_login {
            return Err(invalid("sentinel.master", "must be set if the Sentinels' user or password is"));
        }
        self.read_password().map(drop)
    }

    /// The Sentinels' password, from wherever it is.
    pub(super) fn read_password(&self) -> Result<Option<String>, InvalidRedis> {
        read_secret(["sentinel.password", "sentinel.password_file"], &self.password, &self.password_file)
    }
}

impl Address {
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (host, port) = text.rsplit_once(':')?;
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        let is_name =
            !host.is_empty() && host.bytes().all(|b| b.is_ascii_graphic() && !b":/@[]".contains(&b));
        let host = bare.or(is_name.then_some(host))?;
        let port = port.parse().ok().filter(|port| *port != 0)?;
        Some(Self { host: host.to_owned(), port })
    }
}

impl std::fmt::Display for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.host.contains(':') {
            true => write!(f, "[{}]:{}", self.host, self.port),
            false => write!(f, "{}:{}", self.host, self.port),
        }
    }
}

pub(super) fn invalid(key: &'static str, why: impl Into<String>) -> InvalidRedis {
    InvalidRedis { key, why: why.into() }
}

pub(super) fn is_unset(file: &Path) -> bool {
    file.as_os_str().is_empty()
}

fn read_secret(
    [key, file_key]: [&'static str; 2],
    secret: &str,
    file: &Path,
) -> Result<Option<String>, InvalidRedis> {
    match (secret, is_unset(file)) {
        ("", true) => Ok(None),
        ("", false) => {
            let unreadable =
                |error: std::io::Error| invalid(file_key, format!("{}: {error}", file.display()));
            let text = std::fs::read_to_string(file).map_err(unreadable)?;
            match text.trim_ascii() {
                "" => Err(invalid(file_key, format!("{} is empty", file.display()))),
                secret => Ok(Some(secret.to_owned())),
            }
        }
        (secret, true) => Ok(Some(secret.to_owned())),
        (_, false) => Err(invalid(key, "and its file cannot both be set")),
    }
}

#[cfg(test)]
#[path = "config_tests.rs"]
mod tests;
