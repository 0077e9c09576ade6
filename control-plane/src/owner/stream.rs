//! One channel's stream at its owner: what waits for the history, in order, and what comes back.

mod delivery;
mod loss;

use std::collections::VecDeque;

use fanfare_cluster::channel::StreamPosition;
use fanfare_proto::link::{self, open_response};

use super::answers;
use super::recent::Recent;
use super::request::{Act, Action, Asker, Done, Operation, Question, Queued, Reply};
use super::{SessionId, Turn};
use crate::history::{Appended, HistoryError, Outcome, Page, Part};
use crate::refusal::Refusal;

/// Publications of one append, at most.
const MAX_APPEND: usize = 256;
/// Bytes from which no further publication joins an append.
const MAX_APPEND_BYTES: usize = 1 << 20;
/// How far behind it an append looks: for more publications, and for what nodes tell.
const LOOKED_BEHIND: usize = 64;
/// The client protocol's "unrecoverable position".
const UNRECOVERABLE_POSITION: u32 = 112;

/// Something that waits for its turn.
#[derive(Debug)]
pub(super) enum Wish {
    Publish(Box<Queued>),
    Act(Box<Act>, Reply),
    /// With the highest position that the node has seen.
    Follow(SessionId, StreamPosition),
    Recover(SessionId, link::Recover),
    Read(Asker, Question),
    Remove(Reply),
    /// Compare with the history: others may have written there.
    Check,
}

/// What the history is doing.
#[derive(Debug)]
enum UnderWay {
    Append(Vec<Queued>),
    /// Reads what others have appended, before own publications are delivered.
    Between(Vec<(Queued, Outcome)>, StreamPosition),
    /// With the position that was told.
    Top(StreamPosition),
    Recover(SessionId, link::Recover),
    Read(Asker, Question),
    Remove(Reply),
}

/// A channel with history. All that concerns it passes here one after the other, so that what leaves for a node is in
/// the order of the stream.
#[derive(Debug, Default)]
pub(super) struct Stream {
    /// The end of the stream as followers know it; unknown until the history was asked.
    top: Option<StreamPosition>,
    /// Who has read the history was told of this end, which may be beyond what followers know.
    told: StreamPosition,
    // queue: what waits for a channel's history
    queue: VecDeque<Wish>,
    under_way: Option<Box<UnderWay>>,
    /// Who wants to follow when the history is there again, with the highest position seen.
    waiting: Vec<(SessionId, StreamPosition)>,
    recent: Option<Box<Recent>>,
}

impl Wish {
    /// Whether it is one that nodes can ask for as often as they like.
    fn is_question(&self) -> bool {
        matches!(self, Self::Recover(..) | Self::Read(..))
    }

    fn session(&self) -> Option<SessionId> {
        match self {
            Self::Follow(session, _)
            | Self::Recover(session, _)
            | Self::Read(Asker::Client { session, .. }, _) => Some(*session),
            _ => None,
        }
    }
}

impl Stream {
    /// Whether something waits or is under way: what comes has to queue behind it.
    pub(super) fn is_busy(&self) -> bool {
        self.under_way.is_some()
    }

    /// Whether nothing is lost if the stream is forgotten when nobody follows it.
    pub(super) fn is_idle(&self) -> bool {
        !self.is_busy() && self.waiting.is_empty()
    }

    /// Takes a wish, at once if nothing is before it.
    pub(super) fn take(&mut self, wish: Wish, turn: &mut Turn<'_>) {
        if !self.is_busy() {
            self.grant(wish, turn);
            return self.go_on(turn);
        }
        if wish.is_question() && !turn.shared.one_more_question() {
            return loss::fail_question(&wish, turn);
        }
        self.queue.push_back(wish);
    }

    /// Who waited to follow, or whoever follows, wants to know what the history says by now.
    pub(super) fn retry(&mut self, turn: &mut Turn<'_>) {
        if self.waiting.is_empty() {
            return self.take(Wish::Check, turn);
        }
        self.let_in_who_waits();
        self.go_on(turn);
    }

    /// The session does not follow any more; with `all` it asks for nothing any more either.
    pub(super) fn forget(&mut self, session: SessionId, all: bool, turn: &mut Turn<'_>) {
        self.waiting.retain(|(waiting, _)| *waiting != session);
        self.queue.retain(|wish| {
            let concerned = wish.session() == Some(session) && (all || matches!(wish, Wish::Follow(..)));
            if concerned && wish.is_question() {
                turn.shared.questions -= 1;
            }
            !concerned
        });
    }

    /// Forgets what was read, and returns how many bytes that frees.
    pub(super) fn drop_recent(&mut self) -> usize {
        self.recent.take().map_or(0, |recent| recent.bytes)
    }

