//! How to reach the public API, the same for every command that calls it.

use std::path::PathBuf;

use clap::Args;
use fanfare_cluster::quantity::Span;

/// How to reach the public API.
#[derive(Debug, Args)]
#[command(next_help_heading = "Reaching the API")]
pub(crate) struct EndpointArguments {
    /// Where the public gRPC API is: http://HOST:PORT, or https for TLS
    #[arg(long, value_name = "URL", env = "FANFARE_CLI__ENDPOINT", default_value = "http://127.0.0.1:10000")]
    pub(crate) endpoint: String,
    /// A file that holds the API key; stronger than FANFARE_CLI__API_KEY
    #[arg(long, value_name = "FILE", env = "FANFARE_CLI__API_KEY_FILE")]
    pub(crate) api_key_file: Option<PathBuf>,
    /// Send the key without TLS to another machine, where everyone on the way can read it
    #[arg(long, env = "FANFARE_CLI__ALLOW_KEY_WITHOUT_TLS")]
    pub(crate) allow_key_without_tls: bool,
    /// Authorities that the server's certificate may be from, in PEM, in place of the system's
    #[arg(long, value_name = "FILE", env = "FANFARE_CLI__CA_FILE")]
    pub(crate) ca_file: Option<PathBuf>,
    /// A certificate to show to the server, in PEM
    #[arg(long, value_name = "FILE", env = "FANFARE_CLI__CERT_FILE")]
    pub(crate) cert_file: Option<PathBuf>,
    /// The private key of --cert-file, in PEM
    #[arg(long, value_name = "FILE", env = "FANFARE_CLI__CERT_KEY_FILE")]
    pub(crate) cert_key_file: Option<PathBuf>,
    /// How long connecting may take, and then each call
    #[arg(long, value_name = "DURATION", env = "FANFARE_CLI__TIMEOUT", default_value = "10s")]
    pub(crate) timeout: Span,
}

/// The end of a command's help: its examples, and the one variable that is no option.
pub(super) fn after_help(examples: &str) -> String {
    format!(
        "Examples:\n{examples}\n\nEnvironment:\n  \
        FANFARE_CLI__API_KEY  the API key itself: as an option `ps` would show it\n  \
        Other variables stand beside their options."
    )
}
