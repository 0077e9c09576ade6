//! What must hold for a channel with history, told as what goes in and what comes out.

use std::collections::VecDeque;

use fanfare_cluster::channel::Epoch;
use fanfare_proto::link::open_response::Message;
use smallvec::SmallVec;

use super::request::{Keep, Operation, Publish, Settled};
use super::*;
use crate::history::{Appended, Outcome, Page, Part, Stored};

const A: SessionId = SessionId(1);
const B: SessionId = SessionId(2);
const GONE: HistoryError = HistoryError::Unavailable(String::new());

/// An owner whose history is the test: it says what the owner does, and is told what the history has done.
struct Desk {
    owner: Owner,
    now: Instant,
    asked: VecDeque<ChannelName>,
}

fn news() -> ChannelName {
    ChannelName::parse("news").unwrap()
}

fn at(epoch: u64, offset: u64) -> StreamPosition {
    StreamPosition { epoch: Epoch(epoch), offset }
}

fn stored(offset: u64) -> Stored {
    let data = format!("p{offset}").into();
    Stored { offset, publication: Some(link::Publication { data, offset, ..Default::default() }) }
}

fn page(offsets: impl IntoIterator<Item = u64>, top: StreamPosition) -> Result<Done, HistoryError> {
    Ok(Done::Page(Page { stored: offsets.into_iter().map(stored).collect(), top }))
}

fn kept(offset: u64) -> Outcome {
    Outcome::Stored { offset, time_ms: 7, expires_at_ms: 0 }
}

fn appended(outcomes: &[Outcome], top: StreamPosition) -> Result<Done, HistoryError> {
    Ok(Done::Appended(Appended { outcomes: SmallVec::from_slice(outcomes), top }))
}

fn recover(ticket: u64, since: StreamPosition) -> link::Recover {
    let since = Some(since.into());
    link::Recover { ticket, channel: "news".into(), since, limit: 300, max_bytes: 1 << 20, latest: false }
}

fn texts(publications: &[link::Publication]) -> String {
    let text = |one: &link::Publication| String::from_utf8_lossy(&one.data).into_owned();
    publications.iter().map(text).collect::<Vec<_>>().join(",")
}

impl Desk {
    fn new() -> Self {
        let mut owner = Owner::new(Duration::from_secs(300), true);
        for (session, node) in [(A, "a"), (B, "b")] {
            owner.session_up(session, node.parse().unwrap());
            owner.caught_up(session);
        }
        Self { owner, now: Instant::now(), asked: VecDeque::new() }
    }

    /// As `new`, and A follows "news", which has come so far.
    fn followed_at(top: StreamPosition) -> Self {
        let mut desk = Self::new();
        assert_eq!(desk.follow(A, at(0, 0)), ["ask top, known 0:0"]);
        assert_eq!(desk.done(Ok(Done::Top(top))), [format!("1: following {}:{}", top.epoch.0, top.offset)]);
        desk
    }

    /// What the owner wants done by now.
    fn wants(&mut self) -> Vec<String> {
        let mut all = Vec::new();
        while let Some(action) = self.owner.next_action() {
            all.push(self.describe(action));
        }
        all
    }

    fn describe(&mut self, action: Action) -> String {
        let place = |position: Option<StreamPosition>| match position {
            Some(position) => format!("{}:{}", position.epoch.0, position.offset),
            None => "nowhere".to_owned(),
        };
        match action {
            Action::Ask(channel, operation) => {
                self.asked.push_back(channel);
                match operation {
                    Operation::Append { entries, known } => {
                        let all: Vec<_> = entries.into_iter().map(|entry| entry.publication).collect();
                        format!("ask append {}, known {}", texts(&all), place(Some(known)))
                    }
                    Operation::Top { known } => format!("ask top, known {}", place(Some(known))),
                    Operation::Read { part: Part::Before(u64::MAX, after), limit, .. } => {
                        format!("ask newest {limit} after {after}")
                    }
                    Operation::Read { part, limit, .. } => format!("ask {limit} {part:?}"),
                    Operation::Remove => "ask remove".to_owned(),
                }
            }
            Action::Deliver(delivery) => {
                let to: Vec<u64> = delivery.reach.sessions.iter().map(|session| session.0).collect();
                let text = texts(std::slice::from_ref(&delivery.publish.publication));
                assert_eq!(
                    delivery.publish.publication.offset,
                    delivery.position.map_or(0, |position| position.offset)
                );
                format!("{to:?}: {text} at {}", place(delivery.position))
            }
            Action::Act(_, reach, _) => format!("act at {}", reach.sessions.len()),
            Action::Settle(reply, Ok(Settled::Repeated(first))) => {
                format!("{}: repeated {}", reply.waiting, place(first))
            }
            Action::Settle(reply, Ok(Settled::Superseded(top))) => {
                format!("{}: superseded {}", reply.waiting, place(Some(top)))
            }
            Action::Settle(reply, Err(refusal)) => format!("{}: {refusal:?}", reply.waiting),
            Action::Say(session, message) => format!("{}: {}", session.0, said(message)),
            Action::Read(_, Ok(page)) => {
                format!("read {} until {}", page.stored.len(), place(Some(page.top)))
            }
            Action::Read(_, Err(refusal)) => format!("read: {refusal:?}"),
            Action::Removed(_, top) => format!("removed {top:?}"),
        }
    }

