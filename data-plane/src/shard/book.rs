//! Receipts that a shard owes: how many of its sockets have taken a delivery.

use std::collections::HashMap;

/// Connections, by what became of a delivery.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) written: u64,
    pub(crate) pending: u64,
    pub(crate) cut: u64,
}

#[derive(Debug)]
struct Open {
    total: u64,
    written: u64,
    cut: u64,
    /// The tick at which it is answered whatever has happened by then.
    due: u32,
}

/// The receipts that are not answered yet, by the number under which the node knows them.
#[derive(Debug, Default)]
pub(crate) struct Book {
    open: HashMap<u64, Open>,
    answers: Vec<(u64, Counts)>,
}

impl Book {
    /// A delivery goes to `total` connections.
    pub(crate) fn open(&mut self, receipt: u64, total: usize, due: u32) {
        self.open.insert(receipt, Open { total: total as u64, written: 0, cut: 0, due });
        self.change(receipt, |_| {});
    }

    /// So many more have taken it.
    pub(crate) fn written(&mut self, receipt: u64, count: u64) {
        self.change(receipt, |open| open.written += count);
    }

    /// So many more never will.
    pub(crate) fn cut(&mut self, receipt: u64, count: u64) {
        self.change(receipt, |open| open.cut += count);
    }

    /// One connection is not meant after all.
    pub(crate) fn skip(&mut self, receipt: u64) {
        self.change(receipt, |open| open.total -= 1);
    }

    /// Answers all receipts whose time is over.
    pub(crate) fn expire(&mut self, now: u32) {
        let over = self.open.extract_if(|_, open| open.due <= now);
        self.answers.extend(over.map(|(receipt, open)| (receipt, open.counts())));
    }

    /// Takes the answers that are ready.
    pub(crate) fn answers(&mut self) -> impl Iterator<Item = (u64, Counts)> {
        self.answers.drain(..)
    }

    /// A receipt that was answered already takes no changes any more.
    fn change(&mut self, receipt: u64, change: impl FnOnce(&mut Open)) {
        if let Some(open) = self.open.get_mut(&receipt) {
            change(open);
            let counts = open.counts();
            if counts.pending == 0 {
                self.open.remove(&receipt);
                self.answers.push((receipt, counts));
            }
        }
    }
}

impl Open {
    fn counts(&self) -> Counts {
        let pending = self.total.saturating_sub(self.written + self.cut);
        Counts { written: self.written, pending, cut: self.cut }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_receipt_is_answered_when_all_is_known() {
        let mut book = Book::default();
        book.open(1, 4, 10);
        book.written(1, 2);
        book.cut(1, 1);
        assert_eq!(book.answers().count(), 0);
        book.skip(1);
        assert_eq!(book.answers().collect::<Vec<_>>(), [(1, Counts { written: 2, pending: 0, cut: 1 })]);
    }

    #[test]
    fn a_delivery_to_nobody_is_answered_at_once() {
        let mut book = Book::default();
        book.open(1, 0, 10);
        assert_eq!(book.answers().collect::<Vec<_>>(), [(1, Counts::default())]);
    }

    #[test]
    fn when_time_is_over_the_rest_is_pending() {
        let mut book = Book::default();
        book.open(1, 3, 10);
        book.written(1, 1);
        book.expire(9);
        assert_eq!(book.answers().count(), 0);
        book.expire(10);
        assert_eq!(book.answers().collect::<Vec<_>>(), [(1, Counts { written: 1, pending: 2, cut: 0 })]);
        book.written(1, 2);
        assert_eq!(book.answers().count(), 0, "late news changes nothing");
    }
}
