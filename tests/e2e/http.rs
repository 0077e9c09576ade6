//! The HTTP side of the clients' door: handshakes that are refused, whose pages come in, and health.

use std::io::Write as _;
use std::time::{Duration, Instant};

use fanfare_tests::eventually::eventually;
use fanfare_tests::sandbox::Sandbox;
use fanfare_tests::websocket::{BINARY, Frame, Handshake, TEXT, WebSocket};

use crate::bystander::Bystander;

/// Lets anonymous clients in from the pages of one host.
const CONFIGURATION: &str = r#"
[client]
allow_anonymous_connect_without_token = true
allowed_origins = ["https://app.example.com"]

[channel.without_namespace]
allow_subscribe_for_client = true
allow_subscribe_for_anonymous = true
"#;

fn get(path: &str) -> Handshake {
    Handshake::to(path).without("Connection").without("Upgrade")
}

#[test]
fn health_is_told_at_the_clients_door() {
    let server = Sandbox::start();
    for path in ["/readyz", "/livez"] {
        let (status, head) = get(path).answer(server.clients);
        assert_eq!(status, 200, "{path}: {head}");
        // A load balancer asks by an address that is no name of this machine.
        assert_eq!(get(path).header("Host", "10.0.0.7:8000").answer(server.clients).0, 200, "{path}");
    }
}

#[test]
fn another_path_is_not_found_with_or_without_a_handshake() {
    let server = Sandbox::start();
    for path in ["/nowhere", "/connection", "/connection/websocket/", "/connection/sse", "//"] {
        assert_eq!(Handshake::to(path).answer(server.clients).0, 404, "{path}");
        assert_eq!(get(path).answer(server.clients).0, 404, "{path}");
    }
}

#[test]
fn a_request_that_does_not_ask_for_a_websocket_is_told_that_this_is_one() {
    let server = Sandbox::start();
    let path = "/connection/websocket";
    assert_eq!(get(path).answer(server.clients).0, 426);
    assert_eq!(Handshake::default().header("Upgrade", "h2c").answer(server.clients).0, 426);
    assert_eq!(Handshake::default().header("Connection", "close").answer(server.clients).0, 426);
    for method in ["POST", "PUT", "HEAD", "DELETE", "OPTIONS"] {
        let (status, _) = Handshake::default().method(method).answer(server.clients);
        assert!((400..500).contains(&status), "{method}: {status}");
    }
    assert!(server.metric("fanfare_node_refused_total") >= 8.0);
}

#[test]
fn a_handshake_without_its_key_or_version_is_a_bad_request() {
    let server = Sandbox::start();
    for handshake in [
        Handshake::default().without("Sec-WebSocket-Key"),
        Handshake::default().without("Sec-WebSocket-Version"),
        Handshake::default().header("Sec-WebSocket-Version", "8"),
    ] {
        let (status, head) = handshake.answer(server.clients);
        assert_eq!(status, 400, "{handshake:?}: {head}");
    }
}

#[test]
fn browsers_and_proxies_may_write_the_handshake_as_they_like() {
    let server = Sandbox::start();
    for handshake in [
        Handshake::default().header("Connection", "keep-alive, Upgrade"),
        Handshake::default().header("Connection", "upgrade").header("Upgrade", "WebSocket"),
        Handshake::default().header("Sec-WebSocket-Extensions", "permessage-deflate; client_max_window_bits"),
        Handshake::to("/connection/websocket?cf_protocol_version=v2&unknown=%20&&="),
    ] {
        let mut socket = handshake.send(server.clients, &[]);
        let head = socket.expect_upgrade();
        assert!(!head.contains("sec-websocket-extensions"), "nothing was agreed on: {head}");
        socket.say_connect();
    }
}

#[test]
fn headers_without_end_are_refused() {
    let server = Sandbox::start();
    let mut bystander = Bystander::of(&server);
    let large = Handshake::default().header("Cookie", &"c".repeat(60_000));
    let (status, _) = large.answer(server.clients);
    assert!(matches!(status, 0 | 431), "{status}");
    let mut many = Handshake::default();
    for number in 0..200 {
        many = many.header(&format!("X-{number}"), "1");
    }
    let (status, _) = many.answer(server.clients);
    assert!(matches!(status, 0 | 431), "{status}");
    let (status, _) = Handshake::to(&format!("/{}", "p".repeat(60_000))).answer(server.clients);
    assert!(matches!(status, 0 | 414 | 431), "{status}");
    // A cookie such as many sites set is no attack.
    Handshake::default().header("Cookie", &"c".repeat(8_000)).open(server.clients).say_connect();
    bystander.is_served(&server);
}

