//! The public gRPC API of a replica.

pub(crate) mod edge;
mod push_service;

pub(crate) use push_service::PushApi;
