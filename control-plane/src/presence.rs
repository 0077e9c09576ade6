//! The tasks that know who is in channels: each takes what comes for its share of them, one after the other.
//!
//! They are not the owner tasks: joins and leaves have an order of their own, and a crowd that comes or goes shall not
//! hold up what is published.

mod task;
pub(crate) mod wire;

use std::hash::BuildHasher as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use fanfare_cluster::channel::{ChannelName, Namespaces};
use fanfare_cluster::connection_id::ConnectionId;
use fanfare_cluster::member::{Incarnation, MemberId};
use fanfare_cluster::quantity::Span;
use fanfare_cluster::registry::MembershipWatch;
use fanfare_cluster::tasks::Tasks;
use fanfare_proto::link;
use serde::{Deserialize, Serialize};
use tokio::sync::{Notify, mpsc, oneshot};

use crate::links::Link;
use crate::members::{Cursor, Entering, Members, Moment, Pulled, WatchId};
use crate::metrics::Metrics;
use crate::owner::SessionId;
use crate::refusal::Refusal;
use task::Task;

/// What may wait for one presence task before calls are told to come again.
const MAILBOX: usize = 4096;
/// How long a presence task may take for an answer.
const ANSWERING: Duration = Duration::from_secs(5);
/// What a watcher is told at once.
const PULL: usize = 256;

/// The `[presence]` section.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PresenceConfig {
    /// How long a user may be without a connection before it is offline, and a new replica waits for nodes that it
    /// does not know of.
    pub user_offline_grace: Span,
}

impl Default for PresenceConfig {
    fn default() -> Self {
        Self { user_offline_grace: Span(Duration::from_secs(10)) }
    }
}

type Question = Box<dyn FnOnce(&mut Members, Moment) + Send>;

/// What a presence task takes.
enum Mail {
    SessionUp(Link),
    SessionDown(SessionId),
    CaughtUp(SessionId),
    Enter(SessionId, ChannelName, Box<Entering>),
    Exit(SessionId, ChannelName, ConnectionId),
    /// A client asks, through its node.
    Read(SessionId, ChannelName, link::ReadPresence),
    /// A call asks.
    Ask(Question),
    Watch(WatchId, Vec<ChannelName>, Option<Cursor>, Arc<Bell>),
    Unwatch(WatchId),
}

/// Rings for a watcher when there is something to look at.
#[derive(Debug)]
struct Bell {
    rung: AtomicBool,
    /// One for all tasks that the watcher waits for.
    wake: Arc<Notify>,
}

impl Bell {
    fn ring(&self) {
        self.rung.store(true, Ordering::Release);
        self.wake.notify_one();
    }
}

/// What presence tasks need to know.
pub(crate) struct PresenceSetup {
    pub(crate) me: MemberId,
    pub(crate) incarnation: Incarnation,
    pub(crate) channels: Arc<Namespaces>,
    pub(crate) membership: MembershipWatch,
    pub(crate) config: PresenceConfig,
    pub(crate) metrics: Metrics,
}

/// The way to the presence tasks; cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Presence {
    mailboxes: Arc<[mpsc::Sender<Mail>]>,
    hasher: foldhash::fast::FixedState,
    next_watch: Arc<AtomicU64>,
}

impl std::fmt::Debug for Mail {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Mail")
    }
}

impl Presence {
    /// Starts `count` presence tasks.
    pub(crate) fn start(count: usize, setup: &PresenceSetup, tasks: &Tasks) -> Self {
        let start_one = |_| {
            // queue: presence mailbox
            let (sender, mailbox) = mpsc::channel(MAILBOX);
            tasks.spawn("presence", Task::new(setup).run(mailbox, tasks.stopping()));
            sender
        };
        let mailboxes = (0..count.max(1)).map(start_one).collect();
        Self { mailboxes, hasher: Default::default(), next_watch: Arc::default() }
    }

    /// A way that leads nowhere, for simulations that look at publications only.
    pub(crate) fn nowhere() -> Self {
        // queue: presence mailbox
        let (sender, _) = mpsc::channel(1);
        Self { mailboxes: Arc::new([sender]), hasher: Default::default(), next_watch: Arc::default() }
    }

    /// Which task a channel belongs to.
    pub(crate) fn index(&self, channel: &ChannelName) -> usize {
        (self.hasher.hash_one(channel.as_str()) % self.mailboxes.len() as u64) as usize
    }

    /// How many tasks there are.
    pub(crate) fn count(&self) -> usize {
        self.mailboxes.len()
    }

    pub(crate) async fn session_up(&self, link: &Link) {
        self.tell_all(|| Mail::SessionUp(link.clone())).await;
    }

