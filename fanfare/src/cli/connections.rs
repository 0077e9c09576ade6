//! The arguments of the commands that look at connections and nodes, and act on them.

use clap::{ArgGroup, Args, Subcommand};
use fanfare_cluster::quantity::Span;

use super::api::after_help;
use super::{EndpointArguments, Output};

const CONNECTIONS: &str = "  fanfare connections list --user 42\n  \
    fanfare connections get 0b2e43a1-…\n  \
    fanfare connections subscribe --user 42 news\n  \
    fanfare connections refresh --user 42 --expires 1h";

const SUBSCRIBE: &str = "  fanfare connections subscribe --user 42 news\n  \
    fanfare connections subscribe 0b2e43a1-… news";
const SUBSCRIBE_USAGE: &str = "fanfare connections subscribe [OPTIONS] ID CHANNEL\n       \
    fanfare connections subscribe [OPTIONS] --user USER CHANNEL";

const UNSUBSCRIBE: &str = "  fanfare connections unsubscribe --user 42 news\n  \
    fanfare connections unsubscribe 0b2e43a1-… news";
const UNSUBSCRIBE_USAGE: &str = "fanfare connections unsubscribe [OPTIONS] ID CHANNEL\n       \
    fanfare connections unsubscribe [OPTIONS] --user USER CHANNEL";

#[derive(Debug, Args)]
#[command(after_help = after_help(CONNECTIONS))]
pub(crate) struct ConnectionsArguments {
    #[command(subcommand)]
    pub(crate) command: ConnectionsCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ConnectionsCommand {
    /// List connections, those of all nodes unless options say otherwise
    List(ListArguments),
    /// Show what is known of one connection
    Get(GetArguments),
    /// Subscribe connections to a channel, without asking their clients
    #[command(override_usage = SUBSCRIBE_USAGE, after_help = after_help(SUBSCRIBE))]
    Subscribe(SubscriptionArguments),
    /// End the subscriptions of connections to a channel
    #[command(override_usage = UNSUBSCRIBE_USAGE, after_help = after_help(UNSUBSCRIBE))]
    Unsubscribe(SubscriptionArguments),
    /// Change when connections expire, without a token
    Refresh(RefreshArguments),
}

#[derive(Debug, Args)]
#[command(after_help = after_help("  fanfare connections list --user 42\n  \
    fanfare connections list --channel news --older-than 1h --limit 100"))]
pub(crate) struct ListArguments {
    /// Only those of this user
    #[arg(long, value_name = "USER", default_value = "")]
    pub(crate) user: String,
    /// Only those that are subscribed to this channel
    #[arg(long, value_name = "CHANNEL", default_value = "")]
    pub(crate) channel: String,
    /// Only those that this node holds
    #[arg(long, value_name = "NODE", default_value = "")]
    pub(crate) node: String,
    /// Only those whose SDK calls itself so
    #[arg(long, value_name = "NAME", default_value = "")]
    pub(crate) sdk: String,
    /// Only those that have been connected for so long
    #[arg(long, value_name = "DURATION")]
    pub(crate) older_than: Option<Span>,
    /// Only those that have not been connected for so long
    #[arg(long, value_name = "DURATION")]
    pub(crate) younger_than: Option<Span>,
    /// Stop after so many
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) limit: Option<u32>,
    #[command(flatten)]
    pub(crate) call: CallArguments,
}

#[derive(Debug, Args)]
#[command(after_help = after_help("  fanfare connections get 0b2e43a1-…\n  \
    fanfare connections get 0b2e43a1-… -o json"))]
pub(crate) struct GetArguments {
    /// The connection, by the id in its connect reply
    #[arg(value_name = "ID")]
    pub(crate) connection: String,
    #[command(flatten)]
    pub(crate) call: CallArguments,
}

