//! Tests of the hub: order, births in the middle of a sweep, exclusions, receipts, and any interleaving at all.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use fanfare_cluster::channel::Epoch;
use fanfare_cluster::connection_id::ConnectionId;
use fanfare_cluster::member::Incarnation;
use fanfare_proto::link;
use proptest::prelude::*;

use super::super::book::Counts;
use super::super::delivery::Written;
use super::super::waiting::Purpose;
use super::*;
use crate::encoding::Encoding;
use crate::publication::Publication;

/// Sockets that remember what was written to them, by slot.
#[derive(Default)]
struct Recorder {
    writes: BTreeMap<u32, Vec<String>>,
    positions: BTreeMap<u32, u32>,
    ids: BTreeMap<u32, ConnectionId>,
}

impl Sockets for Recorder {
    fn encoding(&self, _: u32) -> Encoding {
        Encoding::Json
    }

    fn id(&self, slot: u32) -> ConnectionId {
        self.ids[&slot]
    }

    fn write(&mut self, slot: u32, frames: &Bytes, _: &[u64]) -> Written {
        let text = String::from_utf8_lossy(frames).into_owned();
        self.writes.entry(slot).or_default().push(text);
        Written::Whole
    }

    fn moved(&mut self, slot: u32, _: u32, position: u32) {
        self.positions.insert(slot, position);
    }
}

impl Recorder {
    /// The numbers that a connection has got, in order.
    fn numbers(&self, slot: u32) -> Vec<u32> {
        let writes = self.writes.get(&slot).map(Vec::as_slice).unwrap_or_default();
        let pieces = writes.iter().flat_map(|text| text.split("\"data\":").skip(1));
        pieces.map(|piece| piece.split('}').next().unwrap().parse().unwrap()).collect()
    }

    fn write_count(&self, slot: u32) -> usize {
        self.writes.get(&slot).map_or(0, Vec::len)
    }
}

/// A hub with one channel, and everything around it.
struct World {
    hub: Hub,
    sockets: Recorder,
    book: Book,
}

fn name() -> ChannelName {
    ChannelName::parse("news").unwrap()
}

fn waiting(slot: u32) -> Waiting {
    Waiting { key: SlotKey { slot, serial: 0 }, purpose: Purpose::Subscribe { id: 1 }, wants: None }
}

impl World {
    fn new() -> Self {
        Self { hub: Hub::default(), sockets: Recorder::default(), book: Book::default() }
    }

    fn subscribe(&mut self, slot: u32) {
        let id = ConnectionId::new(Incarnation::from_wire(1), 0, slot as usize);
        self.sockets.ids.insert(slot, id);
        match self.hub.subscribe(name(), waiting(slot)) {
            Subscribed::Live { born, .. } => drop(self.sockets.positions.insert(slot, born.index)),
            Subscribed::Waits { join, .. } => {
                let (_, live) = self.hub.joined(&name(), join.unwrap(), None).unwrap();
                for born in live {
                    self.sockets.positions.insert(born.waiting.key.slot, born.index);
                }
            }
        }
    }

    fn unsubscribe(&mut self, slot: u32) {
        let channel = self.hub.find("news").unwrap();
        let position = self.sockets.positions.remove(&slot).unwrap();
        self.hub.unsubscribe(channel, position, &mut self.sockets, &mut self.book);
        self.hub.forget_if_idle(channel);
    }

    fn publish(&mut self, number: u32) {
        self.publish_with(number, &[], None);
    }

    fn publish_with(&mut self, number: u32, exclude: &[ConnectionId], receipt: Option<u64>) {
        let wire = link::Publication { data: number.to_string().into(), ..Default::default() };
        let publication = Arc::new(Publication::new(name(), wire, Epoch::default()));
        self.hub.deliver(
            Delivery { publication, exclude: exclude.into(), receipt, for_some: false },
            100,
            &mut self.book,
        );
    }

    fn sweep(&mut self, visits: usize) -> Swept {
        self.hub.sweep(visits, &mut self.sockets, &mut self.book)
    }

