//! A certificate authority of the tests' own, the certificates it has signed, and clients that trust it.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, KeyUsagePurpose};
use rustls::crypto::ring;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, SupportedProtocolVersion};

/// An authority; its files are gone when it is.
#[derive(Debug)]
pub struct Authority {
    folder: PathBuf,
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl Default for Authority {
    fn default() -> Self {
        Self::new()
    }
}

impl Authority {
    /// Makes one.
    ///
    /// # Panics
    /// If the temporary folder cannot be written to.
    pub fn new() -> Self {
        static FOLDERS: AtomicUsize = AtomicUsize::new(0);
        let number = FOLDERS.fetch_add(1, Ordering::Relaxed);
        let folder = std::env::temp_dir().join(format!("fanfare-tls-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a temporary folder can be made");
        let mut params = CertificateParams::new([]).expect("no names are good names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        // Under the library's one name for all, its certificates would look like ones that have signed themselves.
        params.distinguished_name.push(DnType::CommonName, "the authority of a test");
        let issuer = CertifiedIssuer::self_signed(params, key()).expect("it can sign itself");
        std::fs::write(folder.join("authority.pem"), issuer.pem()).expect("a temporary file can be written");
        Self { folder, issuer }
    }

    /// Its own certificate, in PEM.
    pub fn file(&self) -> PathBuf {
        self.folder.join("authority.pem")
    }

    /// Signs a certificate for names and addresses. Returns it, and its entry in a list of certificates of the
    /// configuration.
    ///
    /// # Panics
    /// If a name is none.
    pub fn certify(&self, names: &[&str]) -> (CertificateDer<'static>, String) {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let stem = self.folder.join(&names[0]);
        let key = key();
        let mut params = CertificateParams::new(names).expect("the names are good");
        params.use_authority_key_identifier_extension = true;
        let certificate = params.signed_by(&key, &self.issuer).expect("the authority can sign");
        let write = |ending: &str, text: String| {
            let file = stem.with_added_extension(ending);
            std::fs::write(&file, text).expect("a temporary file can be written");
            file
        };
        let certificate_file = write("pem", certificate.pem());
        let key_file = write("key", key.serialize_pem());
        (certificate.der().clone(), entry(&certificate_file, &key_file))
    }

    /// A client that trusts it and asks for a host, with all versions of TLS.
    pub fn client(&self, host: &str) -> TlsClient {
        self.client_of(host, rustls::DEFAULT_VERSIONS)
    }

    /// The same with certain versions of TLS.
    ///
    /// # Panics
    /// If the host has no good name.
    pub fn client_of(&self, host: &str, versions: &[&'static SupportedProtocolVersion]) -> TlsClient {
        let mut roots = RootCertStore::empty();
        roots.add(self.issuer.der().clone()).expect("an authority can be trusted");
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_protocol_versions(versions)
            .expect("the versions are known")
            .with_root_certificates(roots)
            .with_no_client_auth();
        let host = ServerName::try_from(host.to_owned()).expect("the host has a good name");
        TlsClient { config: Arc::new(config), host }
    }
}

impl Drop for Authority {
    fn drop(&mut self) {
        // What is left in the temporary folder harms nobody.
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

fn key() -> KeyPair {
    KeyPair::generate().expect("a key can be made")
}

fn entry(certificate: &Path, key: &Path) -> String {
    let (certificate, key) = (certificate.display().to_string(), key.display().to_string());
    format!("{{ certificate_file = {certificate:?}, key_file = {key:?} }}")
}

/// Who speaks TLS to a server, and remembers its sessions.
#[derive(Clone, Debug)]
pub struct TlsClient {
    config: Arc<ClientConfig>,
    host: ServerName<'static>,
}

impl TlsClient {
    /// A new conversation, before its handshake.
    ///
    /// # Panics
    /// If TLS cannot be set up.
    pub fn connection(&self) -> ClientConnection {
        ClientConnection::new(self.config.clone(), self.host.clone()).expect("TLS can be set up")
    }
}
