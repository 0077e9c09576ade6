//! The measurements, in turn: memory and connects, one subscriber, fan-out one at a time and sixteen in flight.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use fanfare_proto::v1::{Message, PublishRequest, Target, WaitFor, message::Payload, target::Kind};
use tokio::runtime::Runtime;
use tokio::task::JoinSet;

use super::bare_loop::BareLoop;
use super::doors::{self, Doors};
use super::part::{OTHER_CORE, Part};
use super::pushes::{self, Pushes};
use super::server::Server;
use super::usage::{SETTLE, cpu_time, micros, settled_memory};
use crate::cli::BenchArguments;
use crate::client::ApiClient;

/// The channel that everybody subscribes to, and the one with a single subscriber.
const CROWD: &str = "crowd";
const SINGLE: &str = "single";
/// Pushes under way at the same time, in the second fan-out.
pub(super) const IN_FLIGHT: usize = 16;
/// A frame's header in front of a message of this size.
pub(super) const FRAME_HEADER: usize = 4;
/// Pushes to warm up before anything counts.
const WARM_UP: usize = 20;
/// How long the server and the bare loop take turns for.
const ROUND: Duration = Duration::from_secs(1);

/// Push to receipt, in microseconds.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Latency {
    pub(super) p50: f64,
    pub(super) p99: f64,
}

/// A fan-out.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct FanOut {
    pub(super) deliveries: u64,
    pub(super) per_cpu_second: f64,
    pub(super) floor_per_cpu_second: f64,
    /// The server's deliveries per CPU second as a share of the bare loop's.
    pub(super) of_floor: f64,
    pub(super) latency: Latency,
}

/// What was measured.
#[derive(Clone, Debug, Default)]
pub(super) struct Figures {
    pub(super) connections: usize,
    pub(super) size: usize,
    pub(super) shards: usize,
    pub(super) connect_cpu_us: f64,
    pub(super) bytes_idle: f64,
    pub(super) bytes_after_traffic: f64,
    pub(super) single: Latency,
    pub(super) one_at_a_time: FanOut,
    pub(super) in_flight: FanOut,
    pub(super) pushes: Pushes,
    pub(super) doors: Doors,
}

/// A load of pushes to one channel.
#[derive(Clone, Copy, Debug)]
struct Load {
    channel: &'static str,
    subscribers: usize,
    in_flight: usize,
    size: usize,
}

pub(super) fn run(arguments: &BenchArguments) -> Result<Figures> {
    // A thread of its own, so that the connection answers keepalives also between measurements.
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    pin_self()?;
    let mut figures = Figures {
        connections: arguments.connections,
        size: arguments.size,
        shards: arguments.shards,
        ..Figures::default()
    };
    measure_server(arguments, &runtime, &mut figures)?;
    figures.pushes = pushes::measure(arguments, &runtime)?;
    figures.doors = doors::measure(arguments, &runtime)?;
    Ok(figures)
}

fn measure_server(arguments: &BenchArguments, runtime: &Runtime, figures: &mut Figures) -> Result<()> {
    let mut server = Server::start(arguments.shards, &[], runtime)?;
    let single = Part::clients(1, server.clients, &[format!("--channel={SINGLE}")])?;
    let size = arguments.size;
    let load = Load { channel: SINGLE, subscribers: 1, in_flight: 1, size };
    server.push_for(runtime, load, Duration::from_secs(1))?;
    figures.single = server.push_for(runtime, load, Duration::from_secs(arguments.seconds))?.latency;
    drop(single);

    let empty = settled_memory(server.part.pid())?;
    let cpu = cpu_time(server.part.pid())?;
    let mut crowd = Part::clients(arguments.connections, server.clients, &[format!("--channel={CROWD}")])?;
    let per_connection = |bytes: u64| bytes.saturating_sub(empty) as f64 / arguments.connections as f64;
    figures.connect_cpu_us = micros(cpu_time(server.part.pid())? - cpu) / arguments.connections as f64;
    figures.bytes_idle = per_connection(settled_memory(server.part.pid())?);

    let load = Load { channel: CROWD, subscribers: arguments.connections, in_flight: 1, size };
    for _ in 0..WARM_UP {
        server.push_for(runtime, load, Duration::ZERO)?;
    }
    let mut rounds = Rounds::default();
    let mut floor = BareLoop::start(arguments)?;
    for _ in 0..arguments.seconds {
        rounds.one_at_a_time.push((floor.measure(1)?, server.push_for(runtime, load, ROUND)?));
        let many = Load { in_flight: IN_FLIGHT, ..load };
        rounds.in_flight.push((floor.measure(IN_FLIGHT)?, server.push_for(runtime, many, ROUND)?));
    }
    drop(floor);
    figures.one_at_a_time = summary(&rounds.one_at_a_time);
    figures.in_flight = summary(&rounds.in_flight);
    figures.bytes_after_traffic = per_connection(settled_memory(server.part.pid())?);

    let sent = figures.one_at_a_time.deliveries
        + figures.in_flight.deliveries
        + (WARM_UP * arguments.connections) as u64;
    ensure_received(&mut crowd, sent)
}

