//! What happens next, as a seed has it: every seed makes a world of its own, with other odds for everything.

use fanfare_cluster::channel::{Epoch, StreamPosition};
use fanfare_data_plane::simulation::ShardStep;

use crate::channels::{CHANNELS, Channel, is_stream};
use crate::dice::Dice;
use crate::subscription::Ask;
use crate::world::{Manner, SHARDS, World};

/// Clients of a world.
const PEOPLE: usize = 6;
/// Things that happen before everything calms down.
const STEPS: (usize, usize) = (200, 900);

/// Ticks in which nothing else happens: longer than anybody waits for anything.
const PAUSE: usize = 70;

/// How likely it is that the owner takes the next thing. It is seldom far behind.
const OWNER: u32 = 200;

/// How likely each kind of thing is.
#[derive(Clone, Copy, Debug)]
struct Odds {
    shard: u32,
    wire: u32,
    history: u32,
    client: u32,
    push: u32,
    tick: u32,
    pause: u32,
    cut: u32,
    notice: u32,
    restart: u32,
    history_fault: u32,
    lost_tail: u32,
}

/// One thing that can happen.
#[derive(Clone, Copy, Debug)]
enum Event {
    Shard(usize, usize, ShardStep),
    ToOwner(usize),
    ToNode(usize),
    Owner,
    Land(u64),
    Answer(u64),
    Fail(u64),
    Drop(u64),
    HearHistory,
    Client(usize),
    Push,
    Tick,
    Pause,
    Cut(usize),
    NodeNotices(usize),
    OwnerNotices(usize),
    Dial(usize),
    Restart,
    SlowHistory,
    LoseTail(Channel),
}

/// A world of a seed, and what drives it.
pub(crate) struct Schedule {
    pub(crate) dice: Dice,
    pub(crate) world: World,
    odds: Odds,
    is_slow: bool,
    /// Channels that this seed is about: fewer of them meet more often.
    channels: Vec<Channel>,
    keyed: Vec<(Channel, usize)>,
}

impl Schedule {
    pub(crate) fn new(seed: u64, is_traced: bool) -> Self {
        let mut dice = Dice::new(seed);
        let mut rate = |most: usize| dice.below(most + 1) as u32;
        let odds = Odds {
            shard: 40 + rate(100),
            wire: 40 + rate(200),
            history: 50 + rate(200),
            client: 10 + rate(40),
            push: 10 + rate(60),
            tick: 5 + rate(30),
            pause: rate(1) * rate(3),
            cut: rate(1) * rate(8),
            notice: 5 + rate(100),
            restart: rate(1) * rate(5),
            history_fault: rate(1) * rate(20),
            lost_tail: rate(1) * rate(8),
        };
        let (nodes, is_shared) = (2 + dice.below(2), dice.percent(60));
        let count = 1 + dice.below(CHANNELS.len());
        let mut channels = CHANNELS.to_vec();
        while channels.len() > count {
            let gone = dice.below(channels.len());
            channels.remove(gone);
        }
        let mut world = World::new(nodes, is_shared);
        world.trace.is_kept = is_traced;
        for node in 0..nodes {
            world.dial(node);
        }
        for person in 0..PEOPLE {
            world.connect(person, dice.below(nodes), dice.below(SHARDS));
        }
        Self { dice, world, odds, is_slow: false, channels, keyed: Vec::new() }
    }

    /// Lets a world live, then calms it down.
    pub(crate) async fn run(&mut self) {
        let steps = STEPS.0 + self.dice.below(STEPS.1 - STEPS.0);
        for _ in 0..steps {
            let events = self.events();
            let Some(event) = self.dice.weighed(events) else { break };
            self.happen(event).await;
            if self.world.wrong.is_some() {
                return;
            }
        }
        self.world.calm_down().await;
    }

    fn events(&self) -> Vec<(u32, Event)> {
        let (odds, world) = (self.odds, &self.world);
        let mut events = vec![
            (odds.push, Event::Push),
            (odds.tick, Event::Tick),
            (odds.pause, Event::Pause),
            (odds.restart, Event::Restart),
        ];
        for node in 0..world.nodes.len() {
            for (shard, step) in world.nodes[node].steps() {
                events.push((odds.shard, Event::Shard(node, shard, step)));
            }
            let wire = &world.wires[node];
            let (to_owner, to_node) = wire.load();
            events.extend((to_owner > 0).then_some((odds.wire, Event::ToOwner(node))));
            events.extend((to_node > 0).then_some((odds.wire, Event::ToNode(node))));
            events.extend((!wire.ended.is_empty()).then_some((odds.notice, Event::OwnerNotices(node))));
            events.push(match (wire.is_whole(), world.nodes[node].is_linked()) {
                (true, _) => (odds.cut, Event::Cut(node)),
                (false, true) => (odds.notice, Event::NodeNotices(node)),
                (false, false) => (odds.notice, Event::Dial(node)),
            });
        }
        events.extend((world.owner.waits() > 0).then_some((OWNER, Event::Owner)));
        events.extend((0..PEOPLE).map(|person| (odds.client, Event::Client(person))));
        if world.is_shared {
            self.history_events(&mut events);
        }
        events
    }

