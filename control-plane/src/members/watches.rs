//! Those who watch channels and users: what each has not been told yet, and the changes that are remembered for those
//! who come back.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::time::{Duration, Instant};

use fanfare_cluster::channel::ChannelName;
use fanfare_cluster::connection_id::ConnectionId;
use fanfare_cluster::member::Incarnation;
use fanfare_cluster::placement::PlacementNumber;
use smallvec::SmallVec;

use super::{MemberView, UserView};

/// Changes that are remembered, per presence task.
const JOURNAL: usize = 16_384;
/// Changes that may wait for one watcher; beyond them it gets a new snapshot.
pub(crate) const MAX_PENDING: usize = 4_096;
/// How long changes of what was watched are remembered after the last watcher has gone.
const MEMORY: Duration = Duration::from_secs(60);
/// Channels and users that are remembered so, at most.
const MAX_REMEMBERED: usize = 10_000;

/// Who watches. Never reused while the process lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct WatchId(pub(crate) u64);

/// One tenure of one owner: counters of different tenures have nothing to do with each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Tenure {
    pub(crate) incarnation: Incarnation,
    pub(crate) placement: PlacementNumber,
}

/// How far a watcher has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cursor {
    pub(crate) tenure: Tenure,
    pub(crate) counter: u64,
}

/// Why a watcher is told everything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Occasion {
    /// It has come without a cursor.
    First,
    /// Its cursor is of another tenure, or of a time that is not remembered.
    CursorLost,
    /// More has changed than may wait for it.
    Slow,
    /// The placement has changed.
    OwnerChanged,
}

/// What has become of a member or a user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    Joined(ConnectionId, MemberView),
    Left(ConnectionId, MemberView),
    User(UserView),
}

impl Change {
    fn connection(&self) -> Option<ConnectionId> {
        match self {
            Self::Joined(id, _) | Self::Left(id, _) => Some(*id),
            Self::User(_) => None,
        }
    }
}

type Key = (ChannelName, Option<ConnectionId>);

/// A change with what it is of and when it happened, in Unix milliseconds.
#[derive(Clone, Debug)]
pub(crate) struct Noted {
    pub(crate) channel: ChannelName,
    pub(crate) change: Change,
    pub(crate) at_ms: u64,
}

/// A snapshot that a watcher has to be told, or is being told.
#[derive(Clone, Debug)]
pub(crate) struct Snapshot {
    pub(crate) channel: ChannelName,
    pub(crate) occasion: Occasion,
    pub(crate) progress: Progress,
}

/// How far a snapshot is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Progress {
    NotBegun,
    /// So far in the order of connection ids.
    Behind(Option<ConnectionId>),
}

#[derive(Debug, Default)]
struct Watch {
    channels: Vec<ChannelName>,
    // queue: snapshots that a watcher is to be told
    snapshots: VecDeque<Snapshot>,
    pending: BTreeMap<u64, Noted>,
    latest: HashMap<Key, u64>,
    tell_coverage: bool,
    /// It has been woken and has not looked since.
    awake: bool,
}

/// What is watched, or was a moment ago.
#[derive(Debug)]
struct Interest {
    /// From the change behind this one on, all are in the journal.
    since: u64,
    watches: SmallVec<[WatchId; 1]>,
}

/// All who watch something that one presence task has.
#[derive(Debug)]
pub(crate) struct Watches {
    tenure: Tenure,
    counter: u64,
    // queue: changes remembered for watchers
    journal: VecDeque<(u64, Noted)>,
    interests: HashMap<ChannelName, Interest>,
    /// What nobody watches any more, in the order in which it is forgotten.
    // queue: what nobody watches any more
    idle: VecDeque<(Instant, ChannelName)>,
    watches: HashMap<WatchId, Watch>,
    /// Those that have something to look at now and have not been told so.
    woken: Vec<WatchId>,
}

impl Watches {
    pub(crate) fn new(tenure: Tenure) -> Self {
        Self {
            tenure,
            counter: 0,
            journal: VecDeque::new(),
            interests: HashMap::new(),
            idle: VecDeque::new(),
            watches: HashMap::new(),
            woken: Vec::new(),
        }
    }

