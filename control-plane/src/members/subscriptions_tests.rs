//! Unit tests of what backends subscribe users to: who gets it, and how long it is kept.

use super::tests::{A1, B1, Scene, again, entering, id, name, node, start_of};
use super::users::MAX_SUBSCRIPTIONS;
use super::{Action, Entering, TooManySubscriptions};

#[test]
fn what_backends_have_subscribed_a_user_to_is_passed_on_while_it_is_online() {
    let mut scene = Scene::settled();
    let subscribed = |scene: &mut Scene| {
        let subscribe = |action| match action {
            Action::Subscribe { session, id, channel } => Some((session, id, channel)),
            _ => None,
        };
        scene.members.actions().into_iter().filter_map(subscribe).collect::<Vec<_>>()
    };
    let ann = name("#ann");
    scene.members.subscribe(&ann, name("early")).unwrap();
    scene.enter(A1, "#ann", entering(id(1, 0), "ann"));
    assert!(subscribed(&mut scene).is_empty(), "nothing is kept for who is offline");
    scene.members.subscribe(&ann, name("news")).unwrap();
    scene.members.subscribe(&ann, name("sport")).unwrap();
    let has_one = Entering { subscriptions: vec![name("sport")], ..entering(id(2, 0), "ann") };
    scene.enter(B1, "#ann", has_one);
    assert_eq!(subscribed(&mut scene), [(B1, id(2, 0), name("news"))]);
    scene.members.unsubscribe(&ann, &name("sport"));
    scene.enter(A1, "#ann", again(id(1, 0), "ann"));
    assert!(subscribed(&mut scene).is_empty(), "a node does not lose what its connections are subscribed to");
    scene.enter(A1, "#ann", entering(id(1, 2), "ann"));
    let channels: Vec<_> = subscribed(&mut scene).into_iter().map(|(_, _, channel)| channel).collect();
    assert_eq!(channels, [name("news")]);

    for number in 0..MAX_SUBSCRIPTIONS - 1 {
        scene.members.subscribe(&ann, name(&format!("{number}"))).unwrap();
    }
    assert_eq!(scene.members.subscribe(&ann, name("more")), Err(TooManySubscriptions));
    assert_eq!(scene.members.subscribe(&ann, name("news")), Ok(()), "it is there");
}

#[test]
fn a_new_owner_learns_from_nodes_what_users_are_subscribed_to() {
    let mut scene = Scene::new();
    scene.members.session_up(A1, &node("a"), start_of(1), scene.now);
    let listed = vec![name("news")];
    scene.enter(A1, "#ann", Entering { subscriptions: listed, ..again(id(1, 0), "ann") });
    scene.enter(A1, "#ann", entering(id(1, 1), "ann"));
    let actions = scene.members.actions();
    assert!(
        matches!(&actions[..], [Action::Subscribe { channel, .. }] if *channel == name("news")),
        "{actions:?}"
    );
}
