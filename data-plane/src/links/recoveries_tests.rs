//! What must hold for questions of what was missed: asked on every new link, answered once, given up in time.

use fanfare_cluster::channel::Epoch;
use fanfare_cluster::placement::{Placement, PlacementNumber};

use super::*;

const SHARD: ShardIndex = ShardIndex(1);

fn replica() -> MemberId {
    "replica".parse().unwrap()
}

fn missed(ticket: u64) -> Missed {
    let since = StreamPosition { epoch: Epoch(7), offset: 5 };
    let question = RecoverQuestion { ticket, since, latest: false };
    Missed { shard: SHARD, channel: ChannelName::parse("news").unwrap(), question }
}

/// A node with one replica that owns everything, linked or not.
struct World {
    follows: Follows,
    recoveries: Recoveries,
}

impl World {
    fn new() -> Self {
        let number = PlacementNumber { generation: 1, revision: 1 };
        let mut follows = Follows::new(0);
        let placement = Placement::new(number, vec![(replica(), 1)]);
        follows.placement(Arc::new(placement), &mut Vec::new());
        Self { follows, recoveries: Recoveries::new(8) }
    }

    /// What comes of an event at this millisecond: tickets asked on the link, shards answered, shards told of none.
    fn after(
        &mut self,
        at: u64,
        event: impl FnOnce(&mut Recoveries, (&Follows, Now), &mut Vec<Action>),
    ) -> String {
        let mut actions = Vec::new();
        event(&mut self.recoveries, (&self.follows, Duration::from_millis(at)), &mut actions);
        let named = actions.iter().map(|action| match action {
            Action::Ask { recover, .. } => format!("ask {}", recover.ticket),
            Action::Answer { ticket, answer, .. } => format!("answer {ticket} to {}", answer.end.offset),
            Action::Fail { ticket, .. } => format!("fail {ticket}"),
        });
        named.collect::<Vec<_>>().join(", ")
    }

    fn ask(&mut self, at: u64, ticket: u64) -> String {
        self.after(at, |all, around, actions| all.ask(ticket, missed(100 + ticket), around, actions))
    }

    fn link_up(&mut self, at: u64) -> String {
        self.follows.link_up(&replica(), 1, &mut Vec::new());
        self.after(at, |all, (follows, _), actions| all.ask_all_again(follows, actions))
    }

    fn link_down(&mut self) {
        self.follows.link_down(&replica(), 1);
        self.recoveries.link_down(&replica());
    }

    fn answered(&mut self, at: u64, ticket: u64, error: u32) -> String {
        let position = Some(link::StreamPosition { offset: 9, epoch: 7 });
        let recovered = link::Recovered { ticket, error, position, ..Default::default() };
        self.after(at, |all, around, actions| {
            all.answered(&replica(), recovered, around, actions);
        })
    }

    fn refused(&mut self, at: u64, ticket: u64) -> bool {
        let around = (&self.follows, Duration::from_millis(at));
        self.recoveries.refused(ticket, around, &mut Vec::new())
    }

    fn tick(&mut self, at: u64) -> String {
        self.after(at, Recoveries::tick)
    }
}

#[test]
fn a_question_is_asked_when_its_owner_is_linked_and_again_on_every_new_link() {
    let mut world = World::new();
    assert_eq!(world.ask(0, 1), "", "nobody is linked");
    assert_eq!(world.link_up(100), "ask 1");
    assert_eq!(world.link_up(150), "", "the link is the same: the question is on its way");
    world.link_down();
    assert_eq!(world.tick(200), "");
    assert_eq!(world.link_up(300), "ask 1");
    assert_eq!(world.ask(400, 2), "ask 2");
    assert_eq!(world.answered(500, 1, 0), "answer 101 to 9");
    assert_eq!(world.answered(500, 1, 0), "", "an answer counts once");
}

#[test]
fn an_owner_that_cannot_answer_is_asked_again_after_a_pause() {
    let mut world = World::new();
    world.link_up(0);
    assert_eq!(world.ask(0, 1), "ask 1");
    assert_eq!(world.answered(100, 1, 100), "");
    assert_eq!(world.tick(600), "");
    assert_eq!(world.tick(601), "ask 1");
    assert!(world.refused(700, 1), "it is not the owner");
    assert_eq!(world.tick(1_201), "ask 1");
    assert_eq!(world.answered(1_300, 1, 0), "answer 101 to 9");
    assert!(!world.refused(1_300, 1), "nobody waits");
}

#[test]
fn a_question_is_given_up_after_four_seconds() {
    let mut world = World::new();
    world.link_up(0);
    world.ask(0, 1);
    world.ask(2_000, 2);
    assert_eq!(world.tick(4_000), "");
    assert_eq!(world.tick(4_001), "fail 101");
    assert_eq!(world.answered(4_100, 1, 0), "", "it comes too late");
    assert_eq!(world.tick(6_001), "fail 102");
}

// Answers of 480 KiB each to a thousand subscriptions that come back at once would cut the link that brings them, and
// then again on every new link.
#[test]
fn only_so_many_questions_are_unanswered_and_the_others_have_their_turn() {
    let mut world = World::new();
    world.link_up(0);
    let asked: Vec<String> =
        (0..12).map(|ticket| world.ask(0, ticket)).filter(|asked| !asked.is_empty()).collect();
    assert_eq!(asked.len(), 8);
    assert_eq!(world.answered(10, 3, 0), "answer 103 to 9, ask 8");
    assert_eq!(world.answered(10, 4, 100), "ask 9", "who cannot answer now gives its turn away");
    world.link_down();
    assert_eq!(world.link_up(20).split(", ").count(), 8);
    assert_eq!(world.recoveries.unanswered, 8);
    let failed = world.tick(4_001);
    assert_eq!(failed.split(", ").filter(|one| one.starts_with("fail")).count(), 11);
    assert_eq!((world.recoveries.unanswered, world.recoveries.waiting.len()), (0, 0));
}

#[test]
fn too_many_questions_fail_with_the_next_tick() {
    let mut world = World::new();
    for ticket in 0..MAX_RECOVERIES as u64 {
        assert_eq!(world.ask(0, ticket), "");
    }
    assert_eq!(world.ask(0, 70_000), "", "at once it would only be asked again");
    assert_eq!(world.tick(100), "fail 70100");
}
