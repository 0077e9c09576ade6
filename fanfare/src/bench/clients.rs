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
use tokio_rustls::client::TlsStream;

use super::speech::{Manner, speak};
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
    let manner = Manner::new(&arguments.part)?;
    let (count, counted) = (arguments.connections, received.clone());
    // queue: readiness of a bench's clients
    let (ready, wait) = std::sync::mpsc::sync_channel(1);
    let thread = std::thread::Builder::new().name("clients".to_owned()).spawn(move || {
        runtime.block_on(async move {
            let local = LocalSet::new();
            let connected = local.run_until(connect_all(target, manner, count, &received)).await;
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
    manner: Manner,
    count: usize,
    received: &Arc<Received>,
) -> Result<()> {
    let buffer = Rc::new(RefCell::new(vec![0; BUFFER]));
    // queue: connections of a bench that are being made
    let places = Arc::new(Semaphore::new(AT_ONCE));
    let mut connecting = JoinSet::new();
    for number in 0..count {
        let place = places.clone().acquire_owned().await?;
        let manner = manner.clone();
        connecting.spawn(async move {
            let stream = connect(target, &manner, number).await;
            drop(place);
            stream
        });
    }
    while let Some(stream) = connecting.join_next().await {
        match stream?? {
            Stream::Plain(stream) => {
                tokio::task::spawn_local(read(stream, received.clone(), buffer.clone()));
            }
            Stream::Tls(stream) => drop(tokio::task::spawn_local(answer_pings(stream))),
        }
    }
    Ok(())
}

async fn connect(target: SocketAddr, manner: &Manner, number: usize) -> Result<Stream> {
    let socket = TcpSocket::new_v4()?;
    // Addresses of this process alone: ports of a former one are still taken for a minute.
    let [_, _, high, low] = std::process::id().to_be_bytes();
    let source = Ipv4Addr::new(127, high.max(1), low, (2 + number / PER_ADDRESS) as u8);
    // Ports below those that the system gives out by itself, so that other programs do not run short of them.
    socket.set_reuseaddr(true)?;
    socket.bind((source, FIRST_PORT + (number % PER_ADDRESS) as u16).into())?;
    let mut stream = socket.connect(target).await.context("cannot connect")?;
    stream.set_nodelay(true)?;
    let Some(tls) = &manner.tls else {
        speak(&mut stream, target, manner, number).await?;
        return Ok(Stream::Plain(stream));
    };
    let mut stream = tls.connect("localhost".try_into()?, stream).await.context("no TLS")?;
    speak(&mut stream, target, manner, number).await?;
    Ok(Stream::Tls(Box::new(stream)))
}

/// A connection that is made.
enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

/// Reads until the other side closes, and answers what it is asked: nothing but pings comes.
async fn answer_pings(mut stream: Box<TlsStream<TcpStream>>) {
    let mut ping = [0; 4];
    while stream.read_exact(&mut ping).await.is_ok() && stream.write_all(&PONG).await.is_ok() {}
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
pub(super) fn frames(bytes: &[u8]) -> (u64, u64, usize) {
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
