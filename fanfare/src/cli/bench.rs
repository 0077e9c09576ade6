//! The arguments of `fanfare bench`.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;

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
    /// The redis-server that keeps a history; without one the PATH and .tools/stores are looked through
    #[arg(long, value_name = "PATH")]
    pub(crate) redis_server: Option<PathBuf>,
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
    /// A channel to subscribe to, with `{}` for the connection's number
    #[arg(long, hide = true)]
    pub(crate) channel: Vec<String>,
    /// What a subscriber has had of it, as `EPOCH:OFFSET`: it asks for what came later
    #[arg(long, hide = true)]
    pub(crate) recover: Option<Place>,
    /// The connections subscribe to nothing; without this, a channel or tokens they speak no protocol
    #[arg(long, hide = true)]
    pub(crate) connect_only: bool,
    /// Each connection shows the token of a user of its own
    #[arg(long, hide = true)]
    pub(crate) tokens: bool,
    /// The connections speak TLS, and trust this certificate
    #[arg(long, hide = true)]
    pub(crate) root: Option<PathBuf>,
}

/// The processes of a measurement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum BenchRole {
    /// Holds the client side of all connections
    Clients,
    /// The bare loop of send(2)
    Floor,
}

/// A place in a channel's stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    /// Empty if any stream is meant.
    pub(crate) epoch: String,
    pub(crate) offset: u64,
}

impl FromStr for Place {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parts = text.rsplit_once(':').and_then(|(epoch, offset)| Some((epoch, offset.parse().ok()?)));
        let (epoch, offset) = parts.ok_or_else(|| format!("{text} is not EPOCH:OFFSET"))?;
        Ok(Self { epoch: epoch.to_owned(), offset })
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.epoch, self.offset)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_survives_being_an_argument() {
        for (epoch, offset) in [("", 0), ("3b-x:y", 17)] {
            let place = Place { epoch: epoch.to_owned(), offset };
            assert_eq!(place.to_string().parse(), Ok(place));
        }
        assert!("17".parse::<Place>().is_err() && "x:".parse::<Place>().is_err());
    }
}
