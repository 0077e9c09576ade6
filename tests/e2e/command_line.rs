//! The binary as a person uses it: what it prints, where, and with which exit code.

use std::process::{Command, Output};

use fanfare_tests::sandbox::{Sandbox, binary};

fn fanfare(arguments: &[&str]) -> Output {
    Command::new(binary()).args(arguments).output().expect("the binary runs")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn serve_without_a_configuration_names_the_two_ways_on() {
    let output = fanfare(&["serve"]);
    assert_eq!(output.status.code(), Some(2));
    let error = text(&output.stderr);
    assert!(error.contains("--dev") && error.contains("--config FILE"), "{error}");
    assert!(output.stdout.is_empty());
}

#[test]
fn a_busy_port_is_an_error_that_names_its_key() {
    let server = Sandbox::start();
    let busy = format!("client.address={}", server.clients);
    let output = fanfare(&["serve", "--dev", "--set", &busy, "--set", "api.address=127.0.0.1:0"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("client.address"), "{}", text(&output.stderr));
}

#[test]
fn a_push_is_answered_with_a_table_for_people_and_json_for_programs() {
    let server = Sandbox::start();
    let endpoint = format!("http://{}", server.api);
    let push = |more: &[&str]| {
        let mut arguments = vec!["push", "news", "{\"a\": 1}", "--endpoint", &endpoint, "--wait", "written"];
        arguments.extend(more);
        fanfare(&arguments)
    };
    let table = push(&[]);
    assert!(text(&table.stdout).contains("written       0"), "{}", text(&table.stdout));
    let json: serde_json::Value = serde_json::from_slice(&push(&["-o", "json"]).stdout).expect("JSON");
    assert_eq!(json, serde_json::json!({ "receipt": { "complete": true } }));
}

#[test]
fn a_push_to_nowhere_says_what_to_do() {
    let output = fanfare(&["push", "news", "1", "--endpoint", "http://127.0.0.1:1"]);
    assert_eq!(output.status.code(), Some(1));
    let error = text(&output.stderr);
    assert!(error.contains("fanfare serve --dev") && error.contains("--endpoint"), "{error}");
}

#[test]
fn a_refusal_has_the_grpc_code_in_its_exit_code() {
    let server = Sandbox::start();
    let endpoint = format!("http://{}", server.api);
    let output = fanfare(&["push", "#42", "1", "--endpoint", &endpoint]);
    assert_eq!(output.status.code(), Some(64 + 3), "INVALID_ARGUMENT");
    assert!(text(&output.stderr).contains("push to the user instead"), "{}", text(&output.stderr));
}

#[test]
fn data_that_is_not_json_is_refused_before_it_is_sent() {
    let output = fanfare(&["push", "news", "hello"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("'\"hello\"'"), "{}", text(&output.stderr));
}

#[test]
fn a_wrong_key_is_an_error_with_the_nearest_known_key() {
    let output = fanfare(&["config", "check", "--set", "client.pong_timout=3s"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("did you mean client.pong_timeout?"), "{}", text(&output.stderr));
}

#[test]
fn the_configuration_that_is_shown_is_one_that_can_be_used() {
    let shown = fanfare(&["config", "show", "--dev"]);
    let table: toml::Table = text(&shown.stdout).parse().expect("TOML");
    assert_eq!(table["client"]["token"]["hmac_secret_key"].as_str(), Some("(hidden)"));
    assert_eq!(table["client"]["allow_anonymous_connect_without_token"].as_bool(), Some(true));
}

#[test]
fn the_example_configuration_is_good() {
    let example = concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/examples/fanfare.toml");
    let output = fanfare(&["config", "check", "--config", example]);
    assert!(output.status.success(), "{}", text(&output.stderr));
}

#[test]
fn the_version_is_printed() {
    let json: serde_json::Value =
        serde_json::from_slice(&fanfare(&["version", "-o", "json"]).stdout).expect("JSON");
    assert_eq!(json["version"], env!("CARGO_PKG_VERSION"));
}
