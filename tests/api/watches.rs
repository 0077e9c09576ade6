//! Those who watch who is present: users that come and go, watches that end and go on, and watchers that do not read.

use std::collections::BTreeSet;

use fanfare_cluster::member::Incarnation;
use fanfare_proto::v1::presence_change::What;
use fanfare_proto::v1::presence_subject::Kind;
use fanfare_proto::v1::watch_presence_response::Event;
use fanfare_proto::v1::{Coverage, PresenceSubject, WatchPresenceRequest, WatchPresenceResponse};
use fanfare_tests::eventually::{PATIENCE, eventually};
use tonic::Streaming;

use crate::node::Node;
use crate::presence::{GRACE, Scene, again, named, news};

/// A watch, and the last cursor that it was given.
struct Watch {
    answers: Streaming<WatchPresenceResponse>,
    cursor: String,
}

impl Watch {
    fn open(scene: &mut Scene, subjects: &[Kind], cursor: &str) -> Self {
        let subject = |kind: &Kind| PresenceSubject { kind: Some(kind.clone()) };
        let subjects = subjects.iter().map(subject).collect();
        let request = WatchPresenceRequest { subjects, cursor: cursor.to_owned() };
        let answers = scene.replica.run(scene.presence.watch_presence(request)).expect("it is watched");
        Self { answers: answers.into_inner(), cursor: String::new() }
    }

    fn next(&mut self, scene: &Scene) -> Event {
        let next = async { tokio::time::timeout(PATIENCE, self.answers.message()).await };
        let answer = scene.replica.run(next).expect("it is told in time").expect("no error");
        let WatchPresenceResponse { cursor, event } = answer.expect("the watch goes on");
        if !cursor.is_empty() {
            self.cursor = cursor;
        }
        event.expect("there is an event")
    }

    /// The next event that is no coverage, in words.
    fn words(&mut self, scene: &Scene) -> String {
        match self.next(scene) {
            Event::Coverage(_) => self.words(scene),
            Event::SnapshotStart(start) => start.reason().as_str_name().replace("SNAPSHOT_REASON_", "begin "),
            Event::SnapshotEnd(_) => "end".to_owned(),
            Event::Change(change) => match change.what.expect("something has changed") {
                What::Joined(member) => format!("{} joined", member.user),
                What::Left(member) => format!("{} left", member.user),
                What::User(user) => {
                    format!("{} {}", user.user, if user.online { "online" } else { "offline" })
                }
            },
        }
    }

    fn next_coverage(&mut self, scene: &Scene) -> Coverage {
        loop {
            if let Event::Coverage(coverage) = self.next(scene) {
                return coverage;
            }
        }
    }
}

#[test]
fn a_user_is_offline_when_the_grace_is_over() {
    let (mut scene, a, b) = Scene::settled();
    let mut watch = Watch::open(&mut scene, &[Kind::User("ann".to_owned())], "");
    let mut words = |scene: &Scene| watch.words(scene);
    assert_eq!([words(&scene), words(&scene), words(&scene)], ["begin FIRST", "ann offline", "end"]);
    a.enter(&scene.replica, "#ann", 0, named("ann"));
    assert_eq!(words(&scene), "ann online");
    b.enter(&scene.replica, "#ann", 0, named("ann"));
    let user = eventually("both are there", || Some(scene.user("ann")).filter(|user| user.connections == 2));
    assert_eq!(
        (user.online, user.complete, user.nodes.as_slice()),
        (true, true, ["a".into(), "b".into()].as_slice())
    );
    assert!(user.since.is_some() && user.last_seen.is_none());
    a.exit(&scene.replica, "#ann", 0);
    b.exit(&scene.replica, "#ann", 0);
    assert_eq!(words(&scene), "ann offline");
    let user = scene.user("ann");
    assert!(!user.online && user.since.is_none() && user.last_seen.is_some());
}