    /// Somebody watches these channels; a personal one stands for its user.
    pub(crate) fn open(&mut self, id: WatchId, channels: Vec<ChannelName>, cursor: Option<Cursor>) {
        let changes = self.replay(&channels, cursor);
        let mut watch = Watch { channels, tell_coverage: true, ..Default::default() };
        match changes {
            Ok(changes) => {
                for (counter, noted) in changes {
                    watch.note(counter, noted);
                }
                if watch.pending.len() > MAX_PENDING {
                    watch.start_over(Occasion::Slow);
                }
            }
            Err(occasion) => watch.start_over(occasion),
        }
        for channel in &watch.channels {
            let since = self.counter;
            let new = || Interest { since, watches: SmallVec::new() };
            let interest = self.interests.entry(channel.clone()).or_insert_with(new);
            interest.watches.push(id);
        }
        self.watches.insert(id, watch);
        self.wake(id);
    }

    /// Nobody reads this watch any more.
    pub(crate) fn close(&mut self, id: WatchId, now: Instant) {
        for channel in self.watches.remove(&id).map(|watch| watch.channels).unwrap_or_default() {
            if let Some(interest) = self.interests.get_mut(&channel) {
                interest.watches.retain(|other| *other != id);
                if interest.watches.is_empty() {
                    self.idle.push_back((now + MEMORY, channel));
                }
            }
        }
        while self.idle.len() > MAX_REMEMBERED {
            self.forget_one();
        }
    }

    /// What was watched long ago is not remembered any more.
    pub(crate) fn forget(&mut self, now: Instant) {
        while self.idle.front().is_some_and(|(due, _)| *due <= now) {
            self.forget_one();
        }
    }

    /// When something can be forgotten.
    pub(crate) fn next_due(&self) -> Option<Instant> {
        self.idle.front().map(|(due, _)| *due)
    }

    fn forget_one(&mut self) {
        if let Some((_, channel)) = self.idle.pop_front()
            && self.interests.get(&channel).is_some_and(|interest| interest.watches.is_empty())
        {
            self.interests.remove(&channel);
        }
    }

    /// The changes behind the cursor, if all of them are remembered.
    fn replay(
        &self,
        channels: &[ChannelName],
        cursor: Option<Cursor>,
    ) -> Result<Vec<(u64, Noted)>, Occasion> {
        let cursor = cursor.ok_or(Occasion::First)?;
        let dropped = self.journal.front().map_or(self.counter, |(first, _)| first - 1);
        let is_remembered =
            |channel| self.interests.get(channel).is_some_and(|interest| interest.since <= cursor.counter);
        let fits = cursor.tenure == self.tenure
            && (dropped..=self.counter).contains(&cursor.counter)
            && channels.iter().all(is_remembered);
        if !fits {
            return Err(Occasion::CursorLost);
        }
        let channels: HashSet<&ChannelName> = channels.iter().collect();
        let is_meant =
            |(counter, noted): &&(u64, Noted)| *counter > cursor.counter && channels.contains(&noted.channel);
        Ok(self.journal.iter().filter(is_meant).cloned().collect())
    }

    /// Whether anybody wants to know what changes in the channel, or wanted a moment ago.
    pub(crate) fn care_about(&self, channel: &ChannelName) -> bool {
        self.interests.contains_key(channel)
    }

    /// Something has changed in a channel that [matters](Self::care_about).
    pub(crate) fn changed(&mut self, noted: Noted) {
        let Some(interest) = self.interests.get(&noted.channel) else { return };
        self.counter += 1;
        let ids = interest.watches.clone();
        for id in ids {
            if let Some(watch) = self.watches.get_mut(&id)
                && watch.wants(&noted)
            {
                watch.note(self.counter, noted.clone());
                if watch.pending.len() > MAX_PENDING {
                    watch.start_over(Occasion::Slow);
                }
                self.wake(id);
            }
        }
        self.journal.push_back((self.counter, noted));
        if self.journal.len() > JOURNAL {
            self.journal.pop_front();
        }
    }

