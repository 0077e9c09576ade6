//! The binary as a person uses it: what it prints, where, and with which exit code.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::process::{Command, Stdio};

use fanfare_tests::sandbox::Sandbox;
use fanfare_tests::websocket::WebSocket;
use serde_json::json;

use crate::calls::{Folder, command, fanfare, text};

#[test]
fn serve_without_a_configuration_names_the_two_ways_on() {
    let output = fanfare(&["serve"]);
    assert_eq!(output.status.code(), Some(2));
    let error = text(&output.stderr);
    assert!(error.contains("--dev") && error.contains("--config FILE"), "{error}");
    assert!(output.stdout.is_empty());
}

#[test]
fn a_busy_port_is_an_error_that_names_its_key() {
    let server = Sandbox::start();
    let busy = format!("client.address={}", server.clients);
    let output = fanfare(&["serve", "--dev", "--set", &busy, "--set", "api.address=127.0.0.1:0"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("client.address"), "{}", text(&output.stderr));
}

#[test]
fn a_push_is_answered_with_a_table_for_people_and_json_for_programs() {
    let server = Sandbox::start_dev(&[]);
    let endpoint = format!("http://{}", server.api);
    let push = |more: &[&str]| {
        let mut arguments = vec!["push", "news", "{\"a\": 1}", "--endpoint", &endpoint, "--wait", "written"];
        arguments.extend(more);
        fanfare(&arguments)
    };
    let table = push(&[]);
    assert!(text(&table.stdout).contains("written       0"), "{}", text(&table.stdout));
    let json: serde_json::Value = serde_json::from_slice(&push(&["-o", "json"]).stdout).expect("JSON");
    assert_eq!(json["receipt"], serde_json::json!({ "complete": true }));
    assert_eq!(json["position"]["offset"], "2", "{json}");
}

#[test]
fn a_push_to_nowhere_says_what_to_do() {
    let output = fanfare(&["push", "news", "1", "--endpoint", "http://127.0.0.1:1"]);
    assert_eq!(output.status.code(), Some(1));
    let error = text(&output.stderr);
    assert!(error.contains("fanfare serve --dev") && error.contains("--endpoint"), "{error}");
}

#[test]
fn a_refusal_has_the_grpc_code_in_its_exit_code() {
    let server = Sandbox::start();
    let endpoint = format!("http://{}", server.api);
    let output = fanfare(&["push", "#42", "1", "--endpoint", &endpoint]);
    assert_eq!(output.status.code(), Some(64 + 3), "INVALID_ARGUMENT");
    assert!(text(&output.stderr).contains("push to the user instead"), "{}", text(&output.stderr));
}

#[test]
fn data_that_is_not_json_is_refused_before_it_is_sent() {
    let output = fanfare(&["push", "news", "hello"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("'\"hello\"'"), "{}", text(&output.stderr));
}

#[test]
fn a_wrong_key_is_an_error_with_the_nearest_known_key() {
    let output = fanfare(&["config", "check", "--set", "client.pong_timout=3s"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("did you mean client.pong_timeout?"), "{}", text(&output.stderr));
}

#[test]
fn the_configuration_that_is_shown_is_one_that_can_be_used() {
    let shown = fanfare(&["config", "show", "--dev"]);
    let table: toml::Table = text(&shown.stdout).parse().expect("TOML");
    assert_eq!(table["client"]["token"]["hmac_secret_key"].as_str(), Some("(hidden)"));
    assert_eq!(table["client"]["allow_anonymous_connect_without_token"].as_bool(), Some(true));
}

#[test]
fn the_example_configuration_is_good() {
    let example = concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/examples/fanfare.toml");
    let output = fanfare(&["config", "check", "--config", example]);
    assert!(output.status.success(), "{}", text(&output.stderr));
}

/// With the files that it names, whose paths are relative to the folder in which the binary is started.
#[test]
fn the_example_for_production_is_good_in_a_folder_with_its_files() {
    let example = concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/examples/production.toml");
    let folder = Folder::new("production");
    let check = || {
        let mut command = command(&["config", "check", "--config", example]);
        command.current_dir(&folder.0).output().expect("the binary runs")
    };
    for name in ["tls", "secrets"] {
        std::fs::create_dir(folder.0.join(name)).expect("a folder can be made");
    }
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate is made");
    folder.write("tls/server.pem", &made.cert.pem());
    folder.write("tls/server.key", &made.signing_key.serialize_pem());
    folder.write("secrets/token-2026-11", "a-secret-for-tokens\n");
    folder.write("secrets/api-shop", "the-key-of-the-shop\n");
    let missing = check();
    assert_eq!(missing.status.code(), Some(2));
    assert!(text(&missing.stderr).contains("secrets/api-on-call"), "{}", text(&missing.stderr));
    folder.write("secrets/api-on-call", "the-key-of-who-is-on-call\n");
    let good = check();
    assert!(good.status.success(), "{}", text(&good.stderr));
}

#[test]
fn the_version_is_printed() {
    let json: serde_json::Value =
        serde_json::from_slice(&fanfare(&["version", "-o", "json"]).stdout).expect("JSON");
    assert_eq!(json["version"], env!("CARGO_PKG_VERSION"));
}

/// Names of the subcommands that `--help` lists, with all that is below them.
fn subcommands(of: &[&str]) -> BTreeSet<String> {
    let help = fanfare(&[of, &["--help"]].concat());
    let help = text(&help.stdout);
    let list =
        help.lines().skip_while(|line| *line != "Commands:").skip(1).take_while(|line| !line.is_empty());
    let names =
        list.filter(|line| !line.starts_with("   ")).filter_map(|line| line.split_whitespace().next());
    let mut all = BTreeSet::new();
    for name in names.filter(|name| *name != "help") {
        let path = [of, &[name]].concat();
        all.extend(subcommands(&path));
        all.insert(path.join(" "));
    }
    all
}

#[test]
fn every_command_is_in_its_document_and_has_examples() {
    let document = include_str!("../../docs/cli.md");
    let headings: BTreeSet<String> = document
        .lines()
        .filter_map(|line| line.trim_start_matches('#').trim().strip_prefix("`fanfare ")?.strip_suffix('`'))
        .map(str::to_owned)
        .collect();
    let commands = subcommands(&[]);
    assert!(commands.contains("push") && commands.contains("connections get"), "{commands:?}");
    assert_eq!(headings, commands, "docs/cli.md has one heading for each command");
    for path in commands {
        let words: Vec<&str> = path.split(' ').collect();
        let help = text(&fanfare(&[&words[..], &["--help"]].concat()).stdout);
        assert!(help.contains(&format!("Examples:\n  fanfare {path}")), "{path}: {help}");
        let calls = help.contains("--endpoint");
        assert!(!calls || help.contains("FANFARE_CLI__API_KEY "), "{path} names the variable of the key");
    }
}

#[test]
fn a_token_is_accepted_by_the_server_that_it_is_for() {
    let server = Sandbox::start();
    let made = fanfare(&["token", "--dev", "--user", "42", "--info", "{\"name\": \"Ann\"}"]);
    assert!(made.status.success(), "{}", text(&made.stderr));
    let made = text(&made.stdout);
    let token = made.strip_suffix('\n').expect("the token is a line");
    assert!(!token.contains(char::is_whitespace), "nothing but the token is printed: {token:?}");
    let connect = |token: &str| {
        let mut socket = WebSocket::open(server.clients);
        socket.send_json(&json!({ "id": 1, "connect": { "token": token } }));
        socket
    };
    let reply = connect(token).next_message();
    assert!(reply["connect"]["subs"]["#42"].is_object(), "{reply}");
    assert_eq!(reply["connect"]["expires"], true, "{reply}");

    let mut forger = Command::new("sh");
    let forged = command(&["token", "--secret-file", "/dev/stdin", "--user", "42"])
        .stdin(
            forger
                .args(["-c", "echo other"])
                .stdout(Stdio::piped())
                .spawn()
                .expect("sh runs")
                .stdout
                .expect("piped"),
        )
        .output()
        .expect("the binary runs");
    assert_eq!(connect(text(&forged.stdout).trim()).close_code(), 3500, "another secret signs nothing here");
}

#[test]
fn a_token_without_a_key_names_the_ways_to_one() {
    let output = fanfare(&["token", "--user", "42"]);
    assert_eq!(output.status.code(), Some(2));
    let error = text(&output.stderr);
    assert!(
        error.contains("--dev") && error.contains("--secret-file") && error.contains("--config"),
        "{error}"
    );
    assert!(output.stdout.is_empty());
}

#[test]
fn completions_are_scripts_that_a_shell_can_read() {
    let script = fanfare(&["completion", "bash"]).stdout;
    let mut bash = Command::new("bash").arg("-n").stdin(Stdio::piped()).spawn().expect("there is a bash");
    let mut input = bash.stdin.take().expect("standard input is piped");
    input.write_all(&script).expect("bash reads");
    drop(input);
    assert!(bash.wait().expect("bash ends").success());
    for (shell, word) in
        [("bash", "complete -F"), ("zsh", "#compdef fanfare"), ("fish", "complete -c fanfare")]
    {
        let script = text(&fanfare(&["completion", shell]).stdout);
        assert!(script.contains(word) && script.contains("unsubscribe"), "{shell}");
    }
    assert!(text(&fanfare(&["completion", "elvish"]).stdout).contains("edit:completion"));
    assert!(text(&fanfare(&["completion", "powershell"]).stdout).contains("Register-ArgumentCompleter"));
}

#[test]
fn there_is_a_manual_page_for_every_command() {
    let page = text(&fanfare(&["man"]).stdout);
    assert!(page.contains(".TH fanfare 1") && page.contains(".SH SUBCOMMANDS"), "{page}");
    let folder = std::env::temp_dir().join(format!("fanfare-man-{}", std::process::id()));
    let written = fanfare(&["man", "--dir", folder.to_str().expect("the path is text")]);
    assert!(written.status.success(), "{}", text(&written.stderr));
    for path in subcommands(&[]) {
        let page = folder.join(format!("fanfare-{}.1", path.replace(' ', "-")));
        let page =
            std::fs::read_to_string(&page).unwrap_or_else(|error| panic!("{}: {error}", page.display()));
        assert!(page.contains(".SH SYNOPSIS"), "{path}: {page}");
    }
    std::fs::remove_dir_all(&folder).expect("the folder is there");
}

#[test]
fn a_reader_that_leaves_early_is_no_error() {
    let output = Command::new("sh")
        .args(["-c", "\"$0\" completion bash | head -n 1; exit ${PIPESTATUS:-0}"])
        .arg(fanfare_tests::sandbox::binary())
        .output()
        .expect("sh runs");
    assert!(output.stderr.is_empty(), "{}", text(&output.stderr));
}

#[test]
fn an_empty_variable_is_one_that_is_not_set() {
    let server = Sandbox::start();
    let output = command(&["push", "news", "1", "--endpoint", &format!("http://{}", server.api)])
        .envs(
            ["API_KEY", "API_KEY_FILE", "CA_FILE", "ALLOW_KEY_WITHOUT_TLS", "TIMEOUT"]
                .map(|name| (format!("FANFARE_CLI__{name}"), "")),
        )
        .output()
        .expect("the binary runs");
    assert!(output.status.success(), "{}", text(&output.stderr));
}
