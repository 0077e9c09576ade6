//! How long SDKs stay: over pings, and over a restart of the server.

use fanfare_tests::eventually::eventually;
use fanfare_tests::sandbox::Sandbox;

use crate::program::{Encoding, Language, Program};

const COMMANDS: &str = "fanfare_node_commands_total";

/// The third pong has come only if the server took the two before in time: it closes a connection that is late.
fn stays_over_pings(language: Language, encoding: Encoding) {
    let server = Sandbox::start_with(&["client.ping_interval=1s", "client.pong_timeout=500ms"]);
    let program = Program::start(&server, "pings", language, encoding);
    eventually("the SDK is subscribed", || {
        (server.metric("fanfare_node_subscriptions") == 1.0).then_some(())
    });
    let before = server.metric(COMMANDS);
    eventually("three pongs come", || (server.metric(COMMANDS) >= before + 3.0).then_some(()));
    server.push("enough", "true");
    program.succeeds();
}

fn survives_a_restart(language: Language, encoding: Encoding) {
    let server = Sandbox::start_dev(&[]);
    let program = Program::start(&server, "restart", language, encoding);
    reach_the_subscriber(&server, r#""before""#);
    let same_port = format!("client.address={}", server.clients);
    assert!(server.end("TERM").success());
    let server = Sandbox::start_dev(&[&same_port]);
    reach_the_subscriber(&server, r#""after""#);
    program.succeeds();
}

/// Pushes until there is somebody to push to.
fn reach_the_subscriber(server: &Sandbox, json: &str) {
    eventually("a push reaches the SDK", || (server.push("news", json).written == 1).then_some(()));
}

#[test]
fn a_client_stays_over_pings_in_javascript_and_json() {
    stays_over_pings(Language::JavaScript, Encoding::Json);
}

#[test]
fn a_client_stays_over_pings_in_javascript_and_protobuf() {
    stays_over_pings(Language::JavaScript, Encoding::Protobuf);
}

#[test]
fn a_client_stays_over_pings_in_python_and_json() {
    stays_over_pings(Language::Python, Encoding::Json);
}

#[test]
fn a_client_stays_over_pings_in_python_and_protobuf() {
    stays_over_pings(Language::Python, Encoding::Protobuf);
}

#[test]
fn a_client_comes_back_after_a_restart_in_javascript_and_json() {
    survives_a_restart(Language::JavaScript, Encoding::Json);
}

#[test]
fn a_client_comes_back_after_a_restart_in_javascript_and_protobuf() {
    survives_a_restart(Language::JavaScript, Encoding::Protobuf);
}

#[test]
fn a_client_comes_back_after_a_restart_in_python_and_json() {
    survives_a_restart(Language::Python, Encoding::Json);
}

#[test]
fn a_client_comes_back_after_a_restart_in_python_and_protobuf() {
    survives_a_restart(Language::Python, Encoding::Protobuf);
}