    /// How far answers can be believed has changed.
    pub(crate) fn coverage_changed(&mut self) {
        let ids: Vec<WatchId> = self.watches.keys().copied().collect();
        for id in ids {
            if let Some(watch) = self.watches.get_mut(&id) {
                watch.tell_coverage = true;
            }
            self.wake(id);
        }
    }

    /// A new tenure begins: what was counted before means nothing any more.
    pub(crate) fn take_over(&mut self, placement: PlacementNumber) {
        self.tenure.placement = placement;
        self.counter = 0;
        self.journal.clear();
        for interest in self.interests.values_mut() {
            interest.since = 0;
        }
        let ids: Vec<WatchId> = self.watches.keys().copied().collect();
        for id in ids {
            if let Some(watch) = self.watches.get_mut(&id) {
                watch.start_over(Occasion::OwnerChanged);
                watch.tell_coverage = true;
            }
            self.wake(id);
        }
    }

    fn wake(&mut self, id: WatchId) {
        if let Some(watch) = self.watches.get_mut(&id)
            && !std::mem::replace(&mut watch.awake, true)
        {
            self.woken.push(id);
        }
    }

    /// Those who have something to look at, each once.
    pub(crate) fn woken(&mut self) -> Vec<WatchId> {
        std::mem::take(&mut self.woken)
    }

    /// The watcher looks; returns whether it has to be told how far answers can be believed.
    pub(crate) fn look(&mut self, id: WatchId) -> Option<bool> {
        let watch = self.watches.get_mut(&id)?;
        watch.awake = false;
        Some(std::mem::take(&mut watch.tell_coverage))
    }

    /// The snapshot that it has to be told next.
    pub(crate) fn snapshot(&mut self, id: WatchId) -> Option<&mut Snapshot> {
        self.watches.get_mut(&id)?.snapshots.front_mut()
    }

    /// The snapshot has been told.
    pub(crate) fn end_snapshot(&mut self, id: WatchId) {
        if let Some(watch) = self.watches.get_mut(&id) {
            watch.snapshots.pop_front();
        }
    }

    /// The oldest change that it has not been told.
    pub(crate) fn next_change(&mut self, id: WatchId) -> Option<Noted> {
        let watch = self.watches.get_mut(&id)?;
        let (_, noted) = watch.pending.pop_first()?;
        watch.latest.remove(&noted.key());
        Some(noted)
    }

    /// Where it stands, unless it is being told a snapshot; and wakes it again if there is more.
    pub(crate) fn cursor(&mut self, id: WatchId) -> Option<Cursor> {
        let watch = self.watches.get(&id)?;
        let oldest = watch.pending.first_key_value().map(|(counter, _)| counter - 1);
        let told_all = watch.snapshots.is_empty();
        if !told_all || oldest.is_some() {
            self.wake(id);
        }
        told_all.then(|| Cursor { tenure: self.tenure, counter: oldest.unwrap_or(self.counter) })
    }
}

impl Noted {
    fn key(&self) -> Key {
        (self.channel.clone(), self.change.connection())
    }
}

impl Watch {
    /// Keeps the newest state of each member and user.
    fn note(&mut self, counter: u64, noted: Noted) {
        if let Some(older) = self.latest.insert(noted.key(), counter) {
            self.pending.remove(&older);
        }
        self.pending.insert(counter, noted);
    }

    /// Whether the change is not in what the watcher will be told anyway.
    fn wants(&self, Noted { channel, change, .. }: &Noted) -> bool {
        let snapshot = self.snapshots.iter().find(|snapshot| snapshot.channel == *channel);
        match snapshot.map(|snapshot| snapshot.progress) {
            None => true,
            Some(Progress::NotBegun | Progress::Behind(None)) => false,
            Some(Progress::Behind(Some(last))) => change.connection().is_none_or(|id| id <= last),
        }
    }

    fn start_over(&mut self, occasion: Occasion) {
        self.pending.clear();
        self.latest.clear();
        let snapshot = |channel: &ChannelName| {
            let progress = Progress::NotBegun;
            Snapshot { channel: channel.clone(), occasion, progress }
        };
        self.snapshots = self.channels.iter().map(snapshot).collect();
    }
}
