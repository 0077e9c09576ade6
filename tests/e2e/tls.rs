//! TLS at the clients' door: everything is as without it, for those who read, those who do not, and strangers.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use fanfare_proto::v1::target::Kind;
use fanfare_proto::v1::{PublishRequest, Receipt, WaitFor};
use fanfare_tests::eventually::{PATIENCE, eventually, eventually_is};
use fanfare_tests::sandbox::{Sandbox, push_request};
use fanfare_tests::tls::{Authority, TlsClient};
use fanfare_tests::websocket::{CLOSE, Frame, Handshake, PING, PONG, TEXT, WebSocket};
use rustls::{HandshakeKind, ProtocolVersion};
use serde_json::{Value, json};

const HOST: &str = "push.test";

/// A server with TLS, and who may speak it with it.
struct Secure {
    server: Sandbox,
    client: TlsClient,
    authority: Authority,
}

impl Secure {
    /// Starts one with further settings of `[client]`.
    fn start(settings: &str) -> Self {
        let authority = Authority::new();
        let (_, entry) = authority.certify(&[HOST]);
        let server = Sandbox::configured(&configuration(settings, &[entry]));
        Self { client: authority.client(HOST), server, authority }
    }

    fn open(&self) -> WebSocket {
        Handshake::default().open_tls(self.server.clients, &self.client)
    }

    fn subscribed(&self, channel: &str) -> WebSocket {
        let mut socket = self.open();
        socket.say_connect();
        socket.subscribe(channel);
        socket
    }

    /// Pushes, and waits for no receipt.
    fn offer(&self, channel: &str, json: &Value) {
        let request = push_request(Kind::Channel(channel.to_owned()), &json.to_string());
        let request = PublishRequest { wait_for: WaitFor::Accepted.into(), ..request };
        self.server.publish(request).expect("the push is accepted");
    }

    /// Pushes, and waits for the receipt for 300 ms only: those that do not read would hold it up.
    fn push(&self, channel: &str, json: &Value) -> Receipt {
        let wait_timeout = Some(fanfare_proto::Duration { seconds: 0, nanos: 300_000_000 });
        let request = push_request(Kind::Channel(channel.to_owned()), &json.to_string());
        let published = self.server.publish(PublishRequest { wait_timeout, ..request });
        published.expect("the push is accepted").receipt.expect("there is a receipt")
    }
}

/// Lets everybody do everything.
fn configuration(settings: &str, certificates: &[String]) -> String {
    let certificates = certificates.join(", ");
    format!(
        r#"
[client]
allow_anonymous_connect_without_token = true
{settings}

[client.tls]
certificates = [{certificates}]

[channel.without_namespace]
allow_subscribe_for_client = true
allow_subscribe_for_anonymous = true
allow_publish_for_client = true
allow_publish_for_anonymous = true
"#
    )
}

/// Data of 100 KiB that has a number.
fn large(number: u64) -> Value {
    json!([number, "x".repeat(100 << 10)])
}

/// Reads numbered data in order, up to the close frame. Returns its code, and the number that would have come next.
fn read_to_the_end(socket: &mut WebSocket, mut next: u64) -> (u16, u64) {
    loop {
        let frame = socket.read_frame().expect("a close frame comes first");
        if frame.opcode == CLOSE {
            return (frame.code(), next);
        }
        let message: Value = serde_json::from_slice(&frame.payload).expect("JSON");
        assert_eq!(message["push"]["pub"]["data"], large(next), "whole and in order");
        next += 1;
    }
}

#[test]
fn a_client_connects_subscribes_publishes_and_leaves() {
    let secure = Secure::start("");
    let mut client = secure.subscribed("news");
    assert_eq!(client.tls().protocol_version(), Some(ProtocolVersion::TLSv1_3));
    assert_eq!(secure.server.push("news", "1").written, 1);
    assert_eq!(client.next_data("news"), 1);
    // What TLS makes of a large message are several records, each way.
    let text = "y".repeat(60 << 10);
    assert_eq!(client.outcome("publish", &json!({ "channel": "news", "data": text })), 0);
    assert_eq!(client.next_data("news"), text);
    let text = "z".repeat(300 << 10);
    assert_eq!(secure.server.push("news", &json!(text).to_string()).written, 1);
    assert_eq!(client.next_data("news"), text);
    client.send(&Frame::close(1000));
    // The end is said in TLS as well: the test's client takes nothing else for one.
    client.ends_after_close();
    eventually_is("it is gone", &0.0, || secure.server.metric("fanfare_node_sockets"));
}

