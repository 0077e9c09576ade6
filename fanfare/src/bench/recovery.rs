//! What a subscribe costs the server that brings what was missed, beside one that does not.

use anyhow::{Context as _, Result};
use fanfare_proto::v1::StreamPosition;
use tokio::runtime::Runtime;

use super::fan_out::data;
use super::part::Part;
use super::pushes::{of_json, stream};
use super::server::Server;
use super::speech::MISSED;
use super::usage::{cpu_time, micros, wait_until_idle};
use crate::cli::{BenchArguments, Place};

/// The channel that all subscribe to; with a number behind it, that of one client.
const CHANNEL: &str = "kept:missed";
/// Publications that it has: what was missed is not all that there is.
pub(super) const KEPT: usize = 2 * MISSED;
/// Clients to warm up before anything counts.
const WARM_UP: usize = 200;

/// CPU time per subscribe, in microseconds, without that of the connection.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Recovery {
    pub(super) plain_cpu_us: f64,
    pub(super) cpu_us: f64,
    /// Where each has a channel of its own.
    pub(super) own_plain_cpu_us: f64,
    pub(super) own_cpu_us: f64,
}

pub(super) fn measure(arguments: &BenchArguments, runtime: &Runtime) -> Result<Recovery> {
    let server = Server::start(arguments.shards, &[], runtime)?;
    let per_channel = KEPT as u64;
    let all = per_channel * arguments.connections as u64;
    let data = data(CHANNEL, arguments.size);
    runtime.block_on(stream(&server.pusher, |number| {
        let channel = format!("{CHANNEL}-{}", number / per_channel);
        (number < all).then(|| of_json(&channel, data.clone()))
    }))?;
    let top = runtime.block_on(fill(&server, CHANNEL, arguments.size))?;
    let place = Place { epoch: top.epoch, offset: top.offset - MISSED as u64 };
    let any = Place { epoch: String::new(), offset: place.offset };
    let channel = format!("--channel={CHANNEL}");
    let own = format!("--channel={CHANNEL}-{{}}");
    drop(Part::clients(WARM_UP, server.clients, std::slice::from_ref(&channel))?);
    let cost = |manner: &[String]| -> Result<f64> {
        wait_until_idle(server.part.pid())?;
        let before = cpu_time(server.part.pid())?;
        let crowd = Part::clients(arguments.connections, server.clients, manner)?;
        let cost = micros(cpu_time(server.part.pid())? - before) / arguments.connections as f64;
        drop(crowd);
        Ok(cost)
    };
    let connect = cost(&["--connect-only".to_owned()])?;
    Ok(Recovery {
        plain_cpu_us: cost(std::slice::from_ref(&channel))? - connect,
        cpu_us: cost(&[channel, format!("--recover={place}")])? - connect,
        own_plain_cpu_us: cost(std::slice::from_ref(&own))? - connect,
        own_cpu_us: cost(&[own, format!("--recover={any}")])? - connect,
    })
}

/// Publishes what can be missed, and returns where the channel's stream then ends.
pub(super) async fn fill(server: &Server, channel: &str, size: usize) -> Result<StreamPosition> {
    let mut top = None;
    for _ in 0..KEPT {
        top = server.pusher.publish(of_json(channel, data(channel, size))).await?.position;
    }
    top.context("the channel has no history")
}
