//! What it costs to know who is present: each that enters, their number, and pages of them.

use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use fanfare_cluster::connection_id::ConnectionId;
use fanfare_proto::link::open_request::Message as Said;
use fanfare_proto::link::open_response::Message as Heard;
use fanfare_proto::link::{Enter, Member, ReadPresence};
use fanfare_proto::v1::{GetPresenceRequest, GetPresenceStatsRequest};
use tokio::runtime::Runtime;

use super::fan_out::Latency;
use super::link_node::LinkNode;
use super::server::{LinkedServer, Server};
use super::usage::{cpu_time, micros, settled_memory};
use crate::cli::BenchArguments;
use crate::client::ApiClient;

/// Members of the large channel, for each connection that there is elsewhere.
const MEMBERS: usize = 10;
/// The large channel, and a small one to compare with.
const MANY: &str = "present:many";
const FEW: &str = "present:few";
/// Members of the small channel and of a page, and those that enter between two questions how many there are: enters
/// have no answer, so the pace is that of the questions.
const THOUSAND: usize = 1_000;
/// Such questions that wait for their answer.
const WINDOW: usize = 4;
/// Pages that are read at least.
const PAGES: usize = 200;

/// CPU time of the server for each, in microseconds, and memory for each member, in bytes.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Members {
    pub(super) members: usize,
    pub(super) enter_cpu_us: f64,
    pub(super) bytes_per_member: f64,
    pub(super) few_stats_cpu_us: f64,
    pub(super) stats_cpu_us: f64,
    pub(super) page_cpu_us: f64,
    /// From the call to its answer.
    pub(super) page: Latency,
}

pub(super) fn measure(arguments: &BenchArguments, runtime: &Runtime) -> Result<Members> {
    let mut linked = LinkedServer::start(arguments.shards, runtime)?;
    let pid = linked.server.part.pid();
    let mut figures = Members { members: MEMBERS * arguments.connections, ..Members::default() };
    runtime.block_on(enter(&mut linked.node, FEW, THOUSAND))?;
    let (empty, before) = (settled_memory(pid)?, cpu_time(pid)?);
    runtime.block_on(enter(&mut linked.node, MANY, figures.members))?;
    let per_member = |total: f64| total / figures.members as f64;
    figures.enter_cpu_us = per_member(micros(cpu_time(pid)? - before));
    figures.bytes_per_member = per_member(settled_memory(pid)?.saturating_sub(empty) as f64);

    let server = &linked.server;
    let time = Duration::from_secs(arguments.seconds);
    figures.few_stats_cpu_us = stats(server, runtime, (FEW, THOUSAND), time)?;
    figures.stats_cpu_us = stats(server, runtime, (MANY, figures.members), time)?;
    runtime.block_on(walk(&server.pusher, figures.members))?;
    let (before, mut times) = (cpu_time(pid)?, Vec::new());
    while times.len() < PAGES {
        times.extend(runtime.block_on(walk(&server.pusher, figures.members))?);
    }
    figures.page_cpu_us = micros(cpu_time(pid)? - before) / times.len() as f64;
    figures.page = Latency::of(times);
    Ok(figures)
}

/// So many members, each a user of its own, enter a channel.
async fn enter(node: &mut LinkNode, channel: &str, count: usize) -> Result<()> {
    let incarnation = node.incarnation();
    let one = |number: usize| {
        let connection = ConnectionId::new(incarnation, 0, number).as_bytes().to_vec().into();
        let user = format!("user-{number}");
        let member = Member { connection, user, joined_at_ms: 1_700_000_000_000, ..Default::default() };
        Said::Enter(Enter { channel: channel.to_owned(), member: Some(member), ..Default::default() })
    };
    let some = |number: usize| {
        let first = number * THOUSAND;
        let mut some: Vec<Said> = (first..count.min(first + THOUSAND)).map(one).collect();
        let (ticket, channel) = (number as u64, channel.to_owned());
        some.push(Said::ReadPresence(ReadPresence { ticket, channel, counts_only: true }));
        some
    };
    let is_answer = |heard: &Heard| match heard {
        Heard::PresenceRead(read) => {
            let there = count.min((read.ticket as usize + 1) * THOUSAND);
            ensure!(read.connections as usize == there, "of {there} there are {}", read.connections);
            Ok(true)
        }
        Heard::NotOwner(_) => bail!("the replica does not own its channels"),
        _ => Ok(false),
    };
    node.ask(count.div_ceil(THOUSAND), WINDOW, some, is_answer).await
}

/// What it costs to say how many there are.
fn stats(
    server: &Server,
    runtime: &Runtime,
    (channel, members): (&'static str, usize),
    time: Duration,
) -> Result<f64> {
    let request = move || GetPresenceStatsRequest { channel: channel.to_owned() };
    let answer = runtime.block_on(server.pusher.presence_stats(request()))?;
    ensure!(answer.connections == members as u64, "of {members} there are {}", answer.connections);
    server.cpu_per_call(runtime, time, move |client| async move {
        client.presence_stats(request()).await.map(drop)
    })
}

/// Reads all members of the large channel, page by page; returns how long each took.
async fn walk(client: &ApiClient, members: usize) -> Result<Vec<Duration>> {
    let (mut times, mut read, mut page_token) = (Vec::new(), 0, String::new());
    loop {
        let asked = Instant::now();
        let request = GetPresenceRequest { channel: MANY.to_owned(), page_size: THOUSAND as i32, page_token };
        let page = client.presence(request).await?;
        times.push(asked.elapsed());
        read += page.members.len();
        page_token = page.next_page_token;
        if page_token.is_empty() {
            ensure!(read == members, "of {members} there are {read}");
            return Ok(times);
        }
    }
}
