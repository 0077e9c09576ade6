//! A real server in a process of its own, on free ports, ended with the test.

use std::io::{BufRead, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};

use fanfare_proto::v1::message::Payload;
use fanfare_proto::v1::push_service_client::PushServiceClient;
use fanfare_proto::v1::target::Kind;
use fanfare_proto::v1::{Message, PublishRequest, PublishResponse, Receipt, Target, WaitFor};
use serde_json::Value;

use crate::eventually::{PATIENCE, eventually};

/// Where the binary under test is.
///
/// # Panics
/// If `FANFARE_BIN` is not set: `make test` sets it.
pub fn binary() -> String {
    std::env::var("FANFARE_BIN")
        .expect("FANFARE_BIN names the binary under test: run the tests with `make test`")
}

/// A server that runs.
#[derive(Debug)]
pub struct Sandbox {
    process: Child,
    /// Where clients connect.
    pub clients: SocketAddr,
    /// Where the public API is.
    pub api: SocketAddr,
    /// Where the node's metrics are.
    pub node_admin: SocketAddr,
    /// Where the replica's metrics are.
    pub replica_admin: SocketAddr,
}

impl Default for Sandbox {
    fn default() -> Self {
        Self::start()
    }
}

/// Channels, those of users as well, that keep nothing and of which nobody is told who is there: what most tests look at is as short as can be.
const PLAIN: [&str; 8] = [
    "channel.without_namespace.history_size=0",
    "channel.without_namespace.history_ttl=0s",
    "channel.without_namespace.force_recovery=false",
    "channel.without_namespace.presence=false",
    "channel.without_namespace.join_leave=false",
    "channel.without_namespace.force_push_join_leave=false",
    "channel.personal.history_size=0",
    "channel.personal.history_ttl=0s",
];

impl Sandbox {
    /// Starts `fanfare serve --dev` on free ports, with channels that keep nothing.
    pub fn start() -> Self {
        Self::start_with(&[])
    }

    /// Starts `fanfare serve --dev` on free ports as it is, with further settings, each `key=value`.
    ///
    /// # Panics
    /// If it does not become ready.
    pub fn start_dev(settings: &[&str]) -> Self {
        let sandbox = Self::spawn_dev(settings);
        sandbox.wait_until_ready();
        sandbox
    }

    /// Starts it with channels that keep nothing and further settings, each `key=value`.
    ///
    /// # Panics
    /// If it does not become ready.
    pub fn start_with(settings: &[&str]) -> Self {
        let sandbox = Self::start_unready(settings);
        sandbox.wait_until_ready();
        sandbox
    }

    /// Starts it and does not wait until it is ready.
    ///
    /// # Panics
    /// If it ends instead.
    pub fn start_unready(settings: &[&str]) -> Self {
        Self::spawn_dev(&[&PLAIN, settings].concat())
    }

    fn spawn_dev(settings: &[&str]) -> Self {
        let mut command = Command::new(binary());
        command.args([
            "serve",
            "--dev",
            "--set",
            "client.address=127.0.0.1:0",
            "--set",
            "api.address=127.0.0.1:0",
        ]);
        for setting in settings {
            command.args(["--set", setting]);
        }
        let mut process = command.stdout(Stdio::piped()).spawn().expect("the binary starts");
        let banner = Banner::read(process.stdout.take().expect("its output is piped"));
        Self {
            process,
            clients: banner.address("page"),
            api: banner.address("gRPC API"),
            node_admin: banner.address("metrics"),
            replica_admin: banner.last_address("metrics"),
        }
    }

    /// Starts `fanfare serve --config` with a file of this text, on free ports.
    ///
    /// # Panics
    /// If it does not become ready.
    pub fn configured(text: &str) -> Self {
        let sandbox = Self::configured_unready(text);
        sandbox.wait_until_ready();
        sandbox
    }

    /// Starts it and does not wait until it is ready.
    ///
    /// # Panics
    /// If it ends instead.
    pub fn configured_unready(text: &str) -> Self {
        static FILES: AtomicUsize = AtomicUsize::new(0);
        let number = FILES.fetch_add(1, Ordering::Relaxed);
        let file = std::env::temp_dir().join(format!("fanfare-{}-{number}.toml", std::process::id()));
        std::fs::write(&file, text).expect("a temporary file can be written");
        let sandbox = Self::serve(&std::env::temp_dir(), &file);
        std::fs::remove_file(&file).expect("the temporary file is still there");
        sandbox
    }

    /// Starts `fanfare serve --config` in a folder, with a file there, on free ports.
    ///
    /// # Panics
    /// If it does not become ready.
    pub fn configured_in(folder: &Path, file: &Path) -> Self {
        let sandbox = Self::serve(folder, file);
        sandbox.wait_until_ready();
        sandbox
    }

    fn serve(folder: &Path, file: &Path) -> Self {
        let mut command = Command::new(binary());
        command.current_dir(folder).arg("serve").arg("--config").arg(file);
        command.args(["--set", "telemetry.log_format=json"]);
        let sections = ["client.", "api.", "cluster.", "control_plane.admin_", "data_plane.admin_"];
        for section in sections {
            command.arg("--set").arg(format!("{section}address=127.0.0.1:0"));
        }
        let mut process = command.stderr(Stdio::piped()).spawn().expect("the binary starts");
        let mut log = BufReader::new(process.stderr.take().expect("its log is piped"));
        let control = logged(&mut log, "the control plane runs");
        let data = logged(&mut log, "the data plane runs");
        // Nobody reads what else it says, but it must not have to wait to say it.
        std::thread::spawn(move || std::io::copy(&mut log, &mut std::io::sink()));
        let address =
            |fields: &Value, key: &str| fields[key].as_str().and_then(|text| text.parse().ok()).expect(key);
        Self {
            process,
            clients: address(&data, "client_address"),
            api: address(&control, "api_address"),
            node_admin: address(&data, "admin_address"),
            replica_admin: address(&control, "admin_address"),
        }
    }

