//! The tasks that own channels: each takes what comes for its share of them, one after the other.

use std::collections::HashMap;
use std::hash::BuildHasher as _;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use fanfare_cluster::channel::ChannelName;
use fanfare_cluster::member::MemberId;
use fanfare_cluster::tasks::Tasks;
use fanfare_proto::link::{self, open_response};
use smallvec::SmallVec;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio::time::Instant;

use crate::links::{Link, Weight as _};
use crate::metrics::Metrics;
use crate::owner::{Owner, Reach, SessionId};
use crate::rate::Rates;
use crate::refusal::Refusal;

/// What may wait for one owner task before pushes are told to come again.
const MAILBOX: usize = 4096;
/// What an owner takes out of its mailbox at once.
const BATCH: usize = 256;
/// How long an owner may take to list channels.
const LISTING: Duration = Duration::from_secs(5);
/// What each thing in a mailbox takes beside its content, in bytes.
const FLAT: usize = 256;

/// A publication on its way to a channel.
#[derive(Debug)]
pub(crate) struct Publish {
    pub(crate) channel: ChannelName,
    pub(crate) publication: link::Publication,
    pub(crate) exclude: Vec<Bytes>,
    /// The receipt's number and the milliseconds that nodes may take for it, if somebody waits.
    pub(crate) receipt: Option<(u64, u32)>,
    /// Publications per second that the channel takes; 0 if as many as come.
    pub(crate) rate_limit: u32,
}

/// Publications of one caller that go to one owner task together.
#[derive(Debug, Default)]
pub(crate) struct Batch(pub(crate) Vec<Publish>);

/// An operation on the members of a personal channel, in order with what is published there.
#[derive(Debug)]
pub(crate) struct Act {
    pub(crate) channel: ChannelName,
    pub(crate) act: link::Act,
}

/// Which channels shall be listed.
#[derive(Clone, Debug)]
pub(crate) struct ChannelsWanted {
    pub(crate) after: Option<ChannelName>,
    pub(crate) prefix: String,
    pub(crate) most: usize,
}

/// A publication has its place and is on its way to nodes.
#[derive(Debug, Default)]
pub(crate) struct Placed {
    /// The links that it was sent on.
    pub(crate) links: SmallVec<[Link; 4]>,
    /// Nodes that have not announced all they follow.
    pub(crate) catching_up: Vec<MemberId>,
}

/// What an owner says of a publication.
pub(crate) type Placing = Result<Placed, Refusal>;

#[derive(Debug)]
enum Mail {
    SessionUp(Link),
    SessionDown(SessionId),
    Follow(SessionId, ChannelName),
    Unfollow(SessionId, ChannelName),
    CaughtUp(SessionId),
    Publish(Box<Carried<Publish, Placing>>),
    /// With the time after which it must not be published any more: its caller was told so.
    Batch(Box<Carried<Batch, Vec<Placing>>>, Instant),
    Act(Box<Carried<Act, Placing>>),
    List(ChannelsWanted, oneshot::Sender<Vec<(ChannelName, usize)>>),
}

/// Something on its way to its owner, with the room that it takes there.
#[derive(Debug)]
struct Carried<T, A> {
    content: T,
    answer: oneshot::Sender<A>,
    _room: OwnedSemaphorePermit,
}

/// The way to the owner tasks; cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Owners {
    mailboxes: Arc<[mpsc::Sender<Mail>]>,
    /// Bytes of publications that may be on their way to owners: half of what a link may hold, so that a burst
    /// from backends is told to wait before it looks like a node that does not keep up.
    room: Arc<Semaphore>,
    room_bytes: usize,
    hasher: foldhash::fast::FixedState,
}

impl Owners {
    /// Starts `count` owner tasks for links that hold so many bytes.
    pub(crate) fn start(count: usize, link_bytes: usize, metrics: &Metrics, tasks: &Tasks) -> Self {
        let start_one = |_| {
            // queue: owner mailbox
            let (sender, mailbox) = mpsc::channel(MAILBOX);
            tasks.spawn("channel owner", run(mailbox, metrics.clone(), tasks.stopping()));
            sender
        };
        let room_bytes = link_bytes / 2;
        // queue: publications on their way to owners
        let room = Arc::new(Semaphore::new(room_bytes));
        let mailboxes = (0..count.max(1)).map(start_one).collect();
        Self { mailboxes, room, room_bytes, hasher: Default::default() }
    }

    /// Hands a publication to the channel's owner task. One that its caller gives up before it has its place
    /// is not published: the caller may try it again.
    ///
    /// # Errors
    /// [`Refusal::Busy`] if too much waits there.
    pub(crate) fn publish(&self, publish: Publish) -> Result<oneshot::Receiver<Placing>, Refusal> {
        let room = self.room_now(publish.weight())?;
        let mailbox = &self.mailboxes[self.index(&publish.channel)];
        let (answer, placing) = oneshot::channel();
        let mail = Mail::Publish(Box::new(Carried { content: publish, answer, _room: room }));
        mailbox.try_send(mail).map_err(|_| Refusal::Busy)?;
        Ok(placing)
    }

