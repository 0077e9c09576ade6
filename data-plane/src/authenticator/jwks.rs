//! Public keys that an identity provider publishes (JWKS): read from time to time, and when a token needs another.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::header::{ACCEPT, HeaderValue};
use hyper::{Request, StatusCode, Uri};
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use tokio::sync::Notify;
use tokio::time::Instant;
use tracing::{info, warn};

use super::keys::Keys;
use crate::metrics::TokenMetrics;

/// How often the set is read without anybody asking.
const INTERVAL: Duration = Duration::from_secs(600);
/// The shortest time between two reads, and the longest after failures: the circuit is open meanwhile.
const PAUSE: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(60));
/// How long a read may take.
const TIMEOUT: Duration = Duration::from_secs(5);
/// How large a set may be, in bytes.
const MAX_SET: usize = 512 << 10;
/// Names of keys that were asked for, and how long each is remembered as not there.
const MAX_ASKED: usize = 1_024;
const ASKED_FOR: Duration = Duration::from_secs(30);

/// What is known of a key.
pub(super) enum Found {
    /// The set has it, or the token names none.
    Keys(Arc<Keys>),
    /// It may be there when the set is read next.
    Pending,
    /// The set was read since the key was first asked for, and does not have it.
    Unknown,
}

/// The keys as they were read last. They stay while the server cannot be reached.
pub(crate) struct PublishedKeys {
    keys: ArcSwapOption<Keys>,
    /// Counts the sets that differed from the one before.
    generation: AtomicU64,
    /// What the last set was made of.
    last: Mutex<Bytes>,
    /// Keys that were not there, and when that was found.
    asked: Mutex<HashMap<String, Instant>>,
    /// When the last read that succeeded began.
    read_at: Mutex<Option<Instant>>,
    wanted: Notify,
    metrics: TokenMetrics,
}

impl PublishedKeys {
    pub(crate) fn new(metrics: TokenMetrics) -> Self {
        Self {
            keys: ArcSwapOption::empty(),
            generation: AtomicU64::new(0),
            last: Mutex::default(),
            asked: Mutex::default(),
            read_at: Mutex::default(),
            wanted: Notify::new(),
            metrics,
        }
    }

    /// Whether a set has been read at all.
    pub(crate) fn is_loaded(&self) -> bool {
        self.keys.load().is_some()
    }

    /// A number that changes whenever the keys do.
    pub(super) fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// The keys for a token. One that is not there is asked for, and the caller is told whether it may come.
    pub(super) fn find(&self, kid: Option<&str>) -> Found {
        let keys = self.keys.load_full();
        if let Some(keys) = keys.filter(|keys| kid.is_none_or(|kid| keys.has(kid))) {
            return Found::Keys(keys);
        }
        let now = Instant::now();
        let asked_at = self.ask(kid.unwrap_or_default(), now);
        if lock(&self.read_at).is_some_and(|read_at| asked_at.is_some_and(|asked_at| read_at > asked_at)) {
            return Found::Unknown;
        }
        self.wanted.notify_one();
        Found::Pending
    }

    /// Notes that a key is missing; returns since when that is known. `None` if too many are.
    fn ask(&self, kid: &str, now: Instant) -> Option<Instant> {
        let mut asked = lock(&self.asked);
        if let Some(since) = asked.get(kid).filter(|since| now.duration_since(**since) < ASKED_FOR) {
            return Some(*since);
        }
        if asked.len() >= MAX_ASKED {
            asked.retain(|_, since| now.duration_since(*since) < ASKED_FOR);
        }
        if asked.len() >= MAX_ASKED {
            return None;
        }
        asked.insert(kid.to_owned(), now);
        Some(now)
    }

    /// Reads the set again and again: one read at a time, however many ask. Runs until it is dropped.
    pub(crate) async fn keep(self: Arc<Self>, endpoint: Uri, client: HttpClient) {
        let mut pause = PAUSE.0;
        loop {
            let began = Instant::now();
            match fetch(&client, &endpoint).await.and_then(|set| self.take(set)) {
                Ok(count) => {
                    self.metrics.key_reads.inc();
                    self.metrics.keys.set(count as i64);
                    *lock(&self.read_at) = Some(began);
                    pause = PAUSE.0;
                    tokio::time::sleep(pause).await;
                    // Whether somebody asks or the time is over, what is to be done is the same.
                    let _ = tokio::time::timeout(INTERVAL - pause, self.wanted.notified()).await;
                }
                Err(why) => {
                    self.metrics.key_read_failures.inc();
                    warn!(%endpoint, why, "the token keys cannot be read: those read before hold");
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(PAUSE.1);
                }
            }
        }
    }

    fn take(&self, set: Bytes) -> Result<usize, String> {
        let keys = Keys::published(&set).ok_or("it is not a JSON Web Key Set")?;
        let count = keys.len();
        let mut last = lock(&self.last);
        if *last != set || !self.is_loaded() {
            info!(count, "token keys read");
            self.keys.store(Some(Arc::new(keys)));
            self.generation.fetch_add(1, Ordering::Release);
            *last = set;
        }
        Ok(count)
    }
}

/// What the set is read with.
pub(crate) type HttpClient = Client<HttpsConnector<HttpConnector>, Empty<Bytes>>;

/// A client that trusts the system's authorities.
pub(crate) fn http_client() -> std::io::Result<HttpClient> {
    let provider = rustls::crypto::ring::default_provider();
    let connector = hyper_rustls::HttpsConnectorBuilder::new()
        .with_provider_and_native_roots(provider)?
        .https_or_http()
        .enable_http1()
        .build();
    Ok(Client::builder(TokioExecutor::new()).build(connector))
}

async fn fetch(client: &HttpClient, endpoint: &Uri) -> Result<Bytes, String> {
    let mut request = Request::new(Empty::new());
    *request.uri_mut() = endpoint.clone();
    request.headers_mut().insert(ACCEPT, HeaderValue::from_static("application/json"));
    let read = async {
        let answer = client.request(request).await.map_err(|error| error.to_string())?;
        if answer.status() != StatusCode::OK {
            return Err(format!("the answer is {}", answer.status()));
        }
        let body = Limited::new(answer.into_body(), MAX_SET).collect().await;
        body.map(http_body_util::Collected::to_bytes).map_err(|error| error.to_string())
    };
    tokio::time::timeout(TIMEOUT, read).await.map_err(|_| "no answer in time".to_owned())?
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Each change leaves the value whole, so a panic elsewhere cannot have broken it.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
#[path = "jwks_tests.rs"]
mod tests;
