//! The commands that call the API, against a real server with real clients.

use std::fmt::Write as _;

use fanfare_tests::eventually::eventually;
use fanfare_tests::sandbox::Sandbox;
use fanfare_tests::websocket::WebSocket;
use serde_json::{Value, json};

use crate::calls::{fanfare, fanfare_reading, text};
use crate::tokens::token_of;

/// Lines of the long input.
const LINES: u64 = 20_000;

fn run(server: &Sandbox, arguments: &[&str]) -> std::process::Output {
    let endpoint = format!("http://{}", server.api);
    fanfare(&[arguments, &["--endpoint", &endpoint]].concat())
}

/// A connected client of user 42, and its id.
fn client_of_42(server: &Sandbox) -> (WebSocket, String) {
    let mut socket = WebSocket::open(server.clients);
    let reply = socket.command("connect", &json!({ "token": token_of("42") }));
    let id = reply["connect"]["client"].as_str().expect("the connect is answered").to_owned();
    (socket, id)
}

#[test]
fn the_lines_of_standard_input_arrive_in_their_order() {
    let server = Sandbox::start_with(&["client.queue_max_size=16MiB"]);
    let mut reader = WebSocket::subscribed(server.clients, "news");
    let endpoint = format!("http://{}", server.api);
    let pusher = std::thread::spawn(move || {
        let mut lines = String::new();
        for number in 0..LINES {
            writeln!(lines, "{{\"number\": {number}}}").expect("text can be written");
        }
        fanfare_reading(&["push", "news", "-", "-o", "json", "--endpoint", &endpoint], &lines)
    });
    for number in 0..LINES {
        assert_eq!(reader.next_data("news"), json!({ "number": number }));
    }
    let output = pusher.join().expect("the pusher does not panic");
    assert!(output.status.success(), "{}", text(&output.stderr));
    let sums: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!((&sums["lines"], &sums["accepted"]), (&json!(LINES), &json!(LINES)));
}

#[test]
fn a_line_that_the_server_refuses_is_named_and_the_next_one_arrives() {
    let server = Sandbox::start();
    let mut reader = WebSocket::subscribed(server.clients, "news");
    let input = "{\"channel\": \"news\", \"data\": 1}\nnope\n{\"channel\": \"#42\", \"data\": 2}\n\
        {\"channel\": \"news\", \"data\": 3}\n";
    let endpoint = format!("http://{}", server.api);
    let output = fanfare_reading(&["push", "-", "--wait", "written", "--endpoint", &endpoint], input);
    assert_eq!(output.status.code(), Some(1));
    let error = text(&output.stderr);
    assert!(error.contains("line 2:") && error.contains("line 3: "), "{error}");
    assert!(error.contains("push to the user instead"), "{error}");
    let table = text(&output.stdout);
    assert!(table.contains("accepted      2\n") && table.contains("written       2\n"), "{table}");
    assert_eq!((reader.next_data("news"), reader.next_data("news")), (json!(1), json!(3)));
}

#[test]
fn a_connection_is_shown_subscribed_unsubscribed_and_closed() {
    let server = Sandbox::start();
    let (mut socket, id) = client_of_42(&server);
    let shown = run(&server, &["connections", "get", &id]);
    assert!(text(&shown.stdout).contains("user          42\n"), "{}", text(&shown.stderr));

    let subscribed = run(&server, &["connections", "subscribe", "--user", "42", "news"]);
    assert!(
        text(&subscribed.stdout).contains("subscribed    1 connection\n"),
        "{}",
        text(&subscribed.stderr)
    );
    let channels = run(&server, &["connections", "get", &id]);
    assert!(text(&channels.stdout).contains("channel       news\n"), "{}", text(&channels.stdout));
    let unsubscribed = run(&server, &["connections", "unsubscribe", &id, "news"]);
    assert!(
        text(&unsubscribed.stdout).contains("unsubscribed  1 connection\n"),
        "{}",
        text(&unsubscribed.stderr)
    );

    let refreshed = run(&server, &["connections", "refresh", &id, "--expires", "1h"]);
    assert!(text(&refreshed.stdout).contains("refreshed     1 connection\n"), "{}", text(&refreshed.stderr));
    let closed = run(&server, &["disconnect", "42", "--code", "4501", "--reason", "bye"]);
    assert!(text(&closed.stdout).contains("disconnected  1 connection\n"), "{}", text(&closed.stderr));
    assert_eq!(socket.close_code(), 4501);
}

#[test]
fn a_revoked_token_does_not_come_back() {
    let server = Sandbox::start();
    let (mut socket, _) = client_of_42(&server);
    let revoked = run(&server, &["revoke", "42", "--for", "1h", "--disconnect"]);
    assert!(text(&revoked.stdout).contains("disconnected  1 connection\n"), "{}", text(&revoked.stderr));
    assert_eq!(socket.close_code(), 3500);
    let mut again = WebSocket::open(server.clients);
    again.send_json(&json!({ "id": 1, "connect": { "token": token_of("42") } }));
    assert_eq!(again.close_code(), 3500);
}

#[test]
fn a_revoked_token_does_not_come_back_after_a_restart_either() {
    let file = std::env::temp_dir().join(format!("fanfare-revocations-{}", std::process::id()));
    let kept = format!("api.revocations_file={}", file.display());
    let server = Sandbox::start_with(&[&kept]);
    let revoked = run(&server, &["revoke", "42", "--for", "1h"]);
    assert!(revoked.status.success(), "{}", text(&revoked.stderr));
    assert!(server.end("KILL").code().is_none(), "it had no time to tidy up");
    let server = Sandbox::start_with(&[&kept]);
    let mut again = WebSocket::open(server.clients);
    again.send_json(&json!({ "id": 1, "connect": { "token": token_of("42") } }));
    assert_eq!(again.close_code(), 3500);
    let mut other = WebSocket::open(server.clients);
    let reply = other.command("connect", &json!({ "token": token_of("43") }));
    assert!(reply["connect"]["client"].is_string(), "{reply}");
    std::fs::remove_file(&file).expect("the file is there");
}

#[test]
fn the_node_is_listed_with_its_connections() {
    let server = Sandbox::start();
    let _client = client_of_42(&server);
    eventually("the node has said what it holds", || {
        let output = run(&server, &["nodes", "-o", "json"]);
        assert!(output.status.success(), "{}", text(&output.stderr));
        let nodes: Value = serde_json::from_slice(&output.stdout).expect("JSON");
        let node = &nodes["nodes"][0];
        (node["state"] == "NODE_STATE_LINKED" && node["connections"] == "1").then_some(())
    });
}
