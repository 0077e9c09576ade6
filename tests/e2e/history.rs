//! What channels remember, through the doors of the server: pushes with keys and versions, reading and removing.

use std::process::Output;

use fanfare_proto::v1::target::Kind;
use fanfare_proto::v1::{PublishRequest, Storage};
use fanfare_tests::sandbox::{Sandbox, push_request};
use fanfare_tests::websocket::WebSocket;
use serde_json::{Value, json};

use crate::calls::{fanfare, text};

/// Channels that remember, and of which nobody is told who is there.
const REMEMBERS: [&str; 2] =
    ["channel.without_namespace.history_size=100", "channel.without_namespace.history_ttl=10m"];

fn to_news(json: &str) -> PublishRequest {
    push_request(Kind::Channel("news".to_owned()), json)
}

fn history(server: &Sandbox, arguments: &[&str]) -> Output {
    let endpoint = format!("http://{}", server.api);
    fanfare(&[&["history"], arguments, &["--endpoint", &endpoint]].concat())
}

/// The offsets and the end of what is read.
fn read(server: &Sandbox, arguments: &[&str]) -> (Vec<u64>, Value) {
    let output = history(server, &[arguments, &["-o", "json"]].concat());
    assert!(output.status.success(), "{}", text(&output.stderr));
    let answer: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let publications = answer["publications"].as_array().cloned().unwrap_or_default();
    let offset = |one: &Value| one["offset"].as_str().and_then(|text| text.parse().ok()).expect("an offset");
    (publications.iter().map(offset).collect(), answer["top"].clone())
}

#[test]
fn what_was_published_is_read_in_both_directions_and_behind_a_position() {
    let server = Sandbox::start_with(&REMEMBERS);
    for number in 1..=5 {
        let answer = server.publish(to_news(&number.to_string())).expect("it is accepted");
        assert_eq!(answer.position.expect("it is stored").offset, number);
    }
    let (offsets, top) = read(&server, &["news"]);
    assert_eq!((offsets, &top["offset"]), (vec![1, 2, 3, 4, 5], &json!("5")));
    let epoch = top["epoch"].as_str().expect("an epoch");
    assert_eq!(read(&server, &["news", "--reverse", "--limit", "2"]).0, [5, 4]);
    assert_eq!(read(&server, &["news", "--since", &format!("{epoch}:3")]).0, [4, 5]);
    assert_eq!(read(&server, &["news", "--since", ":3", "--reverse"]).0, [2, 1]);
    for gone in [format!("{epoch}:6"), "abc:3".to_owned()] {
        let output = history(&server, &["news", "--since", &gone]);
        assert_eq!(output.status.code(), Some(64 + 11), "OUT_OF_RANGE: {}", text(&output.stderr));
    }
}

#[test]
fn a_history_of_many_pages_is_read_to_its_end() {
    let server = Sandbox::start_dev(&["channel.without_namespace.history_size=2500"]);
    for number in 0..2_500 {
        server.publish(to_news(&number.to_string())).expect("it is accepted");
    }
    let (offsets, _) = read(&server, &["news", "--limit", "9999"]);
    assert!(offsets.into_iter().eq(1..=2_500));
    let (offsets, _) = read(&server, &["news", "--limit", "9999", "--reverse"]);
    assert!(offsets.into_iter().eq((1..=2_500).rev()));
}

#[test]
fn a_push_that_is_repeated_with_its_key_is_delivered_once() {
    let server = Sandbox::start_with(&REMEMBERS);
    let mut reader = WebSocket::subscribed(server.clients, "news");
    let keyed = |key: &str, storage: Storage| {
        let mut request = to_news(&format!("{key:?}"));
        request.idempotency_key = key.to_owned();
        request.message.as_mut().expect("it has one").storage = storage.into();
        server.publish(request).expect("it is accepted")
    };
    let first = keyed("a", Storage::Store);
    let again = keyed("a", Storage::Store);
    assert_eq!((first.duplicate, again.duplicate), (false, true));
    assert_eq!(again.position, first.position);
    let receipt = again.receipt.expect("there is a receipt");
    assert_eq!((receipt.nodes_asked, receipt.written, receipt.complete), (0, 0, true));
    let (first, again) = (keyed("b", Storage::Skip), keyed("b", Storage::Skip));
    assert_eq!((first.duplicate, first.position), (false, None));
    assert_eq!((again.duplicate, again.position), (true, None));
    server.push("news", "\"last\"");
    let heard: Vec<_> = (0..3).map(|_| reader.next_data("news")).collect();
    assert_eq!(heard, [json!("a"), json!("b"), json!("last")]);
}

