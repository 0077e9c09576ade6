//! One subscription under watch: what it was given, and whether that is what it was promised.

use std::collections::BTreeSet;

use fanfare_cluster::channel::StreamPosition;
use fanfare_proto::client::{Publication, SubscribeResult};

use crate::channels::{Channel, is_cache, is_stream};
use crate::truth::{Truth, number};

/// What a client asks for when it subscribes.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ask {
    /// To be told its position.
    pub(crate) positioned: bool,
    /// What came after this.
    pub(crate) since: Option<StreamPosition>,
    /// An error if that cannot be had.
    pub(crate) all_or_nothing: bool,
    /// Only what has this tag.
    pub(crate) tag: Option<char>,
}

/// How far the subscription is in its stream.
#[derive(Clone, Copy, Debug)]
enum Cursor {
    /// It was born somewhere, at the latest here, if there was anything.
    Before(Option<StreamPosition>),
    At(StreamPosition),
}

/// What could have taken something from a channel without history on its way.
pub(crate) type Road = (u64, u64);

/// A live subscription.
#[derive(Clone, Debug)]
pub(crate) struct Subscription {
    pub(crate) channel: Channel,
    ask: Ask,
    connection: String,
    cursor: Cursor,
    /// The pushes that it has had without a place.
    unstored: BTreeSet<usize>,
    /// Pushes before this one were made before it was live.
    born: usize,
    road: Road,
}

type Verdict = Result<(), String>;

impl Subscription {
    /// The client was told that it is live, on a road.
    pub(crate) fn begin(channel: Channel, ask: Ask, connection: String, road: Road, truth: &Truth) -> Self {
        let cursor = Cursor::Before(truth.last(channel));
        Self { channel, ask, connection, cursor, unstored: BTreeSet::new(), born: truth.pushes.len(), road }
    }

    /// What the client was told of its beginning.
    pub(crate) fn told(&mut self, result: &SubscribeResult, truth: &Truth) -> Verdict {
        if !is_stream(self.channel) || !result.positioned {
            return Ok(());
        }
        let epoch = result.epoch.parse().map_err(|_| "it was told an epoch that is none".to_owned())?;
        let at = StreamPosition { epoch, offset: result.offset };
        if !result.recovered {
            self.check_refusal(at, truth)?;
            if !result.publications.is_empty() {
                return Err("nothing was recovered, but there are publications".to_owned());
            }
            self.cursor = Cursor::At(at);
            return Ok(());
        }
        let since = self.ask.since.ok_or("it has recovered without having asked")?;
        if is_cache(self.channel) {
            return self.told_latest(at, result);
        }
        if since.epoch.is_some() && since.epoch != epoch {
            return Err(format!("it has recovered from {since:?} in another stream: {at:?}"));
        }
        self.cursor = Cursor::At(StreamPosition { epoch, offset: since.offset });
        result.publications.iter().try_for_each(|publication| self.publication(publication, truth))?;
        if let (true, Cursor::At(cursor)) = (result.publications.is_empty(), self.cursor) {
            self.lacks_nothing(cursor, at.offset + 1, truth)?;
            self.cursor = Cursor::At(at);
        }
        Ok(())
    }

    /// In a cache there is one publication at most, and it is the last.
    fn told_latest(&mut self, at: StreamPosition, result: &SubscribeResult) -> Verdict {
        let offset = match result.publications.as_slice() {
            [] => at.offset,
            [only] => only.offset,
            _ => return Err("a cache has given more than its last publication".to_owned()),
        };
        self.cursor = Cursor::At(StreamPosition { offset, ..at });
        Ok(())
    }

    /// Whether it is true that what was missed cannot be had, with the subscription born at this place.
    fn check_refusal(&self, at: StreamPosition, truth: &Truth) -> Verdict {
        let Some(since) = self.ask.since.filter(|_| !is_cache(self.channel)) else { return Ok(()) };
        match truth.can_be_recovered(self.channel, since, at) {
            true => Err(format!("it was not recovered from {since:?} though the stream is at {at:?}")),
            false => Ok(()),
        }
    }

