//! What must hold before the API's port is opened.

use std::net::SocketAddr;

use fanfare_cluster::tls::{ServerTls, TlsError};

use super::keys::{InvalidKey, KeySet};
use crate::config::ApiConfig;

/// Why the API cannot be opened, or not with this configuration: mend the key that is named.
#[derive(Debug, thiserror::Error)]
pub enum InvalidApi {
    /// Whoever reached it could do everything.
    #[error(
        "api.address {0} is not a loopback address: set api.keys or api.tls.client_ca_file, or anyone may call it"
    )]
    OpenToAll(SocketAddr),
    /// One of the keys is no good.
    #[error(transparent)]
    Key(#[from] InvalidKey),
    /// TLS cannot be served.
    #[error("api.tls: {0}")]
    Tls(#[from] TlsError),
}

impl ApiConfig {
    /// Checks what can be checked without opening the port; reads the files that are named.
    ///
    /// # Errors
    /// Says what to mend.
    pub fn validate(&self) -> Result<(), InvalidApi> {
        self.load_keys()?;
        ServerTls::load(&self.tls, &[])?;
        Ok(())
    }

    /// The keys, unless anyone could call without one.
    pub(crate) fn load_keys(&self) -> Result<KeySet, InvalidApi> {
        let keys = KeySet::load(&self.keys)?;
        // A certificate of clients counts only where TLS is spoken.
        let asks_for_certificates =
            !self.tls.certificates.is_empty() && !self.tls.client_ca_file.as_os_str().is_empty();
        if keys.is_empty() && !asks_for_certificates && !self.address.ip().is_loopback() {
            return Err(InvalidApi::OpenToAll(self.address));
        }
        Ok(keys)
    }

    /// Whether keys travel where others can read them.
    pub(crate) fn shows_keys(&self) -> bool {
        !self.keys.is_empty() && self.tls.certificates.is_empty() && !self.address.ip().is_loopback()
    }
}
