//! The server that is there or not: keeps a connection, and lets calls fail at once while there is none.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use fanfare_cluster::tasks::Tasks;
use tokio::sync::{Notify, Semaphore};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::history::HistoryError;
use crate::metrics::RedisMetrics;

use super::call::{Call, Reply};
use super::config::{InvalidRedis, RedisConfig};
use super::connection::{Connection, Target};
use super::failure::Failure;

/// How often a connection that nobody uses is looked at.
const LOOKED_AT_EVERY: Duration = Duration::from_secs(1);
/// Connecting is tried again after this, then after twice as long, up to the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// Calls that may be under way.
const UNDER_WAY: usize = 1_024;

/// The server, wherever it is just now.
pub(super) struct Server {
    target: Target,
    state: Mutex<State>,
    /// Told when the state has become `Down`.
    lost: Notify,
    under_way: Semaphore,
    connect_timeout: Duration,
    response_timeout: Duration,
    metrics: RedisMetrics,
}

enum State {
    Up(Arc<Connection>),
    Down(Arc<str>),
}

impl Server {
    /// Connects for the first time. If that does not succeed it is tried again until it does.
    ///
    /// # Errors
    /// If the configuration cannot be used, whatever servers there are.
    pub(super) async fn open(
        config: &RedisConfig,
        metrics: RedisMetrics,
        tasks: &Tasks,
    ) -> Result<Arc<Self>, InvalidRedis> {
        let server = Arc::new(Self {
            target: Target::new(config)?,
            state: Mutex::new(State::Down("it has not been reached yet".into())),
            lost: Notify::new(),
            // queue: calls of Redis
            under_way: Semaphore::new(UNDER_WAY),
            connect_timeout: config.connect_timeout.0,
            response_timeout: config.response_timeout.0,
            metrics,
        });
        server.connect().await;
        tasks.spawn("redis", server.clone().keep(tasks.stopping()));
        Ok(server)
    }

    /// Runs a script.
    pub(super) async fn call(&self, call: &Call<'_>) -> Result<Reply, HistoryError> {
        let connection = match &*self.lock() {
            State::Up(connection) => connection.clone(),
            State::Down(why) => return Err(self.unavailable(why)),
        };
        let Ok(permit) = timeout(self.response_timeout, self.under_way.acquire()).await else {
            return Err(self.unavailable("too many calls are under way"));
        };
        let answer = timeout(self.response_timeout, connection.call(call)).await;
        drop(permit);
        let failure = match answer {
            Ok(Ok(reply)) => return Ok(reply),
            Ok(Err(failure)) => failure,
            Err(_) => Failure::disconnected("the server does not answer in time"),
        };
        // The library mends connections within a cluster by itself.
        if failure.is_disconnected && !connection.has_many_servers() {
            self.give_up(&connection, &failure.why);
        }
        Err(self.unavailable(&failure.why))
    }

    fn unavailable(&self, why: &str) -> HistoryError {
        self.metrics.failures.inc();
        HistoryError::Unavailable(why.to_owned())
    }

    /// Keeps a connection until it shall end.
    async fn keep(self: Arc<Self>, stopping: CancellationToken) {
        let looking_after = async {
            let mut pause = FIRST_PAUSE;
            loop {
                let connection = match &*self.lock() {
                    State::Up(connection) => Some(connection.clone()),
                    State::Down(_) => None,
                };
                match connection {
                    Some(connection) => {
                        pause = FIRST_PAUSE;
                        self.look_after(&connection).await;
                    }
                    None => {
                        tokio::time::sleep(pause).await;
                        pause = (pause * 2).min(LONGEST_PAUSE);
                        self.connect().await;
                    }
                }
            }
        };
        // What it drops there are futures without a purpose by then.
        stopping.run_until_cancelled(looking_after).await;
    }

    /// Returns when the connection is lost.
    async fn look_after(&self, connection: &Arc<Connection>) {
        loop {
            if timeout(LOOKED_AT_EVERY, self.lost.notified()).await.is_ok() {
                return;
            }
            let checked = timeout(self.response_timeout * 5, self.target.check(connection)).await;
            let checked =
                checked.unwrap_or_else(|_| Err(Failure::disconnected("the server does not answer in time")));
            if let Err(failure) = checked {
                self.give_up(connection, &failure.why);
                return;
            }
        }
    }

    async fn connect(&self) {
        // One server after the other may take its time.
        let patience = (self.connect_timeout + self.response_timeout) * 4;
        let connected = timeout(patience, self.target.connect()).await;
        let connected = connected.unwrap_or_else(|_| Err(Failure::disconnected("connecting takes too long")));
        match connected {
            Ok(connection) => {
                info!("connected to the history in Redis");
                self.metrics.connects.inc();
                self.metrics.is_connected.set(1);
                *self.lock() = State::Up(Arc::new(connection));
            }
            Err(Failure { why, .. }) => self.go_down(&why),
        }
    }

    /// The connection is of no use any more, unless there is another one already.
    fn give_up(&self, connection: &Arc<Connection>, why: &str) {
        let is_current = matches!(&*self.lock(), State::Up(current) if Arc::ptr_eq(current, connection));
        if is_current {
            self.go_down(why);
            self.lost.notify_one();
        }
    }

    fn go_down(&self, why: &str) {
        let mut state = self.lock();
        // One line for each reason, not for each attempt.
        if !matches!(&*state, State::Down(known) if **known == *why) {
            warn!(why, "the history in Redis is not available");
        }
        self.metrics.is_connected.set(0);
        *state = State::Down(why.into());
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A panic under the lock ends the process anyway.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
