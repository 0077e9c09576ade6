//! What a channel is to every process: its name, its namespace, its options.

mod name;
mod namespaces;
mod options;

pub use name::{ChannelName, InvalidChannelName, MAX_CHANNEL_BYTES, MAX_USER_BYTES};
pub use namespaces::{ChannelRules, InvalidNamespaces, Namespace, Namespaces, UnknownNamespace};
pub use options::{ChannelOptions, DataFormat, InvalidData, MAX_PUBLICATION_BYTES};
