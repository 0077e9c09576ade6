//! The Redis adapter with Sentinels and with clusters.

use super::*;
use redis::Value;

/// Three servers that are a cluster, a third of the slots each.
async fn cluster(engine: &'static str) -> Vec<Store> {
    let arguments = ["--save", "", "--cluster-enabled", "yes", "--cluster-node-timeout", "2000"];
    let stores: Vec<Store> = (0..3)
        .map(|_| {
            // The port by which they speak to each other is given, as the usual one may be too high.
            let bus = servers::free_port().to_string();
            Store::start_with(engine, &[&arguments[..], &["--cluster-port", &bus]].concat())
        })
        .collect();
    for (store, slots) in stores.iter().zip([("0", "5460"), ("5461", "10922"), ("10923", "16383")]) {
        store.command(&["CLUSTER", "ADDSLOTSRANGE", slots.0, slots.1]);
        let bus = match store.command(&["CONFIG", "GET", "cluster-port"]) {
            Value::Array(pair) => text(&pair[1]),
            other => panic!("{other:?}"),
        };
        let port = store.port.to_string();
        stores[0].command(&["CLUSTER", "MEET", "127.0.0.1", &port, &bus]);
    }
    eventually("the cluster is complete", async || {
        let is_well = |store: &Store| {
            let info = text(&store.command(&["CLUSTER", "INFO"]));
            info.contains("cluster_state:ok") && info.contains("cluster_known_nodes:3")
        };
        stores.iter().all(is_well).then_some(())
    })
    .await;
    stores
}

