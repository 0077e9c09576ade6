//! The second page of the quickstart: its client and its configuration do what it says.

use fanfare_tests::sandbox::Sandbox;

use crate::program::{Encoding, Language, run};

const DOCUMENT: &str = include_str!("../../docs/second-page.md");

#[test]
fn the_client_of_the_second_page_says_what_it_has_missed() {
    run(&Sandbox::start_dev(&[]), "second_page", Language::JavaScript, Encoding::Json);
}

#[test]
fn a_server_starts_with_the_configuration_of_the_second_page() {
    let (_, rest) = DOCUMENT.split_once("\n```toml production\n").expect("it has a configuration");
    let (configuration, _) = rest.split_once("\n```\n").expect("the configuration ends");
    Sandbox::configured(configuration);
}
