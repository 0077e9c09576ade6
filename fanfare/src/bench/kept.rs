//! A fan-out in a channel with history beside one without, to the same sockets.

use std::time::Duration;

use anyhow::Result;
use tokio::runtime::Runtime;

use super::fan_out::{FanOut, IN_FLIGHT, Load, ROUND, WARM_UP, ensure_received, summary};
use super::part::Part;
use super::server::Server;
use crate::cli::BenchArguments;

/// The channel without history, and the one with.
const PLAIN: &str = "crowd";
const KEPT: &str = "kept:crowd";
/// Rounds for each that other measurements have, and one more, so that one is in the middle: a few per cent are what is
/// looked for.
const ROUNDS: u64 = 2;

/// The fan-out in the channel with history; what is beside it is the one without.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Kept {
    pub(super) one_at_a_time: FanOut,
    pub(super) in_flight: FanOut,
}

pub(super) fn measure(arguments: &BenchArguments, runtime: &Runtime) -> Result<Kept> {
    let mut server = Server::start(arguments.shards, &[], runtime)?;
    let BenchArguments { connections, size, .. } = *arguments;
    let manner = [PLAIN, KEPT].map(|channel| format!("--channel={channel}"));
    let mut crowd = Part::clients(connections, server.clients, &manner)?;
    let plain = Load { channel: PLAIN, subscribers: connections, in_flight: 1, size };
    let kept = Load { channel: KEPT, ..plain };
    for load in std::iter::repeat_n([plain, kept], WARM_UP).flatten() {
        server.push_for(runtime, load, Duration::ZERO)?;
    }
    let (mut sent, mut rounds) = ((2 * WARM_UP * connections) as u64, [Vec::new(), Vec::new()]);
    for number in 0..=ROUNDS * arguments.seconds {
        for (rounds, in_flight) in rounds.iter_mut().zip([1, IN_FLIGHT]) {
            let mut push = |load| server.push_for(runtime, Load { in_flight, ..load }, ROUND);
            // Whoever comes second has it no better than whoever comes first.
            let (without, with) = if number % 2 == 0 {
                (push(plain)?, push(kept)?)
            } else {
                let with = push(kept)?;
                (push(plain)?, with)
            };
            sent += without.deliveries + with.deliveries;
            rounds.push((without.per_cpu_second, with));
        }
    }
    ensure_received(&mut crowd, sent)?;
    let [one_at_a_time, in_flight] = rounds.map(|rounds| summary(&rounds));
    Ok(Kept { one_at_a_time, in_flight })
}
