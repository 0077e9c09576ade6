//! Subscriptions that begin, or begin again, while something is on its way.

use fanfare_cluster::channel::StreamPosition;

use super::{LONG, positioned, since, story};
use crate::world::Manner;

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
