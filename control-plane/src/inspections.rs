//! Questions about connections that wait for their node's answer.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use fanfare_cluster::connection_id::ConnectionId;
use fanfare_proto::link::{self, open_response};
use tokio::sync::oneshot;

use crate::links::Link;
use crate::owner::SessionId;
use crate::refusal::Refusal;

/// How long a node may take to answer.
const PATIENCE: Duration = Duration::from_secs(3);

/// All questions that wait. One is here while somebody waits for its answer.
#[derive(Debug, Default)]
pub(crate) struct Inspections {
    next: AtomicU64,
    single: Waiting<Option<link::ConnectionState>>,
    lists: Waiting<link::ConnectionsListed>,
}

/// Who waits for answers of one kind, by the question's number.
#[derive(Debug)]
struct Waiting<A>(Mutex<HashMap<u64, (SessionId, oneshot::Sender<A>)>>);

/// Takes the question back when nobody waits any more.
struct Question<'a, A> {
    id: u64,
    of: &'a Waiting<A>,
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
        let id = self.next_id();
        let connection = connection.to_bytes();
        let question = open_response::Message::Inspect(link::Inspect { id, connection });
        self.single.ask(link, (id, question), left).await?.ok_or(Refusal::UnknownConnection)
    }

    /// Asks the node at the other end for some of its connections; not longer than `left`.
    ///
    /// # Errors
    /// [`Refusal::NoAnswer`] if it does not answer.
    pub(crate) async fn list(
        &self,
        link: &Link,
        list: link::ListConnections,
        left: Option<Duration>,
    ) -> Result<link::ConnectionsListed, Refusal> {
        let id = self.next_id();
        let question = open_response::Message::ListConnections(link::ListConnections { id, ..list });
        self.lists.ask(link, (id, question), left).await
    }

    /// A node has answered. Only the node that was asked can.
    pub(crate) fn answer(&self, session: SessionId, inspected: link::Inspected) {
        self.single.answer(session, inspected.id, inspected.connection);
    }

    /// A node has listed connections. Only the node that was asked can.
    pub(crate) fn listed(&self, session: SessionId, listed: link::ConnectionsListed) {
        self.lists.answer(session, listed.id, listed);
    }

    fn next_id(&self) -> u64 {
        self.next.fetch_add(1, Ordering::Relaxed) + 1
    }
}

impl<A> Waiting<A> {
    async fn ask(
        &self,
        link: &Link,
        (id, question): (u64, open_response::Message),
        left: Option<Duration>,
    ) -> Result<A, Refusal> {
        let question_of = Question { id, of: self };
        let (sender, answer) = oneshot::channel();
        self.lock().insert(question_of.id, (link.session(), sender));
        link.send(question);
        let patience = left.map_or(PATIENCE, |left| left.min(PATIENCE));
        tokio::select! {
            () = link.ended().cancelled() => Err(Refusal::NoAnswer),
            answer = tokio::time::timeout(patience, answer) => match answer {
                Ok(Ok(answer)) => Ok(answer),
                _ => Err(Refusal::NoAnswer),
            },
        }
    }

    fn answer(&self, session: SessionId, id: u64, answer: A) {
        let mut waiting = self.lock();
        if waiting.get(&id).is_some_and(|(asked, _)| *asked == session)
            && let Some((_, sender)) = waiting.remove(&id)
        {
            // The caller may have given up at this very moment.
            let _ = sender.send(answer);
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<u64, (SessionId, oneshot::Sender<A>)>> {
        // Each change under the lock leaves the map whole, so a panic elsewhere cannot have broken it.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<A> Default for Waiting<A> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<A> Drop for Question<'_, A> {
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
        assert!(inspections.single.lock().is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_node_that_says_nothing_or_goes_is_not_waited_for_and_nothing_is_left() {
        let (inspections, link) = (Inspections::default(), link());
        let connection = ConnectionId::new(Incarnation::random(), 0, 0);
        assert_eq!(inspections.ask(&link, connection, None).await, Err(Refusal::NoAnswer));
        link.ended().cancel();
        assert_eq!(inspections.ask(&link, connection, None).await, Err(Refusal::NoAnswer));
        assert!(inspections.single.lock().is_empty());
    }
}
