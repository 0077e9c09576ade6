//! How `bytes` fields travel in the JSON client protocol: as the JSON value itself, not as Base64.

use bytes::Bytes;
use serde::{Deserialize as _, Deserializer, Serialize as _, Serializer};
use serde_json::value::RawValue;

/// Writes the bytes as an embedded JSON value, without the line breaks between its tokens: the protocol
/// separates messages with them. Inside strings JSON escapes them.
///
/// # Errors
/// If the bytes are not valid JSON.
pub fn serialize<S: Serializer>(data: &Bytes, serializer: S) -> Result<S::Ok, S::Error> {
    let data = without_line_breaks(data.clone());
    let value: &RawValue =
        serde_json::from_slice(&data).map_err(|_| serde::ser::Error::custom("data is not JSON"))?;
    value.serialize(serializer)
}

/// Reads any JSON value and keeps its text.
///
/// # Errors
/// If there is no valid JSON value.
pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Bytes, D::Error> {
    let value = Box::<RawValue>::deserialize(deserializer)?;
    Ok(Bytes::from(Box::<str>::from(value).into_string()))
}

/// Valid JSON without its raw line breaks: they stand only between tokens, so they can simply go.
pub fn without_line_breaks(data: Bytes) -> Bytes {
    let is_break = |byte: &u8| matches!(byte, b'\n' | b'\r');
    if data.iter().any(is_break) {
        data.iter().copied().filter(|byte| !is_break(byte)).collect()
    } else {
        data
    }
}
