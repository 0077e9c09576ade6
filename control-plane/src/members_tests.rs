//! Unit tests of the members: where they come from, and when they leave.

use fanfare_cluster::channel::{ChannelOptions, Namespace};
use fanfare_proto::v1::GapReason;

use super::*;

pub(super) const A1: SessionId = SessionId(1);
const A2: SessionId = SessionId(2);
pub(super) const B1: SessionId = SessionId(3);
const GRACE: Duration = Duration::from_secs(10);

/// Members with a clock, and two nodes.
pub(super) struct Scene {
    pub(super) members: Members,
    pub(super) now: Moment,
    watches: u64,
}

pub(super) fn name(text: &str) -> ChannelName {
    ChannelName::parse(text).unwrap()
}

pub(super) fn node(id: &str) -> MemberId {
    id.parse().unwrap()
}

pub(super) fn start_of(node: u64) -> Incarnation {
    Incarnation::from_wire(node << 32)
}

/// The connection of this number on the node of this number.
pub(super) fn id(node: u64, number: usize) -> ConnectionId {
    let mut bytes = [0; 16];
    bytes[..4].copy_from_slice(&start_of(node).tag().to_be_bytes());
    bytes[8..].copy_from_slice(&(number as u64).to_be_bytes());
    ConnectionId::try_from(&bytes[..]).unwrap()
}

pub(super) fn entering(id: ConnectionId, user: &str) -> Entering {
    Entering { id, user: user.into(), infos: None, joined_at_ms: 0, again: false, subscriptions: Vec::new() }
}

pub(super) fn again(id: ConnectionId, user: &str) -> Entering {
    Entering { again: true, joined_at_ms: 77, ..entering(id, user) }
}

fn tenure(placement: u64) -> Tenure {
    let placement = PlacementNumber { generation: 0, revision: placement };
    Tenure { incarnation: start_of(9), placement }
}

impl Scene {
    pub(super) fn new() -> Self {
        let told = ChannelOptions { presence: true, join_leave: true, ..Default::default() };
        let late = r#"{"name": "late", "presence": true, "join_leave": true, "join_leave_grace": "5s"}"#;
        let late: Namespace = serde_json::from_str(late).unwrap();
        let channels = Arc::new(Namespaces::new(told, &[late]).unwrap());
        let now = Moment { instant: Instant::now(), unix_ms: 1_000_000 };
        Self { members: Members::new(channels, tenure(1), GRACE), now, watches: 0 }
    }

    /// Two nodes that are registered, linked and caught up, and all that is known is believed.
    pub(super) fn settled() -> Self {
        let mut scene = Self::new();
        scene.registered(&[("a", 1), ("b", 2)]);
        scene.members.session_up(A1, &node("a"), start_of(1), scene.now);
        scene.members.session_up(B1, &node("b"), start_of(2), scene.now);
        scene.members.caught_up(A1, scene.now);
        scene.members.caught_up(B1, scene.now);
        scene.passes(GRACE);
        scene
    }

    fn registered(&mut self, nodes: &[(&str, u64)]) {
        let nodes = nodes.iter().map(|(id, start)| (node(id), start_of(*start))).collect();
        self.members.nodes_are(nodes, self.now);
    }

    pub(super) fn passes(&mut self, time: Duration) {
        self.now.instant += time;
        self.now.unix_ms += time.as_millis() as u64;
        self.members.tick(self.now, usize::MAX);
    }

    pub(super) fn enter(&mut self, session: SessionId, channel: &str, entering: Entering) {
        self.members.enter(session, &name(channel), entering, self.now);
    }

    pub(super) fn exit(&mut self, session: SessionId, channel: &str, id: ConnectionId) {
        self.members.exit(session, &name(channel), id, self.now);
    }

    fn here(&self, channel: &str) -> usize {
        self.members.counts(&name(channel)).connections
    }

    /// What subscribers are told, and which nodes are told so.
    fn told(&mut self) -> Vec<(&'static str, ConnectionId, Vec<u64>)> {
        let told = |action| match action {
            Action::Tell { sessions, id, joined, .. } => {
                let mut sessions: Vec<u64> = sessions.iter().map(|session| session.0).collect();
                sessions.sort_unstable();
                Some((if joined { "joined" } else { "left" }, id, sessions))
            }
            _ => None,
        };
        self.members.actions().into_iter().filter_map(told).collect()
    }