    /// Hands a client's publication to the channel's owner task, and waits while too much waits there: the
    /// link it came on stops reading meanwhile.
    pub(crate) async fn publish_from_link(&self, publish: Publish) -> oneshot::Receiver<Placing> {
        let (answer, placing) = oneshot::channel();
        // Room and owner are gone only when the process ends, and then nobody needs the answer.
        let permits = self.permits(publish.weight());
        let Ok(room) = self.room.clone().acquire_many_owned(permits).await else { return placing };
        let mailbox = &self.mailboxes[self.index(&publish.channel)];
        let _ =
            mailbox.send(Mail::Publish(Box::new(Carried { content: publish, answer, _room: room }))).await;
        placing
    }

    /// Hands publications to the owner task of this index, which is that of all their channels; waits for room
    /// until `until`. What was handed over is published even if nobody waits for the answer any more, but
    /// not after `until`.
    ///
    /// # Errors
    /// [`Refusal::Busy`] if there was no room in time.
    pub(crate) async fn publish_batch(
        &self,
        owner: usize,
        batch: Batch,
        until: Instant,
    ) -> Result<oneshot::Receiver<Vec<Placing>>, Refusal> {
        let weight = batch.0.iter().map(Publish::weight).sum();
        let hand_over = async {
            let room = self.room.clone().acquire_many_owned(self.permits(weight)).await.ok()?;
            let (answer, placing) = oneshot::channel();
            let carried = Box::new(Carried { content: batch, answer, _room: room });
            self.mailboxes[owner].send(Mail::Batch(carried, until)).await.ok()?;
            Some(placing)
        };
        match tokio::time::timeout_at(until, hand_over).await {
            Ok(Some(placing)) => Ok(placing),
            _ => Err(Refusal::Busy),
        }
    }

    /// Hands an operation to the channel's owner task.
    ///
    /// # Errors
    /// [`Refusal::Busy`] if too much waits there.
    pub(crate) fn act(&self, act: Act) -> Result<oneshot::Receiver<Placing>, Refusal> {
        let room = self.room_now(FLAT + act.act.weight())?;
        let mailbox = &self.mailboxes[self.index(&act.channel)];
        let (answer, placing) = oneshot::channel();
        let mail = Mail::Act(Box::new(Carried { content: act, answer, _room: room }));
        mailbox.try_send(mail).map_err(|_| Refusal::Busy)?;
        Ok(placing)
    }

    /// Lists channels in the order of their names, with how many nodes follow each.
    ///
    /// # Errors
    /// [`Refusal::Busy`] if owners have too much to do.
    pub(crate) async fn list(&self, wanted: ChannelsWanted) -> Result<Vec<(ChannelName, usize)>, Refusal> {
        let mut answers = Vec::new();
        for mailbox in self.mailboxes.iter() {
            let (sender, answer) = oneshot::channel();
            mailbox.try_send(Mail::List(wanted.clone(), sender)).map_err(|_| Refusal::Busy)?;
            answers.push(answer);
        }
        let mut listed = Vec::new();
        for answer in answers {
            match tokio::time::timeout(LISTING, answer).await {
                Ok(Ok(some)) => listed.extend(some),
                _ => return Err(Refusal::Busy),
            }
        }
        listed.sort();
        listed.truncate(wanted.most);
        Ok(listed)
    }

    /// How many owner tasks there are.
    pub(crate) fn count(&self) -> usize {
        self.mailboxes.len()
    }

    /// Which owner task a channel belongs to.
    pub(crate) fn index(&self, channel: &ChannelName) -> usize {
        let hash = self.hasher.hash_one(channel.as_str());
        (hash % self.mailboxes.len() as u64) as usize
    }

    pub(crate) async fn session_up(&self, link: &Link) {
        self.tell_all(|| Mail::SessionUp(link.clone())).await;
    }

    pub(crate) async fn session_down(&self, session: SessionId) {
        self.tell_all(|| Mail::SessionDown(session)).await;
    }

    /// Passes through every mailbox, so that it cannot overtake a follow.
    pub(crate) async fn caught_up(&self, session: SessionId) {
        self.tell_all(|| Mail::CaughtUp(session)).await;
    }

    pub(crate) async fn follow(&self, session: SessionId, channel: ChannelName) {
        let mailbox = &self.mailboxes[self.index(&channel)];
        let _ = mailbox.send(Mail::Follow(session, channel)).await;
    }

    pub(crate) async fn unfollow(&self, session: SessionId, channel: ChannelName) {
        let mailbox = &self.mailboxes[self.index(&channel)];
        let _ = mailbox.send(Mail::Unfollow(session, channel)).await;
    }

    async fn tell_all(&self, mail: impl Fn() -> Mail) {
        for mailbox in self.mailboxes.iter() {
            // As above: a closed mailbox means that the process ends.
            let _ = mailbox.send(mail()).await;
        }
    }

    fn room_now(&self, weight: usize) -> Result<OwnedSemaphorePermit, Refusal> {
        self.room.clone().try_acquire_many_owned(self.permits(weight)).map_err(|_| Refusal::Busy)
    }

