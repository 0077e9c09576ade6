//! Tests of what the node follows: joins, lost links, pacing, patience, and late answers.

use super::*;

const FIRST: ShardIndex = ShardIndex(0);
const SECOND: ShardIndex = ShardIndex(5);

struct World {
    follows: Follows,
    now: Now,
}

fn replica() -> MemberId {
    "replica".parse().unwrap()
}

fn channel(name: &str) -> ChannelName {
    ChannelName::parse(name).unwrap()
}

fn number() -> PlacementNumber {
    PlacementNumber { generation: 0, revision: 1 }
}

fn follow(name: &str) -> Action {
    Action::Follow { replica: replica(), channel: channel(name), position: StreamPosition::default() }
}

fn unfollow(name: &str) -> Action {
    Action::Unfollow { replica: replica(), channel: channel(name) }
}

fn joined(shard: ShardIndex, name: &str, ticket: u32) -> Action {
    Action::Joined { shard, channel: channel(name), ticket, position: None }
}

fn caught_up() -> Action {
    Action::CaughtUp { replica: replica(), number: number() }
}

impl World {
    fn new() -> Self {
        let mut follows = Follows::default();
        let placement = Placement::new(number(), vec![(replica(), 1)]);
        follows.placement(Arc::new(placement), &mut Vec::new());
        Self { follows, now: Duration::ZERO }
    }

    fn linked() -> Self {
        let mut world = Self::new();
        assert_eq!(world.up(1), [caught_up()]);
        world
    }

    fn act(&mut self, act: impl FnOnce(&mut Follows, Now, &mut Vec<Action>)) -> Vec<Action> {
        let mut actions = Vec::new();
        act(&mut self.follows, self.now, &mut actions);
        actions
    }

    fn up(&mut self, session: u64) -> Vec<Action> {
        self.act(|follows, _, actions| follows.link_up(&replica(), session, actions))
    }

    fn join(&mut self, shard: ShardIndex, name: &str, ticket: u32) -> Vec<Action> {
        self.act(|follows, now, actions| follows.join(shard, channel(name), ticket, now, actions))
    }

    fn leave(&mut self, shard: ShardIndex, name: &str) {
        self.follows.leave(shard, &channel(name), self.now);
    }

    fn following(&mut self, name: &str) -> Vec<Action> {
        self.act(|follows, _, actions| follows.following(&replica(), &channel(name), None, actions))
    }

    fn after(&mut self, milliseconds: u64) -> Vec<Action> {
        self.now += Duration::from_millis(milliseconds);
        self.act(Follows::tick)
    }

    fn shards(&self, name: &str) -> Vec<ShardIndex> {
        self.follows.shards(&channel(name)).collect()
    }
}

#[test]
fn the_first_join_follows_and_later_ones_ride_along() {
    let mut world = World::linked();
    assert_eq!(world.join(FIRST, "news", 1), [follow("news")]);
    assert_eq!(world.join(SECOND, "news", 2), []);
    assert_eq!(world.shards("news"), [], "nobody is joined before the owner has answered");
    assert_eq!(world.following("news"), [joined(FIRST, "news", 1), joined(SECOND, "news", 2)]);
    assert_eq!(world.shards("news"), [FIRST, SECOND]);
    assert_eq!(world.join(ShardIndex(63), "news", 3), [joined(ShardIndex(63), "news", 3)]);
}

#[test]
fn a_channel_is_unfollowed_a_while_after_its_last_shard_has_left() {
    let mut world = World::linked();
    world.join(FIRST, "news", 1);
    world.following("news");
    world.leave(FIRST, "news");
    assert_eq!(world.after(999), []);
    assert_eq!(
        world.join(FIRST, "news", 2),
        [joined(FIRST, "news", 2)],
        "within the cool-down it is still live"
    );
    assert_eq!(world.after(5_000), []);
    world.leave(FIRST, "news");
    assert_eq!(world.after(1_000), [unfollow("news")]);
    assert_eq!(world.join(FIRST, "news", 3), [follow("news")]);
}

// A client that left with 100,000 subscriptions put more on the link at once than may wait there, and the link was cut.
#[test]
fn a_crowd_of_channels_is_unfollowed_in_portions() {
    let mut world = World::linked();
    for number in 0..MAX_UNFOLLOWS + 1 {
        let name = number.to_string();
        world.join(FIRST, &name, 1);
        world.following(&name);
        world.leave(FIRST, &name);
    }
    assert_eq!(world.after(1_000).len(), MAX_UNFOLLOWS);
    assert_eq!(world.after(100).len(), 1);
}

// Follow, unfollow, follow with a late answer to the first (interleaving 14): the client would be told that it
// is subscribed while the owner still has the unfollow before it.
#[test]
fn a_channel_is_not_unfollowed_while_its_follow_is_unanswered() {
    let mut world = World::linked();
    world.join(FIRST, "news", 1);
    world.leave(FIRST, "news");
    assert_eq!(world.after(1_500), []);
    assert_eq!(world.following("news"), []);
    assert_eq!(world.after(1_500), [unfollow("news")]);
}

#[test]
fn a_refused_follow_waits_for_a_newer_placement_and_holds_nothing_up() {
    let mut world = World::linked();
    world.join(FIRST, "news", 1);
    let refused = world.act(|follows, _, actions| follows.not_owner(&replica(), &channel("news"), actions));
    assert_eq!(refused, []);
    assert_eq!(world.up(2), [follow("news"), caught_up()]);
}

