//! What an append or a look at the history has found goes to followers, in the order of the stream.

use fanfare_cluster::channel::StreamPosition;

use super::super::Turn;
use super::super::request::{Action, Delivery, Operation, Publish, Question, Queued, Reply, Settled};
use super::{Stream, UnderWay, Wish};
use crate::history::{Outcome, Part, Stored};

/// What others have appended is delivered from here up to so many; nodes ask for more by themselves.
const MAX_BETWEEN: u64 = 1_000;

impl Stream {
    /// The stream ends here by now. What it has that followers have not been sent, and that is none of our own
    /// publications, others have appended: it is read and delivered in its place.
    pub(super) fn arrived(&mut self, own: Vec<(Queued, Outcome)>, top: StreamPosition, turn: &mut Turn<'_>) {
        let stored =
            own.iter().filter(|(_, outcome)| matches!(outcome, Outcome::Stored { .. })).count() as u64;
        let before = self.top.filter(|before| before.epoch == top.epoch && !turn.followers.is_empty());
        let between = before.map_or(0, |before| top.offset.saturating_sub(before.offset + stored));
        match before {
            Some(before) if (1..=MAX_BETWEEN).contains(&between) => {
                let limit = (top.offset - before.offset) as usize;
                let part = Part::After(before.offset);
                let operation = Operation::Read { part, limit, max_bytes: Question::MAX_BYTES };
                self.ask(UnderWay::Between(own, top), operation, turn);
            }
            _ => self.deliver_all(own, Vec::new(), top, turn),
        }
    }

    /// Delivers own publications and those that others have appended, in the order of the stream, until `top`.
    pub(super) fn deliver_all(
        &mut self,
        own: Vec<(Queued, Outcome)>,
        found: Vec<Stored>,
        top: StreamPosition,
        turn: &mut Turn<'_>,
    ) {
        let mut shown = self.top.unwrap_or(top);
        let mut found = found.into_iter().filter(|found| found.offset <= top.offset).peekable();
        for (Queued { publish, reply, .. }, outcome) in own {
            match outcome {
                Outcome::Stored { offset, time_ms, expires_at_ms } => {
                    while let Some(earlier) = found.next_if(|found| found.offset < offset) {
                        self.deliver_found(earlier, &mut shown, turn);
                    }
                    found.next_if(|found| found.offset == offset);
                    let mut publish = publish;
                    publish.publication.offset = offset;
                    publish.publication.time_ms = time_ms;
                    publish.publication.expires_at_ms = expires_at_ms;
                    shown = StreamPosition { offset, ..top };
                    self.deliver(publish, reply, shown, turn);
                }
                Outcome::Repeated(first) => {
                    while let Some(earlier) = found.next_if(|found| found.offset <= first.offset) {
                        self.deliver_found(earlier, &mut shown, turn);
                    }
                    turn.settle(reply, Ok(Settled::Repeated(Some(first))));
                }
                Outcome::Superseded => turn.settle(reply, Ok(Settled::Superseded(top))),
            }
        }
        for later in found {
            self.deliver_found(later, &mut shown, turn);
        }
        if shown != top {
            turn.shared.room += self.drop_recent();
            turn.say_top(top);
        }
        self.top = Some(top);
        turn.shared.late.remove(turn.name);
        self.let_in_who_waits();
    }

    fn deliver_found(&mut self, found: Stored, shown: &mut StreamPosition, turn: &mut Turn<'_>) {
        let Some(publication) = found.publication.filter(|_| found.offset > shown.offset) else { return };
        *shown = StreamPosition { offset: found.offset, ..*shown };
        let publish = Publish { publication, ..Publish::to(turn.name.clone()) };
        self.deliver(publish, None, *shown, turn);
    }

    fn deliver(
        &mut self,
        publish: Publish,
        reply: Option<Reply>,
        position: StreamPosition,
        turn: &mut Turn<'_>,
    ) {
        if let Some(recent) = &mut self.recent {
            let bytes = recent.extend(&publish.publication, position.epoch);
            match bytes.and_then(|bytes| turn.shared.room.checked_sub(bytes)) {
                Some(left) => turn.shared.room = left,
                // What it has grown by was never taken from the room.
                None => turn.shared.room += self.drop_recent() - bytes.unwrap_or(0),
            }
        }
        turn.has_traffic();
        let reach = turn.shared.sessions.reach(turn.followers, None);
        turn.act(Action::Deliver(Box::new(Delivery { publish, reply, position: Some(position), reach })));
    }

    pub(super) fn let_in_who_waits(&mut self) {
        for (session, position) in self.waiting.drain(..).rev() {
            self.queue.push_front(Wish::Follow(session, position));
        }
    }
}
