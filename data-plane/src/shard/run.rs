//! One piece of bytes for all subscribers that miss the same publications: joined once, written to each.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};

use super::book::Book;
use super::hub::{Delivery, Entry, Sockets, Written};
use crate::encoding::Encoding;

/// The newest `behind` entries of a log as one piece of bytes, for all subscribers that miss just these.
pub(super) struct Run {
    pub(super) behind: usize,
    first: usize,
    encoding: Encoding,
    frames: Bytes,
    receipts: Vec<u64>,
    /// Receipts of what cannot be written in this encoding: nobody who speaks it ever gets it.
    unwritable: Vec<u64>,
    excludes: bool,
    visited: usize,
    written: u64,
    pub(super) deliveries: u64,
    pub(super) bytes_out: u64,
}

impl Run {
    pub(super) fn new(log: &VecDeque<Entry>, behind: usize, encoding: Encoding) -> Self {
        let first = log.len() - behind;
        let entries = || log.range(first..).map(|entry| &entry.delivery);
        let receipts = |writable: bool| {
            let alike = move |delivery: &&Delivery| is_writable(delivery, encoding) == writable;
            entries().filter(alike).filter_map(|delivery| delivery.receipt).collect()
        };
        Self {
            behind,
            first,
            encoding,
            frames: join_frames(entries(), encoding),
            receipts: receipts(true),
            unwritable: receipts(false),
            excludes: entries().any(|delivery| !delivery.exclude.is_empty()),
            visited: 0,
            written: 0,
            deliveries: 0,
            bytes_out: 0,
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
        self.deliveries += self.behind as u64;
        self.bytes_out += self.frames.len() as u64;
        match sockets.write(slot, &self.frames, &self.receipts) {
            Written::Whole => self.written += 1,
            Written::Queued => {}
            Written::Cut => self.receipts.iter().for_each(|receipt| book.cut(*receipt, 1)),
        }
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
        let entries = || log.range(self.first..).map(|entry| &entry.delivery);
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
        self.deliveries += writable.len() as u64;
        self.bytes_out += frames.len() as u64;
        match sockets.write(slot, &frames, &receipts) {
            Written::Whole => receipts.iter().for_each(|receipt| book.written(*receipt, 1)),
            Written::Queued => {}
            Written::Cut => receipts.iter().for_each(|receipt| book.cut(*receipt, 1)),
        }
        true
    }

    /// Books what the run has done.
    pub(super) fn settle(self, log: &mut VecDeque<Entry>, book: &mut Book) {
        for entry in log.range_mut(self.first..) {
            entry.left -= self.visited;
        }
        if self.written > 0 {
            self.receipts.iter().for_each(|receipt| book.written(*receipt, self.written));
        }
    }
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
