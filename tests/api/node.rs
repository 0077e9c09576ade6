//! A node as the link sees it: it holds connections that exist in its answers only, and notes what it is told.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use fanfare_cluster::connection_id::ConnectionId;
use fanfare_cluster::member::Incarnation;
use fanfare_cluster::registry::{NodeRecord, Record, Registry as _};
use fanfare_cluster::tasks::Tasks;
use fanfare_proto::link::link_service_client::LinkServiceClient;
use fanfare_proto::link::open_request::Message as Said;
use fanfare_proto::link::open_response::Message as Heard;
use fanfare_proto::link::{
    CaughtUp, ConnectionState, ConnectionsListed, Enter, Exit, Follow, Hello, Inspected, ListedConnection,
    Load, Member, OpenRequest, ReadPresence, Receipt,
};
use fanfare_tests::eventually::PATIENCE;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use crate::replica::Replica;

/// A node that is linked.
pub(crate) struct Node {
    id: String,
    incarnation: Incarnation,
    said: mpsc::Sender<OpenRequest>,
    state: Arc<State>,
    tasks: Tasks,
}

#[derive(Default)]
struct State {
    heard: Mutex<Vec<Heard>>,
    /// What it says to have acted upon.
    acts_on: AtomicU64,
    /// What it lists.
    holds: Mutex<Vec<ListedConnection>>,
    silent: AtomicBool,
}

impl Node {
    /// Registers and links a node that has caught up, follows `channel`, and acts on so many connections.
    pub(crate) fn start(replica: &Replica, id: &str, channel: &str, acts_on: u64) -> Self {
        let node = Self::dial(replica, id, Incarnation::random());
        node.act_on(acts_on);
        replica.run(async {
            node.say(Said::Follow(Follow { channel: channel.to_owned(), position: None })).await;
            node.say(Said::CaughtUp(CaughtUp::default())).await;
            node.say(Said::Load(Load { connections: 42, capacity: 100 })).await;
        });
        node
    }

    /// Registers and links a node that has not caught up.
    pub(crate) fn dial(replica: &Replica, id: &str, incarnation: Incarnation) -> Self {
        let (said, outgoing) = mpsc::channel(1024);
        let state = Arc::new(State::default());
        let (answers, noting) = (said.clone(), state.clone());
        let tasks = Tasks::default();
        let ended = tasks.stopping();
        replica.run(async {
            let record = Record::Node(NodeRecord { incarnation, capacity: 100 });
            replica.registry.register(&id.parse().expect("an id"), record).await.expect("the id is free");
            let node = Self { id: id.to_owned(), incarnation, said, state, tasks: tasks.clone() };
            node.say(Said::Hello(Hello {
                node: id.to_owned(),
                incarnation: incarnation.to_wire(),
                version: 1,
                session: 1,
                capacity: 100,
                fanfare_version: "9.9.9".to_owned(),
                ..Default::default()
            }))
            .await;
            let address = format!("http://{}", replica.cluster_address());
            let mut client = LinkServiceClient::connect(address).await.expect("the replica is there");
            let incoming = client.open(ReceiverStream::new(outgoing)).await.expect("the link is opened");
            let mut incoming = incoming.into_inner();
            tasks.spawn("fake node", async move {
                loop {
                    let response = tokio::select! {
                        () = ended.cancelled() => return,
                        response = incoming.message() => response,
                    };
                    let Ok(Some(response)) = response else { return };
                    let message = response.message.expect("there is a message");
                    let answer = noting.answer(&message);
                    noting.heard.lock().expect("no panic").push(message);
                    if let Some(answer) = answer {
                        let request = OpenRequest { message: Some(answer), ..Default::default() };
                        answers.send(request).await.expect("the link is open");
                    }
                }
            });
            node
        })
    }

    /// Its link breaks; it stays registered. Returns its start.
    pub(crate) fn cut(self, replica: &Replica) -> Incarnation {
        let Self { incarnation, tasks, said, .. } = self;
        drop(said);
        assert!(replica.run(tasks.stop(PATIENCE)), "the link has ended");
        incarnation
    }

    /// It is registered no longer.
    pub(crate) fn deregister(&self, replica: &Replica) {
        replica.run(replica.registry.deregister(&self.id.parse().expect("an id"), self.incarnation));
    }

    pub(crate) fn catch_up(&self, replica: &Replica) {
        replica.run(self.say(Said::CaughtUp(CaughtUp::default())));
    }

