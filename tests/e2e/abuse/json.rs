//! JSON that is deep, long, huge or double, as a command and as data.

use fanfare_tests::sandbox::Sandbox;
use fanfare_tests::websocket::{Frame, TEXT, WebSocket};

use super::siege::{Siege, Verdict, next_verdict, say, verdict};

const DEEP: usize = 25_000;

fn deep(count: usize) -> String {
    format!("{}{}", "[".repeat(count), "]".repeat(count))
}

fn deep_object(count: usize) -> String {
    format!("{}1{}", r#"{"a":"#.repeat(count), "}".repeat(count))
}

/// Checks what becomes of each message, several times over.
fn each_gets(what: &str, cases: &[(String, Verdict)]) {
    let mut siege = Siege::begin();
    siege.attack(what, |server| {
        for (text, expected) in cases {
            for _ in 0..5 {
                assert_eq!(verdict(server, text), *expected, "{what}: {text:.100}");
            }
        }
    });
}

#[test]
fn what_is_no_command_is_closed_with_3501_however_it_is_written() {
    let bad = [
        "[".repeat(60_000),
        "{".repeat(60_000),
        r#"{"a":"#.repeat(12_000),
        deep(DEEP),
        deep_object(10_000),
        format!(r#"{{"id":7,"subscribe":{{"channel":"c","tf":{}}}}}"#, r#"{"nodes":[{"op":""}]}"#.repeat(2)),
        format!(
            r#"{{"id":7,"subscribe":{{"channel":"c","tf":{}{}}}}}"#,
            r#"{"nodes":["#.repeat(2_000),
            "]}".repeat(2_000)
        ),
        format!(r#"{{"id":{}}}"#, "9".repeat(60_000)),
        r#"{"id":1e3,"rpc":{}}"#.to_owned(),
        r#"{"id":-7,"rpc":{}}"#.to_owned(),
        r#"{"id":4294967296,"rpc":{}}"#.to_owned(),
        r#"{"id":"7","rpc":{}}"#.to_owned(),
        r#"{"id":7,"id":8,"rpc":{}}"#.to_owned(),
        r#"{"id":7,"rpc":{},"rpc":{}}"#.to_owned(),
        r#"{"id":7,"subscribe":{"channel":"\ud800"}}"#.to_owned(),
        format!(r#"{{"id":7,"subscribe":{{"channel":"{}"}}}}"#, "\\u".repeat(20_000)),
        "\u{feff}{\"id\":7,\"rpc\":{}}".to_owned(),
        "{\"id\":7,\"rpc\":{}}\0".to_owned(),
        "\0".repeat(60_000),
        "{\"id\":7,\"rpc\":{}}{\"id\":8,\"rpc\":{}}".to_owned(),
        "\"".repeat(60_000),
        format!("\"{}\"", "\\\"".repeat(30_000)),
    ];
    each_gets("broken commands", &bad.map(|text| (text, Verdict::Closed(3501))));
}

#[test]
fn what_is_too_much_within_a_command_is_refused_or_passed_over() {
    let long = "x".repeat(60_000);
    let many: Vec<_> = (0..3_000).map(|number| format!(r#""k{number}":{{}}"#)).collect();
    each_gets(
        "commands with too much in them",
        &[
            (format!(r#"{{"id":7,"later":{},"rpc":{{}}}}"#, deep(DEEP)), Verdict::Error(108)),
            (format!(r#"{{"id":7,"rpc":{{"data":{}}}}}"#, deep(DEEP)), Verdict::Error(108)),
            (format!(r#"{{"id":7,"later":{{{}}},"rpc":{{}}}}"#, many.join(",")), Verdict::Error(108)),
            (format!(r#"{{"id":7,"subscribe":{{"channel":"{long}"}}}}"#), Verdict::Error(107)),
            (format!(r#"{{"id":7,"subscribe":{{"channel":"c","token":"{long}"}}}}"#), Verdict::Error(103)),
            (format!(r#"{{"id":7,"unsubscribe":{{"channel":"{long}"}}}}"#), Verdict::Served),
            (format!(r#"{{"id":7,"history":{{"channel":"{long}","limit":-1}}}}"#), Verdict::Error(107)),
            (format!(r#"{{"id":7,"publish":{{"channel":"{long}","data":1}}}}"#), Verdict::Error(107)),
            (format!(r#"{{"id":7,"subscribe":{{"channel":"c","delta":"{long}"}}}}"#), Verdict::Closed(3501)),
            (
                format!(r#"{{"id":7,"subscribe":{{"channel":"{}"}}}}"#, r"\u0000".repeat(40)),
                Verdict::Error(107),
            ),
        ],
    );
}

/// What somebody who is subscribed gets to read of this data, as bytes.
fn published(server: &Sandbox, data: &str) -> String {
    let mut reader = WebSocket::subscribed(server.clients, "void");
    let command = format!(r#"{{"id":7,"publish":{{"channel":"void","data":{data}}}}}"#);
    assert_eq!(verdict(server, &command), Verdict::Served, "{data:.60}");
    let frame = reader.read_frame().expect("the server goes on");
    String::from_utf8(frame.payload).expect("text")
}

#[test]
fn deep_and_huge_data_passes_as_bytes_that_nobody_unpacks() {
    let mut siege = Siege::begin();
    siege.attack("deep data", |server| {
        let keys = r#""a":1,"#.repeat(8_000);
        for data in [
            deep(DEEP),
            deep_object(9_000),
            "9".repeat(60_000),
            format!("1e{}", "9".repeat(50_000)),
            format!("\"{}\"", r"\u0000".repeat(10_000)),
            format!("{{{keys}\"a\":2}}"),
        ] {
            let message = published(server, &data);
            assert!(message.contains(&format!(r#""data":{data}"#)), "{data:.60}: {message:.200}");
        }
    });
}

#[test]
fn a_connect_with_anything_for_its_data_is_served_or_refused() {
    let mut siege = Siege::begin();
    siege.attack("connects with much in them", |server| {
        let entries = |value: &str| {
            let entries: Vec<_> = (0..3_000).map(|number| format!(r#""k{number}":{value}"#)).collect();
            entries.join(",")
        };
        for (field, expected) in [
            (format!(r#""data":{}"#, deep(DEEP)), Verdict::Served),
            (format!(r#""subs":{{{}}}"#, entries("{}")), Verdict::Served),
            (format!(r#""headers":{{{}}}"#, entries(r#""v""#)), Verdict::Served),
            (format!(r#""name":"{}""#, "n".repeat(60_000)), Verdict::Served),
            (format!(r#""subs":{}"#, deep(DEEP)), Verdict::Closed(3501)),
            (format!(r#""headers":{{"a":{}}}"#, deep(DEEP)), Verdict::Closed(3501)),
            (r#""data":1,"data":2"#.to_owned(), Verdict::Closed(3501)),
        ] {
            for _ in 0..20 {
                let mut socket = WebSocket::open(server.clients);
                let connect = format!(r#"{{"id":1,"connect":{{{field}}}}}"#);
                say(&socket, &Frame::new(TEXT, connect).to_bytes());
                assert_eq!(next_verdict(&mut socket), expected, "{field:.60}");
            }
        }
    });
}