#[test]
fn an_older_version_is_dropped_and_the_answer_says_so() {
    let server = Sandbox::start_with(&REMEMBERS);
    let mut reader = WebSocket::subscribed(server.clients, "news");
    let versioned = |version, epoch: &str| {
        let mut request = to_news(&format!("\"{version} {epoch}\""));
        let message = request.message.as_mut().expect("it has one");
        message.version = version;
        message.version_epoch = epoch.to_owned();
        server.publish(request).expect("it is accepted").superseded
    };
    let superseded =
        [versioned(5, "x"), versioned(4, "x"), versioned(5, "x"), versioned(6, "x"), versioned(1, "y")];
    assert_eq!(superseded, [false, true, true, false, false]);
    let heard: Vec<_> = (0..3).map(|_| reader.next_data("news")).collect();
    assert_eq!(heard, [json!("5 x"), json!("6 x"), json!("1 y")]);
}

#[test]
fn where_nothing_is_remembered_what_needs_it_is_refused() {
    let server = Sandbox::start_dev(&["channel.namespaces=[{ name = \"plain\" }]"]);
    let mut request = push_request(Kind::Channel("plain:1".to_owned()), "1");
    assert_eq!(server.publish(request.clone()).expect("it is accepted").position, None);
    request.message.as_mut().expect("it has one").version = 1;
    let refused = server.publish(request).expect_err("there is nothing to compare with");
    assert_eq!(refused.code(), tonic::Code::FailedPrecondition, "{refused}");
    for arguments in [&["plain:1"] as &[&str], &["remove", "plain:1"]] {
        let output = history(&server, arguments);
        assert_eq!(output.status.code(), Some(64 + 9), "FAILED_PRECONDITION: {}", text(&output.stderr));
    }
}

#[test]
fn a_history_that_is_removed_goes_on_where_it_was() {
    let server = Sandbox::start_with(&REMEMBERS);
    server.push("news", "1");
    server.push("news", "2");
    let removed = history(&server, &["remove", "news"]);
    assert!(text(&removed.stdout).starts_with("removed       until "), "{}", text(&removed.stderr));
    let (offsets, top) = read(&server, &["news"]);
    assert_eq!((offsets, &top["offset"]), (vec![], &json!("2")));
    server.push("news", "3");
    assert_eq!(read(&server, &["news"]).0, [3]);
    let late = history(&server, &["news", "--since", ":1"]);
    assert_eq!(late.status.code(), Some(64 + 11), "what followed 1 is gone");
}

#[test]
fn what_a_client_publishes_is_remembered_with_its_name() {
    let server = Sandbox::start_with(&REMEMBERS);
    let mut client = WebSocket::open(server.clients);
    client.command("connect", &json!({ "token": crate::tokens::token_of("ann") }));
    client.command("publish", &json!({ "channel": "news", "data": { "hi": "there" } }));
    let shown = history(&server, &["news"]);
    let table = text(&shown.stdout);
    assert!(table.contains("ann  ") && table.contains("{\"hi\":\"there\"}"), "{table}");
}

#[test]
fn what_is_pushed_to_a_user_is_kept_for_a_while_unless_that_is_switched_off() {
    let to_ann = || push_request(Kind::User("ann".to_owned()), "1");
    let server = Sandbox::start_dev(&[]);
    assert!(server.publish(to_ann()).expect("it is accepted").position.is_some());
    assert_eq!(read(&server, &["#ann"]).0, [1]);
    let server = Sandbox::start_dev(&["client.user_personal_channel=false"]);
    assert!(server.publish(to_ann()).expect("it is accepted").position.is_none());
    assert_eq!(history(&server, &["#ann"]).status.code(), Some(64 + 9));
}
