//! The client protocol in Protobuf, the same as in JSON but for its bytes.

use fanfare_proto::client::{
    Command, ConnectRequest, PublishRequest, Reply, RpcRequest, SendRequest, SubscribeRequest,
    UnsubscribeRequest,
};
use fanfare_proto::v1::Receipt;
use fanfare_proto::v1::message::Payload;
use fanfare_proto::v1::target::Kind;
use fanfare_tests::sandbox::{Sandbox, push_request};
use fanfare_tests::websocket::{BINARY, Frame, Handshake, PING, PONG, WebSocket};
use prost::Message as _;
use serde_json::json;

use crate::bystander::Bystander;
use crate::tokens::token_of;

fn open(server: &Sandbox) -> WebSocket {
    Handshake::default().header("Sec-WebSocket-Protocol", "centrifuge-protobuf").open(server.clients)
}

fn connected(server: &Sandbox) -> WebSocket {
    let mut client = open(server);
    send(&mut client, &[connect("")]);
    assert!(receive(&mut client)[0].connect.is_some());
    client
}

fn send(client: &mut WebSocket, commands: &[Command]) {
    let bytes: Vec<u8> = commands.iter().flat_map(Command::encode_length_delimited_to_vec).collect();
    client.send(&Frame::new(BINARY, bytes));
}

/// All replies of the next message.
fn receive(client: &mut WebSocket) -> Vec<Reply> {
    let frame = client.read_frame().expect("the server goes on");
    assert_eq!(frame.opcode, BINARY, "close code {}", frame.code());
    let mut rest = frame.payload.as_slice();
    let mut replies = Vec::new();
    while !rest.is_empty() {
        replies.push(Reply::decode_length_delimited(&mut rest).expect("a reply"));
    }
    replies
}

/// As many replies as there are to come, by their ids.
fn receive_all(client: &mut WebSocket, count: usize) -> Vec<Reply> {
    let mut replies = Vec::new();
    while replies.len() < count {
        replies.extend(receive(client));
    }
    replies.sort_by_key(|reply| reply.id);
    replies
}

fn connect(token: &str) -> Command {
    let connect = ConnectRequest { token: token.to_owned(), ..Default::default() };
    Command { id: 1, connect: Some(connect), ..Default::default() }
}

fn subscribe(id: u32, channel: &str) -> Command {
    let subscribe = SubscribeRequest { channel: channel.to_owned(), ..Default::default() };
    Command { id, subscribe: Some(subscribe), ..Default::default() }
}

fn publish(id: u32, data: &[u8]) -> Command {
    let data = data.to_vec().into();
    let publish = PublishRequest { channel: "news".to_owned(), data, ..Default::default() };
    Command { id, publish: Some(publish), ..Default::default() }
}

fn code(reply: &Reply) -> u32 {
    reply.error.as_ref().map_or(0, |error| error.code)
}

#[test]
fn many_commands_in_one_message_are_answered_as_in_json() {
    let server = Sandbox::start();
    for path in ["/connection/websocket?cf_protocol=protobuf", "/connection/websocket?format=protobuf"] {
        let mut client = Handshake::to(path).open(server.clients);
        let rpc = Command { id: 4, rpc: Some(RpcRequest::default()), ..Default::default() };
        let unsubscribe = UnsubscribeRequest { channel: "other".to_owned() };
        let unsubscribe = Command { id: 5, unsubscribe: Some(unsubscribe), ..Default::default() };
        send(&mut client, &[connect(""), subscribe(2, "news"), publish(3, b"{\"a\":1}"), rpc, unsubscribe]);
        let replies = receive_all(&mut client, 6);
        let push = replies[0].push.as_ref().expect("the echo");
        let publication = push.r#pub.as_ref().expect("a publication");
        assert_eq!((push.channel.as_str(), &publication.data[..]), ("news", &b"{\"a\":1}"[..]));
        let connected = replies[1].connect.as_ref().expect("the answer to connect");
        assert!(connected.ping == 25 && connected.pong && connected.client.len() == 36, "{connected:?}");
        assert_eq!(publication.info.as_ref().expect("its publisher").client, connected.client);
        assert!(
            replies[2].subscribe.is_some()
                && replies[3].publish.is_some()
                && replies[5].unsubscribe.is_some()
        );
        assert_eq!(code(&replies[4]), 108);
    }
}