    fn follow(&mut self, session: SessionId, position: StreamPosition) -> Vec<String> {
        self.owner.follow(session, &news(), Some(position), true, self.now);
        self.wants()
    }

    fn publish(&mut self, text: &'static str) -> Vec<String> {
        self.publish_keep(text, Keep { stored: true, ..Keep::default() })
    }

    fn publish_keep(&mut self, text: &'static str, keep: Keep) -> Vec<String> {
        let waiting = text.bytes().map(|byte| u64::from(byte - b'a')).sum();
        let mut publish = Publish { keep, ..Publish::to(news()) };
        publish.publication.data = text.into();
        let reply = Some(Reply { waiting, place: 0 });
        self.owner.publish(Queued { publish, reply, until: self.now + Duration::from_secs(5) }, self.now);
        self.wants()
    }

    fn recover(&mut self, recover: link::Recover) -> Vec<String> {
        self.owner.recover(A, &news(), recover, self.now);
        self.wants()
    }

    fn read(&mut self, question: Question) -> Vec<String> {
        let asker = Asker::Client { session: A, ticket: 9 };
        self.owner.read(asker, &news(), question, self.now);
        self.wants()
    }

    /// What was asked for first is done.
    fn done(&mut self, result: Result<Done, HistoryError>) -> Vec<String> {
        let channel = self.asked.pop_front().expect("something was asked");
        self.owner.finished(&channel, result, self.now);
        self.wants()
    }

    /// Time passes.
    fn after(&mut self, time: Duration) -> Vec<String> {
        self.now += time;
        self.owner.tick(self.now);
        self.wants()
    }
}

