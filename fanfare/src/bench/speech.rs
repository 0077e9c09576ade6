//! What a client of a measurement says until it is connected.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio_rustls::TlsConnector;

use super::clients::frames;
use crate::cli::{BenchPart, Place};
use crate::config::DEV_SECRET;
use crate::token;

/// Publications that a client has missed which recovers.
pub(super) const MISSED: usize = 10;
/// How long the server may take for all answers to one client.
const PATIENCE: Duration = Duration::from_secs(30);

/// As whom clients connect, if they do.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Connects {
    Not,
    Anonymously,
    WithToken,
}

/// How clients connect.
#[derive(Clone)]
pub(super) struct Manner {
    channels: Arc<[String]>,
    recover: Option<Arc<Place>>,
    connects: Connects,
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
        let connects = match (part.tokens, part.connect_only || !part.channel.is_empty()) {
            (true, _) => Connects::WithToken,
            (false, true) => Connects::Anonymously,
            (false, false) => Connects::Not,
        };
        let recover = part.recover.clone().map(Arc::new);
        Ok(Self { channels: part.channel.clone().into(), recover, connects, tls })
    }
}

/// Says what the manner wants, and waits for the answers.
pub(super) async fn speak(
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    target: SocketAddr,
    manner: &Manner,
    number: usize,
) -> Result<()> {
    if manner.connects == Connects::Not {
        return Ok(());
    }
    handshake(stream, target).await?;
    let commands = manner.commands(number)?;
    stream.write_all(&masked(commands.as_bytes())).await?;
    tokio::time::timeout(PATIENCE, replied(stream, &manner.expected())).await.context("no answer in time")?
}

impl Manner {
    /// What a client says.
    fn commands(&self, number: usize) -> Result<String> {
        let connect = match self.connects {
            Connects::WithToken => {
                let token = token::of_user(&format!("bench-{number}"), DEV_SECRET)?;
                format!("{{\"id\":1,\"connect\":{{\"token\":\"{token}\"}}}}")
            }
            _ => "{\"id\":1,\"connect\":{\"name\":\"bench\"}}".to_owned(),
        };
        let recover = self.recover.as_ref().map_or_else(String::new, |place| {
            format!(",\"recover\":true,\"epoch\":\"{}\",\"offset\":{}", place.epoch, place.offset)
        });
        let subscribes = self.channels.iter().zip(2..).map(|(channel, id)| {
            let channel = channel.replace("{}", &number.to_string());
            format!("\n{{\"id\":{id},\"subscribe\":{{\"channel\":\"{channel}\"{recover}}}}}")
        });
        Ok(connect + &subscribes.collect::<String>())
    }

    /// What the answers contain, and how often.
    fn expected(&self) -> Vec<(&'static str, usize)> {
        let mut expected = vec![("\"connect\":", 1), ("\"subscribe\":", self.channels.len())];
        if self.recover.is_some() {
            let channels = self.channels.len();
            expected.extend([("\"recovered\":true", channels), ("\"data\":", MISSED * channels)]);
        }
        expected
    }
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

/// Waits until all replies have come, to their last byte, and what is expected was in them.
async fn replied(
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    expected: &[(&str, usize)],
) -> Result<()> {
    let mut replies = Vec::new();
    while !is_all(&replies, expected) {
        let read = stream.read_buf(&mut replies).await?;
        ensure!(read > 0, "the server has closed before it answered");
        ensure!(count(&replies, "\"error\":") == 0, "the server refuses");
    }
    Ok(())
}

fn is_all(replies: &[u8], expected: &[(&str, usize)]) -> bool {
    let (_, _, whole) = frames(replies);
    whole == replies.len() && expected.iter().all(|(key, times)| count(replies, key) >= *times)
}

fn count(replies: &[u8], key: &str) -> usize {
    replies.windows(key.len()).filter(|window| *window == key.as_bytes()).count()
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

#[cfg(test)]
mod tests {
    use super::*;

    fn manner(channels: &[&str], recover: Option<&str>, connects: Connects) -> Manner {
        let channels: Vec<_> = channels.iter().map(|channel| (*channel).to_owned()).collect();
        let recover = recover.map(|place| Arc::new(place.parse().unwrap()));
        Manner { channels: channels.into(), recover, connects, tls: None }
    }

    #[test]
    fn each_client_says_what_it_is_to_do() {
        let recovers = manner(&["kept:{}"], Some("e:7"), Connects::Anonymously);
        let commands = recovers.commands(5).unwrap();
        let subscribe = commands.lines().last().unwrap();
        let subscribe: serde_json::Value = serde_json::from_str(subscribe).unwrap();
        let wanted = serde_json::json!({"channel": "kept:5", "recover": true, "epoch": "e", "offset": 7});
        assert_eq!(subscribe, serde_json::json!({"id": 2, "subscribe": wanted}));
        let two = manner(&["a", "b"], None, Connects::WithToken).commands(0).unwrap();
        assert_eq!(two.lines().count(), 3);
        assert!(two.contains("\"token\":") && two.contains("\"id\":3") && !two.contains("recover"));
    }

    #[test]
    fn answers_are_there_when_all_have_come_as_a_whole() {
        let expected = manner(&["a"], None, Connects::Anonymously).expected();
        let frame = |text: &str| [&[0x81, text.len() as u8], text.as_bytes()].concat();
        let both = frame("{\"id\":1,\"connect\":{}}\n{\"id\":2,\"subscribe\":{}}");
        assert!(is_all(&both, &expected) && !is_all(&both[..both.len() - 1], &expected));
        assert!(!is_all(&frame("{\"id\":1,\"connect\":{}}"), &expected));
        let recovers = manner(&["a"], Some(":0"), Connects::Anonymously).expected();
        assert!(!is_all(&both, &recovers), "nothing was recovered");
    }
}
