//! Connections to Redis or Valkey: the only file that names the library.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::time::Duration;

use redis::aio::{ConnectionLike, MultiplexedConnection};
use redis::cluster::{ClusterClient, ClusterClientBuilder};
use redis::cluster_async::ClusterConnection;
use redis::cluster_routing::SingleNodeRoutingInfo;
use redis::{
    AsyncConnectionConfig, Client, ClientTlsConfig, Cmd, ConnectionAddr, ConnectionInfo, ErrorKind,
    IntoConnectionInfo as _, Pipeline, RedisConnectionInfo, RedisError, TlsCertificates, TlsMode, Value, cmd,
};

use super::call::{Call, Reply, Script, Wait};
use super::config::{Address, InvalidRedis, RedisConfig, RedisTls, invalid, is_unset};
use super::failure::Failure;

/// Who waits for replicas holds up everybody behind on the same connection: then there are so many.
const LANES_THAT_WAIT: usize = 16;
/// How often a call follows a channel that moves between the servers of a cluster.
const MOVES: u32 = 5;
/// How many servers of a cluster must not answer before all are given up.
const TRIES: u32 = 5;
const PAUSE_BETWEEN_MOVES: Duration = Duration::from_millis(20);

/// Where servers are, and how to speak to them.
pub(super) struct Target {
    config: RedisConfig,
    addresses: Vec<Address>,
    certificates: Option<TlsCertificates>,
}

/// Connections to one server, or to those of a cluster.
pub(super) enum Connection {
    Server { address: Address, lanes: Vec<MultiplexedConnection> },
    Cluster(ClusterConnection),
}

impl Script {
    pub(super) fn new(text: String) -> Self {
        let hash = redis::Script::new(&text).get_hash().to_owned();
        Self { text, hash }
    }
}

impl Target {
    /// # Errors
    /// If the configuration cannot be used, whatever servers there are.
    pub(super) fn new(config: &RedisConfig) -> Result<Self, InvalidRedis> {
        config.validate()?;
        let certificates = config.tls.enabled.then(|| read_certificates(&config.tls)).transpose()?;
        let target = Self { config: config.clone(), addresses: config.parse_addresses()?, certificates };
        // The library looks at certificates here.
        let client = target.client(&target.addresses[0], RedisConnectionInfo::default());
        client.map_err(|error| invalid("tls", format!("has files that cannot be used: {error}")))?;
        Ok(target)
    }

    /// Connects, and sees whether scripts can be run there.
    pub(super) async fn connect(&self) -> Result<Connection, Failure> {
        let connection = if self.config.cluster {
            Connection::Cluster(self.cluster()?.get_async_connection().await?)
        } else if self.config.sentinel.master.is_empty() {
            self.connect_to_any(&self.addresses).await?
        } else {
            self.connect_to_any(&[self.ask_sentinels().await?]).await?
        };
        let mut probe = cmd("EVAL");
        probe.arg(include_str!("probe.lua")).arg(1).arg(format!("{}{{}}.probe", self.config.prefix));
        match connection.run(&pipeline([probe]), 0).await {
            Err(error) if error.code() == Some("ERR") => {
                let why = "the server cannot run our scripts: it must be Redis 7 or newer, or Valkey";
                Err(Failure::disconnected(format!("{why} ({error})")))
            }
            // Reading may still be possible.
            Err(error) if matches!(error.code(), Some("MISCONF" | "NOREPLICAS" | "BUSY")) => Ok(connection),
            other => other.map(|_| connection).map_err(Failure::from),
        }
    }

    /// Whether the connection still leads to where it should.
    pub(super) async fn check(&self, connection: &Connection) -> Result<(), Failure> {
        let Connection::Server { address, lanes } = connection else {
            return connection.check_cluster().await.map_err(Failure::from);
        };
        check_role(&mut lanes[0].clone()).await?;
        if self.config.sentinel.master.is_empty() {
            return Ok(());
        }
        match self.ask_sentinels().await {
            Ok(other) if other != *address => {
                Err(Failure::disconnected(format!("the Sentinels name another server by now: {other}")))
            }
            // While no Sentinel answers, the server is what it was.
            _ => Ok(()),
        }
    }

