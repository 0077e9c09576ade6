//! What it costs the server to let clients in: with a token that is new, with one that it knows, and with TLS.

use std::path::PathBuf;

use anyhow::{Context as _, Result};
use tokio::runtime::Runtime;

use super::part::Part;
use super::server::Server;
use super::usage::{cpu_time, micros, settled_memory};
use crate::cli::BenchArguments;

/// Clients to warm up before anything counts.
const WARM_UP: usize = 200;

/// CPU time per connect, in microseconds, and memory per connection, in bytes.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Doors {
    pub(super) new_token_cpu_us: f64,
    pub(super) known_token_cpu_us: f64,
    pub(super) tls_cpu_us: f64,
    pub(super) tls_bytes: f64,
}

pub(super) fn measure(arguments: &BenchArguments, runtime: &Runtime) -> Result<Doors> {
    let mut doors = Doors::default();
    let server = Server::start(arguments.shards, &[], runtime)?;
    drop(Part::clients(WARM_UP, server.clients, &["--channel=warm".to_owned()])?);
    let tokens = ["--tokens".to_owned()];
    for figure in [&mut doors.new_token_cpu_us, &mut doors.known_token_cpu_us] {
        let before = cpu_time(server.part.pid())?;
        let crowd = Part::clients(arguments.connections, server.clients, &tokens)?;
        *figure = micros(cpu_time(server.part.pid())? - before) / arguments.connections as f64;
        drop(crowd);
        // Its leaving is no part of the next one's coming.
        settled_memory(server.part.pid())?;
    }
    drop(server);
    let certificate = Certificate::make()?;
    let server = Server::start(arguments.shards, &[certificate.setting()], runtime)?;
    let tls = ["--channel=tls".to_owned(), format!("--root={}", certificate.file.display())];
    drop(Part::clients(WARM_UP, server.clients, &tls)?);
    let (empty, before) = (settled_memory(server.part.pid())?, cpu_time(server.part.pid())?);
    let crowd = Part::clients(arguments.connections, server.clients, &tls)?;
    doors.tls_cpu_us = micros(cpu_time(server.part.pid())? - before) / arguments.connections as f64;
    let bytes = settled_memory(server.part.pid())?.saturating_sub(empty);
    doors.tls_bytes = bytes as f64 / arguments.connections as f64;
    drop(crowd);
    Ok(doors)
}

/// A certificate for this machine, in files that go away with it.
struct Certificate {
    folder: PathBuf,
    file: PathBuf,
    key: PathBuf,
}

impl Certificate {
    fn make() -> Result<Self> {
        let folder = std::env::temp_dir().join(format!("fanfare-bench-{}", std::process::id()));
        std::fs::create_dir_all(&folder).context("cannot make a temporary folder")?;
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()])?;
        let (file, key) = (folder.join("certificate.pem"), folder.join("key.pem"));
        std::fs::write(&file, made.cert.pem())?;
        std::fs::write(&key, made.signing_key.serialize_pem())?;
        Ok(Self { folder, file, key })
    }

    fn setting(&self) -> String {
        let (file, key) = (self.file.display(), self.key.display());
        format!("client.tls.certificates=[{{certificate_file=\"{file}\",key_file=\"{key}\"}}]")
    }
}

impl Drop for Certificate {
    fn drop(&mut self) {
        // What is left in the temporary folder harms nobody.
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}
