//! The processes of a measurement: each on its core, spoken to by lines, ended with the measurement.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use anyhow::{Context as _, Result, ensure};

/// The core of the server and of the bare loop.
pub(super) const SERVER_CORE: usize = 0;
/// The core of everything else.
pub(super) const OTHER_CORE: usize = 1;

/// A process of the measurement.
pub(super) struct Part {
    process: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
}

impl Part {
    /// Starts this very binary with other arguments on a core.
    pub(super) fn start(core: usize, arguments: &[String]) -> Result<Self> {
        let binary = std::env::current_exe().context("this binary has no path")?;
        Self::start_program(core, &binary, arguments)
    }

    /// Starts a program on a core.
    pub(super) fn start_program(core: usize, program: &Path, arguments: &[String]) -> Result<Self> {
        // taskset is part of util-linux, which every Debian has.
        let mut command = Command::new("taskset");
        command.arg("-c").arg(core.to_string()).arg(program).args(arguments);
        let mut process = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("cannot start a process on one core: is taskset installed?")?;
        let input = process.stdin.take();
        let output = process.stdout.take().context("its output is piped")?;
        Ok(Self { process, input, output: BufReader::new(output) })
    }

    /// Starts client sides of connections, each of which goes by `manner`, and waits until all are there.
    pub(super) fn clients(connections: usize, target: SocketAddr, manner: &[String]) -> Result<Self> {
        let mut words = bench_clients(connections, target);
        words.extend_from_slice(manner);
        let mut clients = Self::start(OTHER_CORE, &words)?;
        ensure!(clients.line()? == "ready", "the clients are not ready");
        Ok(clients)
    }

    pub(super) fn pid(&self) -> u32 {
        self.process.id()
    }

    /// The next line that it prints.
    pub(super) fn line(&mut self) -> Result<String> {
        let mut line = String::new();
        let read = self.output.read_line(&mut line)?;
        ensure!(read > 0, "a process of the measurement has ended early");
        Ok(line.trim_end().to_owned())
    }

    /// Reads lines until one begins with `word`, and returns the first address behind it.
    pub(super) fn address_after(&mut self, word: &str) -> Result<SocketAddr> {
        loop {
            let line = self.line()?;
            if let Some(rest) = line.trim_start().strip_prefix(word) {
                let mut words = rest.split(|character: char| character.is_whitespace() || character == '/');
                return words.find_map(|word| word.parse().ok()).context("the line has an address");
            }
        }
    }

    /// Says something and returns the answer.
    pub(super) fn ask(&mut self, question: &str) -> Result<String> {
        let input = self.input.as_mut().context("it listens")?;
        writeln!(input, "{question}")?;
        self.line()
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        // It may have ended by itself; then there is nothing to end.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The arguments of a part that holds the client side of connections.
pub(super) fn bench_clients(connections: usize, target: SocketAddr) -> Vec<String> {
    let words =
        [format!("--connections={connections}"), format!("--target={target}"), "--role=clients".to_owned()];
    std::iter::once("bench".to_owned()).chain(words).collect()
}
