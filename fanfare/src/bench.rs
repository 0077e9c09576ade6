//! `fanfare bench`: what a delivery and a connection cost, beside a bare loop of send(2) in the same run.
//!
//! The server, its clients and the bare loop are processes of their own, the server and the bare loop on
//! one core, everything else on another. Costs are CPU time and bytes of the server's process, as the
//! kernel counts them, so that a busy machine changes them less than it changes times.

mod bare_loop;
mod clients;
mod doors;
mod fan_out;
mod floor;
mod kept;
mod link_node;
mod measure;
mod members;
mod owner;
mod part;
mod pushes;
mod recovery;
mod report;
mod server;
mod speech;
mod store;
mod streams;
mod usage;

use crate::cli::{BenchArguments, BenchRole};
use crate::exit::Failure;

pub(crate) fn run(arguments: &BenchArguments) -> Result<(), Failure> {
    match arguments.part.role {
        Some(BenchRole::Clients) => Ok(clients::run(arguments)?),
        Some(BenchRole::Floor) => Ok(floor::run(arguments)?),
        None => {
            let figures = measure::run(arguments)?;
            report::print(&figures, arguments.output)
        }
    }
}
