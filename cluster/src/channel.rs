//! What a channel is to every process: its name, its options, and places in its stream.

mod name;
mod options;

pub use name::{ChannelName, InvalidChannelName, MAX_CHANNEL_BYTES, MAX_USER_BYTES};
pub use options::{ChannelOptions, DataFormat, InvalidData, MAX_PUBLICATION_BYTES};
