//! A door for simulations: a node without sockets, threads and clock, of which every step is its driver's choice.
//!
//! What is behind it is what a node is made of: the junction in its middle, its shards with their sessions and
//! hubs. Only the tasks that carry things from one to the other are missing, because that is what a simulation
//! does itself, in any order that tasks could have done it in. It speaks the link's messages on one side and the
//! client protocol's on the other.

mod frames;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use fanfare_cluster::byte_queue::Receiver;
use fanfare_cluster::channel::Namespaces;
use fanfare_cluster::member::{Incarnation, MemberId};
use fanfare_cluster::placement::{Placement, PlacementNumber};
use fanfare_cluster::quantity::Span;
use fanfare_proto::client::{Command, Reply};
use fanfare_proto::link::{open_request, open_response};
use prost::Message as _;
use tokio_util::sync::CancellationToken;

use crate::admission::Admission;
use crate::authenticator::TokenAuthenticator;
use crate::config::ClientConfig;
use crate::connection::socket::{Recording, Socket};
use crate::encoding::{Encoding, Manner};
use crate::links::{Ask, Event, Junction, Session, ShardIndex, ToReplica};
use crate::metrics::Metrics;
use crate::revocations::Revocations;
use crate::session::Rules;
use crate::shard::{SlotKey, State, ToShard};

/// What one [`Node::tick`] is.
pub const TICK: Duration = Duration::from_millis(100);
/// What may wait for the replica before the link is cut.
const LINK_BYTES: usize = 8 << 20;
/// Longer than any simulation: its clients do not answer pings.
const NO_PINGS: Duration = Duration::from_secs(86_400);

/// A node, linked to at most one replica, which owns all channels.
pub struct Node {
    junction: Junction,
    shards: Vec<Shard>,
    replica: MemberId,
    /// The link session that is up, and what leaves on it.
    link: Option<(u64, Receiver<ToReplica>)>,
    last_session: u64,
    now: Duration,
}

struct Shard {
    state: State,
    // queue: inbox of a simulated shard
    inbox: VecDeque<ToShard>,
}

/// A client's connection, by which its node knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Client {
    shard: usize,
    key: SlotKey,
    encoding: Encoding,
}

/// What has come to a client.
#[derive(Clone, Debug, PartialEq)]
pub enum Received {
    /// A reply or a push.
    Reply(Box<Reply>),
    /// The end of the connection, with its code.
    Closed(u16),
}

/// A step that a shard could take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ShardStep {
    /// Take the next thing out of the inbox.
    Take,
    /// Go on with deliveries.
    Sweep,
    /// Hand the next thing up to the node's middle.
    HandUp,
}

impl Node {
    /// A node with so many shards. `number` tells it from others.
    ///
    /// # Panics
    /// If there is no shard.
    pub fn new(number: u32, shards: usize, channels: Arc<Namespaces>) -> Self {
        assert!(shards > 0, "a node has shards");
        let metrics = Metrics::default();
        let rules = rules(channels, &metrics);
        let incarnation = Incarnation::from_wire(u64::from(number + 1) << 32 | 1);
        let state = |index| State::new(index, incarnation, rules.clone(), metrics.clone());
        let shard = |index| Shard { state: state(index), inbox: VecDeque::new() };
        let replica: MemberId = "replica".parse().expect("it is an id");
        let mut junction = Junction::new(shards, rules.clone(), metrics.clone());
        let placed = PlacementNumber { generation: 1, revision: 1 };
        junction.take_placement(&Arc::new(Placement::new(placed, vec![(replica.clone(), 1)])));
        let shards = (0..shards as u8).map(shard).collect();
        Self { junction, shards, replica, link: None, last_session: 0, now: Duration::ZERO }
    }

    /// A client connects to a shard and says who it is: nobody, or a user that a proxy has named. It speaks Protobuf
    /// or JSON.
    pub fn connect(&mut self, shard: usize, user: Option<&str>, protobuf: bool) -> Client {
        let encoding = if protobuf { Encoding::Protobuf } else { Encoding::Json };
        let manner = Manner { encoding, frame_pings: false };
        let socket = Socket::Recorded(Box::<Recording>::default());
        let key = self.with(shard, |state| state.open(socket, manner, user.map(Arc::from)));
        let client = Client { shard, key, encoding };
        let connect = Some(fanfare_proto::client::ConnectRequest::default());
        self.say(client, &Command { id: 1, connect, ..Default::default() });
        client
    }

    /// A client says something.
    pub fn say(&mut self, client: Client, command: &Command) {
        let message = match client.encoding {
            Encoding::Json => serde_json::to_vec(command).expect("a simulation's data is JSON"),
            Encoding::Protobuf => command.encode_length_delimited_to_vec(),
        };
        self.with(client.shard, |state| state.message(client.key, message.into()));
    }

