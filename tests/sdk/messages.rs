//! What SDKs send and receive, in every language and encoding.

use fanfare_tests::sandbox::Sandbox;

use crate::program::{Encoding, Language, run};

const JAVASCRIPT: Language = Language::JavaScript;
const PYTHON: Language = Language::Python;
const JSON: Encoding = Encoding::Json;
const PROTOBUF: Encoding = Encoding::Protobuf;

#[test]
fn channels_work_in_javascript_and_json() {
    run(&Sandbox::start(), "channels", JAVASCRIPT, JSON);
}

#[test]
fn channels_work_in_javascript_and_protobuf() {
    run(&Sandbox::start(), "channels", JAVASCRIPT, PROTOBUF);
}

#[test]
fn channels_work_in_python_and_json() {
    run(&Sandbox::start(), "channels", PYTHON, JSON);
}

#[test]
fn channels_work_in_python_and_protobuf() {
    run(&Sandbox::start(), "channels", PYTHON, PROTOBUF);
}

#[test]
fn tokens_work_in_javascript_and_json() {
    run(&Sandbox::start(), "tokens", JAVASCRIPT, JSON);
}

/// A personal channel was sent as a map entry without a value, which the SDK's decoder reads as null:
/// it threw an exception when a user connected.
#[test]
fn tokens_work_in_javascript_and_protobuf() {
    run(&Sandbox::start(), "tokens", JAVASCRIPT, PROTOBUF);
}

#[test]
fn tokens_work_in_python_and_json() {
    run(&Sandbox::start(), "tokens", PYTHON, JSON);
}

#[test]
fn tokens_work_in_python_and_protobuf() {
    run(&Sandbox::start(), "tokens", PYTHON, PROTOBUF);
}

#[test]
fn targets_work_in_javascript_and_json() {
    run(&Sandbox::start(), "targets", JAVASCRIPT, JSON);
}

#[test]
fn targets_work_in_javascript_and_protobuf() {
    run(&Sandbox::start(), "targets", JAVASCRIPT, PROTOBUF);
}

#[test]
fn targets_work_in_python_and_json() {
    run(&Sandbox::start(), "targets", PYTHON, JSON);
}

#[test]
fn targets_work_in_python_and_protobuf() {
    run(&Sandbox::start(), "targets", PYTHON, PROTOBUF);
}

#[test]
fn wishes_that_cannot_be_granted_do_no_harm_in_javascript_and_json() {
    run(&Sandbox::start(), "wishes", JAVASCRIPT, JSON);
}

#[test]
fn wishes_that_cannot_be_granted_do_no_harm_in_javascript_and_protobuf() {
    run(&Sandbox::start(), "wishes", JAVASCRIPT, PROTOBUF);
}

#[test]
fn wishes_that_cannot_be_granted_do_no_harm_in_python_and_json() {
    run(&Sandbox::start(), "wishes", PYTHON, JSON);
}

#[test]
fn wishes_that_cannot_be_granted_do_no_harm_in_python_and_protobuf() {
    run(&Sandbox::start(), "wishes", PYTHON, PROTOBUF);
}
