//! The commands that call the API, against one that answers as a test wants: keys, TLS, lines, tables.

mod fake_api;
mod fake_presence;
mod presence;

use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use fake_api::{FakeApi, KEY, READER};
use fanfare_tests::sandbox::binary;
use serde_json::{Value, json};
use tonic::transport::{Certificate, Identity, ServerTlsConfig};

/// The binary without what the environment of the tests may say.
pub(crate) fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(binary());
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("FANFARE_")) {
        command.env_remove(name);
    }
    command.args(arguments);
    command
}

/// Runs the binary to its end.
pub(crate) fn fanfare(arguments: &[&str]) -> Output {
    command(arguments).output().expect("the binary runs")
}

/// Runs it with standard input.
pub(crate) fn fanfare_reading(arguments: &[&str], input: &str) -> Output {
    let mut process = command(arguments);
    process.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut process = process.spawn().expect("the binary runs");
    let mut stdin = process.stdin.take().expect("standard input is piped");
    let input = input.to_owned();
    let writer = std::thread::spawn(move || {
        // It may have seen enough and left.
        let _ = stdin.write_all(input.as_bytes());
    });
    let output = process.wait_with_output().expect("the binary ends");
    writer.join().expect("the writer does not panic");
    output
}

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A folder that goes away with the test.
pub(crate) struct Folder(pub(crate) PathBuf);

