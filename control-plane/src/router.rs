//! Where a push goes: to the owner of its channel, or straight to the node of its connection.

use std::sync::Arc;
use std::time::Duration;

use fanfare_cluster::channel::{ChannelName, StreamPosition};
use fanfare_cluster::member::MemberId;
use fanfare_cluster::registry::{Membership, MembershipWatch};
use fanfare_proto::link::{self, open_response};
use fanfare_proto::v1::GapReason;
use smallvec::SmallVec;
use tokio::time::Instant;

use crate::history::Page;
use crate::links::{Link, Links};
use crate::metrics::Metrics;
use crate::operation::{Operation, Subject};
use crate::owner::SessionId;
use crate::owner::request::Question;
use crate::owners::{Act, Batch, Owners, Placed, Placing, Publish, Settled};
use crate::push::{Push, Target, Wait};
use crate::receipts::{Counts, Receipts, Ticket};
use crate::refusal::Refusal;

/// How long an owner may take to give a publication its place.
const PLACING: Duration = Duration::from_secs(5);
/// What an owner that has taken a batch at the last moment gets for its answer.
const ANSWERING: Duration = Duration::from_secs(1);
/// How often a caller with many pushes looks whether links have room again.
const PRESSED: Duration = Duration::from_millis(1);

/// What became of a push or an operation.
#[derive(Debug, Default)]
pub(crate) struct Receipt {
    pub(crate) nodes_asked: usize,
    pub(crate) counts: Counts,
    pub(crate) user_offline: bool,
    pub(crate) gaps: Vec<(MemberId, GapReason)>,
    /// The publication's place in the channel's stream, if it has one.
    pub(crate) position: Option<StreamPosition>,
    /// It was not delivered, because its key or its version was seen before.
    pub(crate) settled: Option<Settled>,
}

/// A push that is on its way to nodes. Its receipt may have to be waited for.
#[derive(Debug)]
pub(crate) struct Accepted {
    placed: Placed,
    unreachable: Vec<MemberId>,
    ticket: Option<(Ticket, Wait)>,
    /// The target is a user, and nobody is excluded: so many connections are what there is.
    counts_user: bool,
    is_user: bool,
}

impl Accepted {
    /// Whether the receipt is there only when nodes have answered.
    pub(crate) fn waits(&self) -> bool {
        self.ticket.is_some()
    }

    /// Waits no longer than what is left of its call's time.
    pub(crate) fn within(mut self, left: Duration) -> Self {
        self.ticket = self.ticket.map(|(ticket, wait)| (ticket, wait.within(left)));
        self
    }
}

/// A push that goes to an owner, and what its receipt needs to know of it.
struct Parted {
    publish: Publish,
    ticket: Option<(Ticket, Wait)>,
    counts_user: bool,
    is_user: bool,
}

/// The way of all pushes and operations.
#[derive(Debug)]
pub(crate) struct Router {
    me: MemberId,
    owners: Owners,
    links: Arc<Links>,
    receipts: Arc<Receipts>,
    membership: MembershipWatch,
    metrics: Metrics,
}

impl Router {
    pub(crate) fn new(
        me: MemberId,
        owners: Owners,
        links: Arc<Links>,
        receipts: Arc<Receipts>,
        membership: MembershipWatch,
    ) -> Self {
        let metrics = links.metrics().clone();
        Self { me, owners, links, receipts, membership, metrics }
    }

    /// Carries out a push.
    pub(crate) async fn publish(&self, push: Push) -> Result<Receipt, Refusal> {
        let membership = self.membership.peek();
        let accepted = match self.part(push, &membership)? {
            Road::Sent(accepted) => accepted,
            Road::Owner(parted) => {
                let Parted { publish, ticket, counts_user, is_user } = *parted;
                let late = too_late(&publish);
                let until = Instant::now() + PLACING;
                let placing = self.owners.publish(publish, until)?;
                let Ok(Ok(placed)) = tokio::time::timeout_at(until + ANSWERING, placing).await else {
                    return Err(late);
                };
                let unreachable = self.unreachable(&membership);
                Accepted { placed: placed?, unreachable, ticket, counts_user, is_user }
            }
        };
        Ok(self.receipt(accepted).await)
    }

