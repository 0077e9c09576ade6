//! The one way in which tests wait: until something is so, with one patience for all of them.

use std::fmt::Debug;
use std::time::{Duration, Instant};

/// How long anything may take on a slow and busy machine.
pub const PATIENCE: Duration = Duration::from_secs(20);
const PAUSE: Duration = Duration::from_millis(10);

/// Waits until `look` returns something; panics with `what` when patience is over.
pub fn eventually<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let started = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(started.elapsed() < PATIENCE, "waited in vain: {what}");
        #[expect(clippy::disallowed_methods, reason = "this is the one place that waits")]
        std::thread::sleep(PAUSE);
    }
}

/// Waits until `look` returns `expected`; panics with what it was last.
pub fn eventually_is<T: PartialEq + Debug>(what: &str, expected: &T, mut look: impl FnMut() -> T) {
    let mut last = None;
    let started = Instant::now();
    eventually(what, || {
        let now = look();
        let same = now == *expected;
        last = Some(now);
        assert!(same || started.elapsed() < PATIENCE, "{what}: expected {expected:?}, last {last:?}");
        same.then_some(())
    });
}