    pub(super) fn watch(&mut self, channels: &[&str], cursor: Option<Cursor>) -> WatchId {
        self.watches += 1;
        let id = WatchId(self.watches);
        let channels = channels.iter().map(|channel| name(channel)).collect();
        self.members.watch(id, channels, cursor);
        id
    }

    pub(super) fn pull(&mut self, watch: WatchId) -> Pulled {
        self.members.pull(watch, usize::MAX).unwrap()
    }

    /// What a watcher is told, in words.
    pub(super) fn words(&mut self, watch: WatchId) -> Vec<String> {
        self.pull(watch).told.iter().map(in_words).collect()
    }
}

pub(super) fn in_words(told: &Told) -> String {
    match told {
        Told::Begin(channel, occasion) => format!("begin {channel} {occasion:?}"),
        Told::End(channel) => format!("end {channel}"),
        Told::Change(channel, Change::Joined(_, member), _) => format!("{channel}: {} joined", member.user),
        Told::Change(channel, Change::Left(_, member), _) => format!("{channel}: {} left", member.user),
        Told::Change(_, Change::User(user), _) => {
            format!("{} {}", user.user, if user.online { "online" } else { "offline" })
        }
    }
}

#[test]
fn joins_and_leaves_are_told_where_members_are_and_counted() {
    let mut scene = Scene::settled();
    let (ann, bob) = (id(1, 0), id(2, 0));
    scene.enter(A1, "news", entering(ann, "ann"));
    assert_eq!(scene.told(), [("joined", ann, vec![1])], "one learns of its own join");
    scene.enter(B1, "news", entering(bob, "bob"));
    assert_eq!(scene.told(), [("joined", bob, vec![1, 3])]);
    scene.enter(B1, "news", entering(id(2, 1), "bob"));
    assert_eq!(scene.members.counts(&name("news")), Counts { connections: 3, users: 2 });
    scene.told();
    scene.exit(A1, "news", ann);
    assert_eq!(scene.told(), [("left", ann, vec![3])]);
    scene.exit(A1, "news", ann);
    assert!(scene.told().is_empty(), "it has left already");
}

#[test]
fn a_node_speaks_for_its_own_connections_and_only_while_its_session_lasts() {
    let mut scene = Scene::settled();
    scene.enter(A1, "news", entering(id(2, 0), "bob"));
    assert_eq!(scene.here("news"), 0, "it is another node's");
    scene.enter(A1, "news", entering(id(1, 0), "ann"));
    scene.exit(B1, "news", id(1, 0));
    assert_eq!(scene.here("news"), 1);
    scene.members.session_down(A1, scene.now);
    scene.exit(A1, "news", id(1, 0));
    scene.enter(A1, "news", entering(id(1, 1), "ann"));
    assert_eq!(scene.here("news"), 1, "what an ended session says means nothing");
}

// An Exit is lost with a link: without the sweep at CaughtUp its member would be there for ever (P1).
#[test]
fn who_is_not_entered_again_leaves_when_the_node_has_caught_up() {
    let mut scene = Scene::settled();
    let (stays, goes) = (id(1, 0), id(1, 1));
    scene.enter(A1, "news", Entering { joined_at_ms: 5, ..entering(stays, "ann") });
    scene.enter(A1, "news", entering(goes, "bob"));
    scene.enter(B1, "news", entering(id(2, 0), "eve"));
    scene.told();
    scene.members.session_down(A1, scene.now);
    assert_eq!(scene.here("news"), 3, "they stay until the node is back");
    let coverage = scene.members.coverage();
    assert_eq!((coverage.complete, coverage.missing), (false, vec![(node("a"), GapReason::Unreachable)]));
    scene.members.session_up(A2, &node("a"), start_of(1), scene.now);
    assert_eq!(scene.members.coverage().missing, [(node("a"), GapReason::CatchingUp)]);
    scene.enter(A2, "news", again(stays, "ann"));
    assert_eq!(scene.here("news"), 3);
    scene.members.caught_up(A2, scene.now);
    assert_eq!(scene.here("news"), 2);
    assert!(scene.members.coverage().complete);
    let page = scene.members.page(&name("news"), None, 9);
    let ann = page.members.iter().find(|(id, _)| *id == stays).unwrap();
    assert_eq!(ann.1.joined_at_ms, 5, "it has not joined anew");
    scene.passes(Duration::ZERO);
    assert_eq!(scene.told(), [("left", goes, vec![2, 3])], "who was there before is no news");
    scene.exit(A1, "news", stays);
    assert_eq!(scene.here("news"), 2, "an exit of the former session comes late");
}

