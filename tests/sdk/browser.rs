//! A real browser: the developer's page, and the SDK's bundle in a page from elsewhere.

use std::path::Path;

use fanfare_tests::sandbox::Sandbox;

use crate::program::{Encoding, Language, assert_installed, run};

/// Channels of which nothing is kept and nobody is told who is there, beside those of `--dev`.
const PLAIN: &str = r#"channel.namespaces=[{name="plain",allow_subscribe_for_client=true,allow_subscribe_for_anonymous=true}]"#;

fn in_browser(name: &str, encoding: Encoding) {
    assert_installed(Path::new("/usr/bin/chromium"));
    run(&Sandbox::start_dev(&[PLAIN]), name, Language::JavaScript, encoding);
}

#[test]
fn the_developer_page_shows_pushes_and_who_is_there_and_recovers_on_every_screen() {
    in_browser("page", Encoding::Json);
}

#[test]
fn the_sdk_bundle_connects_from_a_page_on_another_port_in_json() {
    in_browser("bundle", Encoding::Json);
}

#[test]
fn the_sdk_bundle_connects_from_a_page_on_another_port_in_protobuf() {
    in_browser("bundle", Encoding::Protobuf);
}

#[test]
fn the_sdk_bundle_recovers_what_was_missed_and_sees_others_come_and_go_in_json() {
    in_browser("away", Encoding::Json);
}

#[test]
fn the_sdk_bundle_recovers_what_was_missed_and_sees_others_come_and_go_in_protobuf() {
    in_browser("away", Encoding::Protobuf);
}
