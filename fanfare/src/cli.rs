//! What can be said on the command line.

mod api;
mod bench;
mod connections;
mod history;
mod presence;
mod push;
mod serve;
mod shell;
mod token;

use std::ffi::OsStr;

use clap::builder::Resettable;
use clap::{CommandFactory as _, FromArgMatches as _, Parser, Subcommand, ValueEnum};

pub(crate) use api::EndpointArguments;
pub(crate) use bench::{BenchArguments, BenchPart, BenchRole, Place};
pub(crate) use connections::{
    CallArguments, ConnectionsArguments, ConnectionsCommand, DisconnectArguments, GetArguments,
    ListArguments, NodesArguments, RefreshArguments, RevokeArguments, SubscriptionArguments,
};
pub(crate) use history::{HistoryArguments, HistoryCommand, RemoveArguments};
pub(crate) use presence::{ChannelsArguments, PresenceArguments};
pub(crate) use push::{PushArguments, Wait};
pub(crate) use serve::{ConfigArguments, ConfigCommand, ServeArguments};
pub(crate) use shell::{CompletionArguments, ManArguments};
pub(crate) use token::{ClaimArguments, KeyArguments, LifetimeArguments, TokenArguments};

/// Realtime messages to millions of connections.
#[derive(Debug, Parser)]
#[command(name = "fanfare", version, about, propagate_version = true, max_term_width = 100)]
#[command(after_help = "Exit codes: 0 done; 1 failed; 2 used or configured wrongly; \
    64 + the gRPC code if the server refused.\n\nStart here: fanfare serve --dev")]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

impl Cli {
    /// Reads the command line and its part of the environment, or says what is wrong and ends the process.
    pub(crate) fn read() -> Self {
        let matches = without_empty_variables(Self::command()).get_matches();
        Self::from_arg_matches(&matches).unwrap_or_else(|error| error.exit())
    }
}

/// A variable that is empty counts as not set, as for the configuration.
fn without_empty_variables(command: clap::Command) -> clap::Command {
    let is_empty = |variable: &OsStr| std::env::var_os(variable).is_some_and(|value| value.is_empty());
    command
        .mut_args(|argument| match argument.get_env().is_some_and(is_empty) {
            true => argument.env(Resettable::Reset),
            false => argument,
        })
        .mut_subcommands(without_empty_variables)
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run both planes in this process
    #[command(after_help = serve::after_help("  fanfare serve --dev\n  fanfare serve --config fanfare.toml"))]
    Serve(ServeArguments),
    /// Push a message to a channel, a user or a connection, or one message per line of standard input
    Push(Box<PushArguments>),
    /// Make a token for a client
    Token(Box<TokenArguments>),
    /// List live connections, look at one, and act on their subscriptions and their expiry
    Connections(ConnectionsArguments),
    /// Close connections
    Disconnect(DisconnectArguments),
    /// Refuse the tokens of a user that were issued before a time
    Revoke(RevokeArguments),
    /// Read what a channel remembers, or remove it
    History(HistoryArguments),
    /// Say who is in a channel, or which users are online
    Presence(PresenceArguments),
    /// List the channels that somebody subscribes to
    Channels(ChannelsArguments),
    /// List the data-plane nodes
    Nodes(NodesArguments),
    /// Check or show the configuration
    Config(ConfigArguments),
    /// Measure a server on this machine beside a bare loop of send(2)
    Bench(BenchArguments),
    /// Print completions for a shell
    Completion(CompletionArguments),
    /// Print the manual page, or write the pages of all commands
    Man(ManArguments),
    /// Print the version
    Version(VersionArguments),
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    /// For people
    #[default]
    Table,
    /// For programs
    Json,
}

#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  fanfare version\n  fanfare version -o json")]
pub(crate) struct VersionArguments {
    /// How to print it
    #[arg(short, long, value_enum, default_value_t)]
    pub(crate) output: Output,
}
