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

impl Sdk {
    /// The SDK of a client that connects; `None` if it does not say, or says too much.
    pub(crate) fn of(connect: &ConnectRequest) -> Option<Self> {
        let ConnectRequest { name, version, .. } = connect;
        let fits = |text: &str| text.len() <= MAX_NAME && !text.chars().any(char::is_control);
        let says = !name.is_empty() || !version.is_empty();
        (says && fits(name) && fits(version)).then(|| Self { name: name.clone(), version: version.clone() })
    }
}

impl Sdks {
    /// The same SDK as other connections have, of a client that was let in.
    pub(crate) fn share(&mut self, sdk: Sdk) -> Option<Arc<Sdk>> {
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
        let mut of = |name: &str| {
            let connect = ConnectRequest { name: name.into(), ..Default::default() };
            Sdk::of(&connect).and_then(|sdk| sdks.share(sdk))
        };
        let (first, second) = (of("js").unwrap(), of("js").unwrap());
        assert!(Arc::ptr_eq(&first, &second));
        assert!(of("").is_none() && of(&"x".repeat(65)).is_none() && of("a\nb").is_none());
        let kept = (0..1_000).filter(|number| of(&number.to_string()).is_some()).count();
        assert_eq!(kept, MAX_SDKS - 1);
    }
}
