//! Crowds that come and go, politely or not, and leave nothing behind.

use std::fs;

use fanfare_tests::eventually::eventually_is;
use fanfare_tests::sandbox::Sandbox;
use fanfare_tests::websocket::{Frame, Handshake, WebSocket};
use serde_json::json;

use crate::bystander::Bystander;
use crate::tokens::token_of;

const CROWD: usize = 5_000;
/// Files that other tests in this process may need at the same time.
const FILES_FOR_OTHERS: usize = 500;

/// As many as come, or fewer where a process may not have so many files.
fn crowd() -> usize {
    let limits = fs::read_to_string("/proc/self/limits").expect("Linux tells its limits");
    let line = limits.lines().find(|line| line.starts_with("Max open files")).expect("there is such a limit");
    let soft = line.split_whitespace().nth(3).and_then(|limit| limit.parse().ok()).unwrap_or(usize::MAX);
    let crowd = CROWD.min(soft.saturating_sub(FILES_FOR_OTHERS));
    if crowd < CROWD {
        eprintln!("NOT RUN with {CROWD} connections but with {crowd}: `ulimit -n` is {soft}");
    }
    crowd
}

/// What a process holds: files, then threads.
pub(crate) fn held(server: &Sandbox) -> (usize, usize) {
    let count = |what: &str| {
        let entries = fs::read_dir(format!("/proc/{}/{what}", server.pid())).expect("the process is there");
        entries.count()
    };
    (count("fd"), count("task"))
}

/// Waits until the server has no more than what a bystander accounts for.
pub(crate) fn only_the_bystander_is_left(server: &Sandbox) {
    for (name, expected) in [
        ("fanfare_node_sockets", 1.0),
        ("fanfare_node_connections", 1.0),
        ("fanfare_node_subscriptions", 1.0),
        ("fanfare_node_channels", 1.0),
        ("fanfare_node_queue_bytes", 0.0),
        ("fanfare_control_followed_channels", 1.0),
    ] {
        eventually_is(name, &expected, || server.metric(name));
    }
}

/// Somebody who has come more or less far.
fn somebody(server: &Sandbox, number: usize) -> WebSocket {
    let address = server.clients;
    match number % 16 {
        0 => WebSocket::dial(address),
        1 => {
            let mut socket = WebSocket::dial(address);
            socket.send_bytes(&Handshake::default().to_bytes(address)[..20]);
            socket
        }
        2 => WebSocket::open(address),
        3 => {
            let mut socket = WebSocket::open(address);
            socket.send_json(&json!({ "id": 1, "connect": { "token": token_of(&number.to_string()) } }));
            socket
        }
        4 => {
            let mut socket = WebSocket::connect(address);
            socket.send_bytes(&Frame::new(1, "never sent").claiming(10_000));
            socket
        }
        5..10 => WebSocket::subscribed(address, &format!("of {number}")),
        _ => WebSocket::subscribed(address, "crowd"),
    }
}

fn come(server: &Sandbox, count: usize) -> Vec<WebSocket> {
    (0..count).map(|number| somebody(server, number)).collect()
}

/// Waits until nobody has left anything, but for a few files that the system takes its time to give back.
fn is_as_before(server: &Sandbox, (files, threads): (usize, usize)) {
    only_the_bystander_is_left(server);
    eventually_is("the files and threads are back", &(true, threads), || {
        let (files_now, threads_now) = held(server);
        (files_now <= files + 8, threads_now)
    });
}

#[test]
fn a_crowd_that_is_cut_off_leaves_nothing() {
    let server = Sandbox::start();
    let mut bystander = Bystander::of(&server);
    drop(come(&server, 100));
    only_the_bystander_is_left(&server);
    bystander.is_served(&server);
    let before = held(&server);
    let crowd = come(&server, crowd());
    assert_eq!(server.metric("fanfare_node_sockets"), crowd.len() as f64 + 1.0);
    bystander.is_served(&server);
    // Sockets with unread bytes are reset when they are dropped, the others closed.
    let receipt = server.push("crowd", "1");
    assert!(receipt.written as usize >= crowd.len() / 3, "{receipt:?}");
    drop(crowd);
    is_as_before(&server, before);
    bystander.is_served(&server);
}

#[test]
fn a_crowd_that_takes_its_leave_leaves_nothing() {
    let server = Sandbox::start();
    let mut bystander = Bystander::of(&server);
    drop(WebSocket::subscribed(server.clients, "crowd"));
    only_the_bystander_is_left(&server);
    let before = held(&server);
    let count = crowd() / 2;
    let subscribe = |number: usize| {
        let channel = if number.is_multiple_of(2) { "crowd".to_owned() } else { format!("of {number}") };
        WebSocket::subscribed(server.clients, &channel)
    };
    let mut crowd: Vec<_> = (0..count).map(subscribe).collect();
    assert_eq!(server.push("crowd", "1").written as usize, count.div_ceil(2));
    for socket in crowd.iter_mut().skip(1).step_by(4) {
        socket.command("unsubscribe", &json!({ "channel": "whatever" }));
    }
    crowd.iter_mut().for_each(|socket| socket.send(&Frame::close(1000)));
    crowd.iter_mut().for_each(WebSocket::ends_after_close);
    is_as_before(&server, before);
    bystander.is_served(&server);
}
