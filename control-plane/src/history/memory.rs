//! Streams in the memory of this process: they end with it, and so do their epochs.

mod loss;

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use fanfare_cluster::channel::{ChannelName, Epoch, StreamPosition};
use fanfare_cluster::placement::PlacementNumber;
use fanfare_proto::link;
use futures_util::future::ready;
use tokio::time::Instant;

use super::{
    Answer, Append, Appended, Entry, History, HistoryError, Outcome, Page, Part, Read, Retention, Stored,
};

/// What a stream takes beside its publications and keys, in bytes; about.
const PER_STREAM: usize = 320;
/// What a publication takes beside its content.
const PER_PUBLICATION: usize = 160;
/// What a key takes beside its text.
const PER_KEY: usize = 128;
/// Streams whose time is looked at with each operation.
const LOOKED_AT: usize = 4;

/// Keeps streams in memory, within a bound in bytes.
///
/// A channel that was never published to is not there at all: its epoch is that of all such channels. When a stream
/// that had publications is forgotten, later streams get another epoch, so that no offset is ever used twice.
#[derive(Debug)]
pub(crate) struct MemoryHistory {
    state: Mutex<State>,
    limit: usize,
}

#[derive(Debug)]
struct State {
    streams: HashMap<ChannelName, Stream, foldhash::fast::RandomState>,
    /// The epoch of streams that begin now.
    epoch: Epoch,
    bytes: usize,
    /// When each stream shall be looked at: it may have publications, keys or itself to forget.
    // queue: streams by the time at which something of them ends
    due: BTreeSet<(Instant, ChannelName)>,
}

#[derive(Debug)]
struct Stream {
    epoch: Epoch,
    top: u64,
    fence: PlacementNumber,
    // queue: publications of a stream
    kept: VecDeque<Kept>,
    keys: HashMap<Box<str>, StreamPosition>,
    // queue: idempotency keys of a stream
    key_ends: VecDeque<(Instant, Box<str>)>,
    version: u64,
    version_epoch: String,
    meta_ends: Instant,
    /// The time of its entry among those that are due.
    due: Instant,
    /// What its publications and keys take.
    bytes: usize,
}

#[derive(Debug)]
struct Kept {
    ends: Instant,
    /// When its own time is over.
    own_end: Option<Instant>,
    publication: link::Publication,
}