#[derive(Debug, Args)]
pub(crate) struct SubscriptionArguments {
    /// The connection, unless --user is given, and the channel
    #[arg(value_names = ["ID", "CHANNEL"], num_args = 1..=2, required = true)]
    pub(crate) words: Vec<String>,
    /// All connections of a user
    #[arg(long, value_name = "USER")]
    pub(crate) user: Option<String>,
    /// A connection of the user that is left as it is; can be given several times
    #[arg(long = "exclude", value_name = "ID")]
    pub(crate) exclude: Vec<String>,
    #[command(flatten)]
    pub(crate) call: CallArguments,
}

#[derive(Debug, Args)]
#[command(group = ArgGroup::new("subject").args(["connection", "user"]).required(true))]
#[command(group = ArgGroup::new("end").args(["expires", "never"]).required(true))]
#[command(after_help = after_help("  fanfare connections refresh --user 42 --expires 1h\n  \
    fanfare connections refresh 0b2e43a1-… --never"))]
pub(crate) struct RefreshArguments {
    /// The connection, unless --user is given
    #[arg(value_name = "ID")]
    pub(crate) connection: Option<String>,
    /// All connections of a user
    #[arg(long, value_name = "USER")]
    pub(crate) user: Option<String>,
    /// When they expire, counted from now
    #[arg(long, value_name = "DURATION")]
    pub(crate) expires: Option<Span>,
    /// They do not expire any more
    #[arg(long)]
    pub(crate) never: bool,
    #[command(flatten)]
    pub(crate) call: CallArguments,
}

#[derive(Debug, Args)]
#[command(group = ArgGroup::new("subject").args(["user", "connection"]).required(true))]
#[command(after_help = after_help("  fanfare disconnect 42\n  \
    fanfare disconnect 42 --code 4501 --reason 'account closed'\n  \
    fanfare disconnect --connection 0b2e43a1-…"))]
pub(crate) struct DisconnectArguments {
    /// The user, unless --connection is given
    #[arg(value_name = "USER")]
    pub(crate) user: Option<String>,
    /// One connection
    #[arg(long, value_name = "ID")]
    pub(crate) connection: Option<String>,
    /// The close code: clients come back after 3000 to 3499 and 4000 to 4499 and stay away after others;
    /// 3503 unless given
    #[arg(long, value_name = "CODE", value_parser = clap::value_parser!(u32).range(3000..5000))]
    pub(crate) code: Option<u32>,
    /// The close reason, at most 123 bytes
    #[arg(long, value_name = "TEXT", default_value = "")]
    pub(crate) reason: String,
    /// A connection of the user that stays; can be given several times
    #[arg(long = "exclude", value_name = "ID")]
    pub(crate) exclude: Vec<String>,
    #[command(flatten)]
    pub(crate) call: CallArguments,
}

#[derive(Debug, Args)]
#[command(after_help = after_help("  fanfare revoke 42 --for 1h --disconnect\n  \
    fanfare revoke 42 --issued-before 2026-03-01T12:00:00Z --for 30d"))]
pub(crate) struct RevokeArguments {
    /// The user
    #[arg(value_name = "USER")]
    pub(crate) user: String,
    /// Tokens issued before this are refused: RFC 3339 or seconds since 1970; now unless given
    #[arg(long, value_name = "TIME")]
    pub(crate) issued_before: Option<String>,
    /// How long they are refused, counted from now: until the last of them has expired
    #[arg(long = "for", value_name = "DURATION")]
    pub(crate) lasting: Span,
    /// Close the user's connections, too
    #[arg(long)]
    pub(crate) disconnect: bool,
    #[command(flatten)]
    pub(crate) call: CallArguments,
}

#[derive(Debug, Args)]
#[command(after_help = after_help("  fanfare nodes\n  fanfare nodes -o json"))]
pub(crate) struct NodesArguments {
    #[command(flatten)]
    pub(crate) call: CallArguments,
}

/// How a call is made and its answer shown.
#[derive(Debug, Args)]
pub(crate) struct CallArguments {
    /// How to print the answer
    #[arg(short, long, value_enum, default_value_t)]
    pub(crate) output: Output,
    #[command(flatten)]
    pub(crate) endpoint: EndpointArguments,
}
