//! What goes over Fanfare's wires: messages and services generated from the `.proto` files beside this crate.

pub mod raw_json;
pub mod subscription_map;

pub use prost_types::Duration;

/// The public API: `fanfare.v1`.
pub mod v1 {
    #![allow(missing_docs, unreachable_pub, clippy::all, reason = "generated code")]
    tonic::include_proto!("fanfare.v1");
}

/// The link between the planes: `fanfare.link.v1`.
pub mod link {
    #![allow(missing_docs, unreachable_pub, clippy::all, reason = "generated code")]
    tonic::include_proto!("fanfare.link.v1");
}

/// The Centrifuge client protocol: `fanfare.client.v1`.
pub mod client {
    #![allow(missing_docs, unreachable_pub, clippy::all, reason = "generated code")]
    tonic::include_proto!("fanfare.client.v1");
}

/// The descriptors of all packages, encoded as a `FileDescriptorSet`, for reflection and JSON output.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.binpb"));

/// Whether a field has its zero value and is left out of JSON.
fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}
