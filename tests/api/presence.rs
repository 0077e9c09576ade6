//! Who is present, as the API and clients are told, through link cuts, restarts of nodes and slow watchers.
//!
//! The nodes are fakes: what a node does is tested elsewhere.

use std::time::Duration;

use fanfare_cluster::channel::{ChannelOptions, Namespace, Namespaces};
use fanfare_cluster::member::Incarnation;
use fanfare_cluster::quantity::Span;
use fanfare_control_plane::PresenceConfig;
use fanfare_proto::link::act::Action;
use fanfare_proto::link::open_response::Message as Heard;
use fanfare_proto::link::{Enter, Member, ReadPresence};
use fanfare_proto::v1::cluster_service_client::ClusterServiceClient;
use fanfare_proto::v1::presence_service_client::PresenceServiceClient;
use fanfare_proto::v1::presence_subject::Kind;
use fanfare_proto::v1::{
    Coverage, GapReason, GetPresenceRequest, GetPresenceStatsRequest, GetPresenceStatsResponse,
    GetUserPresenceRequest, ListChannelsRequest, ListConnectionsRequest, ListConnectionsResponse,
    PresenceSubject, Subject, SubscribeRequest, UnsubscribeRequest, UserPresence, WatchPresenceRequest,
    subject,
};
use fanfare_tests::eventually::{eventually, eventually_is};
use tonic::transport::Channel;
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use crate::node::Node;
use crate::replica::{Replica, local};

pub(crate) const GRACE: Duration = Duration::from_millis(200);

/// A replica with presence everywhere but in the namespace "off", and two nodes that have caught up.
pub(crate) struct Scene {
    pub(crate) replica: Replica,
    pub(crate) presence: PresenceServiceClient<Channel>,
}

