//! What SDKs get of what was published while they were away.

use fanfare_tests::sandbox::Sandbox;

use crate::program::{Encoding, Language, run};

/// Namespaces with all kinds of histories.
const NAMESPACES: &str = r#"
[client]
allow_anonymous_connect_without_token = true

[channel.without_namespace]
allow_subscribe_for_client = true
allow_subscribe_for_anonymous = true
history_size = 100
history_ttl = "10m"
force_recovery = true
allow_history_for_subscriber = true

[[channel.namespaces]]
name = "short"
allow_subscribe_for_client = true
allow_subscribe_for_anonymous = true
history_size = 3
history_ttl = "10m"
force_recovery = true
allow_history_for_subscriber = true

[[channel.namespaces]]
name = "cache"
allow_subscribe_for_client = true
allow_subscribe_for_anonymous = true
history_size = 1
history_ttl = "10m"
force_recovery = true
force_recovery_mode = "cache"
auto_cache_recover = true

[[channel.namespaces]]
name = "watched"
allow_subscribe_for_client = true
allow_subscribe_for_anonymous = true
history_size = 10
history_ttl = "10m"
force_positioning = true

[[channel.namespaces]]
name = "filtered"
allow_subscribe_for_client = true
allow_subscribe_for_anonymous = true
history_size = 10
history_ttl = "10m"
force_recovery = true
allow_tags_filter = true
"#;

fn recovers(language: Language, encoding: Encoding) {
    run(&Sandbox::configured(NAMESPACES), "recovery", language, encoding);
}

#[test]
fn what_was_missed_comes_in_javascript_and_json() {
    recovers(Language::JavaScript, Encoding::Json);
}

#[test]
fn what_was_missed_comes_in_javascript_and_protobuf() {
    recovers(Language::JavaScript, Encoding::Protobuf);
}

#[test]
fn what_was_missed_comes_in_python_and_json() {
    recovers(Language::Python, Encoding::Json);
}

#[test]
fn what_was_missed_comes_in_python_and_protobuf() {
    recovers(Language::Python, Encoding::Protobuf);
}