    fn sweep_all(&mut self) {
        while self.hub.has_work() {
            self.sweep(3);
        }
    }
}

#[test]
fn everybody_gets_everything_in_order() {
    let mut world = World::new();
    (0..10).for_each(|slot| world.subscribe(slot));
    (0..5).for_each(|number| world.publish(number));
    world.sweep_all();
    for slot in 0..10 {
        assert_eq!(world.sockets.numbers(slot), [0, 1, 2, 3, 4]);
    }
}

#[test]
fn what_waits_leaves_in_one_write() {
    let mut world = World::new();
    world.subscribe(0);
    (0..16).for_each(|number| world.publish(number));
    assert_eq!(world.sweep(1).deliveries, 16);
    assert_eq!(world.sockets.write_count(0), 1);
    assert!(!world.hub.has_work());
}

#[test]
fn what_is_published_during_a_sweep_joins_it() {
    let mut world = World::new();
    (0..4).for_each(|slot| world.subscribe(slot));
    world.publish(0);
    world.sweep(2);
    world.publish(1);
    world.sweep_all();
    for slot in 0..4 {
        assert_eq!(world.sockets.numbers(slot), [0, 1]);
    }
    assert_eq!((world.sockets.write_count(0), world.sockets.write_count(3)), (2, 1));
}

// A subscribe reads the node's position, then 10 is fanned out to joined shards only, then it goes
// live: 10 missed (interleaving 1a). Here a subscription is born at its place in the order.
#[test]
fn a_subscription_gets_what_is_published_after_its_birth_and_nothing_before() {
    let mut world = World::new();
    world.subscribe(0);
    world.publish(0);
    world.subscribe(1);
    world.publish(1);
    world.sweep_all();
    assert_eq!((world.sockets.numbers(0), world.sockets.numbers(1)), (vec![0, 1], vec![1]));
}

// Subscribe, unsubscribe, subscribe with a late answer to the first (interleaving 14).
#[test]
fn a_late_answer_to_an_older_join_brings_nobody_to_life() {
    let mut hub = Hub::default();
    let Subscribed::Waits { channel, join: Some(first) } = hub.subscribe(name(), waiting(0)) else {
        panic!()
    };
    hub.stop_waiting(channel, waiting(0).key);
    assert_eq!(hub.forget_if_idle(channel), Some(name()));
    let Subscribed::Waits { join: Some(second), .. } = hub.subscribe(name(), waiting(0)) else { panic!() };
    assert!(hub.joined(&name(), first, None).is_none());
    assert_eq!(hub.joined(&name(), second, None).map(|(_, live)| live.len()), Some(1));
}

#[test]
fn a_failed_join_gives_back_those_who_waited() {
    let mut hub = Hub::default();
    let Subscribed::Waits { join: Some(ticket), .. } = hub.subscribe(name(), waiting(0)) else { panic!() };
    let Subscribed::Waits { join: None, .. } = hub.subscribe(name(), waiting(1)) else { panic!() };
    let (_, waited) = hub.join_failed(&name(), ticket).unwrap();
    assert_eq!(waited, [waiting(0), waiting(1)]);
    assert_eq!(hub.len(), 0);
}

#[test]
fn excluded_connections_get_the_rest_only() {
    let mut world = World::new();
    (0..3).for_each(|slot| world.subscribe(slot));
    let excluded = world.sockets.ids[&1];
    world.publish_with(0, &[excluded], Some(7));
    world.publish(1);
    world.sweep_all();
    assert_eq!(world.sockets.numbers(0), [0, 1]);
    assert_eq!(world.sockets.numbers(1), [1]);
    let answers: Vec<_> = world.book.answers().collect();
    assert_eq!(answers, [(7, Counts { written: 2, pending: 0, cut: 0 })]);
}

#[test]
fn a_receipt_counts_who_took_it_and_who_left_before() {
    let mut world = World::new();
    (0..3).for_each(|slot| world.subscribe(slot));
    world.publish_with(0, &[], Some(7));
    world.unsubscribe(1);
    world.sweep_all();
    let answers: Vec<_> = world.book.answers().collect();
    assert_eq!(answers, [(7, Counts { written: 2, pending: 0, cut: 1 })]);
}

