//! The measuring side of the bare loop: its two processes, and a round of it that leaves nothing behind.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};

use super::part::{OTHER_CORE, Part, SERVER_CORE, bench_clients};
use crate::cli::BenchArguments;

/// How long readers may take to read what a round has left in their sockets.
const CATCH_UP: Duration = Duration::from_secs(30);

/// The bare loop with its readers.
pub(super) struct BareLoop {
    writer: Part,
    readers: Part,
    sent: u64,
}

impl BareLoop {
    pub(super) fn start(arguments: &BenchArguments) -> Result<Self> {
        let words = [
            format!("--connections={}", arguments.connections),
            format!("--size={}", arguments.size),
            "--role=floor".to_owned(),
        ];
        let words: Vec<String> = std::iter::once("bench".to_owned()).chain(words).collect();
        let mut writer = Part::start(SERVER_CORE, &words)?;
        let address = writer.address_after("floor")?;
        let mut readers = Part::start(OTHER_CORE, &bench_clients(arguments.connections, address))?;
        ensure!(readers.line()? == "ready" && writer.line()? == "ready", "the bare loop is not ready");
        Ok(Self { writer, readers, sent: 0 })
    }

    /// Writes for a round, so many frames a write, and waits until all is read, so that the readers are idle
    /// when the server has its turn. Returns deliveries per CPU second.
    pub(super) fn measure(&mut self, frames: usize) -> Result<f64> {
        let answer = self.writer.ask(&frames.to_string())?;
        let (deliveries, nanoseconds) = answer.split_once(' ').context("two numbers")?;
        let deliveries: u64 = deliveries.parse()?;
        self.sent += deliveries;
        let started = Instant::now();
        while self.readers.ask("count")?.split(' ').next() != Some(&self.sent.to_string()) {
            ensure!(started.elapsed() < CATCH_UP, "the bare loop's readers do not catch up");
        }
        Ok(deliveries as f64 / (nanoseconds.parse::<f64>()? / 1e9))
    }
}
