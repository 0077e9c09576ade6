//! The measurements, in turn: memory and connects, one subscriber, fan-out one at a time and sixteen in flight; then the rest.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use tokio::runtime::Runtime;

use super::bare_loop::BareLoop;
use super::doors::{self, Doors};
use super::fan_out::{FanOut, IN_FLIGHT, Latency, Load, ROUND, WARM_UP, ensure_received, summary};
use super::part::{OTHER_CORE, Part};
use super::pushes::{self, Pushes};
use super::server::Server;
use super::streams::{self, Streams};
use super::usage::{cpu_time, micros, settled_memory};
use crate::cli::BenchArguments;

/// The channel that everybody subscribes to, and the one with a single subscriber.
const CROWD: &str = "crowd";
const SINGLE: &str = "single";

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
    pub(super) streams: Streams,
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
    figures.streams = streams::measure(arguments, &runtime)?;
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

/// The pusher must not take the server's core.
fn pin_self() -> Result<()> {
    let pid = std::process::id().to_string();
    let mut command = std::process::Command::new("taskset");
    let pinned = command.args(["-a", "-p", "-c", &OTHER_CORE.to_string(), &pid]).output();
    let pinned = pinned.context("cannot choose a core: is taskset installed?")?;
    ensure!(pinned.status.success(), "cannot choose a core: {}", String::from_utf8_lossy(&pinned.stderr));
    Ok(())
}
