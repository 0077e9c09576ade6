//! The interleavings that the protocol of the planes was reviewed against, as far as they concern one owner.

mod births;
mod losses;

use fanfare_cluster::channel::StreamPosition;
use fanfare_control_plane::simulation::Answer;
use fanfare_proto::v1::{self, PublishRequest};

use crate::channels::Channel;
use crate::subscription::Ask;
use crate::world::{Manner, World};

const LONG: Channel = "long:a";
const PLAIN: Channel = "plain:a";

/// Lets a story happen in a world of two nodes that are linked, then calms it down: nobody may be wronged.
fn story(is_shared: bool, tell: impl AsyncFnOnce(&mut World)) -> World {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    runtime.expect("it needs nothing").block_on(async {
        let mut world = World::new(2, is_shared);
        world.trace.is_kept = true;
        world.dial(0);
        world.dial(1);
        world.settle();
        tell(&mut world).await;
        if world.wrong.is_none() {
            world.calm_down().await;
        }
        assert_eq!(world.wrong, None, "{}", world.trace.lines.join("\n"));
        world
    })
}

impl World {
    /// Somebody new, live in the channel.
    fn live(&mut self, person: usize, (node, shard): (usize, usize), channel: Channel) {
        self.connect(person, node, shard);
        self.subscribe(person, channel, positioned());
        self.settle();
    }

    /// What was pushed has its place, and is on the links.
    fn push_and_place(&mut self, channel: Channel) -> usize {
        let number = self.push(channel, 'a', Manner::default());
        self.owner_step();
        number
    }

    fn push_some(&mut self, channel: Channel, count: usize) {
        for _ in 0..count {
            self.push_and_place(channel);
        }
    }

    /// Shards of a node do all they can.
    fn shards(&mut self, node: usize) {
        while let Some((shard, step)) = self.nodes[node].steps().into_iter().next() {
            self.shard_step(node, shard, step, 1);
        }
    }

    /// What a node has said comes to the owner, which takes it.
    fn say_to_owner(&mut self, node: usize) {
        while self.wires[node].load().0 > 0 {
            self.carry_to_owner(node);
            while self.owner.waits() > 0 {
                self.owner_step();
            }
        }
    }

    /// What the owner has said comes to the node's middle, and no further.
    fn hear_owner(&mut self, node: usize) {
        while self.wires[node].load().1 > 0 {
            self.carry_to_node(node);
        }
    }

    fn break_link(&mut self, node: usize) {
        self.cut(node);
        self.node_notices(node);
        self.owner_notices(node);
    }

    fn got(&self, person: usize) -> &[usize] {
        &self.people[person].got
    }

    /// The answer to a push that is made now.
    fn answer_to(&mut self, target: v1::target::Kind) -> Answer {
        let message =
            v1::Message { payload: Some(v1::message::Payload::Json("1".into())), ..Default::default() };
        let target = Some(v1::Target { kind: Some(target) });
        let push =
            self.owner.publish(PublishRequest { target, message: Some(message), ..Default::default() });
        while self.owner.waits() > 0 {
            self.owner.step();
        }
        let answers = self.owner.answers();
        answers.into_iter().find(|(number, _)| *number == push).expect("it is answered").1
    }
}

fn positioned() -> Ask {
    Ask { positioned: true, ..Ask::default() }
}

fn since(position: Option<StreamPosition>) -> Ask {
    Ask { since: position, ..positioned() }
}
