//! What nodes cost the owner of channels with history: to be followed, and to say what was missed.

use anyhow::{Result, bail, ensure};
use fanfare_cluster::channel::{Epoch, StreamPosition};
use fanfare_proto::link::open_request::Message as Said;
use fanfare_proto::link::open_response::Message as Heard;
use fanfare_proto::link::{self, Follow, Recover};
use tokio::runtime::Runtime;

use super::link_node::LinkNode;
use super::recovery::fill;
use super::server::LinkedServer;
use super::speech::MISSED;
use super::usage::{cpu_time, micros, settled_memory, wait_until_idle};
use crate::cli::BenchArguments;

/// Channels that are followed, for each connection that there is elsewhere.
const CHANNELS: usize = 10;
/// The channel of which something was missed.
const CHANNEL: &str = "kept:missed";
/// Questions that wait for their answer, as a node's follows of a new link.
const WINDOW: usize = 1_024;
/// What a node takes for one subscription.
const LIMIT: u32 = 300;
const MAX_BYTES: u32 = 480 << 10;

/// CPU time of the server for each, in microseconds, and memory for each channel, in bytes.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Owner {
    pub(super) channels: usize,
    pub(super) follow_cpu_us: f64,
    pub(super) bytes_per_channel: f64,
    /// Where the owner keeps what it has read for a moment, because the channel is followed.
    pub(super) recover_cpu_us: f64,
    /// Where it reads the history each time.
    pub(super) read_recover_cpu_us: f64,
}

pub(super) fn measure(arguments: &BenchArguments, runtime: &Runtime) -> Result<Owner> {
    let mut linked = LinkedServer::start(arguments.shards, runtime)?;
    let pid = linked.server.part.pid();
    let channels = CHANNELS * arguments.connections;
    runtime.block_on(follow(&mut linked.node, "kept:first", WINDOW))?;
    let (empty, before) = (settled_memory(pid)?, cpu_time(pid)?);
    runtime.block_on(follow(&mut linked.node, "kept:quiet", channels))?;
    let follow_cpu_us = micros(cpu_time(pid)? - before) / channels as f64;
    let bytes_per_channel = settled_memory(pid)?.saturating_sub(empty) as f64 / channels as f64;

    let top = runtime.block_on(fill(&linked.server, CHANNEL, arguments.size))?;
    let epoch: Epoch = top.epoch.parse()?;
    let since = StreamPosition { epoch, offset: top.offset - MISSED as u64 };
    let cost = |node: &mut LinkNode| -> Result<f64> {
        runtime.block_on(recover(node, since.into(), WINDOW))?;
        wait_until_idle(pid)?;
        let before = cpu_time(pid)?;
        runtime.block_on(recover(node, since.into(), channels))?;
        Ok(micros(cpu_time(pid)? - before) / channels as f64)
    };
    let node = &mut linked.node;
    let read_recover_cpu_us = cost(node)?;
    runtime.block_on(node.ask(1, 1, |_| vec![following(CHANNEL.to_owned())], is_following))?;
    let recover_cpu_us = cost(node)?;
    Ok(Owner { channels, follow_cpu_us, bytes_per_channel, recover_cpu_us, read_recover_cpu_us })
}

async fn follow(node: &mut LinkNode, name: &str, count: usize) -> Result<()> {
    node.ask(count, WINDOW, |number| vec![following(format!("{name}-{number}"))], is_following).await
}

fn following(channel: String) -> Said {
    Said::Follow(Follow { channel, position: None })
}

fn is_following(heard: &Heard) -> Result<bool> {
    match heard {
        Heard::Following(following) => {
            ensure!(following.position.is_some(), "a channel has no history");
            Ok(true)
        }
        Heard::NotOwner(_) => bail!("the replica does not own its channels"),
        _ => Ok(false),
    }
}

async fn recover(node: &mut LinkNode, since: link::StreamPosition, count: usize) -> Result<()> {
    let question = |ticket: usize| {
        let channel = CHANNEL.to_owned();
        let (ticket, since) = (ticket as u64, Some(since));
        vec![Said::Recover(Recover {
            ticket,
            channel,
            since,
            limit: LIMIT,
            max_bytes: MAX_BYTES,
            latest: false,
        })]
    };
    let is_answer = |heard: &Heard| match heard {
        Heard::Recovered(recovered) => {
            let publications = recovered.publications.len();
            ensure!(
                recovered.complete && publications == MISSED,
                "{publications} were recovered: {recovered:?}"
            );
            Ok(true)
        }
        _ => Ok(false),
    };
    node.ask(count, WINDOW, question, is_answer).await
}
