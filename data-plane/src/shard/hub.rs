//! The channels of a shard: who subscribes here, and how publications reach them with as few writes as can be.
//!
//! A channel that has something to deliver is swept: a cursor goes round its subscribers, and each one it
//! meets gets what it has not had yet, in one write (of 256 KiB at most; the rest comes with the next
//! round). What is published during a sweep joins it at the cursor, so that batches grow with load by themselves and nobody waits for a timer. A sweep goes in
//! small steps, so that other channels, reads and pings have their turn.

use std::collections::{HashMap, VecDeque};

use fanfare_cluster::channel::ChannelName;
use slab::Slab;

use super::SlotKey;
use super::book::Book;
use super::delivery::{Delivery, Entry, Sockets, Swept};
use super::run::Run;

/// Why a connection waits for a channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// Its subscribe command.
    Subscribe { id: u32 },
    /// Its connect command: the channel is one of its server-side subscriptions.
    Connect,
    /// A backend, which does not wait for it.
    Backend,
}

/// A connection that waits until the shard has joined a channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Waiting {
    pub(crate) key: SlotKey,
    pub(crate) purpose: Purpose,
}

/// Where a subscription stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Subscribed {
    /// It is live, at this place within the channel.
    Live { channel: u32, position: u32 },
    /// It waits until the shard has joined; `join` is the ticket to ask with, if nobody has asked yet.
    Waits { channel: u32, join: Option<u32> },
}

#[derive(Debug)]
struct Channel {
    name: ChannelName,
    /// The ticket of the join that is under way; `None` once the shard has joined.
    joining: Option<u32>,
    waiting: Vec<Waiting>,
    subscribers: Vec<Subscriber>,
    /// What some subscriber has not had yet, oldest first. Bounded by the hub's backlog.
    // queue: log of a channel in a shard
    log: VecDeque<Entry>,
    /// The number of the next entry.
    next: u32,
    cursor: usize,
    /// Whether it is in line for its turn.
    active: bool,
}

#[derive(Clone, Copy, Debug)]
struct Subscriber {
    slot: u32,
    /// The number of the first entry that it has not had.
    due: u32,
}

/// The channels of a shard.
#[derive(Debug, Default)]
pub(crate) struct Hub {
    channels: Slab<Channel>,
    by_name: HashMap<ChannelName, u32, foldhash::fast::RandomState>,
    /// Channels that have something to deliver, in the order of their turns.
    // queue: channels to sweep
    active: VecDeque<u32>,
    last_ticket: u32,
    /// Bytes of publications in all logs.
    backlog: usize,
}

impl Hub {
    /// The channel's number here, if anybody subscribes to it or waits for it.
    pub(crate) fn find(&self, name: &str) -> Option<u32> {
        self.by_name.get(name).copied()
    }

    /// The channel of a number.
    pub(crate) fn name(&self, number: u32) -> Option<&ChannelName> {
        self.channels.get(number as usize).map(|channel| &channel.name)
    }

    /// The slots of a channel's subscribers.
    pub(crate) fn slots(&self, number: u32) -> Vec<u32> {
        self.channels[number as usize].subscribers.iter().map(|subscriber| subscriber.slot).collect()
    }

    /// The connections that wait for a channel.
    pub(crate) fn waiting(&self, number: u32) -> Vec<SlotKey> {
        self.channels[number as usize].waiting.iter().map(|waiting| waiting.key).collect()
    }

    /// Delivers all that a channel's subscribers have not had, without turns: only for channels of few.
    pub(crate) fn deliver_all(&mut self, number: u32, sockets: &mut impl Sockets, book: &mut Book) -> Swept {
        let mut swept = Swept::default();
        let channel = &mut self.channels[number as usize];
        while !channel.log.is_empty() {
            let visits = channel.subscribers.len().max(1);
            swept.add(channel.sweep(visits, sockets, book).0);
            self.backlog -= channel.forget_delivered();
        }
        swept
    }

