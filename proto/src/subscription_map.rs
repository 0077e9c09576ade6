//! How server-side subscriptions travel in the JSON client protocol: as an object whose keys are the channels.

use std::collections::BTreeMap;

use serde::{Deserialize as _, Deserializer, Serializer};

use crate::client::{ServerSubscription, SubscribeResult};

/// Writes the entries as an object.
///
/// # Errors
/// Only those of the serializer.
pub fn serialize<S: Serializer>(entries: &[ServerSubscription], serializer: S) -> Result<S::Ok, S::Error> {
    let empty = SubscribeResult::default();
    serializer.collect_map(entries.iter().map(|entry| (&entry.key, entry.value.as_ref().unwrap_or(&empty))))
}

/// Reads an object.
///
/// # Errors
/// If there is none, or its values are no subscriptions.
pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<ServerSubscription>, D::Error> {
    let map = BTreeMap::<String, SubscribeResult>::deserialize(deserializer)?;
    let entry = |(key, value)| ServerSubscription { key, value: Some(value) };
    Ok(map.into_iter().map(entry).collect())
}
