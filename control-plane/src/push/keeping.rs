//! What a push says of history: whether and how long it is kept, and under which key and version.

use std::time::Duration;

use fanfare_proto::v1;

use crate::owner::request::Keep;
use crate::refusal::Refusal;

/// The longest idempotency key and version epoch, in bytes.
const MAX_KEY_BYTES: usize = 256;

/// What a message says of history, before it is known whether its target has one.
#[derive(Debug)]
pub(super) struct Keeping {
    storage: v1::Storage,
    key: String,
    version: u64,
    version_epoch: String,
    ttl: Option<Duration>,
}

impl Keeping {
    /// Checks what holds for every target.
    pub(super) fn parse(message: &v1::Message, key: String) -> Result<Self, Refusal> {
        let too_long = format!("at most {MAX_KEY_BYTES} bytes");
        if key.len() > MAX_KEY_BYTES {
            return Err(Refusal::invalid("idempotency_key", too_long));
        }
        if message.version_epoch.len() > MAX_KEY_BYTES {
            return Err(Refusal::invalid("message.version_epoch", too_long));
        }
        if message.version == 0 && !message.version_epoch.is_empty() {
            return Err(Refusal::invalid("message.version_epoch", "it goes together with a version"));
        }
        let storage = v1::Storage::try_from(message.storage)
            .map_err(|_| Refusal::invalid("message.storage", "STORAGE_STORE or STORAGE_SKIP"))?;
        let ttl = message.ttl.map(Duration::try_from).transpose();
        let ttl = match ttl {
            Ok(ttl) if ttl != Some(Duration::ZERO) => ttl,
            _ => return Err(Refusal::invalid("message.ttl", "a duration above 0")),
        };
        let keeping = Self {
            storage,
            key,
            version: message.version,
            version_epoch: message.version_epoch.clone(),
            ttl,
        };
        match keeping.needs_history() {
            Some(field) if storage == v1::Storage::Skip => {
                Err(Refusal::invalid(field, "it goes together with history, which STORAGE_SKIP leaves out"))
            }
            _ => Ok(keeping),
        }
    }

    /// What it is at a target with a history or without.
    pub(super) fn at(&self, has_history: bool, is_connection: bool) -> Result<Keep, Refusal> {
        if is_connection && !self.key.is_empty() {
            let why = "a push to one connection has none: nobody would keep it";
            return Err(Refusal::invalid("idempotency_key", why));
        }
        let storing = (self.storage == v1::Storage::Store).then_some("message.storage");
        if let Some(field) = storing.or(self.needs_history()).filter(|_| !has_history) {
            return Err(match is_connection {
                true => Refusal::invalid(field, "a push to one connection is not stored"),
                false => Refusal::NoHistory { field },
            });
        }
        Ok(Keep {
            stored: has_history && self.storage != v1::Storage::Skip,
            key: self.key.clone(),
            version: self.version,
            version_epoch: self.version_epoch.clone(),
            ttl: self.ttl,
        })
    }

    /// The first field that means nothing without a history.
    fn needs_history(&self) -> Option<&'static str> {
        let version = (self.version != 0).then_some("message.version");
        version.or(self.ttl.is_some().then_some("message.ttl"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(message: &v1::Message, key: &str) -> Result<Keeping, Refusal> {
        Keeping::parse(message, key.to_owned())
    }

    fn ttl(seconds: i64) -> Option<fanfare_proto::Duration> {
        Some(fanfare_proto::Duration { seconds, nanos: 0 })
    }

    fn storage(storage: v1::Storage) -> v1::Message {
        v1::Message { storage: storage.into(), ..Default::default() }
    }

    #[test]
    fn what_needs_a_history_is_refused_without_one_and_never_ignored() {
        let version = v1::Message { version: 1, version_epoch: "e".into(), ..Default::default() };
        let cases = [
            (v1::Message { ttl: ttl(5), ..Default::default() }, "message.ttl"),
            (version, "message.version"),
            (storage(v1::Storage::Store), "message.storage"),
        ];
        for (message, field) in cases {
            let keeping = parse(&message, "").unwrap();
            assert!(keeping.at(true, false).unwrap().stored);
            assert_eq!(keeping.at(false, false), Err(Refusal::NoHistory { field }));
            assert!(
                matches!(keeping.at(false, true), Err(Refusal::Invalid { field: at, .. }) if at == field)
            );
        }
    }

    #[test]
    fn a_namespace_decides_unless_the_message_does() {
        let unspecified = parse(&v1::Message::default(), "k").unwrap();
        assert!(unspecified.at(true, false).unwrap().stored);
        assert!(!unspecified.at(false, false).unwrap().stored);
        let skip = parse(&storage(v1::Storage::Skip), "k").unwrap();
        let keep = skip.at(true, false).unwrap();
        assert!(!keep.stored && keep.key == "k");
        assert!(unspecified.at(false, true).is_err(), "nobody would keep a connection's key");
    }

    #[test]
    fn what_makes_no_sense_is_named() {
        let wrong = |message: v1::Message, key: &str| match parse(&message, key) {
            Err(Refusal::Invalid { field, .. }) => field,
            other => panic!("expected a wrong field, got {other:?}"),
        };
        assert_eq!(wrong(v1::Message::default(), &"k".repeat(257)), "idempotency_key");
        assert_eq!(wrong(v1::Message { storage: 7, ..Default::default() }, ""), "message.storage");
        assert_eq!(wrong(v1::Message { ttl: ttl(0), ..Default::default() }, ""), "message.ttl");
        assert_eq!(wrong(v1::Message { ttl: ttl(-1), ..Default::default() }, ""), "message.ttl");
        let epoch = v1::Message { version_epoch: "e".into(), ..Default::default() };
        assert_eq!(wrong(epoch, ""), "message.version_epoch");
        let skipped = v1::Message { ttl: ttl(1), ..storage(v1::Storage::Skip) };
        assert_eq!(wrong(skipped, ""), "message.ttl");
    }
}
