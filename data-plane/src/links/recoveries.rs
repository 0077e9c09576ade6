//! What subscriptions have missed, as a plain state machine: asked of the owner, again on every new link, until it answers or time is over.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use fanfare_cluster::channel::{ChannelName, StreamPosition};
use fanfare_cluster::member::MemberId;
use fanfare_proto::link;

use super::ShardIndex;
use super::follows::{Follows, Now};
use crate::publication::Publication;
use crate::shard::{Answer, RecoverQuestion};

/// How long a shard waits for an answer. SDKs give up the whole connection after five seconds.
const PATIENCE: Duration = Duration::from_secs(4);
/// How long after an answer that the history is not available it is asked again.
const PAUSE: Duration = Duration::from_millis(500);
/// Questions that may wait.
const MAX_RECOVERIES: usize = 65_536;
/// What one subscription is given at most (delivery, section 5): more is not complete.
const MAX_PUBLICATIONS: u32 = 300;
const MAX_BYTES: u32 = 480 << 10;

/// What the node must do.
#[derive(Debug)]
pub(super) enum Action {
    /// Ask the replica.
    Ask { replica: MemberId, recover: link::Recover },
    /// Tell the shard what the owner has answered.
    Answer { shard: ShardIndex, channel: ChannelName, ticket: u64, answer: Arc<Answer> },
    /// Tell the shard that there is no answer.
    Fail { shard: ShardIndex, channel: ChannelName, ticket: u64 },
}

/// The questions that wait for an answer, by their tickets.
#[derive(Debug, Default)]
pub(super) struct Recoveries {
    waiting: BTreeMap<u64, Recovering>,
}

/// A shard asks what was published after a position.
#[derive(Clone, Debug)]
pub(super) struct Missed {
    pub(super) shard: ShardIndex,
    pub(super) channel: ChannelName,
    pub(super) question: RecoverQuestion,
}

#[derive(Debug)]
struct Recovering {
    missed: Missed,
    since: Now,
    /// Who was asked; `None` if nobody yet, or not again yet.
    asked: Option<MemberId>,
    /// When the owner has said that it cannot answer now.
    refused: Option<Now>,
}

impl Recoveries {
    /// A shard asks. The ticket names the question on the link.
    pub(super) fn ask(
        &mut self,
        ticket: u64,
        missed: Missed,
        (follows, now): (&Follows, Now),
        actions: &mut Vec<Action>,
    ) {
        if self.waiting.len() >= MAX_RECOVERIES {
            return actions.push(missed.failed());
        }
        let mut recovering = Recovering { missed, since: now, asked: None, refused: None };
        actions.extend(recovering.ask(ticket, follows));
        self.waiting.insert(ticket, recovering);
    }

    /// What was not answered is asked again: the owner is linked anew, or another replica is.
    pub(super) fn ask_all_again(&mut self, follows: &Follows, actions: &mut Vec<Action>) {
        for (ticket, one) in &mut self.waiting {
            if one.asked.as_ref() != follows.linked_owner(&one.missed.channel) {
                actions.extend(one.ask(*ticket, follows));
            }
        }
    }

    /// A link has ended: what was asked on it has no answer.
    pub(super) fn link_down(&mut self, replica: &MemberId) {
        for one in self.waiting.values_mut() {
            one.asked.take_if(|asked| asked == replica);
        }
    }

    /// A replica has answered. Returns whether anybody waits for it.
    pub(super) fn answered(
        &mut self,
        replica: &MemberId,
        recovered: link::Recovered,
        (follows, now): (&Follows, Now),
        actions: &mut Vec<Action>,
    ) -> bool {
        let link::Recovered { ticket, error, publications, position, complete } = recovered;
        let Some(one) = self.waiting.get(&ticket) else { return false };
        // Who is no longer the owner may not know the end of the stream.
        let is_owner = follows.linked_owner(&one.missed.channel) == Some(replica);
        if error != 0 || !is_owner {
            return self.refused(ticket, now);
        }
        let Some(Recovering { missed, .. }) = self.waiting.remove(&ticket) else { return true };
        let Missed { shard, channel, question } = missed;
        let end = position.map(StreamPosition::from).unwrap_or_default();
        let publication = |wire| Arc::new(Publication::new(channel.clone(), wire, end.epoch));
        let publications = publications.into_iter().map(publication).collect();
        let answer = Arc::new(Answer { publications, end, complete });
        actions.push(Action::Answer { shard, channel, ticket: question.ticket, answer });
        true
    }

    /// A replica cannot answer now, or does not own the channel. Returns whether anybody waits for it.
    pub(super) fn refused(&mut self, ticket: u64, now: Now) -> bool {
        let Some(one) = self.waiting.get_mut(&ticket) else { return false };
        (one.asked, one.refused) = (None, Some(now));
        true
    }

    /// Time has passed: asks again who could not answer, and gives up what has waited too long.
    pub(super) fn tick(&mut self, (follows, now): (&Follows, Now), actions: &mut Vec<Action>) {
        let late = |_: &u64, one: &mut Recovering| one.since + PATIENCE < now;
        let over: Vec<_> = self.waiting.extract_if(.., late).collect();
        actions.extend(over.into_iter().map(|(_, one)| one.missed.failed()));
        for (ticket, one) in &mut self.waiting {
            if one.refused.is_some_and(|at| at + PAUSE < now) {
                actions.extend(one.ask(*ticket, follows));
            }
        }
    }
}

impl Missed {
    fn failed(self) -> Action {
        Action::Fail { shard: self.shard, channel: self.channel, ticket: self.question.ticket }
    }
}

impl Recovering {
    /// Asks the owner, if it is linked.
    fn ask(&mut self, ticket: u64, follows: &Follows) -> Option<Action> {
        let replica = follows.linked_owner(&self.missed.channel)?.clone();
        (self.asked, self.refused) = (Some(replica.clone()), None);
        let RecoverQuestion { since, latest, .. } = self.missed.question;
        let recover = link::Recover {
            ticket,
            channel: self.missed.channel.as_str().to_owned(),
            since: Some(since.into()),
            limit: MAX_PUBLICATIONS,
            max_bytes: MAX_BYTES,
            latest,
        };
        Some(Action::Ask { replica, recover })
    }
}

#[cfg(test)]
#[path = "recoveries_tests.rs"]
mod tests;
