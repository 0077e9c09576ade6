//! What must hold for a channel with history, told as what goes in and what comes out.

use super::desk::*;
use super::request::Keep;
use super::*;
use crate::history::Outcome;

#[test]
fn what_queues_while_the_history_is_busy_goes_in_one_append_and_leaves_in_order() {
    let mut desk = Desk::followed_at(at(9, 4));
    assert_eq!(desk.publish("a"), ["ask append a, known 9:4"]);
    assert!(desk.publish("b").is_empty() && desk.publish("c").is_empty());
    let wanted = desk.done(appended(&[kept(5)], at(9, 5)));
    assert_eq!(wanted, ["[1]: a at 9:5", "ask append b,c, known 9:5"]);
    let wanted = desk.done(appended(&[kept(6), kept(7)], at(9, 7)));
    assert_eq!(wanted, ["[1]: b at 9:6", "[1]: c at 9:7"]);
    assert!(!desk.owner.channels[&news()].is_busy());
}

#[test]
fn a_node_follows_from_the_moment_at_which_the_end_of_the_stream_is_known() {
    let mut desk = Desk::new();
    assert_eq!(desk.publish("a"), ["ask append a, known 0:0"]);
    assert!(desk.follow(A, at(0, 0)).is_empty());
    let wanted = desk.done(appended(&[kept(5)], at(9, 5)));
    assert_eq!(wanted, ["[]: a at 9:5", "1: following 9:5"], "a is not sent to it: its position says so");
    assert_eq!(desk.follow(B, at(9, 5)), ["2: following 9:5"], "what is known is not asked for again");
    desk.publish("b");
    assert_eq!(desk.done(appended(&[kept(6)], at(9, 6))), ["[1, 2]: b at 9:6"]);
}

#[test]
fn what_a_channel_was_is_forgotten_when_nobody_follows_and_nothing_waits() {
    let mut desk = Desk::new();
    desk.publish("a");
    assert_eq!(desk.owner.channels.len(), 1);
    desk.done(appended(&[kept(1)], at(9, 1)));
    assert_eq!(desk.owner.channels.len(), 0);
    desk.follow(A, at(0, 0));
    desk.owner.session_down(A, desk.now);
    assert!(desk.done(Ok(Done::Top(at(9, 1)))).is_empty());
    assert_eq!((desk.owner.channels.len(), desk.owner.followed()), (0, 0));
}

// The store fails over from 15 to 10 in the same epoch. New publications would get 11 to 15 and be skipped as
// delivered (interleaving 5): the history is told what nodes have seen, and begins a new epoch.
#[test]
fn a_store_behind_what_a_node_has_seen_begins_a_new_epoch_that_followers_are_told_of() {
    let mut desk = Desk::followed_at(at(9, 10));
    assert_eq!(desk.follow(B, at(9, 15)), ["ask top, known 9:15"]);
    assert_eq!(desk.done(Ok(Done::Top(at(10, 0)))), ["1: top 10:0", "2: following 10:0"]);
    assert_eq!(desk.publish("a"), ["ask append a, known 10:0"]);
    assert_eq!(desk.done(appended(&[kept(1)], at(11, 1))), ["[1, 2]: a at 11:1"]);
    assert_eq!(desk.follow(B, at(9, 99)), ["2: following 11:1"], "another epoch says nothing of this one");
}

#[test]
fn a_position_that_a_node_has_told_is_known_to_appends_even_while_its_follow_waits() {
    let mut desk = Desk::new();
    assert_eq!(desk.follow(A, at(9, 15)), ["ask top, known 9:15"]);
    assert!(desk.done(Err(GONE)).is_empty());
    assert_eq!(desk.publish("a"), ["ask append a, known 9:15"]);
    assert_eq!(desk.done(appended(&[kept(1)], at(10, 1))), ["[]: a at 10:1", "1: following 10:1"]);
}

// The append lands but its answer is lost; a retry with the key says "repeated" and delivered nothing
// (interleaving 6).
#[test]
fn what_has_landed_unseen_is_delivered_when_its_key_is_repeated() {
    let mut desk = Desk::followed_at(at(9, 4));
    desk.publish("a");
    assert_eq!(desk.done(Err(GONE)), ["0: HistoryUnavailable"]);
    desk.publish("b");
    let wanted = desk.done(appended(&[Outcome::Repeated(at(9, 5))], at(9, 5)));
    assert_eq!(wanted, ["ask 1 After(4)"]);
    assert_eq!(desk.done(page([5], at(9, 5))), ["[1]: p5 at 9:5", "1: repeated 9:5"]);
}

