//! The programs of docs/clients.md, run exactly as they stand there.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use fanfare_tests::sandbox::Sandbox;
use fanfare_tests::websocket::WebSocket;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose};
use serde_json::json;

use crate::program::{Program, assert_installed};
use crate::stand_in::StandIn;

const DOCUMENT: &str = include_str!("../../docs/clients.md");
const KEY: &str = "the-key-of-a-backend";
/// As many messages as the programs push on a stream.
const MANY: usize = 1000;

/// A language whose programs are run.
#[derive(Clone, Copy)]
enum Language {
    Python,
    Node,
}

/// A folder with the exported protos and the programs of one language, as a reader of the document has it.
struct Project {
    folder: PathBuf,
    language: Language,
    environment: Vec<(&'static str, String)>,
}

impl Project {
    /// The folder is named after the test.
    fn new(test: &str, language: Language) -> Self {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("documented").join(test);
        if folder.exists() {
            std::fs::remove_dir_all(&folder).expect("what an earlier run has left can be removed");
        }
        std::fs::create_dir_all(&folder).expect("a folder can be made");
        let export = root().join("scripts/proto-export");
        let mut project = Self { folder, language, environment: Vec::new() };
        project.run("scripts/proto-export", Command::new(export).arg("proto"));
        for (name, program) in blocks(language) {
            std::fs::write(project.folder.join(name), program).expect("a file can be written");
        }
        match language {
            Language::Python => {
                assert_installed(&python());
                let binaries = python().parent().expect("it lies in a folder").to_owned();
                let path = format!("{}:{}", binaries.display(), std::env::var("PATH").unwrap_or_default());
                project.environment.push(("PATH", path));
                project.run("compile-python", Command::new("sh").arg("compile-python"));
            }
            Language::Node => {
                let modules = root().join("tests/js/node_modules");
                assert_installed(&modules.join("@grpc"));
                std::os::unix::fs::symlink(modules, project.folder.join("node_modules"))
                    .expect("a link can be made");
            }
        }
        project
    }

    /// With the key, and the authority of the server's certificate.
    fn with_key(mut self, authority: &str) -> Self {
        std::fs::write(self.folder.join("ca.pem"), authority).expect("a file can be written");
        self.environment.push(("FANFARE_API_KEY", KEY.to_owned()));
        self.environment.push(("FANFARE_CA_FILE", "ca.pem".to_owned()));
        self
    }

    fn push(&self, api: SocketAddr) -> String {
        self.program("push", api)
    }

    fn push_stream(&self, api: SocketAddr) -> String {
        self.program("push_stream", api)
    }

    fn program(&self, name: &str, api: SocketAddr) -> String {
        let (interpreter, ending) = match self.language {
            Language::Python => (python(), "py"),
            Language::Node => ("node".into(), "mjs"),
        };
        let file = format!("{name}.{ending}");
        let endpoint = format!("localhost:{}", api.port());
        self.run(&file, Command::new(interpreter).arg(&file).env("FANFARE_ENDPOINT", endpoint))
    }

