//! The arguments of `fanfare history`.

use clap::{Args, Subcommand};

use super::CallArguments;
use super::api::after_help;

const USAGE: &str = "fanfare history [OPTIONS] CHANNEL\n       fanfare history remove [OPTIONS] CHANNEL";
const EXAMPLES: &str = "  fanfare history news\n  \
    fanfare history news --reverse --limit 1\n  \
    fanfare history news --since 9c1de2f0:41 -o json\n  \
    fanfare history '#42'\n  \
    fanfare history remove news";

#[derive(Debug, Args)]
#[command(override_usage = USAGE, after_help = after_help(EXAMPLES))]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub(crate) struct HistoryArguments {
    #[command(subcommand)]
    pub(crate) command: Option<HistoryCommand>,
    /// The channel; '#42' for the personal channel of user 42
    #[arg(value_name = "CHANNEL", required = true)]
    pub(crate) channel: Option<String>,
    /// Begin behind this position, which is not shown itself
    #[arg(long, value_name = "EPOCH:OFFSET")]
    pub(crate) since: Option<String>,
    /// Publications at most
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) limit: u64,
    /// From new to old
    #[arg(long)]
    pub(crate) reverse: bool,
    #[command(flatten)]
    pub(crate) call: CallArguments,
}

#[derive(Debug, Subcommand)]
pub(crate) enum HistoryCommand {
    /// Remove what a channel remembers
    Remove(RemoveArguments),
}

#[derive(Debug, Args)]
#[command(after_help = after_help("  fanfare history remove news\n  fanfare history remove '#42'"))]
pub(crate) struct RemoveArguments {
    /// The channel; '#42' for the personal channel of user 42
    #[arg(value_name = "CHANNEL")]
    pub(crate) channel: String,
    #[command(flatten)]
    pub(crate) call: CallArguments,
}
