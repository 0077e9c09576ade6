//! What a push costs the server when nobody subscribes: one call each, and on one stream.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use fanfare_proto::v1::{
    Message, PublishRequest, PublishStreamRequest, Target, message::Payload,
    publish_stream_response::Result as Answer, target::Kind,
};
use tokio::runtime::Runtime;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_stream::wrappers::ReceiverStream;

use super::fan_out::ROUND;
use super::server::{PATIENCE, Server};
use super::usage::{cpu_time, median, micros};
use crate::cli::BenchArguments;
use crate::client::ApiClient;
use crate::exit::Failure;

/// The channel without history, and the one with.
const PLAIN: &str = "nobody";
const KEPT: &str = "kept:nobody";
/// Calls under way at the same time.
const IN_FLIGHT: usize = 16;
/// Requests of a stream that are on their way to the server's answer; the server lets 4,096 wait.
const WINDOW: usize = 4_096;
/// Requests that wait for the transport.
const READY: usize = 1_024;
/// How long something goes on before it counts.
const WARM_UP: Duration = Duration::from_millis(500);

/// CPU time of the server per push, in microseconds, and how fast one stream was.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Pushes {
    pub(super) unary_cpu_us: f64,
    pub(super) stream: Streamed,
    pub(super) kept: KeptPushes,
}

/// What a channel with history makes of that.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct KeptPushes {
    pub(super) unary_cpu_us: f64,
    pub(super) stream: Streamed,
    /// More than without, round by round.
    pub(super) unary_more_us: f64,
    pub(super) stream_more_us: f64,
}

/// What one stream of pushes was like.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Streamed {
    pub(super) cpu_us: f64,
    pub(super) per_second: f64,
}

pub(super) fn measure(arguments: &BenchArguments, runtime: &Runtime) -> Result<Pushes> {
    let server = Server::start(arguments.shards, &[], runtime)?;
    let (mut calls, mut streams) = (Vec::new(), Vec::new());
    for _ in 0..arguments.seconds {
        calls.push([unary(&server, runtime, PLAIN)?, unary(&server, runtime, KEPT)?]);
        let without = streamed(&server, runtime, PLAIN, ROUND)?;
        streams.push([without, streamed(&server, runtime, KEPT, ROUND)?]);
    }
    let call = |which: usize| median(calls.iter().map(|round| round[which]));
    let stream = |which: usize| Streamed {
        cpu_us: median(streams.iter().map(|round| round[which].cpu_us)),
        per_second: median(streams.iter().map(|round| round[which].per_second)),
    };
    let kept = KeptPushes {
        unary_cpu_us: call(1),
        stream: stream(1),
        unary_more_us: median(calls.iter().map(|[without, with]| with - without)),
        stream_more_us: median(streams.iter().map(|[without, with]| with.cpu_us - without.cpu_us)),
    };
    Ok(Pushes { unary_cpu_us: call(0), stream: stream(0), kept })
}

fn unary(server: &Server, runtime: &Runtime, channel: &'static str) -> Result<f64> {
    let push = move |pusher: ApiClient| async move { pusher.publish(request(channel)).await.map(drop) };
    server.cpu_per_call(runtime, ROUND, push)
}

/// Pushes to one channel on one stream for a while.
pub(super) fn streamed(
    server: &Server,
    runtime: &Runtime,
    channel: &str,
    time: Duration,
) -> Result<Streamed> {
    let push_for = |time| {
        let end = Instant::now() + time;
        let more = |_| (Instant::now() < end).then(|| request(channel));
        runtime.block_on(stream(&server.pusher, more))
    };
    push_for(WARM_UP)?;
    let (before, began) = (cpu_time(server.part.pid())?, Instant::now());
    let messages = push_for(time)? as f64;
    let per_second = messages / began.elapsed().as_secs_f64();
    Ok(Streamed { cpu_us: micros(cpu_time(server.part.pid())? - before) / messages, per_second })
}

impl Server {
    /// What a call costs the server, in microseconds of CPU time, if 16 callers make it again and again.
    pub(super) fn cpu_per_call<F: Future<Output = Result<(), Failure>> + Send + 'static>(
        &self,
        runtime: &Runtime,
        time: Duration,
        call: impl Fn(ApiClient) -> F + Clone + Send + 'static,
    ) -> Result<f64> {
        runtime.block_on(calls(&self.pusher, WARM_UP, call.clone()))?;
        let before = cpu_time(self.part.pid())?;
        let calls = runtime.block_on(calls(&self.pusher, time, call))?;
        Ok(micros(cpu_time(self.part.pid())? - before) / calls as f64)
    }
}

async fn calls<F: Future<Output = Result<(), Failure>> + Send + 'static>(
    client: &ApiClient,
    time: Duration,
    call: impl Fn(ApiClient) -> F + Clone + Send + 'static,
) -> Result<u64> {
    let end = Instant::now() + time;
    let mut callers = JoinSet::new();
    for _ in 0..IN_FLIGHT {
        let (client, call) = (client.clone(), call.clone());
        callers.spawn(async move {
            let mut calls = 0;
            while Instant::now() < end {
                call(client.clone()).await?;
                calls += 1;
            }
            Ok::<u64, anyhow::Error>(calls)
        });
    }
    let mut calls = 0;
    while let Some(called) = callers.join_next().await {
        calls += called??;
    }
    Ok(calls)
}

/// Pushes all that `next` gives, by its number, on one stream; returns how many that were.
pub(super) async fn stream(pusher: &ApiClient, next: impl Fn(u64) -> Option<PublishRequest>) -> Result<u64> {
    // queue: pushes of a bench's stream
    let (requests, receiver) = mpsc::channel(READY);
    let mut answers = pusher.publish_stream(ReceiverStream::new(receiver));
    let mut requests = Some(requests);
    let (mut sent, mut answered) = (0, 0);
    loop {
        while let Some(sender) = requests.as_ref().filter(|_| sent - answered < WINDOW as u64) {
            let Ok(place) = sender.try_reserve() else { break };
            let Some(publish) = next(sent) else {
                drop(place);
                requests = None;
                break;
            };
            place.send(PublishStreamRequest { publish: Some(publish) });
            sent += 1;
        }
        if requests.is_none() && answered == sent {
            return Ok(sent);
        }
        let answer = tokio::time::timeout(PATIENCE, answers.next()).await.context("no answer in time")??;
        let answer = answer.context("the stream has ended early")?;
        ensure!(matches!(answer.result, Some(Answer::Published(_))), "a push was refused: {answer:?}");
        answered += 1;
    }
}

fn request(channel: &str) -> PublishRequest {
    of_json(channel, "{\"hello\":\"world\"}".to_owned())
}

/// A push that nobody waits for.
pub(super) fn of_json(channel: &str, json: String) -> PublishRequest {
    PublishRequest {
        target: Some(Target { kind: Some(Kind::Channel(channel.to_owned())) }),
        message: Some(Message { payload: Some(Payload::Json(json)), ..Default::default() }),
        ..Default::default()
    }
}
