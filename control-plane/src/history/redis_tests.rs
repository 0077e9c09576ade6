//! The Redis adapter against real servers: the contract of all adapters, and what is its own.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::super::contract::{Case, LONG, entry, run_all, texts};
use super::*;
use servers::{Store, engines, eventually};

#[path = "redis/servers_tests.rs"]
mod servers;

/// Tight enough that a test does not take long, wide enough for a busy machine.
pub(super) fn config(store: &Store) -> RedisConfig {
    RedisConfig { addresses: vec![store.address()], ..RedisConfig::default() }
}

pub(super) async fn open(config: &RedisConfig) -> RedisHistory {
    RedisHistory::open(config, RedisMetrics::default(), &Tasks::default()).await.expect("it is good")
}

/// A case of its own: its channels have not been seen before.
pub(super) fn case(history: &Arc<RedisHistory>) -> Case {
    static CASES: AtomicUsize = AtomicUsize::new(0);
    let number = CASES.fetch_add(1, Ordering::Relaxed);
    Case { history: history.clone(), prefix: format!("{number} }}%7D{{ü}}:") }
}

#[tokio::test(flavor = "multi_thread")]
async fn it_keeps_the_contract() {
    for engine in engines() {
        let store = Store::start(engine);
        let history = Arc::new(open(&config(&store)).await);
        run_all(|| async { case(&history) }).await;
    }
}
