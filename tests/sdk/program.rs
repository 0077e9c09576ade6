//! A scenario: a program in another language that uses a server, asserts what it sees, then ends by itself.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use fanfare_tests::sandbox::Sandbox;
use fanfare_tests::tls::Authority;
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// How long a scenario may take. Its own waits are shorter and say what they waited for.
const LIMIT: Duration = Duration::from_secs(60);

/// What the client protocol's messages are encoded in.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Encoding {
    Json,
    Protobuf,
}

/// The SDK's language.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Language {
    JavaScript,
    Python,
}

/// A scenario that runs.
#[derive(Debug)]
pub(crate) struct Program {
    name: String,
    pid: u32,
    runtime: Runtime,
    output: JoinHandle<std::io::Result<Output>>,
}

/// Runs a scenario from beginning to end.
///
/// # Panics
/// If it fails.
pub(crate) fn run(server: &Sandbox, name: &str, language: Language, encoding: Encoding) {
    Program::start(server, name, language, encoding).succeeds();
}

/// Runs a scenario against a server that speaks TLS to its clients, with a certificate of this authority.
///
/// # Panics
/// If it fails.
pub(crate) fn run_over_tls(
    server: &Sandbox,
    authority: &Authority,
    name: &str,
    (language, encoding): (Language, Encoding),
) {
    let file = authority.file();
    let trust = [("NODE_EXTRA_CA_CERTS", file.as_path()), ("FANFARE_AUTHORITY", file.as_path())];
    Program::start_with(server, name, (language, encoding), &trust).succeeds();
}

impl Program {
    /// Starts the scenario of this name, with the server's addresses and the encoding as its arguments.
    ///
    /// # Panics
    /// If what it needs is not installed.
    pub(crate) fn start(server: &Sandbox, name: &str, language: Language, encoding: Encoding) -> Self {
        Self::start_with(server, name, (language, encoding), &[])
    }

    fn start_with(
        server: &Sandbox,
        name: &str,
        (language, encoding): (Language, Encoding),
        environment: &[(&str, &Path)],
    ) -> Self {
        let encoding = match encoding {
            Encoding::Json => "json",
            Encoding::Protobuf => "protobuf",
        };
        let (interpreter, script) = language.locate(name);
        let mut command = Command::new(interpreter);
        command
            .arg(&script)
            .args([&server.clients.to_string(), &server.api.to_string(), encoding])
            .envs(environment.iter().copied())
            .env("FANFARE_SCREENSHOTS", env!("CARGO_TARGET_TMPDIR"));
        Self::spawn(format!("{} with {encoding}", script.display()), command)
    }

    /// Starts any program, which errors call by this name.
    ///
    /// # Panics
    /// If it is not installed.
    pub(crate) fn spawn(name: String, mut command: Command) -> Self {
        let process = command
            // Programs under test leave nothing beside their sources.
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{name}: {error}: run `make test`"));
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime starts");
        let pid = process.id();
        let output = runtime.spawn_blocking(move || process.wait_with_output());
        Self { name, pid, runtime, output }
    }

    /// Waits until the program has ended, and returns what it said on its standard output.
    ///
    /// # Panics
    /// If it fails or takes too long; with all that it printed.
    pub(crate) fn succeeds(mut self) -> String {
        let ended = self.runtime.block_on(async { timeout(LIMIT, &mut self.output).await });
        let in_time = ended.is_ok();
        let output = ended.unwrap_or_else(|_| {
            self.kill();
            self.runtime.block_on(&mut self.output)
        });
        let output = output.expect("the wait does not panic").expect("it is our child");
        let [said, complained] =
            [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned());
        assert!(
            in_time && output.status.success(),
            "{} {}:\n{said}{complained}",
            self.name,
            if in_time { output.status.to_string() } else { format!("took longer than {LIMIT:?}") },
        );
        said
    }

    fn kill(&self) {
        // It may have ended at this very moment; then there is nothing to end.
        let _ = Command::new("kill").args(["-s", "KILL", &self.pid.to_string()]).status();
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        if !self.output.is_finished() {
            self.kill();
        }
    }
}

impl Language {
    /// The interpreter, and the script of a scenario.
    fn locate(self, name: &str) -> (PathBuf, PathBuf) {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let (interpreter, modules, script) = match self {
            Self::JavaScript => {
                ("node".into(), "tests/js/node_modules/centrifuge", format!("tests/js/{name}.mjs"))
            }
            Self::Python => {
                let python = ".tools/python/bin/python";
                (root.join(python), python, format!("tests/python/{name}.py"))
            }
        };
        assert_installed(&root.join(modules));
        (interpreter, root.join(script))
    }
}

/// Fails if what a scenario needs is not on this machine.
///
/// # Panics
/// With what to do.
pub(crate) fn assert_installed(path: &Path) {
    assert!(path.exists(), "{} is not there: run `make test`", path.display());
}
