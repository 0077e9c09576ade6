//! What goes up from a shard to the exchange when that has room: bounded in items and bytes.

use std::collections::VecDeque;

use crate::links::FromShard;

/// What may wait before clients are told to come again.
const MAX_ITEMS: usize = 16_384;
const MAX_BYTES: usize = 8 << 20;

/// When this is full, clients' commands that would add to it are refused. What must go up in any case, such as
/// receipts, is bounded by what the shard holds, and still goes in.
#[derive(Debug, Default)]
pub(crate) struct Up {
    // queue: up to the exchange
    waiting: VecDeque<FromShard>,
    bytes: usize,
}

impl Up {
    pub(crate) fn push(&mut self, what: FromShard) {
        self.bytes += what.weight();
        self.waiting.push_back(what);
    }

    pub(crate) fn pop(&mut self) -> Option<FromShard> {
        let what = self.waiting.pop_front()?;
        self.bytes -= what.weight();
        Some(what)
    }

    pub(crate) fn is_full(&self) -> bool {
        self.waiting.len() >= MAX_ITEMS || self.bytes >= MAX_BYTES
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::links::Question;
    use crate::shard::SlotKey;
    use fanfare_cluster::channel::ChannelName;
    use fanfare_proto::link;

    #[test]
    fn a_few_large_publishes_fill_it_as_many_small_ones_do() {
        let publish = |bytes: usize| FromShard::Question {
            key: SlotKey { slot: 0, serial: 0 },
            id: 1,
            channel: ChannelName::parse("news").unwrap(),
            question: Question::Publish(link::Publication {
                data: vec![0; bytes].into(),
                ..Default::default()
            }),
        };
        let mut up = Up::default();
        (0..128).for_each(|_| up.push(publish(64 << 10)));
        assert!(up.is_full());
        while up.pop().is_some() {}
        assert!(up.is_empty() && !up.is_full());
        (0..MAX_ITEMS).for_each(|_| up.push(publish(1)));
        assert!(up.is_full());
    }
}
