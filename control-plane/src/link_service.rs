//! `fanfare.link.v1.LinkService`: one task per node reads what the node says and hands it to those it concerns.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime};

use fanfare_cluster::byte_queue::Receiver;
use fanfare_cluster::channel::{ChannelName, Namespaces};
use fanfare_cluster::dial::{MAX_LINK_MESSAGE, cluster_server};
use fanfare_cluster::member::{Incarnation, MemberId};
use fanfare_cluster::tasks::Tasks;
use fanfare_proto::link::link_service_server::{LinkService, LinkServiceServer};
use fanfare_proto::link::{self, OpenRequest, OpenResponse, open_request, open_response};
use futures_util::Stream;
use tokio::net::TcpListener;
use tokio::time::Instant;
use tokio_util::sync::WaitForCancellationFutureOwned;
use tonic::transport::server::TcpIncoming;
use tonic::{Request, Response, Status, Streaming};
use tracing::{debug, error, info, warn};

use crate::inspections::Inspections;
use crate::links::{Link, Links, Outgoing};
use crate::metrics::Metrics;
use crate::operation::unix_seconds;
use crate::owners::{Owners, Publish};
use crate::presence::{Presence, wire};
use crate::receipts::{Counts, Receipts};
use crate::refusal::Refusal;
use crate::revocations::Revocations;
use crate::router::Router;

/// The version of the link protocol that this replica speaks.
const VERSION: u32 = 1;
/// A node that dials says Hello at once.
const HELLO_TIMEOUT: Duration = Duration::from_secs(5);
/// The client protocol's "internal server error", temporary.
const INTERNAL_ERROR: u32 = 100;
/// The client protocol's "too many requests", temporary.
const TOO_MANY_REQUESTS: u32 = 111;
/// How long a client's publication may wait for its place: it is given up by its node at about the same time.
const PLACING: Duration = Duration::from_secs(5);
/// How long a new link may take for all revocations.
const REVOCATIONS_TIMEOUT: Duration = Duration::from_secs(10);

/// The service; cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct LinkApi {
    pub(crate) me: MemberId,
    pub(crate) incarnation: Incarnation,
    pub(crate) links: Arc<Links>,
    pub(crate) owners: Owners,
    pub(crate) presence: Presence,
    pub(crate) router: Arc<Router>,
    pub(crate) receipts: Arc<Receipts>,
    pub(crate) inspections: Arc<Inspections>,
    pub(crate) revocations: Arc<Revocations>,
    pub(crate) channels: Arc<Namespaces>,
    pub(crate) metrics: Metrics,
    pub(crate) tasks: Tasks,
}

/// Serves links on the listener until the tasks stop.
pub(crate) fn serve(listener: TcpListener, api: LinkApi) {
    let (tasks, stopping) = (api.tasks.clone(), api.tasks.stopping());
    tasks.spawn("link server", async move {
        let service = LinkServiceServer::new(api)
            .max_decoding_message_size(MAX_LINK_MESSAGE)
            .max_encoding_message_size(MAX_LINK_MESSAGE);
        let served = cluster_server()
            .add_service(service)
            .serve_with_incoming_shutdown(
                TcpIncoming::from(listener).with_nodelay(Some(true)),
                stopping.cancelled(),
            )
            .await;
        if let Err(error) = served {
            error!(%error, "the link server has ended");
        }
    });
}

#[tonic::async_trait]
impl LinkService for LinkApi {
    type OpenStream = Outbound;

