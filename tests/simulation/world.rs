//! A world of one owner, some nodes and their clients, in which one thing happens at a time.

use std::collections::BTreeMap;
use std::sync::Arc;

use fanfare_cluster::channel::Namespaces;
use fanfare_control_plane::simulation::{Owner, Store};
use fanfare_data_plane::simulation::{Node, ShardStep, TICK};
use fanfare_proto::v1::{self, PublishRequest};

use crate::channels::{CHANNELS, Channel, is_stream, namespaces};
use crate::mangler::Mangler;
use crate::person::{Person, Seat};
use crate::subscription::{Ask, Road};
use crate::truth::{Pushed, Truth, data};
use crate::wire::Wire;
use crate::words::{Trace, describe, short};

/// Nodes there are at most.
const NAMES: [&str; 3] = ["node-0", "node-1", "node-2"];
/// Shards of each.
pub(crate) const SHARDS: usize = 2;
/// How a push differs from the plainest.
#[derive(Clone, Debug, Default)]
pub(crate) struct Manner {
    pub(crate) unstored: bool,
    /// It has this key.
    pub(crate) key: Option<usize>,
    /// The connection that shall not get it.
    pub(crate) excluded: Option<String>,
    /// It is so much larger, in bytes.
    pub(crate) padding: usize,
}

pub(crate) struct World {
    pub(crate) store: Store,
    pub(crate) owner: Owner,
    pub(crate) nodes: Vec<Node>,
    pub(crate) wires: Vec<Wire>,
    pub(crate) people: Vec<Person>,
    pub(crate) truth: Truth,
    pub(crate) mangler: Mangler,
    /// Whether the history outlives its owner.
    pub(crate) is_shared: bool,
    /// Counts owners.
    owners: u64,
    /// By the owner's number of a push: ours.
    pub(crate) unanswered: BTreeMap<u64, usize>,
    /// What was wrong.
    pub(crate) wrong: Option<String>,
    pub(crate) trace: Trace,
}

fn channels() -> Arc<Namespaces> {
    namespaces()
}

impl World {
    pub(crate) fn new(nodes: usize, is_shared: bool) -> Self {
        let (store, channels) = (Store::new(is_shared), channels());
        Self {
            owner: Owner::new(&store, channels.clone(), &NAMES[..nodes]),
            store,
            nodes: (0..nodes).map(|number| Node::new(number as u32, SHARDS, channels.clone())).collect(),
            wires: (0..nodes).map(|_| Wire::default()).collect(),
            people: Vec::new(),
            truth: Truth::default(),
            mangler: Mangler::default(),
            is_shared,
            owners: 0,
            unanswered: BTreeMap::new(),
            wrong: None,
            trace: Trace::default(),
        }
    }

    pub(crate) fn say(&mut self, line: impl FnOnce() -> String) {
        self.trace.say_with(|_| line());
    }

    pub(crate) fn verdict(&mut self, who: &str, verdict: Result<(), String>) {
        if let Err(why) = verdict {
            let wrong = format!("{who}: {why}");
            self.say(|| format!("WRONG {wrong}"));
            self.wrong.get_or_insert(wrong);
        }
    }

    /// Takes up what has come of the last step.
    pub(crate) fn look(&mut self) {
        for placed in self.store.take_placed() {
            self.trace.say_with(|names| {
                let data = short(&placed.data);
                format!("  placed {data} in {} at {}", placed.channel, names.place(placed.position))
            });
            let verdict = self.truth.placed(&placed, self.is_shared);
            self.verdict("history", verdict);
        }
        for (number, answer) in self.owner.answers() {
            let Some(ours) = self.unanswered.remove(&number) else { continue };
            let said = answer.as_ref().map_or_else(Clone::clone, |_| "accepted".to_owned());
            self.say(|| format!("  push {ours}: {said}"));
            let verdict = self.truth.answered(ours, &answer);
            self.verdict("backend", verdict);
        }
        for (wire, node) in self.wires.iter_mut().zip(&mut self.nodes) {
            wire.carry(node, &mut self.owner);
        }
        for channel in CHANNELS {
            let is_followed = self.is_followed(channel);
            self.truth.is_followed(channel, is_followed);
        }
    }

