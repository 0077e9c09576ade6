//! Negative controls: faults on purpose, which the oracle must find, each kind of them.

use crate::mangler::{Bug, Kind, Mangler};
use crate::seeds::live;
use crate::world::World;

/// Worlds of each control.
const SEEDS: std::ops::Range<u64> = 1_000..1_060;

fn with(bug: Bug, seed: u64) -> World {
    live(seed, Mangler::bug(bug), false)
}

fn expect_found(what: &str, tried: usize, found: usize, at_least: usize) {
    println!("{what}: found in {found} of {tried} worlds");
    assert!(
        found >= at_least,
        "{what}: found in {found} of {tried} worlds, at least {at_least} were expected"
    );
}

/// How often a publication on its way to a client was changed, and how often that was found.
fn mangled(kind: Kind) -> (usize, usize) {
    let (mut tried, mut found) = (0, 0);
    for seed in SEEDS {
        let world = live(seed, Mangler::once(kind, seed as usize % 20), false);
        tried += usize::from(world.mangler.done);
        found += usize::from(world.mangler.done && world.wrong.is_some());
    }
    (tried, found)
}

#[test]
fn a_loss_a_double_and_a_swap_are_found() {
    for kind in [Kind::Lose, Kind::Repeat, Kind::Swap] {
        let (tried, found) = mangled(kind);
        assert!(tried >= 10, "{kind:?}: it came to it in {tried} worlds only");
        // Who leaves behind a loss, or is told of another one first, is owed nothing any more, and these worlds are full of
        // both; what is repeated or out of order shows, unless the stream is another by then.
        let at_least = if kind == Kind::Lose { tried / 4 } else { tried * 4 / 5 };
        expect_found(&format!("{kind:?}"), tried, found, at_least);
    }
}

#[test]
fn bugs_that_an_owner_or_a_node_could_have_are_found() {
    let bugs = [
        Bug::PositionAhead,
        Bug::AlwaysComplete,
        Bug::NeverRecovered,
        Bug::FollowingWithoutPosition,
        Bug::DeafHistory,
    ];
    for bug in bugs {
        let found = SEEDS.filter(|seed| with(bug, *seed).wrong.is_some()).count();
        expect_found(&format!("{bug:?}"), SEEDS.count(), found, 2);
    }
}
