//! The Redis adapter while servers are killed, paused, full, or replaced by others.

use std::time::Instant;

use super::*;

const DURABLE: [&str; 6] = ["--save", "", "--appendonly", "yes", "--appendfsync", "always"];

/// Answers within a test's patience.
pub(super) fn quick(store: &Store) -> RedisConfig {
    let timeout = fanfare_cluster::quantity::Span(Duration::from_millis(500));
    RedisConfig { connect_timeout: timeout, response_timeout: timeout, ..config(store) }
}

/// Fails, and how long that took.
async fn fails(case: &Case) -> (String, Duration) {
    let started = Instant::now();
    let error = why(case.history.append(case.request(vec![entry("lost")])).await);
    (error, started.elapsed())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_killed_and_comes_back_goes_on_where_it_was() {
    for engine in engines() {
        let mut store = Store::start_with(engine, &DURABLE);
        let history = open(&quick(&store)).await;
        let case = case(&history);
        let before = case.publish(&["a", "b"]).await.top;
        store.kill();
        let (error, _) = fails(&case).await;
        assert!(error.contains("cannot be reached"), "{error}");
        let (error, took) = fails(&case).await;
        assert!(took < Duration::from_millis(100), "while it is away calls fail at once: {took:?}, {error}");
        assert!(error.contains("cannot be reached"), "{error}");
        store.start_again();
        let returned = Instant::now();
        let after = publishes_again(&case).await.top;
        assert!(returned.elapsed() < Duration::from_secs(2), "{:?}", returned.elapsed());
        assert_eq!(after, StreamPosition { offset: 3, ..before });
        assert_eq!(history.read(all(&case)).await.unwrap().stored.len(), 3);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_comes_back_empty_begins_a_new_epoch() {
    for engine in engines() {
        let mut store = Store::start(engine);
        let history = open(&quick(&store)).await;
        let case = case(&history);
        let before = case.publish(&["a", "b"]).await.top;
        store.kill();
        store.start_again();
        let request = || Append { known: before, ..case.request(vec![entry("c")]) };
        let after = eventually("it is back", || history.append(request()).map(Result::ok)).await.top;
        assert_ne!(after.epoch, before.epoch);
        assert_eq!(after.offset, 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_connection_is_mended_before_somebody_needs_it() {
    let mut store = Store::start_with("redis-server", &DURABLE);
    let metrics = RedisMetrics::default();
    let opened = RedisHistory::open(&quick(&store), metrics.clone(), &Tasks::default()).await;
    let case = case(&Arc::new(opened.unwrap()));
    case.publish(&["a"]).await;
    store.kill();
    store.start_again();
    eventually("it has connected again", async || (metrics.connects.get() == 2).then_some(())).await;
    assert_eq!(case.publish(&["b"]).await.top.offset, 2);
    assert_eq!(metrics.failures.get(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_stands_still_is_given_up_after_the_timeout_and_is_well_again_when_it_moves() {
    for engine in engines() {
        let store = Store::start(engine);
        let history = open(&quick(&store)).await;
        let case = case(&history);
        case.publish(&["a"]).await;
        store.signal("STOP");
        let (error, took) = fails(&case).await;
        assert!(took < Duration::from_secs(1), "{took:?}");
        assert!(error.contains("does not answer in time"), "{error}");
        let (error, took) = fails(&case).await;
        assert!(took < Duration::from_millis(100), "{took:?}");
        assert!(error.contains("does not answer in time"), "{error}");
        store.signal("CONT");
        // The append that was given up may have been carried out when the server woke up.
        let top = publishes_again(&case).await.top;
        assert!([2, 3].contains(&top.offset), "{top:?}");
        assert_eq!(history.read(all(&case)).await.unwrap().stored.len() as u64, top.offset);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_that_wait_longer_than_the_timeout_are_all_answered() {
    let store = Store::start("redis-server");
    let history = open(&quick(&store)).await;
    let case = case(&history);
    case.publish(&["a"]).await;
    store.command(&["CLIENT", "PAUSE", "1500", "ALL"]);
    let started = Instant::now();
    let answers = join_all((0..5_000).map(|_| history.append(case.request(vec![entry("b")])))).await;
    assert!(answers.iter().all(|answer| matches!(answer, Err(HistoryError::Unavailable(_)))));
    // One timeout for those that wait for room, one for those that wait for an answer.
    assert!(started.elapsed() < Duration::from_secs(2), "{:?}", started.elapsed());
    publishes_again(&case).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_server_refuses_publications_and_still_says_what_it_has() {
    for engine in engines() {
        let store = Store::start(engine);
        let history = open(&quick(&store)).await;
        let case = case(&history);
        let before = case.publish(&["a"]).await.top;
        store.command(&["CONFIG", "SET", "maxmemory", "1"]);
        let (error, _) = fails(&case).await;
        assert!(error.contains("memory is full: raise its maxmemory"), "{error}");
        assert_eq!(history.read(all(&case)).await.unwrap().stored.len(), 1);
        let fence = case.request(Vec::new()).fence;
        let other = history.top(case.channel("other"), fence, StreamPosition::default()).await.unwrap();
        assert!(other.epoch.is_some(), "channels can still be followed");
        assert_eq!(history.remove(case.channel("news"), fence).await.unwrap(), before, "and emptied");
        store.command(&["CONFIG", "SET", "maxmemory", "0"]);
        assert_eq!(case.publish(&["b"]).await.top, StreamPosition { offset: 2, ..before });
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_loads_its_data_is_waited_for() {
    let mut store = Store::start_with("redis-server", &["--save", "", "--enable-debug-command", "local"]);
    let history = open(&quick(&store)).await;
    let case = case(&history);
    let before = case.publish(&["a"]).await.top;
    store.command(&["DEBUG", "POPULATE", "3000"]);
    store.command(&["SAVE"]);
    store.kill();
    let slowly = ["--key-load-delay", "1000", "--loading-process-events-interval-bytes", "1024"];
    store.spawn_again(&slowly);
    eventually("it says that it loads", async || {
        let error = why(history.append(case.request(vec![entry("b")])).await);
        error.contains("loading its data").then_some(())
    })
    .await;
    assert_eq!(publishes_again(&case).await.top, StreamPosition { offset: 2, ..before });
}

/// A server, and a replica of it that has everything.
pub(super) async fn pair(engine: &'static str) -> (Store, Store) {
    let (primary, replica) = (Store::start(engine), Store::start(engine));
    replica.command(&["REPLICAOF", "127.0.0.1", &primary.port.to_string()]);
    is_replicated(&primary).await;
    (primary, replica)
}

/// Waits until a replica has all that was written until now.
pub(super) async fn is_replicated(primary: &Store) {
    eventually("a replica has everything", async || {
        let written = primary.commands(&[&["SET", "probe", "x"], &["WAIT", "1", "100"]]);
        (written[1] == redis::Value::Int(1)).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failover_that_lost_the_tail_begins_a_new_epoch() {
    for engine in engines() {
        let (mut primary, replica) = pair(engine).await;
        let both = vec![primary.address(), replica.address()];
        let history = open(&RedisConfig { addresses: both, ..quick(&primary) }).await;
        let case = case(&history);
        let kept = case.publish(&["a", "b"]).await.top;
        is_replicated(&primary).await;
        replica.command(&["REPLICAOF", "NO", "ONE"]);
        let known = case.publish(&["c", "d"]).await.top;
        assert_eq!(known, StreamPosition { offset: 4, ..kept });
        primary.kill();
        let request = || Append { known, ..case.request(vec![entry("e")]) };
        let after = eventually("the other is found", || history.append(request()).map(Result::ok)).await.top;
        assert_ne!(after.epoch, known.epoch, "offset 3 was given already");
        assert_eq!(after.offset, 1);
        assert_eq!(texts(&history.read(all(&case)).await.unwrap()), [(1, "e".to_owned())]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failover_that_lost_nothing_goes_on() {
    let (mut primary, replica) = pair("redis-server").await;
    let both = vec![primary.address(), replica.address()];
    let history = open(&RedisConfig { addresses: both, ..quick(&primary) }).await;
    let case = case(&history);
    let known = case.publish(&["a", "b"]).await.top;
    is_replicated(&primary).await;
    primary.kill();
    let error = why(history.append(Append { known, ..case.request(vec![entry("c")]) }).await);
    assert!(error.contains("cannot be reached"), "{error}");
    replica.command(&["REPLICAOF", "NO", "ONE"]);
    let request = || Append { known, ..case.request(vec![entry("c")]) };
    let after = eventually("the other is found", || history.append(request()).map(Result::ok)).await.top;
    assert_eq!(after, StreamPosition { offset: 3, ..known });
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_has_become_a_replica_is_left() {
    let (primary, other) = (Store::start("redis-server"), Store::start("redis-server"));
    let history = open(&quick(&primary)).await;
    let case = case(&history);
    case.publish(&["a"]).await;
    primary.command(&["REPLICAOF", "127.0.0.1", &other.port.to_string()]);
    eventually("it is known as a replica", async || {
        let answer = history.append(case.request(vec![entry("b")])).await;
        answer.is_err_and(|error| error.to_string().contains("is a replica")).then_some(())
    })
    .await;
    let (error, took) = fails(&case).await;
    assert!(took < Duration::from_millis(100), "{took:?}");
    assert!(error.contains("name the primary in history.redis.addresses"), "{error}");
    primary.command(&["REPLICAOF", "NO", "ONE"]);
    publishes_again(&case).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn replicas_that_are_waited_for_must_confirm() {
    for engine in engines() {
        let (primary, replica) = pair(engine).await;
        // On a busy machine a replica needs its time.
        let response_timeout = fanfare_cluster::quantity::Span(Duration::from_secs(4));
        let history = open(&RedisConfig { wait_replicas: 1, response_timeout, ..config(&primary) }).await;
        let case = case(&history);
        assert_eq!(case.publish(&["a"]).await.top.offset, 1);
        replica.signal("STOP");
        let (error, _) = fails(&case).await;
        assert!(error.contains("only 0 of 1 replicas have confirmed it in time"), "{error}");
        replica.signal("CONT");
        let top = publishes_again(&case).await.top;
        assert!(top.offset > 2, "what was not confirmed has its place all the same: {top:?}");
        run_all(|| async { super::case(&history) }).await;
    }
}