    async fn open(&self, request: Request<Streaming<OpenRequest>>) -> Result<Response<Outbound>, Status> {
        let mut incoming = request.into_inner();
        let hello = match tokio::time::timeout(HELLO_TIMEOUT, incoming.message()).await {
            Ok(Ok(Some(OpenRequest { message: Some(open_request::Message::Hello(hello)), .. }))) => hello,
            _ => return Err(Status::invalid_argument("a link begins with hello, within 5 s")),
        };
        let node: MemberId =
            hello.node.parse().map_err(|error| Status::invalid_argument(format!("node: {error}")))?;
        if hello.version == 0 || hello.incarnation == 0 {
            return Err(Status::invalid_argument("version and incarnation must not be 0"));
        }
        if hello.namespaces_hash != self.channels.hash() {
            warn!(%node, "the node's channel options differ from this replica's: compare their files");
            self.metrics.namespace_mismatches.inc();
        }
        let welcome = link::Welcome {
            replica: self.me.as_str().to_owned(),
            incarnation: self.incarnation.to_wire(),
            version: VERSION.min(hello.version),
            namespaces_hash: self.channels.hash(),
        };
        let (link, outgoing) = self.links.open(&hello, &node, welcome);
        info!(node = %link.node(), "a node is linked");
        let ended = Box::pin(link.ended().clone().cancelled_owned());
        self.tasks.spawn("link reader", self.clone().read(link, incoming));
        Ok(Response::new(Outbound { outgoing, ended, sequence: 0 }))
    }
}

impl LinkApi {
    /// Takes what the node says until the link ends, then tells everybody that it has.
    async fn read(self, link: Link, mut incoming: Streaming<OpenRequest>) {
        let stopping = self.tasks.stopping();
        tokio::select! {
            () = stopping.cancelled() => {}
            told = tokio::time::timeout(REVOCATIONS_TIMEOUT, self.tell_revocations(&link)) => {
                if told.is_err() {
                    warn!(node = %link.node(), "the node does not take the revocations: its link is cut");
                    link.ended().cancel();
                }
            }
        }
        // Here and not where the call is answered: that may be given up in the middle, this never is.
        self.owners.session_up(&link).await;
        self.presence.session_up(&link).await;
        loop {
            let message = tokio::select! {
                () = stopping.cancelled() => break,
                () = link.ended().cancelled() => break,
                message = incoming.message() => message,
            };
            match message {
                Ok(Some(OpenRequest { message: Some(message), .. })) => self.take(&link, message).await,
                Ok(Some(_)) => debug!(node = %link.node(), "a message of a later version is ignored"),
                Ok(None) => break,
                Err(error) => {
                    debug!(node = %link.node(), %error, "the link broke");
                    break;
                }
            }
        }
        self.links.close(&link);
        self.owners.session_down(link.session()).await;
        self.presence.session_down(link.session()).await;
        self.receipts.session_down(link.session());
        info!(node = %link.node(), "a node is no longer linked");
    }

    /// Tells a new link all revocations, in pieces that its queue can hold. What is added meanwhile goes out on
    /// the link as well: it is known to all by now.
    async fn tell_revocations(&self, link: &Link) {
        let mut last: Option<String> = None;
        loop {
            let revocations = self.revocations.after(last.as_deref(), unix_seconds(SystemTime::now()));
            if revocations.is_empty() && last.is_some() {
                return;
            }
            let Some(newest) = revocations.last() else {
                // Also none at all is said, so that the node knows that it has not missed any.
                return link.send(open_response::Message::Revocations(link::Revocations::default()));
            };
            last = Some(newest.user.clone());
            let message = open_response::Message::Revocations(link::Revocations { revocations });
            link.send_when_there_is_room(message).await;
        }
    }

