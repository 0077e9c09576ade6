//! A door for simulations: a replica without sockets and tasks, of which every step is its driver's choice.
//!
//! What is behind it is what a replica is made of: the router, the links, one owner for all channels with its
//! driver, and a history that answers when it is told to. Only the tasks are missing that carry things from one to
//! the other, because that is what a simulation does itself, in any order that tasks could have done it in. It speaks
//! the link's messages on one side and the public API's on the other.
//!
//! It goes by tokio's clock, so it is used within a runtime, whose clock should be paused.

mod store;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use fanfare_cluster::byte_queue::Receiver;
use fanfare_cluster::channel::Namespaces;
use fanfare_cluster::member::{Incarnation, MemberId};
use fanfare_cluster::registry::{MemoryRegistry, NodeRecord, Record, Registry as _, ReplicaRecord};
use fanfare_cluster::tasks::Tasks;
use fanfare_proto::link::{self, open_request, open_response};
use fanfare_proto::v1;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;

use crate::api::answer;
use crate::config::HistoryConfig;
use crate::link_service::LinkApi;
use crate::links::{Link, Links, Outgoing};
use crate::metrics::Metrics;
use crate::owners::{OwnersSetup, SteppedOwner};
use crate::presence::Presence;
use crate::push::Push;
use crate::receipts::Receipts;
use crate::revocations::Revocations;
use crate::router::Router;

pub use store::{Placed, Store};

/// What may wait for a node before its link is cut.
const LINK_BYTES: usize = 8 << 20;

/// What is answered to a push: what became of it, or why it was refused.
pub type Answer = Result<v1::PublishResponse, String>;

/// A replica that owns all channels.
pub struct Owner {
    api: LinkApi,
    owner: SteppedOwner,
    sessions: BTreeMap<u64, (Link, Receiver<Outgoing>)>,
    pushes: Vec<(u64, BoxFuture<'static, Answer>)>,
    last_push: u64,
}

impl Owner {
    /// A replica with this history. Nodes are registered by their ids.
    ///
    /// # Panics
    /// If an id is none.
    pub fn new(store: &Store, channels: Arc<Namespaces>, nodes: &[&str]) -> Self {
        let (registry, metrics) = (MemoryRegistry::default(), Metrics::default());
        let (me, incarnation): (MemberId, _) = (id("replica"), Incarnation::from_wire(1));
        now(registry.register(
            &me,
            Record::Replica(ReplicaRecord { incarnation, cluster_address: ([127, 0, 0, 1], 1).into() }),
        ))
        .expect("nobody else is registered");
        for node in nodes {
            let record = Record::Node(NodeRecord { incarnation, capacity: 1 });
            now(registry.register(&id(node), record)).expect("ids differ");
        }
        let unplaced = registry.watch().peek().placement.number();
        now(registry.place(unplaced, vec![(me.clone(), 1)])).expect("nobody else places");
        let setup = OwnersSetup {
            count: 1,
            link_bytes: LINK_BYTES,
            history: Arc::new(store.clone()),
            settings: HistoryConfig::default(),
            channels: channels.clone(),
            membership: registry.watch(),
            metrics: metrics.clone(),
        };
        let (owners, owner) = SteppedOwner::new(setup);
        let links = Arc::new(Links::new(LINK_BYTES, metrics.clone()));
        let receipts = Arc::new(Receipts::default());
        let router =
            Router::new(me.clone(), owners.clone(), links.clone(), receipts.clone(), registry.watch());
        let revocations = Revocations::open(Path::new(""), metrics.clone(), 0).expect("there is no file");
        let api = LinkApi {
            me,
            incarnation,
            links,
            owners,
            router: Arc::new(router),
            receipts,
            inspections: Arc::default(),
            presence: Presence::nowhere(),
            revocations: Arc::new(revocations),
            channels,
            metrics,
            tasks: Tasks::default(),
        };
        Self { api, owner, sessions: BTreeMap::new(), pushes: Vec::new(), last_push: 0 }
    }

    /// A node has dialled. Returns the number of its session, under which it says the rest.
    ///
    /// # Panics
    /// If the id is none.
    pub fn link_up(&mut self, node: &str) -> u64 {
        let hello = link::Hello { incarnation: 1 << 32, ..Default::default() };
        let (link, outgoing) = self.api.links.open(&hello, &id(node), link::Welcome::default());
        now(self.api.owners.session_up(&link));
        let session = link.session().0;
        self.sessions.insert(session, (link, outgoing));
        session
    }

    /// The link of a session has ended. What it had not carried yet is lost.
    pub fn link_down(&mut self, session: u64) {
        if let Some((link, _)) = self.sessions.remove(&session) {
            self.api.links.close(&link);
            now(self.api.owners.session_down(link.session()));
            self.api.receipts.session_down(link.session());
        }
    }

    /// A node says something on its session.
    pub fn take(&mut self, session: u64, message: open_request::Message) {
        if let Some((link, _)) = self.sessions.get(&session) {
            now(self.api.take(link, message));
        }
    }

    /// What leaves on a session next.
    pub fn next_message(&mut self, session: u64) -> Option<open_response::Message> {
        self.sessions.get_mut(&session)?.1.try_recv().map(|Outgoing(message)| message)
    }

    /// A backend pushes. Returns the number under which [`answers`](Self::answers) names it.
    pub fn publish(&mut self, request: v1::PublishRequest) -> u64 {
        self.last_push += 1;
        let (router, channels) = (self.api.router.clone(), self.api.channels.clone());
        let push = async move {
            let push = Push::parse(request, &channels).map_err(|refusal| refusal.to_string())?;
            router.publish(push).await.map(answer).map_err(|refusal| refusal.to_string())
        };
        let mut push: BoxFuture<'static, Answer> = push.boxed();
        // It is in the owner's mailbox from now on, or answered.
        let answer = (&mut push).now_or_never();
        let push = answer.map_or(push, |answer| std::future::ready(answer).boxed());
        self.pushes.push((self.last_push, push));
        self.last_push
    }

    /// Pushes that have their answers since the last call.
    pub fn answers(&mut self) -> Vec<(u64, Answer)> {
        let mut answers = Vec::new();
        self.pushes.retain_mut(|(number, push)| match push.now_or_never() {
            Some(answer) => {
                answers.push((*number, answer));
                false
            }
            None => true,
        });
        answers
    }

    /// How much waits in the owner's mailbox.
    pub fn waits(&self) -> usize {
        self.owner.waits()
    }

    /// The owner takes the next thing out of its mailbox; returns whether there was one.
    pub fn step(&mut self) -> bool {
        self.owner.take_next()
    }

    /// The owner takes one answer of the history; returns whether there was one.
    pub fn take_answer(&mut self) -> bool {
        self.owner.take_answer()
    }

    /// The owner does what is due by the clock.
    pub fn tick(&mut self) {
        self.owner.tick();
    }
}

impl std::fmt::Debug for Owner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Owner").field("sessions", &self.sessions.len()).finish_non_exhaustive()
    }
}

fn id(text: &str) -> MemberId {
    text.parse().expect("a simulation gives good ids")
}

/// What nothing here waits for: mailboxes have room for more than a simulation puts into them.
fn now<T>(future: impl Future<Output = T>) -> T {
    future.now_or_never().expect("nothing waits in a simulation")
}
