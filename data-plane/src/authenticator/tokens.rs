//! Tokens of clients: verified with the configured and the published keys, and remembered.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use arc_swap::ArcSwap;
use serde::de::DeserializeOwned;

use super::cache::{Cache, Grant, Verified, fingerprint};
use super::claims::{ConnectionClaims, Policy, Registered, SubscriptionClaims, Times};
use super::jwks::{Found, PublishedKeys};
use super::jwt::Parts;
use super::keys::{KeyError, Keys};
use super::{Authenticator, Denied, Identity, SubscriptionGrant, unix_seconds};
use crate::config::TokenConfig;

/// Verifies tokens. Keys can be replaced while it runs.
pub(crate) struct TokenAuthenticator {
    settings: ArcSwap<Settings>,
    published: Option<Arc<PublishedKeys>>,
    cache: Cache,
    generations: AtomicU64,
}

/// What tokens are held against.
struct Settings {
    keys: Keys,
    policy: Policy,
    /// Differs from that of all settings before.
    generation: u64,
}

impl TokenAuthenticator {
    /// Reads the keys.
    ///
    /// # Errors
    /// Says which one cannot be used.
    pub(crate) fn new(config: &TokenConfig, published: Option<Arc<PublishedKeys>>) -> Result<Self, KeyError> {
        let settings = ArcSwap::from_pointee(Settings::read(config, 0)?);
        let cache = Cache::new(config.cache_size);
        Ok(Self { settings, published, cache, generations: AtomicU64::new(0) })
    }

    /// Reads keys, audience, issuer and leeway anew. If they are not good, all stays as it was.
    ///
    /// # Errors
    /// Says which key cannot be used.
    pub(crate) fn reload(&self, config: &TokenConfig) -> Result<(), KeyError> {
        let generation = self.generations.fetch_add(1, Ordering::Relaxed) + 1;
        self.settings.store(Arc::new(Settings::read(config, generation)?));
        Ok(())
    }

    fn verify<C: DeserializeOwned>(
        &self,
        token: &str,
        now: SystemTime,
        grant: impl FnOnce(C, Times) -> Result<Grant, Denied>,
    ) -> Result<Grant, Denied> {
        let now = unix_seconds(now);
        let settings = self.settings.load();
        // Both numbers only grow, so that their sum changes whenever one of them does.
        let keys =
            settings.generation + self.published.as_ref().map_or(0, |published| published.generation());
        let fingerprint = fingerprint(token);
        if let Some(verified) = self.cache.find(&fingerprint, keys) {
            let over = verified.token_ends.is_some_and(|ends| ends <= now);
            return if over { Err(Denied::Expired) } else { Ok(verified.grant) };
        }
        let parts = Parts::of(token).ok_or(Denied::Invalid)?;
        self.check_signature(&parts, &settings)?;
        let registered: Registered = read(&parts.claims)?;
        let times = registered.check(&settings.policy, now)?;
        let grant = grant(read(&parts.claims)?, times)?;
        let verified = Verified { grant: grant.clone(), token_ends: times.token_ends, keys };
        self.cache.remember(fingerprint, verified);
        Ok(grant)
    }

    fn check_signature(&self, parts: &Parts<'_>, settings: &Settings) -> Result<(), Denied> {
        if settings.keys.candidates(parts.kid()).iter().any(|key| parts.is_signed_by(key)) {
            return Ok(());
        }
        // A name that the configuration knows is not looked for elsewhere.
        let elsewhere = parts.kid().is_none_or(|kid| !settings.keys.has(kid));
        match self.published.as_ref().filter(|_| elsewhere).map(|published| published.find(parts.kid())) {
            Some(Found::Keys(keys))
                if keys.candidates(parts.kid()).iter().any(|key| parts.is_signed_by(key)) =>
            {
                Ok(())
            }
            Some(Found::Pending) => Err(Denied::KeyPending),
            _ => Err(Denied::Invalid),
        }
    }
}

impl Settings {
    fn read(config: &TokenConfig, generation: u64) -> Result<Self, KeyError> {
        let policy = Policy {
            audience: config.audience.clone(),
            issuer: config.issuer.clone(),
            leeway: config.leeway.0.as_secs(),
        };
        Ok(Self { keys: Keys::read(config)?, policy, generation })
    }
}

fn read<C: DeserializeOwned>(claims: &[u8]) -> Result<C, Denied> {
    serde_json::from_slice(claims).map_err(|_| Denied::Invalid)
}

impl Authenticator for TokenAuthenticator {
    fn connection(&self, token: &str, now: SystemTime) -> Result<Arc<Identity>, Denied> {
        let grant =
            |claims: ConnectionClaims, times| Ok(Grant::Connection(Arc::new(claims.into_identity(times)?)));
        match self.verify(token, now, grant)? {
            Grant::Connection(identity) => Ok(identity),
            Grant::Subscription(_) => Err(Denied::Invalid),
        }
    }

    fn subscription(&self, token: &str, now: SystemTime) -> Result<Arc<SubscriptionGrant>, Denied> {
        let grant =
            |claims: SubscriptionClaims, times| Ok(Grant::Subscription(Arc::new(claims.into_grant(times)?)));
        match self.verify(token, now, grant)? {
            Grant::Subscription(grant) => Ok(grant),
            Grant::Connection(_) => Err(Denied::Invalid),
        }
    }
}

#[cfg(test)]
#[path = "tokens_tests.rs"]
mod tests;
