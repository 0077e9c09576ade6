//! The arguments of `fanfare bench`.

use std::net::SocketAddr;

use clap::{Args, ValueEnum};

use super::Output;

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  fanfare bench\n  fanfare bench --connections 5000 --size 512 -o json")]
pub(crate) struct BenchArguments {
    /// Connections, each with one subscription
    #[arg(long, default_value_t = 10_000)]
    pub(crate) connections: usize,
    /// Bytes of each message
    #[arg(long, default_value_t = 128)]
    pub(crate) size: usize,
    /// Rounds of a second for each measurement
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) seconds: u64,
    /// Shards of the server
    #[arg(long, default_value_t = 1)]
    pub(crate) shards: usize,
    /// Print JSON in place of a table
    #[arg(short, long, value_enum, default_value_t)]
    pub(crate) output: Output,
    #[command(flatten)]
    pub(crate) part: BenchPart,
}

/// How the bench starts its own processes.
#[derive(Debug, Args)]
pub(crate) struct BenchPart {
    /// Which part of the measurement this process is
    #[arg(long, hide = true, value_enum)]
    pub(crate) role: Option<BenchRole>,
    /// Where the connections of this part go
    #[arg(long, hide = true)]
    pub(crate) target: Option<SocketAddr>,
    /// The channel to subscribe to; without one the connections speak no protocol
    #[arg(long, hide = true)]
    pub(crate) channel: Option<String>,
    /// Each connection shows the token of a user of its own
    #[arg(long, hide = true)]
    pub(crate) tokens: bool,
    /// The connections speak TLS, and trust this certificate
    #[arg(long, hide = true)]
    pub(crate) root: Option<std::path::PathBuf>,
}

/// The processes of a measurement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum BenchRole {
    /// Holds the client side of all connections
    Clients,
    /// The bare loop of send(2)
    Floor,
}
