//! How answers are shown: aligned tables for people, proto3 JSON for programs.

use std::io::{ErrorKind, Write as _};
use std::sync::LazyLock;
use std::time::{SystemTime, UNIX_EPOCH};

use fanfare_proto::v1::{Coverage, GapReason, NodeGap};
use fanfare_proto::{DESCRIPTORS, Timestamp};
use prost_reflect::prost::Message;
use prost_reflect::{DescriptorError, DescriptorPool, DynamicMessage};

use crate::exit::Failure;

/// The spaces between two columns, at least.
const GAP: usize = 2;

/// Prints to standard output. A reader that has left, such as `head`, has what it wanted.
pub(crate) fn text(text: &str) -> Result<(), Failure> {
    let mut output = std::io::stdout().lock();
    match output.write_all(text.as_bytes()).and_then(|()| output.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(Failure::Failed(format!("cannot print: {error}")))
        }
        _ => Ok(()),
    }
}

/// Prints a message of `fanfare.v1` as proto3 JSON, the same as a JSON gateway would answer.
pub(crate) fn json(name: &str, message: &impl Message) -> Result<(), Failure> {
    let json = serde_json::to_string_pretty(&dynamic(name, message)?).map_err(|error| not_printed(&error))?;
    text(&format!("{json}\n"))
}

/// The same in one line, for answers that are one of many.
pub(crate) fn json_line(name: &str, message: &impl Message) -> Result<(), Failure> {
    let json = serde_json::to_string(&dynamic(name, message)?).map_err(|error| not_printed(&error))?;
    text(&format!("{json}\n"))
}

/// Prints a line for people.
pub(crate) fn line(line: &str) -> Result<(), Failure> {
    text(&format!("{}\n", clean(line)))
}

fn dynamic(name: &str, message: &impl Message) -> Result<DynamicMessage, Failure> {
    static POOL: LazyLock<Result<DescriptorPool, DescriptorError>> =
        LazyLock::new(|| DescriptorPool::decode(DESCRIPTORS));
    let pool = POOL.as_ref().map_err(|error| not_printed(error))?;
    let descriptor = pool
        .get_message_by_name(&format!("fanfare.v1.{name}"))
        .ok_or_else(|| not_printed(&"its descriptor is missing"))?;
    DynamicMessage::decode(descriptor, message.encode_to_vec().as_slice())
        .map_err(|error| not_printed(&error))
}

fn not_printed(error: &dyn std::fmt::Display) -> Failure {
    Failure::Failed(format!("cannot print the answer: {error}"))
}

/// Prints rows of a name and a value.
pub(crate) fn pairs(pairs: &[(&str, String)]) -> Result<(), Failure> {
    /// As wide as the longest name that any command has, so that all look alike.
    const NAME: usize = 14;
    let line = |(name, value): &(&str, String)| format!("{name:NAME$}{}\n", clean(value));
    text(&pairs.iter().map(line).collect::<String>())
}

/// Lays out a table with a line of headings.
pub(crate) fn table<const N: usize>(headings: [&str; N], rows: &[[String; N]]) -> String {
    let rows: Vec<[String; N]> = std::iter::once(headings.map(str::to_owned))
        .chain(rows.iter().map(|row| std::array::from_fn(|column| clean(&row[column]))))
        .collect();
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: [usize; N] = std::array::from_fn(width);
    let line = |row: &[String; N]| {
        let cells = row.iter().zip(widths).map(|(cell, width)| format!("{cell:0$}", width + GAP));
        cells.collect::<String>().trim_end().to_owned() + "\n"
    };
    rows.iter().map(line).collect()
}

/// A row for each node that is missing from an answer, with the reason.
pub(crate) fn gaps(gaps: &[NodeGap]) -> impl Iterator<Item = (&'static str, String)> {
    gaps.iter().map(|gap| ("incomplete", format!("node {} {}", gap.node, reason(gap.reason()))))
}

/// Rows that say what an answer lacks, if it lacks something.
pub(crate) fn incomplete(coverage: Option<&Coverage>) -> Result<(), Failure> {
    match coverage {
        Some(Coverage { complete: false, missing, .. }) if missing.is_empty() => pairs(&[(
            "incomplete",
            "not every node has said what it knows: ask again in a moment".to_owned(),
        )]),
        Some(Coverage { missing, .. }) => pairs(&gaps(missing).collect::<Vec<_>>()),
        None => Ok(()),
    }
}

/// Why a node is missing from an answer.
pub(crate) fn reason(reason: GapReason) -> &'static str {
    match reason {
        GapReason::Unreachable => "is not linked",
        GapReason::CatchingUp => "is catching up",
        GapReason::Silent => "did not answer in time",
        GapReason::Unspecified => "is missing",
    }
}

/// A count with its noun.
pub(crate) fn count(count: u64, noun: &str) -> String {
    if count == 1 { format!("{count} {noun}") } else { format!("{count} {noun}s") }
}

/// A time as RFC 3339 in UTC, to the second; a dash if there is none.
pub(crate) fn time(time: Option<&Timestamp>) -> String {
    time.map_or_else(|| "-".to_owned(), |time| Timestamp { nanos: 0, ..*time }.to_string())
}

/// The time, so many seconds after the epoch.
pub(crate) fn unix_now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

/// Text that clients or servers have sent, without control characters: a terminal would obey them.
fn clean(text: &str) -> String {
    let mut clean = String::with_capacity(text.len());
    for character in text.chars() {
        match character.is_control() {
            true => clean.extend(character.escape_default()),
            false => clean.push(character),
        }
    }
    clean
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let rows = [["a".to_owned(), "1".to_owned()], ["äöü-long".to_owned(), "22".to_owned()]];
        assert_eq!(table(["NODE", "N"], &rows), "NODE      N\na         1\näöü-long  22\n");
    }

    #[test]
    fn a_terminal_is_not_told_what_to_do() {
        assert_eq!(clean("ok\u{1b}[31m\n\u{9b}"), "ok\\u{1b}[31m\\n\\u{9b}");
    }

    #[test]
    fn times_are_written_in_rfc_3339() {
        let at = Timestamp { seconds: 1_772_366_400, nanos: 123_456_789 };
        assert_eq!((time(Some(&at)).as_str(), time(None).as_str()), ("2026-03-01T12:00:00Z", "-"));
    }
}
