//! Clients that read or write as nobody should, and what others notice of it: nothing.

use fanfare_proto::v1::target::Kind;
use fanfare_proto::v1::{PublishRequest, Receipt};
use fanfare_tests::eventually::eventually;
use fanfare_tests::sandbox::{Sandbox, push_request};
use fanfare_tests::websocket::{CLOSE, Frame, Handshake, PING, TEXT, WebSocket};
use serde_json::{Value, json};

use crate::bystander::Bystander;

/// Waits for its receipt for 300 ms only: those that do not read would hold it up.
fn impatient(channel: &str, json: &str) -> PublishRequest {
    let wait_timeout = Some(fanfare_proto::Duration { seconds: 0, nanos: 300_000_000 });
    PublishRequest { wait_timeout, ..push_request(Kind::Channel(channel.to_owned()), json) }
}

fn push(server: &Sandbox, request: PublishRequest) -> Receipt {
    server.publish(request).expect("the push is accepted").receipt.expect("there is a receipt")
}

/// Data of 100 KiB that has a number.
fn large(number: u64) -> Value {
    json!([number, "x".repeat(100 << 10)])
}

/// Pushes to "news" until the one subscriber of two that does not read is cut. Returns how many pushes it took.
fn push_until_cut(server: &Sandbox, reader: &mut WebSocket) -> u64 {
    for number in 0..1000 {
        let receipt = push(server, impatient("news", &large(number).to_string()));
        assert_eq!(reader.next_data("news"), large(number), "all come, in order");
        let Receipt { written, pending, cut, complete, .. } = receipt;
        // A busy machine may be too late to answer at all, and must say so.
        assert!(
            !complete || (written + pending + cut == 2 && written >= 1),
            "nobody is forgotten: {receipt:?}"
        );
        if server.metric("fanfare_node_cuts_total") == 1.0 {
            assert!(!complete || (cut, pending) == (1, 0), "{receipt:?}");
            return number + 1;
        }
        assert_eq!(cut, 0, "{receipt:?}");
        let queued = server.metric("fanfare_node_queue_bytes");
        assert!(queued <= 1_048_576.0, "{queued} bytes wait after {number} pushes");
        assert!(pending == 0 || queued > 0.0, "{receipt:?} though nothing waits");
    }
    panic!("the one that does not read was never cut");
}

#[test]
fn who_does_not_read_is_cut_with_3008_and_reads_so_when_it_does() {
    let server = Sandbox::start();
    let mut reader = WebSocket::subscribed(server.clients, "news");
    let mut stranger = WebSocket::subscribed(server.clients, "news");
    let pushes = push_until_cut(&server, &mut reader);
    assert_eq!(server.push("news", "\"after\"").written, 1);
    assert_eq!(reader.next_data("news"), "after");
    // What it reads at last is whole and in order up to the cut, and then the reason.
    let mut read = 0;
    loop {
        let frame = stranger.read_frame().expect("the close frame comes first");
        if frame.opcode == CLOSE {
            assert_eq!(frame.code(), 3008);
            break;
        }
        let message: Value = serde_json::from_slice(&frame.payload).expect("JSON");
        assert_eq!(message["push"]["pub"]["data"], large(read));
        read += 1;
    }
    assert!(read < pushes, "{read} of {pushes}");
    stranger.send(&Frame::close(3008));
    stranger.ends();
    eventually("nothing waits", || (server.metric("fanfare_node_queue_bytes") == 0.0).then_some(()));
    eventually("it is gone", || (server.metric("fanfare_node_sockets") == 1.0).then_some(()));
}

#[test]
fn who_never_reads_at_all_is_gone_all_the_same() {
    let server = Sandbox::start();
    let mut reader = WebSocket::subscribed(server.clients, "news");
    let stranger = WebSocket::subscribed(server.clients, "news");
    push_until_cut(&server, &mut reader);
    assert_eq!(server.metric("fanfare_node_subscriptions"), 1.0, "the subscription ends at once");
    eventually("its socket is gone", || (server.metric("fanfare_node_sockets") == 1.0).then_some(()));
    assert_eq!(server.metric("fanfare_node_queue_bytes"), 0.0);
    assert_eq!(server.push("news", "1").written, 1);
    assert_eq!(reader.next_data("news"), 1);
    drop(stranger);
}

// Of a frame that had partly gone out, the rest was counted as waiting for ever.
#[test]
fn who_is_gone_while_much_waits_leaves_nothing_behind() {
    let server = Sandbox::start_with(&["client.queue_max_size=64MiB"]);
    let mut bystander = Bystander::of(&server);
    for _ in 0..3 {
        let stranger = WebSocket::subscribed(server.clients, "news");
        eventually("something waits", || {
            server.publish(impatient("news", &large(0).to_string())).expect("the push is accepted");
            (server.metric("fanfare_node_queue_bytes") > 0.0).then_some(())
        });
        drop(stranger);
        eventually("it is gone", || (server.metric("fanfare_node_sockets") == 1.0).then_some(()));
        assert_eq!(server.metric("fanfare_node_queue_bytes"), 0.0);
        bystander.is_served(&server);
    }
}

