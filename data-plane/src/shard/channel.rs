//! One channel of a shard: its subscribers, what they have not had yet, and its stream if it has one.

use std::collections::VecDeque;
use std::sync::Arc;

use fanfare_cluster::channel::{ChannelName, StreamPosition};

use super::apart::{self, AllApart, Frozen};
use super::book::Book;
use super::delivery::{Delivery, Entry, Mark, Sockets, Swept};
use super::place::Place;
use super::run::{Run, join_frames};
use super::stream::Stream;
use super::waiting::{Born, Waiting};
use crate::encoding::Encoding;
use crate::publication::Publication;

#[derive(Debug)]
pub(super) struct Channel {
    pub(super) name: ChannelName,
    /// The ticket of the join that is under way, until the shard has joined.
    pub(super) ticket: u32,
    pub(super) is_joined: bool,
    pub(super) waiting: Vec<Waiting>,
    pub(super) subscribers: Vec<Subscriber>,
    /// What some subscriber has not had yet, oldest first. Bounded by the hub's backlog.
    // queue: log of a channel in a shard
    pub(super) log: VecDeque<Entry>,
    /// The number of the next entry.
    pub(super) next: u32,
    cursor: usize,
    /// Whether it is in line for its turn.
    pub(super) active: bool,
    pub(super) stream: Option<Box<Stream>>,
    pub(super) apart: AllApart,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Subscriber {
    pub(super) slot: u32,
    /// The number of the first entry that it has not had.
    pub(super) due: u32,
    pub(super) place: Place,
}

/// What the owner has answered to the question what was published after a position.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    /// All of it, oldest first, if it is complete.
    pub(crate) publications: Vec<Arc<Publication>>,
    /// The end of the stream.
    pub(crate) end: StreamPosition,
    pub(crate) complete: bool,
}

impl Answer {
    /// About how many bytes it holds on to.
    pub(crate) fn weight(&self) -> usize {
        const FLAT: usize = 256;
        self.publications.iter().map(|publication| FLAT + publication.weight()).sum()
    }
}

impl Channel {
    pub(super) fn new(name: ChannelName, ticket: u32) -> Self {
        Self {
            name,
            ticket,
            is_joined: false,
            waiting: Vec::new(),
            subscribers: Vec::new(),
            log: VecDeque::new(),
            next: 0,
            cursor: 0,
            active: false,
            stream: None,
            apart: AllApart::default(),
        }
    }

    /// The shard has joined; the stream, if there is one, had come as far as this.
    pub(super) fn join(&mut self, position: Option<StreamPosition>) {
        self.is_joined = true;
        self.stream = position.map(|position| {
            // So that an answer to somebody who had the channel's number before is not taken for one to this.
            let tickets = u64::from(self.ticket) << 32;
            Box::new(Stream::new(position, tickets))
        });
    }

    /// Begins a subscription here in the channel's order; or has it wait for what it has missed.
    pub(super) fn begin(&mut self, waiting: Waiting) -> Option<Born> {
        match (&mut self.stream, waiting.since()) {
            (Some(stream), Some((since, latest))) => {
                stream.wait(since, latest, waiting);
                None
            }
            (Some(stream), None) => {
                let place = stream.last;
                Some(self.add(waiting, place, None))
            }
            (None, _) => Some(self.add(waiting, Place::default(), None)),
        }
    }

    fn add(&mut self, waiting: Waiting, place: Place, recovered: Option<bool>) -> Born {
        let slot = waiting.key.slot;
        let mut subscriber = Subscriber { slot, due: self.next, place };
        if let Some(wants) = waiting.wants.as_ref().filter(|wants| wants.joins || wants.filter.is_some()) {
            let apart = self.apart.get_or_insert(slot);
            (apart.joins, apart.filter) = (wants.joins, wants.filter.clone());
            subscriber.place = place.set_apart();
        }
        self.subscribers.push(subscriber);
        let at = self.stream.as_ref().map(|stream| stream.position(place));
        Born { waiting, index: (self.subscribers.len() - 1) as u32, at, recovered }
    }

    /// Nobody is here or waits.
    pub(super) fn is_idle(&self) -> bool {
        let recovering = self.stream.as_ref().is_some_and(|stream| stream.waiting().next().is_some());
        self.subscribers.is_empty() && self.waiting.is_empty() && !recovering
    }

