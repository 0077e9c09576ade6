//! Receipts that the node owes a replica: the sum of what its shards say of one delivery.

use std::collections::HashMap;

use crate::shard::Counts;

/// Where a receipt goes: the link session it was asked on, and its number there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Asked {
    pub(crate) session: u64,
    pub(crate) id: u64,
}

#[derive(Debug)]
struct Open {
    asked: Asked,
    shards_left: usize,
    counts: Counts,
}

/// The receipts that are not answered yet. Shards answer each within its time, so none stays.
#[derive(Debug, Default)]
pub(crate) struct NodeReceipts {
    last: u64,
    open: HashMap<u64, Open>,
}

impl NodeReceipts {
    /// A delivery goes to so many shards. Returns the number under which they answer.
    pub(crate) fn open(&mut self, asked: Asked, shards: usize) -> u64 {
        self.last += 1;
        self.open.insert(self.last, Open { asked, shards_left: shards, counts: Counts::default() });
        self.last
    }

    /// A shard has answered. Returns the sum when it was the last one.
    pub(crate) fn answer(&mut self, number: u64, counts: Counts) -> Option<(Asked, Counts)> {
        let open = self.open.get_mut(&number)?;
        open.counts.written += counts.written;
        open.counts.pending += counts.pending;
        open.counts.cut += counts.cut;
        open.shards_left -= 1;
        if open.shards_left > 0 {
            return None;
        }
        self.open.remove(&number).map(|open| (open.asked, open.counts))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_shard_completes_the_sum() {
        let mut receipts = NodeReceipts::default();
        let asked = Asked { session: 1, id: 9 };
        let number = receipts.open(asked, 2);
        let counts = Counts { written: 1, pending: 2, cut: 3 };
        assert_eq!(receipts.answer(number, counts), None);
        let sum = Counts { written: 2, pending: 4, cut: 6 };
        assert_eq!(receipts.answer(number, counts), Some((asked, sum)));
        assert_eq!(receipts.answer(number, counts), None);
    }
}
