//! What can be said on the command line.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

/// Realtime messages to millions of connections.
#[derive(Debug, Parser)]
#[command(name = "fanfare", version, about, propagate_version = true, max_term_width = 100)]
#[command(after_help = "Exit codes: 0 done; 1 failed; 2 used or configured wrongly; \
    64 + the gRPC code if the server refused.\n\nStart here: fanfare serve --dev")]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run both planes in this process
    Serve(ServeArguments),
    /// Push a message to a channel, a user or a connection
    Push(PushArguments),
    /// Check or show the configuration
    Config(ConfigArguments),
    /// Measure a server on this machine beside a bare loop of send(2)
    Bench(BenchArguments),
    /// Print the version
    Version(VersionArguments),
}

#[derive(Debug, Args)]
pub(crate) struct ServeArguments {
    /// For your own machine: loopback only, anyone may connect, subscribe and publish; nothing is kept
    #[arg(long)]
    pub(crate) dev: bool,
    /// The configuration file
    #[arg(long, value_name = "FILE", env = "FANFARE_CONFIG")]
    pub(crate) config: Option<PathBuf>,
    /// Set a key, for example --set client.address=127.0.0.1:9000; stronger than file and environment
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub(crate) set: Vec<String>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    /// For people
    #[default]
    Table,
    /// For programs
    Json,
}

/// How to reach the public API.
#[derive(Debug, Args)]
pub(crate) struct EndpointArguments {
    /// Where the public gRPC API is
    #[arg(long, value_name = "URL", env = "FANFARE_CLI__ENDPOINT", default_value = "http://127.0.0.1:10000")]
    pub(crate) endpoint: String,
    /// How long the call may take
    #[arg(long, value_name = "DURATION", default_value = "10s")]
    pub(crate) timeout: fanfare_cluster::quantity::Span,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Wait {
    /// Until the message has its place and is on its way
    #[default]
    Accepted,
    /// Until every socket that was asked has taken the bytes
    Written,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  fanfare push news '{\"hello\": \"world\"}'\n  \
    fanfare push --user 42 '{\"mail\": 1}' --wait written\n  \
    fanfare push --connection 0b2e43a1-… '{\"only\": \"you\"}'")]
pub(crate) struct PushArguments {
    /// The channel, unless --user or --connection is given, and the data: JSON unless --binary
    #[arg(value_names = ["CHANNEL", "DATA"], num_args = 1..=2, required = true)]
    pub(crate) words: Vec<String>,
    /// Push to all connections of a user
    #[arg(long, value_name = "USER", conflicts_with = "connection")]
    pub(crate) user: Option<String>,
    /// Push to one connection
    #[arg(long, value_name = "ID")]
    pub(crate) connection: Option<String>,
    /// Wait until this has happened
    #[arg(long, value_enum, default_value_t)]
    pub(crate) wait: Wait,
    /// How long to wait for sockets
    #[arg(long, value_name = "DURATION", default_value = "5s")]
    pub(crate) wait_timeout: fanfare_cluster::quantity::Span,
    /// A label beside the data; can be given several times
    #[arg(long = "tag", value_name = "KEY=VALUE")]
    pub(crate) tags: Vec<String>,
    /// A connection that shall not get the message; can be given several times
    #[arg(long = "exclude", value_name = "ID")]
    pub(crate) exclude: Vec<String>,
    /// The data is not JSON
    #[arg(long)]
    pub(crate) binary: bool,
    /// How to print the answer
    #[arg(short, long, value_enum, default_value_t)]
    pub(crate) output: Output,
    #[command(flatten)]
    pub(crate) endpoint: EndpointArguments,
}

#[derive(Debug, Args)]
pub(crate) struct ConfigArguments {
    #[command(subcommand)]
    pub(crate) command: ConfigCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ConfigCommand {
    /// Say whether the configuration is good
    Check(ConfigCheckArguments),
    /// Print the configuration that would be used, secrets hidden
    Show(ConfigShowArguments),
}

#[derive(Debug, Args)]
pub(crate) struct ConfigCheckArguments {
    #[command(flatten)]
    pub(crate) source: ServeArguments,
}

#[derive(Debug, Args)]
pub(crate) struct ConfigShowArguments {
    #[command(flatten)]
    pub(crate) source: ServeArguments,
    /// Show the defaults alone
    #[arg(long)]
    pub(crate) defaults: bool,
    /// Print JSON in place of TOML
    #[arg(short, long, value_enum, default_value_t)]
    pub(crate) output: Output,
}

#[derive(Debug, Args)]
pub(crate) struct VersionArguments {
    /// How to print it
    #[arg(short, long, value_enum, default_value_t)]
    pub(crate) output: Output,
}

#[derive(Debug, Args)]
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
}

/// The processes of a measurement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum BenchRole {
    /// Holds the client side of all connections
    Clients,
    /// The bare loop of send(2)
    Floor,
}