#[test]
fn what_comes_in_one_piece_with_the_handshake_is_taken() {
    let secure = Secure::start("");
    // More than is read together with the request: the rest is with TLS when the handshake is over.
    let large = json!({ "id": 2, "publish": { "channel": "news", "data": "x".repeat(60 << 10) } });
    let commands = [r#"{"id":1,"connect":{}}"#, &large.to_string(), r#"{"id":3,"rpc":{}}"#];
    let early: Vec<u8> = commands.iter().flat_map(|text| Frame::new(TEXT, *text).to_bytes()).collect();
    let mut bytes = Handshake::default().to_bytes(secure.server.clients);
    bytes.extend_from_slice(&early);
    let mut client = WebSocket::dial_tls(secure.server.clients, &secure.client);
    client.send_bytes(&bytes);
    client.expect_upgrade();
    let mut ids: Vec<_> = (0..3).map(|_| client.next_message()["id"].as_u64()).collect();
    ids.sort_unstable();
    assert_eq!(ids, [Some(1), Some(2), Some(3)]);
}

#[test]
fn every_way_to_cut_a_stream_into_records_reads_the_same() {
    let secure = Secure::start("");
    let mut client = secure.subscribed("news");
    let frame = Frame::new(TEXT, r#"{"id":9,"publish":{"channel":"news","data":"piece"}}"#).to_bytes();
    for size in [1, 7, frame.len()] {
        // Each write is a record of its own.
        frame.chunks(size).for_each(|piece| client.send_bytes(piece));
        let mut seen = [client.next_message(), client.next_message()];
        seen.sort_by_key(|message| message["id"].as_u64());
        assert_eq!((&seen[0]["push"]["pub"]["data"], &seen[1]["id"]), (&json!("piece"), &json!(9)));
    }
    client.send(&Frame::new(PING, "are you there"));
    let pong = client.read_frame().expect("an answer");
    assert_eq!((pong.opcode, pong.payload.as_slice()), (PONG, &b"are you there"[..]));
    client.send(&Frame { reserved: 4, ..Frame::new(TEXT, "{}") });
    assert_eq!(client.close_code(), 1002, "rules are rules");
}

#[test]
fn who_does_not_read_is_cut_with_3008_and_reads_so_when_it_does() {
    let secure = Secure::start("");
    let mut reader = secure.subscribed("news");
    let mut stranger = secure.subscribed("news");
    let mut pushes = 0;
    eventually("it is cut", || {
        let receipt = secure.push("news", &large(pushes));
        assert_eq!(reader.next_data("news"), large(pushes), "all come, in order");
        pushes += 1;
        let Receipt { written, pending, cut, complete, .. } = receipt;
        assert!(!complete || written + pending + cut == 2, "nobody is forgotten: {receipt:?}");
        assert!(secure.server.metric("fanfare_node_queue_bytes") <= 1_048_576.0);
        (secure.server.metric("fanfare_node_cuts_total") == 1.0).then_some(())
    });
    let receipt = secure.push("news", &json!("after"));
    assert_eq!((receipt.written, receipt.complete), (1, true), "{receipt:?}");
    assert_eq!(reader.next_data("news"), "after");
    let (code, read) = read_to_the_end(&mut stranger, 0);
    assert_eq!(code, 3008);
    assert!(read < pushes, "{read} of {pushes}");
    stranger.send(&Frame::close(3008));
    stranger.ends();
    eventually_is("nothing waits", &0.0, || secure.server.metric("fanfare_node_queue_bytes"));
    eventually_is("it is gone", &1.0, || secure.server.metric("fanfare_node_sockets"));
}

// A frame that TLS had sealed but not sent was dropped with the rest, and the close frame behind it was taken for
// the frame: the process ended with a panic.
#[test]
fn who_reads_for_a_while_and_then_stops_is_cut_between_two_frames() {
    let secure = Secure::start("queue_max_size = \"8MiB\"");
    let mut reader = secure.subscribed("news");
    let mut stranger = secure.subscribed("news");
    let (mut pushed, mut read) = (0, 0);
    let mut push = || {
        secure.offer("news", &large(pushed));
        assert_eq!(reader.next_data("news"), large(pushed));
        pushed += 1;
    };
    let waiting = || secure.server.metric("fanfare_node_queue_bytes");
    eventually("much waits", || {
        push();
        (waiting() > 6e6).then_some(())
    });
    // The frame that was under way goes out, and another one begins.
    let before = waiting();
    eventually("something has moved", || {
        assert_eq!(stranger.next_data("news"), large(read));
        read += 1;
        (waiting() < before).then_some(())
    });
    assert!(waiting() > 0.0);
    eventually("it is cut", || {
        push();
        (secure.server.metric("fanfare_node_cuts_total") == 1.0).then_some(())
    });
    let (code, read) = read_to_the_end(&mut stranger, read);
    assert_eq!(code, 3008);
    assert!(read < pushed, "{read} of {pushed}");
    assert_eq!(secure.push("news", &json!(1)).written, 1);
    assert_eq!(reader.next_data("news"), 1);
}

#[test]
fn receipts_are_right_while_a_reader_is_blocked() {
    let secure = Secure::start("queue_max_size = \"64MiB\"");
    let mut reader = secure.subscribed("news");
    let mut full = secure.subscribed("news");
    let mut pushed = 0;
    eventually("its socket is full", || {
        let receipt = secure.push("news", &large(pushed));
        assert_eq!(reader.next_data("news"), large(pushed));
        pushed += 1;
        (receipt.complete && receipt.pending == 1).then_some(())
    });
    // Three more wait behind what is under way; a call that waits for them is answered as soon as it reads.
    for number in pushed..pushed + 3 {
        let receipt = secure.push("news", &large(number));
        assert_eq!(reader.next_data("news"), large(number));
        assert!(
            !receipt.complete || (receipt.written, receipt.pending, receipt.cut) == (1, 1, 0),
            "{receipt:?}"
        );
    }
    std::thread::scope(|scope| {
        let last = scope.spawn(|| secure.server.push("news", &large(pushed + 3).to_string()));
        for number in 0..pushed + 4 {
            assert_eq!(full.next_data("news"), large(number));
        }
        let receipt = last.join().expect("the push is accepted");
        assert_eq!((receipt.written, receipt.pending, receipt.cut, receipt.complete), (2, 0, 0, true));
    });
    assert_eq!(reader.next_data("news"), large(pushed + 3));
    // Those who go while something waits for them leave nothing behind.
    eventually("its socket is full again", || {
        let receipt = secure.push("news", &large(0));
        assert_eq!(reader.next_data("news"), large(0));
        (receipt.complete && receipt.pending == 1).then_some(())
    });
    drop(full);
    eventually_is("nothing waits", &0.0, || secure.server.metric("fanfare_node_queue_bytes"));
}

// Pings are answered before connect, and the reply to connect then came between two halves of an answer; with TLS
// the process ended with a panic.
#[test]
fn who_does_not_even_read_before_connect_gets_nothing_that_is_broken() {
    let secure = Secure::start("");
    let plain = Sandbox::start();
    let mut bystander = secure.subscribed("bystander");
    for (server, mut stranger) in [(&plain, WebSocket::open(plain.clients)), (&secure.server, secure.open())]
    {
        let pings = Frame::new(PING, [b'p'; 125]).to_bytes().repeat(400);
        eventually("answers wait", || {
            stranger.send_bytes(&pings);
            (server.metric("fanfare_node_queue_bytes") > 0.0).then_some(())
        });
        stranger.send_json(&json!({ "id": 1, "connect": {} }));
        stranger.send_json(&json!({ "id": 2, "subscribe": { "channel": "news" } }));
        let end = std::iter::from_fn(|| stranger.read_frame()).find(|frame| {
            assert!(frame.opcode != PONG || frame.payload == [b'p'; 125], "{frame:?}");
            frame.opcode != PONG
        });
        let end = end.expect("a close frame comes before the end");
        assert_eq!((end.opcode, end.code()), (CLOSE, 3008), "nobody may connect before it has read");
        assert_eq!(secure.push("bystander", &json!(1)).written, 1);
        assert_eq!(bystander.next_data("bystander"), 1);
    }
}

#[test]
fn the_name_that_a_client_asks_for_picks_the_certificate() {
    let authority = Authority::new();
    let (first, first_entry) = authority.certify(&["one.test", "127.0.0.1"]);
    let (second, second_entry) = authority.certify(&["two.test", "*.wild.test"]);
    let server = Sandbox::configured(&configuration("", &[first_entry, second_entry]));
    for (name, expected) in
        [("one.test", &first), ("two.test", &second), ("a.wild.test", &second), ("127.0.0.1", &first)]
    {
        let socket = Handshake::default().open_tls(server.clients, &authority.client(name));
        assert_eq!(socket.tls().peer_certificates().map(|chain| &chain[0]), Some(expected), "{name}");
    }
    // A name that no certificate is for gets the first, and the client does not like it.
    let mut stranger = authority.client("three.test").connection();
    let mut tcp = TcpStream::connect(server.clients).expect("the port is open");
    stranger.complete_io(&mut tcp).expect_err("the certificate is another's");
    eventually_is("it is counted", &1.0, || server.metric("fanfare_node_refused_total{reason=\"tls\"}"));
}

#[test]
fn a_client_that_comes_back_resumes_its_session() {
    let secure = Secure::start("");
    for versions in [&[&rustls::version::TLS13], &[&rustls::version::TLS12]] {
        let client = secure.authority.client_of(HOST, versions);
        let connect = || {
            let mut socket = Handshake::default().open_tls(secure.server.clients, &client);
            socket.say_connect();
            assert_eq!(socket.tls().protocol_version(), Some(versions[0].version));
            socket.tls().handshake_kind()
        };
        assert_eq!(connect(), Some(HandshakeKind::Full));
        assert_eq!(connect(), Some(HandshakeKind::Resumed));
        assert_eq!(connect(), Some(HandshakeKind::Resumed));
    }
}

#[test]
fn health_is_told_over_tls_too() {
    let secure = Secure::start("");
    for path in ["/livez", "/readyz"] {
        let request = Handshake::to(path).without("Connection").without("Upgrade");
        let (status, head) = request.send_tls(secure.server.clients, &secure.client).read_head();
        assert_eq!(status, 200, "{path}: {head}");
    }
}

#[test]
fn who_speaks_no_tls_gets_nothing_and_harms_nobody() {
    let secure = Secure::start("handshake_timeout = \"300ms\"");
    let mut bystander = secure.subscribed("news");
    let (status, head) = Handshake::default().answer(secure.server.clients);
    assert_eq!((status, head.as_str()), (0, ""), "an alert at most, which is no HTTP");
    let refused = || secure.server.metric("fanfare_node_refused_total{reason=\"tls\"}");
    eventually_is("it is counted", &1.0, refused);

    // Half a handshake, and then nothing: the time of the handshake ends it.
    let mut hello = Vec::new();
    secure.client.connection().write_tls(&mut hello).expect("it is written to memory");
    let mut half = TcpStream::connect(secure.server.clients).expect("the port is open");
    half.set_read_timeout(Some(PATIENCE)).expect("a timeout can be set");
    half.write_all(&hello[..hello.len() / 2]).expect("the server takes bytes");
    assert_eq!(half.read(&mut [0; 64]).expect("the server ends it"), 0);
    eventually_is("it is counted", &2.0, refused);

    // A handshake that is done, and then no whole request.
    let mut silent = WebSocket::dial_tls(secure.server.clients, &secure.client);
    silent.send_bytes(b"G");
    assert_eq!(secure.push("news", &json!(1)).written, 1);
    assert_eq!(bystander.next_data("news"), 1);
    eventually_is("they are gone", &1.0, || secure.server.metric("fanfare_node_sockets"));
}

#[test]
fn who_breaks_tls_in_the_middle_is_ended() {
    let secure = Secure::start("");
    let mut bystander = secure.subscribed("news");
    let stranger = secure.subscribed("news");
    stranger.stream().write_all(b"this is no record of TLS").expect("the server takes bytes");
    eventually_is("it is gone", &1.0, || secure.server.metric("fanfare_node_subscriptions"));
    assert_eq!(secure.push("news", &json!(1)).written, 1);
    assert_eq!(bystander.next_data("news"), 1);
}
