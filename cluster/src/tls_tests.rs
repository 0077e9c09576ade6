//! What must hold for TLS of those who serve.

use std::fs;
use std::path::PathBuf;

use rustls::{ClientConfig, ClientConnection, ServerConnection};

use super::*;

/// A folder that goes away with the test.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("fanfare-tls-{}-{name}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        Self(folder)
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let file = self.0.join(name);
        fs::write(&file, text).unwrap();
        file
    }

    /// Makes a certificate for a host, in files of this name.
    fn certificate(&self, name: &str, host: &str) -> (CertificateFiles, CertificateDer<'static>) {
        let made = rcgen::generate_simple_self_signed([host.to_owned()]).unwrap();
        let certificate_file = self.write(&format!("{name}.pem"), &made.cert.pem());
        let key_file = self.write(&format!("{name}.key"), &made.signing_key.serialize_pem());
        (CertificateFiles { certificate_file, key_file }, made.cert.der().clone())
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What is left in the temporary folder harms nobody.
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Shakes hands, as a client that trusts `root` and asks for `host`; says whether that went well.
fn shake_hands(tls: &ServerTls, root: &CertificateDer<'static>, host: &str) -> bool {
    let mut roots = RootCertStore::empty();
    roots.add(root.clone()).unwrap();
    let client = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from(host.to_owned()).unwrap();
    let mut client = ClientConnection::new(Arc::new(client), name).unwrap();
    let mut server = ServerConnection::new(tls.current()).unwrap();
    while client.is_handshaking() || server.is_handshaking() {
        let mut wire = Vec::new();
        client.write_tls(&mut wire).unwrap();
        server.read_tls(&mut wire.as_slice()).unwrap();
        if server.process_new_packets().is_err() {
            return false;
        }
        let mut wire = Vec::new();
        server.write_tls(&mut wire).unwrap();
        client.read_tls(&mut wire.as_slice()).unwrap();
        if client.process_new_packets().is_err() {
            return false;
        }
    }
    true
}

#[test]
fn the_certificate_is_chosen_by_the_name_that_the_client_asks_for() {
    let folder = Folder::new("names");
    let (first, first_root) = folder.certificate("first", "first.example");
    let (second, second_root) = folder.certificate("second", "second.example");
    let files = TlsConfig { certificates: vec![first, second], ..Default::default() };
    let tls = ServerTls::load(&files, &["http/1.1"]).unwrap().unwrap();
    assert!(shake_hands(&tls, &first_root, "first.example"));
    assert!(shake_hands(&tls, &second_root, "second.example"));
    assert!(!shake_hands(&tls, &second_root, "first.example"));
    assert!(!shake_hands(&tls, &first_root, "other.example"), "it gets the first, which is not for it");
}

#[test]
fn certificates_are_read_anew_and_bad_ones_change_nothing() {
    let folder = Folder::new("reload");
    let (files, old) = folder.certificate("one", "a.example");
    let files = TlsConfig { certificates: vec![files], ..Default::default() };
    let tls = ServerTls::load(&files, &[]).unwrap().unwrap();
    assert!(shake_hands(&tls, &old, "a.example"));
    let (_, new) = folder.certificate("one", "a.example");
    tls.reload(&files).unwrap();
    assert!(shake_hands(&tls, &new, "a.example") && !shake_hands(&tls, &old, "a.example"));
    let (other, _) = folder.certificate("other", "b.example");
    let mixed = CertificateFiles { key_file: other.key_file, ..files.certificates[0].clone() };
    let error = tls.reload(&TlsConfig { certificates: vec![mixed], ..Default::default() }).unwrap_err();
    let error = error.to_string();
    assert!(error.contains("other.key: it is not the key of") && error.contains("one.pem"), "{error}");
    folder.write("one.pem", "nonsense");
    let error = tls.reload(&files).unwrap_err().to_string();
    assert!(error.contains("one.pem"), "{error}");
    assert!(shake_hands(&tls, &new, "a.example"));
}

#[test]
fn a_client_without_a_certificate_is_refused_where_one_is_asked_for() {
    let folder = Folder::new("client");
    let (files, root) = folder.certificate("one", "a.example");
    let client_ca_file = files.certificate_file.clone();
    let files = TlsConfig { certificates: vec![files], client_ca_file };
    let tls = ServerTls::load(&files, &[]).unwrap().unwrap();
    assert!(!shake_hands(&tls, &root, "a.example"));
}

#[test]
fn without_certificates_there_is_no_tls() {
    assert!(ServerTls::load(&TlsConfig::default(), &[]).unwrap().is_none());
    let lonely = TlsConfig { client_ca_file: "ca.pem".into(), ..Default::default() };
    assert!(ServerTls::load(&lonely, &[]).unwrap_err().to_string().contains("ca.pem"));
}
