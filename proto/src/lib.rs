//! What goes over Fanfare's wires: messages and services generated from the `.proto` files beside this crate.

pub mod raw_json;
pub mod subscription_map;

pub use prost_types::{Duration, Timestamp};

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

impl link::Publication {
    /// About how many bytes it holds on to, for queues that are bounded in bytes.
    pub fn weight(&self) -> usize {
        const PER_TAG: usize = 48;
        let tags = self.tags.iter().map(|(key, value)| PER_TAG + key.len() + value.len()).sum::<usize>();
        let publisher = self.publisher.as_ref();
        let publisher = publisher.map_or(0, |one| one.user.len() + one.connection.len() + one.info.len());
        self.data.len() + tags + publisher
    }
}

impl link::Member {
    /// About how many bytes it holds on to.
    pub fn weight(&self) -> usize {
        self.user.len() + self.info.len() + self.channel_info.len()
    }
}

impl link::Deliver {
    /// About how many bytes it holds on to.
    pub fn weight(&self) -> usize {
        const PER_EXCLUDED: usize = 48;
        let publication = self.publication.as_ref().map_or(0, link::Publication::weight);
        publication + self.channel.len() + self.exclude.len() * PER_EXCLUDED
    }
}

/// Whether a field has its zero value and is left out of JSON.
fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}
