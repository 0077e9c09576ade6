//! Streams that are kept in a real Redis: across restarts of the server, and while Redis is away.

use fanfare_proto::v1::target::Kind;
use fanfare_proto::v1::{PublishResponse, StreamPosition};
use fanfare_tests::eventually::eventually;
use fanfare_tests::sandbox::{Sandbox, push_request};
use fanfare_tests::store::Store;
use tonic::{Code, Status};

fn start(store: &Store) -> Sandbox {
    let settings = store.settings();
    let namespace = "channel.namespaces=[{name=\"plain\"}]";
    Sandbox::start_dev(&[&settings[0], &settings[1], namespace])
}

fn push(server: &Sandbox, channel: &str, key: &str) -> Result<PublishResponse, Status> {
    let mut request = push_request(Kind::Channel(channel.to_owned()), "1");
    request.idempotency_key = key.to_owned();
    server.publish(request)
}

fn place(answer: Result<PublishResponse, Status>) -> StreamPosition {
    answer.expect("it is accepted").position.expect("it is stored")
}

#[test]
fn a_server_that_is_killed_goes_on_with_its_streams_and_knows_what_it_was_told_before() {
    let store = Store::start();
    let server = start(&store);
    let first = place(push(&server, "news", "a"));
    let second = place(push(&server, "news", "b"));
    assert_eq!((first.offset, second.offset), (1, 2));
    server.end("KILL");
    let server = start(&store);
    let again = push(&server, "news", "b").expect("it is accepted");
    assert!(again.duplicate);
    assert_eq!(again.position, Some(second));
    assert_eq!(place(push(&server, "news", "c")), StreamPosition { offset: 3, ..first });
}

#[test]
fn while_redis_is_away_channels_with_history_refuse_and_others_go_on() {
    let mut store = Store::start();
    let server = start(&store);
    let before = place(push(&server, "news", ""));
    store.kill();
    let refused = push(&server, "news", "").expect_err("there is nowhere to keep it");
    assert_eq!(refused.code(), Code::Unavailable, "{refused}");
    assert_eq!(push(&server, "plain:news", "").expect("it needs no history").position, None);
    assert_eq!(server.metric("fanfare_control_redis_connected"), 0.0);
    let other = start(&store);
    assert_eq!(push(&other, "news", "").expect_err("it starts without Redis").code(), Code::Unavailable);
    store.start_again();
    let after = eventually("Redis is found again", || push(&server, "news", "").ok()).position;
    let after = after.expect("it is stored");
    assert_eq!(after.offset, 1, "Redis came back empty");
    assert_ne!(after.epoch, before.epoch);
    eventually("the other one finds it too", || push(&other, "news", "").ok());
}