    /// Takes what a node says.
    pub(crate) async fn take(&self, link: &Link, message: open_request::Message) {
        use open_request::Message;
        match message {
            Message::Follow(link::Follow { channel, position }) => match ChannelName::parse(&channel) {
                Ok(name) if self.router.owns(&name) => {
                    self.owners.follow(link.session(), name, position.map(Into::into)).await;
                }
                _ => refuse(link, channel, 0),
            },
            Message::Recover(recover) => match ChannelName::parse(&recover.channel) {
                Ok(name) if self.router.owns(&name) => {
                    self.owners.recover(link.session(), name, recover).await;
                }
                _ => refuse(link, recover.channel, recover.ticket),
            },
            Message::ReadHistory(read) => match ChannelName::parse(&read.channel) {
                Ok(name) if self.router.owns(&name) => {
                    self.owners.read_history(link.session(), name, read).await;
                }
                _ => refuse(link, read.channel, read.ticket),
            },
            Message::Unfollow(link::Unfollow { channel }) => {
                if let Ok(channel) = ChannelName::parse(&channel) {
                    self.owners.unfollow(link.session(), channel).await;
                }
            }
            Message::Publish(publish) => self.publish(link, publish).await,
            Message::Receipt(link::Receipt { id, written, pending, cut }) => {
                self.receipts.answer(id, link.session(), Counts { written, pending, cut });
            }
            Message::CaughtUp(_) => {
                self.owners.caught_up(link.session()).await;
                self.presence.caught_up(link.session()).await;
            }
            Message::Enter(enter) => self.enter(link, enter).await,
            Message::Exit(exit) => {
                if let Some((channel, id)) = wire::exiting(&exit) {
                    self.presence.exit(link.session(), channel, id).await;
                }
            }
            Message::ReadPresence(read) => match ChannelName::parse(&read.channel) {
                Ok(name) if self.router.owns(&name) => {
                    self.presence.read(link.session(), name, read).await;
                }
                _ => refuse(link, read.channel, read.ticket),
            },
            Message::ConnectionsListed(listed) => self.inspections.listed(link.session(), listed),
            Message::Hello(_) => debug!(node = %link.node(), "a second hello is ignored"),
            Message::Load(load) => link.take_load(load),
            Message::Inspected(inspected) => self.inspections.answer(link.session(), inspected),
            // The node's placement is of use once there are several replicas.
            Message::Placement(_) => {}
        }
    }

    /// A connection has become a member of a channel.
    async fn enter(&self, link: &Link, enter: link::Enter) {
        let Some((channel, entering)) = wire::entering(enter) else {
            return debug!(node = %link.node(), "an enter without a member is ignored");
        };
        if !self.router.owns(&channel) {
            return refuse(link, channel.as_str().to_owned(), 0);
        }
        // This replica's file says where there is presence; the node's may differ, which is warned of.
        if self.channels.of(&channel).is_ok_and(|rules| rules.options.has_presence()) {
            self.presence.enter(link.session(), channel, entering).await;
        }
    }

    /// A client publishes. The answer goes back on the link when the publication has its place.
    async fn publish(&self, link: &Link, publish: link::Publish) {
        let link::Publish { ticket, channel, publication } = publish;
        let (name, publication) = match (ChannelName::parse(&channel), publication) {
            (Ok(name), Some(publication)) if self.router.owns(&name) => (name, publication),
            _ => return refuse(link, channel, ticket),
        };
        let mut publish = Publish { publication, ..Publish::to(name) };
        if let Ok(rules) = self.channels.of(&publish.channel) {
            publish.rate_limit = rules.options.publication_rate_limit;
            publish.keep.stored = rules.options.has_history();
        }
        if !publish.keep.stored {
            self.router.count_unreachable();
        }
        let placing = self.owners.publish_from_link(publish, Instant::now() + PLACING).await;
        let link = link.clone();
        self.tasks.spawn("client publish", async move {
            let error = match placing.await {
                Ok(Ok(_)) => 0,
                Ok(Err(Refusal::TooFast { .. })) => TOO_MANY_REQUESTS,
                _ => INTERNAL_ERROR,
            };
            link.send(open_response::Message::Published(link::Published { ticket, error }));
        });
    }
}

fn refuse(link: &Link, channel: String, ticket: u64) {
    link.send(open_response::Message::NotOwner(link::NotOwner { channel, ticket, number: None }));
}

/// What leaves for the node: numbers messages as they go, and ends when the link is cut.
pub(crate) struct Outbound {
    outgoing: Receiver<Outgoing>,
    ended: Pin<Box<WaitForCancellationFutureOwned>>,
    sequence: u64,
}

impl Stream for Outbound {
    type Item = Result<OpenResponse, Status>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.ended.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Some(Err(Status::unavailable("the link is cut: dial again"))));
        }
        self.outgoing.poll_recv(cx).map(|message| {
            let Outgoing(message) = message?;
            self.sequence += 1;
            Some(Ok(OpenResponse { sequence: self.sequence, message: Some(message) }))
        })
    }
}
