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

use super::server::{PATIENCE, Server};
use super::usage::{cpu_time, micros};
use crate::cli::BenchArguments;
use crate::client::ApiClient;

/// Calls under way at the same time.
const IN_FLIGHT: usize = 16;
/// Requests of a stream that are on their way to the server's answer; the server lets 4,096 wait.
const WINDOW: usize = 4_096;
/// Requests that wait for the transport.
const READY: usize = 1_024;

/// CPU time of the server per push, in microseconds, and how fast one stream was.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Pushes {
    pub(super) unary_cpu_us: f64,
    pub(super) stream_cpu_us: f64,
    pub(super) stream_per_second: f64,
}

pub(super) fn measure(arguments: &BenchArguments, runtime: &Runtime) -> Result<Pushes> {
    let server = Server::start(arguments.shards, &[], runtime)?;
    let time = Duration::from_secs(arguments.seconds);
    let pid = server.part.pid();
    runtime.block_on(unary(&server.pusher, Duration::from_millis(500)))?;
    let before = cpu_time(pid)?;
    let calls = runtime.block_on(unary(&server.pusher, time))?;
    let unary_cpu_us = micros(cpu_time(pid)? - before) / calls as f64;

    runtime.block_on(stream(&server.pusher, Duration::from_millis(500)))?;
    let (before, began) = (cpu_time(pid)?, Instant::now());
    let messages = runtime.block_on(stream(&server.pusher, time))?;
    let took = began.elapsed();
    let stream_cpu_us = micros(cpu_time(pid)? - before) / messages as f64;
    Ok(Pushes { unary_cpu_us, stream_cpu_us, stream_per_second: messages as f64 / took.as_secs_f64() })
}

async fn unary(pusher: &ApiClient, time: Duration) -> Result<u64> {
    let end = Instant::now() + time;
    let mut callers = JoinSet::new();
    for _ in 0..IN_FLIGHT {
        let pusher = pusher.clone();
        callers.spawn(async move {
            let mut calls = 0;
            while Instant::now() < end {
                pusher.publish(request()).await?;
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

async fn stream(pusher: &ApiClient, time: Duration) -> Result<u64> {
    let end = Instant::now() + time;
    // queue: pushes of a bench's stream
    let (requests, receiver) = mpsc::channel(READY);
    let mut answers = pusher.publish_stream(ReceiverStream::new(receiver));
    let mut requests = Some(requests);
    let (mut sent, mut answered) = (0, 0);
    loop {
        while let Some(sender) = requests.as_ref().filter(|_| sent - answered < WINDOW as u64) {
            if Instant::now() >= end {
                requests = None;
                break;
            }
            let publish = PublishStreamRequest { publish: Some(request()) };
            match sender.try_send(publish) {
                Ok(()) => sent += 1,
                Err(_) => break,
            }
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

fn request() -> PublishRequest {
    PublishRequest {
        target: Some(Target { kind: Some(Kind::Channel("nobody".to_owned())) }),
        message: Some(Message {
            payload: Some(Payload::Json("{\"hello\":\"world\"}".to_owned())),
            ..Default::default()
        }),
        ..Default::default()
    }
}
