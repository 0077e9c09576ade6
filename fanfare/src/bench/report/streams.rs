//! The part of the table that is about history and presence.

use serde_json::{Value, json};

use super::{Row, per_second};
use crate::bench::fan_out::{FanOut, IN_FLIGHT};
use crate::bench::measure::Figures;
use crate::bench::members::Members;
use crate::bench::pushes::Streamed;
use crate::bench::speech::MISSED;

pub(super) fn rows(figures: &Figures) -> Vec<Row> {
    let mut rows = fan_out_rows(figures);
    rows.extend(recovery_rows(figures));
    rows.extend(push_rows(figures));
    rows.extend(store_rows(figures.streams.store));
    rows.extend(member_rows(&figures.streams.members));
    rows
}

fn us(value: f64) -> String {
    format!("{value:.2} us")
}

fn at_most(what: &str, value: f64, most: f64, target: &'static str) -> Row {
    Row::new(what, us(value), target, value <= most)
}

fn fan_out_rows(figures: &Figures) -> Vec<Row> {
    let kept = &figures.streams.fan_out;
    let rows = |what: &str, fan_out: &FanOut| {
        let of_beside = format!("{:.3}", fan_out.of_beside);
        [
            Row::told(what, per_second(fan_out.per_cpu_second)),
            Row::told("  beside it, without history", per_second(fan_out.beside_per_cpu_second)),
            Row::new("  of the one without", of_beside, ">= 0.97", fan_out.of_beside >= 0.97),
        ]
    };
    let mut all = Vec::from(rows("fan-out with history, one push at a time", &kept.one_at_a_time));
    all.extend(rows(&format!("fan-out with history, {IN_FLIGHT} in flight"), &kept.in_flight));
    all
}

/// The owner's part of a recovery, and the node's: all that is not the owner's.
fn parts(figures: &Figures) -> (f64, f64) {
    let owner = figures.streams.owner.recover_cpu_us;
    (owner, figures.streams.recovery.cpu_us - owner)
}

fn recovery_rows(figures: &Figures) -> Vec<Row> {
    let (recovery, owner) = (&figures.streams.recovery, &figures.streams.owner);
    let (at_owner, at_node) = parts(figures);
    let bytes = owner.bytes_per_channel;
    vec![
        Row::told("CPU per subscribe, nothing missed", us(recovery.plain_cpu_us)),
        Row::told(&format!("CPU per subscribe that recovers {MISSED}"), us(recovery.cpu_us)),
        at_most("  of it at the owner", at_owner, 60.0, "<= 60 us"),
        at_most("  at the owner if it reads each time", owner.read_recover_cpu_us, 60.0, "<= 60 us"),
        at_most("  of it at the node", at_node, 120.0, "<= 120 us"),
        Row::told("  nothing missed, a channel for each", us(recovery.own_plain_cpu_us)),
        Row::told(&format!("  recovers {MISSED}, a channel for each"), us(recovery.own_cpu_us)),
        Row::told("CPU per follow of a channel with history", us(owner.follow_cpu_us)),
        Row::new("memory per quiet followed channel", format!("{bytes:.0} B"), "<= 350 B", bytes <= 350.0),
    ]
}

fn push_rows(figures: &Figures) -> Vec<Row> {
    const MORE: &str = "  more than without";
    let kept = &figures.pushes.kept;
    vec![
        Row::told("CPU per unary publish, history in memory", us(kept.unary_cpu_us)),
        at_most(MORE, kept.unary_more_us, 3.0, "<= 3 us"),
        Row::told("CPU per message of PublishStream, in memory", us(kept.stream.cpu_us)),
        at_most(MORE, kept.stream_more_us, 3.0, "<= 3 us"),
    ]
}

fn store_rows(store: Option<Streamed>) -> Vec<Row> {
    const WHAT: &str = "CPU per message of PublishStream, in Redis";
    let Some(Streamed { cpu_us, per_second }) = store else {
        return vec![Row::told(WHAT, "not measured: no redis-server".to_owned())];
    };
    let rate = format!("{:.1} k/s", per_second / 1e3);
    vec![
        at_most(WHAT, cpu_us, 15.0, "<= 15 us"),
        Row::new("  messages in one channel", rate, ">= 20 k/s", per_second >= 2e4),
    ]
}

