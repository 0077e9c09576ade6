//! Tokens that are refused although they are good: those of a user issued before a time.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use fanfare_proto::link::Revocation;

/// How many users the node keeps; the control plane keeps no more.
const MAX_USERS: usize = 100_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Refused {
    issued_before: u64,
    until: u64,
}

/// What the control plane has told the node to refuse. Times are Unix seconds.
#[derive(Debug, Default)]
pub(crate) struct Revocations {
    users: Mutex<HashMap<String, Refused>>,
    /// Mostly there are none, and then nobody needs the lock.
    count: AtomicUsize,
}

impl Revocations {
    /// Refuses more. For the same user the later times count.
    pub(crate) fn add(&self, revocations: Vec<Revocation>) {
        let mut users = self.lock();
        for Revocation { user, issued_before, until } in revocations {
            if users.len() >= MAX_USERS && !users.contains_key(&user) {
                tracing::error!("too many revocations: one is not kept");
                continue;
            }
            let refused = users.entry(user).or_insert(Refused { issued_before, until });
            refused.issued_before = refused.issued_before.max(issued_before);
            refused.until = refused.until.max(until);
        }
        self.count.store(users.len(), Ordering::Release);
    }

    /// Whether a token of the user, issued then, is refused.
    pub(crate) fn refuse(&self, user: &str, issued_at: u64) -> bool {
        self.count.load(Ordering::Acquire) > 0
            && self.lock().get(user).is_some_and(|refused| issued_at < refused.issued_before)
    }

    /// Forgets what is over: such tokens have expired by themselves.
    pub(crate) fn forget_old(&self, now: u64) {
        let mut users = self.lock();
        users.retain(|_, refused| refused.until > now);
        self.count.store(users.len(), Ordering::Release);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Refused>> {
        // Each change leaves the map whole, so a panic elsewhere cannot have broken it.
        self.users.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn revocation(issued_before: u64, until: u64) -> Vec<Revocation> {
        vec![Revocation { user: "ann".into(), issued_before, until }]
    }

    #[test]
    fn older_tokens_of_the_user_are_refused_until_they_have_expired() {
        let revocations = Revocations::default();
        assert!(!revocations.refuse("ann", 5));
        revocations.add(revocation(10, 100));
        assert!(revocations.refuse("ann", 9) && revocations.refuse("ann", 0));
        assert!(!revocations.refuse("ann", 10) && !revocations.refuse("bob", 9));
        revocations.add(revocation(8, 200));
        assert!(revocations.refuse("ann", 9), "an older revocation takes nothing back");
        revocations.forget_old(100);
        assert!(revocations.refuse("ann", 9));
        revocations.forget_old(200);
        assert!(!revocations.refuse("ann", 9));
    }
}