#[test]
fn who_asks_and_asks_and_never_reads_the_answers_is_cut() {
    let server = Sandbox::start_with(&["client.command_rate_limit=0"]);
    let mut bystander = Bystander::of(&server);
    let commands = [r#"{"id":7,"rpc":{}}"#; 3000].join("\n");
    for flood in [Frame::new(TEXT, commands), Frame::new(PING, [b'p'; 125])] {
        let cuts = server.metric("fanfare_node_cuts_total");
        let mut stranger = WebSocket::connect(server.clients);
        let piece = flood.to_bytes().repeat(if flood.opcode == PING { 400 } else { 1 });
        eventually("it is cut", || {
            stranger.send_bytes(&piece);
            (server.metric("fanfare_node_cuts_total") > cuts).then_some(())
        });
        bystander.is_served(&server);
        assert_eq!(stranger.close_code(), 3008);
    }
    eventually("nothing waits", || (server.metric("fanfare_node_queue_bytes") == 0.0).then_some(()));
}

#[test]
fn who_sends_a_byte_now_and_then_holds_nobody_up() {
    let server = Sandbox::start();
    let mut bystander = Bystander::of(&server);
    let command = Frame::new(TEXT, r#"{"id":1,"connect":{}}"#).to_bytes();
    let request = Handshake::default().to_bytes(server.clients);
    let mut before = WebSocket::dial(server.clients);
    let mut behind = WebSocket::open(server.clients);
    let (first, rest) = request.split_at(5);
    for (byte, other) in first.iter().zip(&command) {
        before.send_bytes(&[*byte]);
        behind.send_bytes(&[*other]);
        (0..20).for_each(|_| bystander.is_served(&server));
    }
    before.send_bytes(rest);
    before.expect_upgrade();
    before.say_connect();
    behind.send_bytes(&command[5..]);
    assert_eq!(behind.next_message()["id"], 1);
}

#[test]
fn who_reads_little_by_little_gets_everything() {
    let server = Sandbox::start();
    let mut slow = WebSocket::subscribed(server.clients, "news");
    let number_of = |data: &Value| data[0].as_u64();
    let mut next = 0;
    for number in 0..200 {
        push(&server, push_request(Kind::Channel("news".to_owned()), &large(number).to_string()));
        // It is always a few messages behind.
        if number >= 5 {
            assert_eq!(number_of(&slow.next_data("news")), Some(next));
            next += 1;
        }
    }
    for expected in next..200 {
        assert_eq!(number_of(&slow.next_data("news")), Some(expected));
    }
    assert_eq!(server.metric("fanfare_node_cuts_total"), 0.0);
}

#[test]
fn who_is_told_to_go_and_stays_is_shown_out() {
    let server = Sandbox::start();
    let mut bystander = Bystander::of(&server);
    let mut stranger = WebSocket::subscribed(server.clients, "news");
    stranger.send_text("{}");
    assert_eq!(stranger.close_code(), 3501);
    let receipt = server.push("news", "1");
    assert_eq!((receipt.written, receipt.pending, receipt.cut), (0, 0, 0), "it is no subscriber any more");
    stranger.send_text(r#"{"id":9,"publish":{"channel":"bystander","data":"late"}}"#);
    stranger.ends();
    bystander.is_served(&server);
    assert_eq!(server.metric("fanfare_node_client_publications_total"), 0.0);
}

#[test]
fn who_publishes_without_a_pause_is_answered_every_time() {
    const MESSAGES: usize = 40;
    const COMMANDS: usize = 500;
    let server = Sandbox::start_with(&["client.command_rate_limit=0"]);
    let mut bystander = Bystander::of(&server);
    let mut stranger = WebSocket::connect(server.clients);
    let mut reader = stranger.second_hand();
    let answers = std::thread::spawn(move || {
        let mut codes = Vec::new();
        while codes.len() < MESSAGES * COMMANDS {
            codes.push(reader.next_message()["error"]["code"].as_u64().unwrap_or_default());
        }
        codes
    });
    for message in 0..MESSAGES {
        let command = |number: usize| {
            let id = 10 + message * COMMANDS + number;
            json!({ "id": id, "publish": { "channel": "void", "data": number } }).to_string()
        };
        stranger.send_text(&(0..COMMANDS).map(command).collect::<Vec<_>>().join("\n"));
        bystander.is_served(&server);
    }
    let codes = answers.join().expect("all were answered");
    assert!(codes.iter().all(|code| matches!(code, 0 | 111)), "published, or too much to do");
}

// Joining and leaving overtake each other on the way to the channel's owner, and the last word must win.
#[test]
fn who_comes_and_goes_without_a_pause_ends_where_it_said_last() {
    let server = Sandbox::start_with(&["client.command_rate_limit=0"]);
    let mut clients: Vec<_> = (0..4).map(|_| WebSocket::connect(server.clients)).collect();
    for round in 0..20 {
        for client in &mut clients {
            let flap = |number: usize| {
                let key = if number.is_multiple_of(2) { "subscribe" } else { "unsubscribe" };
                json!({ "id": 100 + number, key: { "channel": "news" } }).to_string()
            };
            client.send_text(&(0..99).map(flap).collect::<Vec<_>>().join("\n"));
        }
        for client in &mut clients {
            while client.next_message()["id"] != 198 {}
        }
        let receipt = push(&server, push_request(Kind::Channel("news".to_owned()), &round.to_string()));
        assert_eq!((receipt.written, receipt.complete), (4, true), "{receipt:?}");
        for client in &mut clients {
            assert_eq!(client.next_data("news"), round);
            client.send_text(r#"{"id":7,"unsubscribe":{"channel":"news"}}"#);
            assert_eq!(client.next_message()["id"], 7);
        }
    }
    eventually("nobody follows", || {
        (server.metric("fanfare_control_followed_channels") == 0.0).then_some(())
    });
    assert_eq!(server.metric("fanfare_node_subscriptions"), 0.0);
}