    /// Waits until it can serve clients.
    ///
    /// # Panics
    /// If it does not become ready.
    pub fn wait_until_ready(&self) {
        eventually("the server is ready", || self.readiness().starts_with("HTTP/1.1 200").then_some(()));
    }

    /// The node's whole answer to whether it is ready, at the operator's door.
    pub fn readiness(&self) -> String {
        self.http(self.node_admin, "/readyz")
    }

    /// The WebSocket endpoint.
    pub fn websocket_url(&self) -> String {
        format!("ws://{}/connection/websocket", self.clients)
    }

    /// The process id.
    pub fn pid(&self) -> u32 {
        self.process.id()
    }

    /// The whole answer to a GET.
    pub fn http(&self, address: SocketAddr, path: &str) -> String {
        http(address, path)
    }

    /// The value of a metric of the node or the replica, of one series if the name has labels, else summed over
    /// all of them; 0 if it is not there.
    pub fn metric(&self, name: &str) -> f64 {
        metric(if name.starts_with("fanfare_node") { self.node_admin } else { self.replica_admin }, name)
    }

    /// Pushes JSON to a channel and waits until it is written.
    pub fn push(&self, channel: &str, json: &str) -> Receipt {
        let request = push_request(Kind::Channel(channel.to_owned()), json);
        self.publish(request).expect("the push is accepted").receipt.expect("there is a receipt")
    }

    /// Makes any push.
    ///
    /// # Errors
    /// What the server refuses it with.
    ///
    /// # Panics
    /// If the API cannot be reached.
    pub fn publish(&self, request: PublishRequest) -> Result<PublishResponse, tonic::Status> {
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime starts");
        runtime.block_on(async {
            let client = PushServiceClient::connect(format!("http://{}", self.api)).await;
            let answer = client.expect("the API is reachable").publish(request).await?;
            Ok(answer.into_inner())
        })
    }

    /// Ends the server with a signal, such as `TERM`, and waits until it has ended.
    ///
    /// # Panics
    /// If it does not end.
    pub fn end(mut self, signal: &str) -> ExitStatus {
        self.signal(signal);
        eventually("the server ends", || self.process.try_wait().expect("it is our child"))
    }

    /// Sends the server a signal.
    ///
    /// # Panics
    /// If there is no `kill`.
    pub fn signal(&self, signal: &str) {
        let pid = self.process.id().to_string();
        let sent = Command::new("kill").args(["-s", signal, &pid]).status().expect("there is a kill command");
        assert!(sent.success(), "kill -s {signal} {pid}");
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        // It may have ended already; then there is nothing to end.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The whole answer to a GET.
///
/// # Panics
/// If the server cannot be reached.
pub fn http(address: SocketAddr, path: &str) -> String {
    let mut stream = TcpStream::connect(address).expect("the port is open");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout can be set");
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).expect("the request is written");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("the answer is text");
    answer
}

/// The value of a metric, of one series if the name has labels, else summed over all of them; 0 if it is not
/// there.
pub fn metric(admin: SocketAddr, name: &str) -> f64 {
    let text = http(admin, "/metrics");
    let values = text.lines().filter_map(|line| {
        let (series, value) = line.rsplit_once(' ')?;
        let is_meant = series == name || series.split('{').next() == Some(name);
        is_meant.then(|| value.parse::<f64>().ok())?
    });
    values.sum()
}

/// A push of JSON that waits until it is written.
pub fn push_request(kind: Kind, json: &str) -> PublishRequest {
    PublishRequest {
        target: Some(Target { kind: Some(kind) }),
        message: Some(Message { payload: Some(Payload::Json(json.to_owned())), ..Default::default() }),
        wait_for: WaitFor::Written.into(),
        ..Default::default()
    }
}

/// The fields of the first line of a log in JSON that has the message.
fn logged(log: &mut impl BufRead, message: &str) -> Value {
    for line in log.lines() {
        let line = line.expect("the log is text");
        let mut entry: Value = serde_json::from_str(&line).expect("the log is JSON");
        if entry["fields"]["message"] == message {
            return entry["fields"].take();
        }
    }
    panic!("the server ended before it logged that {message}");
}

/// What the server prints when it runs.
struct Banner(Vec<String>);

impl Banner {
    fn read(output: impl std::io::Read) -> Self {
        let mut lines = Vec::new();
        for line in BufReader::new(output).lines() {
            let line = line.expect("the banner is text");
            let last = line.contains("Ctrl-C");
            lines.push(line);
            if last {
                return Self(lines);
            }
        }
        panic!("the server ended before it ran: {lines:?}");
    }

    fn addresses(&self, word: &str) -> Vec<SocketAddr> {
        let line =
            self.0.iter().find(|line| line.trim_start().starts_with(word)).expect("the banner has the line");
        let words = line.split(|character: char| character.is_whitespace() || character == '/');
        words.filter_map(|word| word.parse().ok()).collect()
    }

    fn address(&self, word: &str) -> SocketAddr {
        self.addresses(word)[0]
    }

    fn last_address(&self, word: &str) -> SocketAddr {
        *self.addresses(word).last().expect("the line has an address")
    }
}
