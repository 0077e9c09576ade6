//! What SDKs learn of who is there, and what the server subscribes them to.

use fanfare_tests::sandbox::Sandbox;

use crate::program::{Encoding, Language, run};

/// Namespaces with all kinds of presence; tokens are signed with the secret of `--dev`.
const NAMESPACES: [&str; 1] = [r#"channel.namespaces=[
    {name="asked",presence=true,join_leave=true,allow_subscribe_for_client=true,allow_presence_for_subscriber=true},
    {name="off",allow_subscribe_for_client=true},
    {name="hidden",presence=true,allow_subscribe_for_client=true}]"#];

const ALL: [(Language, Encoding); 4] = [
    (Language::JavaScript, Encoding::Json),
    (Language::JavaScript, Encoding::Protobuf),
    (Language::Python, Encoding::Json),
    (Language::Python, Encoding::Protobuf),
];

fn runs(name: &str, which: usize) {
    let (language, encoding) = ALL[which];
    run(&Sandbox::start_dev(&NAMESPACES), name, language, encoding);
}

#[test]
fn who_is_there_is_known_in_javascript_and_json() {
    runs("presence", 0);
}

#[test]
fn who_is_there_is_known_in_javascript_and_protobuf() {
    runs("presence", 1);
}

#[test]
fn who_is_there_is_known_in_python_and_json() {
    runs("presence", 2);
}

#[test]
fn who_is_there_is_known_in_python_and_protobuf() {
    runs("presence", 3);
}

#[test]
fn server_side_subscriptions_recover_in_javascript_and_json() {
    runs("personal", 0);
}

#[test]
fn server_side_subscriptions_recover_in_javascript_and_protobuf() {
    runs("personal", 1);
}

#[test]
fn server_side_subscriptions_recover_in_python_and_json() {
    runs("personal", 2);
}

#[test]
fn server_side_subscriptions_recover_in_python_and_protobuf() {
    runs("personal", 3);
}
