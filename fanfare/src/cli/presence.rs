//! The arguments of the commands that say who is there: in channels, online, and which channels there are.

use clap::{ArgGroup, Args};

use super::CallArguments;
use super::api::after_help;

const PRESENCE: &str = "  fanfare presence news\n  \
    fanfare presence news --stats\n  \
    fanfare presence --user 42 --user 43\n  \
    fanfare presence news --watch";
const USAGE: &str = "fanfare presence [OPTIONS] CHANNEL\n       \
    fanfare presence [OPTIONS] --user USER";

#[derive(Debug, Args)]
#[command(override_usage = USAGE, after_help = after_help(PRESENCE))]
#[command(group = ArgGroup::new("subject").args(["channel", "users"]).required(true))]
pub(crate) struct PresenceArguments {
    /// The channel, unless --user is given
    #[arg(value_name = "CHANNEL")]
    pub(crate) channel: Option<String>,
    /// A user; can be given several times
    #[arg(long = "user", value_name = "USER")]
    pub(crate) users: Vec<String>,
    /// Count who is in the channel, and list nobody
    #[arg(long, conflicts_with_all = ["users", "watch"])]
    pub(crate) stats: bool,
    /// Go on and print who comes and goes, until it is ended
    #[arg(long)]
    pub(crate) watch: bool,
    #[command(flatten)]
    pub(crate) call: CallArguments,
}

#[derive(Debug, Args)]
#[command(after_help = after_help("  fanfare channels\n  fanfare channels --prefix chat: -o json"))]
pub(crate) struct ChannelsArguments {
    /// Only channels whose names begin so
    #[arg(long, value_name = "TEXT", default_value = "")]
    pub(crate) prefix: String,
    /// Stop after so many
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) limit: Option<u32>,
    #[command(flatten)]
    pub(crate) call: CallArguments,
}
