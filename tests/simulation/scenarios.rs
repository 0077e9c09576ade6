//! The interleavings that the protocol of the planes was reviewed against, as far as they concern one owner.

use fanfare_cluster::channel::StreamPosition;
use fanfare_control_plane::simulation::Answer;
use fanfare_proto::v1::{self, GapReason, PublishRequest};

use crate::channels::Channel;
use crate::subscription::Ask;
use crate::world::{Manner, World};

const LONG: Channel = "long:a";
const PLAIN: Channel = "plain:a";

/// Lets a story happen in a world of two nodes that are linked, then calms it down: nobody may be wronged.
fn story(is_shared: bool, tell: impl AsyncFnOnce(&mut World)) -> World {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    runtime.unwrap().block_on(async {
        let mut world = World::new(2, is_shared);
        world.trace.is_kept = true;
        world.dial(0);
        world.dial(1);
        world.settle();
        tell(&mut world).await;
        if world.wrong.is_none() {
            world.calm_down().await;
        }
        assert_eq!(world.wrong, None, "{}", world.trace.lines.join("\n"));
        world
    })
}

impl World {
    /// Somebody new, live in the channel.
    fn live(&mut self, person: usize, (node, shard): (usize, usize), channel: Channel) {
        self.connect(person, node, shard);
        self.subscribe(person, channel, positioned());
        self.settle();
    }

    /// What was pushed has its place, and is on the links.
    fn push_and_place(&mut self, channel: Channel) -> usize {
        let number = self.push(channel, 'a', Manner::default());
        self.owner_step();
        number
    }

    fn push_some(&mut self, channel: Channel, count: usize) {
        for _ in 0..count {
            self.push_and_place(channel);
        }
    }

    /// Shards of a node do all they can.
    fn shards(&mut self, node: usize) {
        while let Some((shard, step)) = self.nodes[node].steps().into_iter().next() {
            self.shard_step(node, shard, step, 1);
        }
    }

    /// What a node has said comes to the owner, which takes it.
    fn say_to_owner(&mut self, node: usize) {
        while self.wires[node].load().0 > 0 {
            self.carry_to_owner(node);
            while self.owner.waits() > 0 {
                self.owner_step();
            }
        }
    }

    /// What the owner has said comes to the node's middle, and no further.
    fn hear_owner(&mut self, node: usize) {
        while self.wires[node].load().1 > 0 {
            self.carry_to_node(node);
        }
    }

    fn break_link(&mut self, node: usize) {
        self.cut(node);
        self.node_notices(node);
        self.owner_notices(node);
    }

    fn got(&self, person: usize) -> &[usize] {
        &self.people[person].got
    }

    /// The answer to a push that is made now.
    fn answer_to(&mut self, target: v1::target::Kind) -> Answer {
        let message =
            v1::Message { payload: Some(v1::message::Payload::Json("1".into())), ..Default::default() };
        let target = Some(v1::Target { kind: Some(target) });
        let push =
            self.owner.publish(PublishRequest { target, message: Some(message), ..Default::default() });
        while self.owner.waits() > 0 {
            self.owner.step();
        }
        let answers = self.owner.answers();
        answers.into_iter().find(|(number, _)| *number == push).expect("it is answered").1
    }
}

fn positioned() -> Ask {
    Ask { positioned: true, ..Ask::default() }
}

fn since(position: Option<StreamPosition>) -> Ask {
    Ask { since: position, ..positioned() }
}

/// A subscribe reads the node's position, then a publication is fanned out to joined shards only, then the subscriber
/// goes live behind it, told the position before it.
#[test]
fn interleaving_1a_a_subscription_is_born_at_its_place_in_the_order() {
    story(false, async |world| {
        world.live(0, (0, 0), LONG);
        world.connect(1, 0, 1);
        world.connect(2, 0, 0);
        let first = world.push_and_place(LONG);
        world.subscribe(1, LONG, positioned());
        // The other shard's join and the publication meet in the middle of the node.
        world.hear_owner(0);
        world.subscribe(2, LONG, positioned());
        world.shards(0);
        let second = world.push_and_place(LONG);
        world.settle();
        assert_eq!(world.got(0), [first, second]);
        assert_eq!(world.got(1), [second], "its position was told as that of the first");
        assert_eq!(world.got(2), [first, second], "its shard had not taken the first yet");
        assert_eq!(world.people[1].kept[LONG].offset, 2);
    });
}

