//! Floods of commands and frames, each of which the rules allow; without `client.command_rate_limit`, to see what
//! the rest of the server makes of them.

use fanfare_tests::eventually::eventually;
use fanfare_tests::sandbox::Sandbox;
use fanfare_tests::websocket::{CONTINUATION, Frame, PING, PONG, TEXT, WebSocket};
use serde_json::{Value, json};

use super::siege::{Siege, Verdict, next_verdict, say, verdict};

const MANY: usize = 100_000;
const NO_RATE: &str = "client.command_rate_limit=0";

/// Messages with a command for each number, so many to a message.
fn messages(per_message: usize, command: impl Fn(usize) -> Value) -> Vec<u8> {
    let numbers: Vec<_> = (0..MANY).collect();
    let message = |numbers: &[usize]| {
        let commands: Vec<_> = numbers.iter().map(|number| command(*number).to_string()).collect();
        Frame::new(TEXT, commands.join("\n")).to_bytes()
    };
    numbers.chunks(per_message).flat_map(message).collect()
}

fn subscribe(number: usize) -> Value {
    json!({ "id": number + 2, "subscribe": { "channel": format!("c{number}") } })
}

/// Sends all, reads an answer to each, and returns the socket with how many answers there are of each code.
fn answered(server: &Sandbox, messages: Vec<u8>) -> (WebSocket, Vec<(u64, usize)>) {
    let mut socket = WebSocket::connect(server.clients);
    let mut sender = socket.second_hand();
    let sending = std::thread::spawn(move || sender.send_bytes(&messages));
    let mut codes: Vec<(u64, usize)> = Vec::new();
    for _ in 0..MANY {
        let code = socket.next_message()["error"]["code"].as_u64().unwrap_or(0);
        match codes.iter_mut().find(|(other, _)| *other == code) {
            Some((_, count)) => *count += 1,
            None => codes.push((code, 1)),
        }
    }
    sending.join().expect("everything was taken");
    codes.sort_unstable();
    (socket, codes)
}

#[test]
fn of_100_000_subscribes_on_a_connection_all_are_answered_and_128_served() {
    let mut siege = Siege::begin_with(&[NO_RATE]);
    for per_message in [1000, 1] {
        siege.attack(&format!("100,000 subscribes, {per_message} to a message"), |server| {
            let (socket, codes) = answered(server, messages(per_message, subscribe));
            assert_eq!(codes, [(0, 128), (106, MANY - 128)]);
            socket
        });
    }
}

// The tables of 50,000 subscriptions take about 32 MiB, which they keep. If the second round left as much again, it
// would be seen.
#[test]
fn a_connection_with_50_000_subscriptions_leaves_its_tables_and_nothing_more_the_second_time() {
    let mut siege = Siege::begin_with(&[NO_RATE, "client.channel_limit=50000"]).keeping(48);
    for _ in 0..2 {
        siege.attack("50,000 subscriptions", |server| {
            let (mut socket, codes) = answered(server, messages(500, subscribe));
            let count = |wanted: u64| codes.iter().find(|(code, _)| *code == wanted).map_or(0, |(_, n)| *n);
            // Some may be told that this is too much at once, and others take their places.
            assert_eq!(count(0) + count(106) + count(111), MANY, "{codes:?}");
            assert!(count(0) >= 10_000, "{codes:?}");
            assert_eq!(server.metric("fanfare_node_subscriptions") as usize, count(0) + 1);
            assert_eq!(server.push("c0", "1").written, 1);
            assert_eq!(socket.next_data("c0"), 1);
            socket
        });
    }
}

