//! The channels of a simulated world: short and long histories, a cache, and one without history.

use std::sync::Arc;

use fanfare_cluster::channel::{ChannelOptions, Namespace, Namespaces};
use serde_json::{Value, json};

/// A channel's name.
pub(crate) type Channel = &'static str;

/// All channels. The history of `short` ones is soon too short; subscribers of the cache want its last publication.
pub(crate) const CHANNELS: [Channel; 5] = ["short:a", "short:b", "long:a", "cache:a", "plain:a"];

/// What the history of `short:` and `cache:` keeps.
const SHORT: u64 = 5;
const LONG: u64 = 100;

/// How many publications the channel's history keeps; 0 if it has none.
pub(crate) fn history_size(channel: Channel) -> u64 {
    match channel.split(':').next() {
        Some("long") => LONG,
        Some("plain") => 0,
        _ => SHORT,
    }
}

pub(crate) fn is_stream(channel: Channel) -> bool {
    history_size(channel) > 0
}

pub(crate) fn is_cache(channel: Channel) -> bool {
    channel.starts_with("cache:")
}

/// The configuration of all of them.
pub(crate) fn namespaces() -> Arc<Namespaces> {
    let named = ["short", "long", "cache", "plain"].map(namespace);
    Arc::new(Namespaces::new(ChannelOptions::default(), &named).expect("they go together"))
}

fn namespace(name: &'static str) -> Namespace {
    let mut options = json!({
        "allow_subscribe_for_client": true,
        "allow_subscribe_for_anonymous": true,
        "allow_tags_filter": true,
    });
    let size = history_size(name);
    if size > 0 {
        options["history_size"] = size.into();
        options["history_ttl"] = "1h".into();
        options["allow_positioning"] = true.into();
        options["allow_recovery"] = true.into();
    }
    if name == "cache" {
        options["force_recovery_mode"] = Value::from("cache");
    }
    Namespace { name: name.to_owned(), options: serde_json::from_value(options).expect("they are options") }
}
