//! What it costs to keep publications, and to know who is there.

use anyhow::Result;
use tokio::runtime::Runtime;

use super::kept::{self, Kept};
use super::members::{self, Members};
use super::owner::{self, Owner};
use super::pushes::Streamed;
use super::recovery::{self, Recovery};
use super::store;
use crate::cli::BenchArguments;

/// What was measured of it; what pushes cost is with the pushes.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Streams {
    pub(super) fan_out: Kept,
    pub(super) recovery: Recovery,
    pub(super) owner: Owner,
    pub(super) members: Members,
    /// With Redis, if there is one.
    pub(super) store: Option<Streamed>,
}

pub(super) fn measure(arguments: &BenchArguments, runtime: &Runtime) -> Result<Streams> {
    Ok(Streams {
        fan_out: kept::measure(arguments, runtime)?,
        recovery: recovery::measure(arguments, runtime)?,
        owner: owner::measure(arguments, runtime)?,
        members: members::measure(arguments, runtime)?,
        store: store::measure(arguments, runtime)?,
    })
}
