//! The id of one client connection, which also says where the connection is held.

use std::fmt;
use std::str::FromStr;

use bytes::Bytes;

use crate::member::Incarnation;

/// 16 bytes, shown as a UUID of version 8.
///
/// Bytes 0-3 are the tag of the node's incarnation. Byte 4 is the shard and bytes 5, 7 and 9 are the
/// slot within it: a push to a connection finds it with one index and no map. The other 58 bits are
/// random, so that a reused slot has another id.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConnectionId([u8; 16]);

/// Why a text or some bytes are no [`ConnectionId`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a connection id is a UUID as given in the connect reply")]
pub struct InvalidConnectionId;

impl ConnectionId {
    /// The largest slot that an id can carry.
    pub const MAX_SLOT: usize = (1 << 24) - 1;

    /// Makes the id of a new connection in `slot` (at most [`Self::MAX_SLOT`]) of `shard`.
    pub fn new(incarnation: Incarnation, shard: u8, slot: usize) -> Self {
        debug_assert!(slot <= Self::MAX_SLOT);
        let mut bytes: [u8; 16] = rand::random();
        bytes[..4].copy_from_slice(&incarnation.tag().to_be_bytes());
        bytes[4] = shard;
        bytes[5] = (slot >> 16) as u8;
        bytes[6] = 0x80 | (bytes[6] & 0x0f); // version 8
        bytes[7] = (slot >> 8) as u8;
        bytes[8] = 0x80 | (bytes[8] & 0x3f); // variant
        bytes[9] = slot as u8;
        Self(bytes)
    }

    /// The tag of the incarnation of the node that holds the connection.
    pub fn node_tag(self) -> u32 {
        u32::from_be_bytes([self.0[0], self.0[1], self.0[2], self.0[3]])
    }

    /// The shard that holds the connection.
    pub fn shard(self) -> u8 {
        self.0[4]
    }

    /// The slot within the shard.
    pub fn slot(self) -> usize {
        usize::from(self.0[5]) << 16 | usize::from(self.0[7]) << 8 | usize::from(self.0[9])
    }

    /// The 16 bytes, as they travel on links.
    pub fn to_bytes(self) -> Bytes {
        Bytes::copy_from_slice(&self.0)
    }

    /// The 16 bytes.
    pub fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

impl TryFrom<&[u8]> for ConnectionId {
    type Error = InvalidConnectionId;

    fn try_from(bytes: &[u8]) -> Result<Self, Self::Error> {
        bytes.try_into().map(Self).map_err(|_| InvalidConnectionId)
    }
}

impl FromStr for ConnectionId {
    type Err = InvalidConnectionId;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let dashes_fit = text.len() == 36
            && text.bytes().enumerate().all(|(at, byte)| (byte == b'-') == matches!(at, 8 | 13 | 18 | 23));
        if !dashes_fit {
            return Err(InvalidConnectionId);
        }
        let digits: Vec<u8> = text
            .chars()
            .filter(|character| *character != '-')
            .map(|character| character.to_digit(16).map(|digit| digit as u8).ok_or(InvalidConnectionId))
            .collect::<Result<_, _>>()?;
        let mut bytes = [0; 16];
        for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
            *byte = pair[0] << 4 | pair[1];
        }
        Ok(Self(bytes))
    }
}

impl fmt::Display for ConnectionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, byte) in self.0.iter().enumerate() {
            if matches!(at, 4 | 6 | 8 | 10) {
                f.write_str("-")?;
            }
            write!(f, "{byte:02x}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for ConnectionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_tells_where_its_connection_is_and_survives_being_text() {
        let incarnation = Incarnation::random();
        for slot in [0, 1, 255, 65_536, ConnectionId::MAX_SLOT] {
            let id = ConnectionId::new(incarnation, 7, slot);
            let text = id.to_string();
            assert_eq!(text.as_bytes()[14], b'8', "version in {text}");
            let parsed: ConnectionId = text.parse().unwrap();
            assert_eq!(parsed, id);
            assert_eq!((parsed.node_tag(), parsed.shard(), parsed.slot()), (incarnation.tag(), 7, slot));
        }
    }

    #[test]
    fn what_is_no_uuid_is_refused() {
        for bad in ["", "x", "0b2e", "00000000-0000-0000-0000-00000000000g", &"0".repeat(36), &"-".repeat(36)]
        {
            assert!(bad.parse::<ConnectionId>().is_err(), "{bad:?}");
        }
    }
}