    /// A publication has come.
    pub(crate) fn publication(&mut self, publication: &Publication, truth: &Truth) -> Verdict {
        let number = number(&publication.data).ok_or("it got something that nobody has pushed")?;
        let pushed = truth.pushes.get(number).ok_or("it got something that nobody has pushed")?;
        if pushed.channel != self.channel {
            return Err(format!("push {number} is another channel's"));
        }
        if self.ask.tag.is_some_and(|tag| tag != pushed.tag) {
            return Err(format!("push {number} has not the tag that it wants"));
        }
        if publication.offset == 0 {
            return self.unstored(number, truth);
        }
        let fits = |place: &&StreamPosition| {
            let same = match self.cursor {
                Cursor::At(cursor) => cursor.epoch == place.epoch,
                Cursor::Before(_) => true,
            };
            same && place.offset == publication.offset
        };
        let place = pushed.places.iter().rev().find(fits);
        let place = *place.ok_or_else(|| {
            format!("push {number} came as {} of {:?}, where it is not", publication.offset, self.cursor)
        })?;
        match self.cursor {
            Cursor::At(cursor) if place.offset <= cursor.offset => {
                return Err(format!("push {number} came at {} behind {}", place.offset, cursor.offset));
            }
            Cursor::At(cursor) => self.lacks_nothing(cursor, place.offset, truth)?,
            Cursor::Before(Some(cursor)) if cursor.epoch == place.epoch => {
                self.lacks_nothing(cursor, place.offset, truth)?;
            }
            // It was there before this stream was.
            Cursor::Before(Some(cursor)) if truth.is_later(self.channel, cursor.epoch, place.epoch) => {
                self.lacks_nothing(StreamPosition { offset: 0, ..place }, place.offset, truth)?;
            }
            Cursor::Before(_) => {}
        }
        self.cursor = Cursor::At(place);
        Ok(())
    }

    fn unstored(&mut self, number: usize, truth: &Truth) -> Verdict {
        let pushed = &truth.pushes[number];
        if pushed.stored {
            return Err(format!("push {number} came without its place"));
        }
        if pushed.excluded.as_ref() == Some(&self.connection) {
            return Err(format!("push {number} was not meant for it"));
        }
        if let Some(last) = self.unstored.last().filter(|last| **last >= number) {
            return Err(format!("push {number} came behind push {last}"));
        }
        self.unstored.insert(number);
        Ok(())
    }

    /// Whether it wants nothing of what is between its place and another.
    fn lacks_nothing(&self, cursor: StreamPosition, before: u64, truth: &Truth) -> Verdict {
        if truth.is_hollow(self.channel) {
            return Ok(());
        }
        let between = truth.between(self.channel, cursor.epoch, cursor.offset, before);
        match between.iter().find(|number| self.is_owed(**number, truth)) {
            Some(missed) => Err(format!("push {missed} is missing between {} and {before}", cursor.offset)),
            None => Ok(()),
        }
    }

    fn is_owed(&self, number: usize, truth: &Truth) -> bool {
        let pushed = &truth.pushes[number];
        let is_meant = pushed.excluded.as_ref() != Some(&self.connection);
        is_meant && self.ask.tag.is_none_or(|tag| tag == pushed.tag)
    }

    /// The client is told that its continuity is lost. Once is enough: it is no subscription any more.
    pub(crate) fn lost(&self, truth: &Truth) -> Verdict {
        let (Cursor::At(cursor), Some(last)) = (self.cursor, truth.last(self.channel)) else { return Ok(()) };
        match truth.can_be_recovered(self.channel, cursor, last) {
            true => Err(format!("it was told of a loss at {cursor:?} while the stream is at {last:?}")),
            false => Ok(()),
        }
    }

    /// Everything is calm: it has all that was accepted, and with `all` also what may have been.
    pub(crate) fn is_calm(
        &self,
        end: Option<StreamPosition>,
        road: Road,
        all: bool,
        truth: &Truth,
    ) -> Verdict {
        if road == self.road {
            self.lacks_none_unstored(truth)?;
        }
        let Some(end) = end.filter(|_| !truth.is_hollow(self.channel)) else { return Ok(()) };
        let cursor = match self.cursor {
            Cursor::At(cursor) | Cursor::Before(Some(cursor)) => cursor,
            Cursor::Before(None) => StreamPosition { epoch: end.epoch, offset: 0 },
        };
        let is_here = cursor.epoch == end.epoch;
        let after = if is_here { cursor.offset } else { 0 };
        let rest = truth.between(self.channel, end.epoch, after, end.offset + 1);
        let owed =
            |number: &&usize| self.is_owed(**number, truth) && (all || truth.pushes[**number].accepted);
        match rest.iter().find(owed) {
            None => Ok(()),
            Some(missed) if is_here => {
                Err(format!("it is silently behind at {}: push {missed} never came", cursor.offset))
            }
            Some(missed) => Err(format!("it is in another stream since push {missed} and was not told")),
        }
    }

    /// What has no place is not missing, if it was accepted since the beginning and the road has held all the time.
    fn lacks_none_unstored(&self, truth: &Truth) -> Verdict {
        let missed = (self.born..truth.pushes.len()).find(|number| {
            let pushed = &truth.pushes[*number];
            let is_meant = pushed.channel == self.channel && !pushed.stored && self.is_owed(*number, truth);
            is_meant && pushed.accepted && !self.unstored.contains(number)
        });
        missed.map_or(Ok(()), |missed| Err(format!("push {missed} never came, and nothing was cut")))
    }
}
