//! The way to the tasks that own channels: each takes what comes for its share of them, one after the other.

mod driver;
mod stepped;

use std::hash::BuildHasher as _;
use std::sync::Arc;
use std::time::Duration;

use fanfare_cluster::channel::{ChannelName, Namespaces, StreamPosition};
use fanfare_cluster::member::MemberId;
use fanfare_cluster::registry::MembershipWatch;
use fanfare_cluster::tasks::Tasks;
use fanfare_proto::link;
use smallvec::SmallVec;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio::time::Instant;

use crate::config::HistoryConfig;
use crate::history::{History, Page};
use crate::links::{Link, Weight as _};
use crate::metrics::Metrics;
use crate::owner::SessionId;
use crate::owner::request::Question;
pub(crate) use crate::owner::request::{Act, Publish, Settled};
use crate::refusal::Refusal;
pub(crate) use stepped::SteppedOwner;

/// What may wait for one owner task before pushes are told to come again.
const MAILBOX: usize = 4096;
/// How long an owner may take to list channels.
const LISTING: Duration = Duration::from_secs(5);
/// What each thing in a mailbox takes beside its content, in bytes.
const FLAT: usize = 256;

/// What owner tasks are made of.
#[derive(Clone, Debug)]
pub(crate) struct OwnersSetup {
    pub(crate) count: usize,
    /// What a link holds, in bytes.
    pub(crate) link_bytes: usize,
    pub(crate) history: Arc<dyn History>,
    pub(crate) settings: HistoryConfig,
    pub(crate) channels: Arc<Namespaces>,
    pub(crate) membership: MembershipWatch,
    pub(crate) metrics: Metrics,
}

#[cfg(test)]
impl OwnersSetup {
    /// One owner task with a history in memory, for channels of this configuration.
    pub(crate) fn in_memory(link_bytes: usize, channels: Namespaces) -> Self {
        use fanfare_cluster::registry::Registry as _;
        Self {
            count: 1,
            link_bytes,
            history: Arc::new(crate::history::MemoryHistory::new(1 << 20)),
            settings: HistoryConfig::default(),
            channels: Arc::new(channels),
            membership: fanfare_cluster::registry::MemoryRegistry::default().watch(),
            metrics: Metrics::default(),
        }
    }
}

/// Publications of one caller that go to one owner task together.
#[derive(Debug, Default)]
pub(crate) struct Batch(pub(crate) Vec<Publish>);

/// Which channels shall be listed.
#[derive(Clone, Debug)]
pub(crate) struct ChannelsWanted {
    pub(crate) after: Option<ChannelName>,
    pub(crate) prefix: String,
    pub(crate) most: usize,
}

/// A publication has its place and is on its way to nodes, or needs none.
#[derive(Debug, Default)]
pub(crate) struct Placed {
    /// The links that it was sent on.
    pub(crate) links: SmallVec<[Link; 4]>,
    /// Nodes that have not announced all they follow.
    pub(crate) catching_up: Vec<MemberId>,
    /// Its place in the channel's stream, if it was stored.
    pub(crate) position: Option<StreamPosition>,
    /// Why it was not sent, though nothing is wrong.
    pub(crate) settled: Option<Settled>,
}

/// What an owner says of a publication.
pub(crate) type Placing = Result<Placed, Refusal>;

#[derive(Debug)]
enum Mail {
    SessionUp(Link),
    SessionDown(SessionId),
    Follow(SessionId, ChannelName, Option<StreamPosition>),
    Unfollow(SessionId, ChannelName),
    CaughtUp(SessionId),
    Recover(SessionId, ChannelName, link::Recover),
    ReadHistory(SessionId, ChannelName, link::ReadHistory),
    /// With the time after which it must not be published any more: its caller was told so.
    Publish(Box<Carried<Publish, Placing>>, Instant),
    Batch(Box<Carried<Batch, Vec<Placing>>>, Instant),
    Act(Box<Carried<Act, Placing>>),
    Read(Box<Carried<(ChannelName, Question), Result<Page, Refusal>>>),
    Remove(Box<Carried<ChannelName, Result<StreamPosition, Refusal>>>),
    List(ChannelsWanted, oneshot::Sender<Vec<(ChannelName, usize)>>),
}

/// Something on its way to its owner, with the room that it takes there until it is answered.
#[derive(Debug)]
struct Carried<T, A> {
    content: T,
    answer: oneshot::Sender<A>,
    room: OwnedSemaphorePermit,
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
    /// Starts the owner tasks.
    pub(crate) fn start(setup: &OwnersSetup, tasks: &Tasks) -> Self {
        let (owners, mailboxes) = Self::new(setup);
        for mailbox in mailboxes {
            tasks.spawn("channel owner", driver::run(mailbox, setup.clone(), tasks.stopping()));
        }
        owners
    }