#[test]
fn a_delivery_to_a_channel_that_nobody_subscribes_to_is_answered_with_nobody() {
    let mut world = World::new();
    world.publish_with(0, &[], Some(7));
    assert_eq!(world.book.answers().collect::<Vec<_>>(), [(7, Counts::default())]);
    assert!(!world.hub.has_work());
}

fn publication(channel: &ChannelName, data: String) -> Delivery {
    let wire = link::Publication { data: data.into(), ..Default::default() };
    let publication = Arc::new(Publication::new(channel.clone(), wire, Epoch::default()));
    Delivery { publication, exclude: Arc::from([]), receipt: None, for_some: false }
}

// A shard that is late must not cut clients that are not: what they miss comes in pieces that their queue can hold.
#[test]
fn who_is_far_behind_is_not_sent_everything_in_one_write() {
    let mut world = World::new();
    world.subscribe(0);
    for _ in 0..3 {
        let large = publication(&name(), format!("\"{}\"", "x".repeat(200_000)));
        world.hub.deliver(large, 100, &mut world.book);
    }
    assert_eq!(world.sweep(1).deliveries, 1);
    world.sweep_all();
    assert_eq!(world.sockets.write_count(0), 3);
    assert_eq!(world.hub.backlog(), 0);
}

#[test]
fn many_small_channels_have_their_turn_in_one_step() {
    let mut world = World::new();
    for slot in 0..10 {
        let channel = ChannelName::parse(&format!("#{slot}")).unwrap();
        let subscribed = world.hub.subscribe(channel.clone(), waiting(slot));
        let Subscribed::Waits { join: Some(ticket), .. } = subscribed else { panic!("{subscribed:?}") };
        world.hub.joined(&channel, ticket, None).unwrap();
        world.hub.deliver(publication(&channel, "1".to_owned()), 100, &mut world.book);
    }
    assert_eq!(world.sweep(10).deliveries, 10);
    assert!(!world.hub.has_work());
}

#[derive(Clone, Debug)]
enum Act {
    Subscribe,
    Unsubscribe(prop::sample::Index),
    Publish,
    Sweep(usize),
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        3 => Just(Act::Subscribe),
        2 => any::<prop::sample::Index>().prop_map(Act::Unsubscribe),
        4 => Just(Act::Publish),
        4 => (1usize..6).prop_map(Act::Sweep),
    ]
}

proptest! {
    #[test]
    fn whatever_happens_in_between_nobody_misses_or_sees_twice(acts in prop::collection::vec(act(), 1..80)) {
        let mut world = World::new();
        let (mut next_slot, mut next_number) = (0, 0);
        // By slot: the first number it is owed, and the one after the last, if it has left.
        let mut owed: BTreeMap<u32, (u32, Option<u32>)> = BTreeMap::new();
        for act in acts {
            match act {
                Act::Subscribe => {
                    world.subscribe(next_slot);
                    owed.insert(next_slot, (next_number, None));
                    next_slot += 1;
                }
                Act::Unsubscribe(index) => {
                    let live: Vec<u32> = world.sockets.positions.keys().copied().collect();
                    if !live.is_empty() {
                        let slot = live[index.index(live.len())];
                        world.unsubscribe(slot);
                        owed.get_mut(&slot).unwrap().1 = Some(next_number);
                    }
                }
                Act::Publish => {
                    world.publish(next_number);
                    next_number += 1;
                }
                Act::Sweep(visits) => drop(world.sweep(visits)),
            }
        }
        world.sweep_all();
        prop_assert_eq!(world.hub.backlog(), 0);
        for (slot, (first, end)) in owed {
            let got = world.sockets.numbers(slot);
            let expected: Vec<u32> = (first..end.unwrap_or(next_number)).collect();
            // Who has left may miss the newest ones, but what it got is in order and without a gap.
            let fits = if end.is_some() { expected.starts_with(&got) } else { expected == got };
            prop_assert!(fits, "slot {} got {:?} of {:?}", slot, got, expected);
        }
    }
}
