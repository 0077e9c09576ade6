//! Who waits for what an owner decides, and the room that each takes until then.

use std::collections::HashMap;

use fanfare_cluster::channel::StreamPosition;
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use super::{Placing, Reply};
use crate::history::Page;
use crate::refusal::Refusal;

/// Who waits. They may have gone: then nobody asks for the answer.
#[derive(Debug)]
pub(super) enum Waiting {
    One(oneshot::Sender<Placing>),
    Many { placings: Vec<Option<Placing>>, missing: usize, answer: oneshot::Sender<Vec<Placing>> },
    Read(oneshot::Sender<Result<Page, Refusal>>),
    Remove(oneshot::Sender<Result<StreamPosition, Refusal>>),
}

impl Waiting {
    /// Waits for so many placings.
    pub(super) fn many(count: usize, answer: oneshot::Sender<Vec<Placing>>) -> Self {
        let mut placings = Vec::new();
        placings.resize_with(count, || None);
        Self::Many { placings, missing: count, answer }
    }
}

/// All who wait for one owner task. Each leaves when it is answered.
#[derive(Debug, Default)]
pub(super) struct Answers {
    next: u64,
    waiting: HashMap<u64, (Waiting, OwnedSemaphorePermit), foldhash::fast::RandomState>,
}

impl Answers {
    /// Somebody waits from now on; for the first place, if there are several.
    pub(super) fn open(&mut self, waiting: Waiting, room: OwnedSemaphorePermit) -> Reply {
        self.next += 1;
        self.waiting.insert(self.next, (waiting, room));
        Reply { waiting: self.next, place: 0 }
    }

    /// A publication or an operation has its place, or is refused.
    pub(super) fn place(&mut self, reply: Reply, placing: Placing) {
        if let Some((Waiting::Many { placings, missing, .. }, _)) = self.waiting.get_mut(&reply.waiting) {
            placings[reply.place] = Some(placing);
            *missing -= 1;
            if *missing > 0 {
                return;
            }
            if let Some((Waiting::Many { placings, answer, .. }, _)) = self.waiting.remove(&reply.waiting) {
                let _ = answer.send(placings.into_iter().flatten().collect());
            }
        } else if let Some((Waiting::One(answer), _)) = self.waiting.remove(&reply.waiting) {
            let _ = answer.send(placing);
        }
    }

    pub(super) fn read(&mut self, reply: Reply, page: Result<Page, Refusal>) {
        if let Some((Waiting::Read(answer), _)) = self.waiting.remove(&reply.waiting) {
            let _ = answer.send(page);
        }
    }

    pub(super) fn removed(&mut self, reply: Reply, top: Result<StreamPosition, Refusal>) {
        if let Some((Waiting::Remove(answer), _)) = self.waiting.remove(&reply.waiting) {
            let _ = answer.send(top);
        }
    }
}