#[test]
fn what_is_not_http_is_let_go() {
    let server = Sandbox::start();
    let mut bystander = Bystander::of(&server);
    for noise in [&b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"[..], b"\0\0\0\0\r\n\r\n", b"hello\r\n\r\n"]
    {
        let mut socket = WebSocket::dial(server.clients);
        socket.send_bytes(noise);
        let (status, _) = socket.read_head();
        assert!(matches!(status, 0 | 400), "{status}");
    }
    bystander.is_served(&server);
    eventually("they are gone", || (server.metric("fanfare_node_sockets") <= 2.0).then_some(()));
}

#[test]
fn in_dev_mode_only_pages_and_names_of_this_machine_are_let_in() {
    let server = Sandbox::start();
    let from = |origin: &str| Handshake::default().header("Origin", origin);
    let to = |host: &str| Handshake::default().header("Host", host);
    for origin in
        ["https://evil.example", "null", "http://localhost.evil.example", "http://127.0.0.1.evil.example"]
    {
        assert_eq!(from(origin).answer(server.clients).0, 403, "{origin}");
    }
    for host in ["evil.example", "rebound.example:8000", "localhost.evil.example", "10.0.0.7"] {
        assert_eq!(to(host).answer(server.clients).0, 403, "{host}");
        assert_eq!(get("/").header("Host", host).answer(server.clients).0, 403, "{host}");
    }
    for origin in ["http://localhost:3000", "http://127.0.0.1:5173", "http://[::1]:3000"] {
        from(origin).open(server.clients).say_connect();
    }
    to("localhost").header("Origin", "http://localhost").open(server.clients).say_connect();
}

#[test]
fn otherwise_pages_of_the_host_itself_and_of_listed_origins_are_let_in() {
    let server = Sandbox::configured(CONFIGURATION);
    let from =
        |origin: &str| Handshake::default().header("Host", "chat.example.com").header("Origin", origin);
    for origin in ["https://chat.example.com", "https://app.example.com"] {
        from(origin).open(server.clients).say_connect();
    }
    for origin in
        ["https://evil.example", "https://app.example.com.evil.example", "http://app.example.com", "null"]
    {
        assert_eq!(from(origin).answer(server.clients).0, 403, "{origin}");
    }
    // One without an origin is no page.
    WebSocket::open(server.clients).say_connect();
    assert_eq!(get("/").answer(server.clients).0, 404, "there is no page outside dev mode");
}

#[test]
fn a_known_subprotocol_is_echoed_and_chooses_the_encoding() {
    let server = Sandbox::start();
    let echo = |offer: &str| {
        let handshake = Handshake::default().header("Sec-WebSocket-Protocol", offer);
        let mut socket = handshake.send(server.clients, &[]);
        let head = socket.expect_upgrade();
        let line = head.lines().find_map(|line| line.strip_prefix("sec-websocket-protocol: "));
        (line.map(str::to_owned), socket)
    };
    let (chosen, mut json) = echo("centrifuge-json");
    assert_eq!(chosen.as_deref(), Some("centrifuge-json"));
    json.say_connect();
    let (chosen, mut protobuf) = echo("chat, centrifuge-protobuf");
    assert_eq!(chosen.as_deref(), Some("centrifuge-protobuf"));
    // Command { id: 1, connect: {} }
    protobuf.send(&Frame::new(BINARY, [4, 0x08, 1, 0x22, 0]));
    assert_eq!(protobuf.read_frame().expect("an answer").opcode, BINARY);
    let (chosen, mut unknown) = echo("chat");
    assert_eq!(chosen, None);
    unknown.send_text(r#"{"id":1,"connect":{}}"#);
    assert_eq!(unknown.read_frame().expect("an answer").opcode, TEXT);
}

#[test]
fn a_handshake_that_trickles_is_ended_by_its_timeout() {
    let server = Sandbox::start_with(&["client.handshake_timeout=500ms"]);
    let mut bystander = Bystander::of(&server);
    let mut slow = WebSocket::dial(server.clients);
    let silent = WebSocket::dial(server.clients);
    let started = Instant::now();
    eventually("all have come", || (server.metric("fanfare_node_sockets") == 3.0).then_some(()));
    let request = Handshake::default().to_bytes(server.clients);
    let mut bytes = request.iter();
    let closed = eventually("the slow one is ended", || {
        let written = bytes.next().map_or(Ok(()), |byte| slow.stream().write_all(&[*byte]));
        (written.is_err() || server.metric("fanfare_node_sockets") <= 1.0).then(|| started.elapsed())
    });
    assert!(closed >= Duration::from_millis(400), "{closed:?}");
    assert!(bytes.len() > 0, "it was cut off before it was done");
    eventually("the silent one is ended", || (server.metric("fanfare_node_sockets") <= 1.0).then_some(()));
    assert!(matches!(slow.read_head().0, 0 | 408));
    drop(silent);
    bystander.is_served(&server);
}

#[test]
fn an_http_connection_that_is_kept_open_may_still_become_a_websocket() {
    let server = Sandbox::start();
    let mut socket = get("/livez").send(server.clients, &[]);
    assert_eq!(socket.read_head().0, 200);
    let body = server.http(server.clients, "/livez");
    let body = body.split_once("\r\n\r\n").map_or(0, |(_, body)| body.len());
    socket.skip(body);
    socket.send_bytes(&Handshake::default().to_bytes(server.clients));
    socket.expect_upgrade();
    socket.say_connect();
}

#[test]
fn the_dev_page_may_run_nothing_but_itself() {
    let server = Sandbox::start();
    let answer = server.http(server.clients, "/");
    let (head, page) = answer.split_once("\r\n\r\n").expect("there is a body");
    let head = head.to_lowercase();
    assert!(head.starts_with("http/1.1 200") && page.contains("<html"), "{head}");
    for line in ["content-security-policy: default-src 'none'", "x-content-type-options: nosniff"] {
        assert!(head.contains(line), "{line} is missing: {head}");
    }
    let from_page = Handshake::default().header("Origin", &format!("http://{}", server.clients));
    from_page.open(server.clients).say_connect();
}
