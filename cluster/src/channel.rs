//! What a channel is to every process: its name, its namespace, its options.

mod name;
mod namespaces;
mod options;
mod position;

pub use name::{ChannelName, InvalidChannelName, MAX_CHANNEL_BYTES, MAX_USER_BYTES};
pub use namespaces::{
    ChannelRules, InvalidNamespaces, Namespace, Namespaces, PersonalHistory, UnknownNamespace,
};
pub use options::{
    ChannelOptions, DataFormat, InvalidData, InvalidOption, MAX_PUBLICATION_BYTES, RecoveryMode,
};
pub use position::{Epoch, StreamPosition};
