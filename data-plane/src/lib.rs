//! The data plane: holds the sockets, speaks the client protocol, and fans publications out.

mod admission;
mod authenticator;
mod codes;
mod config;
mod connection;
mod encoding;
mod frame;
#[cfg(fuzzing)]
pub mod fuzzing;
mod links;
mod listener;
mod memory;
mod metrics;
mod publication;
mod revocations;
mod session;
mod shard;
pub mod simulation;
mod start;
mod tag_filter;

pub use authenticator::KeyError;
pub use config::{ClientConfig, DataPlaneConfig, DevMode, InvalidClient, TokenConfig, TokenKey};
pub use start::{DataPlane, StartError};
