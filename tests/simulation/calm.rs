//! When nothing fails any more: what is on its way arrives, and everybody must have what is owed, or have been told.

use crate::channels::CHANNELS;
use crate::person::State;
use crate::world::{Manner, World};

/// How long until everything that was given up meanwhile has been asked again.
const A_WHILE: usize = 120;
/// How long until an owner has looked at all histories by itself.
const A_SWEEP: usize = 330;

impl World {
    /// Everything that is on its way arrives, in some order.
    pub(crate) fn settle(&mut self) {
        loop {
            let mut idle = true;
            while self.owner.waits() > 0 {
                self.owner_step();
                idle = false;
            }
            while self.owner.take_answer() {
                self.look();
                idle = false;
            }
            for node in 0..self.nodes.len() {
                while let Some((shard, step)) = self.nodes[node].steps().into_iter().next() {
                    self.shard_step(node, shard, step, 3);
                    idle = false;
                }
                while self.wires[node].load().0 > 0 {
                    self.carry_to_owner(node);
                    idle = false;
                }
                while self.wires[node].load().1 > 0 {
                    self.carry_to_node(node);
                    idle = false;
                }
            }
            if idle || self.wrong.is_some() {
                return;
            }
        }
    }

    async fn settle_for(&mut self, ticks: usize) {
        for _ in 0..ticks {
            self.settle();
            self.tick().await;
            if self.wrong.is_some() {
                return;
            }
        }
        self.settle();
    }

    /// Nothing fails any more: everybody must get what is owed, or have been told.
    pub(crate) async fn calm_down(&mut self) {
        self.say(|| "calm".to_owned());
        self.store.set_slow(false);
        for (number, _) in self.store.pending() {
            self.store.answer(number);
        }
        for node in 0..self.nodes.len() {
            self.settle_link(node);
        }
        self.settle_for(if self.is_shared { A_SWEEP } else { A_WHILE }).await;
        self.check_calm(false);
        for channel in CHANNELS {
            self.push(channel, 'a', Manner::default());
            self.push(channel, 'b', Manner::default());
        }
        self.settle_for(A_WHILE).await;
        self.check_calm(true);
    }

    fn settle_link(&mut self, node: usize) {
        if !self.wires[node].is_whole() {
            self.node_notices(node);
            self.dial(node);
        }
        while !self.wires[node].ended.is_empty() {
            self.owner_notices(node);
        }
    }

    fn check_calm(&mut self, all: bool) {
        if self.wrong.is_some() {
            return;
        }
        self.say(|| "everybody is asked".to_owned());
        let mut verdicts = Vec::new();
        for (at, person) in self.people.iter().enumerate() {
            for (channel, state) in &person.subscriptions {
                let verdict = match (state, &person.seat) {
                    (State::Live(live), Some(seat)) => {
                        live.is_calm(self.store.end(channel), self.road(seat.node), all, &self.truth)
                    }
                    _ => Err("its subscribe was never answered".to_owned()),
                };
                verdicts.push((format!("person {at} in {channel}"), verdict));
            }
        }
        if let Some((_, number)) = self.unanswered.first_key_value() {
            verdicts.push((format!("push {number}"), Err("it was never answered".to_owned())));
        }
        for (who, verdict) in verdicts {
            self.verdict(&who, verdict);
        }
    }
}