#[test]
fn what_has_landed_unseen_is_looked_for_by_itself() {
    let mut desk = Desk::followed_at(at(9, 4));
    desk.publish("a");
    desk.done(Err(GONE));
    assert!(desk.owner.next_tick().is_some());
    assert_eq!(desk.after(PAUSE.0), ["ask top, known 9:4"]);
    assert_eq!(desk.done(Ok(Done::Top(at(9, 5)))), ["ask 1 After(4)"]);
    assert_eq!(desk.done(page([5], at(9, 5))), ["[1]: p5 at 9:5"]);
    assert_eq!(desk.owner.retry, None);
}

#[test]
fn what_others_have_appended_comes_in_its_place_between_own_publications() {
    let mut desk = Desk::followed_at(at(9, 4));
    desk.publish("a");
    desk.publish("b");
    desk.done(appended(&[kept(5)], at(9, 5)));
    let wanted = desk.done(appended(&[kept(7)], at(9, 8)));
    assert_eq!(wanted, ["ask 3 After(5)"]);
    assert!(desk.publish("c").is_empty(), "what comes meanwhile waits behind it");
    let wanted = desk.done(page([6, 7, 8], at(9, 8)));
    assert_eq!(wanted, ["[1]: p6 at 9:6", "[1]: b at 9:7", "[1]: p8 at 9:8", "ask append c, known 9:8"]);
}

#[test]
fn what_cannot_be_read_in_between_is_a_gap_that_followers_can_see() {
    let mut desk = Desk::followed_at(at(9, 4));
    desk.publish("a");
    desk.done(appended(&[kept(6)], at(9, 6)));
    assert_eq!(desk.done(Err(GONE)), ["[1]: a at 9:6"]);
    desk.publish("b");
    desk.done(appended(&[kept(7)], at(9, 9)));
    assert_eq!(desk.done(Err(GONE)), ["[1]: b at 9:7", "1: top 9:9"]);
}

// Old owner and router lag, all followers have left: accepted into the void (interleaving 4). The fence says no.
#[test]
fn a_replica_that_owns_the_channel_no_more_accepts_nothing_and_says_so_to_all() {
    let mut desk = Desk::followed_at(at(9, 4));
    desk.publish("a");
    desk.publish("b");
    desk.recover(recover(7, at(9, 3)));
    desk.follow(B, at(9, 4));
    let wanted = desk.done(Err(HistoryError::Fenced));
    let expected = [
        "0: NoOwner",
        "1: NoOwner",
        "1: not owner, ticket 7",
        "1: not owner, ticket 0",
        "2: not owner, ticket 0",
    ];
    assert_eq!(wanted, expected);
    assert_eq!((desk.owner.channels.len(), desk.owner.followed(), desk.owner.shared.questions), (0, 0, 0));
}

// It was dropped as old, because it has no offset (interleaving 9).
#[test]
fn what_is_not_stored_goes_out_without_a_place_behind_what_was_before_it() {
    let mut desk = Desk::followed_at(at(9, 4));
    assert_eq!(desk.publish_keep("x", Keep::default()), ["[1]: x at nowhere"]);
    desk.publish("a");
    desk.publish("b");
    assert!(desk.publish_keep("y", Keep::default()).is_empty());
    desk.publish("c");
    let reply = Reply { waiting: 99, place: 0 };
    desk.owner.act(Act { channel: news(), act: link::Act::default() }, reply, desk.now);
    desk.publish("d");
    assert_eq!(desk.done(appended(&[kept(5)], at(9, 5))), ["[1]: a at 9:5", "ask append b, known 9:5"]);
    let wanted = desk.done(appended(&[kept(6)], at(9, 6)));
    assert_eq!(wanted, ["[1]: b at 9:6", "[1]: y at nowhere", "ask append c, known 9:6"]);
    let wanted = desk.done(appended(&[kept(7)], at(9, 7)));
    assert_eq!(wanted, ["[1]: c at 9:7", "act at 1", "ask append d, known 9:7"]);
}

// A retried publication behind the next one of the same stream (interleaving 13): with its key it changes nothing.
#[test]
fn who_repeats_a_key_or_is_superseded_is_answered_without_a_delivery() {
    let mut desk = Desk::followed_at(at(9, 4));
    let keyed = |stored| Keep { key: "k".into(), stored, ..Keep::default() };
    desk.publish_keep("a", keyed(true));
    desk.publish_keep("b", keyed(true));
    desk.done(appended(&[kept(5)], at(9, 5)));
    let wanted = desk.done(appended(&[Outcome::Repeated(at(9, 5))], at(9, 5)));
    assert_eq!(wanted, ["1: repeated 9:5"]);
    desk.publish("c");
    assert_eq!(desk.done(appended(&[Outcome::Superseded], at(9, 5))), ["2: superseded 9:5"]);
    assert_eq!(desk.publish_keep("d", keyed(false)), ["[1]: d at nowhere"]);
    assert_eq!(desk.publish_keep("e", keyed(false)), ["4: repeated nowhere"]);
}

