//! What the configuration says of channels, and the check that a publication has the form it asks for.

use std::time::Duration;

use bytes::Bytes;
use fanfare_proto::raw_json::without_line_breaks;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::quantity::Span;

/// The largest publication, in bytes, whatever other limits say.
pub const MAX_PUBLICATION_BYTES: usize = 512 * 1024;

/// Publications that a channel's history may keep at most.
const MAX_HISTORY_SIZE: u32 = 100_000;

/// The form that a publication's data must have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DataFormat {
    /// Any JSON value.
    #[default]
    Json,
    /// A JSON object.
    JsonObject,
    /// Any bytes. Clients of the JSON protocol may not subscribe.
    Binary,
}

/// How a subscriber gets what it has missed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RecoveryMode {
    /// All of it, in order.
    #[default]
    Stream,
    /// The last publication only: it holds the whole state.
    Cache,
}

/// The options of channels, with the option names that Centrifugo's users know.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ChannelOptions {
    /// What data must look like.
    pub publication_data_format: DataFormat,
    /// Whether clients with a user may subscribe.
    pub allow_subscribe_for_client: bool,
    /// Whether clients without a user may subscribe, where `allow_subscribe_for_client` is on.
    pub allow_subscribe_for_anonymous: bool,
    /// Whether clients with a user may publish.
    pub allow_publish_for_client: bool,
    /// Whether clients without a user may publish, where `allow_publish_for_client` is on.
    pub allow_publish_for_anonymous: bool,
    /// Whether clients may publish that are subscribed, with or without a user.
    pub allow_publish_for_subscriber: bool,
    /// Whether a `#` in a channel's name limits it to the users whose ids follow, separated by commas.
    pub allow_user_limited_channels: bool,
    /// What the part of a name behind its namespace must match; empty if all may be.
    pub channel_regex: String,
    /// Publications per second that a channel takes; 0 if as many as come.
    pub publication_rate_limit: u32,
    /// Publications that the history keeps; 0 if the channel has none.
    pub history_size: u32,
    /// How long the history keeps a publication; 0 if the channel has none.
    pub history_ttl: Span,
    /// Whether subscribers may ask that their position is watched.
    pub allow_positioning: bool,
    /// Whether every subscriber's position is watched.
    pub force_positioning: bool,
    /// Whether subscribers may ask for what they have missed.
    pub allow_recovery: bool,
    /// Whether every subscriber's SDK asks for what it has missed.
    pub force_recovery: bool,
    /// How subscribers get what they have missed.
    pub force_recovery_mode: RecoveryMode,
    /// Whether subscribers get the last publication without asking, where the mode is `cache`.
    pub auto_cache_recover: bool,
    /// Whether clients with a user may read the history.
    pub allow_history_for_client: bool,
    /// Whether clients without a user may read the history, where `allow_history_for_client` is on.
    pub allow_history_for_anonymous: bool,
    /// Whether subscribers may read the history.
    pub allow_history_for_subscriber: bool,
    /// Whether subscribers may ask for publications with certain tags only.
    pub allow_tags_filter: bool,
    /// Whether it is known who is in the channel.
    pub presence: bool,
    /// Whether joins and leaves are told to subscribers that ask for them.
    pub join_leave: bool,
    /// Whether joins and leaves are told to all subscribers.
    pub force_push_join_leave: bool,
    /// How long a connection may be away before its leave is told; 0 if at once.
    pub join_leave_grace: Span,
    /// Whether clients with a user may ask who is present.
    pub allow_presence_for_client: bool,
    /// Whether clients without a user may ask who is present, where `allow_presence_for_client` is on.
    pub allow_presence_for_anonymous: bool,
    /// Whether subscribers may ask who is present.
    pub allow_presence_for_subscriber: bool,
}

/// An option cannot be used as it is set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{option} {why}")]
pub struct InvalidOption {
    option: &'static str,
    why: &'static str,
}

/// Why a publication's data is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidData {
    /// There is none.
    #[error("data must not be empty")]
    Empty,
    /// It has more than [`MAX_PUBLICATION_BYTES`].
    #[error("data has at most {MAX_PUBLICATION_BYTES} bytes")]
    TooLong,
    /// It is not JSON text.
    #[error("data must be valid JSON: the channel's publication_data_format is \"json\"")]
    NotJson,
    /// It is not a JSON object.
    #[error("data must be a JSON object: the channel's publication_data_format is \"json_object\"")]
    NotObject,
}

