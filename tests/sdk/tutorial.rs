//! The tutorial's commands and clients, run exactly as they stand there, with the example for production.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};

use fanfare_tests::eventually::eventually;
use fanfare_tests::sandbox::{Sandbox, binary};

use crate::program::{Program, assert_installed};

const DOCUMENT: &str = include_str!("../../docs/tutorial.md");

/// The tutorial's folder, and the server that runs in it.
struct Tutorial {
    folder: PathBuf,
    server: Sandbox,
}

impl Tutorial {
    /// Does what the tutorial does until the server runs. The folder is named after the test.
    fn begin(test: &str) -> Self {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("tutorial").join(test);
        if folder.exists() {
            std::fs::remove_dir_all(&folder).expect("what an earlier run has left can be removed");
        }
        std::fs::create_dir_all(&folder).expect("a folder can be made");
        let example = root().join("deploy/examples/production.toml");
        std::fs::copy(example, folder.join("production.toml")).expect("the example can be copied");
        for name in ["certificates", "secrets", "token"] {
            Program::spawn(format!("{name} of docs/tutorial.md"), shell(&folder, block(name))).succeeds();
        }
        let server = Sandbox::configured_in(&folder, Path::new("production.toml"));
        Self { folder, server }
    }

    /// Runs a block with the variables that the tutorial has set by then, and returns what it prints.
    fn run(&self, name: &str, key: &str) -> String {
        let mut command = shell(&self.folder, block(name));
        command
            .env("FANFARE_CLI__ENDPOINT", format!("https://localhost:{}", self.server.api.port()))
            .env("FANFARE_CLI__CA_FILE", "tls/ca.pem")
            .env("FANFARE_CLI__API_KEY_FILE", key);
        Program::spawn(format!("{name} of docs/tutorial.md"), command).succeeds()
    }

    fn javascript(&self) -> Client {
        let modules = root().join("tests/js/node_modules");
        assert_installed(&modules.join("centrifuge"));
        let link = self.folder.join("node_modules");
        if !link.exists() {
            std::os::unix::fs::symlink(modules, link).expect("a link can be made");
        }
        let mut command = Command::new("node");
        command.args(["client.mjs", "ann"]).env("NODE_EXTRA_CA_CERTS", "tls/ca.pem");
        self.client("client.mjs", command)
    }

    fn python(&self) -> Client {
        let python = root().join(".tools/python/bin/python");
        assert_installed(&python);
        let mut command = Command::new(python);
        command.args(["client.py", "bob"]).env("PYTHONDONTWRITEBYTECODE", "1").env("no_proxy", "localhost");
        self.client("client.py", command)
    }

    fn client(&self, file: &str, mut command: Command) -> Client {
        std::fs::write(self.folder.join(file), block(file)).expect("a file can be written");
        let url = format!("wss://localhost:{}/connection/websocket", self.server.clients.port());
        let command = command.current_dir(&self.folder).env("FANFARE_URL", url).env("PATH", path());
        Client::start(file, command)
    }
}

/// One of the tutorial's clients. It runs until it is dropped.
struct Client {
    file: String,
    process: Child,
    said: Arc<Mutex<Vec<String>>>,
}

impl Client {
    fn start(file: &str, command: &mut Command) -> Self {
        let mut process = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{file}: {error}: run `make test`"));
        let output = process.stdout.take().expect("its output is piped");
        let said = Arc::new(Mutex::new(Vec::new()));
        let lines = said.clone();
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                lines.lock().expect("nothing panics under the lock").push(line);
            }
        });
        Self { file: file.to_owned(), process, said }
    }

    /// Waits until it has said a line that begins so.
    fn says(&self, beginning: &str) {
        eventually(&format!("{} says {beginning:?}", self.file), || {
            self.said().iter().any(|line| line.starts_with(beginning)).then_some(())
        });
    }

    fn said(&self) -> Vec<String> {
        self.said.lock().expect("nothing panics under the lock").clone()
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        // It may have ended already; then there is nothing to end.
        let _ = self.process.kill();
        let _ = self.process.wait();
        if std::thread::panicking() {
            eprintln!("{} has said: {:#?}", self.file, self.said());
        }
    }
}

