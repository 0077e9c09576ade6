//! What must hold for who has missed something, or reads a history.

use super::desk::*;
use super::*;
use crate::history::{Page, Stored};

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

// A recovery reads 12 while the owner knows of 10 only. The store fails over to 11 and an append would get 12, which the
// subscriber has had already.
#[test]
fn what_a_reader_was_told_of_is_known_to_what_comes_next() {
    let mut desk = Desk::followed_at(at(9, 10));
    desk.recover(recover(1, at(9, 9)));
    desk.publish("a");
    let wanted = desk.done(page([12, 11, 10], at(9, 12)));
    assert_eq!(wanted, ["1: all of [p10,p11,p12] until 9:12", "ask top, known 9:12"]);
    assert_eq!(desk.done(Err(GONE)), ["ask append a, known 9:12"]);
    assert_eq!(desk.done(appended(&[kept(1)], at(10, 1))), ["[1]: a at 10:1"]);
}
