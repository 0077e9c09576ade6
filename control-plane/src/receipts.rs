//! Pushes that wait until nodes have said how many of their sockets took the bytes.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use smallvec::SmallVec;
use tokio::sync::oneshot;

use crate::owner::SessionId;

/// Connections, by what became of the bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) written: u64,
    pub(crate) pending: u64,
    pub(crate) cut: u64,
}

/// What all nodes together have said.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Outcome {
    pub(crate) counts: Counts,
    /// Sessions that did not answer in time, or ended before they did.
    pub(crate) silent: Vec<SessionId>,
}

#[derive(Debug, Default)]
struct Pending {
    counts: Counts,
    /// Answers can come before the push knows whom it asked.
    answered: SmallVec<[SessionId; 4]>,
    /// Whom to wait for, once known, and whom to tell.
    waiting: Option<(SmallVec<[SessionId; 4]>, oneshot::Sender<()>)>,
    ended: SmallVec<[SessionId; 1]>,
}

/// All pushes that wait. A push is here from [`open`](Self::open) until its [`Ticket`] is dropped.
#[derive(Debug, Default)]
pub(crate) struct Receipts {
    next: AtomicU64,
    pending: Mutex<HashMap<u64, Pending>>,
}

/// A push's place among those that wait.
#[derive(Debug)]
pub(crate) struct Ticket {
    id: u64,
    receipts: Arc<Receipts>,
}

impl Receipts {
    /// Begins to collect answers for one push.
    pub(crate) fn open(self: &Arc<Self>) -> Ticket {
        let id = self.next.fetch_add(1, Ordering::Relaxed) + 1;
        self.lock().insert(id, Pending::default());
        Ticket { id, receipts: self.clone() }
    }

    /// A node has answered. Answers that nobody waits for any more are dropped.
    pub(crate) fn answer(&self, id: u64, session: SessionId, counts: Counts) {
        if let Some(pending) = self.lock().get_mut(&id)
            && !pending.answered.contains(&session)
        {
            pending.counts.written += counts.written;
            pending.counts.pending += counts.pending;
            pending.counts.cut += counts.cut;
            pending.answered.push(session);
            pending.tell_if_done();
        }
    }

    /// A session has ended: it will answer nothing any more.
    pub(crate) fn session_down(&self, session: SessionId) {
        for pending in self.lock().values_mut() {
            pending.ended.push(session);
            pending.tell_if_done();
        }
    }

    /// How many pushes wait.
    #[cfg(test)]
    pub(crate) fn waiting(&self) -> usize {
        self.lock().len()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<u64, Pending>> {
        // Each change under the lock leaves the map whole, so a panic elsewhere cannot have broken it.
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Pending {
    fn tell_if_done(&mut self) {
        let done = self.waiting.as_ref().is_some_and(|(asked, _)| {
            asked.iter().all(|session| self.answered.contains(session) || self.ended.contains(session))
        });
        if done && let Some((_, sender)) = self.waiting.take() {
            // The push may have given up waiting at this very moment; then nobody needs to be told.
            let _ = sender.send(());
        }
    }
}

impl Ticket {
    /// The number under which nodes answer.
    pub(crate) fn id(&self) -> u64 {
        self.id
    }

    /// Waits until every session of `asked` has answered or ended, but not longer than `patience`.
    pub(crate) async fn wait(self, asked: &[SessionId], patience: Duration) -> Outcome {
        let (sender, done) = oneshot::channel();
        if let Some(pending) = self.receipts.lock().get_mut(&self.id) {
            pending.waiting = Some((asked.into(), sender));
            pending.tell_if_done();
        }
        // Whether time is over or all have answered, what is there is the answer.
        let _ = tokio::time::timeout(patience, done).await;
        let pending = self.receipts.lock().remove(&self.id).unwrap_or_default();
        let silent = asked.iter().copied().filter(|session| !pending.answered.contains(session)).collect();
        Outcome { counts: pending.counts, silent }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.receipts.lock().remove(&self.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: SessionId = SessionId(1);
    const B: SessionId = SessionId(2);
    const LONG: Duration = Duration::from_secs(3600);

    fn written(written: u64) -> Counts {
        Counts { written, ..Counts::default() }
    }

    #[tokio::test(start_paused = true)]
    async fn answers_add_up_even_if_they_come_before_the_wait() {
        let receipts = Arc::new(Receipts::default());
        let ticket = receipts.open();
        receipts.answer(ticket.id(), A, written(3));
        receipts.answer(ticket.id(), A, written(3));
        receipts.answer(ticket.id(), B, written(4));
        let outcome = ticket.wait(&[A, B], LONG).await;
        assert_eq!(outcome, Outcome { counts: written(7), silent: vec![] });
        assert_eq!(receipts.waiting(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn who_does_not_answer_in_time_is_named() {
        let receipts = Arc::new(Receipts::default());
        let ticket = receipts.open();
        receipts.answer(ticket.id(), A, written(3));
        let outcome = ticket.wait(&[A, B], Duration::from_secs(1)).await;
        assert_eq!(outcome, Outcome { counts: written(3), silent: vec![B] });
    }

    #[tokio::test(start_paused = true)]
    async fn a_session_that_ends_is_not_waited_for() {
        let receipts = Arc::new(Receipts::default());
        let ticket = receipts.open();
        let id = ticket.id();
        let wait = ticket.wait(&[A, B], LONG);
        let ends = async {
            receipts.answer(id, A, written(1));
            receipts.session_down(B);
        };
        let (outcome, ()) = tokio::join!(wait, ends);
        assert_eq!(outcome, Outcome { counts: written(1), silent: vec![B] });
    }

    #[tokio::test]
    async fn a_push_that_is_given_up_leaves_nothing() {
        let receipts = Arc::new(Receipts::default());
        drop(receipts.open());
        assert_eq!(receipts.waiting(), 0);
    }
}
