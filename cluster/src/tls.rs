//! TLS for those who serve: certificates from files, chosen by the name a client asks for, read anew while running.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::RootCertStore;
use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::{
    ClientHello, NoServerSessionStorage, ProducesTickets, ResolvesServerCert, WebPkiClientVerifier,
};
use rustls::sign::CertifiedKey;
use serde::{Deserialize, Serialize};

/// A certificate and its key.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CertificateFiles {
    /// The certificate and those between it and its root, in PEM.
    pub certificate_file: PathBuf,
    /// Its private key, in PEM.
    pub key_file: PathBuf,
}

/// How a port speaks TLS.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TlsConfig {
    /// Its certificates. The first is for clients that name no other one's host. Empty: no TLS.
    pub certificates: Vec<CertificateFiles>,
    /// The authorities whose client certificates are accepted, in PEM; with it every client needs one. Empty:
    /// clients need none.
    pub client_ca_file: PathBuf,
}

/// Why TLS cannot be served: mend the file or the key that is named.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read, or is not what it should be.
    #[error("{}: {why}", file.display())]
    File {
        /// The file.
        file: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// Certificate and key do not fit together, or TLS cannot be set up.
    #[error("TLS cannot be set up: {0}")]
    Setup(#[from] rustls::Error),
}

/// TLS for one port. What is read anew counts for the handshakes that come after.
pub struct ServerTls {
    protocols: Vec<Vec<u8>>,
    /// Kept when certificates are read anew, so that sessions can still be resumed.
    tickets: Arc<dyn ProducesTickets>,
    current: ArcSwap<ServerConfig>,
}

impl std::fmt::Debug for ServerTls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ServerTls").finish_non_exhaustive()
    }
}

impl ServerTls {
    /// Reads the files; `None` if no certificate is configured. `protocols` is what ALPN offers.
    ///
    /// # Errors
    /// Says which file to mend.
    pub fn load(files: &TlsConfig, protocols: &[&str]) -> Result<Option<Self>, TlsError> {
        if files.certificates.is_empty() {
            let why = "client certificates can be asked for only where there are certificates of the server";
            return match files.client_ca_file.as_os_str().is_empty() {
                true => Ok(None),
                false => Err(bad_file(&files.client_ca_file, why)),
            };
        }
        let protocols: Vec<Vec<u8>> = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
        let tickets = ring::Ticketer::new()?;
        let current = ArcSwap::from_pointee(server_config(files, &protocols, &tickets)?);
        Ok(Some(Self { protocols, tickets, current }))
    }

    /// Goes by these files from now on, which may be the same. If they are not good, all stays as it was.
    ///
    /// # Errors
    /// Says which file to mend.
    pub fn reload(&self, files: &TlsConfig) -> Result<(), TlsError> {
        // Whether the port speaks TLS at all was settled at the start.
        if !files.certificates.is_empty() {
            self.current.store(Arc::new(server_config(files, &self.protocols, &self.tickets)?));
        }
        Ok(())
    }

    /// What a handshake that begins now goes by.
    pub fn current(&self) -> Arc<ServerConfig> {
        self.current.load_full()
    }
}

fn server_config(
    files: &TlsConfig,
    protocols: &[Vec<u8>],
    tickets: &Arc<dyn ProducesTickets>,
) -> Result<ServerConfig, TlsError> {
    let provider = Arc::new(ring::default_provider());
    let certificates = files.certificates.iter().map(Certificate::read).collect::<Result<_, _>>()?;
    let builder =
        ServerConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions()?;
    let asks_for_certificates = !files.client_ca_file.as_os_str().is_empty();
    let builder = if !asks_for_certificates {
        builder.with_no_client_auth()
    } else {
        let file = &files.client_ca_file;
        let mut roots = RootCertStore::empty();
        for certificate in read_certificates(file)? {
            roots.add(certificate).map_err(|error| bad_file(file, error))?;
        }
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
        builder.with_client_cert_verifier(verifier.build().map_err(|error| bad_file(file, error))?)
    };
    let mut config = builder.with_cert_resolver(Arc::new(ByName { certificates }));
    config.alpn_protocols = protocols.to_vec();
    if asks_for_certificates {
        // A session that is resumed would not be asked for its certificate, which may have ended meanwhile.
        config.send_tls13_tickets = 0;
        config.session_storage = Arc::new(NoServerSessionStorage {});
    } else {
        config.ticketer = tickets.clone();
        // A client needs one to come back with.
        config.send_tls13_tickets = 1;
    }
    Ok(config)
}

fn read_certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let certificates = CertificateDer::pem_file_iter(file).map_err(|error| bad_file(file, error))?;
    let certificates: Vec<_> =
        certificates.collect::<Result<_, _>>().map_err(|error| bad_file(file, error))?;
    if certificates.is_empty() {
        return Err(bad_file(file, "there is no certificate in it"));
    }
    Ok(certificates)
}

fn bad_file(file: &Path, why: impl std::fmt::Display) -> TlsError {
    TlsError::File { file: file.to_owned(), why: why.to_string() }
}

#[derive(Debug)]
struct Certificate {
    end: CertificateDer<'static>,
    key: Arc<CertifiedKey>,
}

impl Certificate {
    fn read(files: &CertificateFiles) -> Result<Self, TlsError> {
        let chain = read_certificates(&files.certificate_file)?;
        let end = chain[0].clone();
        let key = PrivateKeyDer::from_pem_file(&files.key_file);
        let key = key.map_err(|error| bad_file(&files.key_file, error))?;
        let key = CertifiedKey::from_der(chain, key, &ring::default_provider());
        let key = key.map_err(|error| match error {
            rustls::Error::InconsistentKeys(_) => {
                let certificate = files.certificate_file.display();
                bad_file(&files.key_file, format!("it is not the key of {certificate}"))
            }
            error => bad_file(&files.certificate_file, error),
        });
        let key = Arc::new(key?);
        Ok(Self { end, key })
    }

    fn is_for(&self, name: &ServerName<'_>) -> bool {
        webpki::EndEntityCert::try_from(&self.end)
            .is_ok_and(|certificate| certificate.verify_is_valid_for_subject_name(name).is_ok())
    }
}

/// Chooses the certificate for the host that the client names, else the first.
#[derive(Debug)]
struct ByName {
    certificates: Vec<Certificate>,
}

impl ResolvesServerCert for ByName {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let name = hello.server_name().and_then(|name| ServerName::try_from(name).ok());
        let named = name.and_then(|name| self.certificates.iter().find(|one| one.is_for(&name)));
        named.or(self.certificates.first()).map(|certificate| certificate.key.clone())
    }
}

#[cfg(test)]
#[path = "tls_tests.rs"]
mod tests;
