//! The keys that tokens may be signed with, from the configuration and from a published set.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use super::jwt::{Expected, Key};
use crate::config::{TokenConfig, TokenKey};

/// Why the keys of a configuration cannot be used: mend the key that is named.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The text of a public key is not one.
    #[error("{place} is not a public key in PEM of the kind that is wanted")]
    NotPem {
        /// The configuration key.
        place: String,
    },
    /// A file cannot be read.
    #[error("{place}: {}: {source}", file.display())]
    File {
        /// The configuration key.
        place: String,
        /// The file.
        file: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// An empty secret would let everybody sign tokens.
    #[error("{place} is empty")]
    Empty {
        /// The configuration key.
        place: String,
    },
    /// One of `client.token.keys` is given in no way, or in several.
    #[error("{place} needs exactly one of secret, secret_file, public_key and public_key_file")]
    NotOne {
        /// The configuration key.
        place: String,
    },
}

/// Keys, by the names that tokens give them.
#[derive(Clone, Default)]
pub(super) struct Keys {
    unnamed: Vec<Key>,
    named: HashMap<String, Vec<Key>>,
}

impl Keys {
    /// Reads the configuration's keys, and the files that it names.
    pub(super) fn read(config: &TokenConfig) -> Result<Self, KeyError> {
        let mut keys = Self::default();
        if !config.hmac_secret_key.is_empty() {
            keys.add(None, Key::secret(config.hmac_secret_key.as_bytes()));
        }
        let public = [
            ("rsa_public_key", &config.rsa_public_key, Expected::Rsa),
            ("ecdsa_public_key", &config.ecdsa_public_key, Expected::Ecdsa),
            ("eddsa_public_key", &config.eddsa_public_key, Expected::EdDsa),
        ];
        for (name, pem, expected) in public.into_iter().filter(|(_, pem, _)| !pem.is_empty()) {
            let place = format!("client.token.{name}");
            keys.add(None, Key::public(pem, expected).ok_or(KeyError::NotPem { place })?);
        }
        for (index, key) in config.keys.iter().enumerate() {
            let kid = Some(key.kid.clone()).filter(|kid| !kid.is_empty());
            keys.add(kid, read(key, format!("client.token.keys[{index}]"))?);
        }
        Ok(keys)
    }

    /// The keys of a published set, in its JSON form; `None` if it has another form.
    pub(super) fn published(json: &[u8]) -> Option<Self> {
        let mut keys = Self::default();
        for (kid, key) in Key::read_set(json)? {
            keys.add(kid, key);
        }
        Some(keys)
    }

    fn add(&mut self, kid: Option<String>, key: Key) {
        match kid {
            Some(kid) => self.named.entry(kid).or_default().push(key),
            None => self.unnamed.push(key),
        }
    }

    /// The keys that can have signed a token: those of its `kid` if it names one that is known, else those
    /// without a name.
    pub(super) fn candidates(&self, kid: Option<&str>) -> &[Key] {
        kid.and_then(|kid| self.named.get(kid)).unwrap_or(&self.unnamed)
    }

    /// Whether there is a key of this name.
    pub(super) fn has(&self, kid: &str) -> bool {
        self.named.contains_key(kid)
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.unnamed.len() + self.named.values().map(Vec::len).sum::<usize>()
    }
}

fn read(key: &TokenKey, place: String) -> Result<Key, KeyError> {
    let TokenKey { secret, secret_file, public_key, public_key_file, .. } = key;
    let no_file = |file: &Path| file.as_os_str().is_empty();
    let given =
        [!secret.is_empty(), !no_file(secret_file), !public_key.is_empty(), !no_file(public_key_file)];
    if given.iter().filter(|given| **given).count() != 1 {
        return Err(KeyError::NotOne { place });
    }
    let text = |file: &Path| {
        let file_error = |source| KeyError::File { place: place.clone(), file: file.to_owned(), source };
        std::fs::read_to_string(file).map_err(file_error)
    };
    let pem = match given {
        [true, ..] => return Ok(Key::secret(secret.as_bytes())),
        [_, true, ..] => {
            let secret = text(secret_file)?;
            let secret = secret.trim_end();
            return if secret.is_empty() {
                Err(KeyError::Empty { place })
            } else {
                Ok(Key::secret(secret.as_bytes()))
            };
        }
        [_, _, true, _] => public_key.clone(),
        _ => text(public_key_file)?,
    };
    Key::public(&pem, Expected::Any).ok_or(KeyError::NotPem { place })
}