#[test]
fn who_subscribes_and_unsubscribes_100_000_times_leaves_nothing() {
    let mut siege = Siege::begin_with(&[NO_RATE]);
    siege.attack("100,000 flaps", |server| {
        let flap = |number: usize| {
            let key = if number.is_multiple_of(2) { "subscribe" } else { "unsubscribe" };
            json!({ "id": number + 2, key: { "channel": format!("c{}", number / 2) } })
        };
        let (socket, codes) = answered(server, messages(500, flap));
        assert!(codes.iter().all(|(code, _)| matches!(code, 0 | 111)), "{codes:?}");
        eventually("the last word was unsubscribe", || {
            (server.metric("fanfare_node_subscriptions") == 1.0).then_some(())
        });
        socket
    });
}

#[test]
fn a_flood_of_ping_frames_is_answered_to_who_reads() {
    let mut siege = Siege::begin_with(&[NO_RATE]);
    siege.attack("100,000 pings", |server| {
        let mut socket = WebSocket::connect(server.clients);
        let mut sender = socket.second_hand();
        let pings = Frame::new(PING, [b'p'; 125]).to_bytes().repeat(MANY);
        let sending = std::thread::spawn(move || sender.send_bytes(&pings));
        for _ in 0..MANY {
            assert_eq!(socket.read_frame().expect("the server goes on").opcode, PONG);
        }
        sending.join().expect("everything was taken");
        socket
    });
}

#[test]
fn frames_that_say_nothing_are_taken_in_silence() {
    let mut siege = Siege::begin_with(&[NO_RATE]);
    for (what, opcode, payload) in [
        ("pongs", PONG, &b""[..]),
        ("long pongs", PONG, &[b'p'; 125]),
        ("empty fragments", CONTINUATION, b""),
    ] {
        siege.attack(what, |server| {
            let mut socket = WebSocket::connect(server.clients);
            socket.send(&Frame::unfinished(TEXT, r#"{"id":7,"#));
            let fin = opcode == PONG;
            socket.send_bytes(&Frame { fin, ..Frame::new(opcode, payload) }.to_bytes().repeat(MANY));
            socket.send(&Frame::new(CONTINUATION, r#""rpc":{}}"#));
            assert_eq!(next_verdict(&mut socket), Verdict::Error(108));
            socket
        });
    }
}

#[test]
fn a_message_in_fragments_of_a_byte_is_one_message() {
    let mut siege = Siege::begin();
    siege.attack("fragments of a byte", |server| {
        let mut socket = WebSocket::connect(server.clients);
        let text = json!({ "id": 7, "rpc": { "method": "m".repeat(60_000) } }).to_string();
        socket.send(&Frame::unfinished(TEXT, ""));
        let fragment = |byte: u8| Frame::unfinished(CONTINUATION, [byte]).to_bytes();
        socket.send_bytes(&text.bytes().flat_map(fragment).collect::<Vec<_>>());
        socket.send(&Frame::new(CONTINUATION, ""));
        assert_eq!(next_verdict(&mut socket), Verdict::Error(108));
        socket
    });
}

#[test]
fn floods_of_empty_messages_end_with_the_first() {
    let mut siege = Siege::begin_with(&[NO_RATE]);
    for (what, frame) in [
        ("messages without a byte", Frame::new(TEXT, "")),
        ("pongs that nobody asked for", Frame::new(TEXT, "{}")),
        ("lines of pongs", Frame::new(TEXT, ["{}"; 20_000].join("\n"))),
        ("line breaks", Frame::new(TEXT, "\n".repeat(60_000))),
        ("spaces", Frame::new(TEXT, " ".repeat(60_000))),
    ] {
        siege.attack(what, |server| {
            let flood = |_| {
                let mut socket = WebSocket::connect(server.clients);
                say(&socket, &frame.to_bytes().repeat(100));
                assert_eq!(next_verdict(&mut socket), Verdict::Closed(3501), "{what}");
                socket
            };
            (0..20).map(flood).collect::<Vec<_>>()
        });
    }
    siege.attack("one that is served", |server| {
        assert_eq!(verdict(server, r#"{"id":7,"rpc":{}}"#), Verdict::Error(108));
    });
}
