//! The memory adapter: the contract of all adapters, and its own bounds of time and space.

use std::sync::Arc;
use std::time::Duration;

use super::super::contract::{Case, LONG, entry, run_all, texts};
use super::*;

fn case(limit: usize) -> (Arc<MemoryHistory>, Case) {
    let history = Arc::new(MemoryHistory::new(limit));
    (history.clone(), Case { history, prefix: String::new() })
}

#[tokio::test]
async fn it_keeps_the_contract() {
    run_all(|| async { case(1 << 30).1 }).await;
}

#[tokio::test(start_paused = true)]
async fn publications_end_with_their_time_and_the_position_later() {
    let (history, case) = case(1 << 30);
    let append = |texts: &[&str]| {
        let retention = Retention { ttl: Duration::from_secs(10), meta: Duration::from_secs(60), ..LONG };
        Append { retention, ..case.request(texts.iter().map(|text| entry(text)).collect()) }
    };
    let first = history.append(append(&["a"])).await.unwrap().top;
    tokio::time::advance(Duration::from_secs(5)).await;
    history.append(append(&["b"])).await.unwrap();
    tokio::time::advance(Duration::from_secs(6)).await;
    assert_eq!(texts(&case.read(Part::After(0), 10).await), [(2, "b".to_owned())]);
    tokio::time::advance(Duration::from_secs(50)).await;
    let third = history.append(append(&["c"])).await.unwrap().top;
    assert_eq!(third, StreamPosition { offset: 3, ..first }, "offsets go on while the position is kept");
    tokio::time::advance(Duration::from_secs(61)).await;
    let elsewhere = Append { channel: case.channel("other"), ..append(&["x"]) };
    history.append(elsewhere).await.unwrap();
    let fourth = history.append(append(&["d"])).await.unwrap().top;
    assert_ne!(fourth.epoch, first.epoch);
    assert_eq!(fourth.offset, 1);
}

#[tokio::test(start_paused = true)]
async fn a_key_is_forgotten_with_its_window_and_a_publication_with_its_own_time() {
    let (history, case) = case(1 << 30);
    let keyed = || Entry { key: "k".into(), ttl: Some(Duration::from_secs(1)), ..entry("a") };
    case.append(vec![keyed(), entry("b")]).await;
    tokio::time::advance(Duration::from_secs(2)).await;
    let page = case.read(Part::After(0), 10).await;
    assert_eq!(texts(&page), [(1, "over".to_owned()), (2, "b".to_owned())], "it has its place all the same");
    tokio::time::advance(LONG.keys).await;
    assert_eq!(case.append(vec![keyed()]).await.top.offset, 3);
    assert!(history.bytes() > 0);
}

#[tokio::test(start_paused = true)]
async fn memory_is_bounded_and_what_is_gone_is_never_taken_for_something_else() {
    const LIMIT: usize = 100_000;
    let (history, case) = case(LIMIT);
    let text = "x".repeat(1_000);
    let first = case.publish(&["a"]).await.top;
    for number in 0..1_000 {
        let channel = case.channel(&format!("channel {number}"));
        let append = Append { channel, ..case.request(vec![entry(&text)]) };
        history.append(append).await.unwrap();
        assert!(history.bytes() <= LIMIT);
    }
    let top = case.publish(&["b"]).await.top;
    assert!(top == StreamPosition { offset: 2, ..first } || top.epoch != first.epoch, "{top:?}");
    let page = case.read(Part::After(0), 10).await;
    assert!(!texts(&page).contains(&(1, "a".to_owned())), "it had to go");
}

#[tokio::test(start_paused = true)]
async fn a_forgotten_stream_leaves_nothing() {
    let (history, case) = case(1 << 30);
    let retention = Retention {
        ttl: Duration::from_secs(1),
        meta: Duration::from_secs(2),
        keys: Duration::from_secs(1),
        size: 10,
    };
    for number in 0..100 {
        let channel = case.channel(&format!("channel {number}"));
        let keyed = Entry { key: "k".into(), ..entry("text") };
        history.append(Append { channel, retention, ..case.request(vec![keyed]) }).await.unwrap();
    }
    for _ in 0..100 {
        tokio::time::advance(Duration::from_secs(3)).await;
        history.append(Append { retention, ..case.request(vec![entry("a")]) }).await.unwrap();
    }
    assert!(history.bytes() < 1_000, "{} bytes", history.bytes());
}

// Channels that are busy, quiet and busy again, as those of users are all day, left an entry each time.
#[tokio::test(start_paused = true)]
async fn a_stream_is_due_once_however_often_it_was_quiet() {
    let (history, case) = case(1 << 30);
    let retention = Retention { ttl: Duration::from_secs(1), ..LONG };
    for _ in 0..100 {
        history.append(Append { retention, ..case.request(vec![entry("a")]) }).await.unwrap();
        tokio::time::advance(Duration::from_secs(2)).await;
        let elsewhere =
            Append { channel: case.channel("other"), retention, ..case.request(vec![entry("b")]) };
        history.append(elsewhere).await.unwrap();
    }
    assert_eq!(history.lock().due.len(), 2);
}