// A node's lease is lost while its link is up; if its members were dropped, nobody would enter them again (P2).
#[test]
fn a_node_lives_while_its_link_or_its_registration_does() {
    let mut scene = Scene::settled();
    scene.enter(A1, "news", entering(id(1, 0), "ann"));
    scene.registered(&[("b", 2)]);
    assert_eq!(scene.here("news"), 1, "its link lives");
    scene.registered(&[("a", 1), ("b", 2)]);
    scene.members.session_down(A1, scene.now);
    assert_eq!(scene.here("news"), 1, "its registration lives");
    scene.registered(&[("b", 2)]);
    assert_eq!(scene.here("news"), 0);
    assert!(scene.members.coverage().complete, "who is gone is not missing");
}

#[test]
fn a_node_whose_registration_ends_first_is_gone_with_its_link() {
    let mut scene = Scene::settled();
    scene.enter(A1, "news", entering(id(1, 0), "ann"));
    scene.registered(&[("b", 2)]);
    scene.members.session_down(A1, scene.now);
    assert_eq!(scene.here("news"), 0);
}

#[test]
fn a_new_start_of_a_node_ends_the_members_of_the_old_one_at_once() {
    let mut scene = Scene::settled();
    scene.enter(A1, "news", entering(id(1, 0), "ann"));
    scene.members.session_up(A2, &node("a"), start_of(5), scene.now);
    assert_eq!(scene.here("news"), 0);
    scene.exit(A1, "news", id(1, 0));
    scene.members.caught_up(A1, scene.now);
    assert_eq!(scene.members.coverage().missing, [(node("a"), GapReason::CatchingUp)], "not this start");
    scene.registered(&[("a", 5), ("b", 2)]);
    scene.members.caught_up(A2, scene.now);
    assert!(scene.members.coverage().complete);
    scene.registered(&[("a", 5), ("b", 6)]);
    assert_eq!(scene.members.coverage().missing, [(node("b"), GapReason::Unreachable)], "not linked yet");
}

// Enters are in transit to a new owner that says "complete", and a user that has not moved is "offline" (P3).
#[test]
fn a_new_owner_believes_what_it_knows_when_all_nodes_have_said_it_and_the_grace_is_over() {
    let mut scene = Scene::new();
    scene.registered(&[("a", 1), ("b", 2)]);
    scene.members.session_up(A1, &node("a"), start_of(1), scene.now);
    scene.enter(A1, "#ann", again(id(1, 0), "ann"));
    scene.exit(A1, "#ann", id(1, 0));
    scene.members.caught_up(A1, scene.now);
    let watch = scene.watch(&["#ann"], None);
    scene.pull(watch);
    scene.passes(2 * GRACE);
    assert!(!scene.members.coverage().complete);
    assert!(scene.words(watch).is_empty(), "she may be on the other node");
    scene.members.session_up(B1, &node("b"), start_of(2), scene.now);
    scene.members.caught_up(B1, scene.now);
    let coverage = scene.members.coverage();
    assert!(coverage.missing.is_empty() && !coverage.complete, "others may be on their way");
    assert_eq!(scene.members.next_due(), Some(scene.now.instant + GRACE));
    scene.passes(GRACE);
    assert!(scene.members.coverage().complete);
    assert_eq!(scene.words(watch), ["ann offline"]);
}

#[test]
fn who_is_told_to_a_new_owner_again_joins_silently_and_keeps_its_time() {
    let mut scene = Scene::new();
    scene.members.session_up(A1, &node("a"), start_of(1), scene.now);
    scene.enter(A1, "news", again(id(1, 0), "ann"));
    assert!(scene.told().is_empty());
    assert_eq!(scene.members.page(&name("news"), None, 1).members[0].1.joined_at_ms, 77);
}

