//! Real servers of Redis and Valkey on free ports, ended with the test.

use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use redis::{Client, Connection, IntoConnectionInfo as _, RedisConnectionInfo, Value};

/// How long anything may take on a slow and busy machine.
const PATIENCE: Duration = Duration::from_secs(20);
const PAUSE: Duration = Duration::from_millis(10);

/// Which servers there are to test against, Redis at least.
pub(super) fn engines() -> Vec<&'static str> {
    let (there, missing): (Vec<_>, Vec<_>) =
        ["redis-server", "valkey-server"].into_iter().partition(|engine| stores().join(engine).exists());
    assert!(there.contains(&"redis-server"), "there is no .tools/stores/redis-server: run `make setup`");
    for engine in missing {
        println!("NOT RUN: there is no {engine}");
    }
    there
}

fn stores() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../.tools/stores")
}

/// A server, with a folder for its data.
pub(super) struct Store {
    engine: &'static str,
    arguments: Vec<String>,
    process: Child,
    pub(super) port: u16,
    pub(super) folder: PathBuf,
    /// By which password tests themselves log in.
    password: Option<&'static str>,
}

impl Store {
    /// Starts one that keeps nothing on disk.
    pub(super) fn start(engine: &'static str) -> Self {
        Self::start_with(engine, &["--save", "", "--appendonly", "no"])
    }

    pub(super) fn start_with(engine: &'static str, arguments: &[&str]) -> Self {
        static FOLDERS: AtomicUsize = AtomicUsize::new(0);
        let number = FOLDERS.fetch_add(1, Ordering::Relaxed);
        let folder = std::env::temp_dir().join(format!("fanfare-store-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let arguments: Vec<String> = arguments.iter().map(|text| (*text).to_owned()).collect();
        let port = free_port();
        let process = run(engine, port, &folder, &arguments);
        let mut store = Self { engine, arguments, process, port, folder, password: None };
        store.wait_until_ready();
        store
    }

    pub(super) fn with_password(mut self, password: &'static str) -> Self {
        self.password = Some(password);
        self
    }

    pub(super) fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Runs a command there.
    pub(super) fn command(&self, command: &[&str]) -> Value {
        self.try_command(command).expect("the server does what the test wants")
    }

    pub(super) fn try_command(&self, command: &[&str]) -> redis::RedisResult<Value> {
        run_there(&mut self.connect()?, command)
    }

    /// Runs commands on one connection.
    pub(super) fn commands(&self, commands: &[&[&str]]) -> Vec<Value> {
        let mut connection = self.connect().expect("the server is there");
        let answers = commands.iter().map(|command| run_there(&mut connection, command));
        answers.collect::<Result<_, _>>().expect("the server does what the test wants")
    }

    fn connect(&self) -> redis::RedisResult<Connection> {
        let login = RedisConnectionInfo::default();
        let login = self.password.map_or(login.clone(), |password| login.set_password(password));
        let info = self.address_info().into_connection_info()?.set_redis_settings(login);
        let connection = Client::open(info)?.get_connection_with_timeout(Duration::from_secs(1))?;
        connection.set_read_timeout(Some(Duration::from_secs(5)))?;
        Ok(connection)
    }

    fn address_info(&self) -> redis::ConnectionAddr {
        redis::ConnectionAddr::Tcp("127.0.0.1".to_owned(), self.port)
    }

    fn wait_until_ready(&mut self) {
        let started = Instant::now();
        while let Err(error) = self.try_command(&["PING"]) {
            assert!(started.elapsed() < PATIENCE, "the server does not become ready: {error}");
            assert_eq!(self.process.try_wait().unwrap(), None, "the server has ended");
            std::thread::park_timeout(PAUSE);
        }
    }

    /// Ends it as a crash would.
    pub(super) fn kill(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }

    /// Starts it again after [`kill`](Self::kill), on the same port and with the same folder.
    pub(super) fn start_again(&mut self) {
        self.process = run(self.engine, self.port, &self.folder, &self.arguments);
        self.wait_until_ready();
    }

    /// Does not wait until it is ready, and gives it further arguments from then on.
    pub(super) fn spawn_again(&mut self, further: &[&str]) {
        self.arguments.extend(further.iter().map(|text| (*text).to_owned()));
        self.process = run(self.engine, self.port, &self.folder, &self.arguments);
    }

    /// Sends a signal such as `STOP` and `CONT`.
    pub(super) fn signal(&self, signal: &str) {
        let pid = self.process.id().to_string();
        assert!(Command::new("kill").args([&format!("-{signal}"), &pid]).status().unwrap().success());
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        // It may have ended by itself, and what is left in the temporary folder harms nobody.
        let _ = self.process.kill();
        let _ = self.process.wait();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

pub(super) fn free_port() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    listener.local_addr().unwrap().port()
}

fn run_there(connection: &mut Connection, command: &[&str]) -> redis::RedisResult<Value> {
    let mut to_run = redis::cmd(command[0]);
    to_run.arg(&command[1..]);
    to_run.query(connection)
}

fn run(engine: &str, port: u16, folder: &Path, arguments: &[String]) -> Child {
    let log = std::fs::File::create(folder.join("log")).unwrap();
    Command::new(stores().join(engine))
        .current_dir(folder)
        .args(arguments)
        .args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--daemonize", "no"])
        .args(["--repl-diskless-sync-delay", "0"])
        .stdout(Stdio::from(log))
        .spawn()
        .expect("the server can be started")
}

/// Waits until `look` returns something; panics with `what` when patience is over.
pub(super) async fn eventually<T, F: Future<Output = Option<T>>>(
    what: &str,
    mut look: impl FnMut() -> F,
) -> T {
    let mut ticks = tokio::time::interval(PAUSE);
    let looking = async {
        loop {
            ticks.tick().await;
            if let Some(found) = look().await {
                return found;
            }
        }
    };
    tokio::time::timeout(PATIENCE, looking).await.unwrap_or_else(|_| panic!("waited in vain: {what}"))
}
