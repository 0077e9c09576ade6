//! What was published, where it has its place, and what backends were told: what everybody is held against.

use std::collections::BTreeMap;

use fanfare_cluster::channel::{Epoch, StreamPosition};
use fanfare_control_plane::simulation::{Answer, Placed};

use crate::channels::{CHANNELS, Channel, history_size};

/// What one recovery gives at most, in bytes, less what else may count.
const MAX_RECOVERED: usize = 400 << 10;

/// One push, with all that became of it.
#[derive(Clone, Debug)]
pub(crate) struct Pushed {
    pub(crate) channel: Channel,
    /// Whether it shall be kept, so that it has a place.
    pub(crate) stored: bool,
    /// Its tag, by which filters choose.
    pub(crate) tag: char,
    /// The connection that shall not get it.
    pub(crate) excluded: Option<String>,
    /// Whether who repeats it is told so.
    pub(crate) keyed: bool,
    /// How large it is, in bytes.
    pub(crate) size: usize,
    /// Every place it was given.
    pub(crate) places: Vec<StreamPosition>,
    pub(crate) accepted: bool,
}

/// The stream of one channel as it was.
#[derive(Debug, Default)]
pub(crate) struct Stream {
    /// By epoch and offset: which push.
    placed: BTreeMap<(Epoch, u64), usize>,
    /// In the order in which they came.
    epochs: Vec<Epoch>,
    /// The newest place.
    pub(crate) last: Option<StreamPosition>,
    /// Its store has lost some of it once.
    pub(crate) was_cut: bool,
    /// In this epoch.
    pub(crate) lost_in: Option<Epoch>,
    /// It has lost some of what nobody else knew: that cannot be found out, as the documents say.
    pub(crate) is_hollow: bool,
}

/// All that is true.
#[derive(Debug, Default)]
pub(crate) struct Truth {
    pub(crate) pushes: Vec<Pushed>,
    /// Answers that said that a push was a repeat.
    pub(crate) repeats: usize,
    streams: BTreeMap<Channel, Stream>,
}

impl Truth {
    pub(crate) fn stream(&mut self, channel: Channel) -> &mut Stream {
        self.streams.entry(channel).or_default()
    }

    /// Where the channel's stream ends, as far as anything was placed.
    pub(crate) fn last(&self, channel: Channel) -> Option<StreamPosition> {
        self.streams.get(channel)?.last
    }

    pub(crate) fn was_cut(&self, channel: Channel) -> bool {
        self.streams.get(channel).is_some_and(|stream| stream.was_cut)
    }

    pub(crate) fn is_hollow(&self, channel: Channel) -> bool {
        self.streams.get(channel).is_some_and(|stream| stream.is_hollow)
    }

    /// Something has got its place in the history.
    pub(crate) fn placed(&mut self, placed: &Placed, survives_restarts: bool) -> Result<(), String> {
        if !CHANNELS.contains(&placed.channel.as_str()) {
            // A user's own channel, which nobody here watches.
            return Ok(());
        }
        let number = number(&placed.data).ok_or("something was placed that nobody has pushed")?;
        let pushed = self.pushes.get_mut(number).ok_or("something was placed that nobody has pushed")?;
        if pushed.channel != placed.channel || !pushed.stored {
            return Err(format!("push {number} was placed in {}", placed.channel));
        }
        let again = !pushed.places.is_empty() && pushed.keyed && survives_restarts;
        pushed.places.push(placed.position);
        let stream = self.streams.entry(pushed.channel).or_default();
        if again && !stream.was_cut {
            return Err(format!("push {number} has a key and was placed twice"));
        }
        let StreamPosition { epoch, offset } = placed.position;
        stream.last = Some(placed.position);
        if !stream.epochs.contains(&epoch) {
            stream.epochs.push(epoch);
        }
        match stream.placed.insert((epoch, offset), number) {
            // What was lost may never have been anybody's.
            Some(other) if !stream.is_hollow && self.pushes[other].accepted => {
                Err(format!("{offset} of {} was given to push {other} and to push {number}", placed.channel))
            }
            _ => Ok(()),
        }
    }

    /// A backend has its answer.
    pub(crate) fn answered(&mut self, number: usize, answer: &Answer) -> Result<(), String> {
        let Ok(response) = answer else { return Ok(()) };
        self.repeats += usize::from(response.duplicate);
        let pushed = &mut self.pushes[number];
        pushed.accepted = true;
        let position = response.position.as_ref();
        let Some(position) = position else {
            return match pushed.stored {
                true => Err(format!("push {number} was accepted without a place")),
                false => Ok(()),
            };
        };
        let is_there = |place: &StreamPosition| {
            place.offset == position.offset && place.epoch.to_string() == position.epoch
        };
        match pushed.places.iter().any(is_there) {
            true => Ok(()),
            false => Err(format!("push {number} was accepted as {position:?}, where it is not")),
        }
    }

    /// The history is gone, and with it all streams: what comes now is in others.
    pub(crate) fn forget_streams(&mut self) {
        for stream in self.streams.values_mut() {
            (stream.last, stream.was_cut, stream.is_hollow) = (None, false, false);
        }
    }

    /// What a store has lost of a channel nobody knows any more, unless somebody follows it now who has been told.
    pub(crate) fn is_followed(&mut self, channel: Channel, is_followed: bool) {
        if let Some(stream) = self.streams.get_mut(channel)
            && !is_followed
            && stream.lost_in.is_some_and(|epoch| stream.last.is_some_and(|last| last.epoch == epoch))
        {
            stream.is_hollow = true;
        }
    }

    /// Whether the second stream of a channel has come behind the first.
    pub(crate) fn is_later(&self, channel: Channel, first: Epoch, second: Epoch) -> bool {
        let epochs = self.streams.get(channel).map_or(&[][..], |stream| &stream.epochs);
        let at = |epoch| epochs.iter().position(|one| *one == epoch);
        at(first) < at(second)
    }

    /// Whether a history must still have all that was published between two places, and it is no more than one recovery
    /// gives.
    pub(crate) fn can_be_recovered(
        &self,
        channel: Channel,
        since: StreamPosition,
        end: StreamPosition,
    ) -> bool {
        let is_kept = since.epoch == end.epoch
            && since.offset <= end.offset
            && end.offset - since.offset <= history_size(channel);
        let missed = self.between(channel, end.epoch, since.offset, end.offset + 1);
        let bytes: usize = missed.iter().map(|number| self.pushes[*number].size).sum();
        is_kept && bytes < MAX_RECOVERED && !self.was_cut(channel)
    }

    /// The pushes between two places of a channel, both not counted.
    pub(crate) fn between(&self, channel: Channel, epoch: Epoch, after: u64, before: u64) -> Vec<usize> {
        let Some(stream) = self.streams.get(channel).filter(|_| after < before) else { return Vec::new() };
        let range = (epoch, after.saturating_add(1))..(epoch, before);
        if range.start >= range.end {
            Vec::new()
        } else {
            stream.placed.range(range).map(|(_, number)| *number).collect()
        }
    }
}

/// The data of a push, so much larger than it must be.
pub(crate) fn data(number: usize, padding: usize) -> String {
    format!("{{\"n\":{number}{}}}", " ".repeat(padding))
}

/// Which push has this data.
pub(crate) fn number(data: &[u8]) -> Option<usize> {
    std::str::from_utf8(data).ok()?.strip_prefix("{\"n\":")?.strip_suffix('}')?.trim_end().parse().ok()
}