#[test]
fn a_watch_goes_on_where_it_ended_or_says_that_it_cannot() {
    let (mut scene, a, _b) = Scene::settled();
    let mut watch = Watch::open(&mut scene, &[news()], "");
    assert!(matches!(watch.next(&scene), Event::Coverage(coverage) if coverage.complete));
    assert_eq!([watch.words(&scene), watch.words(&scene)], ["begin FIRST", "end"]);
    a.enter(&scene.replica, "news", 0, named("ann"));
    assert_eq!(watch.words(&scene), "ann joined");
    let cursor = watch.cursor.clone();
    drop(watch);
    a.enter(&scene.replica, "news", 1, named("bob"));
    a.exit(&scene.replica, "news", 0);
    let mut back = Watch::open(&mut scene, &[news()], &cursor);
    assert_eq!([back.words(&scene), back.words(&scene)], ["bob joined", "ann left"]);
    let mut other = Watch::open(&mut scene, &[news(), Kind::Channel("other".to_owned())], &cursor);
    // The channels may be different tasks' business: then one of them fits, and tells two changes.
    let lost = (0..3).any(|_| other.words(&scene) == "begin CURSOR_LOST");
    assert!(lost, "nobody watched the other");
    let mut elsewhere = Scene::settled();
    let mut lost = Watch::open(&mut elsewhere.0, &[news()], &cursor);
    assert_eq!(lost.words(&elsewhere.0), "begin CURSOR_LOST", "it is another replica's");
}

#[test]
fn a_watcher_that_does_not_read_gets_the_newest_state_in_the_end() {
    let (mut scene, a, _b) = Scene::settled();
    let mut watch = Watch::open(&mut scene, &[news()], "");
    watch.next(&scene);
    // With their infos these are more than all windows on the way hold, and more than may wait.
    const MEMBERS: u32 = 9_000;
    let info = vec![b'x'; 1_000];
    for number in 0..MEMBERS {
        let mut enter = named("ann");
        enter.member.as_mut().expect("there is a member").info = info.clone().into();
        a.enter(&scene.replica, "news", number, enter);
    }
    scene.are_in("news", MEMBERS.into());
    for number in 0..MEMBERS / 2 {
        a.exit(&scene.replica, "news", number);
    }
    scene.are_in("news", (MEMBERS / 2).into());
    let (mut here, mut snapshots) = (BTreeSet::new(), 0);
    // Each event comes in time, or the test fails.
    while snapshots == 0 || here.len() != MEMBERS as usize / 2 {
        match watch.next(&scene) {
            Event::SnapshotStart(start) => {
                snapshots += usize::from(start.reason().as_str_name().ends_with("SLOW"));
                here.clear();
            }
            Event::Change(change) => match change.what.expect("something has changed") {
                What::Joined(member) => drop(here.insert(member.connection)),
                What::Left(member) => drop(here.remove(&member.connection)),
                What::User(_) => {}
            },
            _ => {}
        }
    }
    assert_eq!(snapshots, 1);
}

#[test]
fn a_new_replica_says_that_it_does_not_know_all_until_its_nodes_have_said_it() {
    let mut scene = Scene::new(GRACE);
    let a = Node::dial(&scene.replica, "a", Incarnation::random());
    a.enter(&scene.replica, "#ann", 0, again("ann"));
    eventually("ann is online", || scene.user("ann").online.then_some(()));
    let bob = scene.user("bob");
    assert!(!bob.online && !bob.complete, "he may be there");
    let mut watch = Watch::open(&mut scene, &[Kind::User("ann".to_owned())], "");
    assert!(!watch.next_coverage(&scene).complete);
    a.catch_up(&scene.replica);
    let coverage = eventually("all have caught up", || {
        let coverage = watch.next_coverage(&scene);
        coverage.complete.then_some(coverage)
    });
    assert!(coverage.missing.is_empty() && scene.user("bob").complete);
}
