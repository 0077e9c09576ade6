//! Chance that can be repeated: a generator of its own, so that a seed means the same in every version.

/// Dice that fall the same way for the same seed (splitmix64).
#[derive(Clone, Debug)]
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x5851_f42d_4c95_7f2d)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `limit`.
    pub(crate) fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit.max(1) as u64) as usize
    }

    /// Whether something happens that does so in so many of a hundred cases.
    pub(crate) fn percent(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    /// One of several.
    pub(crate) fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len())]
    }

    /// One of several, each as likely as its weight says; `None` if nothing has any.
    pub(crate) fn weighed<T>(&mut self, from: Vec<(u32, T)>) -> Option<T> {
        let all: usize = from.iter().map(|(weight, _)| *weight as usize).sum();
        if all == 0 {
            return None;
        }
        let mut left = self.below(all);
        from.into_iter().find_map(|(weight, one)| {
            let is_it = left < weight as usize;
            left = left.saturating_sub(weight as usize);
            is_it.then_some(one)
        })
    }
}