#[test]
fn a_user_who_is_back_within_the_grace_has_not_been_offline() {
    let mut scene = Scene::settled();
    scene.enter(A1, "#ann", Entering { joined_at_ms: 500, ..entering(id(1, 0), "ann") });
    let watch = scene.watch(&["#ann"], None);
    assert_eq!(scene.words(watch), ["begin #ann First", "ann online", "end #ann"]);
    scene.exit(A1, "#ann", id(1, 0));
    scene.passes(GRACE - Duration::from_millis(1));
    let left_at = 1_000_000 + GRACE.as_millis() as u64;
    let user = scene.members.user(&name("#ann"));
    assert_eq!((user.online, user.connections, user.last_seen_ms), (true, 0, left_at));
    scene.enter(B1, "#ann", entering(id(2, 0), "ann"));
    scene.passes(GRACE);
    assert!(scene.words(watch).is_empty(), "she has only moved");
    let user = scene.members.user(&name("#ann"));
    assert_eq!((user.since_ms, user.last_seen_ms, user.nodes), (500, 0, vec![node("b")]));

    scene.exit(B1, "#ann", id(2, 0));
    let left_at = scene.now.unix_ms;
    scene.passes(GRACE);
    assert_eq!(scene.words(watch), ["ann offline"]);
    let user = scene.members.user(&name("#ann"));
    assert_eq!((user.online, user.since_ms, user.last_seen_ms), (false, 0, left_at));
    scene.enter(A1, "#ann", entering(id(1, 1), "ann"));
    assert_eq!(scene.words(watch), ["ann online"]);
}

#[test]
fn a_leave_is_told_after_the_grace_and_not_at_all_if_the_user_is_back() {
    let mut scene = Scene::settled();
    let (old, new, nobody) = (id(1, 0), id(2, 0), id(1, 2));
    scene.enter(A1, "late:1", entering(id(1, 1), "eve"));
    scene.enter(A1, "late:1", entering(old, "ann"));
    scene.enter(A1, "late:1", entering(nobody, ""));
    scene.told();
    scene.exit(A1, "late:1", old);
    scene.exit(A1, "late:1", nobody);
    scene.passes(Duration::from_secs(4));
    assert!(scene.told().is_empty());
    scene.enter(B1, "late:1", entering(new, "ann"));
    scene.enter(A1, "late:1", entering(id(1, 3), ""));
    scene.passes(Duration::from_secs(1));
    let told: Vec<_> = scene.told().into_iter().map(|(what, id, _)| (what, id)).collect();
    assert_eq!(told.len(), 2, "{told:?}");
    assert_eq!(
        (told[0].0, told[1]),
        ("joined", ("left", nobody)),
        "who is anonymous is never known to be back"
    );
    scene.exit(B1, "late:1", new);
    scene.passes(Duration::from_secs(5));
    assert_eq!(scene.told(), [("left", new, vec![1])]);
}

#[test]
fn joins_and_leaves_of_very_many_are_not_told() {
    let mut scene = Scene::settled();
    for number in 0..=MANY {
        scene.enter(A1, "news", entering(id(1, number), "ann"));
    }
    assert_eq!(scene.told().len(), MANY);
    scene.enter(A1, "news", entering(id(1, MANY + 1), "bob"));
    assert!(scene.told().is_empty());
    assert_eq!(scene.members.counts(&name("news")), Counts { connections: MANY + 2, users: 2 });
}

#[test]
fn leaves_of_a_dead_node_are_told_at_leisure() {
    let mut scene = Scene::settled();
    scene.enter(B1, "news", entering(id(2, 0), "bob"));
    for number in 0..100 {
        scene.enter(A1, "news", entering(id(1, number), "ann"));
    }
    scene.members.session_down(A1, scene.now);
    scene.told();
    scene.registered(&[("b", 2)]);
    assert_eq!(scene.here("news"), 1);
    assert!(scene.told().is_empty());
    scene.members.tick(scene.now, 10);
    assert_eq!(scene.told().len(), 10);
    assert_eq!(scene.members.next_due(), Some(scene.now.instant));
    scene.passes(Duration::ZERO);
    assert_eq!(scene.told().len(), 90);
}

#[test]
fn a_placement_that_moves_channels_takes_their_members_along() {
    let mut scene = Scene::settled();
    scene.enter(A1, "news", entering(id(1, 0), "ann"));
    scene.enter(A1, "#ann", entering(id(1, 0), "ann"));
    scene
        .members
        .take_over(PlacementNumber { generation: 0, revision: 3 }, |channel| *channel == name("#ann"));
    assert_eq!((scene.here("news"), scene.here("#ann")), (0, 1));
    assert!(!scene.members.coverage().complete, "nodes may have more to say");
    assert!(scene.members.user(&name("#ann")).online);
}

#[test]
fn a_member_takes_no_more_memory_than_it_may() {
    assert!(size_of::<(ConnectionId, Member)>() <= 64, "{}", size_of::<(ConnectionId, Member)>());
    assert!(size_of::<Roster>() <= 128, "{}", size_of::<Roster>());
}
