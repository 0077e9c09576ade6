//! What subscriptions have missed: asked of the owner, again on every new link, until it answers or time is over.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use fanfare_cluster::channel::{ChannelName, Epoch, StreamPosition};
use fanfare_cluster::member::MemberId;
use fanfare_proto::link::{self, open_request};

use super::ShardIndex;
use super::exchange::Exchange;
use crate::publication::Publication;
use crate::shard::{Answer, RecoverQuestion, ToShard};

/// How long a shard waits for an answer. SDKs give up the whole connection after five seconds.
const PATIENCE: Duration = Duration::from_secs(4);
/// How long after an answer that the history is not available it is asked again.
const PAUSE: Duration = Duration::from_millis(500);
/// Questions that may wait.
const MAX_RECOVERIES: usize = 65_536;
/// What one subscription is given at most (delivery, section 5): more is not complete.
const MAX_PUBLICATIONS: u32 = 300;
const MAX_BYTES: u32 = 480 << 10;

/// The questions that wait for an answer.
#[derive(Default)]
pub(super) struct Recoveries {
    waiting: HashMap<u64, Recovering>,
}

struct Recovering {
    shard: ShardIndex,
    channel: ChannelName,
    question: RecoverQuestion,
    since: Instant,
    /// Who was asked; `None` if nobody yet, or not again yet.
    asked: Option<MemberId>,
    /// When the owner has said that it cannot answer now.
    refused: Option<Instant>,
}

impl Exchange {
    /// A shard asks what was published after a position.
    pub(super) async fn recover(
        &mut self,
        shard: ShardIndex,
        channel: ChannelName,
        question: RecoverQuestion,
    ) {
        if self.recoveries.waiting.len() >= MAX_RECOVERIES {
            let ticket = question.ticket;
            return self.to_shard(shard, ToShard::RecoverFailed { channel, ticket }).await;
        }
        self.last_ticket += 1;
        let ticket = self.last_ticket;
        let since = Instant::now();
        let recovering = Recovering { shard, channel, question, since, asked: None, refused: None };
        self.recoveries.waiting.insert(ticket, recovering);
        self.ask_again(ticket);
    }

    /// Asks the owner, if it is linked.
    fn ask_again(&mut self, ticket: u64) {
        let Some(recovering) = self.recoveries.waiting.get_mut(&ticket) else { return };
        let Some(owner) = self.follows.linked_owner(&recovering.channel) else { return };
        let Some(session) = self.sessions.get(owner) else { return };
        recovering.asked = Some(owner.clone());
        recovering.refused = None;
        let RecoverQuestion { since, latest, .. } = recovering.question;
        session.send(open_request::Message::Recover(link::Recover {
            ticket,
            channel: recovering.channel.as_str().to_owned(),
            since: Some(since.into()),
            limit: MAX_PUBLICATIONS,
            max_bytes: MAX_BYTES,
            latest,
        }));
    }

    /// What was not answered is asked again: the owner is linked anew, or another replica is.
    pub(super) fn ask_all_again(&mut self) {
        let follows = &self.follows;
        let lacks = |one: &Recovering| one.asked.as_ref() != follows.linked_owner(&one.channel);
        let waiting = self.recoveries.waiting.iter().filter(|(_, one)| lacks(one));
        let tickets: Vec<u64> = waiting.map(|(ticket, _)| *ticket).collect();
        tickets.into_iter().for_each(|ticket| self.ask_again(ticket));
    }

    /// A link has ended: what was asked on it has no answer.
    pub(super) fn forget_asked(&mut self, replica: &MemberId) {
        for one in self.recoveries.waiting.values_mut() {
            one.asked.take_if(|asked| asked == replica);
        }
    }

    /// A replica has answered; or that it does not own the channel, which is `None`.
    pub(super) async fn recovered(
        &mut self,
        replica: &MemberId,
        ticket: u64,
        recovered: Option<link::Recovered>,
    ) -> bool {
        let Some(recovering) = self.recoveries.waiting.get_mut(&ticket) else { return false };
        let recovered = recovered.filter(|recovered| recovered.error == 0);
        // Who is no longer the owner may not know the end of the stream.
        let is_owner = self.follows.linked_owner(&recovering.channel) == Some(replica);
        let Some(recovered) = recovered.filter(|_| is_owner) else {
            recovering.asked = None;
            recovering.refused = Some(Instant::now());
            return true;
        };
        let Some(recovering) = self.recoveries.waiting.remove(&ticket) else { return true };
        let Recovering { shard, channel, question, .. } = recovering;
        let end = recovered.position.map(StreamPosition::from).unwrap_or_default();
        let publication = |wire| Arc::new(Publication::new(channel.clone(), wire, Epoch(end.epoch.0)));
        let publications = recovered.publications.into_iter().map(publication).collect();
        let answer = Arc::new(Answer { publications, end, complete: recovered.complete });
        self.to_shard(shard, ToShard::Recovered { channel, ticket: question.ticket, answer }).await;
        true
    }

    /// Time has passed: asks again who could not answer, and gives up what has waited too long.
    pub(super) async fn look_at_recoveries(&mut self) {
        let now = Instant::now();
        let late = |one: &Recovering| now.duration_since(one.since) > PATIENCE;
        let over: Vec<_> = self.recoveries.waiting.extract_if(|_, one| late(one)).collect();
        for (_, Recovering { shard, channel, question, .. }) in over {
            let ticket = question.ticket;
            self.to_shard(shard, ToShard::RecoverFailed { channel, ticket }).await;
        }
        let due = |one: &Recovering| one.refused.is_some_and(|at| now.duration_since(at) > PAUSE);
        let due = self.recoveries.waiting.iter().filter(|(_, one)| due(one));
        let tickets: Vec<u64> = due.map(|(ticket, _)| *ticket).collect();
        tickets.into_iter().for_each(|ticket| self.ask_again(ticket));
    }
}
