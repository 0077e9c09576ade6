//! The public API with gRPC clients of other languages.

use fanfare_tests::sandbox::Sandbox;

use crate::program::{Encoding, Language, run};

#[test]
fn a_javascript_client_gets_receipts_error_details_and_health() {
    run(&Sandbox::start_dev(&[]), "grpc", Language::JavaScript, Encoding::Json);
}

#[test]
fn a_python_client_needs_nothing_but_reflection() {
    run(&Sandbox::start(), "reflection", Language::Python, Encoding::Json);
}