    /// What was read is forgotten when its time is over.
    pub(super) fn drop_old_recent(&mut self, now: std::time::Instant) -> usize {
        if self.recent.as_ref().is_some_and(|recent| recent.until <= now) { self.drop_recent() } else { 0 }
    }

    /// For how many wishes it holds on to memory.
    #[cfg(test)]
    pub(super) fn spare(&self) -> usize {
        self.queue.capacity()
    }

    /// The history has done what it was asked to, or not.
    pub(super) fn finished(&mut self, result: Result<Done, HistoryError>, turn: &mut Turn<'_>) {
        let Some(under_way) = self.under_way.take() else { return };
        match (*under_way, result) {
            (UnderWay::Append(queued), Ok(Done::Appended(Appended { outcomes, top }))) => {
                self.arrived(queued.into_iter().zip(outcomes).collect(), top, turn);
            }
            (UnderWay::Between(own, top), Ok(Done::Page(page))) => {
                self.deliver_all(own, page.stored, top, turn);
            }
            // Nodes see the gap and ask for themselves.
            (UnderWay::Between(own, top), _) => self.deliver_all(own, Vec::new(), top, turn),
            (UnderWay::Top(_), Ok(Done::Top(top))) => self.arrived(Vec::new(), top, turn),
            (UnderWay::Recover(session, recover), Ok(Done::Page(page))) => {
                self.recovered(session, &recover, &page, turn);
            }
            (UnderWay::Read(asker, question), Ok(Done::Page(page))) => {
                self.read(asker, &question, page, turn);
            }
            (UnderWay::Remove(reply), Ok(Done::Top(top))) => {
                turn.shared.room += self.drop_recent();
                turn.act(Action::Removed(reply, Ok(top)));
                self.arrived(Vec::new(), top, turn);
            }
            (under_way, Err(HistoryError::Fenced)) => self.lose(under_way, turn),
            (under_way, _) => self.fail(under_way, turn),
        }
        self.go_on(turn);
    }

    fn go_on(&mut self, turn: &mut Turn<'_>) {
        while !self.is_busy() {
            let Some(wish) = self.queue.pop_front() else {
                // A quiet channel holds on to nothing.
                return self.queue = VecDeque::new();
            };
            if wish.is_question() {
                turn.shared.questions -= 1;
            }
            self.grant(wish, turn);
        }
    }

    fn grant(&mut self, wish: Wish, turn: &mut Turn<'_>) {
        match wish {
            Wish::Publish(queued) if queued.until < turn.now => turn.settle(queued.reply, Err(Refusal::Busy)),
            Wish::Publish(queued) if !queued.publish.keep.stored => turn.deliver_unstored(*queued),
            Wish::Publish(queued) => self.append(*queued, turn),
            Wish::Act(act, reply) => turn.deliver_act(*act, reply),
            Wish::Follow(session, position) => self.follow(session, position, turn),
            Wish::Recover(session, recover) => self.recover(session, recover, turn),
            Wish::Read(asker, question) => {
                let Question { limit, max_bytes, .. } = question;
                let operation = Operation::Read { part: answers::part(&question), limit, max_bytes };
                self.ask(UnderWay::Read(asker, question), operation, turn);
            }
            Wish::Remove(reply) => self.ask(UnderWay::Remove(reply), Operation::Remove, turn),
            Wish::Check if turn.followers.is_empty() && self.waiting.is_empty() => {}
            Wish::Check => {
                let known = self.known();
                self.ask(UnderWay::Top(known), Operation::Top { known }, turn);
            }
        }
    }

    /// Appends a publication, and with it those that have come meanwhile: up to the next thing whose place among
    /// publications matters.
    fn append(&mut self, first: Queued, turn: &mut Turn<'_>) {
        let mut bytes = first.publish.publication.weight();
        let mut queued = vec![first];
        let mut at = 0;
        while queued.len() < MAX_APPEND && bytes < MAX_APPEND_BYTES && at < LOOKED_BEHIND {
            match self.queue.get(at) {
                Some(Wish::Publish(next)) if next.publish.keep.stored && next.until >= turn.now => {
                    bytes += next.publish.publication.weight();
                    if let Some(Wish::Publish(next)) = self.queue.remove(at) {
                        queued.push(*next);
                    }
                }
                Some(Wish::Follow(..) | Wish::Recover(..) | Wish::Read(..) | Wish::Check) => at += 1,
                _ => break,
            }
        }
        let entries = queued.iter_mut().map(|queued| queued.publish.entry()).collect();
        let known = self.known();
        self.ask(UnderWay::Append(queued), Operation::Append { entries, known }, turn);
    }

    /// The highest position that anybody has seen, also who only waits for its turn: a publication before it must not
    /// get a place that it has seen taken.
    fn known(&self) -> StreamPosition {
        let queued = self.queue.iter().take(LOOKED_BEHIND).filter_map(|wish| match wish {
            Wish::Follow(_, position) => Some(*position),
            _ => None,
        });
        let waiting = self.waiting.iter().map(|(_, seen)| *seen);
        waiting.chain(queued).chain([self.told]).fold(self.top.unwrap_or_default(), higher)
    }

