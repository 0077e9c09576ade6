//! SDKs over TLS, with a private authority: what tokens grant, and how it is renewed while connected.

use fanfare_tests::sandbox::Sandbox;
use fanfare_tests::tls::Authority;

use crate::program::{Encoding, Language, run_over_tls};

fn grants_work(language: Language, encoding: Encoding) {
    let authority = Authority::new();
    let (_, certificate) = authority.certify(&["127.0.0.1"]);
    let server = Sandbox::start_with(&[&format!("client.tls.certificates=[{certificate}]")]);
    run_over_tls(&server, &authority, "grants", (language, encoding));
    assert_eq!(server.metric("fanfare_node_refused_total"), 0.0, "no handshake failed");
}

#[test]
fn what_tokens_grant_works_over_tls_in_javascript_and_json() {
    grants_work(Language::JavaScript, Encoding::Json);
}

#[test]
fn what_tokens_grant_works_over_tls_in_javascript_and_protobuf() {
    grants_work(Language::JavaScript, Encoding::Protobuf);
}

#[test]
fn what_tokens_grant_works_over_tls_in_python_and_json() {
    grants_work(Language::Python, Encoding::Json);
}

#[test]
fn what_tokens_grant_works_over_tls_in_python_and_protobuf() {
    grants_work(Language::Python, Encoding::Protobuf);
}
