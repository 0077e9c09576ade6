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
use fanfare_proto::link::{CaughtUp, ConnectionState, Follow, Hello, Inspected, Load, OpenRequest, Receipt};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use crate::replica::Replica;

/// A node that is linked.
pub(crate) struct Node {
    incarnation: Incarnation,
    said: mpsc::Sender<OpenRequest>,
    state: Arc<State>,
    _tasks: Tasks,
}

#[derive(Default)]
struct State {
    heard: Mutex<Vec<Heard>>,
    /// What it says to have acted upon.
    acts_on: AtomicU64,
    silent: AtomicBool,
}

impl Node {
    /// Registers and links a node that has caught up, follows `channel`, and acts on so many connections.
    pub(crate) fn start(replica: &Replica, id: &str, channel: &str, acts_on: u64) -> Self {
        let incarnation = Incarnation::random();
        let (said, outgoing) = mpsc::channel(1024);
        let state = Arc::new(State { acts_on: acts_on.into(), ..Default::default() });
        let (answers, noting) = (said.clone(), state.clone());
        let tasks = Tasks::default();
        replica.run(async {
            let record = Record::Node(NodeRecord { incarnation, capacity: 100 });
            replica.registry.register(&id.parse().expect("an id"), record).await.expect("the id is free");
            let node = Self { incarnation, said, state, _tasks: tasks.clone() };
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
                while let Ok(Some(response)) = incoming.message().await {
                    let message = response.message.expect("there is a message");
                    let answer = noting.answer(&message);
                    noting.heard.lock().expect("no panic").push(message);
                    if let Some(answer) = answer {
                        let request = OpenRequest { message: Some(answer), ..Default::default() };
                        answers.send(request).await.expect("the link is open");
                    }
                }
            });
            node.say(Said::Follow(Follow { channel: channel.to_owned(), position: None })).await;
            node.say(Said::CaughtUp(CaughtUp::default())).await;
            node.say(Said::Load(Load { connections: 42, capacity: 100 })).await;
            node
        })
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