#[test]
fn while_the_history_is_away_what_can_be_tried_again_is_refused_and_who_follows_waits() {
    let mut desk = Desk::new();
    desk.follow(A, at(0, 0));
    assert!(desk.done(Err(GONE)).is_empty());
    assert!(desk.follow(B, at(0, 0)).is_empty(), "it is not asked once more for each node");
    desk.publish("a");
    assert_eq!(desk.done(Err(GONE)), ["0: HistoryUnavailable"]);
    desk.recover(recover(1, at(9, 7)));
    assert_eq!(desk.done(Err(GONE)), ["1: error 100"]);
    desk.read(Question::default());
    assert_eq!(desk.done(Err(GONE)), ["1: error 100 at 0:0"]);
    assert!(desk.after(PAUSE.0 / 2).is_empty());
    assert_eq!(desk.after(PAUSE.0), ["ask top, known 0:0"]);
    assert!(desk.done(Err(GONE)).is_empty());
    assert!(desk.after(PAUSE.0).is_empty(), "the pause has grown");
    assert_eq!(desk.after(PAUSE.0), ["ask top, known 0:0"]);
    let wanted = desk.done(Ok(Done::Top(at(9, 4))));
    assert_eq!(wanted, ["1: following 9:4", "2: following 9:4"]);
    assert_eq!(desk.owner.next_tick(), None);
}

#[test]
fn who_has_left_is_not_waited_for() {
    let mut desk = Desk::new();
    desk.follow(A, at(0, 0));
    desk.done(Err(GONE));
    desk.owner.unfollow(A, &news(), desk.now);
    assert_eq!(desk.owner.channels.len(), 0);
    assert!(desk.after(PAUSE.0).is_empty());
    desk.publish("a");
    desk.follow(B, at(0, 0));
    desk.owner.recover(B, &news(), recover(1, at(9, 7)), desk.now);
    desk.owner.session_down(B, desk.now);
    assert_eq!(desk.done(appended(&[kept(5)], at(9, 5))), ["[]: a at 9:5"]);
    assert_eq!((desk.owner.channels.len(), desk.owner.shared.questions), (0, 0));
}

#[test]
fn what_has_waited_too_long_is_not_published_any_more() {
    let mut desk = Desk::followed_at(at(9, 4));
    desk.publish("a");
    desk.publish("b");
    desk.now += Duration::from_secs(4);
    desk.publish("c");
    desk.now += Duration::from_secs(2);
    let wanted = desk.done(appended(&[kept(5)], at(9, 5)));
    assert_eq!(wanted, ["[1]: a at 9:5", "1: Busy", "ask append c, known 9:5"]);
}

// The loss of the last publication shows no gap.
#[test]
fn a_channel_with_traffic_is_compared_with_the_history_after_a_while() {
    let mut desk = Desk::followed_at(at(9, 4));
    desk.publish("a");
    desk.done(appended(&[kept(5)], at(9, 5)));
    assert_eq!(desk.after(SWEEP), ["ask top, known 9:5"]);
    assert!(desk.done(Ok(Done::Top(at(9, 5)))).is_empty());
    assert_eq!(desk.owner.next_tick(), None, "a quiet channel is left alone");
    desk.publish("b");
    desk.done(appended(&[kept(6)], at(9, 6)));
    desk.after(SWEEP);
    assert_eq!(desk.done(Ok(Done::Top(at(9, 7)))), ["ask 1 After(6)"]);
    assert_eq!(desk.done(page([7], at(9, 7))), ["[1]: p7 at 9:7"]);
}

#[test]
fn a_session_that_catches_up_is_named_but_gets_nothing_that_it_can_ask_for() {
    let mut desk = Desk::followed_at(at(9, 4));
    desk.owner.session_up(SessionId(3), "late".parse().unwrap());
    desk.publish("a");
    let channel = desk.asked.remove(0);
    desk.owner.finished(&channel, appended(&[kept(5)], at(9, 5)), desk.now);
    let Some(Action::Deliver(delivery)) = desk.owner.next_action() else { panic!("it was not delivered") };
    assert_eq!(delivery.reach.sessions.as_slice(), [A]);
    assert_eq!(delivery.reach.catching_up.len(), 1);
}

#[test]
fn a_quiet_channel_that_is_followed_takes_little() {
    let mut desk = Desk::followed_at(at(9, 4));
    desk.publish("a");
    desk.publish("b");
    desk.done(appended(&[kept(5)], at(9, 5)));
    desk.done(appended(&[kept(6)], at(9, 6)));
    let channel = &desk.owner.channels[&news()];
    assert_eq!(
        channel.stream.as_ref().map(|stream| stream.spare()),
        Some(0),
        "queues have given back what they had"
    );
    // A name of 32 bytes with its counters, and a table that is just over half full, as it is after it has grown.
    let entry = size_of::<(ChannelName, Channel)>() + 1;
    let name = 2 * size_of::<usize>() + 32;
    let bytes = 2 * entry + size_of::<Stream>() + name;
    assert!(bytes <= 350, "{bytes} bytes");
}