/// The answer to a recovery already holds what is delivered as well.
#[test]
fn interleaving_1c_what_was_recovered_is_not_delivered_again() {
    story(false, async |world| {
        world.live(0, (0, 0), LONG);
        world.live(1, (1, 0), LONG);
        world.push_and_place(LONG);
        world.settle();
        world.break_link(0);
        world.push_and_place(LONG);
        world.dial(0);
        world.say_to_owner(0);
        world.hear_owner(0);
        // It knows of its gap by now, and asks. What it asks for and what comes next pass the owner together.
        world.shards(0);
        world.push_and_place(LONG);
        world.say_to_owner(0);
        world.push_and_place(LONG);
        world.settle();
        assert_eq!(world.got(0), [0, 1, 2, 3]);
        assert_eq!(world.got(1), [0, 1, 2, 3]);
    });
}

/// A plain subscriber waits while the link is dialled anew and goes live at the stream's end, while the node repairs
/// what others have missed.
#[test]
fn interleaving_1d_who_goes_live_behind_a_gap_does_not_get_what_others_have_missed() {
    story(false, async |world| {
        world.live(0, (0, 0), LONG);
        world.push_and_place(LONG);
        world.settle();
        world.break_link(0);
        let missed = [world.push_and_place(LONG), world.push_and_place(LONG)];
        for (person, shard) in [(1, 0), (2, 1)] {
            world.connect(person, 0, shard);
            world.subscribe(person, LONG, positioned());
        }
        world.shards(0);
        world.dial(0);
        world.settle();
        let last = world.push_and_place(LONG);
        world.settle();
        assert_eq!(world.got(0), [0, missed[0], missed[1], last]);
        assert_eq!((world.got(1), world.got(2)), (&[missed[0], missed[1], last][..], &[last][..]));
    });
}

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

/// An unstored publication in a channel with history is dropped as old.
#[test]
fn interleaving_9_what_is_not_stored_is_no_gap_and_not_old() {
    story(false, async |world| {
        world.live(0, (0, 0), LONG);
        let unstored = Manner { unstored: true, ..Manner::default() };
        let first = world.push_and_place(LONG);
        let second = world.push(LONG, 'a', unstored.clone());
        let third = world.push_and_place(LONG);
        world.settle();
        assert_eq!(world.got(0), [first, second, third]);
        // Also while it waits for what it has missed.
        world.break_link(0);
        let missed = world.push_and_place(LONG);
        world.dial(0);
        world.say_to_owner(0);
        world.hear_owner(0);
        let at_once = world.push(LONG, 'a', unstored);
        world.owner_step();
        world.settle();
        let mut both = world.got(0)[3..].to_vec();
        both.sort_unstable();
        assert_eq!(both, [missed, at_once]);
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

/// Subscribe, unsubscribe, subscribe, and the answer to the first comes late; another client has the slot by then.
#[test]
fn interleaving_14_a_late_answer_is_nobody_elses() {
    story(false, async |world| {
        world.live(0, (1, 0), LONG);
        world.push_and_place(LONG);
        world.push_and_place(LONG);
        world.settle();
        let second = world.people[0].kept[LONG];
        let first = StreamPosition { offset: 1, ..second };
        // The join is on its way; so is the question of what was missed.
        world.connect(1, 0, 0);
        world.subscribe(1, LONG, since(Some(first)));
        world.shards(0);
        world.unsubscribe(1, LONG);
        world.subscribe(1, LONG, since(Some(second)));
        world.shards(0);
        world.say_to_owner(0);
        world.hear_owner(0);
        world.shards(0);
        world.unsubscribe(1, LONG);
        world.leave(1);
        world.connect(2, 0, 0);
        world.subscribe(2, LONG, since(Some(first)));
        world.settle();
        assert_eq!((world.got(1), world.got(2)), (&[][..], &[1][..]));
    });
}

/// A channel that nobody here wants is still followed for a moment: through a cut as well.
#[test]
fn interleaving_14_who_comes_back_within_the_cool_down_misses_nothing() {
    story(false, async |world| {
        world.live(0, (0, 0), LONG);
        world.push_and_place(LONG);
        world.settle();
        let kept = world.people[0].kept[LONG];
        world.unsubscribe(0, LONG);
        world.shards(0);
        for _ in 0..5 {
            world.tick().await;
        }
        let missed = [world.push_and_place(LONG), world.push_and_place(LONG)];
        world.hear_owner(0);
        world.break_link(0);
        let lost = world.push_and_place(LONG);
        world.dial(0);
        world.subscribe(0, LONG, since(Some(kept)));
        world.settle();
        assert_eq!(world.got(0), [0, missed[0], missed[1], lost]);
    });
}
