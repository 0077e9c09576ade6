//! One `PublishStream`: takes what is there, hands it to the owners together, answers each request.

use std::sync::Arc;
use std::vec;

use fanfare_cluster::channel::Namespaces;
use fanfare_proto::v1::publish_stream_response::Result as Answer;
use fanfare_proto::v1::{PublishRequest, PublishResponse, PublishStreamResponse};
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt as _, Stream, StreamExt as _};
use prost::Message as _;

use super::receipt::answer;
use super::status::to_message;
use crate::metrics::Metrics;
use crate::push::Push;
use crate::refusal::Refusal;
use crate::router::{Accepted, Router};

/// Requests that may be unanswered: those that wait for sockets, and those that are being taken.
const MAX_UNANSWERED: usize = 4096;
/// Requests that are taken together, so that owners are woken once for all of them.
const BATCH: usize = 256;
/// Bytes from which no further request joins a batch.
const BATCH_BYTES: usize = 256 << 10;

/// The answers to a stream of pushes. It is driven by whoever reads the answers: one that does not is not
/// read from. It ends when the pushes have ended and all are answered; if they break off, with the reason.
pub(crate) fn answers<E: Send + 'static>(
    requests: impl Stream<Item = Result<PublishRequest, E>> + Send + Unpin + 'static,
    router: Arc<Router>,
    channels: Arc<Namespaces>,
    metrics: Metrics,
) -> impl Stream<Item = Result<PublishStreamResponse, E>> + Send {
    let state = Box::new(PushStream {
        requests: Requests { stream: requests, ended: None },
        router,
        channels,
        metrics,
        taken: 0,
        batch: Vec::new(),
        ready: Vec::new().into_iter(),
        waiting: FuturesUnordered::new(),
    });
    futures_util::stream::unfold(state, async |mut state| Some((state.next().await?, state)))
}

struct PushStream<S, E> {
    requests: Requests<S, E>,
    router: Arc<Router>,
    channels: Arc<Namespaces>,
    metrics: Metrics,
    /// Requests taken from the stream so far: the last one's number.
    taken: u64,
    batch: Vec<PublishRequest>,
    /// Answers that can be read.
    ready: vec::IntoIter<PublishStreamResponse>,
    /// Requests that wait for sockets, aside, so that they hold up nobody.
    waiting: FuturesUnordered<BoxFuture<'static, PublishStreamResponse>>,
}

/// The requests, and how they have ended.
struct Requests<S, E> {
    stream: S,
    ended: Option<Result<(), E>>,
}

impl<S, E> PushStream<S, E>
where
    S: Stream<Item = Result<PublishRequest, E>> + Unpin,
{
    async fn next(&mut self) -> Option<Result<PublishStreamResponse, E>> {
        loop {
            if let Some(answer) = self.ready.next() {
                return Some(Ok(answer));
            }
            let may_take = self.waiting.len() + BATCH <= MAX_UNANSWERED && self.requests.ended.is_none();
            tokio::select! {
                biased;
                Some(answer) = self.waiting.next() => return Some(Ok(answer)),
                () = self.requests.collect(&mut self.batch), if may_take => self.publish().await,
                else => return self.requests.ended.replace(Ok(()))?.err().map(Err),
            }
        }
    }

    /// Publishes what was collected.
    async fn publish(&mut self) {
        let first = self.taken + 1;
        self.taken += self.batch.len() as u64;
        let channels = &self.channels;
        let pushes = self.batch.drain(..).map(|request| Push::parse(request, channels));
        let results = self.router.publish_all(pushes).await;
        let mut ready = Vec::with_capacity(results.len());
        for (sequence, result) in (first..).zip(results) {
            match result {
                Err(refusal) => ready.push(self.refuse(sequence, refusal)),
                Ok(accepted) if accepted.waits() => self.waiting.push(self.wait(sequence, accepted)),
                Ok(accepted) => {
                    // There is nothing to wait for.
                    let receipt = self.router.receipt(accepted).await;
                    ready.push(published(sequence, answer(receipt)));
                }
            }
        }
        self.ready = ready.into_iter();
    }

    fn wait(&self, sequence: u64, accepted: Accepted) -> BoxFuture<'static, PublishStreamResponse> {
        let router = self.router.clone();
        Box::pin(async move { published(sequence, answer(router.receipt(accepted).await)) })
    }

    fn refuse(&self, sequence: u64, refusal: Refusal) -> PublishStreamResponse {
        self.metrics.refused.inc();
        PublishStreamResponse { sequence, result: Some(Answer::Error(to_message(refusal))) }
    }
}

fn published(sequence: u64, response: PublishResponse) -> PublishStreamResponse {
    PublishStreamResponse { sequence, result: Some(Answer::Published(response)) }
}

impl<S, E> Requests<S, E>
where
    S: Stream<Item = Result<PublishRequest, E>> + Unpin,
{
    /// Waits for a request and takes those with it that are there already. Given up in between it has taken none.
    async fn collect(&mut self, batch: &mut Vec<PublishRequest>) {
        let mut next = Some(self.stream.next().await);
        let mut bytes = 0;
        while let Some(item) = next {
            match item {
                None => return self.ended = Some(Ok(())),
                Some(Err(error)) => return self.ended = Some(Err(error)),
                Some(Ok(request)) => {
                    bytes += request.encoded_len();
                    batch.push(request);
                }
            }
            if batch.len() == BATCH || bytes >= BATCH_BYTES {
                return;
            }
            next = self.stream.next().now_or_never();
        }
    }
}