    /// Whether the owner has told some node how far the channel has come, so that it knows it itself.
    pub(crate) fn is_followed(&self, channel: Channel) -> bool {
        self.wires.iter().any(|wire| wire.follows(channel))
    }

    /// Takes up what has come to the clients of a node.
    fn listen(&mut self, node: usize) {
        self.look();
        let road = self.road(node);
        for at in 0..self.people.len() {
            let Some(seat) = self.people[at].seat.clone().filter(|seat| seat.node == node) else { continue };
            let received = self.nodes[node].received(seat.client);
            for received in self.mangler.change(at, received) {
                self.say(|| format!("  person {at} {}", describe(&received)));
                let verdict = self.people[at].receive(received, road, &self.truth);
                self.verdict(&format!("person {at}"), verdict);
            }
        }
    }

    /// What could lose something on its way to a node, by how often it has changed.
    pub(crate) fn road(&self, node: usize) -> Road {
        (self.wires[node].generation, self.owners)
    }

    pub(crate) fn push(&mut self, channel: Channel, tag: char, manner: Manner) -> usize {
        let number = self.truth.pushes.len();
        let number = manner.key.unwrap_or(number);
        let stored = is_stream(channel) && !manner.unstored;
        let Manner { unstored, key, excluded, .. } = &manner;
        let is_for_all = excluded.is_none();
        self.say(|| {
            format!("push {number} to {channel}: tag {tag}, unstored: {unstored}, key: {key:?}, for all: {is_for_all}")
        });
        let storage =
            if manner.unstored && is_stream(channel) { v1::Storage::Skip } else { v1::Storage::Unspecified };
        let message = v1::Message {
            payload: Some(v1::message::Payload::Json(data(number, manner.padding))),
            tags: [("k".to_owned(), tag.to_string())].into(),
            storage: storage.into(),
            exclude_connections: manner.excluded.iter().cloned().collect(),
            ..Default::default()
        };
        let target = v1::Target { kind: Some(v1::target::Kind::Channel(channel.to_owned())) };
        let keyed = manner.key.is_some();
        let request = PublishRequest {
            target: Some(target),
            message: Some(message),
            idempotency_key: if keyed { number.to_string() } else { String::new() },
            ..Default::default()
        };
        if number == self.truth.pushes.len() {
            let excluded = manner.excluded;
            let (size, places, accepted) = (data(number, manner.padding).len(), Vec::new(), false);
            self.truth.pushes.push(Pushed { channel, stored, tag, excluded, keyed, size, places, accepted });
        }
        let theirs = self.owner.publish(request);
        self.unanswered.insert(theirs, number);
        self.look();
        number
    }

    pub(crate) fn connect(&mut self, person: usize, node: usize, shard: usize) {
        self.say(|| format!("person {person} connects to node {node}, shard {shard}"));
        while self.people.len() <= person {
            self.people.push(Person::default());
        }
        let client = self.nodes[node].connect(shard, None, person.is_multiple_of(2));
        let connection = self.nodes[node].connection_id(client);
        self.people[person].seat = Some(Seat { node, client, connection });
        self.listen(node);
    }

    pub(crate) fn subscribe(&mut self, person: usize, channel: Channel, ask: Ask) {
        let Some(seat) = self.people[person].seat.clone() else { return };
        self.trace.say_with(|names| {
            let since = ask.since.map(|since| names.place(since));
            let Ask { positioned, all_or_nothing, tag, .. } = ask;
            let wants = format!("positioned: {positioned}, all or nothing: {all_or_nothing}, tag: {tag:?}");
            format!("person {person} subscribes to {channel} since {since:?}, {wants}")
        });
        let command = self.people[person].subscribe(channel, ask);
        self.nodes[seat.node].say(seat.client, &command);
        self.listen(seat.node);
    }

    pub(crate) fn unsubscribe(&mut self, person: usize, channel: Channel) {
        let Some(seat) = self.people[person].seat.clone() else { return };
        self.say(|| format!("person {person} unsubscribes from {channel}"));
        let command = self.people[person].unsubscribe(channel);
        self.nodes[seat.node].say(seat.client, &command);
        self.listen(seat.node);
    }

