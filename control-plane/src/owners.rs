//! The tasks that own channels: each takes what comes for its share of them, one after the other.

use std::collections::HashMap;
use std::hash::BuildHasher as _;
use std::sync::Arc;

use bytes::Bytes;
use fanfare_cluster::channel::ChannelName;
use fanfare_cluster::member::MemberId;
use fanfare_cluster::tasks::Tasks;
use fanfare_proto::link::{self, open_response};
use smallvec::SmallVec;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};

use crate::links::Link;
use crate::metrics::Metrics;
use crate::owner::{Owner, Reach, SessionId};
use crate::push::PushError;

/// What may wait for one owner task before pushes are told to come again.
const MAILBOX: usize = 4096;
/// What an owner takes out of its mailbox at once.
const BATCH: usize = 256;

/// A publication on its way to a channel.
#[derive(Debug)]
pub(crate) struct Publish {
    pub(crate) channel: ChannelName,
    pub(crate) publication: link::Publication,
    pub(crate) exclude: Vec<Bytes>,
    /// The receipt's number and the milliseconds that nodes may take for it, if somebody waits.
    pub(crate) receipt: Option<(u64, u32)>,
    pub(crate) placed: oneshot::Sender<Placed>,
}

/// A publication with the room that it takes on its way to its owner.
#[derive(Debug)]
struct Carried {
    publish: Publish,
    _room: OwnedSemaphorePermit,
}

/// A publication has its place and is on its way to nodes.
#[derive(Debug, Default)]
pub(crate) struct Placed {
    /// The links that it was sent on.
    pub(crate) links: SmallVec<[Link; 4]>,
    /// Nodes that have not announced all they follow.
    pub(crate) catching_up: Vec<MemberId>,
}

#[derive(Debug)]
enum Mail {
    SessionUp(Link),
    SessionDown(SessionId),
    Follow(SessionId, ChannelName),
    Unfollow(SessionId, ChannelName),
    CaughtUp(SessionId),
    Publish(Box<Carried>),
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

    /// Hands a publication to the channel's owner task.
    ///
    /// # Errors
    /// [`PushError::Busy`] if too much waits there.
    pub(crate) fn publish(&self, publish: Publish) -> Result<(), PushError> {
        let bytes = self.bytes(&publish);
        let room = self.room.clone().try_acquire_many_owned(bytes).map_err(|_| PushError::Busy)?;
        let mailbox = self.mailbox(&publish.channel);
        let mail = Mail::Publish(Box::new(Carried { publish, _room: room }));
        mailbox.try_send(mail).map_err(|_| PushError::Busy)
    }

    /// Hands a client's publication to the channel's owner task, and waits while too much waits there: the
    /// link it came on stops reading meanwhile.
    pub(crate) async fn publish_from_link(&self, publish: Publish) {
        // Room and owner are gone only when the process ends, and then nobody needs the answer.
        let Ok(room) = self.room.clone().acquire_many_owned(self.bytes(&publish)).await else { return };
        let mailbox = self.mailbox(&publish.channel);
        let _ = mailbox.send(Mail::Publish(Box::new(Carried { publish, _room: room }))).await;
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
        let mailbox = self.mailbox(&channel);
        let _ = mailbox.send(Mail::Follow(session, channel)).await;
    }

    pub(crate) async fn unfollow(&self, session: SessionId, channel: ChannelName) {
        let mailbox = self.mailbox(&channel);
        let _ = mailbox.send(Mail::Unfollow(session, channel)).await;
    }

    async fn tell_all(&self, mail: impl Fn() -> Mail) {
        for mailbox in self.mailboxes.iter() {
            // As above: a closed mailbox means that the process ends.
            let _ = mailbox.send(mail()).await;
        }
    }

    fn bytes(&self, publish: &Publish) -> u32 {
        const FLAT: usize = 256;
        let bytes = FLAT + publish.publication.weight();
        u32::try_from(bytes.min(self.room_bytes)).unwrap_or(u32::MAX)
    }

    fn mailbox(&self, channel: &ChannelName) -> &mpsc::Sender<Mail> {
        let hash = self.hasher.hash_one(channel.as_str());
        &self.mailboxes[(hash % self.mailboxes.len() as u64) as usize]
    }
}

/// One owner task.
async fn run(
    mut mailbox: mpsc::Receiver<Mail>,
    metrics: Metrics,
    stopping: tokio_util::sync::CancellationToken,
) {
    let mut driver = Driver { owner: Owner::default(), links: HashMap::default(), metrics };
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
                let following = link::Following { channel: channel.as_str().to_owned() };
                if self.owner.follow(session, channel) {
                    self.send(session, open_response::Message::Following(following));
                }
            }
            Mail::Publish(carried) => self.publish(carried.publish),
        }
    }

    fn publish(&mut self, publish: Publish) {
        if publish.placed.is_closed() {
            // The caller was told to try again: what it tries again must not come twice.
            return;
        }
        let bytes = publish.publication.weight() + publish.channel.as_str().len();
        let Reach { sessions, catching_up, withheld, .. } = self.owner.publish(&publish.channel, bytes);
        let (receipt, receipt_within_ms) = publish.receipt.unwrap_or_default();
        let deliver = link::Deliver {
            channel: publish.channel.as_str().to_owned(),
            publication: Some(publish.publication),
            receipt,
            receipt_within_ms,
            exclude: publish.exclude,
        };
        let links: SmallVec<[Link; 4]> =
            sessions.iter().filter_map(|session| self.links.get(session).cloned()).collect();
        for link in &links {
            link.send(open_response::Message::Deliver(deliver.clone()));
        }
        self.metrics.publications.inc();
        self.metrics.deliveries.inc_by(links.len() as u64);
        self.metrics.link_lost.inc_by(withheld as u64);
        // The push may have been given up by its caller: then nobody asks for the answer.
        let _ = publish.placed.send(Placed { links, catching_up });
    }

    fn send(&self, session: SessionId, message: open_response::Message) {
        if let Some(link) = self.links.get(&session) {
            link.send(message);
        }
    }
}
