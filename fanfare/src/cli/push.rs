//! The arguments of `fanfare push`.

use clap::{Args, ValueEnum};
use fanfare_cluster::quantity::Span;

use super::api::after_help;
use super::{EndpointArguments, Output};

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Wait {
    /// Until the message has its place and is on its way
    #[default]
    Accepted,
    /// Until every socket that was asked has taken the bytes
    Written,
}

const USAGE: &str = "fanfare push [OPTIONS] CHANNEL DATA\n       \
    fanfare push [OPTIONS] --user USER DATA\n       \
    fanfare push [OPTIONS] --connection ID DATA\n       \
    fanfare push [OPTIONS] -";
const EXAMPLES: &str = "  fanfare push news '{\"hello\": \"world\"}'\n  \
    fanfare push --user 42 '{\"mail\": 1}' --wait written\n  \
    fanfare push --connection 0b2e43a1-… '{\"only\": \"you\"}'\n\n  \
    One message per line of standard input, all on one stream:\n  \
    tail -f events.jsonl | fanfare push news -\n  \
    fanfare push --user 42 - < mails.jsonl\n\n  \
    The same, but each line says for whom it is:\n  \
    echo '{\"channel\": \"news\", \"data\": 1}' | fanfare push -\n  \
    echo '{\"user\": \"42\", \"data\": {\"mail\": 1}, \"tags\": {\"kind\": \"mail\"}}' | fanfare push -";

#[derive(Debug, Args)]
#[command(override_usage = USAGE, after_help = after_help(EXAMPLES), disable_version_flag = true)]
pub(crate) struct PushArguments {
    /// The channel, unless --user or --connection is given, and the data: JSON unless --binary; - in place of
    /// the data reads standard input
    #[arg(value_names = ["CHANNEL", "DATA"], num_args = 1..=2, required = true, allow_negative_numbers = true)]
    pub(crate) words: Vec<String>,
    /// What else is said about the message
    #[command(flatten)]
    pub(crate) message: MessageArguments,
    #[command(flatten)]
    pub(crate) keep: KeepArguments,
    /// Stop at the first line of standard input that fails
    #[arg(long)]
    pub(crate) fail_fast: bool,
    /// How to print the answer
    #[arg(short, long, value_enum, default_value_t)]
    pub(crate) output: Output,
    #[command(flatten)]
    pub(crate) endpoint: EndpointArguments,
}

/// For whom a message is, and what is said about it.
#[derive(Debug, Args)]
pub(crate) struct MessageArguments {
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
    pub(crate) wait_timeout: Span,
    /// A label beside the data; can be given several times
    #[arg(long = "tag", value_name = "KEY=VALUE")]
    pub(crate) tags: Vec<String>,
    /// A connection that shall not get the message; can be given several times
    #[arg(long = "exclude", value_name = "ID")]
    pub(crate) exclude: Vec<String>,
    /// The data is not JSON
    #[arg(long)]
    pub(crate) binary: bool,
}

/// What a message says of its channel's history.
#[derive(Debug, Args)]
pub(crate) struct KeepArguments {
    /// A push that is repeated with the same key is not delivered again
    #[arg(long, value_name = "KEY")]
    pub(crate) idempotency_key: Option<String>,
    /// How long the history keeps the message, if that is shorter than its namespace says
    #[arg(long, value_name = "DURATION")]
    pub(crate) ttl: Option<Span>,
    /// The version of the state that the message carries: not delivered if the channel has seen a newer one
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) version: Option<u64>,
    /// Versions are compared within their epoch only
    #[arg(long, value_name = "EPOCH", requires = "version")]
    pub(crate) version_epoch: Option<String>,
    /// Do not keep the message in the history
    #[arg(long)]
    pub(crate) no_store: bool,
}
