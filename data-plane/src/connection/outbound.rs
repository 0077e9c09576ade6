//! What waits for a client that reads more slowly than it is written to: bounded in bytes, and then it is cut.

use std::collections::VecDeque;

use bytes::{Buf as _, Bytes};

/// Whole frames that wait, and receipts that wait with them. Exists only while something waits.
#[derive(Debug, Default)]
pub(crate) struct Outbound {
    // queue: outbound of a connection
    frames: VecDeque<Bytes>,
    bytes: usize,
    /// The first of the frames has partly gone out: it must be finished even if all else is dropped.
    head_begun: bool,
    /// Bytes that have gone out since this queue began.
    gone: u64,
    /// Receipts, each with the byte count at which all it asks for has gone out, in order.
    // queue: receipts of a connection
    marks: VecDeque<(u64, u64)>,
}

impl Outbound {
    /// Begins with what a direct write left of `frames`; `begun` says that some of it has gone out.
    pub(crate) fn begin(rest: Bytes, begun: bool) -> Self {
        let bytes = rest.len();
        Self { frames: VecDeque::from([rest]), bytes, head_begun: begun, ..Self::default() }
    }

    /// Puts what a direct write has left of other frames in front. No receipt waits for those.
    pub(crate) fn put_in_front(&mut self, first: Self) {
        self.bytes += first.bytes;
        self.head_begun = first.head_begun;
        self.marks.iter_mut().for_each(|(at, _)| *at += first.bytes as u64);
        for frame in first.frames.into_iter().rev() {
            self.frames.push_front(frame);
        }
    }

    /// How many bytes wait.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Adds whole frames.
    pub(crate) fn push(&mut self, frames: Bytes) {
        self.bytes += frames.len();
        self.frames.push_back(frames);
    }

    /// Remembers a receipt that is due when all that waits now has gone out.
    pub(crate) fn mark(&mut self, receipt: u64) {
        self.marks.push_back((self.gone + self.bytes as u64, receipt));
    }

    /// What to write next.
    pub(crate) fn head(&self) -> Option<&Bytes> {
        self.frames.front()
    }

    /// So much of the head has gone out. Calls `done` for each receipt that is due.
    pub(crate) fn advance(&mut self, written: usize, mut done: impl FnMut(u64)) {
        if let Some(head) = self.frames.front_mut() {
            head.advance(written);
            self.head_begun = !head.is_empty();
            if head.is_empty() {
                self.frames.pop_front();
            }
        }
        self.bytes -= written;
        self.gone += written as u64;
        while let Some((_, receipt)) = self.marks.pop_front_if(|(at, _)| *at <= self.gone) {
            done(receipt);
        }
    }

    /// Drops all frames that have not begun to go out, so that a last one can follow. `sealed` says that TLS has
    /// begun with the first one. Calls `cut` for each receipt that will never be due.
    pub(crate) fn cut(&mut self, sealed: bool, mut cut: impl FnMut(u64)) {
        self.frames.truncate(usize::from(self.head_begun || sealed));
        self.bytes = self.frames.front().map_or(0, Bytes::len);
        for (_, receipt) in self.marks.drain(..) {
            cut(receipt);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(len: usize) -> Bytes {
        vec![0; len].into()
    }

    #[test]
    fn receipts_are_due_when_their_bytes_have_gone_out() {
        let mut outbound = Outbound::begin(frame(10), false);
        outbound.mark(1);
        outbound.push(frame(5));
        outbound.mark(2);
        let mut done = Vec::new();
        outbound.advance(9, |receipt| done.push(receipt));
        assert_eq!((done.as_slice(), outbound.bytes()), ([].as_slice(), 6));
        outbound.advance(1, |receipt| done.push(receipt));
        assert_eq!(done, [1]);
        outbound.advance(5, |receipt| done.push(receipt));
        assert_eq!((done.as_slice(), outbound.head()), ([1, 2].as_slice(), None));
    }

    #[test]
    fn what_comes_in_front_goes_first_and_receipts_wait_for_it() {
        let mut held = Outbound::default();
        held.push(frame(5));
        held.mark(1);
        held.put_in_front(Outbound::begin(frame(10), true));
        assert_eq!((held.bytes(), held.head().map(Bytes::len)), (15, Some(10)));
        let mut done = Vec::new();
        held.advance(10, |receipt| done.push(receipt));
        assert!(done.is_empty());
        held.advance(5, |receipt| done.push(receipt));
        assert_eq!(done, [1]);
    }

    #[test]
    fn a_cut_finishes_the_frame_that_has_begun_and_nothing_else() {
        let mut outbound = Outbound::begin(frame(10), true);
        outbound.push(frame(5));
        outbound.mark(1);
        let mut cut = Vec::new();
        outbound.cut(false, |receipt| cut.push(receipt));
        assert_eq!((outbound.bytes(), cut.as_slice()), (10, [1].as_slice()));

        let mut untouched = Outbound::begin(frame(10), false);
        untouched.cut(false, |_| {});
        assert_eq!((untouched.bytes(), untouched.head()), (0, None));

        let mut sealed = Outbound::begin(frame(10), true);
        sealed.push(frame(5));
        sealed.push(frame(7));
        sealed.advance(10, |_| {});
        sealed.cut(true, |_| {});
        assert_eq!((sealed.bytes(), sealed.head().map(Bytes::len)), (5, Some(5)));
    }
}
