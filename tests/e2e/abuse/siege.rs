//! A server under attack: what it had before, and the proof that it has no more afterwards.

use std::fs;
use std::io::Write as _;
use std::time::{Duration, Instant};

use fanfare_tests::eventually::eventually;
use fanfare_tests::sandbox::Sandbox;
use fanfare_tests::websocket::{CLOSE, Frame, TEXT, WebSocket};
use serde_json::Value;

use crate::bystander::Bystander;
use crate::churn::{held, only_the_bystander_is_left};

/// Memory, in KiB, that may be left: what the allocator keeps for the next time, and what is made once and for all.
const KEPT: u64 = 8 << 10;
/// How much longer a push to the bystander may take than before. The best of a few counts: a busy machine makes
/// some of them slow, an unfair server all.
const SLOWER: Duration = Duration::from_millis(250);
const PUSHES: usize = 5;

/// A server with a bystander, and how both were before anybody came.
pub(crate) struct Siege {
    server: Sandbox,
    bystander: Bystander,
    memory: u64,
    kept: u64,
    files: usize,
    latency: Duration,
}

impl Siege {
    pub(crate) fn begin() -> Self {
        Self::begin_with(&[])
    }

    /// With further settings, each `key=value`.
    pub(crate) fn begin_with(settings: &[&str]) -> Self {
        let server = Sandbox::start_with(settings);
        let mut bystander = Bystander::of(&server);
        // What a first client brings into being is not what an attack leaves.
        drop(WebSocket::subscribed(server.clients, "first"));
        only_the_bystander_is_left(&server);
        let latency = latency(&server, &mut bystander);
        let (memory, (files, _)) = (memory(&server), held(&server));
        Self { server, bystander, memory, kept: KEPT, files, latency }
    }

    /// With another margin for memory, in MiB: tables that have grown stay so, to be filled again.
    pub(crate) fn keeping(mut self, mib: u64) -> Self {
        self.kept = mib << 10;
        self
    }

    /// Lets somebody attack. While what the attack returns is still held, the bystander is served promptly; when it
    /// is let go, everything is as before.
    pub(crate) fn attack<T>(&mut self, what: &str, attack: impl FnOnce(&Sandbox) -> T) {
        let remains = attack(&self.server);
        self.bystander_is_served_promptly(what);
        drop(remains);
        only_the_bystander_is_left(&self.server);
        self.bystander_is_served_promptly(what);
        eventually(&format!("after {what}, memory and files are as before"), || {
            let (memory, (files, _)) = (memory(&self.server), held(&self.server));
            (memory <= self.memory + self.kept && files <= self.files + 8).then_some(())
        });
    }

    fn bystander_is_served_promptly(&mut self, what: &str) {
        let latency = latency(&self.server, &mut self.bystander);
        let before = self.latency;
        assert!(latency <= before + SLOWER, "{what}: a push takes {latency:?}, before {before:?}");
    }
}

/// The best of a few pushes.
fn latency(server: &Sandbox, bystander: &mut Bystander) -> Duration {
    let mut push = || {
        let started = Instant::now();
        bystander.is_served(server);
        started.elapsed()
    };
    (0..PUSHES).map(|_| push()).min().expect("there are some")
}

/// What the server's process has for itself, in KiB; its code is not counted.
fn memory(server: &Sandbox) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", server.pid())).expect("the process is there");
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).expect("Linux tells it");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}

/// Sends bytes to somebody who may have hung up. Returns whether all were taken.
pub(crate) fn say(socket: &WebSocket, bytes: &[u8]) -> bool {
    socket.stream().write_all(bytes).is_ok()
}

/// What became of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// An answer without an error.
    Served,
    /// An answer with this error.
    Error(u64),
    /// The connection was closed with this code.
    Closed(u16),
}

/// Connects, sends one message and says what became of it.
pub(crate) fn verdict(server: &Sandbox, text: &str) -> Verdict {
    let mut socket = WebSocket::connect(server.clients);
    say(&socket, &Frame::new(TEXT, text).to_bytes());
    next_verdict(&mut socket)
}

/// What becomes of the last message in JSON.
pub(crate) fn next_verdict(socket: &mut WebSocket) -> Verdict {
    let frame = socket.read_frame().expect("nobody is left without a word");
    if frame.opcode == CLOSE {
        return Verdict::Closed(frame.code());
    }
    let answer: Value = serde_json::from_slice(&frame.payload).expect("one answer in JSON");
    answer["error"]["code"].as_u64().map_or(Verdict::Served, Verdict::Error)
}
