//! Operations on connections, and what is known of nodes.
//!
//! The node is a fake: what a node does is tested elsewhere.

use std::time::{Duration, SystemTime};

use fanfare_proto::link::act::{Action, Target};
use fanfare_proto::link::open_response::Message as Heard;
use fanfare_proto::link::{Act, Disconnect};
use fanfare_proto::v1::cluster_service_client::ClusterServiceClient;
use fanfare_proto::v1::push_service_client::PushServiceClient;
use fanfare_proto::v1::subject::Kind;
use fanfare_proto::v1::target::Kind as TargetKind;
use fanfare_proto::v1::{
    self, DisconnectRequest, GapReason, GetConnectionRequest, ListNodesRequest, NodeState, Outcome,
    RefreshRequest, RevokeTokensRequest, Subject, SubscribeRequest,
};
use fanfare_tests::eventually::eventually;
use fanfare_tests::sandbox::push_request;
use tonic::{Code, Request, Status};

use crate::node::Node;
use crate::replica::{Replica, local};

fn user(id: &str) -> Option<Subject> {
    Some(Subject { kind: Some(Kind::User(id.to_owned())) })
}

fn connection(id: String) -> Option<Subject> {
    Some(Subject { kind: Some(Kind::Connection(id)) })
}

fn act(message: &Heard) -> Option<Act> {
    match message {
        Heard::Act(act) => Some(act.clone()),
        _ => None,
    }
}

/// A replica with a node that follows user 42.
fn start(acts_on: u64) -> (Replica, Node) {
    let replica = Replica::start(local());
    let node = Node::start(&replica, "node", "#42", acts_on);
    says_its_load(&replica);
    (replica, node)
}

/// Waits until the node is known as it is. Its load is the last thing that it says when it is linked.
fn says_its_load(replica: &Replica) -> v1::Node {
    let mut client = ClusterServiceClient::new(replica.connect());
    eventually("the node has said its load", || {
        let answer =
            replica.run(client.list_nodes(ListNodesRequest::default())).expect("an answer").into_inner();
        answer.nodes.into_iter().find(|node| node.reported_at.is_some())
    })
}

fn disconnect(replica: &Replica, request: DisconnectRequest) -> Result<Outcome, Status> {
    let answer = replica.run(replica.connections().disconnect(request))?;
    Ok(answer.into_inner().outcome.expect("there is an outcome"))
}

#[test]
fn an_operation_on_a_user_reaches_its_nodes_in_order_with_publications() {
    let (replica, node) = start(3);
    let mut pushes = PushServiceClient::new(replica.connect());
    replica.run(pushes.publish(push_request(TargetKind::User("42".to_owned()), "1"))).expect("it is pushed");
    let outcome = disconnect(&replica, DisconnectRequest { subject: user("42"), ..Default::default() });
    let expected = Outcome { connections: 3, nodes_asked: 1, complete: true, gaps: Vec::new() };
    assert_eq!(outcome.unwrap(), expected);
    let order = node.heard(|message| match message {
        Heard::Deliver(_) => Some("deliver"),
        Heard::Act(_) => Some("act"),
        _ => None,
    });
    assert_eq!(order, ["deliver", "act"]);
    let act = node.heard(act).remove(0);
    assert_eq!(act.target, Some(Target::Channel("#42".to_owned())));
    let action = Disconnect { code: 3503, reason: "force disconnect".to_owned() };
    assert_eq!(act.action, Some(Action::Disconnect(action)));

    let other = DisconnectRequest { subject: user("7"), ..Default::default() };
    let nobody = Outcome { complete: true, ..Default::default() };
    assert_eq!(disconnect(&replica, other).unwrap(), nobody, "nobody follows that user");
    assert_eq!(replica.metric("fanfare_control_acts_total"), 2.0);
}

#[test]
fn an_operation_on_one_connection_reaches_it_or_says_that_it_is_not_there() {
    let (replica, node) = start(1);
    let here = || connection(node.connection());
    let request = SubscribeRequest { subject: here(), channel: "news".into(), ..Default::default() };
    let outcome =
        replica.run(replica.connections().subscribe(request)).unwrap().into_inner().outcome.unwrap();
    assert_eq!((outcome.connections, outcome.nodes_asked, outcome.complete), (1, 1, true));
    assert!(matches!(node.heard(act)[0].target, Some(Target::Connection(_))));
    let elsewhere = connection("00000000-0000-8000-8000-000000000000".to_owned());
    let request = DisconnectRequest { subject: elsewhere, ..Default::default() };
    assert_eq!(disconnect(&replica, request).unwrap_err().code(), Code::NotFound);
    node.act_on(0);
    let request = DisconnectRequest { subject: here(), ..Default::default() };
    assert_eq!(
        disconnect(&replica, request).unwrap_err().code(),
        Code::NotFound,
        "its node does not know it"
    );
}