    fn history_events(&self, events: &mut Vec<(u32, Event)>) {
        let (odds, world) = (self.odds, &self.world);
        events.push((1 + odds.history_fault / 4, Event::SlowHistory));
        let pending = world.store.pending();
        for (number, _) in &pending {
            events.push((odds.history / 2, Event::Land(*number)));
            events.push((odds.history, Event::Answer(*number)));
            events.push((odds.history_fault, Event::Fail(*number)));
            events.push((odds.history_fault, Event::Drop(*number)));
        }
        if self.is_slow {
            events.push((odds.history, Event::HearHistory));
        }
        for channel in self.channels.iter().filter(|channel| is_stream(channel)) {
            // What is asked just now would land in a store of which nobody has told yet.
            let is_asked = pending.iter().any(|(_, name)| name == channel);
            if !is_asked && self.is_noticeable(channel) {
                events.push((odds.lost_tail, Event::LoseTail(channel)));
            }
        }
    }

    /// Whether the owner knows of all that a channel's history has, so that a loss can be noticed; and one loss at a time.
    fn is_noticeable(&self, channel: Channel) -> bool {
        !self.world.truth.was_cut(channel) && self.world.is_followed(channel)
    }

    async fn happen(&mut self, event: Event) {
        let world = &mut self.world;
        match event {
            Event::Shard(node, shard, step) => {
                let visits = 1 + self.dice.below(3);
                world.shard_step(node, shard, step, visits);
            }
            Event::ToOwner(node) => world.carry_to_owner(node),
            Event::ToNode(node) => world.carry_to_node(node),
            Event::Owner => world.owner_step(),
            Event::Land(number) => world.store_step("does", number, |store| store.land(number)),
            Event::Answer(number) => world.store_step("answers", number, |store| store.answer(number)),
            Event::Fail(number) => world.store_step("is away for", number, |store| store.fail(number)),
            Event::Drop(number) => world.store_step("never does", number, |store| store.drop_effect(number)),
            Event::HearHistory => drop(world.take_answer()),
            Event::Client(person) => self.act(person),
            Event::Push => self.push(),
            Event::Tick => world.tick().await,
            Event::Pause => {
                for _ in 0..self.dice.below(PAUSE) {
                    world.tick().await;
                }
            }
            Event::Cut(node) => world.cut(node),
            Event::NodeNotices(node) => world.node_notices(node),
            Event::OwnerNotices(node) => world.owner_notices(node),
            Event::Dial(node) => world.dial(node),
            Event::Restart => world.restart(),
            Event::SlowHistory => {
                self.is_slow = !self.is_slow;
                let is_slow = self.is_slow;
                world.say(|| format!("history is slow: {is_slow}"));
                world.store.set_slow(is_slow);
            }
            Event::LoseTail(channel) => {
                let publications = 1 + self.dice.below(3) as u64;
                world.lose_tail(channel, publications);
            }
        }
    }

    fn act(&mut self, person: usize) {
        let channel = *self.dice.pick(&self.channels);
        let world = &mut self.world;
        if world.people[person].seat.is_none() {
            let (nodes, shard) = (world.nodes.len(), self.dice.below(SHARDS));
            return world.connect(person, self.dice.below(nodes), shard);
        }
        if self.dice.percent(4) {
            return world.leave(person);
        }
        match world.people[person].subscriptions.contains_key(channel) {
            true if self.dice.percent(15) => world.unsubscribe(person, channel),
            true => {}
            false => {
                let ask = self.ask(person, channel);
                self.world.subscribe(person, channel, ask);
            }
        }
    }

    fn ask(&mut self, person: usize, channel: Channel) -> Ask {
        let tag = self.dice.percent(25).then_some('a');
        if !is_stream(channel) || self.dice.percent(20) {
            return Ask { tag, ..Ask::default() };
        }
        let kept = self.world.people[person].kept.get(channel).copied();
        let since = match self.dice.below(10) {
            0 => Some(StreamPosition { epoch: Epoch(7), offset: 3 }),
            1 => Some(StreamPosition::default()),
            2 | 3 => None,
            _ => kept,
        };
        Ask { positioned: true, since, all_or_nothing: self.dice.percent(15), tag }
    }

    fn push(&mut self) {
        let channel = *self.dice.pick(&self.channels);
        let tag = *self.dice.pick(&['a', 'b']);
        if self.dice.percent(10) && is_stream(channel) {
            return self.push_with_key(channel, tag);
        }
        let unstored = self.dice.percent(10);
        let person = self.dice.below(PEOPLE);
        let seat = self.world.people[person].seat.as_ref().filter(|_| self.dice.percent(15));
        let excluded = seat.map(|seat| seat.connection.clone());
        self.world.push(channel, tag, Manner { unstored, excluded, ..Manner::default() });
    }

    /// A push that was made before, or one that can be made again.
    fn push_with_key(&mut self, channel: Channel, tag: char) {
        let former = self.keyed.iter().rev().find(|(other, _)| *other == channel).map(|(_, number)| *number);
        let again = former.filter(|_| self.dice.percent(60));
        let number = again.unwrap_or(self.world.truth.pushes.len());
        let tag = again.map_or(tag, |number| self.world.truth.pushes[number].tag);
        self.world.push(channel, tag, Manner { key: Some(number), ..Manner::default() });
        self.keyed.push((channel, number));
    }
}
