//! Many worlds, each of another seed: in none of them anybody may miss something without being told.

use std::time::Instant;

use crate::mangler::{Bug, Mangler};
use crate::schedule::Schedule;
use crate::world::World;

/// Worlds of a run.
const SEEDS: u64 = 600;

/// Lives through the world of a seed, in simulated time.
pub(crate) fn live(seed: u64, mangler: Mangler, is_traced: bool) -> World {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    runtime.expect("it needs nothing").block_on(async {
        let mut schedule = Schedule::new(seed, is_traced);
        if mangler.bug == Some(Bug::DeafHistory) {
            schedule.world.store.set_deaf();
        }
        schedule.world.mangler = mangler;
        schedule.run().await;
        schedule.world
    })
}

/// As many as `FANFARE_SEEDS` says, for who has the time: `from..to`.
fn seeds() -> std::ops::Range<u64> {
    let range = std::env::var("FANFARE_SEEDS").ok();
    let range = range.as_deref().and_then(|range| range.split_once(".."));
    range.and_then(|(from, to)| Some(from.parse().ok()?..to.parse().ok()?)).unwrap_or(0..SEEDS)
}

fn seed_to_replay() -> Option<u64> {
    std::env::var("FANFARE_SEED").ok()?.parse().ok()
}

#[test]
fn whatever_happens_nobody_misses_anything_without_being_told() {
    if let Some(seed) = seed_to_replay() {
        let world = live(seed, Mangler::default(), true);
        println!("{}", world.trace.lines.join("\n"));
        assert_eq!(world.wrong, None, "seed {seed}");
        return;
    }
    let started = Instant::now();
    let mut failed = Vec::new();
    for seed in seeds() {
        let world = live(seed, Mangler::default(), false);
        if let Some(wrong) = world.wrong {
            println!("seed {seed}: {wrong}");
            failed.push(seed);
        }
    }
    println!("{} seeds in {:?}", seeds().count(), started.elapsed());
    assert!(
        failed.is_empty(),
        "{failed:?}: FANFARE_SEED={} cargo test --profile ci -p fanfare-tests --test simulation",
        failed[0]
    );
}

#[test]
fn the_same_seed_is_the_same_story() {
    for seed in 0..30 {
        let [first, second] = [(); 2].map(|()| live(seed, Mangler::default(), true).trace.lines);
        for (first, second) in first.iter().zip(&second) {
            assert_eq!(first, second, "seed {seed}");
        }
        assert_eq!(first.len(), second.len());
    }
}
