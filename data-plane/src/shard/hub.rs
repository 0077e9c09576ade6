//! The channels of a shard: who subscribes here, and how publications reach them with as few writes as can be.
//!
//! A channel that has something to deliver is swept: a cursor goes round its subscribers, and each one it
//! meets gets what it has not had yet, in one write (of 256 KiB at most; the rest comes with the next
//! round). What is published during a sweep joins it at the cursor, so that batches grow with load by themselves and nobody waits for a timer. A sweep goes in
//! small steps, so that other channels, reads and pings have their turn.

use std::collections::{HashMap, VecDeque};

use fanfare_cluster::channel::{ChannelName, StreamPosition};
use slab::Slab;

use super::SlotKey;
use super::book::Book;
use super::channel::{Answer, Channel};
use super::delivery::{Delivery, Entry, Mark, Sockets, Swept};
use super::stream::RecoverQuestion;
use super::waiting::{Born, Waiting};

/// Where a subscription stands.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Subscribed {
    /// It is live.
    Live { channel: u32, born: Born },
    /// It waits until the shard has joined, or for what it has missed; `join` is the ticket to ask with, if nobody
    /// has asked to join yet.
    Waits { channel: u32, join: Option<u32> },
}

/// What an answer of the owner has brought about.
#[derive(Debug)]
pub(crate) struct Recovered {
    pub(crate) channel: u32,
    /// Subscriptions that have begun.
    pub(crate) born: Vec<Born>,
    /// The slots of subscribers that have lost their continuity.
    pub(crate) lost: Vec<u32>,
    pub(crate) swept: Swept,
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
    /// Channels with questions that are not on their way yet.
    asking: Vec<u32>,
    /// Subscriptions that have lost their continuity and were not told yet, with their channels' numbers.
    // queue: notices of lost continuity
    pub(super) lost: VecDeque<(SlotKey, u32)>,
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
        let channel = &self.channels[number as usize];
        let recovering = channel.stream.iter().flat_map(|stream| stream.waiting());
        channel.waiting.iter().chain(recovering).map(|waiting| waiting.key).collect()
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
        self.note_asks(number);
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
        if !channel.is_joined {
            channel.waiting.push(waiting);
            return Subscribed::Waits { channel: number, join };
        }
        let born = channel.begin(waiting);
        self.note_asks(number);
        match born {
            Some(born) => Subscribed::Live { channel: number, born },
            None => Subscribed::Waits { channel: number, join: None },
        }
    }

    /// The shard has joined; the stream, if the channel has one, had come as far as `position`. Those who waited are
    /// live from here on, and come back, unless they wait for what they have missed. An answer to another join than
    /// the one under way means nothing: the channel was left meanwhile.
    pub(crate) fn joined(
        &mut self,
        name: &ChannelName,
        ticket: u32,
        position: Option<StreamPosition>,
    ) -> Option<(u32, Vec<Born>)> {
        let number = self.joining(name, ticket)?;
        let channel = &mut self.channels[number as usize];
        channel.join(position);
        let waiting = std::mem::take(&mut channel.waiting);
        let born = waiting.into_iter().filter_map(|waiting| channel.begin(waiting)).collect();
        self.note_asks(number);
        Some((number, born))
    }

    /// The shard could not join. The channel is forgotten; those who waited for it come back.
    pub(crate) fn join_failed(&mut self, name: &ChannelName, ticket: u32) -> Option<(u32, Vec<Waiting>)> {
        let number = self.joining(name, ticket)?;
        Some((number, self.remove(number).waiting))
    }

    /// The channel, if this is the join that it waits for.
    fn joining(&self, name: &ChannelName, ticket: u32) -> Option<u32> {
        let number = self.find(name.as_str())?;
        let channel = &self.channels[number as usize];
        (!channel.is_joined && channel.ticket == ticket).then_some(number)
    }

    /// The owner has answered what was published after a position.
    pub(crate) fn recovered(
        &mut self,
        name: &ChannelName,
        ticket: u64,
        answer: &Answer,
        sockets: &mut impl Sockets,
    ) -> Option<Recovered> {
        let number = self.find(name.as_str())?;
        let (born, lost, swept) = self.channels[number as usize].recovered(ticket, answer, sockets);
        self.note_asks(number);
        Some(Recovered { channel: number, born, lost, swept })
    }

    /// The owner has not answered in time. Those who wait for it to begin come back.
    pub(crate) fn recover_failed(&mut self, name: &ChannelName, ticket: u64) -> Option<(u32, Vec<Waiting>)> {
        let number = self.find(name.as_str())?;
        let waiting = self.channels[number as usize].recover_failed(ticket);
        self.note_asks(number);
        Some((number, waiting))
    }

    /// The stream of a channel had come as far as this when this came: who has less then is behind.
    pub(crate) fn top(&mut self, name: &ChannelName, position: StreamPosition) {
        let Some(number) = self.find(name.as_str()) else { return };
        let channel = &mut self.channels[number as usize];
        let Some(stream) = &mut channel.stream else { return };
        let place = stream.reach(position);
        if !channel.subscribers.is_empty() {
            channel.push(None, Mark::Top(place));
            self.activate(number);
        }
    }

    /// Whether a subscriber has lost its continuity and has not been told so.
    pub(crate) fn is_lost(&self, number: u32, slot: u32) -> bool {
        self.channels.get(number as usize).is_some_and(|channel| channel.is_lost(slot))
    }

    /// What owners are to be asked: the channel, and what of it.
    pub(crate) fn take_asks(&mut self) -> Vec<(ChannelName, RecoverQuestion)> {
        let mut asks = Vec::new();
        for number in std::mem::take(&mut self.asking) {
            // It may be gone, or be another by now.
            let Some(channel) = self.channels.get_mut(number as usize) else { continue };
            let Some(stream) = &mut channel.stream else { continue };
            asks.extend(stream.take_asks().into_iter().map(|asked| (channel.name.clone(), asked)));
        }
        asks
    }

    fn note_asks(&mut self, number: u32) {
        let channel = self.channels.get(number as usize);
        let asks =
            channel.and_then(|channel| channel.stream.as_ref()).is_some_and(|stream| stream.has_asks());
        if asks && self.asking.last() != Some(&number) {
            self.asking.push(number);
        }
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
        channel.apart.remove(gone.slot);
        let behind = channel.next.wrapping_sub(gone.due) as usize;
        let first = channel.log.len() - behind;
        for entry in channel.log.range_mut(first..) {
            entry.left -= 1;
            let Some(delivery) = &entry.delivery else { continue };
            let Some(receipt) = delivery.receipt else { continue };
            let excluded = !delivery.exclude.is_empty() && delivery.exclude.contains(&sockets.id(gone.slot));
            if excluded { book.skip(receipt) } else { book.cut(receipt, 1) }
        }
        self.backlog -= channel.forget_delivered();
    }

    /// Ends a subscription that waits.
    pub(crate) fn stop_waiting(&mut self, number: u32, key: SlotKey) -> Option<Waiting> {
        let channel = &mut self.channels[number as usize];
        let is_meant = |waiting: &Waiting| waiting.key == key;
        if let Some(at) = channel.waiting.iter().position(is_meant) {
            return Some(channel.waiting.swap_remove(at));
        }
        channel.stream.as_mut()?.stop_waiting(is_meant)
    }

    /// Forgets the channel if nobody subscribes or waits any more. The shard shall then leave it.
    pub(crate) fn forget_if_idle(&mut self, number: u32) -> Option<ChannelName> {
        let idle = self.channels[number as usize].is_idle();
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
        let joined = number.filter(|number| self.channels[*number as usize].is_joined);
        let Some(number) = joined else {
            // Nobody is live here. Those who wait are born after this publication.
            if let Some(receipt) = delivery.receipt {
                book.open(receipt, 0, receipt_due);
            }
            return;
        };
        let channel = &mut self.channels[number as usize];
        if let Some(receipt) = delivery.receipt {
            book.open(receipt, channel.subscribers.len(), receipt_due);
        }
        let mark = channel.mark(&delivery);
        if channel.subscribers.is_empty() {
            return;
        }
        channel.push(Some(delivery), mark);
        self.activate(number);
    }

    /// The channel's newest entry waits for its sweep.
    fn activate(&mut self, number: u32) {
        let channel = &mut self.channels[number as usize];
        self.backlog += channel.log.back().map_or(0, Entry::weight);
        if !channel.active {
            channel.active = true;
            self.active.push_back(number);
        }
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
            self.note_asks(number);
        }
        swept
    }
}

#[cfg(test)]
#[path = "hub_tests.rs"]
mod tests;
