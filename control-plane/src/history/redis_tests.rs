//! The Redis adapter against real servers: the contract of all adapters, and what is its own.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::future::join_all;

use super::super::contract::{Case, LONG, entry, run_all, texts};
use super::*;
use servers::{Store, engines, eventually};

#[path = "redis/cluster_tests.rs"]
mod cluster;
#[path = "redis/outage_tests.rs"]
mod outage;
#[path = "redis/security_tests.rs"]
mod security;
#[path = "redis/servers_tests.rs"]
mod servers;

fn config(store: &Store) -> RedisConfig {
    RedisConfig { addresses: vec![store.address()], ..RedisConfig::default() }
}

async fn open(config: &RedisConfig) -> Arc<RedisHistory> {
    let opened = RedisHistory::open(config, RedisMetrics::default(), &Tasks::default()).await;
    Arc::new(opened.expect("the configuration is good"))
}

/// A case of its own: its channels have not been seen before.
fn case(history: &Arc<RedisHistory>) -> Case {
    static CASES: AtomicUsize = AtomicUsize::new(0);
    let number = CASES.fetch_add(1, Ordering::Relaxed);
    Case { history: history.clone(), prefix: format!("{number} }}%7D{{ü}}:") }
}

/// Why a call failed.
fn why<T: fmt::Debug>(result: Result<T, HistoryError>) -> String {
    match result {
        Err(HistoryError::Unavailable(why)) => why,
        other => panic!("it should not be available: {other:?}"),
    }
}

/// Publishes until it succeeds.
async fn publishes_again(case: &Case) -> Appended {
    eventually("it is available again", || {
        case.history.append(case.request(vec![entry("again")])).map(Result::ok)
    })
    .await
}

use futures_util::FutureExt as _;

