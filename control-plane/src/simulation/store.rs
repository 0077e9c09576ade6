//! A history as a shared one can be: slow, away, forgetful; all of it as its driver says.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use fanfare_cluster::channel::{ChannelName, StreamPosition};
use fanfare_cluster::placement::PlacementNumber;
use futures_util::FutureExt as _;
use tokio::sync::oneshot;

use crate::history::{Answer, Append, Appended, History, HistoryError, MemoryHistory, Outcome, Page, Read};

/// What the store may keep, in bytes: more than any simulation needs.
const LIMIT: usize = 1 << 30;

/// A publication that has got its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placed {
    /// The channel.
    pub channel: String,
    /// Its place there.
    pub position: StreamPosition,
    /// What was published.
    pub data: Bytes,
}

/// A history for a simulation; cheap to clone.
#[derive(Clone, Debug)]
pub struct Store(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    memory: Arc<MemoryHistory>,
    is_shared: bool,
    is_slow: bool,
    believes_owners: bool,
    pending: Vec<Pending>,
    last: u64,
    placed: Vec<Placed>,
}

/// Something that was asked. It takes effect once, and is answered once, perhaps not in this order.
struct Pending {
    number: u64,
    channel: ChannelName,
    effect: Option<Effect>,
    answer: Option<GiveAnswer>,
}

/// Carries it out.
type Effect = Box<dyn FnOnce(&mut State) + Send>;
/// Answers what came of it, or that the history is away.
type GiveAnswer = Box<dyn FnOnce(bool) + Send>;

impl fmt::Debug for Pending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {}", self.number, self.channel)
    }
}

impl Store {
    /// An empty one. One that is shared outlives its owners, and others may write to it.
    pub fn new(is_shared: bool) -> Self {
        let memory = Arc::new(MemoryHistory::new(LIMIT));
        let state = State {
            memory,
            is_shared,
            is_slow: false,
            believes_owners: true,
            pending: Vec::new(),
            last: 0,
            placed: Vec::new(),
        };
        Self(Arc::new(Mutex::new(state)))
    }

    /// Whether it answers only what it is told to answer; otherwise at once.
    pub fn set_slow(&self, is_slow: bool) {
        self.lock().is_slow = is_slow;
    }

    /// From now on it does not hear how far others have seen its streams. That is a fault, with which a simulation can
    /// find out whether it would notice.
    pub fn set_deaf(&self) {
        self.lock().believes_owners = false;
    }

    /// What was asked and is neither carried out nor answered, or only one of both: numbers and channels.
    pub fn pending(&self) -> Vec<(u64, String)> {
        self.lock().pending.iter().map(|one| (one.number, one.channel.to_string())).collect()
    }

    /// Carries it out now, and answers later.
    pub fn land(&self, number: u64) {
        self.with(number, |one| one.effect.take(), |state, effect| effect(state));
    }

    /// Answers it, after it was carried out.
    pub fn answer(&self, number: u64) {
        self.land(number);
        self.with(number, |one| one.answer.take(), |_, answer| answer(true));
    }

    /// Says that it is not available. It may be carried out all the same, before or after.
    pub fn fail(&self, number: u64) {
        self.with(number, |one| one.answer.take(), |_, answer| answer(false));
    }

    /// It is never carried out, unless it was already.
    pub fn drop_effect(&self, number: u64) {
        self.with(number, |one| one.effect.take(), |_, _| {});
    }

    /// Loses a stream's last publications, which it does not know.
    pub fn lose_tail(&self, channel: &str, publications: u64) {
        if let Ok(channel) = ChannelName::parse(channel) {
            self.lock().memory.lose_tail(&channel, publications);
        }
    }

    /// Where a stream ends; `None` if there is none.
    pub fn end(&self, channel: &str) -> Option<StreamPosition> {
        self.lock().memory.end(&ChannelName::parse(channel).ok()?)
    }

