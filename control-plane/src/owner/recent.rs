//! The end of a stream as it was read a moment ago, so that a storm of recoveries reads the history once.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use fanfare_cluster::channel::{Epoch, StreamPosition};
use fanfare_proto::link;

use crate::history::{Page, Stored};

/// How long what was read is used.
pub(super) const FRESH: Duration = Duration::from_secs(1);
/// What a publication takes beside its content, in bytes; about.
const FLAT: usize = 160;

/// Publications without a gap, up to the end of their stream.
#[derive(Debug)]
pub(super) struct Recent {
    epoch: Epoch,
    /// All behind this offset is here that there was.
    after: u64,
    /// The end of the stream.
    end: u64,
    // queue: recently read publications of a channel
    stored: VecDeque<Stored>,
    pub(super) until: Instant,
    /// About what it takes.
    pub(super) bytes: usize,
}

impl Recent {
    /// Keeps a page that was read from new to old, from the end of the stream and behind `after`.
    pub(super) fn new(page: &Page, after: u64, now: Instant) -> Self {
        let stored: VecDeque<_> = page.stored.iter().rev().cloned().collect();
        let bytes = FLAT + stored.iter().map(weight).sum::<usize>();
        let StreamPosition { epoch, offset: end } = page.top;
        Self { epoch, after, end, stored, until: now + FRESH, bytes }
    }

    /// Whether it says all that was published behind `after` until `top`.
    pub(super) fn covers(&self, after: u64, top: StreamPosition, now: Instant) -> bool {
        now < self.until && self.epoch == top.epoch && after >= self.after && self.end == top.offset
    }

    /// What it has, from new to old.
    pub(super) fn newest_first(&self) -> impl Iterator<Item = &Stored> {
        self.stored.iter().rev()
    }

    /// A further publication; returns what it takes, or nothing if it does not follow.
    pub(super) fn extend(&mut self, publication: &link::Publication, epoch: Epoch) -> Option<usize> {
        if epoch != self.epoch || publication.offset != self.end + 1 {
            return None;
        }
        let stored = Stored { offset: publication.offset, publication: Some(publication.clone()) };
        let bytes = weight(&stored);
        self.stored.push_back(stored);
        self.bytes += bytes;
        self.end += 1;
        Some(bytes)
    }
}

fn weight(stored: &Stored) -> usize {
    FLAT + stored.publication.as_ref().map_or(0, link::Publication::weight)
}