    /// Runs it in the folder, and returns what it prints.
    fn run(&self, name: &str, command: &mut Command) -> String {
        let mut own = Command::new(command.get_program());
        own.args(command.get_args()).current_dir(&self.folder);
        for variable in ["FANFARE_ENDPOINT", "FANFARE_API_KEY", "FANFARE_CA_FILE"] {
            own.env_remove(variable);
        }
        let given = command.get_envs().filter_map(|(key, value)| Some((key, value?)));
        own.envs(given).envs(self.environment.iter().cloned()).env("no_proxy", "localhost");
        Program::spawn(format!("{} in {}", name, self.folder.display()), own).succeeds()
    }
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize().expect("the workspace is there")
}

fn python() -> PathBuf {
    root().join(".tools/python/bin/python")
}

/// Name and text of every block of a language that has a name, such as ```` ```python push.py ````.
fn blocks(language: Language) -> Vec<(&'static str, &'static str)> {
    let wanted: &[&str] = match language {
        Language::Python => &["compile-python", "push.py", "push_stream.py"],
        Language::Node => &["push.mjs", "push_stream.mjs"],
    };
    let fences = DOCUMENT.split("\n```").skip(1).step_by(2);
    let named = fences.filter_map(|block| {
        let (head, text) = block.split_once('\n')?;
        Some((head.split_once(' ')?.1, text))
    });
    let found: Vec<_> = named.filter(|(name, _)| wanted.contains(name)).collect();
    let names: Vec<_> = found.iter().map(|(name, _)| *name).collect();
    assert_eq!(names, wanted, "the blocks of docs/clients.md");
    found
}

/// A server with a key and TLS, and the authority that its certificate is of.
fn guarded(test: &str) -> (Sandbox, String) {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("documented");
    std::fs::create_dir_all(&folder).expect("a folder can be made");
    let (certificate_file, key_file) =
        (folder.join(format!("{test}.pem")), folder.join(format!("{test}.key")));

    let mut authority = CertificateParams::default();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    authority.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    // Under the library's one name for all, the certificate below would look like one that has signed itself.
    authority.distinguished_name.push(DnType::CommonName, "the authority of a test");
    let authority_key = KeyPair::generate().expect("a key can be made");
    let authority_pem = authority.self_signed(&authority_key).expect("an authority can be made").pem();
    let key = KeyPair::generate().expect("a key can be made");
    let certificate = CertificateParams::new(["localhost".to_owned()])
        .and_then(|params| params.signed_by(&key, &Issuer::new(authority, authority_key)))
        .expect("a certificate can be made");
    std::fs::write(&certificate_file, certificate.pem()).expect("a file can be written");
    std::fs::write(&key_file, key.serialize_pem()).expect("a file can be written");

    let server = Sandbox::configured(&format!(
        r#"
        [client]
        allow_anonymous_connect_without_token = true
        [channel.without_namespace]
        allow_subscribe_for_client = true
        allow_subscribe_for_anonymous = true
        [[api.keys]]
        name = "backend"
        roles = ["push"]
        key = "{KEY}"
        [[api.tls.certificates]]
        certificate_file = "{}"
        key_file = "{}"
        "#,
        certificate_file.display(),
        key_file.display()
    ));
    (server, authority_pem)
}

fn a_push_arrives(server: &Sandbox, project: &Project, hello: &str) {
    let mut subscriber = WebSocket::subscribed(server.clients, "news");
    assert_eq!(project.push(server.api), "written to 1 of 1 connections\n");
    assert_eq!(subscriber.next_data("news"), json!({ "hello": hello }));
}

fn a_stream_arrives(server: &Sandbox, project: &Project) {
    let mut subscriber = WebSocket::subscribed(server.clients, "news");
    assert_eq!(project.push_stream(server.api), "1000 of 1000 accepted\n");
    for number in 0..MANY {
        assert_eq!(subscriber.next_data("news"), json!(number));
    }
}

/// What was refused for now comes again: a push at once, of a stream the hundred at its end and in their order.
fn what_is_refused_is_tried_again(test: &str, language: Language, hello: &str) {
    let project = Project::new(test, language);
    let busy = StandIn::start();
    assert_eq!(project.push(busy.address), "written to 1 of 1 connections\n");
    assert_eq!((busy.refused(), busy.accepted().len()), (1, 1));
    assert!(busy.accepted()[0].contains(hello), "{:?}", busy.accepted());

    let busy = StandIn::start();
    assert_eq!(project.push_stream(busy.address), "1000 of 1000 accepted\n");
    assert_eq!(busy.refused(), MANY / 10);
    let (refused, accepted): (Vec<_>, Vec<_>) = (0..MANY).partition(|number| (number + 1) % 10 == 0);
    let expected: Vec<_> = accepted.into_iter().chain(refused).map(|number| number.to_string()).collect();
    assert_eq!(busy.accepted(), expected);
}

#[test]
fn the_push_of_the_document_arrives_from_python() {
    a_push_arrives(&Sandbox::start(), &Project::new("python-push", Language::Python), "python");
}

#[test]
fn the_push_of_the_document_arrives_from_node() {
    a_push_arrives(&Sandbox::start(), &Project::new("node-push", Language::Node), "node");
}

#[test]
fn the_stream_of_the_document_arrives_from_python() {
    a_stream_arrives(&Sandbox::start(), &Project::new("python-stream", Language::Python));
}

#[test]
fn the_stream_of_the_document_arrives_from_node() {
    a_stream_arrives(&Sandbox::start(), &Project::new("node-stream", Language::Node));
}

#[test]
fn the_programs_of_the_document_try_again_when_told_in_python() {
    what_is_refused_is_tried_again("python-again", Language::Python, "python");
}

#[test]
fn the_programs_of_the_document_try_again_when_told_in_node() {
    what_is_refused_is_tried_again("node-again", Language::Node, "node");
}

#[test]
fn the_programs_of_the_document_show_their_key_over_tls_in_python() {
    let (server, authority) = guarded("python-key");
    let project = Project::new("python-key", Language::Python).with_key(&authority);
    a_push_arrives(&server, &project, "python");
    a_stream_arrives(&server, &project);
}

#[test]
fn the_programs_of_the_document_show_their_key_over_tls_in_node() {
    let (server, authority) = guarded("node-key");
    let project = Project::new("node-key", Language::Node).with_key(&authority);
    a_push_arrives(&server, &project, "node");
    a_stream_arrives(&server, &project);
}

/// What the link and the client protocol say is nobody's business outside.
#[test]
fn the_export_has_the_public_protos_alone_and_its_archive_the_same() {
    let project = Project::new("export", Language::Node);
    let listed = project.run("tar", Command::new("tar").args(["--list", "--file", "proto.tar.gz"]));
    let mut files: Vec<_> = listed.lines().filter_map(|line| line.split_once('/')).collect();
    files.retain(|(_, path)| !path.is_empty() && !path.ends_with('/'));
    let paths: Vec<_> = files.iter().map(|(_, path)| *path).collect();
    let mut public: Vec<_> = std::fs::read_dir(root().join("proto/fanfare/v1"))
        .expect("the protos are there")
        .map(|entry| format!("fanfare/v1/{}", entry.expect("it can be read").file_name().display()))
        .collect();
    public.sort();
    public.insert(0, "README.txt".to_owned());
    public.push("google/rpc/status.proto".to_owned());
    assert_eq!(paths, public);
    for path in paths {
        assert!(project.folder.join("proto").join(path).is_file(), "{path}");
    }
    let readme = std::fs::read_to_string(project.folder.join("proto/README.txt")).expect("it is there");
    assert_eq!(readme.lines().count(), 5, "{readme}");
}