    /// How an entry for this delivery is marked.
    pub(super) fn mark(&mut self, delivery: &Delivery) -> Mark {
        match (delivery.publication.position(), &mut self.stream) {
            (Some(position), Some(stream)) => Mark::At(stream.reach(position)),
            _ => Mark::None,
        }
    }

    /// Takes an entry in, for all subscribers there are.
    pub(super) fn push(&mut self, delivery: Option<Delivery>, mark: Mark) {
        self.log.push_back(Entry { delivery, mark, left: self.subscribers.len() });
        self.next = self.next.wrapping_add(1);
    }

    /// Forgets what everybody has had, and returns how many bytes that was.
    pub(super) fn forget_delivered(&mut self) -> usize {
        let mut bytes = 0;
        while let Some(entry) = self.log.pop_front_if(|entry| entry.left == 0) {
            bytes += entry.weight();
        }
        if self.log.is_empty()
            && let Some(stream) = &mut self.stream
        {
            stream.forget_former_eras();
        }
        bytes
    }

    /// Visits up to so many subscribers; returns what was done, and how many were visited.
    pub(super) fn sweep(
        &mut self,
        visits: usize,
        sockets: &mut impl Sockets,
        book: &mut Book,
    ) -> (Swept, usize) {
        let mut swept = Swept::default();
        // Subscribers in a row are mostly equally far behind: they share the bytes of a run.
        let mut runs: [Option<Run>; 2] = [None, None];
        // Whoever is behind at all has not had the newest entry.
        let mut behind_at_all = self.log.back().map_or(0, |entry| entry.left);
        let mut visited = 0;
        while visited < visits && behind_at_all > 0 {
            visited += 1;
            if self.cursor >= self.subscribers.len() {
                self.cursor = 0;
            }
            let index = self.cursor;
            let Some(subscriber) = self.subscribers.get_mut(index) else { break };
            self.cursor += 1;
            let behind = self.next.wrapping_sub(subscriber.due) as usize;
            if behind == 0 {
                continue;
            }
            let slot = subscriber.slot;
            let encoding = sockets.encoding(slot);
            let run = &mut runs[encoding as usize];
            if run.as_ref().is_none_or(|run| run.behind != behind)
                && let Some(run) = run.replace(Run::new(&self.log, behind, encoding))
            {
                swept.add(run.settle(&mut self.log, book));
            }
            let Some(run) = run else { continue };
            subscriber.due = subscriber.due.wrapping_add(run.len as u32);
            behind_at_all -= usize::from(run.len == behind);
            match run.step(subscriber.place) {
                Some(place) if !run.excludes(&self.log, || sockets.id(slot)) => {
                    subscriber.place = place;
                    run.serve(slot, sockets, book);
                }
                _ => run.served_apart(self.serve_apart(index, run, sockets, book)),
            }
        }
        for run in runs.into_iter().flatten() {
            swept.add(run.settle(&mut self.log, book));
        }
        (swept, visited)
    }

    /// Serves a subscriber that does not get a run as it is.
    fn serve_apart(&mut self, index: usize, run: &Run, sockets: &mut impl Sockets, book: &mut Book) -> Swept {
        let Subscriber { slot, place, .. } = self.subscribers[index];
        let portion =
            apart::serve(slot, place, self.apart.get(slot), run.entries(&self.log), (sockets, book));
        match portion.gap {
            Some(seen) => self.set_aside(index, portion.place, seen, 0),
            None => self.put(index, portion.place),
        }
        portion.swept
    }

    /// The subscriber is at this place.
    fn put(&mut self, index: usize, place: Place) {
        let slot = self.subscribers[index].slot;
        let is_apart = self.apart.get(slot).is_some();
        self.subscribers[index].place = if is_apart { place.set_apart() } else { place };
    }

    /// The subscriber has a gap behind its place: it asks for what is missing, unless it has asked already.
    fn set_aside(&mut self, index: usize, place: Place, seen: Place, round: u8) {
        let slot = self.subscribers[index].slot;
        let Some(stream) = &mut self.stream else { return };
        let apart = self.apart.get_or_insert(slot);
        match &mut apart.frozen {
            Some(frozen) => frozen.seen = seen,
            None => {
                let ticket = stream.freeze(slot, place, round);
                apart.frozen = Some(Frozen { ticket, seen, lost: false });
            }
        }
        self.put(index, place);
    }

