//! What is answered to who has missed something, or reads a history: by the position alone, and then by what was read.

use fanfare_cluster::channel::StreamPosition;
use fanfare_proto::link;

use super::request::Question;
use crate::history::{Page, Part, Stored};

/// How many publications and bytes a recovery takes at most.
pub(super) fn limits(recover: &link::Recover) -> (usize, usize) {
    let limit = if recover.latest { 1 } else { (recover.limit as usize).min(Question::MAX_LIMIT) };
    (limit, (recover.max_bytes as usize).min(Question::MAX_BYTES))
}

/// The position that a recovery begins at.
pub(super) fn since(recover: &link::Recover) -> StreamPosition {
    recover.since.map(StreamPosition::from).unwrap_or_default()
}

/// The offset behind which a recovery needs all publications.
pub(super) fn needed_after(recover: &link::Recover, top: StreamPosition) -> u64 {
    if recover.latest { top.offset.saturating_sub(1) } else { since(recover).offset }
}

/// Whether the answer is complete, if the position alone says so.
pub(super) fn by_position(recover: &link::Recover, top: StreamPosition) -> Option<bool> {
    let since = since(recover);
    let is_this_stream = !since.epoch.is_some() || since.epoch == top.epoch;
    if recover.latest {
        let has_it = is_this_stream && since.offset == top.offset && top.offset > 0;
        return if has_it { Some(true) } else { (top.offset == 0).then_some(false) };
    }
    if !is_this_stream || since.offset > top.offset {
        return Some(false);
    }
    match top.offset - since.offset {
        0 => Some(true),
        missed => (missed > limits(recover).0 as u64).then_some(false),
    }
}

/// What a recovery is answered, with what was read from the end of the stream down to where it begins.
pub(super) fn recovered<'a>(
    recover: &link::Recover,
    newest_first: impl Iterator<Item = &'a Stored>,
    top: StreamPosition,
) -> link::Recovered {
    let missed = match by_position(recover, top) {
        Some(complete) => complete.then(Vec::new),
        None => missed(recover, newest_first, top),
    };
    link::Recovered {
        ticket: recover.ticket,
        error: 0,
        complete: missed.is_some(),
        publications: missed.unwrap_or_default(),
        position: Some(top.into()),
    }
}

/// All publications that are needed, from old to new; nothing if one is missing.
fn missed<'a>(
    recover: &link::Recover,
    newest_first: impl Iterator<Item = &'a Stored>,
    top: StreamPosition,
) -> Option<Vec<link::Publication>> {
    let (after, max_bytes) = (needed_after(recover, top), limits(recover).1);
    let (mut next, mut bytes, mut publications) = (top.offset, 0, Vec::new());
    for stored in newest_first {
        if next == after {
            break;
        }
        if stored.offset != next {
            return None;
        }
        next -= 1;
        match &stored.publication {
            Some(publication) => {
                bytes += publication.weight();
                if bytes > max_bytes && !publications.is_empty() {
                    return None;
                }
                publications.push(publication.clone());
            }
            // It holds the whole state, so without it there is none.
            None if recover.latest => return None,
            None => {}
        }
    }
    publications.reverse();
    (next == after).then_some(publications)
}

/// Which part of a stream a question is about.
pub(super) fn part(question: &Question) -> Part {
    let since = question.since.map(|since| since.offset);
    if question.reverse {
        Part::Before(since.unwrap_or(u64::MAX), 0)
    } else {
        Part::After(since.unwrap_or(0))
    }
}

/// Whether a page is an answer to the question: it begins where it was asked to.
pub(super) fn begins_there(question: &Question, page: &Page) -> bool {
    let Some(since) = question.since else { return true };
    if (since.epoch.is_some() && since.epoch != page.top.epoch) || since.offset > page.top.offset {
        return false;
    }
    let next = page.stored.first().map(|stored| stored.offset);
    question.reverse
        || question.limit == 0
        || since.offset == page.top.offset
        || next == Some(since.offset + 1)
}

/// What a client is answered that reads the history.
pub(super) fn history_read(ticket: u64, page: Page) -> link::HistoryRead {
    let publications = page.stored.into_iter().filter_map(|stored| stored.publication).collect();
    link::HistoryRead { ticket, error: 0, publications, position: Some(page.top.into()) }
}
