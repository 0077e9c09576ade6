//! What is remembered of a connection for those who ask about it.

use std::collections::HashSet;
use std::sync::Arc;

use fanfare_proto::client::ConnectRequest;

/// How many kinds of SDKs a shard keeps apart, and how long a name or version is, in bytes. What passes that
/// is not remembered.
const MAX_SDKS: usize = 256;
const MAX_NAME: usize = 64;

/// What a client's SDK calls itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Sdk {
    pub(crate) name: String,
    pub(crate) version: String,
}

/// A connection's part.
#[derive(Clone, Debug, Default)]
pub(crate) struct Profile {
    /// `None` if it does not say, or says too much.
    pub(crate) sdk: Option<Arc<Sdk>>,
    /// When its connect was answered, in Unix seconds.
    pub(crate) connected_at: u32,
    /// It counts among its user's connections.
    pub(crate) holds_place: bool,
}

/// The SDKs that a shard has seen: few, and shared by millions of connections.
#[derive(Debug, Default)]
pub(crate) struct Sdks(HashSet<Arc<Sdk>>);

impl Sdks {
    /// The SDK of a client that connects.
    pub(crate) fn of(&mut self, connect: &ConnectRequest) -> Option<Arc<Sdk>> {
        let ConnectRequest { name, version, .. } = connect;
        let fits = |text: &str| text.len() <= MAX_NAME && !text.chars().any(char::is_control);
        if name.is_empty() && version.is_empty() || !fits(name) || !fits(version) {
            return None;
        }
        let sdk = Sdk { name: name.clone(), version: version.clone() };
        if let Some(known) = self.0.get(&sdk) {
            return Some(known.clone());
        }
        if self.0.len() >= MAX_SDKS {
            return None;
        }
        let sdk = Arc::new(sdk);
        self.0.insert(sdk.clone());
        Some(sdk)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_connections_share_one_sdk_and_strangers_cannot_make_it_grow() {
        let mut sdks = Sdks::default();
        let mut of = |name: &str| sdks.of(&ConnectRequest { name: name.into(), ..Default::default() });
        let (first, second) = (of("js").unwrap(), of("js").unwrap());
        assert!(Arc::ptr_eq(&first, &second));
        assert!(of("").is_none() && of(&"x".repeat(65)).is_none() && of("a\nb").is_none());
        let kept = (0..1_000).filter(|number| of(&number.to_string()).is_some()).count();
        assert_eq!(kept, MAX_SDKS - 1);
    }
}