impl Folder {
    pub(crate) fn new(name: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("fanfare-calls-{}-{name}", std::process::id()));
        fs::create_dir_all(&folder).expect("a temporary folder can be made");
        Self(folder)
    }

    pub(crate) fn write(&self, name: &str, text: &str) -> String {
        let file = self.0.join(name);
        fs::write(&file, text).expect("a temporary file can be written");
        file.to_str().expect("the path is text").to_owned()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What is left in the temporary folder harms nobody.
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[test]
fn a_key_comes_from_a_file_or_the_environment_and_its_absence_is_told() {
    let api = FakeApi::with_keys();
    let endpoint = api.endpoint();
    let push = ["push", "news", "1", "--endpoint", &endpoint];
    let output = fanfare(&push);
    assert_eq!(output.status.code(), Some(64 + 16), "UNAUTHENTICATED");
    let error = text(&output.stderr);
    assert!(error.contains("--api-key-file") && error.contains("FANFARE_CLI__API_KEY"), "{error}");

    let wrong = command(&push).env("FANFARE_CLI__API_KEY", "other").output().expect("the binary runs");
    assert!(text(&wrong.stderr).contains("is it the right key?"), "{}", text(&wrong.stderr));
    assert!(!text(&wrong.stderr).contains("other"), "a key is not printed");

    let folder = Folder::new("keys");
    let file = folder.write("key", &format!("{KEY}\n"));
    assert!(command(&push).env("FANFARE_CLI__API_KEY", KEY).status().expect("the binary runs").success());
    assert!(command(&push).env("FANFARE_CLI__API_KEY_FILE", &file).status().expect("it runs").success());
    let both = command(&[&push[..], &["--api-key-file", &file]].concat())
        .env("FANFARE_CLI__API_KEY", "other")
        .status();
    assert!(both.expect("the binary runs").success(), "the file is stronger");
}

#[test]
fn a_key_without_the_role_is_told_so() {
    let api = FakeApi::with_keys();
    let output = command(&["disconnect", "42", "--endpoint", &api.endpoint()])
        .env("FANFARE_CLI__API_KEY", READER)
        .output()
        .expect("the binary runs");
    assert_eq!(output.status.code(), Some(64 + 7), "PERMISSION_DENIED");
    let error = text(&output.stderr);
    assert!(error.contains("no role \"operate\"") && error.contains("a key that has the role"), "{error}");
}

#[test]
fn a_key_does_not_leave_the_machine_without_tls() {
    let output = command(&["nodes", "--endpoint", "http://192.0.2.1:10000"])
        .env("FANFARE_CLI__API_KEY", KEY)
        .output()
        .expect("the binary runs");
    assert_eq!(output.status.code(), Some(2));
    let error = text(&output.stderr);
    assert!(error.contains("--allow-key-without-tls") && !error.contains(KEY), "{error}");
}

#[test]
fn tls_wants_a_known_authority_and_shows_a_certificate_where_one_is_asked_for() {
    let folder = Folder::new("tls");
    let made =
        |name| rcgen::generate_simple_self_signed([String::from(name)]).expect("a certificate is made");
    let (server, client) = (made("localhost"), made("backend"));
    let tls = ServerTlsConfig::new()
        .identity(Identity::from_pem(server.cert.pem(), server.signing_key.serialize_pem()))
        .client_ca_root(Certificate::from_pem(client.cert.pem()));
    let api = FakeApi::with_tls(tls);
    let endpoint = format!("https://localhost:{}", api.address.port());
    let key = folder.write("key", KEY);
    let ca = folder.write("ca.pem", &server.cert.pem());
    let certificate = folder.write("client.pem", &client.cert.pem());
    let certificate_key = folder.write("client.key", &client.signing_key.serialize_pem());

    let nodes = ["nodes", "--endpoint", &endpoint, "--api-key-file", &key];
    let unknown = fanfare(&nodes);
    assert!(
        !unknown.status.success() && text(&unknown.stderr).contains("--ca-file"),
        "{}",
        text(&unknown.stderr)
    );
    let bare = fanfare(&[&nodes[..], &["--ca-file", &ca]].concat());
    assert!(!bare.status.success(), "the server wants to see a certificate");
    let shown = ["--ca-file", &ca, "--cert-file", &certificate, "--cert-key-file", &certificate_key];
    let good = fanfare(&[&nodes[..], &shown].concat());
    assert!(good.status.success(), "{}", text(&good.stderr));

    let other_name = format!("https://127.0.0.1:{}", api.address.port());
    let nodes = ["nodes", "--endpoint", &other_name, "--api-key-file", &key];
    assert!(!fanfare(&[&nodes[..], &shown].concat()).status.success(), "the certificate is for another name");
}

#[test]
fn tls_to_a_port_without_it_is_told_so() {
    let api = FakeApi::open();
    let output = fanfare(&["nodes", "--endpoint", &format!("https://{}", api.address), "--timeout", "5s"]);
    assert!(text(&output.stderr).contains("does not speak TLS"), "{}", text(&output.stderr));
}

#[test]
fn plain_text_to_a_port_with_tls_is_told_so() {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate is made");
    let identity = Identity::from_pem(made.cert.pem(), made.signing_key.serialize_pem());
    let api = FakeApi::with_tls(ServerTlsConfig::new().identity(identity));
    let output = fanfare(&["nodes", "--endpoint", &format!("http://{}", api.address), "--timeout", "5s"]);
    assert!(text(&output.stderr).contains("does the server speak TLS"), "{}", text(&output.stderr));
}

#[test]
fn a_server_that_accepts_and_says_nothing_is_given_up_in_time() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("there is a free port");
    let endpoint = format!("https://{}", listener.local_addr().expect("it has an address"));
    let output = fanfare(&["nodes", "--endpoint", &endpoint, "--timeout", "300ms"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("no connection within 300ms"), "{}", text(&output.stderr));
}

#[test]
fn lines_become_pushes_and_are_counted() {
    let api = FakeApi::open();
    let push = ["push", "news", "-", "--endpoint", &api.endpoint(), "-o", "json"];
    let mut lines = String::new();
    for number in 1..=50_000 {
        // One of a thousand is answered behind the next.
        let data = if number % 1_000 == 500 { "\"late\"".to_owned() } else { number.to_string() };
        writeln!(lines, "{data}").expect("text can be written");
    }
    let output = fanfare_reading(&push, &(lines + "last"));
    assert_eq!(output.status.code(), Some(1), "the last line is not JSON");
    let sums: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(
        (&sums["lines"], &sums["accepted"], &sums["failed"]),
        (&json!(50_001), &json!(50_000), &json!(1))
    );
    let error = text(&output.stderr);
    assert!(
        error.contains("line 50001: it is not JSON") && error.contains("1 of 50001 lines failed"),
        "{error}"
    );
}

#[test]
fn lines_that_fail_are_named_and_the_rest_goes_on_unless_it_shall_not() {
    let api = FakeApi::open();
    let endpoint = api.endpoint();
    let push = ["push", "news", "-", "--endpoint", &endpoint, "--wait", "written"];
    let input = "1\nnope\n\n\"refuse\"\n2\n";
    let output = fanfare_reading(&push, input);
    assert_eq!(output.status.code(), Some(1));
    let error = text(&output.stderr);
    assert!(error.contains("line 2: it is not JSON") && error.contains("line 4: no such thing"), "{error}");
    let table = text(&output.stdout);
    for row in ["lines         4\n", "accepted      2\n", "failed        2\n", "written       2\n"] {
        assert!(table.contains(row), "{table}");
    }

    let output = fanfare_reading(&[&push[..], &["--fail-fast"]].concat(), input);
    assert_eq!(output.status.code(), Some(1));
    let table = text(&output.stdout);
    assert!(table.contains("lines         2\n") && table.contains("accepted      1\n"), "{table}");
}

#[test]
fn each_line_can_name_its_target() {
    let api = FakeApi::open();
    let input = "{\"channel\": \"news\", \"data\": 1}\n{\"user\": \"42\", \"data\": 2, \"tags\": {\"a\": \"b\"}}\n{\"data\": 3}\n";
    let output = fanfare_reading(&["push", "-", "--endpoint", &api.endpoint()], input);
    assert_eq!(output.status.code(), Some(1));
    let error = text(&output.stderr);
    assert!(error.contains("line 3: it must have one of channel, user and connection"), "{error}");
    assert!(text(&output.stdout).contains("accepted      2\n"), "{}", text(&output.stdout));
}

#[test]
fn a_stream_that_breaks_or_goes_silent_says_which_lines_have_no_answer() {
    let api = FakeApi::open();
    let endpoint = api.endpoint();
    let push = ["push", "news", "-", "--endpoint", &endpoint, "--timeout", "500ms"];
    let broken = fanfare_reading(&push, "1\n\"never\"\n2\n\"break\"\n");
    assert_eq!(broken.status.code(), Some(64 + 14), "UNAVAILABLE");
    let error = text(&broken.stderr);
    assert!(error.contains("the replica ends") && error.contains("the first is line 2"), "{error}");
    assert!(text(&broken.stdout).contains("unanswered    2\n"), "{}", text(&broken.stdout));

    let silent = fanfare_reading(&push, "1\n\"never\"\n2\n");
    assert_eq!(silent.status.code(), Some(64 + 4), "DEADLINE_EXCEEDED");
    let error = text(&silent.stderr);
    assert!(error.contains("1 line is without an answer, the first is line 2"), "{error}");
}

#[test]
fn a_line_is_sent_when_it_comes_and_not_when_the_input_ends() {
    let api = FakeApi::open();
    let mut process = command(&["push", "news", "-", "--fail-fast", "--endpoint", &api.endpoint()]);
    process.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut process = process.spawn().expect("the binary runs");
    let mut input = process.stdin.take().expect("standard input is piped");
    input.write_all(b"\"refuse\"\n").expect("the line is taken");
    // The input stays open: it is the answer that ends the command.
    let output = process.wait_with_output().expect("the binary ends");
    assert_eq!(output.status.code(), Some(1), "{}", text(&output.stderr));
    drop(input);
}

#[test]
fn a_connection_is_shown_without_what_terminals_obey() {
    let api = FakeApi::open();
    let endpoint = api.endpoint();
    let output = fanfare(&["connections", "get", "abc", "--endpoint", &endpoint]);
    let expected = "\
connection    abc
user          42
node          node-1
from          203.0.113.7:40000
speaks        json over TLS
sdk           js\\u{1b}[31m 5.8.0
connected     2026-03-01T12:00:00Z
expires       -
info          {\"name\":\"Ann\"}
meta          -
queued        0 bytes
channel       #42
channel       news
";
    assert_eq!(text(&output.stdout), expected, "{}", text(&output.stderr));
    let json = fanfare(&["connections", "get", "abc", "-o", "json", "--endpoint", &endpoint]);
    let json: Value = serde_json::from_slice(&json.stdout).expect("JSON");
    assert_eq!(json["connection"]["remoteAddress"], "203.0.113.7:40000");
    assert_eq!(json["connection"]["connectedAt"], "2026-03-01T12:00:00.005Z");
    let gone = fanfare(&["connections", "get", "gone", "--endpoint", &endpoint]);
    assert_eq!(gone.status.code(), Some(64 + 5), "NOT_FOUND");
}

#[test]
fn what_is_done_to_connections_is_asked_for_once_and_told_with_its_gaps() {
    let api = FakeApi::open();
    let endpoint = api.endpoint();
    let cases: [(&[&str], &str, &[&str]); 6] = [
        (
            &["disconnect", "42", "--code", "4501", "--reason", "bye", "--exclude", "x"],
            "disconnected",
            &["kind: Some(User(\"42\"))", "code: 4501", "reason: \"bye\"", "exclude_connections: [\"x\"]"],
        ),
        (
            &["disconnect", "--connection", "abc"],
            "disconnected",
            &["kind: Some(Connection(\"abc\"))", "code: 0"],
        ),
        (
            &["connections", "subscribe", "--user", "42", "news"],
            "subscribed",
            &["User(\"42\")", "channel: \"news\""],
        ),
        (
            &["connections", "unsubscribe", "abc", "news"],
            "unsubscribed",
            &["Connection(\"abc\")", "channel: \"news\""],
        ),
        (&["connections", "refresh", "--user", "42", "--never"], "refreshed", &["expires_at: None"]),
        (
            &["revoke", "42", "--issued-before", "2026-03-01T12:00:00Z", "--for", "1h", "--disconnect"],
            "disconnected",
            &["user: \"42\"", "issued_before: Some(Timestamp { seconds: 1772366400", "disconnect: true"],
        ),
    ];
    let mut ids = Vec::new();
    for (arguments, what, fields) in cases {
        let output = fanfare(&[arguments, &["--endpoint", &endpoint]].concat());
        let expected = format!(
            "{what:14}3 connections\nasked         2 nodes\nincomplete    node node-2 did not answer in time\n"
        );
        assert!(
            text(&output.stdout).ends_with(&expected),
            "{}{}",
            text(&output.stdout),
            text(&output.stderr)
        );
        let asked = api.asked().pop().expect("there was a request");
        for field in fields {
            assert!(asked.contains(field), "{field} in {asked}");
        }
        ids.push(asked.split("request_id: ").nth(1).expect("it has an id")[1..37].to_owned());
    }
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), 6, "each request has an id of its own: {ids:?}");
    let json = fanfare(&["disconnect", "42", "-o", "json", "--endpoint", &endpoint]);
    let json: Value = serde_json::from_slice(&json.stdout).expect("JSON");
    assert_eq!(json["outcome"]["gaps"], json!([{ "node": "node-2", "reason": "GAP_REASON_SILENT" }]));
}

#[test]
fn an_expiry_is_counted_from_now() {
    let api = FakeApi::open();
    let refreshed =
        fanfare(&["connections", "refresh", "abc", "--expires", "1h", "--endpoint", &api.endpoint()]);
    assert!(refreshed.status.success(), "{}", text(&refreshed.stderr));
    let asked = api.asked().pop().expect("there was a request");
    let seconds =
        asked.split("seconds: ").nth(1).and_then(|rest| rest.split(',').next()?.parse::<u64>().ok());
    let now = std::time::SystemTime::UNIX_EPOCH.elapsed().expect("the clock is after 1970").as_secs();
    let ahead = seconds.expect("there is a time") - now;
    assert!((3_500..=3_600).contains(&ahead), "{ahead} s ahead");
}

#[test]
fn nodes_of_all_pages_stand_in_one_table() {
    let api = FakeApi::open();
    let output = fanfare(&["nodes", "--endpoint", &api.endpoint()]);
    let expected = "\
NODE    STATE     VERSION  CONNECTIONS  CAPACITY  REPORTED
node-1  linked    0.1.0    12345        19800     2026-03-01T12:00:00Z
node-2  unlinked  -        0            0         -
";
    assert_eq!(text(&output.stdout), expected, "{}", text(&output.stderr));
    let json = fanfare(&["nodes", "-o", "json", "--endpoint", &api.endpoint()]);
    let json: Value = serde_json::from_slice(&json.stdout).expect("JSON");
    assert_eq!(json["nodes"].as_array().map(Vec::len), Some(2));
}
