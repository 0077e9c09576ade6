//! What pushes cost whose history Redis keeps.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use tokio::runtime::Runtime;

use super::part::{OTHER_CORE, Part};
use super::pushes::{Streamed, of_json, streamed};
use super::server::{PATIENCE, Server, free_address};
use crate::cli::BenchArguments;

/// Its name, and where the tests have one.
const PROGRAM: &str = "redis-server";
const OF_THE_TESTS: &str = ".tools/stores";
/// What it says when it can be used.
const READY: &str = "Ready to accept connections";

/// Pushes to one channel on one stream; none if there is no Redis.
pub(super) fn measure(arguments: &BenchArguments, runtime: &Runtime) -> Result<Option<Streamed>> {
    let found = || find(std::env::var_os("PATH").as_deref().unwrap_or_default().as_ref());
    let Some(program) = arguments.redis_server.clone().or_else(found) else {
        return Ok(None);
    };
    // It lives on the core of the clients: what is counted is the server's part.
    let address = free_address()?;
    let port = address.port().to_string();
    let words = ["--bind", "127.0.0.1", "--port", &port, "--save", "", "--appendonly", "no"];
    let words = words.map(str::to_owned);
    let mut redis = Part::start_program(OTHER_CORE, &program, &words)?;
    while !redis.line().with_context(|| format!("{} does not start", program.display()))?.contains(READY) {}
    let settings = ["history.engine=redis".to_owned(), format!("history.redis.addresses=[\"{address}\"]")];
    let server = Server::start(arguments.shards, &settings, runtime)?;
    wait_until_it_keeps(&server, runtime)?;
    let time = Duration::from_secs(arguments.seconds);
    streamed(&server, runtime, "kept:nobody", time).map(Some)
}

/// The server connects to Redis by itself, as soon as it can.
fn wait_until_it_keeps(server: &Server, runtime: &Runtime) -> Result<()> {
    let started = Instant::now();
    while let Err(error) = runtime.block_on(server.pusher.publish(of_json("kept:first", "1".to_owned()))) {
        ensure!(started.elapsed() < PATIENCE, "the history in Redis cannot be used: {error:?}");
        std::thread::park_timeout(Duration::from_millis(50));
    }
    Ok(())
}

/// Looks through folders, as many as there are in a PATH, and then where the tests have it.
fn find(path: &Path) -> Option<PathBuf> {
    let folders = std::env::split_paths(path).chain([PathBuf::from(OF_THE_TESTS)]);
    folders.map(|folder| folder.join(PROGRAM)).find(|program| program.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_is_found_in_the_first_folder_that_has_it() {
        let folder = std::env::temp_dir().join(format!("fanfare-bench-find-{}", std::process::id()));
        let (empty, full) = (folder.join("empty"), folder.join("full"));
        std::fs::create_dir_all(&empty).unwrap();
        std::fs::create_dir_all(&full).unwrap();
        std::fs::write(full.join(PROGRAM), "").unwrap();
        let path = std::env::join_paths([&empty, &full]).unwrap();
        assert_eq!(find(path.as_ref()), Some(full.join(PROGRAM)));
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
