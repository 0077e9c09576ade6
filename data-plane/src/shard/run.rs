//! One piece of bytes for all subscribers that miss the same publications: joined once, written to each.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};

use super::book::Book;
use super::delivery::{Delivery, Entry, Sockets, Swept, Written};
use crate::encoding::Encoding;

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
    encoding: Encoding,
    frames: Bytes,
    writable: u64,
    receipts: Vec<u64>,
    /// Receipts of what cannot be written in this encoding: nobody who speaks it ever gets it.
    unwritable: Vec<u64>,
    excludes: bool,
    visited: usize,
    written: u64,
    swept: Swept,
}

impl Run {
    pub(super) fn new(log: &VecDeque<Entry>, behind: usize, encoding: Encoding) -> Self {
        let first = log.len() - behind;
        let len = fitting(log, first, encoding);
        let entries = || log.range(first..first + len).map(|entry| &entry.delivery);
        let receipts = |writable: bool| {
            let alike = move |delivery: &&Delivery| is_writable(delivery, encoding) == writable;
            entries().filter(alike).filter_map(|delivery| delivery.receipt).collect()
        };
        Self {
            behind,
            len,
            first,
            encoding,
            frames: join_frames(entries(), encoding),
            writable: entries().filter(|delivery| is_writable(delivery, encoding)).count() as u64,
            receipts: receipts(true),
            unwritable: receipts(false),
            excludes: entries().any(|delivery| !delivery.exclude.is_empty()),
            visited: 0,
            written: 0,
            swept: Swept::default(),
        }
    }

    pub(super) fn visit(
        &mut self,
        slot: u32,
        log: &VecDeque<Entry>,
        sockets: &mut impl Sockets,
        book: &mut Book,
    ) {
        self.visited += 1;
        if self.excludes && self.visit_excluded(slot, log, sockets, book) {
            return;
        }
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

    /// Serves a subscriber that shall not get all of the run; `false` if it shall.
    fn visit_excluded(
        &mut self,
        slot: u32,
        log: &VecDeque<Entry>,
        sockets: &mut impl Sockets,
        book: &mut Book,
    ) -> bool {
        let id = sockets.id(slot);
        let meant = |delivery: &&Delivery| !delivery.exclude.contains(&id);
        let entries = || log.range(self.first..self.first + self.len).map(|entry| &entry.delivery);
        if entries().all(|delivery| meant(&delivery)) {
            return false;
        }
        let skipped = entries().filter(|delivery| !meant(delivery)).filter_map(|delivery| delivery.receipt);
        skipped.for_each(|receipt| book.skip(receipt));
        let (writable, unwritable): (Vec<&Delivery>, Vec<&Delivery>) =
            entries().filter(meant).partition(|delivery| is_writable(delivery, self.encoding));
        unwritable.iter().filter_map(|delivery| delivery.receipt).for_each(|receipt| book.cut(receipt, 1));
        let receipts: Vec<u64> = writable.iter().filter_map(|delivery| delivery.receipt).collect();
        let frames = join_frames(writable.iter().copied(), self.encoding);
        if frames.is_empty() {
            return true;
        }
        match sockets.write(slot, &frames, &receipts) {
            Written::Whole => receipts.iter().for_each(|receipt| book.written(*receipt, 1)),
            Written::Queued => {}
            Written::Cut => {
                receipts.iter().for_each(|receipt| book.cut(*receipt, 1));
                return true;
            }
        }
        self.swept.deliveries += writable.len() as u64;
        self.swept.bytes += frames.len() as u64;
        true
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

/// How many entries from `first` on go into one write: at least one.
fn fitting(log: &VecDeque<Entry>, first: usize, encoding: Encoding) -> usize {
    let mut bytes = 0;
    let fits = |entry: &&Entry| {
        bytes += entry.delivery.publication.framed(encoding).map_or(0, |frame| frame.bytes().len());
        bytes <= MAX_RUN
    };
    log.range(first..).take_while(fits).count().max(1)
}

fn is_writable(delivery: &Delivery, encoding: Encoding) -> bool {
    delivery.publication.framed(encoding).is_some()
}

/// One piece of bytes with the frames of all deliveries; shares the frame if it is only one.
fn join_frames<'a>(deliveries: impl Iterator<Item = &'a Delivery>, encoding: Encoding) -> Bytes {
    let mut frames = deliveries.filter_map(|delivery| delivery.publication.framed(encoding));
    let Some(first) = frames.next() else { return Bytes::new() };
    let Some(second) = frames.next() else { return first.bytes().clone() };
    let mut joined = BytesMut::new();
    joined.extend_from_slice(first.bytes());
    joined.extend_from_slice(second.bytes());
    frames.for_each(|frame| joined.extend_from_slice(frame.bytes()));
    joined.freeze()
}
