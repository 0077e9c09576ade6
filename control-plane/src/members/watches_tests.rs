//! Unit tests of watches: what watchers are told, when they come back, and when they read slowly.

use std::time::Duration;

use fanfare_cluster::placement::PlacementNumber;
use fanfare_proto::v1::GapReason;

use super::tests::{A1, B1, Scene, entering, id, in_words, name, node, start_of};
use super::watches::MAX_PENDING;
use super::{Action, Change, Cursor, Tenure, Told};

#[test]
fn a_watcher_is_told_all_and_then_what_changes() {
    let mut scene = Scene::settled();
    scene.enter(A1, "news", entering(id(1, 0), "ann"));
    let watch = scene.watch(&["news", "#bob"], None);
    assert!(scene.members.actions().iter().any(|action| matches!(action, Action::Wake(id) if *id == watch)));
    let first = scene.pull(watch);
    assert!(first.coverage.is_some_and(|coverage| coverage.complete));
    let words: Vec<_> = first.told.iter().map(in_words).collect();
    let all =
        ["begin news First", "news: ann joined", "end news", "begin #bob First", "bob offline", "end #bob"];
    assert_eq!(words, all);
    assert!(scene.words(watch).is_empty());
    scene.enter(A1, "other", entering(id(1, 0), "ann"));
    scene.enter(A1, "news", entering(id(1, 1), "bob"));
    assert_eq!(scene.words(watch), ["news: bob joined"]);
    scene.members.session_down(B1, scene.now);
    let pulled = scene.pull(watch);
    assert_eq!(pulled.coverage.unwrap().missing, [(node("b"), GapReason::Unreachable)]);
    assert!(pulled.told.is_empty() && pulled.cursor.is_some());
}

#[test]
fn a_snapshot_in_parts_misses_nothing_that_changes_meanwhile() {
    let mut scene = Scene::settled();
    let mut ids: Vec<_> = (0..100).map(|number| id(1, number)).collect();
    ids.sort();
    for id in &ids {
        scene.enter(A1, "news", entering(*id, "ann"));
    }
    let watch = scene.watch(&["news"], None);
    let (mut here, mut parts, mut ended) = (std::collections::BTreeSet::new(), 0, false);
    while !ended {
        let pulled = scene.members.pull(watch, 10).unwrap();
        ended = pulled.told.iter().any(|told| matches!(told, Told::End(_)));
        assert_eq!(pulled.cursor.is_some(), ended, "there is no place to come back to in between");
        for told in pulled.told {
            match told {
                Told::Change(_, Change::Joined(id, _), _) => drop(here.insert(id)),
                Told::Change(_, Change::Left(id, _), _) => drop(here.remove(&id)),
                _ => {}
            }
        }
        // One that was told and one that was not go, and others come.
        scene.exit(A1, "news", ids[parts]);
        scene.exit(A1, "news", ids[99 - parts]);
        scene.enter(A1, "news", entering(id(1, 200 + parts), "bob"));
        parts += 1;
    }
    for told in scene.pull(watch).told {
        match told {
            Told::Change(_, Change::Joined(id, _), _) => drop(here.insert(id)),
            Told::Change(_, Change::Left(id, _), _) => drop(here.remove(&id)),
            other => panic!("{other:?}"),
        }
    }
    let members: Vec<_> =
        scene.members.page(&name("news"), None, 999).members.into_iter().map(|(id, _)| id).collect();
    assert_eq!(here.into_iter().collect::<Vec<_>>(), members);
    assert!(parts > 5, "{parts}");
}

#[test]
fn a_watcher_who_comes_back_is_told_what_it_has_missed() {
    let mut scene = Scene::settled();
    let first = scene.watch(&["news"], None);
    let cursor = scene.pull(first).cursor;
    scene.members.unwatch(first, scene.now);
    scene.enter(A1, "news", entering(id(1, 0), "ann"));
    scene.enter(A1, "unwatched", entering(id(1, 0), "ann"));
    let second = scene.watch(&["news"], cursor);
    assert_eq!(scene.words(second), ["news: ann joined"]);
    let other = scene.watch(&["unwatched"], cursor);
    let whole = ["begin unwatched CursorLost", "unwatched: ann joined", "end unwatched"];
    assert_eq!(scene.words(other), whole, "nobody remembers what nobody watched");

    scene.members.unwatch(second, scene.now);
    scene.passes(Duration::from_secs(61));
    let third = scene.watch(&["news"], cursor);
    assert_eq!(scene.words(third), ["begin news CursorLost", "news: ann joined", "end news"]);
}

#[test]
fn a_cursor_that_is_half_read_brings_the_rest_again() {
    let mut scene = Scene::settled();
    let watch = scene.watch(&["news"], None);
    scene.pull(watch);
    for number in 0..3 {
        scene.enter(A1, "news", entering(id(1, number), &number.to_string()));
    }
    let part = scene.members.pull(watch, 1).unwrap();
    assert_eq!(part.told.iter().map(in_words).collect::<Vec<_>>(), ["news: 0 joined"]);
    let again = scene.watch(&["news"], part.cursor);
    assert_eq!(scene.words(again), ["news: 1 joined", "news: 2 joined"]);
    assert_eq!(scene.words(watch), ["news: 1 joined", "news: 2 joined"]);
}

// R1 owns, then R2, then R1 again, which counts from the start: an old cursor would fit by number (P4).
#[test]
fn a_cursor_of_another_tenure_does_not_fit() {
    let mut scene = Scene::settled();
    let watch = scene.watch(&["news"], None);
    scene.enter(A1, "news", entering(id(1, 0), "ann"));
    let cursor = scene.pull(watch).cursor;
    scene.members.take_over(PlacementNumber { generation: 0, revision: 3 }, |_| true);
    assert_eq!(scene.words(watch), ["begin news OwnerChanged", "news: ann joined", "end news"]);
    scene.enter(A1, "news", entering(id(1, 1), "bob"));
    let back = scene.watch(&["news"], cursor);
    assert_eq!(
        scene.words(back),
        ["begin news CursorLost", "news: ann joined", "news: bob joined", "end news"].map(String::from)
    );
    let other_start = cursor.map(|cursor| Cursor {
        tenure: Tenure { incarnation: start_of(8), ..scene.pull(back).cursor.unwrap().tenure },
        ..cursor
    });
    let back = scene.watch(&["news"], other_start);
    assert!(scene.words(back)[0].ends_with("CursorLost"));
}

#[test]
fn a_slow_watcher_gets_the_newest_state_and_when_it_is_too_slow_a_new_snapshot() {
    let mut scene = Scene::settled();
    let watch = scene.watch(&["news", "#ann"], None);
    scene.pull(watch);
    let ann = id(1, 0);
    for _ in 0..MAX_PENDING {
        scene.enter(A1, "news", entering(ann, "ann"));
        scene.exit(A1, "news", ann);
    }
    scene.enter(A1, "news", entering(ann, "ann"));
    assert_eq!(scene.words(watch), ["news: ann joined"], "one state per member");
    for number in 0..=MAX_PENDING {
        scene.enter(A1, "news", entering(id(1, number), "bob"));
    }
    let words = scene.words(watch);
    assert_eq!((words[0].as_str(), words.last().unwrap().as_str()), ("begin news Slow", "end #ann"));
    assert_eq!(words.len(), 2 + MAX_PENDING + 1 + 3, "all of it");
}