    /// All that has got its place since the last call, in that order.
    pub fn take_placed(&self) -> Vec<Placed> {
        std::mem::take(&mut self.lock().placed)
    }

    fn with<T>(
        &self,
        number: u64,
        take: impl FnOnce(&mut Pending) -> Option<T>,
        act: impl FnOnce(&mut State, T),
    ) {
        let mut state = self.lock();
        let Some(one) = state.pending.iter_mut().find(|one| one.number == number) else { return };
        if let Some(taken) = take(one) {
            act(&mut state, taken);
        }
        state.pending.retain(|one| one.effect.is_some() || one.answer.is_some());
    }

    /// Does it at once, or keeps it.
    fn ask<T: Send + 'static>(
        &self,
        channel: ChannelName,
        effect: impl FnOnce(&mut State) -> Result<T, HistoryError> + Send + 'static,
    ) -> Answer<T> {
        let mut state = self.lock();
        if !state.is_slow {
            return Box::pin(std::future::ready(effect(&mut state)));
        }
        let (sender, receiver) = oneshot::channel();
        let result = Arc::new(Mutex::new(None));
        let kept = result.clone();
        let effect: Effect = Box::new(move |state| *lock(&kept) = Some(effect(state)));
        let answer: GiveAnswer = Box::new(move |is_there| {
            let away = || Err(HistoryError::Unavailable("it is away".to_owned()));
            let result = lock(&result).take().filter(|_| is_there).unwrap_or_else(away);
            // Who asked may have given up.
            let _ = sender.send(result);
        });
        state.last += 1;
        let number = state.last;
        state.pending.push(Pending { number, channel, effect: Some(effect), answer: Some(answer) });
        Box::pin(
            receiver.map(|answer| {
                answer.unwrap_or_else(|_| Err(HistoryError::Unavailable("it is gone".to_owned())))
            }),
        )
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.0)
    }
}

impl State {
    fn append(&mut self, mut append: Append) -> Result<Appended, HistoryError> {
        append.known = self.believed(append.known);
        let (channel, entries) = (append.channel.to_string(), append.entries.clone());
        let appended = at_once(self.memory.append(append))?;
        for (entry, outcome) in entries.into_iter().zip(&appended.outcomes) {
            if let Outcome::Stored { offset, .. } = *outcome {
                let position = StreamPosition { offset, ..appended.top };
                self.placed.push(Placed { channel: channel.clone(), position, data: entry.publication.data });
            }
        }
        Ok(appended)
    }

    fn believed(&self, known: StreamPosition) -> StreamPosition {
        match known {
            // It would not know its own epoch.
            known if self.believes_owners || known.offset == 0 => known,
            _ => StreamPosition::default(),
        }
    }
}

impl History for Store {
    fn append(&self, append: Append) -> Answer<Appended> {
        self.ask(append.channel.clone(), move |state| state.append(append))
    }

    fn top(
        &self,
        channel: ChannelName,
        fence: PlacementNumber,
        known: StreamPosition,
    ) -> Answer<StreamPosition> {
        self.ask(channel.clone(), move |state| {
            let known = state.believed(known);
            at_once(state.memory.top(channel, fence, known))
        })
    }

    fn read(&self, read: Read) -> Answer<Page> {
        self.ask(read.channel.clone(), move |state| at_once(state.memory.read(read)))
    }

    fn remove(&self, channel: ChannelName, fence: PlacementNumber) -> Answer<StreamPosition> {
        self.ask(channel.clone(), move |state| at_once(state.memory.remove(channel, fence)))
    }

    fn is_shared(&self) -> bool {
        self.lock().is_shared
    }

    fn bytes(&self) -> usize {
        self.lock().memory.bytes()
    }
}

fn at_once<T>(answer: Answer<T>) -> Result<T, HistoryError> {
    answer.now_or_never().expect("memory answers at once")
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Simulations run in one thread.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