/// The bare loop's deliveries per CPU second and the server's fan-out, in turn: the machine's speed drifts
/// within seconds, so that only neighbours can be compared.
#[derive(Default)]
struct Rounds {
    one_at_a_time: Vec<(f64, FanOut)>,
    in_flight: Vec<(f64, FanOut)>,
}

/// The median of each figure, and of the ratios round by round.
fn summary(rounds: &[(f64, FanOut)]) -> FanOut {
    let median_of = |figure: &dyn Fn(&(f64, FanOut)) -> f64| {
        let mut figures: Vec<f64> = rounds.iter().map(figure).collect();
        figures.sort_by(f64::total_cmp);
        figures[figures.len() / 2]
    };
    FanOut {
        deliveries: rounds.iter().map(|(_, fan_out)| fan_out.deliveries).sum(),
        per_cpu_second: median_of(&|(_, fan_out)| fan_out.per_cpu_second),
        floor_per_cpu_second: median_of(&|(floor, _)| *floor),
        of_floor: median_of(&|(floor, fan_out)| fan_out.per_cpu_second / floor),
        latency: Latency {
            p50: median_of(&|(_, fan_out)| fan_out.latency.p50),
            p99: median_of(&|(_, fan_out)| fan_out.latency.p99),
        },
    }
}

/// Every delivery that was reported as written must have reached its client, plus the reply to each connect.
fn ensure_received(crowd: &mut Part, sent: u64) -> Result<()> {
    let started = Instant::now();
    loop {
        let answer = crowd.ask("count")?;
        let frames: u64 = answer.split(' ').next().unwrap_or_default().parse()?;
        if frames == sent {
            return Ok(());
        }
        ensure!(frames < sent, "clients have received {frames} messages, but only {sent} were sent");
        ensure!(started.elapsed() < SETTLE, "clients have received {frames} messages of {sent}");
    }
}

impl Server {
    /// Pushes for a while, at least once, with so many pushes under way. Each waits until all subscribers
    /// have been written to.
    fn push_for(&mut self, runtime: &Runtime, load: Load, time: Duration) -> Result<FanOut> {
        let cpu = cpu_time(self.part.pid())?;
        let pusher = self.pusher.clone();
        let mut times = runtime.block_on(async move {
            let started = Instant::now();
            let mut pushers = JoinSet::new();
            for _ in 0..load.in_flight {
                pushers.spawn(push_until(pusher.clone(), load, started + time));
            }
            let mut times = Vec::new();
            while let Some(done) = pushers.join_next().await {
                times.extend(done??);
            }
            Ok::<_, anyhow::Error>(times)
        })?;
        let cpu = cpu_time(self.part.pid())? - cpu;
        let deliveries = (times.len() * load.subscribers) as u64;
        times.sort_unstable();
        let at = |share: f64| micros(times[((times.len() - 1) as f64 * share) as usize]);
        Ok(FanOut {
            deliveries,
            per_cpu_second: deliveries as f64 / cpu.as_secs_f64(),
            floor_per_cpu_second: 0.0,
            of_floor: 0.0,
            latency: Latency { p50: at(0.5), p99: at(0.99) },
        })
    }
}

async fn push_until(pusher: ApiClient, load: Load, end: Instant) -> Result<Vec<Duration>> {
    let mut times = Vec::new();
    loop {
        let pushed = Instant::now();
        let receipt = pusher.publish(request(load.channel, load.size)).await?;
        let receipt = receipt.receipt.unwrap_or_default();
        let Load { subscribers, .. } = load;
        ensure!(
            receipt.written == subscribers as u64,
            "{} of {subscribers} were written to",
            receipt.written
        );
        times.push(pushed.elapsed());
        if Instant::now() >= end {
            return Ok(times);
        }
    }
}

/// The size of a frame that subscribers get is that of the bare loop's messages.
fn request(channel: &str, size: usize) -> PublishRequest {
    const ENVELOPE: &str = r#"{"push":{"channel":"crowd","pub":{"data":""}}}"#;
    let filling = size.saturating_sub(FRAME_HEADER + ENVELOPE.len());
    PublishRequest {
        target: Some(Target { kind: Some(Kind::Channel(channel.to_owned())) }),
        message: Some(Message {
            payload: Some(Payload::Json(format!("\"{}\"", "x".repeat(filling)))),
            ..Default::default()
        }),
        wait_for: WaitFor::Written.into(),
        ..Default::default()
    }
}

/// The pusher must not take the server's core.
fn pin_self() -> Result<()> {
    let pid = std::process::id().to_string();
    let mut command = std::process::Command::new("taskset");
    let pinned = command.args(["-a", "-p", "-c", &OTHER_CORE.to_string(), &pid]).output();
    let pinned = pinned.context("cannot choose a core: is taskset installed?")?;
    ensure!(pinned.status.success(), "cannot choose a core: {}", String::from_utf8_lossy(&pinned.stderr));
    Ok(())
}
