//! The arguments of `fanfare token`.

use std::path::PathBuf;

use clap::{ArgGroup, Args};
use fanfare_cluster::quantity::Span;

/// What tokens can be signed with.
const ALGORITHMS: [&str; 12] = [
    "HS256", "HS384", "HS512", "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384",
    "EdDSA",
];

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    fanfare token --dev --user 42\n  \
    fanfare token --config fanfare.toml --user 42 --expires 5m --info '{\"name\": \"Ann\"}'\n  \
    fanfare token --secret-file secret --user 42 --channel '$private'\n  \
    fanfare token --private-key-file key.pem --kid 2026-03 --user 42 --channels news,chat\n\n\
    Environment:\n  \
    FANFARE_CONFIG  the configuration file, if no other source of a key is named; the variables of\n                  \
    `fanfare serve`, such as FANFARE_CLIENT__TOKEN__HMAC_SECRET_KEY, count as well then")]
pub(crate) struct TokenArguments {
    /// The claim sub; '' makes a token that names no user
    #[arg(long, value_name = "USER")]
    pub(crate) user: String,
    #[command(flatten)]
    pub(crate) key: KeyArguments,
    #[command(flatten)]
    pub(crate) lifetime: LifetimeArguments,
    #[command(flatten)]
    pub(crate) claims: ClaimArguments,
}

/// What the token is signed with.
#[derive(Debug, Args)]
#[command(group = ArgGroup::new("source"), next_help_heading = "Signing")]
pub(crate) struct KeyArguments {
    /// A file that holds the secret
    #[arg(long, value_name = "FILE", group = "source")]
    pub(crate) secret_file: Option<PathBuf>,
    /// A file that holds a private key in PEM (PKCS#8)
    #[arg(long, value_name = "FILE", group = "source")]
    pub(crate) private_key_file: Option<PathBuf>,
    /// The secret of `fanfare serve --dev`
    #[arg(long, group = "source")]
    pub(crate) dev: bool,
    /// The secret of this configuration: client.token.hmac_secret_key, or that of the key with --kid
    #[arg(long, value_name = "FILE", group = "source")]
    pub(crate) config: Option<PathBuf>,
    /// How to sign; HS256 for a secret, else RS256, ES256, ES384 or EdDSA by the kind of the key
    #[arg(long, value_name = "ALGORITHM", value_parser = ALGORITHMS, ignore_case = true)]
    pub(crate) algorithm: Option<String>,
    /// The id of the key, in the token's header
    #[arg(long, value_name = "ID")]
    pub(crate) kid: Option<String>,
}

/// How long the token is good.
#[derive(Debug, Args)]
#[command(next_help_heading = "Lifetime")]
pub(crate) struct LifetimeArguments {
    /// How long the token is good, counted from now
    #[arg(long, value_name = "DURATION", default_value = "1h")]
    pub(crate) expires: Span,
    /// The token is good for ever
    #[arg(long, conflicts_with = "expires")]
    pub(crate) no_expiry: bool,
}

/// What else the token says.
#[derive(Debug, Args)]
#[command(next_help_heading = "Claims")]
pub(crate) struct ClaimArguments {
    /// What other clients see of the user
    #[arg(long, value_name = "JSON")]
    pub(crate) info: Option<String>,
    /// What only backends see of the user
    #[arg(long, value_name = "JSON")]
    pub(crate) meta: Option<String>,
    /// Make a subscription token for this channel
    #[arg(long, value_name = "CHANNEL", conflicts_with_all = ["channels", "caps", "meta"])]
    pub(crate) channel: Option<String>,
    /// Channels that the server subscribes the connection to, with commas between them
    #[arg(long, value_name = "CHANNELS", value_delimiter = ',')]
    pub(crate) channels: Vec<String>,
    /// What the user may do in which channels
    #[arg(long, value_name = "JSON")]
    pub(crate) caps: Option<String>,
    /// The claim aud
    #[arg(long, value_name = "AUDIENCE")]
    pub(crate) audience: Option<String>,
    /// The claim iss
    #[arg(long, value_name = "ISSUER")]
    pub(crate) issuer: Option<String>,
    /// Any other claim, stronger than all of the above; can be given several times
    #[arg(long = "claim", value_name = "KEY=JSON")]
    pub(crate) claims: Vec<String>,
}