    /// Carries out pushes of one caller. Those to the same channel keep their order, also among calls that follow
    /// each other. It waits while owners and links have too much to do: a caller with many pushes must not
    /// look like a node that does not keep up. What was handed to owners is published even if the caller goes.
    pub(crate) async fn publish_all(
        &self,
        pushes: impl Iterator<Item = Result<Push, Refusal>>,
    ) -> Vec<Result<Accepted, Refusal>> {
        let membership = self.membership.peek();
        let mut batches: Vec<(Batch, Vec<usize>)> = Vec::new();
        batches.resize_with(self.owners.count(), Default::default);
        let mut results: Vec<Result<Accepted, Refusal>> = Vec::new();
        let mut rest = Vec::new();
        for push in pushes {
            match push.and_then(|push| self.part(push, &membership)) {
                Err(refusal) => results.push(Err(refusal)),
                Ok(Road::Sent(accepted)) => results.push(Ok(accepted)),
                Ok(Road::Owner(parted)) => {
                    let Parted { publish, ticket, counts_user, is_user } = *parted;
                    let late = too_late(&publish);
                    let (batch, places) = &mut batches[self.owners.index(&publish.channel)];
                    batch.0.push(publish);
                    places.push(results.len());
                    rest.push((results.len(), ticket, counts_user, is_user));
                    results.push(Err(late));
                }
            }
        }
        let mut placed = self.place_all(batches, results.len()).await;
        let unreachable = self.unreachable(&membership);
        for (at, ticket, counts_user, is_user) in rest {
            let unreachable = unreachable.clone();
            if let Some(placing) = placed[at].take() {
                results[at] =
                    placing.map(|placed| Accepted { placed, unreachable, ticket, counts_user, is_user });
            }
        }
        self.wait_while_pressed(&results).await;
        results
    }

    /// Hands each owner its batch, then waits for all of them.
    async fn place_all(&self, batches: Vec<(Batch, Vec<usize>)>, count: usize) -> Vec<Option<Placing>> {
        let mut placed: Vec<Option<Placing>> = Vec::new();
        placed.resize_with(count, || None);
        let until = Instant::now() + PLACING;
        let mut answers = SmallVec::<[_; 4]>::new();
        for (owner, (batch, places)) in batches.into_iter().enumerate() {
            if !places.is_empty() {
                answers.push((places, self.owners.publish_batch(owner, batch, until).await));
            }
        }
        for (places, answer) in answers {
            // An owner does not publish after `until`, so what has no answer then was not published.
            if let Ok(answer) = answer
                && let Ok(Ok(placings)) = tokio::time::timeout_at(until + ANSWERING, answer).await
            {
                for (at, placing) in places.into_iter().zip(placings) {
                    placed[at] = Some(placing);
                }
            }
        }
        placed
    }

    /// Waits until the links that were used have room again, as long as an owner may take.
    async fn wait_while_pressed(&self, results: &[Result<Accepted, Refusal>]) {
        let accepted = results.iter().flatten();
        let pressed =
            |accepted: &Accepted| accepted.placed.links.iter().find(|link| link.is_pressed()).cloned();
        let until = Instant::now() + PLACING;
        for link in accepted.filter_map(pressed) {
            while link.is_pressed() && Instant::now() < until {
                tokio::time::sleep(PRESSED).await;
            }
        }
    }

