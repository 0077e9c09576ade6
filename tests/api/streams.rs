//! Streams as a node sees them on its link: positions, recoveries in order, and who may read and remove.

use std::time::Duration;

use fanfare_proto::link::open_request::Message as Said;
use fanfare_proto::link::open_response::Message as Heard;
use fanfare_proto::link::{Follow, ReadHistory, Recover, StreamPosition};
use fanfare_proto::v1::history_service_client::HistoryServiceClient;
use fanfare_proto::v1::push_service_client::PushServiceClient;
use fanfare_proto::v1::target::Kind;
use fanfare_proto::v1::{GetHistoryRequest, RemoveHistoryRequest};
use fanfare_tests::eventually::eventually;
use fanfare_tests::sandbox::push_request;

use crate::node::Node;
use crate::replica::{Replica, local};

fn push(replica: &Replica, data: &str) -> u64 {
    let request = push_request(Kind::User("42".to_owned()), data);
    let answer =
        replica.run(PushServiceClient::new(replica.connect()).publish(request)).expect("it is pushed");
    answer.into_inner().position.expect("it is stored").offset
}

/// What a message says, in short.
fn said(message: &Heard) -> Option<String> {
    let offset = |position: Option<StreamPosition>| position.unwrap_or_default().offset;
    match message {
        Heard::Following(following) => Some(format!("following {}", offset(following.position))),
        Heard::Deliver(deliver) => {
            assert_ne!(deliver.epoch, 0);
            Some(format!("deliver {}", deliver.publication.as_ref()?.offset))
        }
        Heard::Recovered(recovered) => {
            let offsets: Vec<_> = recovered.publications.iter().map(|one| one.offset).collect();
            Some(format!("recovered {} {offsets:?}", recovered.complete))
        }
        Heard::HistoryRead(read) if read.error != 0 => Some(format!("error {}", read.error)),
        Heard::HistoryRead(read) => Some(format!("read {}", read.publications.len())),
        _ => None,
    }
}

fn recover(ticket: u64, offset: u64) -> Said {
    let since = Some(StreamPosition { offset, epoch: 0 });
    Said::Recover(Recover { ticket, channel: "#42".into(), since, limit: 9, max_bytes: 99, latest: false })
}

#[test]
fn what_a_node_is_told_of_a_channel_is_in_the_order_of_its_stream() {
    let replica = Replica::start(local());
    push(&replica, "1");
    push(&replica, "2");
    let node = Node::start(&replica, "node", "#42", 0);
    let heard = |count: usize| {
        eventually("the node has heard it", || {
            let all = node.heard(said);
            (all.len() >= count).then_some(all)
        })
    };
    assert_eq!(heard(1), ["following 2"]);
    push(&replica, "3");
    heard(2);
    replica.run(node.say(recover(1, 0)));
    heard(3);
    push(&replica, "4");
    heard(4);
    replica.run(node.say(recover(2, 5)));
    let read = |channel: &str| ReadHistory {
        channel: channel.into(),
        limit: 2,
        max_bytes: 99,
        ..Default::default()
    };
    replica.run(node.say(Said::ReadHistory(read("#42"))));
    heard(6);
    replica.run(node.say(Said::ReadHistory(read("none"))));
    let expected = [
        "following 2",
        "deliver 3",
        "recovered true [1, 2, 3]",
        "deliver 4",
        "recovered false []",
        "read 2",
        "error 108",
    ];
    assert_eq!(heard(expected.len()), expected);
}

#[test]
fn a_node_that_has_seen_more_than_there_is_makes_a_new_epoch() {
    let replica = Replica::start(local());
    push(&replica, "1");
    let node = Node::start(&replica, "node", "#42", 0);
    let positions = |count: usize| {
        eventually("the node follows", || {
            let all = node.heard(|message| match message {
                Heard::Following(following) => following.position,
                _ => None,
            });
            (all.len() >= count).then_some(all)
        })
    };
    let told = positions(1)[0];
    let position = Some(StreamPosition { offset: told.offset + 5, ..told });
    replica.run(node.say(Said::Follow(Follow { channel: "#42".into(), position })));
    let anew = positions(2)[1];
    assert_ne!(anew.epoch, told.epoch, "what it has seen is gone, so no offset may be used again");
    assert_eq!((push(&replica, "2"), anew.offset), (1, 0));
}

#[test]
fn a_removal_that_is_repeated_removes_nothing() {
    let replica = Replica::start(local());
    let mut client = HistoryServiceClient::new(replica.connect());
    let mut remove = |id: &str| {
        let request = RemoveHistoryRequest { channel: "#42".to_owned(), request_id: id.to_owned() };
        replica.run(client.remove_history(request)).expect("it is removed").into_inner().top
    };
    push(&replica, "1");
    let first = remove("a");
    push(&replica, "2");
    assert_eq!(remove("a"), first);
    let mut client = HistoryServiceClient::new(replica.connect());
    let request = GetHistoryRequest { channel: "#42".to_owned(), ..Default::default() };
    let kept = replica.run(client.get_history(request)).expect("it is read").into_inner();
    assert_eq!(kept.publications.len(), 1, "{kept:?}");
    let published = kept.publications[0].published_at.expect("it has a time");
    let since = std::time::SystemTime::try_from(published).expect("a time").elapsed().expect("it is past");
    assert!(since < Duration::from_secs(3600));
    assert_ne!(remove("b"), first);
}
