//! What subscriptions have missed, as a plain state machine: asked of the owner, again on every new link, until it answers or time is over.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use fanfare_cluster::channel::{ChannelName, StreamPosition};
use fanfare_cluster::member::MemberId;
use fanfare_proto::link;

use super::ShardIndex;
use super::follows::{Follows, Now};
use crate::publication::{MAX_GIVEN, MAX_GIVEN_BYTES, Publication};
use crate::shard::{Answer, RecoverQuestion};

/// How long a shard waits for an answer. SDKs give up the whole connection after five seconds.
const PATIENCE: Duration = Duration::from_secs(4);
/// How long after an answer that the history is not available it is asked again.
const PAUSE: Duration = Duration::from_millis(500);
/// Questions that may wait.
const MAX_RECOVERIES: usize = 65_536;
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
#[derive(Debug)]
pub(super) struct Recoveries {
    waiting: BTreeMap<u64, Recovering>,
    /// Those that wait for their turn to be asked; some may be answered or given up by then.
    // queue: recoveries that wait to be asked
    line: VecDeque<u64>,
    /// Those for which there was no room; they fail with the next tick.
    too_many: Vec<Missed>,
    /// How many were asked and have no answer.
    unanswered: usize,
    /// How many may be: each answer may be large, and together they must fit into the link's queue.
    most: usize,
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
    /// It is in line to be asked.
    lined_up: bool,
}

impl Recoveries {
    /// So many questions may be unanswered at a time.
    pub(super) fn new(most: usize) -> Self {
        Self { waiting: BTreeMap::new(), line: VecDeque::new(), too_many: Vec::new(), unanswered: 0, most }
    }

    /// A shard asks. The ticket names the question on the link.
    pub(super) fn ask(
        &mut self,
        ticket: u64,
        missed: Missed,
        (follows, now): (&Follows, Now),
        actions: &mut Vec<Action>,
    ) {
        if self.waiting.len() >= MAX_RECOVERIES {
            // Not at once: who cannot do without asks again.
            return self.too_many.push(missed);
        }
        let recovering = Recovering { missed, since: now, asked: None, refused: None, lined_up: true };
        self.waiting.insert(ticket, recovering);
        self.line.push_back(ticket);
        self.go_on(follows, actions);
    }

    /// Asks those whose turn it is. Who has no linked owner leaves the line until there is one.
    fn go_on(&mut self, follows: &Follows, actions: &mut Vec<Action>) {
        while self.unanswered < self.most {
            let Some(ticket) = self.line.pop_front() else { return };
            let Some(one) = self.waiting.get_mut(&ticket) else { continue };
            one.lined_up = false;
            if one.asked.is_none()
                && let Some(action) = one.ask(ticket, follows)
            {
                self.unanswered += 1;
                actions.push(action);
            }
        }
    }

    /// What was not answered is asked again: the owner is linked anew, or another replica is.
    pub(super) fn ask_all_again(&mut self, follows: &Follows, actions: &mut Vec<Action>) {
        for (ticket, one) in &mut self.waiting {
            let owner = follows.linked_owner(&one.missed.channel);
            self.unanswered -= usize::from(one.asked.take_if(|asked| Some(&*asked) != owner).is_some());
            if one.asked.is_none() && !std::mem::replace(&mut one.lined_up, true) {
                self.line.push_back(*ticket);
            }
        }
        self.go_on(follows, actions);
    }

    /// A link has ended: what was asked on it has no answer.
    pub(super) fn link_down(&mut self, replica: &MemberId) {
        for one in self.waiting.values_mut() {
            self.unanswered -= usize::from(one.asked.take_if(|asked| asked == replica).is_some());
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
            self.refused(ticket, (follows, now), actions);
            return true;
        }
        let Some(Recovering { missed, asked, .. }) = self.waiting.remove(&ticket) else { return true };
        self.unanswered -= usize::from(asked.is_some());
        let Missed { shard, channel, question } = missed;
        let end = position.map(StreamPosition::from).unwrap_or_default();
        let publication = |wire| Arc::new(Publication::new(channel.clone(), wire, end.epoch));
        let publications = publications.into_iter().map(publication).collect();
        let answer = Arc::new(Answer { publications, end, complete });
        actions.push(Action::Answer { shard, channel, ticket: question.ticket, answer });
        self.go_on(follows, actions);
        true
    }

    /// A replica cannot answer now, or does not own the channel. Returns whether anybody waits for it.
    pub(super) fn refused(
        &mut self,
        ticket: u64,
        (follows, now): (&Follows, Now),
        actions: &mut Vec<Action>,
    ) -> bool {
        let Some(one) = self.waiting.get_mut(&ticket) else { return false };
        self.unanswered -= usize::from(one.asked.take().is_some());
        one.refused = Some(now);
        self.go_on(follows, actions);
        true
    }

    /// Time has passed: asks again who could not answer, and gives up what has waited too long.
    pub(super) fn tick(&mut self, (follows, now): (&Follows, Now), actions: &mut Vec<Action>) {
        actions.extend(self.too_many.drain(..).map(Missed::failed));
        let late = |_: &u64, one: &mut Recovering| one.since + PATIENCE < now;
        let over: Vec<_> = self.waiting.extract_if(.., late).collect();
        for (_, one) in over {
            self.unanswered -= usize::from(one.asked.is_some());
            actions.push(one.missed.failed());
        }
        for (ticket, one) in &mut self.waiting {
            if one.refused.is_some_and(|at| at + PAUSE < now) && !std::mem::replace(&mut one.lined_up, true) {
                self.line.push_back(*ticket);
            }
        }
        self.go_on(follows, actions);
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
            limit: MAX_GIVEN,
            max_bytes: MAX_GIVEN_BYTES,
            latest,
        };
        Some(Action::Ask { replica, recover })
    }
}

#[cfg(test)]
#[path = "recoveries_tests.rs"]
mod tests;