    /// Carries out an operation; nodes may take so long to answer.
    pub(crate) async fn act(&self, operation: Operation, patience: Duration) -> Result<Receipt, Refusal> {
        self.metrics.api.acts.inc();
        let membership = self.membership.peek();
        let ticket = self.receipts.open();
        let wait = Wait { sockets: patience, nodes: patience };
        let mut act = link::Act {
            target: None,
            receipt: ticket.id(),
            exclude: operation.exclude,
            action: Some(operation.action),
        };
        let ticket = Some((ticket, wait));
        match operation.subject {
            Subject::User(channel) => {
                if membership.placement.owner(&channel) != Some(&self.me) {
                    return Err(Refusal::NoOwner);
                }
                act.target = Some(link::act::Target::Channel(channel.as_str().to_owned()));
                let placing = self.owners.act(Act { channel, act })?;
                let Ok(Ok(placed)) = tokio::time::timeout(patience.min(PLACING), placing).await else {
                    return Err(Refusal::Busy);
                };
                let unreachable = self.unreachable(&membership);
                let accepted =
                    Accepted { placed: placed?, unreachable, ticket, counts_user: false, is_user: true };
                Ok(self.receipt(accepted).await)
            }
            Subject::Connection(id) => {
                let link = self.links.of_connection(id.node_tag()).ok_or(Refusal::UnknownConnection)?;
                act.target = Some(link::act::Target::Connection(id.to_bytes()));
                link.send(open_response::Message::Act(act));
                let receipt = self.receipt(Accepted::sent(link, ticket)).await;
                let Counts { written, cut, .. } = receipt.counts;
                match written + cut == 0 && receipt.gaps.is_empty() {
                    true => Err(Refusal::UnknownConnection),
                    false => Ok(receipt),
                }
            }
        }
    }

    /// A channel is published to here only if this replica owns it.
    pub(crate) fn owns(&self, channel: &ChannelName) -> bool {
        self.membership.peek().placement.owner(channel) == Some(&self.me)
    }

    /// Reads a part of a channel's history.
    pub(crate) async fn read(&self, channel: ChannelName, question: Question) -> Result<Page, Refusal> {
        if !self.owns(&channel) {
            return Err(Refusal::NoOwner);
        }
        let page = self.owners.read(channel, question)?;
        let Ok(Ok(page)) = tokio::time::timeout(PLACING, page).await else {
            return Err(Refusal::HistoryUnavailable);
        };
        page
    }

    /// Removes a channel's history; returns where the stream has ended.
    pub(crate) async fn remove(&self, channel: ChannelName) -> Result<StreamPosition, Refusal> {
        if !self.owns(&channel) {
            return Err(Refusal::NoOwner);
        }
        let top = self.owners.remove(channel)?;
        let Ok(Ok(top)) = tokio::time::timeout(PLACING, top).await else {
            return Err(Refusal::HistoryUnavailable);
        };
        top
    }

    /// Everything that is known of members.
    pub(crate) fn members(&self) -> Arc<Membership> {
        self.membership.peek()
    }

    /// Sends a push to one connection; others get what their owner needs.
    fn part(&self, push: Push, membership: &Membership) -> Result<Road, Refusal> {
        let Push { target, publication, exclude, rate_limit, keep, wait } = push;
        let (channel, is_user) = match target {
            Target::Channel(channel) => (channel, false),
            Target::User(channel) => (channel, true),
            Target::Connection(id) => {
                let link = self.links.of_connection(id.node_tag()).ok_or(Refusal::UnknownConnection)?;
                let ticket = wait.map(|wait| (self.receipts.open(), wait));
                let (receipt, receipt_within_ms) = numbers(ticket.as_ref()).unwrap_or_default();
                link.send(open_response::Message::DeliverConnection(link::DeliverConnection {
                    connection: id.to_bytes(),
                    data: publication.data,
                    receipt,
                    receipt_within_ms,
                }));
                return Ok(Road::Sent(Accepted::sent(link, ticket)));
            }
        };
        if membership.placement.owner(&channel) != Some(&self.me) {
            return Err(Refusal::NoOwner);
        }
        // Who is excluded is online all the same.
        let counts_user = is_user && wait.is_some() && exclude.is_empty();
        let ticket = wait.map(|wait| (self.receipts.open(), wait));
        let receipt = numbers(ticket.as_ref());
        let publish = Publish { channel, publication, exclude, receipt, rate_limit, keep };
        Ok(Road::Owner(Box::new(Parted { publish, ticket, counts_user, is_user })))
    }