    /// How many channels there are.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.channels.len()
    }

    /// Subscribes a connection, at this place in the channel's order if the shard has joined it.
    pub(crate) fn subscribe(&mut self, name: ChannelName, waiting: Waiting) -> Subscribed {
        let (number, join) = match self.by_name.get(&name) {
            Some(number) => (*number, None),
            None => {
                self.last_ticket = self.last_ticket.wrapping_add(1);
                let number = self.channels.insert(Channel::new(name.clone(), self.last_ticket)) as u32;
                self.by_name.insert(name, number);
                (number, Some(self.last_ticket))
            }
        };
        let channel = &mut self.channels[number as usize];
        if channel.joining.is_some() {
            channel.waiting.push(waiting);
            return Subscribed::Waits { channel: number, join };
        }
        Subscribed::Live { channel: number, position: channel.add(waiting.key.slot) }
    }

    /// The shard has joined. Those who waited are live from here on; each comes back with its place. An
    /// answer to another join than the one under way means nothing: the channel was left meanwhile.
    pub(crate) fn joined(&mut self, name: &ChannelName, ticket: u32) -> Option<(u32, Vec<(Waiting, u32)>)> {
        let number = self.find(name.as_str())?;
        let channel = &mut self.channels[number as usize];
        if channel.joining != Some(ticket) {
            return None;
        }
        channel.joining = None;
        let waiting = std::mem::take(&mut channel.waiting);
        let live = waiting.into_iter().map(|waiting| (waiting, channel.add(waiting.key.slot))).collect();
        Some((number, live))
    }

    /// The shard could not join. The channel is forgotten; those who waited for it come back.
    pub(crate) fn join_failed(&mut self, name: &ChannelName, ticket: u32) -> Option<(u32, Vec<Waiting>)> {
        let number = self.find(name.as_str())?;
        if self.channels[number as usize].joining != Some(ticket) {
            return None;
        }
        let channel = self.remove(number);
        Some((number, channel.waiting))
    }

    /// Ends a live subscription. What it has not had yet counts as cut.
    pub(crate) fn unsubscribe(
        &mut self,
        number: u32,
        position: u32,
        sockets: &mut impl Sockets,
        book: &mut Book,
    ) {
        let channel = &mut self.channels[number as usize];
        let gone = channel.subscribers.swap_remove(position as usize);
        if let Some(moved) = channel.subscribers.get(position as usize) {
            sockets.moved(moved.slot, number, position);
        }
        let behind = channel.next.wrapping_sub(gone.due) as usize;
        let first = channel.log.len() - behind;
        for entry in channel.log.range_mut(first..) {
            entry.left -= 1;
            let Some(receipt) = entry.delivery.receipt else { continue };
            let excluded =
                !entry.delivery.exclude.is_empty() && entry.delivery.exclude.contains(&sockets.id(gone.slot));
            if excluded { book.skip(receipt) } else { book.cut(receipt, 1) }
        }
        self.backlog -= channel.forget_delivered();
    }

    /// Ends a subscription that waits; returns what it waited for.
    pub(crate) fn stop_waiting(&mut self, number: u32, key: SlotKey) -> Option<Purpose> {
        let waiting = &mut self.channels[number as usize].waiting;
        let at = waiting.iter().position(|waiting| waiting.key == key)?;
        Some(waiting.swap_remove(at).purpose)
    }

    /// Forgets the channel if nobody subscribes or waits any more. The shard shall then leave it.
    pub(crate) fn forget_if_idle(&mut self, number: u32) -> Option<ChannelName> {
        let channel = &self.channels[number as usize];
        let idle = channel.subscribers.is_empty() && channel.waiting.is_empty();
        idle.then(|| self.remove(number).name)
    }

    fn remove(&mut self, number: u32) -> Channel {
        let channel = self.channels.remove(number as usize);
        self.by_name.remove(&channel.name);
        if channel.active {
            self.active.retain(|active| *active != number);
        }
        channel
    }

    /// Takes a publication in; it goes out as [`sweep`](Self::sweep) is called.
    pub(crate) fn deliver(&mut self, delivery: Delivery, receipt_due: u32, book: &mut Book) {
        let number = self.find(delivery.publication.channel().as_str());
        let joined = number.filter(|number| self.channels[*number as usize].joining.is_none());
        let Some(number) = joined else {
            // Nobody is live here. Those who wait are born after this publication.
            if let Some(receipt) = delivery.receipt {
                book.open(receipt, 0, receipt_due);
            }
            return;
        };
        let channel = &mut self.channels[number as usize];
        let left = channel.subscribers.len();
        if let Some(receipt) = delivery.receipt {
            book.open(receipt, left, receipt_due);
        }
        if left == 0 {
            return;
        }
        if !channel.active {
            channel.active = true;
            self.active.push_back(number);
        }
        self.backlog += delivery.weight();
        channel.log.push_back(Entry { delivery, left });
        channel.next = channel.next.wrapping_add(1);
    }

    /// How many bytes of publications wait for some subscriber here.
    pub(crate) fn backlog(&self) -> usize {
        self.backlog
    }

    /// Whether anything is left to deliver.
    pub(crate) fn has_work(&self) -> bool {
        !self.active.is_empty()
    }

    /// Goes on with the sweeps of channels in their turns, for up to `visits` subscribers in all.
    pub(crate) fn sweep(&mut self, visits: usize, sockets: &mut impl Sockets, book: &mut Book) -> Swept {
        let mut swept = Swept::default();
        let mut left = visits;
        while left > 0 {
            let Some(number) = self.active.pop_front() else { break };
            let channel = &mut self.channels[number as usize];
            let (done, visited) = channel.sweep(left, sockets, book);
            swept.add(done);
            left = left.saturating_sub(visited.max(1));
            self.backlog -= channel.forget_delivered();
            channel.active = !channel.log.is_empty();
            if channel.active {
                self.active.push_back(number);
            }
        }
        swept
    }
}