    fn follow(&mut self, session: SessionId, position: StreamPosition, turn: &mut Turn<'_>) {
        if !turn.shared.sessions.contains(session) {
            return;
        }
        match self.top {
            Some(top) if position.epoch != top.epoch || position.offset <= top.offset => {
                turn.add_follower(session);
                turn.say_following(session, Some(top));
            }
            _ if turn.shared.late.contains(turn.name) => {
                self.waiting.retain(|(waiting, _)| *waiting != session);
                self.waiting.push((session, position));
            }
            _ => {
                let known = higher(self.known(), position);
                self.queue.push_front(Wish::Follow(session, StreamPosition::default()));
                self.ask(UnderWay::Top(known), Operation::Top { known }, turn);
            }
        }
    }

    fn recover(&mut self, session: SessionId, recover: link::Recover, turn: &mut Turn<'_>) {
        if let Some(top) = self.top {
            if answers::by_position(&recover, top).is_some() {
                return turn.say_recovered(session, answers::recovered(&recover, std::iter::empty(), top));
            }
            let after = answers::needed_after(&recover, top);
            if let Some(recent) = self.recent.as_ref().filter(|recent| recent.covers(after, top, turn.now)) {
                turn.shared.saved_reads += 1;
                return turn.say_recovered(session, answers::recovered(&recover, recent.newest_first(), top));
            }
        }
        let (limit, max_bytes) = answers::limits(&recover);
        let down_to = if recover.latest { 0 } else { answers::since(&recover).offset };
        let operation = Operation::Read { part: Part::Before(u64::MAX, down_to), limit, max_bytes };
        self.ask(UnderWay::Recover(session, recover), operation, turn);
    }

    fn recovered(&mut self, session: SessionId, recover: &link::Recover, page: &Page, turn: &mut Turn<'_>) {
        let mut answer = answers::recovered(recover, page.stored.iter(), page.top);
        self.tell(page.top);
        match self.top {
            Some(top) if top == page.top => self.keep_recent(recover, page, turn),
            Some(top) => {
                if top.epoch == page.top.epoch && top.offset > page.top.offset {
                    // It has lost its tail, so there are publications that nobody can get any more.
                    (answer.complete, answer.publications) = (false, Vec::new());
                }
                self.queue.push_front(Wish::Check);
            }
            None => {}
        }
        turn.say_recovered(session, answer);
    }

    /// Keeps what was read for a moment, if it says more than what is there.
    fn keep_recent(&mut self, recover: &link::Recover, page: &Page, turn: &mut Turn<'_>) {
        if turn.followers.is_empty() {
            return;
        }
        let recent = Recent::new(page, answers::needed_after(recover, page.top), turn.now);
        turn.shared.room += self.drop_recent();
        if let Some(left) = turn.shared.room.checked_sub(recent.bytes) {
            turn.shared.room = left;
            turn.shared.recents.push_back((recent.until, turn.name.clone()));
            self.recent = Some(Box::new(recent));
        }
    }

    fn read(&mut self, asker: Asker, question: &Question, page: Page, turn: &mut Turn<'_>) {
        self.tell(page.top);
        if self.top.is_some_and(|top| top != page.top) {
            self.queue.push_front(Wish::Check);
        }
        let begins_there = answers::begins_there(question, &page);
        match asker {
            Asker::Backend(reply) => {
                let answer = if begins_there { Ok(page) } else { Err(Refusal::Unrecoverable) };
                turn.act(Action::Read(reply, answer));
            }
            Asker::Client { session, ticket } => {
                let answer = if begins_there {
                    answers::history_read(ticket, page)
                } else {
                    let position = Some(page.top.into());
                    let error = UNRECOVERABLE_POSITION;
                    link::HistoryRead { ticket, error, position, ..Default::default() }
                };
                turn.say(session, open_response::Message::HistoryRead(answer));
            }
        }
    }

    /// Somebody is told of this end of the stream.
    fn tell(&mut self, top: StreamPosition) {
        let is_lower = self.told.epoch == top.epoch && self.told.offset > top.offset;
        if !is_lower {
            self.told = top;
        }
    }

    fn ask(&mut self, under_way: UnderWay, operation: Operation, turn: &mut Turn<'_>) {
        self.under_way = Some(Box::new(under_way));
        turn.act(Action::Ask(turn.name.clone(), operation));
    }
}

/// What is known if one position was, and another has been seen: positions of different streams say nothing of each
/// other.
fn higher(known: StreamPosition, seen: StreamPosition) -> StreamPosition {
    let is_higher = known.epoch == seen.epoch && known.offset < seen.offset;
    if is_higher || !known.epoch.is_some() { seen } else { known }
}