fn said(message: Message) -> String {
    let place = |position: Option<link::StreamPosition>| {
        let position = position.unwrap_or_default();
        format!("{}:{}", position.epoch, position.offset)
    };
    match message {
        Message::Following(following) => format!("following {}", place(following.position)),
        Message::Top(top) => format!("top {}", place(top.position)),
        Message::NotOwner(not_owner) => format!("not owner, ticket {}", not_owner.ticket),
        Message::Recovered(link::Recovered { error, .. }) if error != 0 => format!("error {error}"),
        Message::Recovered(answer) => {
            let how = if answer.complete { "all of" } else { "no part of" };
            format!("{how} [{}] until {}", texts(&answer.publications), place(answer.position))
        }
        Message::HistoryRead(link::HistoryRead { error, position, .. }) if error != 0 => {
            format!("error {error} at {}", place(position))
        }
        Message::HistoryRead(answer) => {
            format!("history [{}] until {}", texts(&answer.publications), place(answer.position))
        }
        other => format!("{other:?}"),
    }
}

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
fn a_recovery_is_all_or_nothing() {
    let (top, latest) = (at(9, 8), |since| link::Recover { latest: true, ..recover(7, since) });
    let short = |limit, max_bytes| link::Recover { limit, max_bytes, ..recover(7, at(9, 5)) };
    let cases = [
        (recover(7, at(9, 5)), vec![8, 7, 6], "all of [p6,p7,p8] until 9:8"),
        (recover(7, at(0, 5)), vec![8, 7, 6], "all of [p6,p7,p8] until 9:8"),
        (recover(7, at(9, 5)), vec![8, 7], "no part of [] until 9:8"),
        (recover(7, at(9, 5)), vec![], "no part of [] until 9:8"),
        (recover(7, at(9, 5)), vec![8, 6], "no part of [] until 9:8"),
        (short(3, 6), vec![8, 7, 6], "all of [p6,p7,p8] until 9:8"),
        (short(3, 5), vec![8, 7, 6], "no part of [] until 9:8"),
        (latest(at(9, 2)), vec![8], "all of [p8] until 9:8"),
        (latest(at(3, 99)), vec![8], "all of [p8] until 9:8"),
        (latest(at(9, 2)), vec![7], "no part of [] until 9:8"),
        (latest(at(9, 2)), vec![], "no part of [] until 9:8"),
    ];
    for (recover, read, expected) in cases {
        let case = format!("{recover:?} {read:?}");
        let mut desk = Desk::followed_at(top);
        assert!(desk.recover(recover)[0].starts_with("ask newest"), "{case}");
        assert_eq!(desk.done(page(read, top)), [format!("1: {expected}")], "{case}");
    }
    let by_position = [
        (recover(7, top), "all of [] until 9:8"),
        (recover(7, at(9, 9)), "no part of [] until 9:8"),
        (recover(7, at(3, 5)), "no part of [] until 9:8"),
        (short(2, 99), "no part of [] until 9:8"),
        (latest(top), "all of [] until 9:8"),
    ];
    for (recover, expected) in by_position {
        let mut desk = Desk::followed_at(top);
        assert_eq!(desk.recover(recover.clone()), [format!("1: {expected}")], "{recover:?}");
    }
    let mut empty = Desk::followed_at(at(9, 0));
    assert_eq!(empty.recover(recover(7, at(0, 0))), ["1: all of [] until 9:0"]);
    assert_eq!(empty.recover(latest(at(0, 0))), ["1: no part of [] until 9:0"]);
}

#[test]
fn what_has_outlived_its_own_time_is_not_missing_and_not_sent() {
    let over = Stored { publication: None, ..stored(7) };
    let read = |latest| {
        let mut desk = Desk::followed_at(at(9, 7));
        desk.recover(link::Recover { latest, ..recover(7, at(9, 5)) });
        let stored = if latest { vec![over.clone()] } else { vec![over.clone(), stored(6)] };
        desk.done(Ok(Done::Page(Page { stored, top: at(9, 7) })))
    };
    assert_eq!(read(false), ["1: all of [p6] until 9:7"]);
    assert_eq!(read(true), ["1: no part of [] until 9:7"], "the last one holds the state, and is gone");
}

#[test]
fn a_storm_of_recoveries_reads_the_history_once() {
    let mut desk = Desk::followed_at(at(9, 8));
    assert_eq!(desk.recover(recover(1, at(9, 5))), ["ask newest 300 after 5"]);
    assert!(desk.recover(recover(2, at(9, 6))).is_empty(), "it waits for what is being read");
    let wanted = desk.done(page([8, 7, 6], at(9, 8)));
    assert_eq!(wanted, ["1: all of [p6,p7,p8] until 9:8", "1: all of [p7,p8] until 9:8"]);
    desk.publish("a");
    desk.done(appended(&[kept(9)], at(9, 9)));
    assert_eq!(desk.recover(recover(3, at(9, 7))), ["1: all of [p8,a] until 9:9"]);
    let latest = link::Recover { latest: true, ..recover(4, at(0, 0)) };
    assert_eq!(desk.recover(latest), ["1: all of [a] until 9:9"]);
    assert_eq!(desk.owner.take_saved_reads(), 3);
    assert_eq!(desk.recover(recover(5, at(9, 4))), ["ask newest 300 after 4"], "that was not read");
    assert_eq!(desk.done(page([9, 8], at(9, 9))), ["1: no part of [] until 9:9"]);
    assert_eq!(
        desk.recover(recover(6, at(9, 4))),
        ["1: no part of [] until 9:9"],
        "that it is gone is known now"
    );
    assert!(desk.after(Duration::from_secs(1)).is_empty());
    assert_eq!(desk.owner.shared.room, 8 << 20, "nothing is kept any more");
    assert_eq!(desk.recover(recover(7, at(9, 7))), ["ask newest 300 after 7"]);
}

