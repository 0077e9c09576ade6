//! A real browser: the developer's page, and the SDK's bundle in a page from elsewhere.

use std::path::Path;

use fanfare_tests::sandbox::Sandbox;

use crate::program::{Encoding, Language, assert_installed, run};

fn in_browser(name: &str, encoding: Encoding) {
    assert_installed(Path::new("/usr/bin/chromium"));
    run(&Sandbox::start(), name, Language::JavaScript, encoding);
}

#[test]
fn the_developer_page_shows_pushes_and_publishes_on_every_screen() {
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