#[test]
fn without_a_link_a_join_waits_and_is_given_up_in_time() {
    let mut world = World::new();
    assert_eq!(world.join(FIRST, "news", 1), []);
    assert_eq!(world.after(3_999), []);
    let failed = Action::JoinFailed { shard: FIRST, channel: channel("news"), ticket: 1 };
    assert_eq!(world.after(1), [failed]);
    assert_eq!(world.after(1_000), [], "nothing was followed, so nothing is unfollowed");
    assert_eq!(world.up(1), [caught_up()]);
}

#[test]
fn after_a_cut_everything_is_followed_again_and_shards_stay_joined() {
    let mut world = World::linked();
    world.join(FIRST, "news", 1);
    world.following("news");
    world.follows.link_down(&replica(), 1);
    assert_eq!(world.join(SECOND, "sport", 2), []);
    assert_eq!(world.shards("news"), [FIRST]);
    assert_eq!(world.up(2), [follow("sport"), follow("news"), caught_up()], "those who wait come first");
    assert_eq!(world.following("sport"), [joined(SECOND, "sport", 2)]);
}

#[test]
fn an_ended_session_does_not_end_the_next_one() {
    let mut world = World::linked();
    world.up(2);
    world.follows.link_down(&replica(), 1);
    assert!(world.follows.is_current(&replica(), 2));
    assert!(!world.follows.is_current(&replica(), 1));
}

#[test]
fn a_new_link_is_followed_on_in_paced_steps_and_catches_up_at_the_end() {
    let mut world = World::new();
    let names: Vec<String> = (0..MAX_UNANSWERED + 1).map(|number| format!("c{number}")).collect();
    for (ticket, name) in names.iter().enumerate() {
        world.join(FIRST, name, ticket as u32);
    }
    let first = world.up(1);
    assert_eq!(first.len(), MAX_UNANSWERED);
    assert!(!first.contains(&caught_up()));
    let Action::Follow { channel: answered, .. } = &first[0] else { panic!("{:?}", first[0]) };
    let then = world.following(answered.as_str());
    assert!(
        matches!(then.as_slice(), [Action::Joined { .. }, Action::Follow { .. }, Action::CaughtUp { .. }]),
        "{then:?}"
    );
}

#[test]
fn an_older_placement_changes_nothing() {
    let mut world = World::linked();
    let actions = world.act(|follows, _, actions| {
        follows.placement(Arc::new(Placement::new(PlacementNumber::default(), vec![])), actions);
    });
    assert_eq!(actions, []);
    assert!(world.follows.linked_owner(&channel("news")).is_some());
}

fn at(offset: u64) -> StreamPosition {
    StreamPosition { epoch: fanfare_cluster::channel::Epoch(7), offset }
}

#[test]
fn a_shard_that_joins_learns_how_far_the_stream_has_come_and_one_that_was_there_what_it_missed() {
    let mut world = World::linked();
    world.join(FIRST, "news", 1);
    let follows = &mut world.follows;
    let mut actions = Vec::new();
    follows.following(&replica(), &channel("news"), Some(at(3)), &mut actions);
    let joined =
        |shard, ticket, position| Action::Joined { shard, channel: channel("news"), ticket, position };
    assert_eq!(actions, [joined(FIRST, 1, Some(at(3)))]);
    assert_eq!(follows.deliver(&channel("news"), Some(at(4))).collect::<Vec<_>>(), [FIRST]);
    actions.clear();
    follows.join(SECOND, channel("news"), 2, Duration::ZERO, &mut actions);
    assert_eq!(actions, [joined(SECOND, 2, Some(at(4)))]);
    follows.link_down(&replica(), 1);
    actions.clear();
    follows.link_up(&replica(), 2, &mut actions);
    let again = Action::Follow { replica: replica(), channel: channel("news"), position: at(4) };
    assert_eq!(actions, [again, caught_up()], "the owner learns what the node has seen");
    actions.clear();
    follows.following(&replica(), &channel("news"), Some(at(4)), &mut actions);
    assert_eq!(actions, [], "nothing was missed");
    follows.following(&replica(), &channel("news"), Some(at(6)), &mut actions);
    let top = |shard| Action::Top { shard, channel: channel("news"), position: at(6) };
    assert_eq!(actions, [top(FIRST), top(SECOND)]);
}

#[test]
fn a_link_has_caught_up_only_when_all_shards_have_announced_their_members() {
    let mut world = World { follows: Follows::new(2), now: Duration::ZERO };
    let placement = Placement::new(number(), vec![(replica(), 1)]);
    world.follows.placement(Arc::new(placement), &mut Vec::new());
    let announce = |round| Action::Announce { replica: replica(), round };
    assert_eq!(world.up(1), [announce(1)]);
    let announced =
        |world: &mut World, round| world.act(|follows, _, actions| follows.announced(round, actions));
    assert_eq!(announced(&mut world, 1), []);
    assert_eq!(world.up(2), [announce(2)], "a new session begins anew");
    assert_eq!(announced(&mut world, 1), []);
    assert_eq!(announced(&mut world, 2), []);
    assert_eq!(announced(&mut world, 2), [caught_up()]);
    assert_eq!(world.follows.replica_of_round(2), None);
}
