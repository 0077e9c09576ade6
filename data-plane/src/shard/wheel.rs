//! One timer wheel for all connections of a shard: a few bytes per connection in place of a timer each.

use super::SlotKey;

/// Ticks per turn. What is due later is looked at once per turn and put back.
const SPOKES: usize = 512;

/// An entry is a hint: when its tick comes, the connection says whether anything is due.
#[derive(Debug)]
pub(crate) struct Wheel {
    spokes: Vec<Vec<(SlotKey, u32)>>,
    now: u32,
}

impl Default for Wheel {
    fn default() -> Self {
        Self { spokes: vec![Vec::new(); SPOKES], now: 0 }
    }
}

impl Wheel {
    /// The tick up to which all is done.
    pub(crate) fn now(&self) -> u32 {
        self.now
    }

    /// Asks for a look at the connection at the tick, which returns as [`turn`](Self::turn)'s second value.
    pub(crate) fn add(&mut self, key: SlotKey, due: u32) {
        let at = due.clamp(self.now + 1, self.now + SPOKES as u32 - 1);
        self.spokes[at as usize % SPOKES].push((key, due));
    }

    /// Moves on by one tick and returns the connections to look at, with the ticks they were asked for.
    /// What is due in a later turn is put back.
    pub(crate) fn turn(&mut self) -> Vec<(SlotKey, u32)> {
        self.now += 1;
        let mut due = std::mem::take(&mut self.spokes[self.now as usize % SPOKES]);
        let now = self.now;
        let later: Vec<(SlotKey, u32)> = due.extract_if(.., |(_, at)| *at > now).collect();
        for (key, at) in later {
            self.add(key, at);
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_entry_comes_once_and_at_its_tick() {
        let mut wheel = Wheel::default();
        let key = |slot| SlotKey { slot, serial: 0 };
        let ticks = [1, 2, 511, 512, 513, 2_000];
        for (slot, due) in ticks.iter().enumerate() {
            wheel.add(key(slot as u32), *due);
        }
        wheel.add(key(99), 0);
        let mut seen = Vec::new();
        while wheel.now() < 3_000 {
            seen.extend(wheel.turn().into_iter().map(|(key, due)| (key.slot, due, wheel.now())));
        }
        let mut expected: Vec<_> =
            ticks.iter().enumerate().map(|(slot, due)| (slot as u32, *due, *due)).collect();
        expected.insert(1, (99, 0, 1));
        assert_eq!(seen, expected, "an entry whose tick is past comes at the next");
    }
}
