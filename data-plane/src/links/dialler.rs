//! One link's task: dials a replica, says hello, and carries messages both ways until the link breaks; then again.

use std::time::Duration;

use fanfare_cluster::byte_queue::{Bounds, Receiver, Sender, TrySendError, Weighed, byte_queue};
use fanfare_cluster::dial::{MAX_LINK_MESSAGE, dial};
use fanfare_cluster::member::MemberId;
use fanfare_cluster::registry::ReplicaRecord;
use fanfare_proto::link::link_service_client::LinkServiceClient;
use fanfare_proto::link::{self, OpenRequest, OpenResponse, open_request, open_response};
use futures_util::Stream;
use tokio_util::sync::CancellationToken;
use tonic::Streaming;
use tracing::{debug, info, warn};

use super::ToReplica;
use crate::metrics::Metrics;

/// The version of the link protocol that this node speaks.
const VERSION: u32 = 1;
/// Messages that may wait for one replica, however small.
const LINK_ITEMS: usize = 65_536;
/// The first pause after a broken link, and the longest.
const BACK_OFF: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(2));
/// How long a replica may take to say welcome.
const WELCOME_TIMEOUT: Duration = Duration::from_secs(5);

/// What a link needs to know of its node.
#[derive(Clone, Debug)]
pub(crate) struct LinkSetup {
    pub(crate) node: MemberId,
    pub(crate) incarnation: u64,
    pub(crate) capacity: u64,
    pub(crate) namespaces_hash: u64,
    pub(crate) queue_bytes: usize,
    pub(crate) metrics: Metrics,
}

/// What a session has that is up: where to put messages, and how to end it.
#[derive(Clone, Debug)]
pub(crate) struct Session {
    pub(crate) number: u64,
    queue: Sender<ToReplica>,
    cut: CancellationToken,
    metrics: Metrics,
}

impl Session {
    /// A session of this number, and what leaves for its replica.
    pub(crate) fn new(
        number: u64,
        queue_bytes: usize,
        cut: CancellationToken,
        metrics: Metrics,
    ) -> (Self, Receiver<ToReplica>) {
        // queue: link to a replica
        let (queue, outgoing) = byte_queue(Bounds { items: LINK_ITEMS, bytes: queue_bytes });
        (Self { number, queue, cut, metrics }, outgoing)
    }

    /// Whether what clients ask may be queued: it may take half of the queue.
    pub(crate) fn has_room_for_clients(&self) -> bool {
        self.queue.waiting_bytes() <= self.queue.bounds().bytes / 2
    }

    /// Queues a message. A link that is full is cut, never thinned.
    pub(crate) fn send(&self, message: open_request::Message) {
        if matches!(self.queue.try_send(ToReplica(message)), Err(TrySendError::Full(_)))
            && !self.cut.is_cancelled()
        {
            warn!("too much waits for a replica: the link is cut");
            self.metrics.links.cuts.inc();
            self.cut.cancel();
        }
    }
}

/// What the last session has seen, for the next hello.
#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    session: u64,
    sequence: u64,
}

/// Keeps a link to the replica until told to stop. Everything it brings goes to `exchange`: first that a session is
/// up, last that it has ended.
pub(crate) async fn keep(
    setup: LinkSetup,
    replica: MemberId,
    record: ReplicaRecord,
    exchange: Sender<FromReplica>,
    stopping: CancellationToken,
) {
    let mut seen = Seen::default();
    let mut pause = BACK_OFF.0;
    loop {
        let opened = tokio::select! {
            () = stopping.cancelled() => return,
            opened = open(&setup, &replica, &record, (&mut seen, &stopping)) => opened,
        };
        match opened {
            Ok(opened) => {
                run_session(&replica, opened, &exchange, &mut seen).await;
                pause = BACK_OFF.0;
            }
            Err(error) => debug!(%replica, %error, "the link cannot be made"),
        }
        // Jitter, so that all nodes of a cluster do not dial a restarted replica at the same moment.
        let jittered = pause.mul_f64(rand::random_range(0.5..1.0));
        pause = (pause * 2).min(BACK_OFF.1);
        tokio::select! {
            () = stopping.cancelled() => return,
            () = tokio::time::sleep(jittered) => {}
        }
    }
}

/// What a link tells the exchange.
#[derive(Debug)]
pub(crate) enum Event {
    /// A session is up.
    Up(Session),
    /// A session has ended.
    Down { session: u64 },
    /// The replica says something.
    Said { session: u64, message: open_response::Message },
}

/// What comes from one replica's link.
#[derive(Debug)]
pub(crate) struct FromReplica {
    pub(crate) replica: MemberId,
    pub(crate) event: Event,
}

