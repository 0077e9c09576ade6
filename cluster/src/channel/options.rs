//! What the configuration says of channels, and the check that a publication has the form it asks for.

use bytes::Bytes;
use fanfare_proto::raw_json::without_line_breaks;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// The largest publication, in bytes, whatever other limits say.
pub const MAX_PUBLICATION_BYTES: usize = 512 * 1024;

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
