//! The keys of those who may call: which there are, and what each allows.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use sha2::{Digest as _, Sha256};

use crate::config::{ApiKeyConfig, Role};
use crate::refusal::Refusal;

use super::methods::Access;

/// A shorter key can be guessed.
const MIN_KEY_BYTES: usize = 16;

type Hash = [u8; 32];

/// Why the configured keys cannot be used: mend the one that is named.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidKey {
    /// It has no name.
    #[error("each of api.keys needs a name; number {0} has none")]
    NoName(usize),
    /// Something else is wrong with it.
    #[error("api.keys: {name:?}: {why}")]
    Named {
        /// The key's name.
        name: String,
        /// What is wrong with it.
        why: String,
    },
}

/// All keys that count. They are kept as hashes: looking one up takes as long whatever of it is right.
#[derive(Debug, Default)]
pub(crate) struct KeySet(HashMap<Hash, Key, foldhash::fast::RandomState>);

#[derive(Debug)]
struct Key {
    name: Arc<str>,
    roles: Vec<Role>,
}

impl KeySet {
    /// Checks the configured keys and reads their files.
    pub(crate) fn load(configured: &[ApiKeyConfig]) -> Result<Self, InvalidKey> {
        let (mut keys, mut names) = (HashMap::default(), HashSet::new());
        for (at, config) in configured.iter().enumerate() {
            if config.name.trim().is_empty() {
                return Err(InvalidKey::NoName(at + 1));
            }
            let invalid = |why: String| InvalidKey::Named { name: config.name.clone(), why };
            if !names.insert(&config.name) {
                return Err(invalid("there is another one of this name".to_owned()));
            }
            if config.name.chars().any(char::is_control) {
                return Err(invalid("a name must not hold control characters".to_owned()));
            }
            if config.roles.is_empty() {
                return Err(invalid("it needs at least one of the roles push, read and operate".to_owned()));
            }
            let key = Key { name: config.name.as_str().into(), roles: config.roles.clone() };
            if let Some(other) = keys.insert(hash_of(config).map_err(invalid)?, key) {
                let why = format!("it is the same key as that of {:?}", other.name);
                return Err(InvalidKey::Named { name: config.name.clone(), why });
            }
        }
        Ok(Self(keys))
    }

    /// Whether there are none: then whoever reaches the port may do everything.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Lets a caller in, who says this in the header `authorization`; returns whose key it is, if there are keys.
    pub(crate) fn admit(
        &self,
        authorization: Option<&[u8]>,
        access: Access,
    ) -> Result<Option<Arc<str>>, Refusal> {
        if self.is_empty() || access == Access::Open {
            return Ok(None);
        }
        let key = authorization.and_then(bearer).and_then(|key| self.0.get(&hash(key)));
        let key = key.ok_or(Refusal::Unauthenticated)?;
        match access {
            Access::Role(role) if !key.roles.contains(&role) => {
                Err(Refusal::Forbidden { key: key.name.as_ref().to_owned(), role })
            }
            _ => Ok(Some(key.name.clone())),
        }
    }
}

fn bearer(authorization: &[u8]) -> Option<&[u8]> {
    let (scheme, key) = authorization.split_at_checked("Bearer ".len())?;
    scheme.eq_ignore_ascii_case(b"Bearer ").then(|| key.trim_ascii())
}

fn hash(key: &[u8]) -> Hash {
    Sha256::digest(key).into()
}

fn hash_of(config: &ApiKeyConfig) -> Result<Hash, String> {
    let from_file = !config.key_file.as_os_str().is_empty();
    match (config.key.as_str(), from_file, config.key_sha256.as_str()) {
        ("", false, hex) if !hex.is_empty() => {
            parse_hash(hex).ok_or_else(|| "key_sha256 must have 64 hexadecimal digits".to_owned())
        }
        ("", true, "") => {
            let file = config.key_file.display();
            let text =
                std::fs::read(&config.key_file).map_err(|error| format!("key_file {file}: {error}"))?;
            check(text.trim_ascii()).map_err(|why| format!("key_file {file}: {why}"))
        }
        (key, false, "") if !key.is_empty() => check(key.as_bytes()).map_err(|why| format!("key: {why}")),
        _ => Err("it needs exactly one of key, key_file and key_sha256".to_owned()),
    }
}

fn check(key: &[u8]) -> Result<Hash, String> {
    if key.len() < MIN_KEY_BYTES {
        return Err(format!("a key has at least {MIN_KEY_BYTES} bytes"));
    }
    if !key.iter().all(u8::is_ascii_graphic) {
        return Err(
            "a key has printable ASCII characters without spaces only: it travels in a header".to_owned()
        );
    }
    Ok(hash(key))
}

fn parse_hash(hex: &str) -> Option<Hash> {
    let digits = hex.chars().map(|digit| digit.to_digit(16)).collect::<Option<Vec<_>>>()?;
    let bytes = digits.chunks_exact(2).map(|pair| (pair[0] << 4 | pair[1]) as u8).collect::<Vec<_>>();
    (digits.len() == 64).then(|| bytes.try_into().ok()).flatten()
}

#[cfg(test)]
#[path = "keys_tests.rs"]
mod tests;