impl Scene {
    pub(crate) fn new(grace: Duration) -> Self {
        let told = ChannelOptions { presence: true, join_leave: true, ..Default::default() };
        let off: Namespace = serde_json::from_str(r#"{"name": "off"}"#).expect("a namespace");
        let channels = Namespaces::new(told, &[off]).expect("the options are good");
        let config = PresenceConfig { user_offline_grace: Span(grace) };
        let replica = Replica::start_with(local(), channels, config).expect("the control plane starts");
        let presence = PresenceServiceClient::new(replica.connect());
        Self { replica, presence }
    }

    /// With nodes "a" and "b" that have caught up, when all that is said is believed.
    pub(crate) fn settled() -> (Self, Node, Node) {
        let mut scene = Self::new(GRACE);
        let nodes = (scene.node("a"), scene.node("b"));
        eventually("all is believed", || scene.stats("news").coverage?.complete.then_some(()));
        (scene, nodes.0, nodes.1)
    }

    fn node(&self, id: &str) -> Node {
        let node = Node::dial(&self.replica, id, Incarnation::random());
        node.catch_up(&self.replica);
        node
    }

    pub(crate) fn stats(&mut self, channel: &str) -> GetPresenceStatsResponse {
        let request = GetPresenceStatsRequest { channel: channel.to_owned() };
        self.replica.run(self.presence.get_presence_stats(request)).expect("an answer").into_inner()
    }

    /// Waits until so many are in the channel.
    pub(crate) fn are_in(&mut self, channel: &str, connections: u64) {
        eventually_is("so many are in the channel", &connections, || self.stats(channel).connections);
    }

    pub(crate) fn user(&mut self, user: &str) -> UserPresence {
        let request = GetUserPresenceRequest { users: vec![user.to_owned()] };
        let answer = self.replica.run(self.presence.get_user_presence(request)).expect("an answer");
        answer.into_inner().users.remove(0)
    }

    fn page(&mut self, page_size: i32, page_token: &str) -> (Vec<String>, String) {
        let page_token = page_token.to_owned();
        let request = GetPresenceRequest { channel: "news".to_owned(), page_size, page_token };
        let answer = self.replica.run(self.presence.get_presence(request)).expect("an answer").into_inner();
        (answer.members.into_iter().map(|member| member.connection).collect(), answer.next_page_token)
    }

    fn users_subscription(&self, channel: &str, subscribes: bool) {
        let subject = Some(Subject { kind: Some(subject::Kind::User("ann".to_owned())) });
        let channel = channel.to_owned();
        let mut connections = self.replica.connections();
        if subscribes {
            let request = SubscribeRequest { subject, channel, ..Default::default() };
            self.replica.run(connections.subscribe(request)).expect("it is subscribed");
        } else {
            let request = UnsubscribeRequest { subject, channel, ..Default::default() };
            self.replica.run(connections.unsubscribe(request)).expect("it is unsubscribed");
        }
    }
}

pub(crate) fn named(user: &str) -> Enter {
    let member = Member { user: user.to_owned(), info: "{}".into(), ..Default::default() };
    Enter { member: Some(member), ..Default::default() }
}

pub(crate) fn again(user: &str) -> Enter {
    Enter { again: true, ..named(user) }
}

pub(crate) fn news() -> Kind {
    Kind::Channel("news".to_owned())
}

fn missing(coverage: Option<Coverage>) -> Vec<(String, GapReason)> {
    let coverage = coverage.expect("there is a coverage");
    assert!(coverage.as_of.is_some() && coverage.complete == coverage.missing.is_empty());
    coverage.missing.iter().map(|gap| (gap.node.clone(), gap.reason())).collect()
}

fn tickets_and_errors(node: &Node) -> Vec<(u64, u32, usize, u32)> {
    node.heard(|message| match message {
        Heard::PresenceRead(read) => Some((read.ticket, read.error, read.members.len(), read.connections)),
        _ => None,
    })
}

/// What the node was told of joins and leaves.
fn told(node: &Node) -> Vec<String> {
    let user = |member: &Option<Member>| member.as_ref().expect("there is a member").user.clone();
    node.heard(|message| match message {
        Heard::Joined(joined) => Some(format!("{} joined", user(&joined.member))),
        Heard::Left(left) => Some(format!("{} left", user(&left.member))),
        _ => None,
    })
}

#[test]
fn members_are_listed_in_pages_and_counted() {
    let (mut scene, a, b) = Scene::settled();
    for number in 0..5 {
        a.enter(&scene.replica, "news", number, named(if number == 0 { "ann" } else { "bob" }));
        b.enter(&scene.replica, "news", number, named("bob"));
    }
    scene.are_in("news", 10);
    assert_eq!(scene.stats("news").users, 2);
    let (mut all, mut token, mut pages) = (Vec::new(), String::new(), 0);
    while pages == 0 || !token.is_empty() {
        let (members, next) = scene.page(4, &token);
        (token, pages) = (next, pages + 1);
        all.extend(members);
    }
    assert_eq!((all.len(), pages, all.is_sorted()), (10, 3, true));
    a.exit(&scene.replica, "news", 0);
    scene.are_in("news", 9);
    assert_eq!(scene.stats("news").users, 1);
    assert_eq!(scene.replica.metric("fanfare_control_presence_members"), 9.0);
}

#[test]
fn what_cannot_be_asked_is_refused_with_a_reason() {
    let mut scene = Scene::new(GRACE);
    let mut ask = |channel: &str| {
        let request = GetPresenceStatsRequest { channel: channel.to_owned() };
        scene.replica.run(scene.presence.get_presence_stats(request)).expect_err("it is refused")
    };
    let reason = |status: &Status| status.get_error_details().error_info().map(|info| info.reason.clone());
    let off = ask("off:1");
    assert_eq!((off.code(), reason(&off).as_deref()), (Code::FailedPrecondition, Some("PRESENCE_OFF")));
    for bad in ["", "#42", "unknown:1"] {
        assert_eq!(ask(bad).code(), Code::InvalidArgument, "{bad}");
    }
    let many = GetUserPresenceRequest { users: vec!["x".to_owned(); 1001] };
    let refused = scene.replica.run(scene.presence.get_user_presence(many)).expect_err("it is refused");
    assert_eq!(refused.code(), Code::InvalidArgument);
    let twice = [PresenceSubject { kind: Some(news()) }, PresenceSubject { kind: Some(news()) }];
    for (subjects, cursor) in [(vec![], ""), (twice.to_vec(), ""), (twice[..1].to_vec(), "no cursor")] {
        let request = WatchPresenceRequest { subjects, cursor: cursor.to_owned() };
        let refused = scene.replica.run(scene.presence.watch_presence(request)).expect_err("it is refused");
        assert_eq!(refused.code(), Code::InvalidArgument);
    }
}

#[test]
fn a_cut_link_leaves_members_until_the_node_has_caught_up_again() {
    let (mut scene, a, b) = Scene::settled();
    a.enter(&scene.replica, "news", 0, named("ann"));
    a.enter(&scene.replica, "news", 1, named("bob"));
    scene.are_in("news", 2);
    b.enter(&scene.replica, "news", 0, named("eve"));
    scene.are_in("news", 3);
    let start = a.cut(&scene.replica);
    let gap = |reason| vec![("a".to_owned(), reason)];
    eventually_is("the node is missing", &gap(GapReason::Unreachable), || {
        missing(scene.stats("news").coverage)
    });
    assert_eq!(scene.stats("news").connections, 3);
    let a = Node::dial(&scene.replica, "a", start);
    eventually_is("it is back", &gap(GapReason::CatchingUp), || missing(scene.stats("news").coverage));
    a.enter(&scene.replica, "news", 0, again("ann"));
    a.catch_up(&scene.replica);
    scene.are_in("news", 2);
    assert!(missing(scene.stats("news").coverage).is_empty());
    // What the cut has swallowed is told: bob has left. Who was entered again is no news.
    eventually("bob's leave is told", || told(&b).contains(&"bob left".to_owned()).then_some(()));
    assert_eq!(told(&b), ["eve joined", "bob left"]);
    eventually_is("to all", &vec!["bob left".to_owned()], || told(&a));
}

#[test]
fn a_new_start_of_a_node_and_one_that_is_gone_leave_no_ghosts() {
    let (mut scene, a, b) = Scene::settled();
    a.enter(&scene.replica, "news", 0, named("ann"));
    b.enter(&scene.replica, "news", 0, named("bob"));
    scene.are_in("news", 2);
    a.deregister(&scene.replica);
    a.enter(&scene.replica, "news", 1, named("ann"));
    scene.are_in("news", 3);
    // Its registration has ended, its link has not: nobody is dropped. Then it starts anew beside its old link.
    let anew = Node::dial(&scene.replica, "a", Incarnation::random());
    scene.are_in("news", 1);
    anew.catch_up(&scene.replica);
    anew.enter(&scene.replica, "news", 0, named("ann"));
    scene.are_in("news", 2);
    b.deregister(&scene.replica);
    b.cut(&scene.replica);
    scene.are_in("news", 1);
    assert!(missing(scene.stats("news").coverage).is_empty(), "who is gone is not missing");
}

#[test]
fn clients_are_told_who_is_present_as_far_as_it_fits() {
    let (mut scene, a, _b) = Scene::settled();
    a.enter(&scene.replica, "news", 0, named("ann"));
    a.enter(&scene.replica, "news", 1, named("ann"));
    for number in 0..10_001 {
        a.enter(&scene.replica, "crowd", number, named("bob"));
    }
    scene.are_in("crowd", 10_001);
    let read = |ticket, channel: &str, counts_only| {
        a.read(&scene.replica, ReadPresence { ticket, channel: channel.to_owned(), counts_only });
    };
    read(1, "news", false);
    read(2, "news", true);
    read(3, "off:1", false);
    read(4, "crowd", false);
    read(5, "crowd", true);
    let mut answers =
        eventually("all are answered", || Some(tickets_and_errors(&a)).filter(|all| all.len() == 5));
    // Channels of different tasks do not wait for each other.
    answers.sort();
    assert_eq!(answers, [(1, 0, 2, 2), (2, 0, 0, 2), (3, 108, 0, 0), (4, 106, 0, 0), (5, 0, 0, 10_001)]);
}

#[test]
fn what_a_backend_subscribes_a_user_to_comes_to_its_later_connections() {
    let (mut scene, a, b) = Scene::settled();
    let subscribed = |node: &Node| {
        node.heard(|message| match message {
            Heard::Act(act) if act.receipt == 0 => match act.action.clone() {
                Some(Action::Subscribe(subscribe)) => Some(subscribe.channel),
                _ => None,
            },
            _ => None,
        })
    };
    a.enter(&scene.replica, "#ann", 0, named("ann"));
    eventually("ann is online", || scene.user("ann").online.then_some(()));
    scene.users_subscription("news", true);
    scene.users_subscription("sport", true);
    b.enter(&scene.replica, "#ann", 0, Enter { subscriptions: vec!["sport".into()], ..named("ann") });
    eventually_is("it is passed on", &vec!["news".to_owned()], || subscribed(&b));
    scene.users_subscription("news", false);
    a.enter(&scene.replica, "#ann", 1, named("ann"));
    eventually_is("what is left is passed on", &vec!["sport".to_owned()], || subscribed(&a));
    a.exit(&scene.replica, "#ann", 0);
    a.exit(&scene.replica, "#ann", 1);
    b.exit(&scene.replica, "#ann", 0);
    eventually("ann is offline", || (!scene.user("ann").online).then_some(()));
    a.enter(&scene.replica, "#ann", 2, named("ann"));
    eventually("ann is back", || scene.user("ann").online.then_some(()));
    assert_eq!(subscribed(&a), ["sport"], "it has ended with the user's time online");
}

#[test]
fn connections_of_all_nodes_are_listed_in_pages_and_nodes_that_do_not_answer_are_named() {
    let (scene, a, b) = Scene::settled();
    a.hold(5);
    b.hold(7);
    let list = |request: ListConnectionsRequest| -> ListConnectionsResponse {
        let answer = scene.replica.run(scene.replica.connections().list_connections(request));
        answer.expect("an answer").into_inner()
    };
    let (mut all, mut token, mut pages) = (Vec::new(), String::new(), 0);
    while pages == 0 || !token.is_empty() {
        let page = list(ListConnectionsRequest { page_size: 4, page_token: token, ..Default::default() });
        assert!(missing(page.coverage).is_empty());
        all.extend(page.connections.into_iter().map(|connection| connection.connection));
        (token, pages) = (page.next_page_token, pages + 1);
    }
    assert_eq!((all.len(), pages, all.is_sorted()), (12, 3, true));
    let of_user = list(ListConnectionsRequest { user: "3".to_owned(), ..Default::default() });
    assert_eq!((of_user.connections.len(), of_user.next_page_token.as_str()), (2, ""));
    let of_node = list(ListConnectionsRequest { node: "a".to_owned(), ..Default::default() });
    assert!(of_node.connections.len() == 5 && of_node.connections.iter().all(|one| one.node == "a"));
    b.fall_silent();
    let mut request = tonic::Request::new(ListConnectionsRequest::default());
    request.set_timeout(Duration::from_millis(500));
    let answer = scene.replica.run(scene.replica.connections().list_connections(request)).expect("an answer");
    let answer = answer.into_inner();
    assert_eq!(answer.connections.len(), 5);
    assert_eq!(missing(answer.coverage), [("b".to_owned(), GapReason::Silent)]);
    a.cut(&scene.replica);
    let unreachable = vec![("a".to_owned(), GapReason::Unreachable)];
    eventually_is("the link has ended", &unreachable, || {
        missing(list(ListConnectionsRequest { node: "a".to_owned(), ..Default::default() }).coverage)
    });
}

#[test]
fn channels_are_listed_with_who_follows_and_who_is_there() {
    let (mut scene, a, b) = Scene::settled();
    for channel in ["news", "off:1", "sport", "#ann"] {
        a.follow(&scene.replica, channel);
    }
    b.follow(&scene.replica, "news");
    a.enter(&scene.replica, "news", 0, named("ann"));
    b.enter(&scene.replica, "news", 0, named("ann"));
    scene.are_in("news", 2);
    let mut cluster = ClusterServiceClient::new(scene.replica.connect());
    let mut list = |page_size, page_token: String, prefix: &str| {
        let request = ListChannelsRequest { page_size, page_token, prefix: prefix.to_owned() };
        scene.replica.run(cluster.list_channels(request)).expect("an answer").into_inner()
    };
    let first = eventually("all are followed", || {
        let page = list(2, String::new(), "");
        (!page.next_page_token.is_empty() && page.channels[0].nodes == 2).then_some(page)
    });
    let seen: Vec<_> = first
        .channels
        .iter()
        .map(|one| (one.channel.as_str(), one.nodes, one.has_presence, one.connections, one.users))
        .collect();
    assert_eq!(seen, [("news", 2, true, 2, 1), ("off:1", 1, false, 0, 0)]);
    let second = list(2, first.next_page_token, "");
    assert_eq!((second.channels[0].channel.as_str(), second.next_page_token.as_str()), ("sport", ""));
    assert!(second.channels.len() == 1 && missing(second.coverage).is_empty());
    assert_eq!(list(0, String::new(), "off:").channels.len(), 1);
}
