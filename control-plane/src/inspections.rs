//! Questions about single connections that wait for their node's answer.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use fanfare_cluster::connection_id::ConnectionId;
use fanfare_proto::link::{self, open_response};
use tokio::sync::oneshot;

use crate::links::Link;
use crate::owner::SessionId;
use crate::refusal::Refusal;

/// How long a node may take to answer.
const PATIENCE: Duration = Duration::from_secs(3);

type Answer = Option<link::ConnectionState>;

/// All questions that wait. One is here while somebody waits for its answer.
#[derive(Debug, Default)]
pub(crate) struct Inspections {
    next: AtomicU64,
    waiting: Mutex<HashMap<u64, (SessionId, oneshot::Sender<Answer>)>>,
}

/// Takes the question back when nobody waits any more.
struct Question<'a> {
    id: u64,
    of: &'a Inspections,
}

impl Inspections {
    /// Asks the node at the other end what it knows of a connection; not longer than `left`.
    ///
    /// # Errors
    /// [`Refusal::UnknownConnection`] if it does not hold it, [`Refusal::NoAnswer`] if it does not answer.
    pub(crate) async fn ask(
        &self,
        link: &Link,
        connection: ConnectionId,
        left: Option<Duration>,
    ) -> Result<link::ConnectionState, Refusal> {
        let question = Question { id: self.next.fetch_add(1, Ordering::Relaxed) + 1, of: self };
        let (sender, answer) = oneshot::channel();
        self.lock().insert(question.id, (link.session(), sender));
        let connection = Bytes::copy_from_slice(connection.as_bytes());
        link.send(open_response::Message::Inspect(link::Inspect { id: question.id, connection }));
        let patience = left.map_or(PATIENCE, |left| left.min(PATIENCE));
        let answer = tokio::select! {
            () = link.ended().cancelled() => return Err(Refusal::NoAnswer),
            answer = tokio::time::timeout(patience, answer) => answer,
        };
        match answer {
            Ok(Ok(Some(state))) => Ok(state),
            Ok(Ok(None)) => Err(Refusal::UnknownConnection),
            _ => Err(Refusal::NoAnswer),
        }
    }

    /// A node has answered. Only the node that was asked can.
    pub(crate) fn answer(&self, session: SessionId, inspected: link::Inspected) {
        let mut waiting = self.lock();
        if waiting.get(&inspected.id).is_some_and(|(asked, _)| *asked == session)
            && let Some((_, sender)) = waiting.remove(&inspected.id)
        {
            // The caller may have given up at this very moment.
            let _ = sender.send(inspected.connection);
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<u64, (SessionId, oneshot::Sender<Answer>)>> {
        // Each change under the lock leaves the map whole, so a panic elsewhere cannot have broken it.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Question<'_> {
    fn drop(&mut self) {
        self.of.lock().remove(&self.id);
    }
}

#[cfg(test)]
mod tests {
    use fanfare_cluster::member::Incarnation;

    use super::*;
    use crate::links::Links;
    use crate::metrics::Metrics;

    fn link() -> Link {
        let hello = link::Hello { incarnation: 7 << 32, ..Default::default() };
        let links = Links::new(1 << 20, Metrics::default());
        links.open(&hello, &"node".parse().unwrap(), link::Welcome::default()).0
    }

    #[tokio::test(start_paused = true)]
    async fn a_question_is_answered_by_the_node_that_was_asked_and_by_no_other() {
        let (inspections, link) = (Inspections::default(), link());
        let connection = ConnectionId::new(Incarnation::random(), 0, 0);
        let known = link::ConnectionState { user: "42".into(), ..Default::default() };
        let other = link::ConnectionState { user: "7".into(), ..Default::default() };
        let answers = async {
            let inspected = |connection| link::Inspected { id: 1, connection };
            inspections.answer(SessionId(99), inspected(Some(other)));
            inspections.answer(link.session(), inspected(Some(known.clone())));
        };
        let (answer, ()) = tokio::join!(inspections.ask(&link, connection, None), answers);
        assert_eq!(answer.unwrap(), known);
        let unknown =
            async { inspections.answer(link.session(), link::Inspected { id: 2, connection: None }) };
        let (answer, ()) = tokio::join!(inspections.ask(&link, connection, None), unknown);
        assert_eq!(answer, Err(Refusal::UnknownConnection));
        assert!(inspections.lock().is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_node_that_says_nothing_or_goes_is_not_waited_for_and_nothing_is_left() {
        let (inspections, link) = (Inspections::default(), link());
        let connection = ConnectionId::new(Incarnation::random(), 0, 0);
        assert_eq!(inspections.ask(&link, connection, None).await, Err(Refusal::NoAnswer));
        link.ended().cancel();
        assert_eq!(inspections.ask(&link, connection, None).await, Err(Refusal::NoAnswer));
        assert!(inspections.lock().is_empty());
    }
}
