//! What became of the lines of standard input, summed up.

use std::collections::BTreeMap;
use std::time::Duration;

use fanfare_proto::v1::{GapReason, PublishResponse};
use serde_json::json;

use crate::cli::{Output, Wait};
use crate::exit::Failure;
use crate::print;

/// The sums.
#[derive(Debug, Default)]
pub(super) struct Tally {
    /// Lines that were read and not empty.
    pub(super) lines: u64,
    /// Lines whose push was accepted.
    pub(super) accepted: u64,
    /// Lines that were no push, or whose push was refused.
    pub(super) failed: u64,
    written: u64,
    pending: u64,
    cut: u64,
    /// Pushes that lack a node, by node and reason.
    gaps: BTreeMap<(String, GapReason), u64>,
}

impl Tally {
    /// Adds an answer.
    pub(super) fn accept(&mut self, answer: PublishResponse) {
        self.accepted += 1;
        let Some(receipt) = answer.receipt else { return };
        self.written += receipt.written;
        self.pending += receipt.pending;
        self.cut += receipt.cut;
        for gap in receipt.gaps {
            let reason = gap.reason();
            *self.gaps.entry((gap.node, reason)).or_default() += 1;
        }
    }

    /// Lines of which nobody knows what became.
    fn unanswered(&self) -> u64 {
        self.lines - self.accepted - self.failed
    }

    /// Prints the sums.
    pub(super) fn print(&self, took: Duration, wait: Wait, output: Output) -> Result<(), Failure> {
        let seconds = took.as_secs_f64();
        let per_second = self.lines as f64 / seconds.max(1e-9);
        match output {
            Output::Table => self.print_table(seconds, per_second, wait),
            Output::Json => print::text(&format!("{:#}\n", self.to_json(seconds, per_second, wait))),
        }
    }

    fn print_table(&self, seconds: f64, per_second: f64, wait: Wait) -> Result<(), Failure> {
        let mut pairs = vec![
            ("lines", self.lines.to_string()),
            ("accepted", self.accepted.to_string()),
            ("failed", self.failed.to_string()),
        ];
        if self.unanswered() > 0 {
            pairs.push(("unanswered", self.unanswered().to_string()));
        }
        if wait == Wait::Written {
            let counts = [("written", self.written), ("pending", self.pending), ("cut", self.cut)];
            pairs.extend(counts.map(|(name, count)| (name, count.to_string())));
        }
        pairs.push(("seconds", format!("{seconds:.3}")));
        pairs.push(("per second", format!("{per_second:.0}")));
        pairs.extend(self.gaps.iter().map(|((node, reason), pushes)| {
            let answers = print::count(*pushes, "answer");
            ("incomplete", format!("node {node} {}: {answers}", print::reason(*reason)))
        }));
        print::pairs(&pairs)
    }

    fn to_json(&self, seconds: f64, per_second: f64, wait: Wait) -> serde_json::Value {
        let mut sums = json!({
            "lines": self.lines,
            "accepted": self.accepted,
            "failed": self.failed,
            "unanswered": self.unanswered(),
            "seconds": (seconds * 1e3).round() / 1e3,
            "perSecond": per_second.round(),
        });
        if wait == Wait::Written {
            sums["written"] = self.written.into();
            sums["pending"] = self.pending.into();
            sums["cut"] = self.cut.into();
        }
        let gap = |((node, reason), pushes): (&(String, GapReason), &u64)| json!({ "node": node, "reason": reason.as_str_name(), "pushes": pushes });
        sums["gaps"] = self.gaps.iter().map(gap).collect();
        sums
    }
}
