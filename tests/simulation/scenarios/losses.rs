//! Links, owners and histories that end, and what was on its way then.

use fanfare_control_plane::simulation::Answer;
use fanfare_proto::v1::{self, GapReason};

use super::{LONG, PLAIN, since, story};
use crate::world::Manner;

/// A node acknowledges that it has announced everything while its follows are still on their way.
#[test]
fn interleaving_2_a_session_that_has_not_caught_up_gets_everything_and_is_named() {
    story(false, async |world| {
        world.live(0, (0, 0), PLAIN);
        world.break_link(0);
        world.dial(0);
        let mut pushed = Vec::new();
        loop {
            // Between any two things that the node says.
            pushed.push(world.push_and_place(PLAIN));
            if world.wires[0].load().0 == 0 {
                break;
            }
            world.carry_to_owner(0);
            world.owner_step();
            world.shards(0);
        }
        assert!(pushed.len() > 2);
        world.settle();
        assert_eq!(world.got(0), pushed);
    });
}

/// A replica begins anew, its nodes are about to follow, and a push to a user is answered with "0 connections".
#[test]
fn interleaving_3_a_replica_that_has_just_begun_does_not_say_that_nobody_is_there() {
    story(false, async |world| {
        world.nodes[0].connect(0, Some("42"), false);
        world.settle();
        world.restart();
        let user = || v1::target::Kind::User("42".to_owned());
        let gaps = |answer: Answer| answer.unwrap().receipt.unwrap().gaps;
        let reasons =
            |gaps: Vec<v1::NodeGap>| -> Vec<GapReason> { gaps.iter().map(v1::NodeGap::reason).collect() };
        let answer = world.answer_to(user());
        assert_eq!(reasons(gaps(answer)), [GapReason::Unreachable; 2]);
        for node in [0, 1] {
            world.node_notices(node);
            world.dial(node);
        }
        while world.owner.waits() > 0 {
            world.owner.step();
        }
        let answer = world.answer_to(user());
        assert!(!answer.as_ref().unwrap().receipt.as_ref().unwrap().user_offline);
        assert_eq!(reasons(gaps(answer)), [GapReason::CatchingUp; 2]);
        world.settle();
        assert_eq!(reasons(gaps(world.answer_to(user()))), []);
    });
}

/// The history fails over from 15 to 10 in the same epoch; further appends get 11 to 15 and are skipped as delivered.
#[test]
fn interleaving_5_a_history_that_has_lost_its_tail_begins_anew_and_everybody_is_told_once() {
    for begins_anew in [false, true] {
        let world = story(true, async |world| {
            world.live(0, (0, 0), LONG);
            world.live(1, (1, 0), LONG);
            world.push_some(LONG, 15);
            world.settle();
            world.lose_tail(LONG, 5);
            if begins_anew {
                // The nodes tell the new owner how far the stream had come.
                world.restart();
                for node in [0, 1] {
                    world.node_notices(node);
                    world.dial(node);
                }
                world.settle();
            }
            world.push_some(LONG, 5);
            world.settle();
            for _ in 0..3 {
                world.tick().await;
            }
            assert_eq!([world.people[0].told, world.people[1].told], [1, 1], "begins anew: {begins_anew}");
            let kept = world.people[0].kept[LONG];
            world.subscribe(0, LONG, since(Some(kept)));
            world.settle();
            assert_ne!(world.people[0].kept[LONG].epoch, kept.epoch);
            assert_eq!(world.people[0].kept[LONG].offset, 5);
        });
        assert!(!world.truth.is_hollow(LONG) || begins_anew);
    }
}

/// The same, and only one of the nodes has seen what was lost. It comes with that behind a publication, which waits
/// until the new owner knows where the stream ends.
#[test]
fn interleaving_5_a_publication_does_not_overtake_who_has_seen_its_place_taken() {
    story(true, async |world| {
        world.live(0, (0, 0), LONG);
        world.live(1, (1, 0), LONG);
        world.push_some(LONG, 4);
        world.settle();
        world.break_link(0);
        let lost = world.push_and_place(LONG);
        world.settle();
        assert_eq!(world.got(1).last(), Some(&lost));
        world.lose_tail(LONG, 1);
        world.restart();
        world.store.set_slow(true);
        world.node_notices(1);
        world.dial(0);
        world.dial(1);
        world.say_to_owner(0);
        world.push_and_place(LONG);
        world.say_to_owner(1);
        world.store.set_slow(false);
        let (top, _) = world.store.pending()[0];
        world.store_step("answers", top, |store| store.answer(top));
        world.settle();
        world.tick().await;
        assert_eq!([world.people[0].told, world.people[1].told], [1, 1]);
    });
}

/// The owner's append lands, but its answer is lost with the owner. The push is made again with its key: "a repeat", and
/// nobody delivers it.
#[test]
fn interleaving_6_what_landed_without_an_answer_is_delivered_and_its_repeat_is_not() {
    let world = story(true, async |world| {
        world.live(0, (0, 0), LONG);
        world.push_and_place(LONG);
        world.settle();
        world.store.set_slow(true);
        let lost = world.truth.pushes.len();
        world.push(LONG, 'a', Manner { key: Some(lost), ..Manner::default() });
        world.owner_step();
        let (append, _) = world.store.pending()[0];
        world.store_step("does", append, |store| store.land(append));
        world.restart();
        world.store.set_slow(false);
        world.node_notices(0);
        world.dial(0);
        world.push(LONG, 'a', Manner { key: Some(lost), ..Manner::default() });
        world.owner_step();
        world.settle();
        assert_eq!(world.got(0), [0, lost]);
    });
    assert_eq!(world.truth.repeats, 1);
}

/// The first of two publications waits on a slow link, which is cut; the second comes on the next one.
#[test]
fn interleaving_8_what_a_cut_link_has_lost_comes_before_what_comes_on_the_next() {
    story(false, async |world| {
        world.live(0, (0, 0), LONG);
        world.live(1, (0, 0), PLAIN);
        let lost = world.push_and_place(LONG);
        world.push_and_place(PLAIN);
        world.break_link(0);
        world.dial(0);
        let next = world.push_and_place(LONG);
        let plain = world.push_and_place(PLAIN);
        world.settle();
        assert_eq!(world.got(0), [lost, next]);
        assert_eq!(world.got(1), [plain], "without history what a link has lost is lost");
    });
}

/// 300 publications of 64 KiB are recovered: over the link's message limit and the client's queue, and again after every
/// reconnect.
#[test]
fn interleaving_12_who_has_missed_too_many_bytes_is_told_and_goes_on_from_the_end() {
    story(false, async |world| {
        world.live(0, (0, 0), LONG);
        world.live(1, (0, 1), LONG);
        world.push_and_place(LONG);
        world.settle();
        let kept = world.people[0].kept[LONG];
        world.unsubscribe(0, LONG);
        world.break_link(0);
        for _ in 0..20 {
            world.push(LONG, 'a', Manner { padding: 64 << 10, ..Manner::default() });
            world.owner_step();
        }
        world.dial(0);
        world.settle();
        world.tick().await;
        world.subscribe(0, LONG, since(Some(kept)));
        world.settle();
        assert_eq!(world.people[0].kept[LONG].offset, 21, "it was not recovered, and goes on from here");
        assert_eq!((world.got(0).len(), world.people[1].told), (1, 1));
        world.leave(0);
        world.connect(0, 1, 0);
        let kept = world.people[0].kept[LONG];
        world.subscribe(0, LONG, since(Some(kept)));
        let last = world.push_and_place(LONG);
        world.settle();
        assert_eq!(world.got(0), [0, last]);
    });
}