    /// The way to owner tasks, and the mailbox of each.
    fn new(setup: &OwnersSetup) -> (Self, Vec<mpsc::Receiver<Mail>>) {
        // queue: owner mailbox
        let boxes = (0..setup.count.max(1)).map(|_| mpsc::channel(MAILBOX));
        let (senders, mailboxes): (Vec<_>, Vec<_>) = boxes.unzip();
        let room_bytes = setup.link_bytes / 2;
        // queue: publications on their way to owners
        let room = Arc::new(Semaphore::new(room_bytes));
        (Self { mailboxes: senders.into(), room, room_bytes, hasher: Default::default() }, mailboxes)
    }

    /// Hands a publication to the channel's owner task. One that its caller gives up before its turn comes is not
    /// published, nor one whose turn comes after `until`: the caller may try it again.
    ///
    /// # Errors
    /// [`Refusal::Busy`] if too much waits there.
    pub(crate) fn publish(
        &self,
        publish: Publish,
        until: Instant,
    ) -> Result<oneshot::Receiver<Placing>, Refusal> {
        let mailbox = &self.mailboxes[self.index(&publish.channel)];
        let weight = publish.weight();
        self.try_send(mailbox, weight, publish, |carried| Mail::Publish(carried, until))
    }

    /// Hands a client's publication to the channel's owner task, and waits while too much waits there: the
    /// link it came on stops reading meanwhile.
    pub(crate) async fn publish_from_link(
        &self,
        publish: Publish,
        until: Instant,
    ) -> oneshot::Receiver<Placing> {
        let (answer, placing) = oneshot::channel();
        // Room and owner are gone only when the process ends, and then nobody needs the answer.
        let permits = self.permits(publish.weight());
        let Ok(room) = self.room.clone().acquire_many_owned(permits).await else { return placing };
        let mailbox = &self.mailboxes[self.index(&publish.channel)];
        let carried = Box::new(Carried { content: publish, answer, room });
        let _ = mailbox.send(Mail::Publish(carried, until)).await;
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
            let carried = Box::new(Carried { content: batch, answer, room });
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
        let mailbox = &self.mailboxes[self.index(&act.channel)];
        self.try_send(mailbox, FLAT + act.act.weight(), act, Mail::Act)
    }

    /// Asks the channel's owner task for a part of the history.
    ///
    /// # Errors
    /// [`Refusal::Busy`] if too much waits there.
    pub(crate) fn read(
        &self,
        channel: ChannelName,
        question: Question,
    ) -> Result<oneshot::Receiver<Result<Page, Refusal>>, Refusal> {
        let mailbox = &self.mailboxes[self.index(&channel)];
        self.try_send(mailbox, FLAT, (channel, question), Mail::Read)
    }

    /// Lets the channel's owner task remove the history.
    ///
    /// # Errors
    /// [`Refusal::Busy`] if too much waits there.
    pub(crate) fn remove(
        &self,
        channel: ChannelName,
    ) -> Result<oneshot::Receiver<Result<StreamPosition, Refusal>>, Refusal> {
        let mailbox = &self.mailboxes[self.index(&channel)];
        self.try_send(mailbox, FLAT, channel, Mail::Remove)
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

    pub(crate) async fn follow(
        &self,
        session: SessionId,
        channel: ChannelName,
        position: Option<StreamPosition>,
    ) {
        let mailbox = &self.mailboxes[self.index(&channel)];
        // As above: a closed mailbox means that the process ends.
        let _ = mailbox.send(Mail::Follow(session, channel, position)).await;
    }

    pub(crate) async fn unfollow(&self, session: SessionId, channel: ChannelName) {
        let mailbox = &self.mailboxes[self.index(&channel)];
        let _ = mailbox.send(Mail::Unfollow(session, channel)).await;
    }

    pub(crate) async fn recover(&self, session: SessionId, channel: ChannelName, recover: link::Recover) {
        let mailbox = &self.mailboxes[self.index(&channel)];
        let _ = mailbox.send(Mail::Recover(session, channel, recover)).await;
    }

    pub(crate) async fn read_history(
        &self,
        session: SessionId,
        channel: ChannelName,
        read: link::ReadHistory,
    ) {
        let mailbox = &self.mailboxes[self.index(&channel)];
        let _ = mailbox.send(Mail::ReadHistory(session, channel, read)).await;
    }

    async fn tell_all(&self, mail: impl Fn() -> Mail) {
        for mailbox in self.mailboxes.iter() {
            let _ = mailbox.send(mail()).await;
        }
    }

    fn try_send<T, A>(
        &self,
        mailbox: &mpsc::Sender<Mail>,
        weight: usize,
        content: T,
        mail: impl FnOnce(Box<Carried<T, A>>) -> Mail,
    ) -> Result<oneshot::Receiver<A>, Refusal> {
        let room = self.room.clone().try_acquire_many_owned(self.permits(weight));
        let room = room.map_err(|_| Refusal::Busy)?;
        let (answer, placing) = oneshot::channel();
        let carried = Box::new(Carried { content, answer, room });
        mailbox.try_send(mail(carried)).map_err(|_| Refusal::Busy)?;
        Ok(placing)
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

#[cfg(test)]
#[path = "owners_tests.rs"]
mod tests;
