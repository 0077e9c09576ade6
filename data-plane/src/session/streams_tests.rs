//! Tests of what a session may have of a channel's past and of those present.

use fanfare_cluster::quantity::Span;
use fanfare_proto::client::{
    Command, FilterNode, HistoryRequest, PresenceRequest, PresenceStatsRequest, StreamPosition as Since,
    SubscribeRequest,
};

use super::streams::server_side_wants;
use super::tests::{Client, change, open_rules, to};
use super::*;
use crate::links::Reading;
use fanfare_cluster::channel::{ChannelOptions, Epoch, RecoveryMode};

fn client(options: impl FnOnce(&mut ChannelOptions)) -> Client {
    let mut rules = open_rules();
    change(&mut rules, |all| {
        (all.history_size, all.history_ttl) = (10, Span(std::time::Duration::from_secs(60)));
        options(all);
    });
    Client::connected(rules)
}

/// What a subscribe comes to.
fn wants(client: &mut Client, request: SubscribeRequest) -> Wants {
    match client.subscribe(request) {
        Step::Subscribe { wants, .. } => wants.map_or(Wants::default(), |wants| *wants),
        other => panic!("not subscribed: {other:?}"),
    }
}

fn recovering(epoch: &str, offset: u64) -> SubscribeRequest {
    SubscribeRequest { recover: true, epoch: epoch.into(), offset, ..to("news") }
}

fn at(epoch: Epoch, offset: u64) -> Option<StreamPosition> {
    Some(StreamPosition { epoch, offset })
}

#[test]
fn what_is_asked_for_is_had_only_where_it_is_allowed_and_what_is_forced_always() {
    let asks = || SubscribeRequest { positioned: true, recoverable: true, ..to("news") };
    let mut closed = client(|_| {});
    assert_eq!(wants(&mut closed, asks()), Wants::default());
    let mut positioning = client(|options| options.allow_positioning = true);
    let Wants { positioned, recoverable, .. } = wants(&mut positioning, asks());
    assert_eq!((positioned, recoverable), (true, false));
    let mut allowed = client(|options| options.allow_recovery = true);
    assert_eq!(wants(&mut allowed, to("news")), Wants::default(), "nobody has asked");
    let Wants { positioned, recoverable, since, .. } = wants(&mut allowed, asks());
    assert_eq!((positioned, recoverable, since), (true, true, None));
    let mut forced = client(|options| options.force_recovery = true);
    let Wants { positioned, recoverable, .. } = wants(&mut forced, to("news"));
    assert_eq!((positioned, recoverable), (true, true));
}

#[test]
fn a_position_is_taken_as_the_client_says_it_and_an_epoch_that_is_none_never_fits() {
    let mut client = client(|options| options.force_recovery = true);
    assert_eq!(wants(&mut client, recovering("a1", 7)).since, at(Epoch(0xa1), 7));
    assert_eq!(wants(&mut client, recovering("", 0)).since, at(Epoch::default(), 0), "any stream");
    assert_eq!(wants(&mut client, recovering("_", 0)).since, at(Epoch::NONE_EVER, 0));
    assert!(!wants(&mut client, recovering("a1", 7)).latest);
}

#[test]
fn who_wants_all_or_an_error_gets_the_error_where_there_is_nothing_to_recover_from() {
    let all_or_nothing = |flag| SubscribeRequest { flag, ..recovering("a1", 7) };
    let mut without = Client::connected(open_rules());
    assert_eq!(without.subscribe(all_or_nothing(3)), refuse(2, error::UNRECOVERABLE_POSITION));
    assert_eq!(wants(&mut without, all_or_nothing(1)), Wants::default());
    let mut with = client(|options| options.force_recovery = true);
    assert!(wants(&mut with, all_or_nothing(2)).all_or_nothing);
}

#[test]
fn a_cache_gives_the_last_publication_also_without_being_asked() {
    let mut client = client(|options| {
        options.force_recovery = true;
        options.force_recovery_mode = RecoveryMode::Cache;
        options.auto_cache_recover = true;
    });
    let Wants { since, latest, .. } = wants(&mut client, to("news"));
    assert_eq!((since, latest), (at(Epoch::default(), 0), true));
    assert_eq!(wants(&mut client, recovering("a1", 7)).since, at(Epoch(0xa1), 7));
}