impl MemoryHistory {
    /// Keeps so many bytes at most. Beyond that the streams that end first are cut short: who then asks for what is
    /// gone is told so.
    pub(crate) fn new(limit: usize) -> Self {
        let state =
            State { streams: HashMap::default(), epoch: Epoch::random(), bytes: 0, due: BTreeSet::new() };
        Self { state: Mutex::new(state), limit }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A panic under the lock ends the process anyway.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl History for MemoryHistory {
    fn append(&self, append: Append) -> Answer<Appended> {
        let mut state = self.lock();
        let appended = state.append(append, Instant::now());
        state.forget_what_is_over(Instant::now());
        state.make_room(self.limit);
        Box::pin(ready(appended))
    }

    fn top(
        &self,
        channel: ChannelName,
        fence: PlacementNumber,
        known: StreamPosition,
    ) -> Answer<StreamPosition> {
        Box::pin(ready(self.lock().top(&channel, fence, known)))
    }

    fn read(&self, read: Read) -> Answer<Page> {
        Box::pin(ready(Ok(self.lock().read(&read, Instant::now()))))
    }

    fn remove(&self, channel: ChannelName, fence: PlacementNumber) -> Answer<StreamPosition> {
        let mut state = self.lock();
        let top = state.top(&channel, fence, StreamPosition::default());
        if top.is_ok() {
            state.remove(&channel);
        }
        Box::pin(ready(top))
    }

    fn is_shared(&self) -> bool {
        false
    }

    fn bytes(&self) -> usize {
        self.lock().bytes
    }
}

impl State {
    fn append(&mut self, append: Append, now: Instant) -> Result<Appended, HistoryError> {
        let Append { channel, entries, retention, fence, known } = append;
        let epoch = match known {
            // An owner has told its followers of this epoch, in which nothing was published yet.
            StreamPosition { epoch, offset: 0 } if epoch.is_some() => epoch,
            _ => self.epoch,
        };
        let new = || Stream::new(epoch, now);
        let is_new = !self.streams.contains_key(&channel);
        let stream = self.streams.entry(channel.clone()).or_insert_with(new);
        if fence < stream.fence {
            return Err(HistoryError::Fenced);
        }
        let before = if is_new { 0 } else { stream.weight(&channel) };
        stream.fence = fence;
        stream.begin_anew_if_behind(known);
        stream.meta_ends = now + retention.meta;
        let outcomes = entries.into_iter().map(|entry| stream.take(entry, &retention, now)).collect();
        stream.trim(retention.size, now);
        let appended = Appended { outcomes, top: stream.position() };
        self.bytes = self.bytes + stream.weight(&channel) - before;
        let first = stream.first_end();
        if is_new || first < stream.due {
            self.due.remove(&(stream.due, channel.clone()));
            stream.due = first;
            self.due.insert((first, channel));
        }
        Ok(appended)
    }

    fn top(
        &mut self,
        channel: &ChannelName,
        fence: PlacementNumber,
        known: StreamPosition,
    ) -> Result<StreamPosition, HistoryError> {
        let Some(stream) = self.streams.get_mut(channel) else {
            return Ok(StreamPosition { epoch: self.epoch, offset: 0 });
        };
        if fence < stream.fence {
            return Err(HistoryError::Fenced);
        }
        let before = stream.bytes;
        stream.fence = fence;
        stream.begin_anew_if_behind(known);
        self.bytes -= before - stream.bytes;
        Ok(stream.position())
    }

    fn read(&self, read: &Read, now: Instant) -> Page {
        let Some(stream) = self.streams.get(&read.channel) else {
            return Page { stored: Vec::new(), top: StreamPosition { epoch: self.epoch, offset: 0 } };
        };
        let mut bytes = 0;
        let mut room = |kept: &&Kept| {
            let first = bytes == 0;
            bytes += kept.publication.weight().max(1);
            first || bytes <= read.max_bytes
        };
        let alive = stream.kept.iter().filter(|kept| kept.ends > now);
        let stored = match read.part {
            Part::After(offset) => {
                let after = alive.filter(|kept| kept.publication.offset > offset);
                after.take(read.limit).take_while(&mut room).map(|kept| kept.stored(now)).collect()
            }
            Part::Before(offset, down_to) => {
                let within = |kept: &&Kept| (down_to + 1..offset).contains(&kept.publication.offset);
                let before = alive.rev().filter(within);
                before.take(read.limit).take_while(&mut room).map(|kept| kept.stored(now)).collect()
            }
        };
        Page { stored, top: stream.position() }
    }

    fn remove(&mut self, channel: &ChannelName) {
        if let Some(stream) = self.streams.get_mut(channel) {
            self.bytes -= stream.forget_publications();
        }
    }

    /// Looks at some streams of which something has ended.
    fn forget_what_is_over(&mut self, now: Instant) {
        for _ in 0..LOOKED_AT {
            if self.due.first().is_none_or(|(at, _)| *at > now) {
                return;
            }
            let Some((stream, channel)) = self.next_due() else { continue };
            let before = stream.bytes;
            stream.trim(u32::MAX, now);
            let freed = before - stream.bytes;
            let over = stream.meta_ends <= now;
            self.bytes -= freed;
            if over { self.forget(&channel) } else { self.put_back(channel) }
        }
    }

    /// Cuts streams short while there is too much: first those whose publications end first anyway, in the end also
    /// what is left of streams without any.
    fn make_room(&mut self, limit: usize) {
        while self.bytes > limit {
            if self.due.is_empty() {
                return;
            }
            let Some((stream, channel)) = self.next_due() else { continue };
            let freed = stream.forget_publications() + stream.forget_all_keys();
            if freed == 0 {
                self.forget(&channel);
            } else {
                self.bytes -= freed;
                self.put_back(channel);
            }
        }
    }

    /// Takes out the stream that is due next; `None` if there is none.
    fn next_due(&mut self) -> Option<(&mut Stream, ChannelName)> {
        let (at, channel) = self.due.pop_first()?;
        let stream = self.streams.get_mut(&channel).filter(|stream| stream.due == at)?;
        Some((stream, channel))
    }

    /// The stream is due again when the next of it ends.
    fn put_back(&mut self, channel: ChannelName) {
        if let Some(stream) = self.streams.get_mut(&channel) {
            stream.due = stream.first_end();
            self.due.insert((stream.due, channel));
        }
    }

    /// Forgets a stream with its position: whatever begins from now on must not be taken for it.
    fn forget(&mut self, channel: &ChannelName) {
        if let Some(stream) = self.streams.remove(channel) {
            self.bytes -= stream.weight(channel);
            if stream.top > 0 && stream.epoch == self.epoch {
                self.epoch = Epoch::random();
            }
        }
    }
}

impl Stream {
    fn new(epoch: Epoch, now: Instant) -> Self {
        Self {
            epoch,
            top: 0,
            fence: PlacementNumber::default(),
            kept: VecDeque::new(),
            keys: HashMap::new(),
            key_ends: VecDeque::new(),
            version: 0,
            version_epoch: String::new(),
            meta_ends: now,
            due: now,
            bytes: 0,
        }
    }

    fn position(&self) -> StreamPosition {
        StreamPosition { epoch: self.epoch, offset: self.top }
    }

    /// Somebody has seen more of this stream than there is: it is another one from here on.
    fn begin_anew_if_behind(&mut self, known: StreamPosition) {
        if known.epoch == self.epoch && known.offset > self.top {
            self.epoch = Epoch::random();
            self.top = 0;
            self.forget_publications();
            self.version = 0;
            self.version_epoch.clear();
        }
    }

    fn take(&mut self, entry: Entry, retention: &Retention, now: Instant) -> Outcome {
        let Entry { mut publication, key, version, version_epoch, ttl } = entry;
        if !key.is_empty() {
            self.forget_keys(now);
            if let Some(first) = self.keys.get(key.as_str()) {
                return Outcome::Repeated(*first);
            }
        }
        if version > 0 {
            if version_epoch == self.version_epoch && version <= self.version {
                return Outcome::Superseded;
            }
            (self.version, self.version_epoch) = (version, version_epoch);
        }
        self.top += 1;
        let time_ms = unix_milliseconds(SystemTime::now());
        let own_ms = ttl.map(|ttl| u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX));
        let expires_at_ms = own_ms.map_or(0, |own| time_ms.saturating_add(own));
        if !key.is_empty() {
            let key: Box<str> = key.into();
            self.bytes += PER_KEY + 2 * key.len();
            self.keys.insert(key.clone(), self.position());
            self.key_ends.push_back((now + retention.keys, key));
        }
        publication.offset = self.top;
        publication.time_ms = time_ms;
        publication.expires_at_ms = expires_at_ms;
        // It came in a buffer that may be much larger.
        publication.data = Bytes::copy_from_slice(&publication.data);
        let own_end = ttl.and_then(|ttl| now.checked_add(ttl));
        let kept = Kept { ends: now + retention.ttl, own_end, publication };
        self.bytes += kept.weight();
        self.kept.push_back(kept);
        Outcome::Stored { offset: self.top, time_ms, expires_at_ms }
    }

    fn trim(&mut self, size: u32, now: Instant) {
        while self.kept.len() > size as usize || self.kept.front().is_some_and(|kept| kept.ends <= now) {
            self.bytes -= self.kept.pop_front().map_or(0, |kept| kept.weight());
        }
        self.forget_keys(now);
    }

    /// Returns how many bytes that frees, as the next.
    fn forget_publications(&mut self) -> usize {
        let freed = self.kept.drain(..).map(|kept| kept.weight()).sum();
        self.bytes -= freed;
        freed
    }

    fn forget_all_keys(&mut self) -> usize {
        self.keys.clear();
        let freed = self.key_ends.drain(..).map(|(_, key)| PER_KEY + 2 * key.len()).sum();
        self.bytes -= freed;
        freed
    }

    fn forget_keys(&mut self, now: Instant) {
        while let Some((_, key)) = self.key_ends.pop_front_if(|(ends, _)| *ends <= now) {
            self.bytes -= PER_KEY + 2 * key.len();
            self.keys.remove(&key);
        }
    }

    /// When the first of what it keeps ends, or itself.
    fn first_end(&self) -> Instant {
        let kept = self.kept.front().map(|kept| kept.ends);
        let keys = self.key_ends.front().map(|(ends, _)| *ends);
        kept.into_iter().chain(keys).min().unwrap_or(self.meta_ends)
    }

    /// About how many bytes it takes in all.
    fn weight(&self, channel: &ChannelName) -> usize {
        PER_STREAM + channel.as_str().len() + self.bytes
    }
}

impl Kept {
    fn weight(&self) -> usize {
        PER_PUBLICATION + self.publication.weight()
    }

    fn stored(&self, now: Instant) -> Stored {
        let alive = self.own_end.is_none_or(|end| end > now);
        Stored { offset: self.publication.offset, publication: alive.then(|| self.publication.clone()) }
    }
}

/// The milliseconds since 1970.
pub(super) fn unix_milliseconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

#[cfg(test)]
#[path = "memory_tests.rs"]
mod tests;
