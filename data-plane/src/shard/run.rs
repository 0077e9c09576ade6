//! One piece of bytes for all subscribers that miss the same publications: joined once, written to each.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};
use fanfare_cluster::connection_id::ConnectionId;

use super::book::Book;
use super::delivery::{Delivery, Entry, Mark, Sockets, Swept, Written};
use super::place::Place;
use crate::encoding::Encoding;
use crate::publication::Publication;

/// No write to a subscriber is larger, in bytes, unless a single frame is: who is far behind because the shard is
/// late gets the rest in later rounds, and is not cut for it.
const MAX_RUN: usize = 256 * 1024;

/// What all subscribers that are equally far behind get next, as one piece of bytes.
pub(super) struct Run {
    /// How far behind they are.
    pub(super) behind: usize,
    /// How many entries of the log they get.
    pub(super) len: usize,
    first: usize,
    frames: Bytes,
    writable: u64,
    receipts: Vec<u64>,
    /// Receipts of what cannot be written in this encoding: nobody who speaks it ever gets it.
    unwritable: Vec<u64>,
    excludes: bool,
    /// Where a subscriber must be to get it as it is, and where it is then; `None` if nothing in it has a place.
    span: Option<(Place, Place)>,
    visited: usize,
    written: u64,
    swept: Swept,
}

impl Run {
    pub(super) fn new(log: &VecDeque<Entry>, behind: usize, encoding: Encoding) -> Self {
        let first = log.len() - behind;
        let (len, span) = extent(log, first, encoding);
        let given =
            |entry: &'_ Entry| entry.delivery.as_ref().is_some_and(|delivery| !delivery.is_for_some());
        let entries = || log.range(first..first + len).filter(|entry| given(entry));
        let deliveries = || entries().filter_map(|entry| entry.delivery.as_ref());
        let receipts = |writable: bool| {
            let alike = move |delivery: &&Delivery| is_writable(delivery, encoding) == writable;
            deliveries().filter(alike).filter_map(|delivery| delivery.receipt).collect()
        };
        Self {
            behind,
            len,
            first,
            frames: join_frames(deliveries().map(|delivery| &*delivery.publication), encoding),
            writable: deliveries().filter(|delivery| is_writable(delivery, encoding)).count() as u64,
            receipts: receipts(true),
            unwritable: receipts(false),
            excludes: deliveries().any(|delivery| !delivery.exclude.is_empty()),
            span,
            visited: 0,
            written: 0,
            swept: Swept::default(),
        }
    }

    /// Whether a subscriber at this place gets the run as it is, and where it is then.
    pub(super) fn step(&self, place: Place) -> Option<Place> {
        match self.span {
            Some((before, after)) => (place == before).then_some(after),
            None => (!place.is_apart()).then_some(place),
        }
    }

    /// Whether somebody of whom this is the id gets less than all of it.
    pub(super) fn excludes(&self, log: &VecDeque<Entry>, id: impl FnOnce() -> ConnectionId) -> bool {
        if !self.excludes {
            return false;
        }
        let id = id();
        self.entries(log)
            .filter_map(|entry| entry.delivery.as_ref())
            .any(|delivery| delivery.exclude.contains(&id))
    }

    /// The entries of the log that it stands for.
    pub(super) fn entries<'a>(&self, log: &'a VecDeque<Entry>) -> impl Iterator<Item = &'a Entry> + use<'a> {
        log.range(self.first..self.first + self.len)
    }

    /// A subscriber was served without it.
    pub(super) fn served_apart(&mut self, swept: Swept) {
        self.visited += 1;
        self.swept.add(swept);
    }

    /// Serves a subscriber that gets it as it is.
    pub(super) fn serve(&mut self, slot: u32, sockets: &mut impl Sockets, book: &mut Book) {
        self.visited += 1;
        self.unwritable.iter().for_each(|receipt| book.cut(*receipt, 1));
        if self.frames.is_empty() {
            return;
        }
        match sockets.write(slot, &self.frames, &self.receipts) {
            Written::Whole => self.written += 1,
            Written::Queued => {}
            Written::Cut => return self.receipts.iter().for_each(|receipt| book.cut(*receipt, 1)),
        }
        self.swept.deliveries += self.writable;
        self.swept.bytes += self.frames.len() as u64;
    }

    /// Books what the run has done, and returns it.
    pub(super) fn settle(self, log: &mut VecDeque<Entry>, book: &mut Book) -> Swept {
        for entry in log.range_mut(self.first..self.first + self.len) {
            entry.left -= self.visited;
        }
        if self.written > 0 {
            self.receipts.iter().for_each(|receipt| book.written(*receipt, self.written));
        }
        self.swept
    }
}

/// How many entries from `first` on go into one write, at least one, and the places that they span. A run ends
/// where the stream has a gap: who has no gap there is another case.
fn extent(log: &VecDeque<Entry>, first: usize, encoding: Encoding) -> (usize, Option<(Place, Place)>) {
    let (mut bytes, mut span) = (0, None);
    for (index, entry) in log.range(first..).enumerate() {
        let framed = entry.delivery.as_ref().and_then(|delivery| delivery.publication.framed(encoding));
        bytes += framed.map_or(0, |frame| frame.bytes().len());
        if index > 0 && bytes > MAX_RUN {
            return (index, span);
        }
        span = match (entry.mark, span) {
            (Mark::None, span) => span,
            (Mark::At(at), None) => Some((at.previous(), at)),
            (Mark::Top(at), None) => Some((at, at)),
            (Mark::At(at), Some((before, last))) if at == last.next() => Some((before, at)),
            (Mark::Top(at), Some((before, last))) if at == last => Some((before, last)),
            _ => return (index, span),
        };
    }
    (log.len() - first, span)
}

pub(super) fn is_writable(delivery: &Delivery, encoding: Encoding) -> bool {
    delivery.publication.framed(encoding).is_some()
}

/// One piece of bytes with the frames of all publications; shares the frame if it is only one.
pub(super) fn join_frames<'a>(
    publications: impl Iterator<Item = &'a Publication>,
    encoding: Encoding,
) -> Bytes {
    let mut frames = publications.filter_map(|publication| publication.framed(encoding));
    let Some(first) = frames.next() else { return Bytes::new() };
    let Some(second) = frames.next() else { return first.bytes().clone() };
    let mut joined = BytesMut::new();
    joined.extend_from_slice(first.bytes());
    joined.extend_from_slice(second.bytes());
    frames.for_each(|frame| joined.extend_from_slice(frame.bytes()));
    joined.freeze()
}