impl ChannelOptions {
    /// Whether publications are kept, and so have offsets.
    pub fn has_history(&self) -> bool {
        self.history_size > 0 && self.history_ttl.0 > Duration::ZERO
    }

    /// Whether it is known who is in the channel: joins and leaves need that, too.
    pub fn has_presence(&self) -> bool {
        self.presence || self.join_leave
    }

    /// Checks what must hold between the options.
    ///
    /// # Errors
    /// Says which option cannot be used, and why.
    pub(super) fn validate(&self) -> Result<(), InvalidOption> {
        let needs_history = [
            ("allow_positioning", self.allow_positioning),
            ("force_positioning", self.force_positioning),
            ("allow_recovery", self.allow_recovery),
            ("force_recovery", self.force_recovery),
            ("auto_cache_recover", self.auto_cache_recover),
        ];
        if let Some((option, _)) = needs_history.iter().find(|(_, is_on)| *is_on && !self.has_history()) {
            return Err(InvalidOption { option, why: "needs history_size and history_ttl" });
        }
        if (self.history_size > 0) != (self.history_ttl.0 > Duration::ZERO) {
            return Err(InvalidOption { option: "history_size", why: "goes together with history_ttl" });
        }
        if self.history_size > MAX_HISTORY_SIZE {
            return Err(InvalidOption { option: "history_size", why: "is at most 100000" });
        }
        if self.force_push_join_leave && !self.join_leave {
            return Err(InvalidOption { option: "force_push_join_leave", why: "needs join_leave" });
        }
        if self.auto_cache_recover && self.force_recovery_mode != RecoveryMode::Cache {
            return Err(InvalidOption {
                option: "auto_cache_recover",
                why: "needs force_recovery_mode = \"cache\"",
            });
        }
        Ok(())
    }

    /// Checks data against the format and gives it the form in which it travels: JSON loses the line
    /// breaks between its tokens, because the JSON client protocol separates messages with them.
    ///
    /// # Errors
    /// Says what is wrong with it.
    pub fn admit(&self, data: Bytes) -> Result<Bytes, InvalidData> {
        if data.is_empty() {
            return Err(InvalidData::Empty);
        }
        if data.len() > MAX_PUBLICATION_BYTES {
            return Err(InvalidData::TooLong);
        }
        if self.publication_data_format == DataFormat::Binary {
            return Ok(data);
        }
        let value: &RawValue = serde_json::from_slice(&data).map_err(|_| InvalidData::NotJson)?;
        if self.publication_data_format == DataFormat::JsonObject && !value.get().starts_with('{') {
            return Err(InvalidData::NotObject);
        }
        Ok(without_line_breaks(data))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admit(format: DataFormat, data: &'static str) -> Result<Bytes, InvalidData> {
        let options = ChannelOptions { publication_data_format: format, ..Default::default() };
        options.admit(Bytes::from_static(data.as_bytes()))
    }

    #[test]
    fn data_must_have_the_form_that_the_channel_asks_for() {
        assert_eq!(admit(DataFormat::Json, ""), Err(InvalidData::Empty));
        assert_eq!(admit(DataFormat::Json, "{"), Err(InvalidData::NotJson));
        assert_eq!(admit(DataFormat::Json, "1 2"), Err(InvalidData::NotJson));
        assert!(admit(DataFormat::Json, "1").is_ok());
        assert_eq!(admit(DataFormat::JsonObject, " [1]"), Err(InvalidData::NotObject));
        assert!(admit(DataFormat::JsonObject, " {}").is_ok());
        assert!(admit(DataFormat::Binary, "{").is_ok());
    }

    #[test]
    fn json_is_rid_of_line_breaks_between_tokens_only() {
        assert_eq!(admit(DataFormat::Json, "{\r\n \"a\":\"x\\ny\"\n}").unwrap(), "{ \"a\":\"x\\ny\"}");
    }

    #[test]
    fn too_long_data_is_refused() {
        let options = ChannelOptions { publication_data_format: DataFormat::Binary, ..Default::default() };
        assert!(options.admit(vec![0; MAX_PUBLICATION_BYTES].into()).is_ok());
        assert_eq!(options.admit(vec![0; MAX_PUBLICATION_BYTES + 1].into()), Err(InvalidData::TooLong));
    }
}