    /// The owner has answered a question. Returns the subscriptions that begin with it, and the slots of those that
    /// have lost their continuity.
    pub(super) fn recovered(
        &mut self,
        ticket: u64,
        answer: &Answer,
        sockets: &mut impl Sockets,
    ) -> (Vec<Born>, Vec<u32>, Swept) {
        let (mut born, mut lost, mut swept) = (Vec::new(), Vec::new(), Swept::default());
        let Some(stream) = &mut self.stream else { return (born, lost, swept) };
        let Some(recovery) = stream.take(ticket) else { return (born, lost, swept) };
        let end = stream.ends_at(answer.end);
        let last = stream.last;
        stream.last = last.max(end);
        let round = recovery.round();
        // Something further may have been on this road already: then the answer is too old for who begins here.
        let (too_old, is_last) = (!end.covers(last), round.is_last());
        for waiting in recovery.waiting {
            match &mut self.stream {
                Some(stream) if answer.complete && too_old && !is_last => stream.wait_again(round, waiting),
                _ => {
                    let complete = answer.complete && !too_old;
                    born.push(self.add(waiting, last.max(end), Some(complete)));
                }
            }
        }
        let mut frames = [None, None];
        for slot in recovery.frozen {
            let waits = |frozen: &Frozen| frozen.ticket == ticket && !frozen.lost;
            let frozen = self.apart.get_mut(slot).and_then(|apart| apart.frozen.as_mut());
            let Some(frozen) = frozen.filter(|frozen| waits(frozen)) else { continue };
            if !answer.complete || is_last && !end.covers(frozen.seen) {
                frozen.lost = true;
                lost.push(slot);
                continue;
            }
            let seen = frozen.seen;
            swept.add(self.give(slot, answer, &mut frames, sockets));
            self.thaw(slot, end, seen, round.round + 1);
        }
        (born, lost, swept)
    }

    /// Writes what a subscriber has missed, which most of them share.
    fn give(
        &self,
        slot: u32,
        answer: &Answer,
        frames: &mut [Option<bytes::Bytes>; 2],
        sockets: &mut impl Sockets,
    ) -> Swept {
        let encoding: Encoding = sockets.encoding(slot);
        let wanted = |filter| answer.publications.iter().filter(move |one| one.is_wanted(filter));
        let filter = self.apart.get(slot).and_then(|apart| apart.filter.as_deref());
        let (frames, count) = match filter {
            Some(filter) => (join_frames(wanted(filter).map(|one| &**one), encoding), wanted(filter).count()),
            None => {
                let all = || join_frames(answer.publications.iter().map(|one| &**one), encoding);
                (frames[encoding as usize].get_or_insert_with(all).clone(), answer.publications.len())
            }
        };
        if frames.is_empty() {
            return Swept::default();
        }
        sockets.write(slot, &frames, &[]);
        Swept { deliveries: count as u64, bytes: frames.len() as u64 }
    }

    /// The gap of a subscriber is closed up to here. If it has seen more meanwhile, there is another.
    fn thaw(&mut self, slot: u32, end: Place, seen: Place, round: u8) {
        if let Some(apart) = self.apart.get_mut(slot) {
            apart.frozen = None;
            if !apart.is_needed() {
                self.apart.remove(slot);
            }
        }
        // A frozen subscriber is rare, and channels with many of them rarer.
        let Some(index) = self.subscribers.iter().position(|subscriber| subscriber.slot == slot) else {
            return;
        };
        self.put(index, end);
        if !end.covers(seen) {
            self.set_aside(index, end, seen, round);
        }
    }

    /// Whether a subscriber has lost its continuity and has not been told so.
    pub(super) fn is_lost(&self, slot: u32) -> bool {
        let frozen = self.apart.get(slot).and_then(|apart| apart.frozen);
        frozen.is_some_and(|frozen| frozen.lost)
    }

    /// A question will have no answer: those who begin with it come back, those who have a gap ask again.
    pub(super) fn recover_failed(&mut self, ticket: u64) -> Vec<Waiting> {
        let Some(stream) = &mut self.stream else { return Vec::new() };
        let Some(recovery) = stream.take(ticket) else { return Vec::new() };
        for slot in recovery.frozen {
            let frozen = self.apart.get_mut(slot).and_then(|apart| apart.frozen.as_mut());
            let Some(frozen) = frozen.filter(|frozen| frozen.ticket == ticket && !frozen.lost) else {
                continue;
            };
            let place = self.subscribers.iter().find(|one| one.slot == slot).map(|one| one.place.plain());
            if let Some(place) = place {
                frozen.ticket = stream.freeze(slot, place, 0);
            }
        }
        recovery.waiting
    }
}