    /// A client's socket is gone.
    pub fn leave(&mut self, client: Client) {
        self.with(client.shard, |state| state.gone(client.key));
    }

    /// What has come to a client since the last call.
    pub fn received(&mut self, client: Client) -> Vec<Received> {
        let connection = self.shards[client.shard].state.connections.get(client.key);
        let bytes = connection.map_or(Vec::new(), |connection| connection.socket().take_recorded());
        frames::read(&bytes, client.encoding)
    }

    /// A connection's id, as backends name it; empty if it is gone.
    pub fn connection_id(&mut self, client: Client) -> String {
        let connection = self.shards[client.shard].state.connections.get(client.key);
        connection.map_or(String::new(), |connection| connection.id.to_string())
    }

    /// The link to the replica is up, with a new session.
    pub fn link_up(&mut self) {
        self.link_down();
        self.last_session += 1;
        let (number, cut) = (self.last_session, CancellationToken::new());
        let (session, outgoing) = Session::new(number, LINK_BYTES, cut, self.junction.metrics().clone());
        self.link = Some((number, outgoing));
        self.event(Event::Up(session));
    }

    /// The link has ended. What it had not carried yet is lost.
    pub fn link_down(&mut self) {
        if let Some((session, _)) = self.link.take() {
            self.event(Event::Down { session });
        }
    }

    /// Whether the link is up.
    pub fn is_linked(&self) -> bool {
        self.link.is_some()
    }

    /// The replica says something on the link.
    pub fn take(&mut self, message: open_response::Message) {
        if let Some((session, _)) = self.link {
            self.event(Event::Said { session, message });
        }
    }

    /// What leaves on the link next.
    pub fn next_message(&mut self) -> Option<open_request::Message> {
        self.link.as_mut()?.1.try_recv().map(|ToReplica(message)| message)
    }

    /// The steps that shards could take now.
    pub fn steps(&self) -> Vec<(usize, ShardStep)> {
        let mut steps = Vec::new();
        for (index, shard) in self.shards.iter().enumerate() {
            let possible = [
                (!shard.inbox.is_empty(), ShardStep::Take),
                (shard.state.hub.has_work(), ShardStep::Sweep),
                (!shard.state.up.is_empty(), ShardStep::HandUp),
            ];
            steps.extend(possible.iter().filter(|(can, _)| *can).map(|(_, step)| (index, *step)));
        }
        steps
    }

    /// A shard takes a step; a sweep visits so many subscribers.
    pub fn step(&mut self, shard: usize, step: ShardStep, visits: usize) {
        match step {
            ShardStep::Take => {
                if let Some(next) = self.shards[shard].inbox.pop_front() {
                    self.with(shard, |state| state.take(next));
                }
            }
            ShardStep::Sweep => self.with(shard, |state| state.sweep(visits)),
            ShardStep::HandUp => {
                if let Some(what) = self.shards[shard].state.up.pop() {
                    self.junction.take_ask(Ask { shard: ShardIndex(shard as u8), what });
                    self.serve_shards();
                }
            }
        }
    }

    /// [`TICK`] has passed.
    pub fn tick(&mut self) {
        self.now += TICK;
        self.junction.pass_time(self.now);
        self.junction.tick();
        self.serve_shards();
        for shard in 0..self.shards.len() {
            self.with(shard, State::tick);
        }
    }

    fn event(&mut self, event: Event) {
        self.junction.take_event(&self.replica, event);
        self.serve_shards();
    }

    fn serve_shards(&mut self) {
        while let Some((shard, message)) = self.junction.next_for_shard() {
            self.shards[usize::from(shard.0)].inbox.push_back(message);
        }
    }

    /// As a shard's own thread does it. These sockets never stop taking bytes.
    fn with<T>(&mut self, shard: usize, change: impl FnOnce(&mut State) -> T) -> T {
        let state = &mut self.shards[shard].state;
        let result = change(state);
        state.settle();
        result
    }
}

impl std::fmt::Debug for Node {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Node").field("shards", &self.shards.len()).finish_non_exhaustive()
    }
}

fn rules(channels: Arc<Namespaces>, metrics: &Metrics) -> Arc<Rules> {
    let client = ClientConfig {
        allow_anonymous_connect_without_token: true,
        command_rate_limit: 0,
        ping_interval: Span(NO_PINGS),
        ..ClientConfig::default()
    };
    let tokens = TokenAuthenticator::new(&client.token, None).expect("no keys at all can be read");
    let admission = Arc::new(Admission::new(&client, usize::MAX >> 1, metrics.clients.clone()));
    let (authenticator, revocations) = (Arc::new(tokens), Arc::new(Revocations::default()));
    Arc::new(Rules { client, channels, authenticator, revocations, admission })
}
