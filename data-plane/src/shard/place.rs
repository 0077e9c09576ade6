//! Where a subscription is in its channel's stream, in eight bytes that one comparison tells apart.

use fanfare_cluster::channel::{Epoch, StreamPosition};
use smallvec::{SmallVec, smallvec};

/// Enough for two years of a million publications per second.
const OFFSET_BITS: u32 = 46;
const OFFSETS: u64 = (1 << OFFSET_BITS) - 1;
/// Eras wrap around. A subscription is never as many behind: each takes an entry of a log that is bounded.
const ERAS: u32 = (1 << 17) - 1;
const APART: u64 = 1 << 63;

/// An offset, and the era that stands for its epoch. Channels without a stream stay at the first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Place(u64);

/// What a publication at some place is for a subscription at another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// It comes next.
    Next,
    /// It, or what came in its place, was there already.
    Had,
    /// Something before it is missing.
    Gap,
}

impl Place {
    fn new(era: u32, offset: u64) -> Self {
        Self(u64::from(era) << OFFSET_BITS | offset & OFFSETS)
    }

    pub(super) fn offset(self) -> u64 {
        self.0 & OFFSETS
    }

    fn era(self) -> u32 {
        (self.0 >> OFFSET_BITS) as u32 & ERAS
    }

    pub(super) fn next(self) -> Self {
        Self(self.0 + 1)
    }

    /// Only places of publications have one before them: these count from 1.
    pub(super) fn previous(self) -> Self {
        Self(self.0 - 1)
    }

    /// A mark on the place of a subscription that must not be served with the others. No publication is there.
    pub(super) fn set_apart(self) -> Self {
        Self(self.0 | APART)
    }

    /// Without the mark.
    pub(super) fn plain(self) -> Self {
        Self(self.0 & !APART)
    }

    pub(super) fn is_apart(self) -> bool {
        self.0 & APART != 0
    }

    /// What a publication at `other` is for a subscription here.
    pub(super) fn step_to(self, other: Self) -> Step {
        if other == self.next() {
            Step::Next
        } else if self.covers(other) {
            Step::Had
        } else {
            Step::Gap
        }
    }

    /// Whether a subscription here misses nothing of a stream that has come as far as `other`.
    pub(super) fn covers(self, other: Self) -> bool {
        if self.era() == other.era() {
            return self.offset() >= other.offset();
        }
        // What belongs to an older stream has only come late.
        self.era().wrapping_sub(other.era()) & ERAS <= ERAS / 2
    }

    /// The further one.
    pub(super) fn max(self, other: Self) -> Self {
        if self.covers(other) { self } else { other }
    }
}

/// The epochs that a channel had while it was here, in the order in which they came. There is nearly always one.
#[derive(Debug)]
pub(super) struct Eras {
    known: SmallVec<[(u32, Epoch); 1]>,
}

impl Eras {
    pub(super) fn new(epoch: Epoch) -> Self {
        Self { known: smallvec![(0, epoch)] }
    }

    /// The place of a position: a new era if its epoch was not there yet.
    pub(super) fn place(&mut self, position: StreamPosition) -> Place {
        let known = self.known.iter().find(|(_, epoch)| *epoch == position.epoch).map(|(era, _)| *era);
        let era = known.unwrap_or_else(|| self.begin(position.epoch));
        Place::new(era, position.offset)
    }

    /// The place of a position that is the newest by the word of the owner.
    pub(super) fn newest_place(&mut self, position: StreamPosition) -> Place {
        let last = self.known.last().filter(|(_, epoch)| *epoch == position.epoch).map(|(era, _)| *era);
        let era = last.unwrap_or_else(|| self.begin(position.epoch));
        Place::new(era, position.offset)
    }

    /// The position of a place.
    pub(super) fn position(&self, place: Place) -> StreamPosition {
        let era = self.known.iter().rev().find(|(era, _)| *era == place.era());
        let epoch = era.map_or(Epoch::NONE_EVER, |(_, epoch)| *epoch);
        StreamPosition { epoch, offset: place.offset() }
    }

    /// Nobody is in former eras any more.
    pub(super) fn forget_former(&mut self) {
        if self.known.len() > 1 {
            let last = self.known.len() - 1;
            self.known.drain(..last);
        }
    }

    fn begin(&mut self, epoch: Epoch) -> u32 {
        let era = self.known.last().map_or(0, |(era, _)| (era + 1) & ERAS);
        self.known.push((era, epoch));
        era
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(epoch: u64, offset: u64) -> StreamPosition {
        StreamPosition { epoch: Epoch(epoch), offset }
    }

    #[test]
    fn a_step_is_next_had_or_a_gap() {
        let mut eras = Eras::new(Epoch(7));
        let place = eras.place(at(7, 5));
        for (offset, step) in [(4, Step::Had), (5, Step::Had), (6, Step::Next), (7, Step::Gap)] {
            assert_eq!(place.step_to(eras.place(at(7, offset))), step, "{offset}");
        }
        assert_eq!(place.step_to(eras.place(at(8, 1))), Step::Gap, "a new stream, whatever its offsets");
        assert_eq!(eras.place(at(8, 1)).step_to(eras.place(at(7, 9))), Step::Had, "an old one comes late");
        assert_eq!(eras.position(place), at(7, 5));
    }

    #[test]
    fn a_place_that_is_apart_is_no_publications_place() {
        let place = Eras::new(Epoch(7)).place(at(7, 5));
        assert!(place.set_apart().is_apart() && place.set_apart() != place);
        assert_eq!(place.set_apart().plain(), place);
    }

    #[test]
    fn eras_wrap_around() {
        let mut eras = Eras::new(Epoch(1));
        let mut last = eras.place(at(1, 1));
        for epoch in 2..200_000 {
            let place = eras.place(at(epoch, 1));
            assert_eq!(last.step_to(place), Step::Gap);
            assert!(place.covers(last));
            last = place;
            eras.forget_former();
        }
        assert_eq!(eras.position(last), at(199_999, 1));
    }

    #[test]
    fn an_epoch_that_comes_back_is_the_newest_if_the_owner_says_so() {
        let mut eras = Eras::new(Epoch(1));
        let (old, other) = (eras.place(at(1, 5)), eras.place(at(2, 1)));
        assert_eq!(eras.place(at(1, 6)), old.next());
        let again = eras.newest_place(at(1, 6));
        assert!(again.covers(other) && !other.covers(again));
        assert_eq!(eras.position(again), at(1, 6));
    }
}
