//! Verified tokens, so that a crowd that reconnects does not have the same signatures verified again.

use std::num::NonZero;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use lru::LruCache;
use sha2::{Digest as _, Sha256};

use super::{Identity, SubscriptionGrant};

/// What a token was found to grant.
#[derive(Clone, Debug)]
pub(super) enum Grant {
    Connection(Arc<Identity>),
    Subscription(Arc<SubscriptionGrant>),
}

/// A token whose signature and claims are good. Its end is looked at each time it is used.
#[derive(Clone, Debug)]
pub(super) struct Verified {
    pub(super) grant: Grant,
    pub(super) token_ends: Option<u64>,
    /// The keys it was verified with. Under other keys it must be verified again.
    pub(super) keys: u64,
}

/// The tokens that were used last, by their SHA-256: no token is kept, and none can be made to look like another.
pub(super) struct Cache(Option<Mutex<LruCache<Fingerprint, Verified>>>);

pub(super) type Fingerprint = [u8; 32];

impl Cache {
    /// Remembers so many tokens; 0 remembers none.
    pub(super) fn new(size: usize) -> Self {
        Self(NonZero::new(size).map(|size| Mutex::new(LruCache::new(size))))
    }

    pub(super) fn find(&self, token: &Fingerprint, keys: u64) -> Option<Verified> {
        let mut tokens = lock(self.0.as_ref()?);
        let verified = tokens.get(token)?;
        if verified.keys != keys {
            tokens.pop(token);
            return None;
        }
        Some(verified.clone())
    }

    pub(super) fn remember(&self, token: Fingerprint, verified: Verified) {
        if let Some(tokens) = &self.0 {
            lock(tokens).put(token, verified);
        }
    }
}

pub(super) fn fingerprint(token: &str) -> Fingerprint {
    Sha256::digest(token).into()
}

fn lock(tokens: &Mutex<LruCache<Fingerprint, Verified>>) -> MutexGuard<'_, LruCache<Fingerprint, Verified>> {
    // Each change leaves the map whole, so a panic elsewhere cannot have broken it.
    tokens.lock().unwrap_or_else(PoisonError::into_inner)
}
