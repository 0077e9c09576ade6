//! The client side of a measurement: many connections that subscribe to one channel, read and answer pings.

use std::cell::RefCell;
use std::io::{BufRead as _, ErrorKind};
use std::net::{Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context as _, Result, ensure};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::{JoinSet, LocalSet};

use crate::cli::BenchArguments;

/// Connections from one source address: far fewer than it has ports.
const PER_ADDRESS: usize = 10_000;
/// The first of their ports.
const FIRST_PORT: u16 = 12_000;
/// Connections that are being made at the same time.
const AT_ONCE: usize = 32;
/// What is read at once. A frame of the largest publication fits.
const BUFFER: usize = 1 << 20;
/// A frame with a masked empty object: the answer to a ping. The mask is zero, so that it reads as it is.
const PONG: [u8; 8] = [0x81, 0x82, 0, 0, 0, 0, b'{', b'}'];

/// What all connections have received.
#[derive(Default)]
struct Received {
    frames: AtomicU64,
    bytes: AtomicU64,
}

/// Connects, says "ready", then answers "count" with the frames and bytes received so far.
pub(super) fn run(arguments: &BenchArguments) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let received = Arc::new(Received::default());
    let target = arguments.part.target.context("--target is missing")?;
    let channel = arguments.part.channel.clone().map(Arc::<str>::from);
    let (count, counted) = (arguments.connections, received.clone());
    // queue: readiness of a bench's clients
    let (ready, wait) = std::sync::mpsc::sync_channel(1);
    let thread = std::thread::Builder::new().name("clients".to_owned()).spawn(move || {
        runtime.block_on(async move {
            let local = LocalSet::new();
            let connected = local.run_until(connect_all(target, channel, count, &received)).await;
            // Nobody waits any more only when the measurement has been given up.
            let _ = ready.send(connected);
            local.await;
        });
    })?;
    wait.recv().context("the clients' thread has ended")??;
    println!("ready");
    for line in std::io::stdin().lock().lines() {
        ensure!(line? == "count", "the only question is count");
        println!("{} {}", counted.frames.load(Ordering::Relaxed), counted.bytes.load(Ordering::Relaxed));
    }
    drop(thread);
    Ok(())
}

async fn connect_all(
    target: SocketAddr,
    channel: Option<Arc<str>>,
    count: usize,
    received: &Arc<Received>,
) -> Result<()> {
    let buffer = Rc::new(RefCell::new(vec![0; BUFFER]));
    // queue: connections of a bench that are being made
    let places = Arc::new(Semaphore::new(AT_ONCE));
    let mut connecting = JoinSet::new();
    for number in 0..count {
        let place = places.clone().acquire_owned().await?;
        let channel = channel.clone();
        connecting.spawn(async move {
            let stream = connect(target, channel.as_deref(), number).await;
            drop(place);
            stream
        });
    }
    while let Some(stream) = connecting.join_next().await {
        tokio::task::spawn_local(read(stream??, received.clone(), buffer.clone()));
    }
    Ok(())
}

async fn connect(target: SocketAddr, channel: Option<&str>, number: usize) -> Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    // Addresses of this process alone: ports of a former one are still taken for a minute.
    let [_, _, high, low] = std::process::id().to_be_bytes();
    let source = Ipv4Addr::new(127, high.max(1), low, (2 + number / PER_ADDRESS) as u8);
    // Ports below those that the system gives out by itself, so that other programs do not run short of them.
    socket.set_reuseaddr(true)?;
    socket.bind((source, FIRST_PORT + (number % PER_ADDRESS) as u16).into())?;
    let mut stream = socket.connect(target).await.context("cannot connect")?;
    stream.set_nodelay(true)?;
    if let Some(channel) = channel {
        let commands = format!(
            "{{\"id\":1,\"connect\":{{\"name\":\"bench\"}}}}\n{{\"id\":2,\"subscribe\":{{\"channel\":\"{channel}\"}}}}"
        );
        handshake(&mut stream, target).await?;
        stream.write_all(&masked(commands.as_bytes())).await?;
        subscribed(&mut stream).await?;
    }
    Ok(stream)
}

async fn handshake(stream: &mut TcpStream, target: SocketAddr) -> Result<()> {
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

/// Waits for the reply to the subscribe.
async fn subscribed(stream: &mut TcpStream) -> Result<()> {
    let mut replies = Vec::new();
    while !replies.windows(12).any(|window| window == b"\"subscribe\":") {
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

/// Reads until the other side closes. All connections share one large buffer, so that one that has fallen
/// behind catches up in one read.
async fn read(stream: TcpStream, received: Arc<Received>, buffer: Rc<RefCell<Vec<u8>>>) {
    let mut rest: Vec<u8> = Vec::new();
    while stream.readable().await.is_ok() {
        let pings = {
            let mut buffer = buffer.borrow_mut();
            let kept = rest.len();
            buffer[..kept].copy_from_slice(&rest);
            let read = match stream.try_read(&mut buffer[kept..]) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => continue,
                Ok(0) | Err(_) => return,
                Ok(read) => read,
            };
            received.bytes.fetch_add(read as u64, Ordering::Relaxed);
            let (frames, pings, used) = frames(&buffer[..kept + read]);
            received.frames.fetch_add(frames, Ordering::Relaxed);
            rest.clear();
            rest.extend_from_slice(&buffer[used..kept + read]);
            pings
        };
        for _ in 0..pings {
            // The socket is empty in this direction: eight bytes always fit.
            if stream.try_write(&PONG).is_err() {
                return;
            }
        }
    }
}

/// How many publications and pings there are, and how many bytes they take.
fn frames(bytes: &[u8]) -> (u64, u64, usize) {
    let (mut frames, mut pings, mut at) = (0, 0, 0);
    while let [_, second, rest @ ..] = &bytes[at..] {
        let (head, len) = match (second, rest) {
            (126, [a, b, ..]) => (4, usize::from(u16::from_be_bytes([*a, *b]))),
            (127, [a, b, c, d, e, f, g, h, ..]) => {
                (10, u64::from_be_bytes([*a, *b, *c, *d, *e, *f, *g, *h]) as usize)
            }
            (126 | 127, _) => break,
            (len, _) => (2, usize::from(*len)),
        };
        let Some(payload) = bytes.get(at + head..at + head + len) else { break };
        if payload == b"{}" {
            pings += 1;
        } else {
            frames += 1;
        }
        at += head + len;
    }
    (frames, pings, at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_and_pings_are_told_apart_also_when_cut() {
        let mut bytes = vec![0x81, 3, b'a', b'b', b'c', 0x81, 2, b'{', b'}', 0x81, 126, 0, 200];
        assert_eq!(frames(&bytes), (1, 1, 9));
        bytes.extend([b'x'; 200]);
        assert_eq!(frames(&bytes), (2, 1, bytes.len()));
        assert_eq!(frames(&bytes[..1]), (0, 0, 0));
    }
}