impl Channel {
    fn new(name: ChannelName, ticket: u32) -> Self {
        Self {
            name,
            joining: Some(ticket),
            waiting: Vec::new(),
            subscribers: Vec::new(),
            log: VecDeque::new(),
            next: 0,
            cursor: 0,
            active: false,
        }
    }

    fn add(&mut self, slot: u32) -> u32 {
        self.subscribers.push(Subscriber { slot, due: self.next });
        (self.subscribers.len() - 1) as u32
    }

    /// Forgets what everybody has had, and returns how many bytes that was.
    fn forget_delivered(&mut self) -> usize {
        let mut bytes = 0;
        while let Some(entry) = self.log.pop_front_if(|entry| entry.left == 0) {
            bytes += entry.delivery.weight();
        }
        bytes
    }

    /// Visits up to so many subscribers; returns what was done, and how many were visited.
    fn sweep(&mut self, visits: usize, sockets: &mut impl Sockets, book: &mut Book) -> (Swept, usize) {
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
            let Some(subscriber) = self.subscribers.get_mut(self.cursor) else { break };
            self.cursor += 1;
            let behind = self.next.wrapping_sub(subscriber.due) as usize;
            if behind == 0 {
                continue;
            }
            let encoding = sockets.encoding(subscriber.slot);
            let run = &mut runs[encoding as usize];
            if run.as_ref().is_none_or(|run| run.behind != behind)
                && let Some(run) = run.replace(Run::new(&self.log, behind, encoding))
            {
                swept.add(run.settle(&mut self.log, book));
            }
            if let Some(run) = run {
                subscriber.due = subscriber.due.wrapping_add(run.len as u32);
                behind_at_all -= usize::from(run.len == behind);
                run.visit(subscriber.slot, &self.log, sockets, book);
            }
        }
        for run in runs.into_iter().flatten() {
            swept.add(run.settle(&mut self.log, book));
        }
        (swept, visited)
    }
}

#[cfg(test)]
#[path = "hub_tests.rs"]
mod tests;
