//! Listening on a configured address, with an error that names the key to change.

use std::net::SocketAddr;

use tokio::net::TcpListener;

/// An address cannot be listened on: free it, or change the key.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address} ({key}): {source}")]
pub struct BindError {
    /// The configuration key of the address.
    pub key: &'static str,
    /// The address.
    pub address: SocketAddr,
    /// What the system said.
    pub source: std::io::Error,
}

/// Listens on the address that `key` says; returns where, too, because port 0 means any free one.
///
/// # Errors
/// If the system refuses.
pub async fn bind(key: &'static str, address: SocketAddr) -> Result<(TcpListener, SocketAddr), BindError> {
    let listen = async {
        let listener = TcpListener::bind(address).await?;
        let bound = listener.local_addr()?;
        Ok((listener, bound))
    };
    listen.await.map_err(|source| BindError { key, address, source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_busy_address_is_an_error_that_names_its_key() {
        let (_taken, address) = bind("api.address", ([127, 0, 0, 1], 0).into()).await.unwrap();
        let error = bind("client.address", address).await.unwrap_err().to_string();
        assert!(error.contains("client.address") && error.contains(&address.to_string()), "{error}");
    }
}