fn text(value: &Value) -> String {
    match value {
        Value::BulkString(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        Value::VerbatimString { text, .. } | Value::SimpleString(text) => text.clone(),
        other => panic!("it is no text: {other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn it_keeps_the_contract_in_a_cluster() {
    for engine in engines() {
        let stores = cluster(engine).await;
        let history = open(&RedisConfig { cluster: true, ..config(&stores[0]) }).await;
        run_all(|| async { case(&history) }).await;
        let alone = open(&config(&stores[0])).await;
        let case = case(&alone);
        let append = |number: usize| {
            let channel = case.channel(&format!("channel {number}"));
            alone.append(Append { channel, ..case.request(vec![entry("a")]) })
        };
        let errors = join_all((0..20).map(append)).await.into_iter().filter_map(Result::err);
        let errors: Vec<String> = errors.map(|error| error.to_string()).collect();
        assert!(!errors.is_empty(), "other servers have most of the channels");
        assert!(errors.iter().all(|error| error.contains("set history.redis.cluster")), "{errors:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_channel_that_moves_to_another_server_goes_on_there() {
    for engine in engines() {
        let stores = cluster(engine).await;
        let rights = [&security::RULES[..], &security::MORE_RULES, &["+cluster|slots", "+asking"]].concat();
        stores.iter().for_each(|store| security::allow(store, "fanfare", &rights));
        let (user, password) = ("fanfare".to_owned(), "secret".to_owned());
        let history = open(&RedisConfig { cluster: true, user, password, ..config(&stores[0]) }).await;
        let case = case(&history);
        let first = case.publish(&["a", "b"]).await.top;
        let key = key_of(&case, "meta");
        let Value::Int(slot) = stores[0].command(&["CLUSTER", "KEYSLOT", &key]) else { panic!("no slot") };
        let slot = slot.to_string();
        let has = |store: &&Store| store.try_command(&["EXISTS", &key]) == Ok(Value::Int(1));
        let from = stores.iter().find(has).expect("one of them has it");
        let to = stores.iter().find(|store| store.port != from.port).unwrap();
        let (from_id, to_id) =
            (text(&from.command(&["CLUSTER", "MYID"])), text(&to.command(&["CLUSTER", "MYID"])));
        to.command(&["CLUSTER", "SETSLOT", &slot, "IMPORTING", &from_id]);
        from.command(&["CLUSTER", "SETSLOT", &slot, "MIGRATING", &to_id]);
        assert_eq!(case.publish(&["c"]).await.top.offset, 3, "while it is still here");
        let (stream, port) = (key_of(&case, "stream"), to.port.to_string());
        from.command(&["MIGRATE", "127.0.0.1", &port, "", "0", "5000", "KEYS", &key, &stream]);
        assert_eq!(case.publish(&["d"]).await.top.offset, 4, "while only the keys are there");
        for store in [to, from] {
            store.command(&["CLUSTER", "SETSLOT", &slot, "NODE", &to_id]);
        }
        let last = publishes_again(&case).await.top;
        assert_eq!(last, StreamPosition { offset: 5, ..first });
        assert_eq!(history.read(all(&case)).await.unwrap().stored.len(), 5, "and nothing twice");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_of_a_cluster_that_is_away_takes_only_its_own_channels_with_it() {
    let mut stores = cluster("redis-server").await;
    for store in &stores {
        store.command(&["CONFIG", "SET", "cluster-require-full-coverage", "no"]);
    }
    let history = open(&RedisConfig { cluster: true, ..outage::quick(&stores[0]) }).await;
    let case = case(&history);
    let append = async |number: usize| {
        let channel = case.channel(&format!("channel {number}"));
        history.append(Append { channel, ..case.request(vec![entry("a")]) }).await
    };
    let mut appended = Vec::new();
    for number in 0..30 {
        appended.push(append(number).await.is_ok());
    }
    assert_eq!(appended, [true; 30]);
    stores[0].kill();
    let mut well = Vec::new();
    for number in 0..30 {
        well.push(append(number).await.is_ok());
    }
    let count = well.iter().filter(|well| **well).count();
    assert!((10..=28).contains(&count), "{count} of 30");
    for _ in 0..10 {
        for number in (0..30).filter(|number| well[*number]) {
            append(number).await.expect("its server is there");
        }
        assert!(append(well.iter().position(|well| !well).unwrap()).await.is_err());
    }
    stores[0].start_again();
    eventually("all are there again", async || {
        for number in 0..30 {
            append(number).await.ok()?;
        }
        Some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_that_was_away_is_found_again() {
    let mut stores = cluster("redis-server").await;
    let history = open(&RedisConfig { cluster: true, ..outage::quick(&stores[0]) }).await;
    let case = case(&history);
    case.publish(&["a"]).await;
    stores.iter_mut().for_each(Store::kill);
    why(history.append(case.request(vec![entry("b")])).await);
    stores.iter_mut().for_each(Store::start_again);
    publishes_again(&case).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sentinels_are_followed_to_the_server_that_they_have_promoted() {
    for engine in engines() {
        let (mut primary, replica) = outage::pair(engine).await;
        let port = primary.port.to_string();
        let folder = primary.folder.clone();
        let sentinels: Vec<Store> = (0..3)
            .map(|number| {
                let file = folder.join(format!("sentinel-{number}.conf"));
                let lines = format!(
                    "sentinel monitor main 127.0.0.1 {port} 2\nsentinel down-after-milliseconds main 500\n\
                     sentinel failover-timeout main 3000\n"
                );
                std::fs::write(&file, lines).unwrap();
                Store::start_with(engine, &[file.to_str().unwrap(), "--sentinel"])
            })
            .collect();
        for sentinel in &sentinels {
            // They would look at servers every ten seconds only.
            sentinel.command(&["SENTINEL", "DEBUG", "INFO-PERIOD", "200", "PUBLISH-PERIOD", "200"]);
        }
        let history = open(&RedisConfig {
            addresses: sentinels.iter().map(Store::address).collect(),
            sentinel: RedisSentinel { master: "main".into(), ..RedisSentinel::default() },
            ..config(&primary)
        })
        .await;
        let case = case(&history);
        let known = case.publish(&["a", "b"]).await.top;
        outage::is_replicated(&primary).await;
        eventually("the Sentinels know of each other and of the replica", async || {
            let state = text_of(&sentinels[0].command(&["SENTINEL", "MASTER", "main"]));
            (state.contains("num-slaves 1 ") && state.contains("num-other-sentinels 2 ")).then_some(())
        })
        .await;
        primary.kill();
        let request = || Append { known, ..case.request(vec![entry("c")]) };
        let after =
            eventually("the replica is promoted", || history.append(request()).map(Result::ok)).await.top;
        assert_eq!(after, StreamPosition { offset: 3, ..known });
        assert_eq!(text_of(&replica.command(&["ROLE"])).split(' ').next(), Some("master"));
        let unknown = RedisSentinel { master: "other".into(), ..RedisSentinel::default() };
        let addresses = sentinels.iter().map(Store::address).collect();
        let history = open(&RedisConfig { addresses, sentinel: unknown, ..config(&primary) }).await;
        let error = why(history.append(request()).await);
        assert!(error.contains("knows no master \"other\""), "{error}");
    }
}

/// All texts and numbers of an answer.
fn text_of(value: &Value) -> String {
    match value {
        Value::Array(values) => values.iter().map(|value| text_of(value) + " ").collect(),
        Value::Int(number) => number.to_string(),
        other => text(other),
    }
}
