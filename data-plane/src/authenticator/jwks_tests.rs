//! Tests of published keys, with a server that can be changed, switched off and counted.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::atomic::AtomicUsize;

use fanfare_cluster::tasks::Tasks;
use futures_util::FutureExt as _;
use http_body_util::Full;
use hyper::Response;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;

use super::*;

/// What the server answers with: nothing means 500.
#[derive(Clone, Default)]
struct Publisher {
    set: Arc<Mutex<Option<String>>>,
    reads: Arc<AtomicUsize>,
}

impl Publisher {
    fn publish(&self, kids: &[&str]) {
        let key =
            |kid: &&str| serde_json::json!({"kty": "OKP", "crv": "Ed25519", "kid": kid, "x": "A".repeat(43)});
        let keys: Vec<_> = kids.iter().map(key).collect();
        *lock(&self.set) = Some(serde_json::json!({ "keys": keys }).to_string());
    }

    async fn serve(self, tasks: &Tasks) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let connections = tasks.clone();
        tasks.spawn("publisher", async move {
            while let Ok((stream, _)) = listener.accept().await {
                let publisher = self.clone();
                let service = service_fn(move |_| {
                    publisher.reads.fetch_add(1, Ordering::Relaxed);
                    let set = lock(&publisher.set).clone();
                    let mut answer = Response::new(Full::<Bytes>::from(set.clone().unwrap_or_default()));
                    if set.is_none() {
                        *answer.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
                    }
                    std::future::ready(Ok::<_, Infallible>(answer))
                });
                let connection = hyper::server::conn::http1::Builder::new();
                let connection = connection.serve_connection(TokioIo::new(stream), service);
                connections.spawn("publisher's connection", connection.map(drop));
            }
        });
        address
    }
}

/// Reads the set until a condition holds. Time is paused, so that the pauses between reads pass at once.
async fn until(condition: impl Fn() -> bool) {
    for _ in 0..100_000 {
        if condition() {
            return;
        }
        tokio::time::advance(Duration::from_millis(50)).await;
        tokio::task::spawn_blocking(std::thread::yield_now).await.unwrap();
    }
    panic!("it does not come true");
}

fn names(published: &PublishedKeys, kid: &str) -> &'static str {
    match published.find(Some(kid)) {
        Found::Keys(_) => "there",
        Found::Pending => "pending",
        Found::Unknown => "unknown",
    }
}

async fn start(publisher: &Publisher) -> Arc<PublishedKeys> {
    let tasks = Tasks::default();
    let address = publisher.clone().serve(&tasks).await;
    let published = Arc::new(PublishedKeys::new(TokenMetrics::default()));
    let endpoint = format!("http://{address}/keys").parse().unwrap();
    tasks.spawn("token keys", published.clone().keep(endpoint, http_client().unwrap()));
    published
}

#[tokio::test(start_paused = true)]
async fn a_key_that_is_rotated_in_is_found_as_soon_as_a_token_needs_it() {
    let publisher = Publisher::default();
    publisher.publish(&["one"]);
    let published = start(&publisher).await;
    assert_eq!(names(&published, "one"), "pending");
    until(|| published.is_loaded()).await;
    assert_eq!(names(&published, "one"), "there");
    let before = published.generation();
    publisher.publish(&["one", "two"]);
    assert_eq!(names(&published, "two"), "pending");
    until(|| names(&published, "two") == "there").await;
    assert_eq!(published.generation(), before + 1);
}

#[tokio::test(start_paused = true)]
async fn a_name_that_is_not_there_is_known_to_be_unknown_after_one_read() {
    let publisher = Publisher::default();
    publisher.publish(&["one"]);
    let published = start(&publisher).await;
    until(|| published.is_loaded()).await;
    let reads = publisher.reads.load(Ordering::Relaxed);
    for number in 0..5_000 {
        published.find(Some(&format!("made up {number}")));
    }
    until(|| names(&published, "made up 7") == "unknown").await;
    assert!(publisher.reads.load(Ordering::Relaxed) <= reads + 2, "however many ask, one read at a time");
    assert!(lock(&published.asked).len() <= MAX_ASKED);
}

#[tokio::test(start_paused = true)]
async fn the_last_good_keys_hold_while_the_server_is_away() {
    let publisher = Publisher::default();
    publisher.publish(&["one"]);
    let published = start(&publisher).await;
    until(|| published.is_loaded()).await;
    *lock(&publisher.set) = None;
    let failures = || published.metrics.key_read_failures.get();
    names(&published, "two");
    until(|| failures() >= 3).await;
    assert_eq!((names(&published, "one"), names(&published, "two")), ("there", "pending"));
    publisher.publish(&["one", "two"]);
    until(|| names(&published, "two") == "there").await;
}

#[tokio::test(start_paused = true)]
async fn what_is_no_set_changes_nothing() {
    let publisher = Publisher::default();
    publisher.publish(&["one"]);
    let published = start(&publisher).await;
    until(|| published.is_loaded()).await;
    *lock(&publisher.set) = Some("x".repeat(MAX_SET + 1));
    names(&published, "two");
    until(|| published.metrics.key_read_failures.get() >= 1).await;
    assert_eq!(names(&published, "one"), "there");
}
