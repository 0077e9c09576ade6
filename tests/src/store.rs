//! A real Redis on a free port, ended with the test.

use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use crate::eventually::eventually;

/// A server that keeps nothing on disk.
#[derive(Debug)]
pub struct Store {
    process: Child,
    port: u16,
}

impl Default for Store {
    fn default() -> Self {
        Self::start()
    }
}

impl Store {
    /// Starts one.
    ///
    /// # Panics
    /// If it is not installed, or does not become ready.
    pub fn start() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("there is a free port");
        let port = listener.local_addr().expect("it has an address").port();
        drop(listener);
        Self { process: run(port), port }
    }

    /// What a Fanfare server is told so that it keeps its streams there.
    pub fn settings(&self) -> [String; 2] {
        let address = format!("history.redis.addresses=[\"127.0.0.1:{}\"]", self.port);
        ["history.engine=redis".to_owned(), address]
    }

    /// Ends it as a crash would.
    ///
    /// # Panics
    /// If it has ended before.
    pub fn kill(&mut self) {
        self.process.kill().expect("it runs");
        self.process.wait().expect("it ends");
    }

    /// Starts it again, empty, on the same port.
    ///
    /// # Panics
    /// If it does not become ready.
    pub fn start_again(&mut self) {
        self.process = run(self.port);
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        // It may have ended already; then there is nothing to end.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn run(port: u16) -> Child {
    let server = Path::new(env!("CARGO_MANIFEST_DIR")).join("../.tools/stores/redis-server");
    let process = Command::new(server)
        .args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", "", "--daemonize", "no"])
        .stdout(Stdio::null())
        .spawn()
        .expect("there is .tools/stores/redis-server: `make setup` puts it there");
    eventually("Redis is ready", || TcpStream::connect((Ipv4Addr::LOCALHOST, port)).ok());
    process
}
