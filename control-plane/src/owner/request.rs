//! What an owner is asked for and what it wants done, as values.

use std::mem;
use std::time::{Duration, Instant};

use bytes::Bytes;
use fanfare_cluster::channel::{ChannelName, StreamPosition};
use fanfare_proto::link::{self, open_response};

use super::{Reach, SessionId};
use crate::history::{Appended, Entry, Page, Part};
use crate::refusal::Refusal;

/// Names who waits for an answer: the driver knows the rest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Reply {
    pub(crate) waiting: u64,
    /// Its place among publications that are answered together.
    pub(crate) place: usize,
}

/// What the history makes of a publication.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Keep {
    /// It is kept and gets an offset.
    pub(crate) stored: bool,
    /// Who repeats it gets the first one's answer; empty if there is none.
    pub(crate) key: String,
    /// Not newer than the newest version of the epoch: dropped. 0 if there is none.
    pub(crate) version: u64,
    pub(crate) version_epoch: String,
    /// How long it can be read, if that is shorter than the channel's retention.
    pub(crate) ttl: Option<Duration>,
}

/// A publication on its way to a channel.
#[derive(Clone, Debug)]
pub(crate) struct Publish {
    pub(crate) channel: ChannelName,
    pub(crate) publication: link::Publication,
    pub(crate) exclude: Vec<Bytes>,
    /// The receipt's number and the milliseconds that nodes may take for it, if somebody waits.
    pub(crate) receipt: Option<(u64, u32)>,
    /// Publications per second that the channel takes; 0 if as many as come.
    pub(crate) rate_limit: u32,
    pub(crate) keep: Keep,
}

impl Publish {
    /// An empty publication to a channel, which is not stored.
    pub(crate) fn to(channel: ChannelName) -> Self {
        let (publication, keep) = Default::default();
        Self { channel, publication, exclude: Vec::new(), receipt: None, rate_limit: 0, keep }
    }

    /// What the history is given of it.
    pub(super) fn entry(&mut self) -> Entry {
        Entry {
            publication: self.publication.clone(),
            key: mem::take(&mut self.keep.key),
            version: self.keep.version,
            version_epoch: mem::take(&mut self.keep.version_epoch),
            ttl: self.keep.ttl,
        }
    }
}

/// A publication that waits for its place.
#[derive(Debug)]
pub(crate) struct Queued {
    pub(crate) publish: Publish,
    /// Who waits; nobody if it was found in the history.
    pub(crate) reply: Option<Reply>,
    /// After this time it must not be published any more: its caller was told so.
    pub(crate) until: Instant,
}

/// An operation on the members of a personal channel, in order with what is published there.
#[derive(Debug)]
pub(crate) struct Act {
    pub(crate) channel: ChannelName,
    pub(crate) act: link::Act,
}

/// Which part of a channel's history is wanted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Question {
    /// Where to begin, if not at the beginning (or end): the publication there is not part of the answer.
    pub(crate) since: Option<StreamPosition>,
    /// Publications at most; 0 if only the position is wanted.
    pub(crate) limit: usize,
    /// From new to old.
    pub(crate) reverse: bool,
    /// Bytes at most, but at least one publication.
    pub(crate) max_bytes: usize,
}

impl Question {
    /// Publications of one answer at most.
    pub(crate) const MAX_LIMIT: usize = 1_000;
    /// Bytes of one answer at most: it is one message of the link.
    pub(crate) const MAX_BYTES: usize = 512 << 10;
}

/// Who reads a history.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Asker {
    /// A client, through its node's link.
    Client { session: SessionId, ticket: u64 },
    /// A backend.
    Backend(Reply),
}

/// What the history shall do for a channel. Each channel has one of them under way at most.
#[derive(Debug)]
pub(crate) enum Operation {
    /// Give publications their places; nobody has told of more than `known`.
    Append { entries: Vec<Entry>, known: StreamPosition },
    /// Say how far the stream has come; nobody has told of more than `known`.
    Top { known: StreamPosition },
    /// Read a part.
    Read { part: Part, limit: usize, max_bytes: usize },
    /// Forget the publications.
    Remove,
}

/// What the history has done.
#[derive(Debug)]
pub(crate) enum Done {
    Appended(Appended),
    /// The stream's end: the answer to `Top` and to `Remove`.
    Top(StreamPosition),
    Page(Page),
}

/// A publication that has its place, or needs none.
#[derive(Debug)]
pub(crate) struct Delivery {
    pub(crate) publish: Publish,
    pub(crate) reply: Option<Reply>,
    /// Its place in the stream, if it has one.
    pub(crate) position: Option<StreamPosition>,
    pub(crate) reach: Reach,
}

/// Why a publication was not delivered, though nothing is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Settled {
    /// Its key was seen before, with a publication that has this place, if it was stored.
    Repeated(Option<StreamPosition>),
    /// Its version is not newer than one that was seen; the stream ends here.
    Superseded(StreamPosition),
}

/// What the owner wants done, in this order.
#[derive(Debug)]
pub(crate) enum Action {
    /// Ask the history, and come back with what it says.
    Ask(ChannelName, Operation),
    /// Send a publication to those that it reaches, and answer who waits.
    Deliver(Box<Delivery>),
    /// Send an operation to those that it reaches, and answer who waits.
    Act(link::Act, Reach, Reply),
    /// Answer who waits for a publication that is not delivered.
    Settle(Reply, Result<Settled, Refusal>),
    /// Say something to a node.
    Say(SessionId, open_response::Message),
    /// Answer a backend that reads.
    Read(Reply, Result<Page, Refusal>),
    /// Answer a backend that removes.
    Removed(Reply, Result<StreamPosition, Refusal>),
}