    pub(crate) fn leave(&mut self, person: usize) {
        let Some(seat) = self.people[person].leave() else { return };
        self.say(|| format!("person {person} is gone"));
        self.nodes[seat.node].leave(seat.client);
        self.look();
    }

    pub(crate) fn shard_step(&mut self, node: usize, shard: usize, step: ShardStep, visits: usize) {
        self.say(|| format!("node {node}, shard {shard}: {step:?}"));
        self.nodes[node].step(shard, step, visits);
        self.listen(node);
    }

    pub(crate) fn owner_step(&mut self) {
        self.say(|| "owner takes the next".to_owned());
        self.owner.step();
        self.look();
    }

    /// The history does something with what it was asked.
    pub(crate) fn store_step(&mut self, does: &str, number: u64, act: impl FnOnce(&Store)) {
        self.say(|| format!("history {does} {number}"));
        act(&self.store);
        self.look();
    }

    pub(crate) fn take_answer(&mut self) -> bool {
        let was_there = self.owner.take_answer();
        self.say(|| format!("owner hears of the history: {was_there}"));
        self.look();
        was_there
    }

    pub(crate) fn carry_to_owner(&mut self, node: usize) {
        if let Some((session, message)) = self.wires[node].next_to_owner() {
            self.trace.say_with(|names| format!("node {node} -> owner: {}", names.of_node(&message)));
            self.owner.take(session, message);
            self.look();
        }
    }

    pub(crate) fn carry_to_node(&mut self, node: usize) {
        let Some(message) = self.wires[node].next_to_node() else { return };
        if let Some(message) = self.mangler.change_message(message) {
            self.trace.say_with(|names| format!("owner -> node {node}: {}", names.of_owner(&message)));
            self.nodes[node].take(message);
        }
        self.listen(node);
    }

    /// The link breaks; who notices it first does so when it is told.
    pub(crate) fn cut(&mut self, node: usize) {
        self.say(|| format!("link of node {node} is cut"));
        self.wires[node].cut();
    }

    pub(crate) fn node_notices(&mut self, node: usize) {
        self.say(|| format!("node {node} notices the cut"));
        self.nodes[node].link_down();
        self.listen(node);
    }

    pub(crate) fn owner_notices(&mut self, node: usize) {
        if let Some(session) = self.wires[node].ended.pop() {
            self.say(|| format!("owner notices that session {session} of node {node} has ended"));
            self.owner.link_down(session);
            self.look();
        }
    }

    pub(crate) fn dial(&mut self, node: usize) {
        self.say(|| format!("node {node} dials"));
        self.wires[node].dial(NAMES[node], &mut self.nodes[node], &mut self.owner);
        self.listen(node);
    }

    /// The owner's process begins anew. With a history in memory that is lost as well.
    pub(crate) fn restart(&mut self) {
        let history = if self.is_shared { "stays" } else { "is gone" };
        self.say(|| format!("the owner begins anew; its history {history}"));
        self.look();
        if !self.is_shared {
            self.store = Store::new(false);
            self.truth.forget_streams();
        }
        self.owner = Owner::new(&self.store, channels(), &NAMES[..self.nodes.len()]);
        self.owners += 1;
        self.unanswered.clear();
        self.wires.iter_mut().for_each(Wire::forget_owner);
    }

    pub(crate) fn lose_tail(&mut self, channel: Channel, publications: u64) {
        self.say(|| format!("the history loses {publications} of {channel}"));
        self.store.lose_tail(channel, publications);
        let stream = self.truth.stream(channel);
        (stream.was_cut, stream.lost_in) = (true, stream.last.map(|last| last.epoch));
    }

    /// Time passes by one tick for everybody.
    pub(crate) async fn tick(&mut self) {
        self.say(|| "tick".to_owned());
        tokio::time::advance(TICK).await;
        self.owner.tick();
        self.look();
        for node in 0..self.nodes.len() {
            self.nodes[node].tick();
            self.listen(node);
        }
    }
}
