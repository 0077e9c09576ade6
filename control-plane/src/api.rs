//! The public gRPC API of a replica.

mod asked;
mod cluster_service;
mod connection_list;
mod connection_service;
mod deadline;
pub(crate) mod edge;
mod guard;
mod handshakes;
mod history_service;
pub(crate) mod keys;
mod methods;
pub(crate) mod opening;
mod pages;
mod presence_answers;
mod presence_service;
mod presence_watch;
mod push_service;
mod push_stream;
mod receipt;
mod status;

pub(crate) use cluster_service::ClusterApi;
pub(crate) use connection_service::ConnectionApi;
pub(crate) use guard::Door;
pub(crate) use history_service::HistoryApi;
pub(crate) use presence_service::PresenceApi;
pub(crate) use push_service::PushApi;
pub(crate) use receipt::answer;
