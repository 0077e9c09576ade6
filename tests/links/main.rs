//! What happens on the road between the planes when it is cut, closed or stalled.

mod planes;
mod proxy;
mod pushes;

use fanfare_proto::v1::{GapReason, Receipt};
use fanfare_tests::eventually::eventually;
use fanfare_tests::websocket::WebSocket;
use serde_json::json;

use planes::Planes;

fn whole(receipt: &Receipt, written: u64) -> bool {
    receipt.written == written && receipt.complete
}

#[test]
fn a_cut_link_is_dialled_again_and_followed_on_and_clients_do_not_notice() {
    let planes = Planes::start(8 << 20);
    let mut client = WebSocket::subscribed(planes.clients(), "news");
    assert!(whole(&planes.push("news", "1"), 1));
    assert_eq!(client.next_data("news"), json!(1));
    for round in 2..6 {
        planes.proxy().cut();
        let number = round.to_string();
        eventually("the channel is followed again", || whole(&planes.push("news", &number), 1).then_some(()));
        // Pushes in between may have come through as well: what comes is in order, and the last one comes.
        while client.next_data("news") != json!(round) {}
    }
}

#[test]
fn a_node_without_a_link_is_named_in_receipts_and_keeps_its_clients() {
    let planes = Planes::start(8 << 20);
    let mut client = WebSocket::subscribed(planes.clients(), "news");
    planes.proxy().close();
    let receipt = eventually("the node is named", || {
        let receipt = planes.push("news", "1");
        // A push in the very moment of the cut was sent, and its node is silent.
        let unreachable = receipt.gaps.first().is_some_and(|gap| gap.reason() == GapReason::Unreachable);
        unreachable.then_some(receipt)
    });
    assert_eq!((receipt.complete, receipt.written, receipt.gaps[0].node.as_str()), (false, 0, "node"));

    let refused = client.command("publish", &json!({ "channel": "news", "data": 1 }));
    assert_eq!((&refused["error"]["code"], &refused["error"]["temporary"]), (&json!(100), &json!(true)));
    let waited = client.command("subscribe", &json!({ "channel": "sport" }));
    assert_eq!(
        waited["error"]["code"],
        json!(100),
        "a subscribe waits four seconds for an owner, not for ever"
    );

    planes.proxy().open();
    eventually("the node is linked again", || whole(&planes.push("news", "2"), 1).then_some(()));
    assert_eq!(client.next_data("news"), json!(2));
    client.subscribe("sport");
}

// A link that takes nothing must not make the replica hold ever more for it, nor thin out what it holds.
#[test]
fn a_stalled_link_is_cut_when_its_bound_is_reached_and_what_it_lost_is_counted() {
    let planes = Planes::start(1 << 20);
    let flooded = WebSocket::subscribed(planes.clients(), "flood");
    let mut client = WebSocket::subscribed(planes.clients(), "news");
    planes.proxy().stall();
    let large = format!("\"{}\"", "x".repeat(100_000));
    eventually("the link is cut", || {
        planes.push_and_go("flood", &large);
        (planes.control_metric("fanfare_control_link_cuts_total") >= 1.0).then_some(())
    });
    planes.proxy().open();
    eventually("the node is linked again", || whole(&planes.push("news", "2"), 1).then_some(()));
    let lost = planes.control_metric("fanfare_control_link_lost_messages_total");
    assert!(lost >= 1.0, "{lost} messages are counted as lost");
    assert_eq!(client.next_data("news"), json!(2));
    drop(flooded);
}

fn connect_command(id: u32) -> String {
    let header = jsonwebtoken::Header::new(jsonwebtoken::Algorithm::HS256);
    let key = jsonwebtoken::EncodingKey::from_secret(planes::SECRET.as_bytes());
    let token = jsonwebtoken::encode(&header, &json!({ "sub": "42" }), &key).expect("a token");
    json!({ "id": id, "connect": { "token": token } }).to_string()
}

// Two connections of a user wait for the same channel. What the first one has sent meanwhile ends its
// subscription as soon as it is born, and the second one moves to its place: with its former place written
// over that, its end took away somebody else's subscription, or the whole process.
#[test]
fn who_waits_together_and_leaves_at_once_takes_nobody_along() {
    let planes = Planes::start(8 << 20);
    planes.proxy().stall();
    let mut hasty = WebSocket::open(planes.clients());
    hasty.send_text(&format!("{}\n{}", connect_command(1), connect_command(2)));
    let mut patient = WebSocket::open(planes.clients());
    patient.send_text(&connect_command(1));
    eventually("both wait", || (planes.node_metric("fanfare_node_subscriptions") == 2.0).then_some(()));
    planes.proxy().open();
    assert_eq!(hasty.close_code(), 3501);
    assert!(patient.read_json()["connect"]["client"].is_string());
    let mut last = WebSocket::open(planes.clients());
    last.send_text(&connect_command(1));
    assert!(last.read_json()["connect"]["client"].is_string());
    drop(patient);
    eventually("only the last one is there", || {
        (planes.node_metric("fanfare_node_subscriptions") == 1.0).then_some(())
    });
    assert_eq!(planes.push_to_user("42", "7").written, 1);
    assert_eq!(last.next_data("#42"), json!(7));
}

#[test]
fn channels_that_nobody_subscribes_to_any_more_are_unfollowed() {
    let planes = Planes::start(8 << 20);
    let client = WebSocket::subscribed(planes.clients(), "news");
    assert_eq!(planes.control_metric("fanfare_control_followed_channels"), 1.0);
    drop(client);
    eventually("the channel is unfollowed", || {
        (planes.control_metric("fanfare_control_followed_channels") == 0.0).then_some(())
    });
}
