//! The shard's own time, in ticks: a pause of the whole process does not count.

use std::time::{Duration, Instant};

/// The grain of all time-outs of connections.
pub(crate) const TICK: Duration = Duration::from_millis(100);
pub(crate) const TICKS_PER_SECOND: u32 = 1_000 / TICK.subsec_millis();

/// The loop of a shard comes round far more often than this. If it did not, the process was stopped, or
/// its machine was: clients could not be read meanwhile, and must not be punished for it.
const PAUSE: u32 = 5;

/// Counts ticks.
#[derive(Debug)]
pub(crate) struct Clock {
    started: Instant,
    ticks: u32,
    paused: u32,
}

impl Clock {
    pub(crate) fn new(now: Instant) -> Self {
        Self { started: now, ticks: 0, paused: 0 }
    }

    /// The tick that it is now.
    pub(crate) fn tick(&mut self, now: Instant) -> u32 {
        let since = now.duration_since(self.started).as_millis() / TICK.as_millis();
        let due = u32::try_from(since).unwrap_or(u32::MAX) - self.paused;
        let passed = due - self.ticks;
        if passed > PAUSE {
            self.paused += passed - 1;
            self.ticks += 1;
        } else {
            self.ticks = due;
        }
        self.ticks
    }
}

/// A duration in ticks, rounded up.
pub(super) fn ticks(duration: Duration) -> u32 {
    u32::try_from(duration.as_millis().div_ceil(TICK.as_millis())).unwrap_or(u32::MAX / 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    // A server that was stopped for two seconds closed all its clients with "no pong": it sent the pings
    // that were due and found them unanswered in the same breath.
    #[test]
    fn a_pause_of_the_process_counts_as_one_tick() {
        let start = Instant::now();
        let mut clock = Clock::new(start);
        let at = |milliseconds| start + Duration::from_millis(milliseconds);
        assert_eq!(clock.tick(at(99)), 0);
        assert_eq!(clock.tick(at(400)), 4);
        assert_eq!(clock.tick(at(10_400)), 5);
        assert_eq!(clock.tick(at(10_500)), 6);
    }
}
