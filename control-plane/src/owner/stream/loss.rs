//! When the history is away, or another replica owns the channel: who is told so, and who waits.

use fanfare_proto::link::{self, open_response};

use super::super::request::{Action, Asker};
use super::super::{SessionId, Turn};
use super::{Stream, UnderWay, Wish};
use crate::refusal::Refusal;

/// The client protocol's "internal server error", temporary.
const INTERNAL_ERROR: u32 = 100;

impl Stream {
    /// The history is away. What can be tried again by who asked is refused; who follows waits.
    pub(super) fn fail(&mut self, under_way: UnderWay, turn: &mut Turn<'_>) {
        match under_way {
            UnderWay::Append(queued) => {
                for queued in queued {
                    turn.settle(queued.reply, Err(Refusal::HistoryUnavailable));
                }
                // It may have been carried out all the same.
                turn.is_late(!turn.followers.is_empty() || !self.waiting.is_empty());
            }
            UnderWay::Top(known) => {
                while let Some(Wish::Follow(session, _)) = self.queue.front() {
                    self.waiting.push((*session, known));
                    self.queue.pop_front();
                }
                turn.is_late(true);
            }
            UnderWay::Recover(session, recover) => fail_question(&Wish::Recover(session, recover), turn),
            UnderWay::Read(asker, question) => fail_question(&Wish::Read(asker, question), turn),
            UnderWay::Remove(reply) => turn.act(Action::Removed(reply, Err(Refusal::HistoryUnavailable))),
            UnderWay::Between(own, top) => self.deliver_all(own, Vec::new(), top, turn),
        }
    }

    /// Another replica owns the channel by now: whoever has a part in it is told so.
    pub(super) fn lose(&mut self, under_way: UnderWay, turn: &mut Turn<'_>) {
        turn.shared.room += self.drop_recent();
        self.top = None;
        turn.shared.late.remove(turn.name);
        let mut gone: Vec<SessionId> = turn.drop_followers();
        gone.extend(self.waiting.drain(..).map(|(session, _)| session));
        let again = match under_way {
            UnderWay::Append(queued) => queued.into_iter().map(Box::new).map(Wish::Publish).collect(),
            UnderWay::Between(own, _) => {
                own.into_iter().map(|(queued, _)| Wish::Publish(queued.into())).collect()
            }
            UnderWay::Top(_) => Vec::new(),
            UnderWay::Recover(session, recover) => vec![Wish::Recover(session, recover)],
            UnderWay::Read(asker, question) => vec![Wish::Read(asker, question)],
            UnderWay::Remove(reply) => vec![Wish::Remove(reply)],
        };
        turn.shared.questions -= self.queue.iter().filter(|wish| wish.is_question()).count();
        for wish in again.into_iter().chain(std::mem::take(&mut self.queue)) {
            match wish {
                Wish::Follow(session, _) => gone.push(session),
                Wish::Publish(queued) => turn.settle(queued.reply, Err(Refusal::NoOwner)),
                Wish::Act(_, reply) => turn.settle(Some(reply), Err(Refusal::NoOwner)),
                Wish::Recover(session, recover) => turn.say_not_owner(session, recover.ticket),
                Wish::Read(Asker::Client { session, ticket }, _) => turn.say_not_owner(session, ticket),
                Wish::Read(Asker::Backend(reply), _) => turn.act(Action::Read(reply, Err(Refusal::NoOwner))),
                Wish::Remove(reply) => turn.act(Action::Removed(reply, Err(Refusal::NoOwner))),
                Wish::Check => {}
            }
        }
        for session in gone {
            turn.say_not_owner(session, 0);
        }
    }
}

/// A question that cannot be answered now.
pub(super) fn fail_question(wish: &Wish, turn: &mut Turn<'_>) {
    let error = INTERNAL_ERROR;
    match wish {
        Wish::Recover(session, link::Recover { ticket, .. }) => {
            let answer = link::Recovered { ticket: *ticket, error, ..Default::default() };
            turn.say(*session, open_response::Message::Recovered(answer));
        }
        Wish::Read(Asker::Client { session, ticket }, _) => {
            let answer = link::HistoryRead { ticket: *ticket, error, ..Default::default() };
            turn.say(*session, open_response::Message::HistoryRead(answer));
        }
        Wish::Read(Asker::Backend(reply), _) => {
            turn.act(Action::Read(*reply, Err(Refusal::HistoryUnavailable)));
        }
        _ => {}
    }
}