    pub(crate) async fn session_down(&self, session: SessionId) {
        self.tell_all(|| Mail::SessionDown(session)).await;
    }

    /// Passes through every mailbox, so that it cannot overtake an enter.
    pub(crate) async fn caught_up(&self, session: SessionId) {
        self.tell_all(|| Mail::CaughtUp(session)).await;
    }

    /// Waits while too much waits there, as all that comes from links: the link stops reading meanwhile.
    pub(crate) async fn enter(&self, session: SessionId, channel: ChannelName, entering: Entering) {
        self.tell(self.index(&channel), Mail::Enter(session, channel, Box::new(entering))).await;
    }

    pub(crate) async fn exit(&self, session: SessionId, channel: ChannelName, id: ConnectionId) {
        self.tell(self.index(&channel), Mail::Exit(session, channel, id)).await;
    }

    /// A client asks. The answer goes back on the link.
    pub(crate) async fn read(&self, session: SessionId, channel: ChannelName, read: link::ReadPresence) {
        self.tell(self.index(&channel), Mail::Read(session, channel, read)).await;
    }

    /// Asks the task of this index.
    ///
    /// # Errors
    /// [`Refusal::PresenceBusy`] if too much waits there.
    pub(crate) async fn ask<T: Send + 'static>(
        &self,
        task: usize,
        question: impl FnOnce(&mut Members, Moment) -> T + Send + 'static,
    ) -> Result<T, Refusal> {
        let (sender, answer) = oneshot::channel();
        // Who asked may have given up; then nobody needs the answer.
        let question = move |members: &mut Members, now: Moment| drop(sender.send(question(members, now)));
        self.mailboxes[task].try_send(Mail::Ask(Box::new(question))).map_err(|_| Refusal::PresenceBusy)?;
        match tokio::time::timeout(ANSWERING, answer).await {
            Ok(Ok(answer)) => Ok(answer),
            _ => Err(Refusal::PresenceBusy),
        }
    }

    /// Watches channels, of which a personal one stands for its user. With a cursor, of each task that has some.
    pub(crate) async fn watch(
        &self,
        channels: Vec<ChannelName>,
        cursor: impl Fn(usize) -> Option<Cursor>,
    ) -> Watching {
        let mut shares: Vec<Vec<ChannelName>> = vec![Vec::new(); self.count()];
        for channel in channels {
            shares[self.index(&channel)].push(channel);
        }
        let id = WatchId(self.next_watch.fetch_add(1, Ordering::Relaxed) + 1);
        let wake = Arc::new(Notify::new());
        let mut watching = Watching { presence: self.clone(), id, wake: wake.clone(), bells: Vec::new() };
        for (task, channels) in shares.into_iter().enumerate().filter(|(_, share)| !share.is_empty()) {
            let bell = Arc::new(Bell { rung: AtomicBool::new(false), wake: wake.clone() });
            watching.bells.push((task, bell.clone()));
            self.tell(task, Mail::Watch(id, channels, cursor(task), bell)).await;
        }
        watching
    }

    async fn tell(&self, task: usize, mail: Mail) {
        // A closed mailbox means that the process ends.
        let _ = self.mailboxes[task].send(mail).await;
    }

    async fn tell_all(&self, mail: impl Fn() -> Mail) {
        for task in 0..self.mailboxes.len() {
            self.tell(task, mail()).await;
        }
    }
}

/// One watch, with its part in each task that has some of its channels. It ends when it is dropped.
#[derive(Debug)]
pub(crate) struct Watching {
    presence: Presence,
    id: WatchId,
    wake: Arc<Notify>,
    bells: Vec<(usize, Arc<Bell>)>,
}

impl Watching {
    /// The tasks that have some of the channels.
    pub(crate) fn tasks(&self) -> impl Iterator<Item = usize> {
        self.bells.iter().map(|(task, _)| *task)
    }

    /// Waits until some task has something to tell; returns which one, and what. None when the process ends.
    pub(crate) async fn next(&mut self) -> Option<(usize, Pulled)> {
        loop {
            for (task, bell) in &self.bells {
                if bell.rung.swap(false, Ordering::Acquire) {
                    let (sender, answer) = oneshot::channel();
                    let id = self.id;
                    let pull =
                        move |members: &mut Members, _: Moment| drop(sender.send(members.pull(id, PULL)));
                    self.presence.tell(*task, Mail::Ask(Box::new(pull))).await;
                    return Some((*task, answer.await.ok()??));
                }
            }
            self.wake.notified().await;
        }
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        for (task, _) in &self.bells {
            // If the mailbox is full, the task notices by itself that nobody holds the bell any more.
            let _ = self.presence.mailboxes[*task].try_send(Mail::Unwatch(self.id));
        }
    }
}
