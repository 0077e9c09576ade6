//! A fan-out: pushes to a crowd, and what a delivery costs the server.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use fanfare_proto::v1::{Message, PublishRequest, Target, WaitFor, message::Payload, target::Kind};
use tokio::runtime::Runtime;
use tokio::task::JoinSet;

use super::part::Part;
use super::server::{KEPT, Server};
use super::usage::{SETTLE, cpu_time, median, micros};
use crate::client::ApiClient;

/// Pushes under way at the same time, in the second fan-out.
pub(super) const IN_FLIGHT: usize = 16;
/// A frame's header in front of a message of this size.
pub(super) const FRAME_HEADER: usize = 4;
/// Pushes to warm up before anything counts.
pub(super) const WARM_UP: usize = 20;
/// How long those that are compared take turns for.
pub(super) const ROUND: Duration = Duration::from_secs(1);

/// Push to receipt, in microseconds.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Latency {
    pub(super) p50: f64,
    pub(super) p99: f64,
}

impl Latency {
    /// Of at least one.
    pub(super) fn of(mut times: Vec<Duration>) -> Self {
        times.sort_unstable();
        let at = |share: f64| micros(times[((times.len() - 1) as f64 * share) as usize]);
        Self { p50: at(0.5), p99: at(0.99) }
    }
}

/// A fan-out.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct FanOut {
    pub(super) deliveries: u64,
    pub(super) per_cpu_second: f64,
    /// Of what it takes turns with.
    pub(super) beside_per_cpu_second: f64,
    /// Its deliveries per CPU second as a share of those beside it.
    pub(super) of_beside: f64,
    pub(super) latency: Latency,
}

/// A load of pushes to one channel.
#[derive(Clone, Copy, Debug)]
pub(super) struct Load {
    pub(super) channel: &'static str,
    pub(super) subscribers: usize,
    pub(super) in_flight: usize,
    pub(super) size: usize,
}

impl Server {
    /// Pushes for a while, at least once, with so many pushes under way. Each waits until all subscribers
    /// have been written to.
    pub(super) fn push_for(&mut self, runtime: &Runtime, load: Load, time: Duration) -> Result<FanOut> {
        let cpu = cpu_time(self.part.pid())?;
        let pusher = self.pusher.clone();
        let times = runtime.block_on(async move {
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
        Ok(FanOut {
            deliveries,
            per_cpu_second: deliveries as f64 / cpu.as_secs_f64(),
            beside_per_cpu_second: 0.0,
            of_beside: 0.0,
            latency: Latency::of(times),
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
    PublishRequest {
        target: Some(Target { kind: Some(Kind::Channel(channel.to_owned())) }),
        message: Some(Message { payload: Some(Payload::Json(data(channel, size))), ..Default::default() }),
        wait_for: WaitFor::Written.into(),
        ..Default::default()
    }
}

/// The data of such a frame, as JSON.
pub(super) fn data(channel: &str, size: usize) -> String {
    // Offsets have other lengths as well: that makes a byte or two.
    let place = if channel.starts_with(KEPT) { r#","offset":1000"# } else { "" };
    let envelope = format!(r#"{{"push":{{"channel":"{channel}","pub":{{"data":""{place}}}}}}}"#);
    let filling = size.saturating_sub(FRAME_HEADER + envelope.len());
    format!("\"{}\"", "x".repeat(filling))
}

/// The median of each figure, and of the ratios round by round.
pub(super) fn summary(rounds: &[(f64, FanOut)]) -> FanOut {
    let median_of = |figure: &dyn Fn(&(f64, FanOut)) -> f64| median(rounds.iter().map(figure));
    FanOut {
        deliveries: rounds.iter().map(|(_, fan_out)| fan_out.deliveries).sum(),
        per_cpu_second: median_of(&|(_, fan_out)| fan_out.per_cpu_second),
        beside_per_cpu_second: median_of(&|(beside, _)| *beside),
        of_beside: median_of(&|(beside, fan_out)| fan_out.per_cpu_second / beside),
        latency: Latency {
            p50: median_of(&|(_, fan_out)| fan_out.latency.p50),
            p99: median_of(&|(_, fan_out)| fan_out.latency.p99),
        },
    }
}

/// Every delivery that was reported as written must have reached its client, plus the reply to each connect.
pub(super) fn ensure_received(crowd: &mut Part, sent: u64) -> Result<()> {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_as_large_with_a_place_in_the_history_as_without() {
        let frame = |channel: &str, place: &str| {
            let data = data(channel, 128);
            format!(r#"{{"push":{{"channel":"{channel}","pub":{{"data":{data}{place}}}}}}}"#).len()
        };
        assert_eq!(frame("crowd", ""), 128 - FRAME_HEADER);
        assert_eq!(frame("kept:crowd", r#","offset":9999"#), 128 - FRAME_HEADER);
    }

    #[test]
    fn the_ratio_is_that_of_neighbours() {
        let round =
            |beside, per_cpu_second| (beside, FanOut { deliveries: 1, per_cpu_second, ..FanOut::default() });
        // The machine is twice as fast in the third round: no ratio changes by that.
        let fan_out = summary(&[round(100.0, 90.0), round(100.0, 80.0), round(200.0, 180.0)]);
        assert_eq!((fan_out.deliveries, fan_out.of_beside), (3, 0.9));
        assert_eq!((fan_out.beside_per_cpu_second, fan_out.per_cpu_second), (100.0, 90.0));
    }
}