/// What stands in the block of this name, such as ```` ```sh token ````.
fn block(name: &str) -> &'static str {
    let fences = DOCUMENT.split("\n```").skip(1).step_by(2);
    let mut named = fences.filter_map(|block| {
        let (head, text) = block.split_once('\n')?;
        (head.split_once(' ')?.1 == name).then_some(text)
    });
    let found = named.next().unwrap_or_else(|| panic!("docs/tutorial.md has no block {name}"));
    assert_eq!(named.next(), None, "docs/tutorial.md has one block {name}");
    found
}

/// A shell that runs the text and ends when a command of it fails.
fn shell(folder: &Path, text: &str) -> Command {
    let mut command = Command::new("sh");
    command.args(["-e", "-c", text]).current_dir(folder).env("PATH", path());
    command
}

/// Where the binary under test is called `fanfare`.
fn path() -> String {
    let binary = PathBuf::from(binary());
    let folder = binary.parent().expect("it lies in a folder");
    format!("{}:{}", folder.display(), std::env::var("PATH").unwrap_or_default())
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize().expect("the workspace is there")
}

#[test]
fn the_clients_of_the_tutorial_get_what_it_pushes_and_stay_away_when_they_are_sent_away() {
    let tutorial = Tutorial::begin("clients");
    let ann = tutorial.javascript();
    ann.says("connected: ");
    ann.says(r#"chat:lobby {"text":"hello from JavaScript"} from ann"#);
    let bob = tutorial.python();
    bob.says("connected: ");
    bob.says(r#"chat:lobby {"text": "hello from Python"} from bob"#);
    ann.says(r#"chat:lobby {"text":"hello from Python"} from bob"#);

    let receipts = tutorial.run("push", "secrets/api-shop");
    let written: Vec<_> = receipts.lines().filter(|line| line.starts_with("written")).collect();
    assert_eq!(written, ["written       2", "written       2", "written       1"], "{receipts}");
    ann.says(r#"news:sport {"goal":2}"#);
    ann.says(r#"chat:lobby {"text":"closing soon"} from a backend"#);
    ann.says(r#"#ann {"mail":1}"#);
    bob.says(r#"news:sport {"goal": 2}"#);
    bob.says(r#"chat:lobby {"text": "closing soon"} from a backend"#);

    tutorial.run("away", "secrets/api-on-call");
    bob.says("disconnected: 4501 account closed");
    ann.says("disconnected: 3500 invalid token");
    assert!(!bob.said().iter().any(|line| line.contains("mail")), "{:?}", bob.said());
}

#[test]
fn the_token_keys_of_the_tutorial_change_while_the_server_runs() {
    let tutorial = Tutorial::begin("rotation");
    let answer = || {
        let client = tutorial.javascript();
        eventually("the client says how it went", || client.said().into_iter().next())
    };
    assert!(answer().starts_with("connected: "));
    tutorial.run("new-key", "");
    tutorial.run("new-tokens", "");
    // Until the server has read the new key, its tokens are not good.
    eventually("the new key is good", || answer().starts_with("connected: ").then_some(()));

    // As a thief would have it: the script of the beginning finds its key in the configuration no more.
    let stolen = "#!/bin/sh\nexec fanfare token --secret-file secrets/token-2026-11 --kid 2026-11 \
        --audience fanfare --issuer https://app.example.com --user \"$1\"";
    std::fs::write(tutorial.folder.join("token"), stolen).expect("a file can be written");
    assert!(answer().starts_with("connected: "), "the old key is good as well");
    tutorial.run("old-key", "");
    eventually("the old key is not good", || (answer() == "disconnected: 3500 invalid token").then_some(()));
}
