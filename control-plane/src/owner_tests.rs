//! What must hold for followers and sessions, where no history takes part.

use std::time::Duration;

use super::request::Publish;
use super::sessions::CATCHING_UP_BYTES;
use super::*;

const A: SessionId = SessionId(1);
const B: SessionId = SessionId(2);

fn channel(name: &str) -> ChannelName {
    ChannelName::parse(name).unwrap()
}

fn node(id: &str) -> MemberId {
    id.parse().unwrap()
}

fn new_owner() -> Owner {
    Owner::new(Duration::from_secs(300), false)
}

fn owner_with_two_caught_up_sessions() -> Owner {
    let mut owner = new_owner();
    owner.session_up(A, node("a"));
    owner.session_up(B, node("b"));
    owner.caught_up(A);
    owner.caught_up(B);
    owner
}

/// Returns whether the session is told that it follows.
fn follow(owner: &mut Owner, session: SessionId, name: &str) -> bool {
    owner.follow(session, &channel(name), None, false, Instant::now());
    matches!(owner.next_action(), Some(Action::Say(told, _)) if told == session)
}

/// Publishes something that has so many bytes with the channel's name.
fn publish(owner: &mut Owner, name: &str, bytes: usize) -> Reach {
    let mut publish = Publish::to(channel(name));
    publish.publication.data = vec![0; bytes - name.len()].into();
    let until = Instant::now() + Duration::from_secs(5);
    owner.publish(Queued { publish, reply: None, until }, Instant::now());
    match owner.next_action() {
        Some(Action::Deliver(delivery)) => delivery.reach,
        other => panic!("it was not delivered: {other:?}"),
    }
}

#[test]
fn a_publication_reaches_those_who_follow() {
    let mut owner = owner_with_two_caught_up_sessions();
    assert!(follow(&mut owner, A, "news"));
    assert!(follow(&mut owner, A, "news"), "following twice is following");
    let reach = publish(&mut owner, "news", 9);
    assert_eq!((reach.sessions.as_slice(), reach.following), ([A].as_slice(), 1));
    assert!(publish(&mut owner, "sport", 9).sessions.is_empty());
    assert_eq!(owner.followed(), 1);
    owner.unfollow(A, &channel("news"), Instant::now());
    assert_eq!(publish(&mut owner, "news", 9), Reach::default());
    assert_eq!((owner.followed(), owner.channels.len()), (0, 0));
}

// A node restarts within moments; 200,000 follows are in transit when a user is pushed to. Without
// the flood the answer would be "0 connections" and the message lost (interleaving 3).
#[test]
fn a_session_that_catches_up_gets_everything_and_is_named() {
    let mut owner = owner_with_two_caught_up_sessions();
    follow(&mut owner, A, "news");
    let late = SessionId(3);
    owner.session_up(late, node("late"));
    let reach = publish(&mut owner, "news", 9);
    assert_eq!(reach.sessions.as_slice(), [A, late]);
    assert_eq!((reach.following, reach.catching_up), (1, vec![node("late")]));
    owner.caught_up(late);
    assert_eq!(publish(&mut owner, "news", 9).sessions.as_slice(), [A]);
}

#[test]
fn what_a_catching_up_session_is_sent_on_suspicion_is_bounded_and_counted() {
    let mut owner = new_owner();
    owner.session_up(A, node("a"));
    assert_eq!(publish(&mut owner, "news", CATCHING_UP_BYTES).sessions.as_slice(), [A]);
    let reach = publish(&mut owner, "news", 9);
    assert_eq!((reach.sessions.len(), reach.withheld), (0, 1));
    follow(&mut owner, A, "news");
    assert_eq!(publish(&mut owner, "news", 9).sessions.as_slice(), [A], "what it follows is not suspicion");
}

#[test]
fn an_ended_session_follows_nothing_and_cannot_come_back() {
    let mut owner = owner_with_two_caught_up_sessions();
    follow(&mut owner, A, "news");
    follow(&mut owner, B, "news");
    owner.session_down(A, Instant::now());
    assert!(!follow(&mut owner, A, "news"), "a late follow of an ended session");
    owner.caught_up(A);
    assert_eq!(publish(&mut owner, "news", 9).sessions.as_slice(), [B]);
    owner.session_down(B, Instant::now());
    assert_eq!((owner.followed(), owner.channels.len()), (0, 0));
}