#[test]
fn breaches_are_closed_as_in_json() {
    let server = Sandbox::start();
    let mut bystander = Bystander::of(&server);
    let encoded = |command: &Command| command.encode_length_delimited_to_vec();
    let nothing_but_an_id = Command { id: 2, ..Default::default() };
    let to_nobody = Command { send: Some(SendRequest::default()), ..Default::default() };
    for (name, bytes, expected) in [
        ("empty", vec![], 3501),
        ("an unasked pong", vec![0], 3501),
        ("a second connect", encoded(&connect("")), 3501),
        ("id 0", encoded(&subscribe(0, "news")), 3501),
        ("no channel", encoded(&subscribe(2, "")), 3501),
        ("nothing but an id", encoded(&nothing_but_an_id), 3501),
        ("less than announced", vec![5, 8, 1], 3501),
        ("an endless number", vec![0xff; 11], 3501),
        ("announced beyond all memory", vec![0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f], 3501),
        ("a wrong wire type", vec![2, 0x0d, 1], 3501),
        ("a channel that is not UTF-8", vec![6, 0x08, 2, 0x2a, 2, 0x0a, 0xff], 3501),
        ("JSON", b"{\"id\":2,\"rpc\":{}}".to_vec(), 3501),
        ("a message to nobody", encoded(&to_nobody), 3508),
    ] {
        let mut client = connected(&server);
        client.send(&Frame::new(BINARY, bytes));
        assert_eq!(client.close_code(), expected, "{name}");
        bystander.is_served(&server);
    }
    let mut early = open(&server);
    send(&mut early, &[subscribe(1, "news")]);
    assert_eq!(early.close_code(), 3501);
}

#[test]
fn a_ping_is_one_zero_byte_and_so_is_its_answer() {
    let server = Sandbox::start_with(&["client.ping_interval=1s", "client.pong_timeout=300ms"]);
    let mut client = connected(&server);
    for _ in 0..2 {
        let ping = client.read_frame().expect("a ping");
        assert_eq!((ping.opcode, ping.payload.as_slice()), (BINARY, &[0][..]));
        client.send(&Frame::new(BINARY, [0]));
    }
    client.read_frame().expect("a ping");
    assert_eq!(client.close_code(), 3012);
}

#[test]
fn ping_frames_can_be_had_with_protobuf_too() {
    let server = Sandbox::start_with(&["client.ping_interval=1s", "client.pong_timeout=300ms"]);
    let path = "/connection/websocket?cf_protocol=protobuf&cf_ws_frame_ping_pong=true";
    let mut client = Handshake::to(path).open(server.clients);
    send(&mut client, &[connect("")]);
    let connected = receive(&mut client).remove(0).connect.expect("connected");
    assert!(connected.ping == 0 && !connected.pong);
    for _ in 0..2 {
        assert_eq!(client.read_frame().expect("a ping").opcode, PING);
        client.send(&Frame::new(PONG, ""));
    }
}

