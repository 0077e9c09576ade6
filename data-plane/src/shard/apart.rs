//! Subscribers that cannot be served with the others: those that have a gap, or want only some of what there is.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use smallvec::SmallVec;

use super::book::Book;
use super::delivery::{Delivery, Entry, Mark, Sockets, Swept, Written};
use super::place::{Place, Step};
use super::run::{is_writable, join_frames};
use crate::encoding::Encoding;
use crate::tag_filter::TagFilter;

/// Why a subscriber stands apart.
#[derive(Debug, Default)]
pub(super) struct Apart {
    /// It wants only these publications.
    pub(super) filter: Option<Arc<TagFilter>>,
    /// It wants to know who joins and leaves, where not all are told.
    pub(super) joins: bool,
    /// It has a gap, and gets nothing that has a place until that is closed.
    pub(super) frozen: Option<Frozen>,
}

/// A gap that is being closed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Frozen {
    /// The question that it waits for.
    pub(super) ticket: u64,
    /// The furthest place of what was set aside meanwhile.
    pub(super) seen: Place,
    /// Its continuity is lost: it waits only for its turn to be told so.
    pub(super) lost: bool,
}

impl Apart {
    pub(super) fn is_needed(&self) -> bool {
        self.filter.is_some() || self.joins || self.frozen.is_some()
    }

    fn wants(&self, delivery: &Delivery) -> bool {
        let publication = &delivery.publication;
        let filtered = self.filter.as_ref().is_none_or(|filter| publication.is_wanted(filter));
        filtered && (self.joins || !delivery.is_for_some())
    }
}

/// The subscribers of a channel that stand apart, by slot. Empty, it is one pointer.
#[derive(Debug, Default)]
pub(super) struct AllApart(Option<Box<BySlot>>);

#[derive(Debug, Default)]
struct BySlot(HashMap<u32, Apart>);

impl AllApart {
    pub(super) fn get(&self, slot: u32) -> Option<&Apart> {
        self.0.as_ref()?.0.get(&slot)
    }

    pub(super) fn get_mut(&mut self, slot: u32) -> Option<&mut Apart> {
        self.0.as_mut()?.0.get_mut(&slot)
    }

    pub(super) fn get_or_insert(&mut self, slot: u32) -> &mut Apart {
        self.0.get_or_insert_default().0.entry(slot).or_default()
    }

    pub(super) fn remove(&mut self, slot: u32) {
        let Some(all) = &mut self.0 else { return };
        all.0.remove(&slot);
        if all.0.is_empty() {
            self.0 = None;
        }
    }
}

/// What a subscriber that stands apart gets of some entries of the log.
#[derive(Debug)]
pub(super) struct Portion {
    /// Where it is behind them.
    pub(super) place: Place,
    /// The furthest place behind a gap, if there is one.
    pub(super) gap: Option<Place>,
    pub(super) swept: Swept,
}

/// Serves one subscriber of its own: what comes next, what it wants, what is meant for it.
pub(super) fn serve<'a>(
    slot: u32,
    place: Place,
    apart: Option<&Apart>,
    entries: impl Iterator<Item = &'a Entry>,
    (sockets, book): (&mut impl Sockets, &mut Book),
) -> Portion {
    let (id, encoding) = (sockets.id(slot), sockets.encoding(slot));
    let mut place = place.plain();
    let mut gap = apart.and_then(|apart| apart.frozen).map(|frozen| frozen.seen);
    let mut given = SmallVec::<[&Delivery; 8]>::new();
    for entry in entries {
        let step = match (entry.mark, &mut gap) {
            (Mark::None, _) => Step::Next,
            (Mark::At(at) | Mark::Top(at), Some(seen)) => {
                *seen = seen.max(at);
                Step::Gap
            }
            (Mark::At(at), None) => place.step_to(at),
            (Mark::Top(at), None) if place.covers(at) => Step::Had,
            (Mark::Top(_), None) => Step::Gap,
        };
        match (entry.mark, step) {
            (Mark::At(at), Step::Next) => place = at,
            (Mark::At(at) | Mark::Top(at), Step::Gap) if gap.is_none() => gap = Some(at),
            _ => {}
        }
        let Some(delivery) = &entry.delivery else { continue };
        let is_meant = !delivery.exclude.contains(&id)
            && apart.map_or(!delivery.is_for_some(), |apart| apart.wants(delivery));
        match (step, delivery.receipt) {
            _ if !is_meant => delivery.receipt.iter().for_each(|receipt| book.skip(*receipt)),
            (Step::Next, _) => given.push(delivery),
            // It came with what was recovered.
            (Step::Had, Some(receipt)) => book.written(receipt, 1),
            // What is set aside stays pending: it may come with what is recovered.
            (Step::Had, None) | (Step::Gap, _) => {}
        }
    }
    Portion { place, gap, swept: write(slot, &given, encoding, sockets, book) }
}

/// Writes deliveries to one subscriber.
fn write(
    slot: u32,
    given: &[&Delivery],
    encoding: Encoding,
    sockets: &mut impl Sockets,
    book: &mut Book,
) -> Swept {
    let (can, cannot): (Vec<&Delivery>, Vec<&Delivery>) =
        given.iter().partition(|delivery| is_writable(delivery, encoding));
    cannot.iter().filter_map(|delivery| delivery.receipt).for_each(|receipt| book.cut(receipt, 1));
    let receipts: SmallVec<[u64; 8]> = can.iter().filter_map(|delivery| delivery.receipt).collect();
    let frames: Bytes = join_frames(can.iter().map(|delivery| &*delivery.publication), encoding);
    if frames.is_empty() {
        return Swept::default();
    }
    match sockets.write(slot, &frames, &receipts) {
        Written::Whole => receipts.iter().for_each(|receipt| book.written(*receipt, 1)),
        Written::Queued => {}
        Written::Cut => {
            receipts.iter().for_each(|receipt| book.cut(*receipt, 1));
            return Swept::default();
        }
    }
    Swept { deliveries: can.len() as u64, bytes: frames.len() as u64 }
}
