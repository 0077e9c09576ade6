//! The bare loop: as many sockets, one write(2) to each, and nothing else, than which no server can be cheaper.

use std::io::{BufRead as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

use anyhow::Result;

use super::fan_out::FRAME_HEADER;
use super::usage::cpu_time;
use crate::cli::BenchArguments;

/// How long it writes when it is told to.
const ROUND: Duration = Duration::from_secs(1);

/// Accepts the connections, says "ready", and answers a number of frames per write with the deliveries and
/// CPU nanoseconds of one round.
pub(super) fn run(arguments: &BenchArguments) -> Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    println!("floor {}", listener.local_addr()?);
    let mut sockets = Vec::with_capacity(arguments.connections);
    while sockets.len() < arguments.connections {
        let (socket, _) = listener.accept()?;
        socket.set_nodelay(true)?;
        sockets.push(socket);
    }
    println!("ready");
    // Frames as a server writes them, so that the readers have the same to do.
    let frame = frame(arguments.size);
    for line in std::io::stdin().lock().lines() {
        let frames: usize = line?.parse()?;
        let (writes, cpu) = measure(&mut sockets, &frame.repeat(frames))?;
        println!("{} {}", writes * frames as u64, cpu.as_nanos());
    }
    Ok(())
}

fn measure(sockets: &mut [TcpStream], message: &[u8]) -> Result<(u64, Duration)> {
    let (before, started) = (cpu_time(std::process::id())?, Instant::now());
    let mut writes = 0;
    while started.elapsed() < ROUND {
        for socket in &mut *sockets {
            socket.write_all(message)?;
        }
        writes += sockets.len() as u64;
    }
    Ok((writes, cpu_time(std::process::id())? - before))
}

/// A text frame of so many bytes, header and all.
fn frame(size: usize) -> Vec<u8> {
    let payload = size.saturating_sub(FRAME_HEADER);
    let [high, low] = (payload as u16).to_be_bytes();
    let mut frame = vec![0x81, 126, high, low];
    frame.resize(FRAME_HEADER + payload, b'x');
    frame
}