    /// Connects to the first that is no replica.
    async fn connect_to_any(&self, addresses: &[Address]) -> Result<Connection, Failure> {
        let mut failures = Vec::new();
        for address in addresses {
            match self.connect_to(address).await {
                Ok(lanes) => return Ok(Connection::Server { address: address.clone(), lanes }),
                Err(Failure { why, .. }) => failures.push(format!("{address}: {why}")),
            }
        }
        Err(Failure::disconnected(failures.join("; ")))
    }

    async fn connect_to(&self, address: &Address) -> Result<Vec<MultiplexedConnection>, Failure> {
        let client = self.client(address, self.login()?)?;
        let lanes = if self.config.wait_replicas > 0 { LANES_THAT_WAIT } else { 1 };
        let mut connections = Vec::with_capacity(lanes);
        for _ in 0..lanes {
            connections.push(client.get_multiplexed_async_connection_with_config(&self.timeouts()).await?);
        }
        check_role(&mut connections[0]).await?;
        Ok(connections)
    }

    /// Where the server is, as the first Sentinel says that knows it.
    async fn ask_sentinels(&self) -> Result<Address, Failure> {
        let sentinel = &self.config.sentinel;
        let password = sentinel.read_password().map_err(|error| Failure::disconnected(error.to_string()))?;
        let login = login(&sentinel.user, password);
        let mut failures = Vec::new();
        for address in &self.addresses {
            match self.ask_sentinel(address, login.clone()).await {
                Ok(Some((host, port))) => return Ok(Address { host, port }),
                Ok(None) => failures.push(format!("{address} knows no master {:?}", sentinel.master)),
                Err(error) => failures.push(format!("{address}: {}", Failure::from(error).why)),
            }
        }
        let failures = failures.join("; ");
        Err(Failure::disconnected(format!("no Sentinel says where the server is: {failures}")))
    }

    async fn ask_sentinel(
        &self,
        address: &Address,
        login: RedisConnectionInfo,
    ) -> Result<Option<(String, u16)>, RedisError> {
        let client = self.client(address, login)?;
        let mut connection = client.get_multiplexed_async_connection_with_config(&self.timeouts()).await?;
        let mut question = cmd("SENTINEL");
        question.arg("GET-MASTER-ADDR-BY-NAME").arg(&self.config.sentinel.master);
        question.query_async(&mut connection).await
    }

    fn timeouts(&self) -> AsyncConnectionConfig {
        AsyncConnectionConfig::new()
            .set_connection_timeout(Some(self.config.connect_timeout.0))
            .set_response_timeout(Some(self.config.response_timeout.0))
    }

    fn login(&self) -> Result<RedisConnectionInfo, Failure> {
        let password =
            self.config.read_password().map_err(|error| Failure::disconnected(error.to_string()))?;
        Ok(login(&self.config.user, password).set_db(i64::from(self.config.database)))
    }

    fn client(&self, to: &Address, login: RedisConnectionInfo) -> Result<Client, RedisError> {
        let (host, port) = (to.host.clone(), to.port);
        let address = match &self.certificates {
            None => ConnectionAddr::Tcp(host, port),
            Some(_) => ConnectionAddr::TcpTls { host, port, insecure: false, tls_params: None },
        };
        let info = address.into_connection_info()?.set_redis_settings(login);
        match &self.certificates {
            None => Client::open(info),
            Some(certificates) => Client::build_with_tls(info, certificates.clone()),
        }
    }

