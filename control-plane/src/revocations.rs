//! Tokens that are refused everywhere: each user's newest revocation, kept until the tokens have expired.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::ops::Bound;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use fanfare_proto::link::Revocation;

use crate::journal::Journal;
use crate::metrics::Metrics;
use crate::refusal::Refusal;
use tracing::error;

/// Users whose revocations are remembered, at most.
const MAX_USERS: usize = 100_000;
/// Entries of one message on a link, so that it stays well below the largest: about 280 bytes each at most.
const CHUNK: usize = 1024;

/// All revocations that hold now, as a list that new links are told.
#[derive(Debug)]
pub(crate) struct Revocations {
    by_user: Mutex<BTreeMap<String, Span>>,
    /// `None` if nothing is kept on disk.
    journal: Option<Journal>,
    metrics: Metrics,
}

/// Unix seconds.
#[derive(Clone, Copy, Debug)]
struct Span {
    issued_before: u64,
    until: u64,
}

impl Revocations {
    /// Those that the file holds; with an empty path, none.
    ///
    /// # Errors
    /// If the file cannot be read or written.
    pub(crate) fn open(file: &Path, metrics: Metrics, now: u64) -> std::io::Result<Self> {
        let mut revocations = Self { by_user: Mutex::default(), journal: None, metrics };
        if !file.as_os_str().is_empty() {
            let (journal, held) = Journal::open(file, now)?;
            for revocation in held {
                // The file was written within the bound.
                let _ = revocations.add(revocation, now);
            }
            revocations.journal = Some(journal);
        }
        Ok(revocations)
    }

    /// As [`add`](Self::add), and the disk has it, too, if anything is kept there.
    ///
    /// # Errors
    /// Besides those of `add`, [`Refusal::NotKept`] if the disk does not take it: then it counts only until the
    /// next start.
    pub(crate) async fn add_and_keep(&self, new: Revocation, now: u64) -> Result<Revocation, Refusal> {
        let revocation = self.add(new, now)?;
        if let Some(journal) = self.journal.clone() {
            let kept = revocation.clone();
            let append = tokio::task::spawn_blocking(move || journal.append(&kept, now));
            match append.await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => {
                    error!(%error, "a revocation cannot be written to api.revocations_file");
                    return Err(Refusal::NotKept);
                }
                Err(error) => {
                    error!(%error, "a revocation was not written to api.revocations_file");
                    return Err(Refusal::NotKept);
                }
            }
        }
        Ok(revocation)
    }

    /// Adds a revocation to what is known of its user; returns both together. A later one never shortens an
    /// earlier one.
    ///
    /// # Errors
    /// [`Refusal::TooManyRevocations`] if it is another user's and there is no room.
    pub(crate) fn add(&self, new: Revocation, now: u64) -> Result<Revocation, Refusal> {
        let mut by_user = self.lock();
        if by_user.len() >= MAX_USERS {
            by_user.retain(|_, span| span.until > now);
        }
        let has_room = by_user.len() < MAX_USERS;
        let span = Span { issued_before: new.issued_before, until: new.until };
        let merged = match by_user.entry(new.user.clone()) {
            Entry::Occupied(mut known) => {
                let known = known.get_mut();
                // What has ended does not count any more.
                let old = if known.until > now { *known } else { Span { issued_before: 0, until: 0 } };
                known.issued_before = old.issued_before.max(span.issued_before);
                known.until = old.until.max(span.until);
                *known
            }
            Entry::Vacant(place) if has_room => *place.insert(span),
            Entry::Vacant(_) => return Err(Refusal::TooManyRevocations),
        };
        self.metrics.api.revocations.set(by_user.len() as i64);
        Ok(Revocation { user: new.user, issued_before: merged.issued_before, until: merged.until })
    }

    /// The next entries behind a user, in the order of their names; none if there are no more.
    pub(crate) fn after(&self, user: Option<&str>, now: u64) -> Vec<Revocation> {
        let from = user.map_or(Bound::Unbounded, Bound::Excluded);
        let by_user = self.lock();
        let entries = by_user.range::<str, _>((from, Bound::Unbounded)).filter(|(_, span)| span.until > now);
        let revocation = |(user, span): (&String, &Span)| Revocation {
            user: user.clone(),
            issued_before: span.issued_before,
            until: span.until,
        };
        entries.take(CHUNK).map(revocation).collect()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Span>> {
        // Each change leaves the map whole, so a panic elsewhere cannot have broken it.
        self.by_user.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn revocation(user: impl ToString + Copy, issued_before: u64, until: u64) -> Revocation {
        Revocation { user: user.to_string(), issued_before, until }
    }

    fn in_memory() -> Revocations {
        Revocations::open(Path::new(""), Metrics::default(), 0).unwrap()
    }

    #[test]
    fn a_later_revocation_never_shortens_an_earlier_one() {
        let revocations = in_memory();
        revocations.add(revocation("42", 100, 900), 50).unwrap();
        assert_eq!(revocations.add(revocation("42", 90, 950), 50).unwrap(), revocation("42", 100, 950));
        assert_eq!(revocations.add(revocation("42", 200, 300), 50).unwrap(), revocation("42", 200, 950));
        let ended = revocations.add(revocation("42", 60, 2_000), 1_000).unwrap();
        assert_eq!(ended, revocation("42", 60, 2_000), "one that has ended does not count");
    }

    #[test]
    fn new_links_are_told_everything_that_holds_in_pieces() {
        let revocations = in_memory();
        for user in 0..3 * CHUNK as u64 {
            revocations.add(revocation(user, 1, 10 + user % 2), 5).unwrap();
        }
        let (mut told, mut after) = (Vec::new(), None);
        loop {
            let piece = revocations.after(after.as_deref(), 10);
            let Some(last) = piece.last() else { break };
            after = Some(last.user.clone());
            assert!(piece.len() <= CHUNK);
            told.extend(piece);
        }
        assert_eq!(told.len(), 3 * CHUNK / 2, "those until 10 have ended");
        assert!(told.is_sorted_by(|one, next| one.user < next.user));
    }

    #[test]
    fn there_is_a_bound_and_what_has_ended_makes_room() {
        let revocations = in_memory();
        for user in 0..MAX_USERS {
            revocations.add(revocation(user, 1, 10), 5).unwrap();
        }
        assert_eq!(revocations.add(revocation("new", 1, 10), 5), Err(Refusal::TooManyRevocations));
        assert!(revocations.add(revocation("7", 2, 10), 5).is_ok(), "a known user's can be changed");
        assert!(revocations.add(revocation("new", 1, 20), 10).is_ok());
        assert_eq!(revocations.lock().len(), 1);
    }
}
