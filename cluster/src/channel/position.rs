//! A place in a channel's stream: which stream, and how far in it.

use std::fmt;
use std::str::FromStr;

use fanfare_proto::link;

/// Which stream of a channel: made anew whenever offsets could begin anew. Offsets of different epochs cannot be
/// compared. 0 stands for no stream at all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Epoch(pub u64);

/// A place in a channel's stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct StreamPosition {
    /// The stream.
    pub epoch: Epoch,
    /// Counts its publications from 1; 0 is before the first.
    pub offset: u64,
}

/// A text is no epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an epoch is given as the server has said it, or left out")]
pub struct InvalidEpoch;

impl Epoch {
    /// No stream ever has it: who is there is in no stream that still exists.
    pub const NONE_EVER: Self = Self(u64::MAX);

    /// A new epoch, which no other stream has.
    pub fn random() -> Self {
        Self(rand::random::<u64>().clamp(1, u64::MAX - 1))
    }

    /// Whether it is any stream's.
    pub fn is_some(self) -> bool {
        self.0 != 0
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_some() { write!(f, "{:x}", self.0) } else { Ok(()) }
    }
}

impl FromStr for Epoch {
    type Err = InvalidEpoch;

    fn from_str(text: &str) -> Result<Self, InvalidEpoch> {
        if text.is_empty() {
            return Ok(Self::default());
        }
        let epoch = u64::from_str_radix(text, 16).map(Self).map_err(|_| InvalidEpoch)?;
        // One text for each epoch: they are compared as texts elsewhere.
        if epoch.to_string() == text { Ok(epoch) } else { Err(InvalidEpoch) }
    }
}

impl From<StreamPosition> for link::StreamPosition {
    fn from(StreamPosition { epoch, offset }: StreamPosition) -> Self {
        Self { offset, epoch: epoch.0 }
    }
}

impl From<link::StreamPosition> for StreamPosition {
    fn from(link::StreamPosition { offset, epoch }: link::StreamPosition) -> Self {
        Self { epoch: Epoch(epoch), offset }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_epoch_has_one_text() {
        let epoch = Epoch::random();
        assert_eq!(epoch.to_string().parse(), Ok(epoch));
        assert_eq!("".parse(), Ok(Epoch::default()));
        assert_eq!(Epoch::default().to_string(), "");
        for no_epoch in ["_", "0", "00a1", "A1", "+1", "11111111111111111"] {
            assert_eq!(no_epoch.parse::<Epoch>(), Err(InvalidEpoch), "{no_epoch}");
        }
    }
}