    pub(crate) fn follow(&self, replica: &Replica, channel: &str) {
        replica.run(self.say(Said::Follow(Follow { channel: channel.to_owned(), position: None })));
    }

    /// A connection of this number becomes a member of a channel.
    pub(crate) fn enter(&self, replica: &Replica, channel: &str, number: u32, enter: Enter) {
        let member =
            Member { connection: self.id_of(number).to_vec().into(), ..enter.member.unwrap_or_default() };
        let enter = Enter { channel: channel.to_owned(), member: Some(member), ..enter };
        replica.run(self.say(Said::Enter(enter)));
    }

    /// A connection of this number is a member no longer.
    pub(crate) fn exit(&self, replica: &Replica, channel: &str, number: u32) {
        let connection = self.id_of(number).to_vec().into();
        replica.run(self.say(Said::Exit(Exit { channel: channel.to_owned(), connection })));
    }

    /// A client asks who is present.
    pub(crate) fn read(&self, replica: &Replica, read: ReadPresence) {
        replica.run(self.say(Said::ReadPresence(read)));
    }

    /// Holds connections of so many users, for lists; they are called by their numbers.
    pub(crate) fn hold(&self, connections: u32) {
        let connection = |number: u32| {
            let state = ConnectionState { user: number.to_string(), ..Default::default() };
            ListedConnection { connection: self.id_of(number).to_vec().into(), state: Some(state) }
        };
        *self.state.holds.lock().expect("no panic") = (0..connections).map(connection).collect();
    }

    /// The id of a connection, by a number of its own.
    fn id_of(&self, number: u32) -> [u8; 16] {
        let mut id = [0; 16];
        id[..4].copy_from_slice(&self.incarnation.tag().to_be_bytes());
        id[12..].copy_from_slice(&number.to_be_bytes());
        id
    }

    /// Says something.
    pub(crate) async fn say(&self, message: Said) {
        let request = OpenRequest { message: Some(message), ..Default::default() };
        self.said.send(request).await.expect("the link is open");
    }

    /// The id of a connection of this node.
    pub(crate) fn connection(&self) -> String {
        ConnectionId::new(self.incarnation, 0, 1).to_string()
    }

    /// Answers nothing from now on.
    pub(crate) fn fall_silent(&self) {
        self.state.silent.store(true, Ordering::Relaxed);
    }

    /// Says from now on that it has acted on so many.
    pub(crate) fn act_on(&self, connections: u64) {
        self.state.acts_on.store(connections, Ordering::Relaxed);
    }

    /// What it was told that `pick` picks, in order.
    pub(crate) fn heard<T>(&self, pick: impl FnMut(&Heard) -> Option<T>) -> Vec<T> {
        self.state.heard.lock().expect("no panic").iter().filter_map(pick).collect()
    }
}

impl State {
    fn answer(&self, message: &Heard) -> Option<Said> {
        if self.silent.load(Ordering::Relaxed) {
            return None;
        }
        let written = self.acts_on.load(Ordering::Relaxed);
        match message {
            Heard::Act(act) => {
                Some(Said::Receipt(Receipt { id: act.receipt, written, ..Default::default() }))
            }
            Heard::Deliver(deliver) if deliver.receipt != 0 => {
                Some(Said::Receipt(Receipt { id: deliver.receipt, written: 1, ..Default::default() }))
            }
            Heard::ListConnections(list) => {
                let holds = self.holds.lock().expect("no panic");
                let is_meant = |one: &&ListedConnection| {
                    let user = one.state.as_ref().map_or("", |state| &state.user);
                    one.connection > list.after && (list.user.is_empty() || list.user == user)
                };
                let mut rest = holds.iter().filter(is_meant);
                let connections = rest.by_ref().take(list.limit as usize).cloned().collect();
                let more = rest.next().is_some();
                Some(Said::ConnectionsListed(ConnectionsListed { id: list.id, connections, more }))
            }
            Heard::Inspect(inspect) => {
                let connection = (written > 0).then(|| ConnectionState {
                    user: "42".to_owned(),
                    protobuf: true,
                    connected_at_ms: 1_500,
                    expires_at: 9,
                    channels: vec!["#42".to_owned()],
                    ..Default::default()
                });
                Some(Said::Inspected(Inspected { id: inspect.id, connection }))
            }
            _ => None,
        }
    }
}
