//! Who a process is: its configured id, and the incarnation that tells one start of it from the next.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// The id of a node or a replica: 1 to 63 characters, `a-z`, `0-9`, `-` and `.`, as in host names.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct MemberId(Arc<str>);

/// Why a text is no [`MemberId`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an id has 1 to 63 characters out of a-z, 0-9, '-' and '.'; {0:?} has not")]
pub struct InvalidMemberId(String);

impl MemberId {
    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for MemberId {
    type Err = InvalidMemberId;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let good = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.');
        if (1..=63).contains(&text.len()) && text.bytes().all(good) {
            Ok(Self(text.into()))
        } else {
            Err(InvalidMemberId(text.to_owned()))
        }
    }
}

impl TryFrom<String> for MemberId {
    type Error = InvalidMemberId;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<MemberId> for String {
    fn from(id: MemberId) -> Self {
        id.0.as_ref().to_owned()
    }
}

impl fmt::Display for MemberId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// One start of a process. What carries an older incarnation is stale.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Incarnation(u64);

impl Incarnation {
    /// A new one, never zero.
    pub fn random() -> Self {
        Self(rand::random::<u64>().max(1))
    }

    /// As it came over the wire.
    pub fn from_wire(value: u64) -> Self {
        Self(value)
    }

    /// As it goes over the wire.
    pub fn to_wire(self) -> u64 {
        self.0
    }

    /// The 32 bits that connection ids carry, so that a connection's node is known without a look-up.
    pub fn tag(self) -> u32 {
        (self.0 >> 32) as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_looks_like_a_host_name() {
        assert!("node-1.eu".parse::<MemberId>().is_ok());
        for bad in ["", "Node", "a b", "a/b", &"x".repeat(64)] {
            assert!(bad.parse::<MemberId>().is_err(), "{bad:?}");
        }
    }
}