    fn permits(&self, weight: usize) -> u32 {
        u32::try_from(weight.min(self.room_bytes)).unwrap_or(u32::MAX)
    }
}

impl Publish {
    /// About how many bytes it holds on to.
    pub(crate) fn weight(&self) -> usize {
        FLAT + self.publication.weight()
    }
}

/// One owner task.
async fn run(
    mut mailbox: mpsc::Receiver<Mail>,
    metrics: Metrics,
    stopping: tokio_util::sync::CancellationToken,
) {
    let (owner, rates) = (Owner::default(), Rates::default());
    let mut driver = Driver { owner, rates, links: HashMap::default(), metrics };
    let mut batch = Vec::with_capacity(BATCH);
    loop {
        let received = tokio::select! {
            () = stopping.cancelled() => return,
            received = mailbox.recv_many(&mut batch, BATCH) => received,
        };
        if received == 0 {
            return;
        }
        let before = driver.owner.channel_count();
        for mail in batch.drain(..) {
            driver.take(mail);
        }
        let change = driver.owner.channel_count() as i64 - before as i64;
        driver.metrics.followed_channels.inc_by(change);
    }
}

/// Carries out what the [`Owner`] decides.
struct Driver {
    owner: Owner,
    rates: Rates,
    links: HashMap<SessionId, Link>,
    metrics: Metrics,
}

impl Driver {
    fn take(&mut self, mail: Mail) {
        match mail {
            Mail::SessionUp(link) => {
                self.owner.session_up(link.session(), link.node().clone());
                self.links.insert(link.session(), link);
            }
            Mail::SessionDown(session) => {
                self.owner.session_down(session);
                self.links.remove(&session);
            }
            Mail::CaughtUp(session) => self.owner.caught_up(session),
            Mail::Unfollow(session, channel) => self.owner.unfollow(session, &channel),
            Mail::Follow(session, channel) => {
                let following = link::Following { channel: channel.as_str().to_owned(), position: None };
                if self.owner.follow(session, channel) {
                    self.send(session, open_response::Message::Following(following));
                }
            }
            // The caller was told to try again: what it tries again must not come twice.
            Mail::Publish(carried) if carried.answer.is_closed() => {}
            Mail::Publish(carried) => {
                let Carried { content, answer, .. } = *carried;
                // The push may have been given up by its caller: then nobody asks for the answer.
                let _ = answer.send(self.publish(content));
            }
            Mail::Batch(carried, until) => {
                let Carried { content: Batch(publishes), answer, .. } = *carried;
                let late = Instant::now() > until;
                let place = |publish| if late { Err(Refusal::Busy) } else { self.publish(publish) };
                // As above.
                let _ = answer.send(publishes.into_iter().map(place).collect());
            }
            Mail::List(wanted, answer) => {
                let listed = self.owner.list(wanted.after.as_ref(), &wanted.prefix, wanted.most);
                // Who asked may have given up.
                let _ = answer.send(listed);
            }
            Mail::Act(carried) if carried.answer.is_closed() => {}
            Mail::Act(carried) => {
                let Carried { content: Act { channel, act }, answer, .. } = *carried;
                let placed = self.reach(&channel, act.weight());
                for link in &placed.links {
                    link.send(open_response::Message::Act(act.clone()));
                }
                // As above.
                let _ = answer.send(Ok(placed));
            }
        }
    }

    fn publish(&mut self, publish: Publish) -> Placing {
        if publish.rate_limit > 0 {
            let taken = self.rates.take(&publish.channel, publish.rate_limit, Instant::now().into_std());
            taken.map_err(|wait| Refusal::TooFast { wait })?;
        }
        let bytes = publish.publication.weight() + publish.channel.as_str().len();
        let placed = self.reach(&publish.channel, bytes);
        self.metrics.publications.inc();
        if let Some((last, others)) = placed.links.split_last() {
            self.metrics.deliveries.inc_by(placed.links.len() as u64);
            let (receipt, receipt_within_ms) = publish.receipt.unwrap_or_default();
            let deliver = link::Deliver {
                channel: publish.channel.as_str().to_owned(),
                publication: Some(publish.publication),
                receipt,
                receipt_within_ms,
                exclude: publish.exclude,
                epoch: 0,
            };
            for link in others {
                link.send(open_response::Message::Deliver(deliver.clone()));
            }
            last.send(open_response::Message::Deliver(deliver));
        }
        Ok(placed)
    }

    /// The links of all who may have members of the channel.
    fn reach(&mut self, channel: &ChannelName, bytes: usize) -> Placed {
        let Reach { sessions, catching_up, withheld, .. } = self.owner.publish(channel, bytes);
        if withheld > 0 {
            self.metrics.link_lost.inc_by(withheld as u64);
        }
        let links = sessions.iter().filter_map(|session| self.links.get(session).cloned()).collect();
        Placed { links, catching_up }
    }

    fn send(&self, session: SessionId, message: open_response::Message) {
        if let Some(link) = self.links.get(&session) {
            link.send(message);
        }
    }
}

#[cfg(test)]
#[path = "owners_tests.rs"]
mod tests;