fn member_rows(members: &Members) -> Vec<Row> {
    let bytes = members.bytes_per_member;
    let of_few = members.stats_cpu_us / members.few_stats_cpu_us;
    let page = format!("{:.2} / {:.2} ms", members.page.p50 / 1e3, members.page.p99 / 1e3);
    vec![
        Row::told("CPU per member that enters", us(members.enter_cpu_us)),
        Row::new("memory per member", format!("{bytes:.0} B"), "<= 250 B", bytes <= 250.0),
        Row::told(
            &format!("CPU per GetPresenceStats, {} members", members.members),
            us(members.stats_cpu_us),
        ),
        Row::new("  of that with 1000 members", format!("{of_few:.2}"), "<= 1.5", of_few <= 1.5),
        at_most("CPU per page of 1000 members", members.page_cpu_us, 2e3, "<= 2000 us"),
        Row::new("  call to answer, p50 / p99", page, "<= 2 ms (p50)", members.page.p50 <= 2e3),
    ]
}

pub(super) fn history_json(figures: &Figures) -> Value {
    let (streams, pushes) = (&figures.streams, &figures.pushes.kept);
    let fan_out = |fan_out: &FanOut| {
        json!({
            "deliveries": fan_out.deliveries,
            "deliveries_per_cpu_second": fan_out.per_cpu_second,
            "deliveries_per_cpu_second_without": fan_out.beside_per_cpu_second,
            "of_without": fan_out.of_beside,
        })
    };
    let (at_owner, at_node) = parts(figures);
    json!({
        "one_at_a_time": fan_out(&streams.fan_out.one_at_a_time),
        "in_flight": fan_out(&streams.fan_out.in_flight),
        "subscribe_cpu_us": {
            "nothing_missed": streams.recovery.plain_cpu_us,
            "recovered": streams.recovery.cpu_us,
            "recovered_at_owner": at_owner,
            "recovered_at_owner_if_it_reads_each_time": streams.owner.read_recover_cpu_us,
            "recovered_at_node": at_node,
            "channel_for_each": {
                "nothing_missed": streams.recovery.own_plain_cpu_us,
                "recovered": streams.recovery.own_cpu_us,
            },
        },
        "followed_channels": streams.owner.channels,
        "follow_cpu_us": streams.owner.follow_cpu_us,
        "bytes_per_followed_channel": streams.owner.bytes_per_channel,
        "push_without_subscribers": {
            "unary_cpu_us": pushes.unary_cpu_us,
            "unary_more_cpu_us": pushes.unary_more_us,
            "stream_cpu_us": pushes.stream.cpu_us,
            "stream_more_cpu_us": pushes.stream_more_us,
            "stream_per_second": pushes.stream.per_second,
        },
        "redis": streams.store.map(|store| {
            json!({ "stream_cpu_us": store.cpu_us, "stream_per_second": store.per_second })
        }),
    })
}

pub(super) fn presence_json(figures: &Figures) -> Value {
    let members = &figures.streams.members;
    json!({
        "members": members.members,
        "enter_cpu_us": members.enter_cpu_us,
        "bytes_per_member": members.bytes_per_member,
        "stats_cpu_us": members.stats_cpu_us,
        "stats_cpu_us_with_1000": members.few_stats_cpu_us,
        "page_cpu_us": members.page_cpu_us,
        "page_us": { "p50": members.page.p50, "p99": members.page.p99 },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::streams::Streams;

    #[test]
    fn what_was_not_measured_is_neither_met_nor_missed() {
        let rows = store_rows(None);
        assert!(rows.iter().all(|row| row.target.is_empty()));
        assert_eq!(rows[0].measured, "not measured: no redis-server");
        let slow = store_rows(Some(Streamed { cpu_us: 14.0, per_second: 1e4 }));
        assert_eq!(slow.iter().map(|row| row.met).collect::<Vec<_>>(), [true, false]);
    }

    #[test]
    fn what_is_not_the_owners_is_the_nodes() {
        let mut streams = Streams::default();
        streams.recovery.cpu_us = 100.0;
        streams.owner.recover_cpu_us = 30.0;
        assert_eq!(parts(&Figures { streams, ..Figures::default() }), (30.0, 70.0));
    }
}