    fn cluster(&self) -> Result<ClusterClient, Failure> {
        let login = self.login()?;
        let info = |address: &Address| -> Result<ConnectionInfo, RedisError> {
            Ok(self.client(address, login.clone())?.get_connection_info().clone())
        };
        let infos = self.addresses.iter().map(info).collect::<Result<Vec<_>, _>>()?;
        // The library would try again what may have been carried out already; `run` does so where it cannot have been.
        let builder = ClusterClientBuilder::new(infos)
            .retries(0)
            .connection_timeout(self.config.connect_timeout.0)
            .response_timeout(self.config.response_timeout.0);
        let builder = match &self.certificates {
            None => builder,
            Some(certificates) => builder.tls(TlsMode::Secure).certs(certificates.clone()),
        };
        Ok(builder.build()?)
    }
}

impl Connection {
    /// Runs a script.
    pub(super) async fn call(&self, call: &Call<'_>) -> Result<Reply, Failure> {
        let mut hasher = DefaultHasher::new();
        call.keys.iter().next().hash(&mut hasher);
        let lane = hasher.finish() as usize;
        let values = match self.run(&with_wait(by_hash(call), call.wait), lane).await {
            // The server has not seen the script since its start.
            Err(error) if error.code() == Some("NOSCRIPT") => {
                self.run(&with_wait(in_full(call), call.wait), lane).await
            }
            other => other,
        };
        let mut values = values?.into_iter();
        let reply = Reply::from(values.next().unwrap_or_default());
        match (values.next(), call.wait) {
            (Some(Value::Int(count)), Some(wait)) if count < i64::from(wait.replicas) => {
                let wanted = wait.replicas;
                Err(Failure::refused(format!(
                    "only {count} of {wanted} replicas have confirmed it in time: see to the replicas, or lower history.redis.wait_replicas"
                )))
            }
            _ => Ok(reply),
        }
    }

    /// Whether it is good as long as some server is: then a failure says nothing of the others.
    pub(super) fn has_many_servers(&self) -> bool {
        matches!(self, Self::Cluster(_))
    }

    /// Whether some server of a cluster answers. Each try goes to any of them.
    async fn check_cluster(&self) -> Result<(), RedisError> {
        let mut answer = Ok(());
        for _ in 0..TRIES {
            answer = self.run(&pipeline([cmd("PING")]), 0).await.map(drop);
            if answer.is_ok() {
                break;
            }
        }
        answer
    }

    /// Sends commands and waits for their answers. Errors of commands are errors of the whole.
    async fn run(&self, commands: &Pipeline, lane: usize) -> Result<Vec<Value>, RedisError> {
        let values = match self {
            Self::Server { lanes, .. } => {
                lanes[lane % lanes.len()].clone().req_packed_commands(commands, 0, commands.len()).await
            }
            Self::Cluster(connection) => run_in_cluster(connection.clone(), commands).await,
        };
        values?.into_iter().map(Value::extract_error).collect()
    }
}

/// Follows channels that move from one server to another: what a server has refused, it has not carried out.
async fn run_in_cluster(
    mut connection: ClusterConnection,
    commands: &Pipeline,
) -> Result<Vec<Value>, RedisError> {
    let mut moves = 0;
    let mut result = connection.req_packed_commands(commands, 0, commands.len()).await;
    loop {
        let Err(error) = &result else { return result };
        let asked = (error.code() == Some("ASK")).then(|| error.redirect_node()).flatten();
        let asked = asked.and_then(|(address, _)| Address::parse(address));
        let is_refused = matches!(error.code(), Some("MOVED" | "ASK" | "TRYAGAIN" | "READONLY"))
            || error.kind() == ErrorKind::ClusterConnectionNotFound;
        if !is_refused || moves == MOVES {
            return result;
        }
        moves += 1;
        result = match asked {
            Some(Address { host, port }) => {
                let mut asking = Pipeline::new();
                asking.cmd("ASKING");
                for command in commands.cmd_iter() {
                    asking.add_command(command.clone());
                }
                let to = SingleNodeRoutingInfo::ByAddress { host, port };
                connection.route_pipeline(asking, 1, commands.len(), to).await
            }
            None => {
                tokio::time::sleep(PAUSE_BETWEEN_MOVES * moves).await;
                connection.req_packed_commands(commands, 0, commands.len()).await
            }
        };
    }
}