#[tokio::test(flavor = "multi_thread")]
async fn it_keeps_the_contract() {
    for engine in engines() {
        let store = Store::start(engine);
        let history = open(&config(&store)).await;
        run_all(|| async { case(&history) }).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_over_is_forgotten() {
    for engine in engines() {
        let store = Store::start(engine);
        let history = open(&config(&store)).await;
        let case = case(&history);
        let short = Duration::from_millis(300);
        let retention = Retention { ttl: short, keys: short, meta: LONG.meta, size: 100 };
        let keyed = |key: &str| Entry { key: key.into(), ..entry("a") };
        let short_lived = Entry { ttl: Some(Duration::from_millis(50)), ..entry("b") };
        let append = |entries| history.append(Append { retention, ..case.request(entries) });
        let first = append(vec![keyed("k"), short_lived]).await.unwrap().top;
        let read = || history.read(Read { retention, ..all(&case) }).map(|page| texts(&page.unwrap()));
        eventually("its own time is over", async || {
            let now = read().await;
            (now == [(1, "a".to_owned()), (2, "over".to_owned())]).then_some(())
        })
        .await;
        // New publications keep the list there, and what is too old in it is not read all the same.
        eventually("the first one's time is over", async || {
            append(vec![entry("c")]).await.unwrap();
            let now = read().await;
            (now.len() == 1 || now[0].0 > 2).then_some(())
        })
        .await;
        let listed = store.command(&["XRANGE", &key_of(&case, "stream"), "-", "2-0"]);
        assert_eq!(listed, redis::Value::Array(Vec::new()), "what is too old is not kept either");
        let again = append(vec![keyed("k")]).await.unwrap();
        assert!(matches!(again.outcomes[0], Outcome::Stored { .. }), "its key's window is over");
        assert_eq!(again.top.epoch, first.epoch);
        eventually("the list is gone", async || {
            (store.command(&["EXISTS", &key_of(&case, "stream")]) == redis::Value::Int(0)).then_some(())
        })
        .await;
        assert_eq!(history.read(all(&case)).await.unwrap(), Page { stored: Vec::new(), top: again.top });
    }
}

/// A read of everything in the channel of a case.
fn all(case: &Case) -> Read {
    let (channel, part) = (case.channel("news"), Part::After(0));
    Read { channel, part, limit: 1_000, max_bytes: usize::MAX, retention: LONG }
}

fn key_of(case: &Case, what: &str) -> String {
    format!("{}.{what}", Tag("fanfare:", &case.channel("news")))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_ends_where_it_was_asked_to_and_has_no_holes() {
    let store = Store::start("redis-server");
    let history = open(&config(&store)).await;
    let case = case(&history);
    // More than the script looks at in one step.
    for _ in 0..3 {
        case.append((0..60).map(|_| entry("a")).collect()).await;
    }
    let retention = Retention { size: 1_000, ..LONG };
    let more = Append { retention, ..case.request((0..70).map(|_| entry("a")).collect()) };
    history.append(more).await.unwrap();
    for (part, limit, expected) in [
        (Part::After(0), 1_000, (81..=250).collect::<Vec<u64>>()),
        (Part::After(100), 130, (101..=230).collect()),
        (Part::Before(u64::MAX, 0), 150, (101..=250).rev().collect()),
        (Part::Before(200, 110), 1_000, (111..=199).rev().collect()),
    ] {
        let page = history.read(Read { part, limit, ..all(&case) }).await.unwrap();
        assert_eq!(page.stored.iter().map(|stored| stored.offset).collect::<Vec<_>>(), expected, "{part:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_epoch_of_a_channel_without_publications_lasts_for_an_hour_and_goes_on_if_it_was_told() {
    let store = Store::start("redis-server");
    let history = open(&config(&store)).await;
    let case = case(&history);
    let fence = PlacementNumber::default();
    let top = async |known| history.top(case.channel("news"), fence, known).await.unwrap();
    let meta = key_of(&case, "meta");
    let lives_for = || match store.command(&["PTTL", &meta]) {
        redis::Value::Int(milliseconds) => milliseconds,
        other => panic!("{other:?}"),
    };
    let told = top(StreamPosition::default()).await;
    assert!((3_500_000..=3_600_000).contains(&lives_for()));
    store.command(&["PEXPIRE", &meta, "1000"]);
    assert_eq!(top(told).await, told);
    assert!(lives_for() > 3_500_000, "each look keeps it");
    store.command(&["DEL", &meta]);
    assert_eq!(top(told).await, told, "followers were told of it");
    store.command(&["DEL", &meta]);
    let appended = history.append(Append { known: told, fence, ..case.request(vec![entry("a")]) });
    let published = StreamPosition { offset: 1, ..told };
    assert_eq!(appended.await.unwrap().top, published);
    assert!(lives_for() > 86_000_000, "from the first publication on it lives as long as its channel says");
    assert_eq!(top(told).await, published);
    assert!(lives_for() > 86_000_000);
    store.command(&["DEL", &meta]);
    let after = top(published).await;
    assert!(
        after.epoch != told.epoch && after.offset == 0,
        "but where something was published it is another one"
    );
    let page = history.read(all(&case)).await.unwrap();
    assert_eq!((page.stored.len(), page.top), (0, after), "what the lost epoch had is not in the new one");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_offset_is_given_twice_whoever_asks() {
    for engine in engines() {
        let store = Store::start(engine);
        let histories = [open(&config(&store)).await, open(&config(&store)).await];
        let case = case(&histories[0]);
        let append = |number: usize| {
            let request = case.request(vec![entry("a"), entry("b"), entry("c")]);
            histories[number % 2].append(request)
        };
        let appended = join_all((0..200).map(append)).await;
        let mut offsets = HashSet::new();
        for one in appended {
            let one = one.unwrap();
            let own: Vec<u64> = one.outcomes.iter().map(offset).collect();
            assert_eq!(own, [own[0], own[0] + 1, own[0] + 2], "a batch stays together");
            assert_eq!(one.top.offset, own[2]);
            offsets.extend(own);
        }
        assert_eq!(offsets.len(), 600);
        assert_eq!(offsets.into_iter().max(), Some(600));
    }
}

fn offset(outcome: &Outcome) -> u64 {
    match outcome {
        Outcome::Stored { offset, .. } => *offset,
        other => panic!("it was not stored: {other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_somebody_else_has_done_to_its_keys_is_said() {
    let store = Store::start("redis-server");
    let history = open(&config(&store)).await;
    let case = case(&history);
    case.publish(&["a"]).await;
    store.command(&["SCRIPT", "FLUSH"]);
    assert_eq!(case.publish(&["b"]).await.top.offset, 2, "scripts are sent again");
    store.command(&[
        "XADD",
        &key_of(&case, "stream"),
        "3-0",
        "p",
        "\u{1f}",
        "t",
        "9999999999999",
        "x",
        "0",
        "w",
        "1",
    ]);
    let error = why(history.read(all(&case)).await);
    assert!(error.contains("somebody else writes to its keys"), "{error}");
    let known = case.publish(&["c"]).await.top;
    assert!(known.offset == 1, "{known:?}: the place of its publication was taken, so it is another stream");
    assert_eq!(texts(&history.read(all(&case)).await.unwrap()), [(1, "c".to_owned())]);
    store.command(&["SET", &key_of(&case, "meta"), "x"]);
    let error = why(history.append(case.request(vec![entry("c")])).await);
    assert!(error.contains("WRONGTYPE"), "{error}");
    store.command(&["DEL", &key_of(&case, "meta")]);
    assert_eq!(case.publish(&["d"]).await.top.offset, 1, "and it goes on when the key is gone");
}
