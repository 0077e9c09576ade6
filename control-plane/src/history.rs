//! Port `History`: where channels' streams are kept, and the one place that gives publications their offsets.

mod memory;
mod redis;

use std::fmt;
use std::time::Duration;

use fanfare_cluster::channel::{ChannelName, StreamPosition};
use fanfare_cluster::placement::PlacementNumber;
use fanfare_proto::link;
use futures_util::future::BoxFuture;
use smallvec::SmallVec;

pub(crate) use self::redis::RedisHistory;
pub use self::redis::{InvalidRedis, RedisConfig, RedisSentinel, RedisTls};
pub(crate) use memory::MemoryHistory;

/// How long a channel's publications, keys and position are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Retention {
    /// Publications at most.
    pub(crate) size: u32,
    /// Each publication at most so long.
    pub(crate) ttl: Duration,
    /// Idempotency keys so long.
    pub(crate) keys: Duration,
    /// The position and the epoch so long after the last publication.
    pub(crate) meta: Duration,
}

/// One publication that shall get its place.
#[derive(Clone, Debug, Default)]
pub(crate) struct Entry {
    /// What is published; its offset and times are set by the history.
    pub(crate) publication: link::Publication,
    /// A key that was seen before gets its first answer; empty if there is none.
    pub(crate) key: String,
    /// Not newer than the newest version of the epoch: dropped. 0 if there is none.
    pub(crate) version: u64,
    /// Versions of different epochs are not compared: another one begins anew.
    pub(crate) version_epoch: String,
    /// How long it can be read, if that is shorter than the channel's retention.
    pub(crate) ttl: Option<Duration>,
}

/// Publications of one channel that get their places in one step, in their order.
#[derive(Clone, Debug)]
pub(crate) struct Append {
    pub(crate) channel: ChannelName,
    pub(crate) entries: Vec<Entry>,
    pub(crate) retention: Retention,
    /// The number of the placement by which the caller owns the channel.
    pub(crate) fence: PlacementNumber,
    /// The highest position that anybody has told the caller of. A history that is behind it in the same epoch has
    /// lost its tail, and begins a new epoch. One that knows nothing of the channel goes on from an epoch that has no
    /// publication yet.
    pub(crate) known: StreamPosition,
}

/// What became of one entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It has this offset in the epoch of [`Appended::top`].
    Stored {
        /// Its offset.
        offset: u64,
        /// When it was taken, in Unix milliseconds.
        time_ms: u64,
        /// When its own time is over, in Unix milliseconds; 0 if it has none.
        expires_at_ms: u64,
    },
    /// Its key was seen before, with a publication that has this position.
    Repeated(StreamPosition),
    /// Its version is not newer than one that the channel has seen.
    Superseded,
}

/// What became of an append.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Appended {
    /// One for each entry.
    pub(crate) outcomes: SmallVec<[Outcome; 1]>,
    /// The end of the stream behind them.
    pub(crate) top: StreamPosition,
}

/// Which part of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// From old to new, behind this offset.
    After(u64),
    /// From new to old, before this offset and behind the second one.
    Before(u64, u64),
}

/// A part of a channel's stream.
#[derive(Clone, Debug)]
pub(crate) struct Read {
    pub(crate) channel: ChannelName,
    pub(crate) part: Part,
    /// Publications at most.
    pub(crate) limit: usize,
    /// Bytes at most, but at least one publication.
    pub(crate) max_bytes: usize,
    pub(crate) retention: Retention,
}

/// A publication in a stream.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Stored {
    pub(crate) offset: u64,
    /// `None` if its own time to live is over: it has its place, but nobody gets it any more.
    pub(crate) publication: Option<link::Publication>,
}

/// What was read.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Page {
    /// In the order that was asked for. Those that are missing at the old end are not kept any more.
    pub(crate) stored: Vec<Stored>,
    /// The end of the stream when it was read.
    pub(crate) top: StreamPosition,
}

/// Why a history could not do what it was asked to. Nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum HistoryError {
    /// Somebody owns the channel by a newer placement: read the placement anew.
    Fenced,
    /// It cannot be reached or is in trouble: try again. An append may have been carried out all the same, so it
    /// can be tried again without harm only with a key.
    Unavailable(String),
}

impl fmt::Display for HistoryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fenced => f.write_str("another replica owns the channel by now"),
            Self::Unavailable(why) => write!(f, "the history is not available: {why}"),
        }
    }
}

/// What an adapter answers, sooner or later.
pub(crate) type Answer<T> = BoxFuture<'static, Result<T, HistoryError>>;

/// Keeps channels' streams. All operations on one channel are atomic; their order is the order in which they take
/// effect. The futures hold nothing of the caller.
pub(crate) trait History: Send + Sync + fmt::Debug {
    /// Gives publications their places.
    fn append(&self, append: Append) -> Answer<Appended>;

    /// The end of a channel's stream, which has an epoch from then on. Appends with an older fence are refused from
    /// then on.
    fn top(
        &self,
        channel: ChannelName,
        fence: PlacementNumber,
        known: StreamPosition,
    ) -> Answer<StreamPosition>;

    /// Reads a part of a stream.
    fn read(&self, read: Read) -> Answer<Page>;

    /// Forgets a channel's publications. The end of the stream stays where it is.
    fn remove(&self, channel: ChannelName, fence: PlacementNumber) -> Answer<StreamPosition>;

    /// Whether other processes may write to it, or it may lose something while this one lives: then it is worth a look
    /// from time to time.
    fn is_shared(&self) -> bool;

    /// About how many bytes it keeps in this process.
    fn bytes(&self) -> usize;
}

#[cfg(test)]
pub(crate) mod contract;
