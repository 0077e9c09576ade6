//! The arguments of `fanfare serve` and `fanfare config`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::Output;

const ENVIRONMENT: &str = "Environment:\n  \
    FANFARE_SECTION__KEY  any key of the configuration, for example FANFARE_CLIENT__ADDRESS";

/// The end of a command's help.
pub(super) fn after_help(examples: &str) -> String {
    format!("Examples:\n{examples}\n\n{ENVIRONMENT}")
}

#[derive(Debug, Args)]
pub(crate) struct ServeArguments {
    /// For your own machine: loopback only, anyone may connect, subscribe and publish; what is kept
    /// ends with it
    #[arg(long)]
    pub(crate) dev: bool,
    /// The configuration file
    #[arg(long, value_name = "FILE", env = "FANFARE_CONFIG")]
    pub(crate) config: Option<PathBuf>,
    /// Set a key, for example --set client.address=127.0.0.1:9000; stronger than file and environment
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub(crate) set: Vec<String>,
}

#[derive(Debug, Args)]
#[command(after_help = after_help("  fanfare config check --config fanfare.toml\n  fanfare config show --defaults"))]
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
#[command(after_help = after_help("  fanfare config check --config fanfare.toml"))]
pub(crate) struct ConfigCheckArguments {
    #[command(flatten)]
    pub(crate) source: ServeArguments,
}

#[derive(Debug, Args)]
#[command(after_help = after_help("  fanfare config show --config fanfare.toml\n  \
    fanfare config show --defaults -o json"))]
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