impl Weighed for FromReplica {
    fn weight(&self) -> usize {
        const FLAT: usize = 128;
        FLAT + match &self.event {
            Event::Said { message: open_response::Message::Deliver(deliver), .. } => deliver.weight(),
            Event::Said { message: open_response::Message::DeliverConnection(deliver), .. } => {
                deliver.data.len()
            }
            _ => 0,
        }
    }
}

/// Dials and says hello until the replica has said welcome. Can be given up at any point.
async fn open(
    setup: &LinkSetup,
    replica: &MemberId,
    record: &ReplicaRecord,
    (seen, stopping): (&mut Seen, &CancellationToken),
) -> Result<(Session, Streaming<OpenResponse>), String> {
    let number = rand::random::<u64>().max(1);
    let (session, outgoing) =
        Session::new(number, setup.queue_bytes, stopping.child_token(), setup.metrics.clone());
    let hello = link::Hello {
        node: setup.node.as_str().to_owned(),
        incarnation: setup.incarnation,
        version: VERSION,
        session: number,
        placement: None,
        last_sequence: seen.sequence,
        last_session: seen.session,
        capacity: setup.capacity,
        namespaces_hash: setup.namespaces_hash,
        fanfare_version: env!("CARGO_PKG_VERSION").to_owned(),
    };
    let channel = dial(record.cluster_address).await.map_err(|error| error.to_string())?;
    let mut client = LinkServiceClient::new(channel)
        .max_decoding_message_size(MAX_LINK_MESSAGE)
        .max_encoding_message_size(MAX_LINK_MESSAGE);
    let opening = client.open(outbound(hello, outgoing));
    let opened =
        tokio::time::timeout(WELCOME_TIMEOUT, opening).await.map_err(|_| "no answer in time".to_owned())?;
    let mut incoming = opened.map_err(|status| status.to_string())?.into_inner();
    let welcome = tokio::time::timeout(WELCOME_TIMEOUT, incoming.message()).await;
    let Ok(Ok(Some(OpenResponse { sequence, message: Some(open_response::Message::Welcome(welcome)) }))) =
        welcome
    else {
        return Err("the replica did not say welcome in time".to_owned());
    };
    if welcome.namespaces_hash != setup.namespaces_hash {
        warn!(%replica, "the replica's channel options differ from this node's: compare their files");
    }
    *seen = Seen { session: number, sequence };
    Ok((session, incoming))
}

/// One session, from its beginning to its end, which both are told to the exchange.
async fn run_session(
    replica: &MemberId,
    (session, mut incoming): (Session, Streaming<OpenResponse>),
    exchange: &Sender<FromReplica>,
    seen: &mut Seen,
) {
    let Session { number, cut, metrics, .. } = session.clone();
    metrics.links.linked.inc();
    info!(%replica, "linked");
    // The exchange is gone only when the node ends.
    let _ = exchange.send(from(replica, Event::Up(session))).await;
    carry(replica, &mut incoming, exchange, &cut, seen).await;
    metrics.links.linked.dec();
    info!(%replica, "no longer linked");
    let _ = exchange.send(from(replica, Event::Down { session: number })).await;
}

/// Carries what the replica says to the exchange, and waits while too much waits there.
async fn carry(
    replica: &MemberId,
    incoming: &mut Streaming<OpenResponse>,
    exchange: &Sender<FromReplica>,
    cut: &CancellationToken,
    seen: &mut Seen,
) {
    let session = seen.session;
    loop {
        let next = tokio::select! {
            () = cut.cancelled() => return,
            next = incoming.message() => next,
        };
        match next {
            Ok(Some(OpenResponse { sequence, message })) => {
                seen.sequence = sequence;
                // A message kind of a later version has no content here, and is ignored.
                let Some(message) = message else { continue };
                let said = Event::Said { session, message };
                if exchange.send(from(replica, said)).await.is_err() {
                    return;
                }
            }
            Ok(None) => return,
            Err(status) => return debug!(%replica, %status, "the link broke"),
        }
    }
}

fn from(replica: &MemberId, event: Event) -> FromReplica {
    FromReplica { replica: replica.clone(), event }
}

/// What the node says: hello first, then what is queued, numbered as it goes.
fn outbound(hello: link::Hello, outgoing: Receiver<ToReplica>) -> impl Stream<Item = OpenRequest> {
    let first = Some(open_request::Message::Hello(hello));
    futures_util::stream::unfold((first, outgoing, 0), |(first, mut outgoing, sequence)| async move {
        let message = match first {
            Some(hello) => hello,
            None => outgoing.recv().await?.0,
        };
        let sequence = sequence + 1;
        Some((OpenRequest { sequence, message: Some(message) }, (None, outgoing, sequence)))
    })
}
