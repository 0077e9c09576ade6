//! What every Fanfare process must agree on: names, placement, the registry, and how processes dial each other.

pub mod admin;
pub mod bind;
pub mod byte_queue;
pub mod channel;
pub mod connection_id;
pub mod dial;
pub mod member;
pub mod placement;
pub mod quantity;
pub mod registry;
pub mod rendezvous;
pub mod tasks;
pub mod tls;