fn by_hash(call: &Call<'_>) -> Cmd {
    command("EVALSHA", &call.script.hash, call)
}

fn in_full(call: &Call<'_>) -> Cmd {
    command("EVAL", &call.script.text, call)
}

fn command(name: &str, script: &str, call: &Call<'_>) -> Cmd {
    let mut command = cmd(name);
    command.arg(script).arg(call.keys.len());
    for argument in call.keys.iter().chain(call.arguments.iter()) {
        command.arg(argument);
    }
    command
}

fn with_wait(command: Cmd, wait: Option<Wait>) -> Pipeline {
    let mut commands = pipeline([command]);
    if let Some(Wait { replicas, patience }) = wait {
        commands.cmd("WAIT").arg(replicas).arg(u64::try_from(patience.as_millis()).unwrap_or(u64::MAX));
    }
    commands
}

fn pipeline(commands: impl IntoIterator<Item = Cmd>) -> Pipeline {
    let mut pipeline = Pipeline::new();
    for command in commands {
        pipeline.add_command(command);
    }
    pipeline
}

fn login(user: &str, password: Option<String>) -> RedisConnectionInfo {
    let login = RedisConnectionInfo::default().set_skip_set_lib_name();
    let login = if user.is_empty() { login } else { login.set_username(user) };
    password.map_or(login.clone(), |password| login.set_password(password))
}

fn read_certificates(tls: &RedisTls) -> Result<TlsCertificates, InvalidRedis> {
    let read = |key: &'static str, file: &std::path::Path| {
        let unreadable = |error: std::io::Error| invalid(key, format!("{}: {error}", file.display()));
        (!is_unset(file)).then(|| std::fs::read(file).map_err(unreadable)).transpose()
    };
    let certificate = read("tls.certificate_file", &tls.certificate_file)?;
    let key = read("tls.key_file", &tls.key_file)?;
    let client_tls =
        certificate.zip(key).map(|(client_cert, client_key)| ClientTlsConfig { client_cert, client_key });
    Ok(TlsCertificates { client_tls, root_cert: read("tls.ca_file", &tls.ca_file)? })
}

/// Whether the server takes writes. Where its access control list does not let us ask, the first write will tell.
async fn check_role(connection: &mut MultiplexedConnection) -> Result<(), Failure> {
    match cmd("ROLE").query_async::<Value>(connection).await {
        Ok(Value::Array(role)) if matches!(&role[..], [Value::BulkString(role), ..] if role != b"master") => {
            Err(Failure::answered("READONLY", ""))
        }
        Err(error) if error.code() != Some("NOPERM") => Err(error.into()),
        _ => Ok(()),
    }
}

impl From<Value> for Reply {
    fn from(value: Value) -> Self {
        match value {
            Value::Int(number) => Self::Integer(number),
            Value::BulkString(bytes) => Self::Bytes(bytes.into()),
            Value::SimpleString(text) => Self::Bytes(text.into_bytes().into()),
            Value::Array(values) => Self::List(values.into_iter().map(Self::from).collect()),
            // Our scripts answer nothing else.
            _ => Self::Nothing,
        }
    }
}

impl From<RedisError> for Failure {
    fn from(error: RedisError) -> Self {
        if let Some(code) = error.code() {
            return Self::answered(code, error.detail().unwrap_or_default());
        }
        match error.kind() {
            ErrorKind::AuthenticationFailed => Self::answered("WRONGPASS", ""),
            _ if error.is_timeout() => Self::disconnected("the server does not answer in time"),
            _ => Self::disconnected(format!("the server cannot be reached: {error}")),
        }
    }
}
