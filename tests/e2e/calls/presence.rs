//! `fanfare presence`, `connections list` and `channels`: tables, gaps, and a watch that breaks.

use serde_json::{Value, json};

use super::fake_api::FakeApi;
use super::{fanfare, text};

/// What the command prints to the fake.
fn printed(api: &FakeApi, arguments: &[&str]) -> String {
    let output = fanfare(&[arguments, &["--endpoint", &api.endpoint()]].concat());
    assert!(output.status.success(), "{}", text(&output.stderr));
    text(&output.stdout)
}

#[test]
fn who_is_in_a_channel_is_listed_counted_and_told_with_its_gaps() {
    let api = FakeApi::open();
    let expected = "\
CONNECTION  USER  NODE    JOINED                INFO
abc         42    node-1  2026-03-01T12:00:00Z  {\"name\":\"Ann\"}
abc         -     node-1  2026-03-01T12:00:00Z  {\"name\":\"Ann\"}
incomplete    node node-2 is catching up
";
    assert_eq!(printed(&api, &["presence", "news"]), expected);
    let json: Value =
        serde_json::from_str(&printed(&api, &["presence", "news", "-o", "json"])).expect("JSON");
    assert_eq!(json["members"].as_array().map(Vec::len), Some(2));
    assert_eq!(
        json["coverage"]["missing"],
        json!([{ "node": "node-2", "reason": "GAP_REASON_CATCHING_UP" }])
    );
    let expected = "\
connections   5
users         3
incomplete    not every node has said what it knows: ask again in a moment
";
    assert_eq!(printed(&api, &["presence", "news", "--stats"]), expected);
    let off = fanfare(&["presence", "off", "--endpoint", &api.endpoint()]);
    assert_eq!(off.status.code(), Some(64 + 9), "FAILED_PRECONDITION");
    assert!(text(&off.stderr).contains("no presence there"));
    for wrong in
        [&["presence"][..], &["presence", "news", "--user", "42"], &["presence", "--user", "1", "--stats"]]
    {
        assert_eq!(fanfare(wrong).status.code(), Some(2), "{wrong:?}");
    }
}

#[test]
fn users_are_online_offline_or_not_known() {
    let api = FakeApi::open();
    let expected = "\
USER  STATE    CONNECTIONS  NODES          SINCE                 LAST SEEN
42    online   2            node-1,node-2  2026-03-01T12:00:00Z  -
7     unknown  0            -              -                     2026-03-01T12:00:00Z
9     offline  0            -              -                     2026-03-01T12:00:00Z
incomplete    node node-2 is catching up
";
    assert_eq!(printed(&api, &["presence", "--user", "42", "--user", "7", "--user", "9"]), expected);
}

#[test]
fn a_watch_prints_a_line_per_change_and_goes_on_where_it_broke() {
    let api = FakeApi::open();
    let watch = ["presence", "news", "--watch", "--endpoint", &api.endpoint()];
    let output = fanfare(&watch);
    assert_eq!(output.status.code(), Some(64 + 7), "refused in the end: {}", text(&output.stderr));
    let expected = "\
2026-03-01T12:00:00Z  incomplete  node node-2 is catching up
2026-03-01T12:00:00Z  is here  \\u{1b}[31m  abc  node-1
2026-03-01T12:00:00Z  left     42  abc  node-1
all is told anew: more has changed than was read
2026-03-01T12:00:00Z  joined   7  abc  node-1
";
    assert_eq!(text(&output.stdout), expected);
    let error = text(&output.stderr);
    assert!(
        error.contains("goes on where it was: the replica stops") && error.contains("the key is gone"),
        "{error}"
    );
    let asked = api.asked();
    assert!(asked[0].contains("cursor: \"\"") && asked[1].contains("cursor: \"second\""), "{asked:?}");
    assert!(asked[0].contains("kind: Some(Channel(\"news\"))"), "{asked:?}");

    let output = fanfare(&[&watch[..], &["-o", "json"]].concat());
    let lines: Vec<Value> =
        text(&output.stdout).lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!(lines.len(), 7);
    assert_eq!(lines[4]["change"]["left"]["user"], "42");
}

#[test]
fn connections_of_all_pages_are_listed_as_options_say() {
    let api = FakeApi::open();
    let expected = "\
CONNECTION  USER  NODE    FROM               SDK                 CONNECTED             CHANNELS
abc         42    node-1  203.0.113.7:40000  js\\u{1b}[31m 5.8.0  2026-03-01T12:00:00Z  2
def         42    node-1  203.0.113.7:40000  js\\u{1b}[31m 5.8.0  2026-03-01T12:00:00Z  2
incomplete    node node-2 is catching up
";
    let options = ["--user", "42", "--channel", "news", "--node", "node-1", "--sdk", "js"];
    let ages = ["--older-than", "1h", "--younger-than", "1500ms"];
    let table = printed(&api, &[&["connections", "list"], &options[..], &ages].concat());
    assert_eq!(table, expected, "a page that was not complete makes the whole so");
    let asked = api.asked().pop().expect("there was a request");
    for field in [
        "user: \"42\"",
        "channel: \"news\"",
        "node: \"node-1\"",
        "sdk_name: \"js\"",
        "min_age: Some(Duration { seconds: 3600, nanos: 0 })",
        "max_age: Some(Duration { seconds: 1, nanos: 500000000 })",
    ] {
        assert!(asked.contains(field), "{field} in {asked}");
    }
    let one = printed(&api, &["connections", "list", "--limit", "1"]);
    assert!(one.contains("abc") && !one.contains("def"), "{one}");
    assert!(api.asked().pop().expect("there was a request").contains("page_size: 1,"));
}

#[test]
fn channels_are_listed_and_a_dash_stands_where_nobody_counts() {
    let api = FakeApi::open();
    let expected = "\
CHANNEL  NODES  CONNECTIONS  USERS
news     2      5            3
sport    1      -            -
";
    assert_eq!(printed(&api, &["channels", "--prefix", "n"]), expected);
    assert!(api.asked().pop().expect("there was a request").contains("prefix: \"n\""));
    let json: Value = serde_json::from_str(&printed(&api, &["channels", "-o", "json"])).expect("JSON");
    assert_eq!(json["channels"][0]["connections"], "5");
}