#[test]
fn clients_of_both_encodings_hear_each_other() {
    let server = Sandbox::start();
    let mut json = WebSocket::subscribed(server.clients, "news");
    let mut protobuf = connected(&server);
    send(&mut protobuf, &[subscribe(2, "news")]);
    assert!(receive(&mut protobuf)[0].subscribe.is_some());
    send(&mut protobuf, &[publish(3, "{\n \"a\": \"ü\"}".as_bytes())]);
    assert_eq!(json.next_data("news"), json!({ "a": "ü" }));
    receive_all(&mut protobuf, 2);
    assert_eq!(server.push("news", "[\n1]").written, 2);
    let push = receive(&mut protobuf).remove(0).push.expect("a push");
    assert_eq!(push.r#pub.expect("a publication").data, "[1]");
    assert_eq!(json.next_data("news"), json!([1]));
}

#[test]
fn a_push_to_one_connection_is_a_message() {
    let server = Sandbox::start();
    let mut client = open(&server);
    send(&mut client, &[connect("")]);
    let id = receive(&mut client).remove(0).connect.expect("connected").client;
    let receipt = server.publish(push_request(Kind::Connection(id), "{\"a\":\n1}")).expect("it is there");
    assert_eq!(receipt.receipt.expect("a receipt").written, 1);
    let push = receive(&mut client).remove(0).push.expect("a push");
    assert_eq!((push.channel.as_str(), &push.message.expect("a message").data[..]), ("", &b"{\"a\":1}"[..]));
}

#[test]
fn data_that_is_not_json_is_refused_where_json_is_asked_for() {
    let server = Sandbox::start();
    let mut client = connected(&server);
    for data in [&b""[..], b"\xff", b"{", b"1 2", b"\"\xff\"", b"NaN"] {
        send(&mut client, &[publish(2, data)]);
        assert_eq!(code(&receive(&mut client)[0]), 107, "{data:?}");
    }
}

#[test]
fn binary_channels_carry_any_bytes_to_protobuf_clients_and_refuse_json_ones() {
    let server = Sandbox::start_with(&["channel.without_namespace.publication_data_format=binary"]);
    let mut json = WebSocket::connect(server.clients);
    let refused = json.command("subscribe", &json!({ "channel": "news" }));
    assert_eq!(refused["error"]["code"], 107);
    let mut client = connected(&server);
    send(&mut client, &[subscribe(2, "news")]);
    assert!(receive(&mut client)[0].subscribe.is_some());
    let bytes: Vec<u8> = (0..=255).collect();
    let mut request = push_request(Kind::Channel("news".to_owned()), "");
    request.message.as_mut().expect("it has one").payload = Some(Payload::Data(bytes.clone().into()));
    let receipt = server.publish(request).expect("any bytes").receipt.expect("a receipt");
    assert_eq!((receipt.written, receipt.cut), (1, 0));
    let push = receive(&mut client).remove(0).push.expect("a push");
    assert_eq!(push.r#pub.expect("a publication").data, bytes);
    // A JSON client may publish: its JSON is bytes like any other.
    let published = json.command("publish", &json!({ "channel": "news", "data": { "a": 1 } }));
    assert_eq!(published["publish"], json!({}));
    let push = receive(&mut client).remove(0).push.expect("a push");
    assert_eq!(push.r#pub.expect("a publication").data, "{\"a\":1}");
}

/// A user's connection in JSON on a server whose channels carry any bytes, and the receipt of bytes for the user.
fn pushed_to_a_json_user(bytes: &[u8]) -> (Sandbox, WebSocket, Receipt) {
    let server = Sandbox::start_with(&["channel.without_namespace.publication_data_format=binary"]);
    let mut client = WebSocket::open(server.clients);
    client.command("connect", &json!({ "token": token_of("42") }));
    let mut request = push_request(Kind::User("42".to_owned()), "");
    request.message.as_mut().expect("it has one").payload = Some(Payload::Data(bytes.to_vec().into()));
    let receipt = server.publish(request).expect("any bytes").receipt.expect("a receipt");
    (server, client, receipt)
}

// Nothing was written, and the receipt said that it was.
#[test]
fn bytes_that_cannot_be_written_in_json_are_not_said_to_be_written() {
    let (_server, mut client, receipt) = pushed_to_a_json_user(b"\xff");
    assert_eq!((receipt.written, receipt.complete), (0, true), "{receipt:?}");
    assert_eq!(client.command("rpc", &json!({}))["error"]["code"], 108);
}

// A raw line break parts messages in JSON: what holds one is two broken messages to every SDK.
#[test]
fn json_among_any_bytes_reaches_a_json_user_without_line_breaks() {
    let (_server, mut client, _) = pushed_to_a_json_user(b"{\n\"a\": 1}");
    assert_eq!(client.next_data("#42"), json!({ "a": 1 }));
}
