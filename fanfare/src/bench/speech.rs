//! What a client of a measurement says until it is connected.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio_rustls::TlsConnector;

use crate::cli::BenchPart;
use crate::config::DEV_SECRET;
use crate::token;

/// How clients connect.
#[derive(Clone)]
pub(super) struct Manner {
    channel: Option<Arc<str>>,
    tokens: bool,
    pub(super) tls: Option<TlsConnector>,
}

impl Manner {
    pub(super) fn new(part: &BenchPart) -> Result<Self> {
        let tls = part.root.as_ref().map(|root| {
            let mut roots = RootCertStore::empty();
            roots.add(CertificateDer::from_pem_file(root)?)?;
            let provider = Arc::new(rustls::crypto::ring::default_provider());
            let config =
                ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
            let mut config = config.with_root_certificates(roots).with_no_client_auth();
            // Each client is another one, that has never been there.
            config.resumption = rustls::client::Resumption::disabled();
            Ok::<_, anyhow::Error>(TlsConnector::from(Arc::new(config)))
        });
        let tls = tls.transpose().context("--root")?;
        Ok(Self { channel: part.channel.clone().map(Arc::from), tokens: part.tokens, tls })
    }
}

/// Says what the manner wants, and waits for the answer.
pub(super) async fn speak(
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    target: SocketAddr,
    manner: &Manner,
    number: usize,
) -> Result<()> {
    let (commands, reply) = match &manner.channel {
        _ if manner.tokens => {
            let token = token::of_user(&format!("bench-{number}"), DEV_SECRET)?;
            (format!("{{\"id\":1,\"connect\":{{\"token\":\"{token}\"}}}}"), "\"connect\":")
        }
        Some(channel) => {
            let connect = "{\"id\":1,\"connect\":{\"name\":\"bench\"}}";
            let subscribe = format!("{{\"id\":2,\"subscribe\":{{\"channel\":\"{channel}\"}}}}");
            (format!("{connect}\n{subscribe}"), "\"subscribe\":")
        }
        None => return Ok(()),
    };
    handshake(stream, target).await?;
    stream.write_all(&masked(commands.as_bytes())).await?;
    replied(stream, reply).await
}

async fn handshake(stream: &mut (impl AsyncRead + AsyncWrite + Unpin), target: SocketAddr) -> Result<()> {
    let request = format!(
        "GET /connection/websocket HTTP/1.1\r\nHost: {target}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await?;
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        // The server says nothing behind the head before it is spoken to.
        let read = stream.read_buf(&mut head).await?;
        ensure!(read > 0, "the server has closed during the handshake");
    }
    ensure!(head.starts_with(b"HTTP/1.1 101"), "no WebSocket: {}", String::from_utf8_lossy(&head));
    Ok(())
}

/// Waits for a reply.
async fn replied(stream: &mut (impl AsyncRead + AsyncWrite + Unpin), key: &str) -> Result<()> {
    let mut replies = Vec::new();
    while !replies.windows(key.len()).any(|window| window == key.as_bytes()) {
        let read = stream.read_buf(&mut replies).await?;
        ensure!(read > 0, "the server has closed before it answered");
        ensure!(!replies.windows(8).any(|window| window == b"\"error\":"), "the server refuses");
    }
    Ok(())
}

/// A text frame under 126 bytes, or under 64 KiB, with a mask of zeros.
fn masked(payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![0x81];
    if payload.len() < 126 {
        frame.push(0x80 | payload.len() as u8);
    } else {
        frame.push(0x80 | 126);
        frame.extend_from_slice(&(payload.len() as u16).to_be_bytes());
    }
    frame.extend_from_slice(&[0; 4]);
    frame.extend_from_slice(payload);
    frame
}