#[test]
fn a_filter_must_be_allowed_and_well_made() {
    let filtered = |cmp: &str| {
        let tf = Some(FilterNode { key: "ticker".into(), cmp: cmp.into(), ..Default::default() });
        SubscribeRequest { tf, ..to("news") }
    };
    assert_eq!(client(|_| {}).subscribe(filtered("ex")), refuse(2, error::BAD_REQUEST));
    let mut allowed = client(|options| options.allow_tags_filter = true);
    assert!(wants(&mut allowed, filtered("ex")).filter.is_some());
    assert_eq!(allowed.subscribe(filtered("like")), refuse(2, error::BAD_REQUEST));
}

#[test]
fn joins_are_for_those_who_ask_and_may_see_who_is_there() {
    let asks = || SubscribeRequest { join_leave: true, ..to("news") };
    let mut blind = client(|options| options.join_leave = true);
    assert!(!wants(&mut blind, asks()).joins);
    let mut seeing = client(|options| {
        options.join_leave = true;
        options.allow_presence_for_client = true;
        options.allow_presence_for_anonymous = true;
    });
    assert!(wants(&mut seeing, asks()).joins);
    assert!(!wants(&mut seeing, to("news")).joins);
}

#[test]
fn server_side_subscriptions_have_what_is_forced() {
    let mut options = ChannelOptions { force_positioning: true, ..Default::default() };
    let positioned = server_side_wants(&options, at(Epoch(1), 2)).unwrap();
    assert_eq!((positioned.positioned, positioned.recoverable, positioned.since), (true, false, None));
    options.force_recovery = true;
    let recoverable = server_side_wants(&options, at(Epoch(1), 2)).unwrap();
    assert_eq!((recoverable.recoverable, recoverable.since), (true, at(Epoch(1), 2)));
    assert_eq!(server_side_wants(&ChannelOptions::default(), at(Epoch(1), 2)), None);
}

fn history(client: &mut Client, channel: &str, limit: i32, since: Option<Since>) -> Step {
    let history = HistoryRequest { channel: channel.into(), limit, since, reverse: true };
    client.send(Command { id: 2, history: Some(history), ..Default::default() })
}

#[test]
fn the_history_is_for_those_who_may_read_it_and_answers_are_bounded() {
    let mut without = Client::connected(open_rules());
    assert_eq!(history(&mut without, "news", 1, None), refuse(2, error::NOT_AVAILABLE));
    assert_eq!(history(&mut without, "nothing:known", 1, None), refuse(2, error::UNKNOWN_CHANNEL));
    assert_eq!(history(&mut without, "", 1, None), Step::Close(disconnect::BAD_REQUEST));
    let mut subscribers = client(|options| options.allow_history_for_subscriber = true);
    assert_eq!(history(&mut subscribers, "news", 1, None), refuse(2, error::PERMISSION_DENIED));
    assert!(matches!(history(&mut subscribers, "held", 1, None), Step::Ask { .. }));
    let since = Some(Since { offset: 3, epoch: "a1".into() });
    for (limit, expected) in [(0, 0), (2, 2), (-1, 300), (1_000, 300)] {
        match history(&mut subscribers, "held", limit, since.clone()) {
            Step::Ask { question: Question::History(reading), .. } => {
                let Reading { since, limit, reverse, .. } = reading;
                assert_eq!((since, limit, reverse), (at(Epoch(0xa1), 3), expected, true));
            }
            other => panic!("not asked: {other:?}"),
        }
    }
}

#[test]
fn who_is_present_is_for_those_who_may_see_it() {
    let presence = |client: &mut Client, channel: &str| {
        let presence = Some(PresenceRequest { channel: channel.into() });
        client.send(Command { id: 2, presence, ..Default::default() })
    };
    let stats = |client: &mut Client, channel: &str| {
        let presence_stats = Some(PresenceStatsRequest { channel: channel.into() });
        client.send(Command { id: 2, presence_stats, ..Default::default() })
    };
    let mut off = client(|options| options.allow_presence_for_subscriber = true);
    assert_eq!(presence(&mut off, "held"), refuse(2, error::NOT_AVAILABLE));
    let mut on = client(|options| {
        options.presence = true;
        options.allow_presence_for_subscriber = true;
    });
    assert_eq!(presence(&mut on, "news"), refuse(2, error::PERMISSION_DENIED));
    let asked = |step, expected| match step {
        Step::Ask { question: Question::Presence { counts_only }, .. } => assert_eq!(counts_only, expected),
        other => panic!("not asked: {other:?}"),
    };
    asked(presence(&mut on, "held"), false);
    asked(stats(&mut on, "held"), true);
}