    /// Waits for what the nodes say, if the push asked for it, and names those whose part is missing.
    pub(crate) async fn receipt(&self, accepted: Accepted) -> Receipt {
        let Accepted { placed, unreachable, ticket, counts_user, is_user } = accepted;
        if let Some(settled) = placed.settled {
            // Nobody was to get it, so nobody's part is missing.
            let (Settled::Superseded(position) | Settled::Repeated(Some(position))) = settled else {
                return Receipt { settled: Some(settled), ..Receipt::default() };
            };
            return Receipt { position: Some(position), settled: Some(settled), ..Receipt::default() };
        }
        // What has a place is not lost: who comes back asks for it.
        if placed.position.is_none() {
            self.metrics.link_lost.inc_by(unreachable.len() as u64);
        }
        let mut gaps: Vec<_> = unreachable.into_iter().map(|node| (node, GapReason::Unreachable)).collect();
        gaps.extend(placed.catching_up.into_iter().map(|node| (node, GapReason::CatchingUp)));
        let mut counts = Counts::default();
        if let Some((ticket, wait)) = ticket {
            let sessions: SmallVec<[SessionId; 4]> = placed.links.iter().map(Link::session).collect();
            let outcome = ticket.wait(&sessions, wait.nodes).await;
            counts = outcome.counts;
            for link in placed.links.iter().filter(|link| outcome.silent.contains(&link.session())) {
                gaps.retain(|(other, _)| other != link.node());
                gaps.push((link.node().clone(), GapReason::Silent));
            }
        }
        let nodes_asked = placed.links.len();
        let Counts { written, pending, cut } = counts;
        let nobody = if counts_user { written + pending + cut == 0 } else { nodes_asked == 0 };
        let user_offline = is_user && nobody && gaps.is_empty();
        let position = placed.position;
        Receipt { nodes_asked, counts, user_offline, gaps, position, settled: None }
    }

    /// A client has published: what nodes without a link miss is counted, as there is no receipt to say it.
    pub(crate) fn count_unreachable(&self) {
        self.metrics.link_lost.inc_by(self.unreachable(&self.membership.peek()).len() as u64);
    }

    /// Nodes that are registered but have no link.
    fn unreachable(&self, membership: &Membership) -> Vec<MemberId> {
        self.links.unlinked(membership.nodes.keys())
    }
}

/// Where a push has gone, or has to go.
enum Road {
    Sent(Accepted),
    Owner(Box<Parted>),
}

impl Accepted {
    /// Sent on the link of the one node that it concerns.
    fn sent(link: Link, ticket: Option<(Ticket, Wait)>) -> Self {
        let placed = Placed { links: SmallVec::from_iter([link]), ..Placed::default() };
        Self { placed, unreachable: Vec::new(), ticket, counts_user: false, is_user: false }
    }
}

/// What a caller is told that has waited too long: what the history was asked to do may still be done.
fn too_late(publish: &Publish) -> Refusal {
    if publish.keep.stored { Refusal::HistoryUnavailable } else { Refusal::Busy }
}

/// The receipt's number and the milliseconds that nodes may take for it.
fn numbers(ticket: Option<&(Ticket, Wait)>) -> Option<(u64, u32)> {
    let milliseconds = |duration: Duration| u32::try_from(duration.as_millis()).unwrap_or(u32::MAX);
    ticket.map(|(ticket, wait)| (ticket.id(), milliseconds(wait.sockets)))
}
