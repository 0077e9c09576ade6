//! Answers to operations that carry a request id: who repeats one gets the first success's answer.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use fanfare_proto::v1;
use tokio::sync;
use tokio::time::Instant;

/// How long an answer is remembered.
const MEMORY: Duration = Duration::from_secs(300);
/// Answers that are remembered, at most.
const MAX_ANSWERS: usize = 10_000;

/// Whose request is meant: ids of different callers and methods have nothing to do with each other.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct RequestKey {
    pub(crate) caller: Arc<str>,
    pub(crate) method: &'static str,
    pub(crate) id: String,
    /// A hash of what is asked for: the same id for something else is another request.
    pub(crate) content: u64,
}

/// An answer that can be given again.
pub(crate) trait Repeatable: Clone + Default {
    /// Whether nothing is left to be done: what some node has not done shall be done when it is asked for again.
    fn is_complete(&self) -> bool;
}

impl Repeatable for v1::Outcome {
    fn is_complete(&self) -> bool {
        self.complete
    }
}

impl Repeatable for v1::RemoveHistoryResponse {
    fn is_complete(&self) -> bool {
        true
    }
}

/// The answer, once there is one. Whoever holds the lock carries the request out.
type Place<A> = Arc<sync::Mutex<Option<A>>>;

/// All answers of one kind that are remembered.
#[derive(Debug, Default)]
pub(crate) struct Repeats<A = v1::Outcome>(Mutex<State<A>>);

#[derive(Debug, Default)]
struct State<A> {
    places: HashMap<RequestKey, Place<A>>,
    // queue: request ids
    by_age: VecDeque<(Instant, RequestKey)>,
}

impl<A: Repeatable> Repeats<A> {
    /// Carries an operation out, unless its first success is remembered. One that is under way is waited for;
    /// if it fails, the next one is carried out.
    ///
    /// # Errors
    /// What the operation says.
    pub(crate) async fn once<E>(
        &self,
        key: RequestKey,
        operation: impl Future<Output = Result<A, E>>,
    ) -> Result<A, E> {
        if key.id.is_empty() {
            return operation.await;
        }
        let place = self.place(key);
        // The wait ends with the call's own deadline at the latest.
        let mut answer = place.lock().await;
        if let Some(answer) = &*answer {
            return Ok(answer.clone());
        }
        let outcome = operation.await?;
        if outcome.is_complete() {
            *answer = Some(outcome.clone());
        }
        Ok(outcome)
    }

    fn place(&self, key: RequestKey) -> Place<A> {
        let now = Instant::now();
        let mut state = self.lock();
        let State { places, by_age } = &mut *state;
        while let Some((_, old)) = by_age.pop_front_if(|(since, _)| now.duration_since(*since) >= MEMORY) {
            places.remove(&old);
        }
        if let Some(place) = places.get(&key) {
            return place.clone();
        }
        if by_age.len() >= MAX_ANSWERS
            && let Some((_, oldest)) = by_age.pop_front()
        {
            places.remove(&oldest);
        }
        by_age.push_back((now, key.clone()));
        places.entry(key).or_default().clone()
    }

    fn lock(&self) -> MutexGuard<'_, State<A>> {
        // Each change leaves both whole, so a panic elsewhere cannot have broken them.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    fn key(caller: &str, method: &'static str, id: &str) -> RequestKey {
        RequestKey { caller: caller.into(), method, id: id.to_owned(), content: 0 }
    }

    fn outcome(connections: u64) -> v1::Outcome {
        v1::Outcome { connections, complete: true, ..Default::default() }
    }

    async fn done(connections: u64) -> Result<v1::Outcome, ()> {
        Ok(outcome(connections))
    }

    #[tokio::test(start_paused = true)]
    async fn a_repeated_request_gets_the_first_success_for_five_minutes() {
        let repeats = Repeats::<v1::Outcome>::default();
        assert_eq!(repeats.once(key("a", "m", "1"), async { Err(()) }).await, Err(()));
        assert_eq!(repeats.once(key("a", "m", "1"), done(1)).await, Ok(outcome(1)));
        assert_eq!(repeats.once(key("a", "m", "1"), done(2)).await, Ok(outcome(1)));
        for other in [key("b", "m", "1"), key("a", "n", "1"), key("a", "m", "2"), key("a", "m", "")] {
            assert_eq!(repeats.once(other, done(3)).await, Ok(outcome(3)));
        }
        tokio::time::advance(MEMORY).await;
        assert_eq!(repeats.once(key("a", "m", "1"), done(4)).await, Ok(outcome(4)));
        assert_eq!(repeats.lock().places.len(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_repetition_waits_for_the_first_and_takes_over_if_that_fails() {
        let (repeats, runs) = (Repeats::<v1::Outcome>::default(), Cell::new(0));
        let slowly = |result: Result<u64, ()>| {
            let runs = &runs;
            async move {
                runs.set(runs.get() + 1);
                tokio::task::yield_now().await;
                result.map(outcome)
            }
        };
        let first = repeats.once(key("a", "m", "1"), slowly(Err(())));
        let second = repeats.once(key("a", "m", "1"), slowly(Ok(2)));
        let third = repeats.once(key("a", "m", "1"), slowly(Ok(3)));
        let answers = tokio::join!(first, second, third);
        assert_eq!(answers, (Err(()), Ok(outcome(2)), Ok(outcome(2))));
        assert_eq!(runs.get(), 2);
    }

    #[tokio::test]
    async fn the_oldest_answer_is_forgotten_when_there_are_too_many() {
        let repeats = Repeats::<v1::Outcome>::default();
        for id in 0..=MAX_ANSWERS as u64 {
            repeats.once(key("a", "m", &id.to_string()), done(id)).await.unwrap();
        }
        assert_eq!(repeats.lock().places.len(), MAX_ANSWERS);
        assert_eq!(repeats.once(key("a", "m", "1"), done(0)).await, Ok(outcome(1)));
        assert_eq!(repeats.once(key("a", "m", "0"), done(7)).await, Ok(outcome(7)));
    }
}