#[test]
fn what_was_read_is_not_used_after_a_removal_or_in_another_epoch() {
    let mut desk = Desk::followed_at(at(9, 8));
    desk.recover(recover(1, at(9, 7)));
    desk.done(page([8], at(9, 8)));
    desk.owner.remove(&news(), Reply { waiting: 1, place: 0 }, desk.now);
    assert_eq!(desk.wants(), ["ask remove"]);
    assert!(desk.done(Ok(Done::Top(at(9, 8))))[0].starts_with("removed Ok"));
    assert_eq!(desk.recover(recover(2, at(9, 7))), ["ask newest 300 after 7"]);
    assert_eq!(desk.done(page([], at(9, 8))), ["1: no part of [] until 9:8"]);
    desk.publish("a");
    assert_eq!(desk.done(appended(&[kept(1)], at(10, 1))), ["[1]: a at 10:1"]);
    assert_eq!(desk.recover(recover(3, at(10, 0))), ["ask newest 300 after 0"]);
    assert_eq!(desk.owner.shared.room, 8 << 20);
}

#[test]
fn a_recovery_from_a_store_that_has_lost_its_tail_is_not_complete() {
    let mut desk = Desk::followed_at(at(9, 15));
    desk.recover(recover(1, at(9, 9)));
    let wanted = desk.done(page([10], at(9, 10)));
    assert_eq!(wanted, ["1: no part of [] until 9:10", "ask top, known 9:15"]);
    assert_eq!(desk.done(Ok(Done::Top(at(10, 0)))), ["1: top 10:0"]);
}

#[test]
fn a_history_is_read_both_ways_and_says_when_a_position_is_gone() {
    let question = |since, reverse| Question { since, limit: 2, reverse, max_bytes: 99 };
    let cases = [
        (question(None, false), "ask 2 After(0)", vec![4, 5], "history [p4,p5] until 9:8"),
        (question(None, true), "ask newest 2 after 0", vec![8, 7], "history [p8,p7] until 9:8"),
        (question(Some(at(9, 5)), false), "ask 2 After(5)", vec![6, 7], "history [p6,p7] until 9:8"),
        (question(Some(at(0, 5)), true), "ask 2 Before(5, 0)", vec![4], "history [p4] until 9:8"),
        (question(Some(at(9, 8)), false), "ask 2 After(8)", vec![], "history [] until 9:8"),
        (question(Some(at(9, 2)), false), "ask 2 After(2)", vec![4, 5], "error 112 at 9:8"),
        (question(Some(at(9, 2)), false), "ask 2 After(2)", vec![], "error 112 at 9:8"),
        (question(Some(at(3, 5)), false), "ask 2 After(5)", vec![6, 7], "error 112 at 9:8"),
        (question(Some(at(9, 9)), true), "ask 2 Before(9, 0)", vec![8, 7], "error 112 at 9:8"),
    ];
    for (question, asked, read, expected) in cases {
        let mut desk = Desk::followed_at(at(9, 8));
        assert_eq!(desk.read(question), [asked]);
        assert_eq!(desk.done(page(read, at(9, 8))), [format!("1: {expected}")], "{question:?}");
    }
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
    let channel = desk.asked.pop_front().unwrap();
    desk.owner.finished(&channel, appended(&[kept(5)], at(9, 5)), desk.now);
    let Some(Action::Deliver(delivery)) = desk.owner.next_action() else { panic!("it was not delivered") };
    assert_eq!(delivery.reach.sessions.as_slice(), [A]);
    assert_eq!(delivery.reach.catching_up.len(), 1);
}

#[test]
fn questions_that_wait_are_bounded() {
    let mut desk = Desk::followed_at(at(9, 8));
    desk.owner.shared.questions = 65_535;
    desk.publish("a");
    assert!(desk.recover(recover(1, at(9, 7))).is_empty());
    assert_eq!(desk.recover(recover(2, at(9, 7))), ["1: error 100"]);
}

#[test]
fn refusals_of_a_backend_that_reads_are_typed() {
    let mut desk = Desk::new();
    let asker = Asker::Backend(Reply { waiting: 1, place: 0 });
    let question = Question { since: Some(at(9, 2)), limit: 1, reverse: false, max_bytes: 99 };
    desk.owner.read(asker, &news(), question, desk.now);
    desk.wants();
    assert_eq!(desk.done(page([4], at(9, 8))), ["read: Unrecoverable"]);
    desk.owner.read(asker, &news(), question, desk.now);
    desk.wants();
    assert_eq!(desk.done(Err(GONE)), ["read: HistoryUnavailable"]);
}
