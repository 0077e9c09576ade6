//! The public gRPC API of a replica.

mod cluster_service;
mod connection_service;
mod deadline;
pub(crate) mod edge;
mod guard;
mod handshakes;
pub(crate) mod keys;
mod methods;
pub(crate) mod opening;
mod push_service;
mod push_stream;
mod receipt;
mod status;

pub(crate) use cluster_service::ClusterApi;
pub(crate) use connection_service::ConnectionApi;
pub(crate) use guard::Door;
pub(crate) use push_service::PushApi;
pub(crate) use receipt::answer;
