//! The table of a measurement, with the targets beside the figures.

mod streams;

use super::fan_out::{FanOut, IN_FLIGHT};
use super::measure::Figures;
use crate::cli::Output;
use crate::exit::Failure;

/// A line of the table.
struct Row {
    what: String,
    measured: String,
    target: &'static str,
    met: bool,
}

impl Row {
    fn new(what: &str, measured: String, target: &'static str, met: bool) -> Self {
        Self { what: what.to_owned(), measured, target, met }
    }

    /// What has no target.
    fn told(what: &str, measured: String) -> Self {
        Self::new(what, measured, "", true)
    }
}

pub(super) fn print(figures: &Figures, output: Output) -> Result<(), Failure> {
    match output {
        Output::Table => print_table(figures),
        Output::Json => println!("{}", to_json(figures)),
    }
    Ok(())
}

fn print_table(figures: &Figures) {
    let Figures { connections, size, shards, .. } = figures;
    println!("{connections} connections, frames of {size} B, {shards} shard(s)\n");
    println!("{:<48} {:>22}  {:<22}", "", "measured", "target");
    for Row { what, measured, target, met } in rows(figures) {
        let verdict = match (target, met) {
            ("", _) => "",
            (_, true) => "  met",
            (_, false) => "  MISSED",
        };
        println!("{what:<48} {measured:>22}  {target}{verdict}");
    }
}

fn rows(figures: &Figures) -> Vec<Row> {
    let Figures { one_at_a_time: one, in_flight: many, single, .. } = figures;
    let row = Row::new;
    let latency =
        |fan_out: &FanOut| format!("{:.1} / {:.1} ms", fan_out.latency.p50 / 1e3, fan_out.latency.p99 / 1e3);
    let mut rows = vec![
        row("bare loop, one frame a write", per_second(one.beside_per_cpu_second), "", true),
        row("fan-out, one push at a time", per_second(one.per_cpu_second), "", true),
        row("  CPU per delivery", format!("{:.2} us", 1e6 / one.per_cpu_second), "", true),
        row("  of the bare loop", format!("{:.2}", one.of_beside), ">= 0.90", one.of_beside >= 0.90),
        row("  push to receipt, p50 / p99", latency(one), "", true),
        row(
            &format!("bare loop, {IN_FLIGHT} frames a write"),
            per_second(many.beside_per_cpu_second),
            "",
            true,
        ),
        row(
            &format!("fan-out, {IN_FLIGHT} pushes in flight"),
            per_second(many.per_cpu_second),
            ">= 1500 k/CPU-s",
            many.per_cpu_second >= 1.5e6,
        ),
        row("  of the bare loop", format!("{:.2}", many.of_beside), "", true),
        row("  push to receipt, p50 / p99", latency(many), "", true),
        row("memory per idle connection, before traffic", format!("{:.0} B", figures.bytes_idle), "", true),
        row(
            "memory per idle connection, after traffic",
            format!("{:.0} B", figures.bytes_after_traffic),
            "<= 1229 B",
            figures.bytes_after_traffic <= 1229.0,
        ),
        row(
            "CPU per connect and subscribe",
            format!("{:.0} us", figures.connect_cpu_us),
            "<= 80 us",
            figures.connect_cpu_us <= 80.0,
        ),
        row(
            "one subscriber, push to receipt, p50",
            format!("{:.0} us", single.p50),
            "<= 250 us",
            single.p50 <= 250.0,
        ),
        row("one subscriber, push to receipt, p99", format!("{:.0} us", single.p99), "", true),
    ];
    rows.extend(door_rows(figures));
    rows.extend(streams::rows(figures));
    rows
}

fn per_second(value: f64) -> String {
    format!("{:.0} k/CPU-s", value / 1e3)
}

/// What pushes cost without subscribers, and connects in other manners.
fn door_rows(figures: &Figures) -> Vec<Row> {
    let Figures { pushes, doors, .. } = figures;
    let row = Row::new;
    let cost = |what: &str, us: f64, most: f64, target| row(what, format!("{us:.2} us"), target, us <= most);
    vec![
        cost("CPU per unary publish, nobody subscribes", pushes.unary_cpu_us, 12.0, "<= 12 us"),
        cost("CPU per message of PublishStream", pushes.stream.cpu_us, 1.5, "<= 1.5 us"),
        row(
            "  messages on one stream",
            format!("{:.0} k/s", pushes.stream.per_second / 1e3),
            ">= 100 k/s",
            pushes.stream.per_second >= 1e5,
        ),
        cost("CPU per connect, new HS256 token", doors.new_token_cpu_us, 110.0, "<= 110 us"),
        cost("CPU per connect, known token", doors.known_token_cpu_us, 90.0, "<= 90 us"),
        cost("CPU per connect and subscribe, TLS 1.3", doors.tls_cpu_us, f64::MAX, ""),
        row("memory per idle connection, TLS 1.3", format!("{:.0} B", doors.tls_bytes), "", true),
    ]
}

fn to_json(figures: &Figures) -> serde_json::Value {
    let fan_out = |fan_out: &FanOut| {
        serde_json::json!({
            "deliveries": fan_out.deliveries,
            "deliveries_per_cpu_second": fan_out.per_cpu_second,
            "bare_loop_deliveries_per_cpu_second": fan_out.beside_per_cpu_second,
            "of_bare_loop": fan_out.of_beside,
            "push_to_receipt_us": { "p50": fan_out.latency.p50, "p99": fan_out.latency.p99 },
        })
    };
    serde_json::json!({
        "connections": figures.connections,
        "frame_bytes": figures.size,
        "shards": figures.shards,
        "one_at_a_time": fan_out(&figures.one_at_a_time),
        "in_flight": fan_out(&figures.in_flight),
        "bytes_per_connection": { "idle": figures.bytes_idle, "after_traffic": figures.bytes_after_traffic },
        "connect_and_subscribe_cpu_us": figures.connect_cpu_us,
        "push_without_subscribers": {
            "unary_cpu_us": figures.pushes.unary_cpu_us,
            "stream_cpu_us": figures.pushes.stream.cpu_us,
            "stream_per_second": figures.pushes.stream.per_second,
        },
        "connect_cpu_us": {
            "new_token": figures.doors.new_token_cpu_us,
            "known_token": figures.doors.known_token_cpu_us,
            "tls": figures.doors.tls_cpu_us,
        },
        "bytes_per_tls_connection": figures.doors.tls_bytes,
        "one_subscriber_us": { "p50": figures.single.p50, "p99": figures.single.p99 },
        "history": streams::history_json(figures),
        "presence": streams::presence_json(figures),
    })
}