#[test]
fn nodes_that_say_nothing_or_have_no_link_are_named_within_the_calls_time() {
    let (replica, node) = start(1);
    node.fall_silent();
    let mut request = Request::new(RefreshRequest { subject: user("42"), ..Default::default() });
    request.set_timeout(Duration::from_millis(600));
    let outcome = replica.run(replica.connections().refresh(request)).unwrap().into_inner().outcome.unwrap();
    assert_eq!((outcome.connections, outcome.complete), (0, false));
    assert_eq!((outcome.gaps[0].node.as_str(), outcome.gaps[0].reason()), ("node", GapReason::Silent));
    drop(node);
}

#[test]
fn a_repeated_request_id_is_not_carried_out_again() {
    let (replica, node) = start(2);
    let request =
        |id: &str| DisconnectRequest { subject: user("42"), request_id: id.to_owned(), ..Default::default() };
    let first = disconnect(&replica, request("a")).unwrap();
    assert_eq!(disconnect(&replica, request("a")).unwrap(), first);
    assert_eq!(node.heard(act).len(), 1);
    disconnect(&replica, request("b")).unwrap();
    assert_eq!(node.heard(act).len(), 2);
    let long = disconnect(&replica, request(&"x".repeat(129))).unwrap_err();
    assert_eq!(long.code(), Code::InvalidArgument);
}

#[test]
fn a_connection_is_described_by_its_node() {
    let (replica, node) = start(1);
    let inspect = |connection: String| {
        let request = GetConnectionRequest { connection };
        replica
            .run(replica.connections().get_connection(request))
            .map(|answer| answer.into_inner().connection)
    };
    let found = inspect(node.connection()).unwrap().unwrap();
    assert_eq!(found.user, "42");
    assert_eq!((found.node.as_str(), found.encoding.as_str()), ("node", "protobuf"));
    let at = found.connected_at.unwrap();
    assert_eq!((at.seconds, at.nanos, found.expires_at.unwrap().seconds), (1, 500_000_000, 9));
    assert_eq!(inspect("x".to_owned()).unwrap_err().code(), Code::InvalidArgument);
    let elsewhere = "00000000-0000-8000-8000-000000000000".to_owned();
    assert_eq!(inspect(elsewhere).unwrap_err().code(), Code::NotFound);
    node.act_on(0);
    assert_eq!(inspect(node.connection()).unwrap_err().code(), Code::NotFound);
}

#[test]
fn a_revocation_reaches_nodes_that_are_linked_and_those_that_come_later() {
    let (replica, node) = start(2);
    let users = |node: &Node| {
        node.heard(|message| match message {
            Heard::Revocations(some) => Some(some.revocations.iter().map(|one| one.user.clone()).collect()),
            _ => None,
        })
    };
    let until = (SystemTime::now() + Duration::from_secs(3600)).into();
    let revoke = |user: &str, disconnect| {
        let (user, until) = (user.to_owned(), Some(until));
        let request = RevokeTokensRequest { user, until, disconnect, ..Default::default() };
        replica.run(replica.connections().revoke_tokens(request)).unwrap().into_inner().outcome.unwrap()
    };
    assert_eq!(revoke("42", true).connections, 2);
    assert!(revoke("7", false).complete);
    let told: Vec<Vec<String>> = eventually("the node is told", || {
        let told = users(&node);
        (told.len() == 3).then_some(told)
    });
    assert_eq!(told, [vec![], vec!["42".to_owned()], vec!["7".to_owned()]]);
    let ended = node.heard(act).remove(0).action;
    let action = Disconnect { code: 3500, reason: "invalid token".to_owned() };
    assert_eq!(ended, Some(Action::Disconnect(action)));

    let late = Node::start(&replica, "late", "news", 0);
    let told = eventually("the later node is told", || users(&late).into_iter().next());
    assert_eq!(told, ["42", "7"]);
    let second = late.heard(|message| Some(matches!(message, Heard::Revocations(_))))[1];
    assert!(second, "revocations are the first message behind the welcome");
    assert_eq!(replica.metric("fanfare_control_revocations"), 2.0);
}

#[test]
fn nodes_are_listed_with_what_they_say() {
    let (replica, _node) = start(1);
    let node = says_its_load(&replica);
    assert_eq!(
        (node.node.as_str(), node.state(), node.version.as_str()),
        ("node", NodeState::Linked, "9.9.9")
    );
    assert_eq!((node.connections, node.capacity), (42, 100));
}
