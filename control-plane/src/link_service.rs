//! `fanfare.link.v1.LinkService`: one task per node reads what the node says and hands it to those it concerns.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use fanfare_cluster::byte_queue::Receiver;
use fanfare_cluster::channel::{ChannelName, Namespaces};
use fanfare_cluster::dial::{MAX_LINK_MESSAGE, cluster_server};
use fanfare_cluster::member::{Incarnation, MemberId};
use fanfare_cluster::tasks::Tasks;
use fanfare_proto::link::link_service_server::{LinkService, LinkServiceServer};
use fanfare_proto::link::{self, OpenRequest, OpenResponse, open_request, open_response};
use futures_util::Stream;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio_util::sync::WaitForCancellationFutureOwned;
use tonic::transport::server::TcpIncoming;
use tonic::{Request, Response, Status, Streaming};
use tracing::{debug, error, info, warn};

use crate::links::{Link, Links, Outgoing};
use crate::metrics::Metrics;
use crate::owners::{Owners, Publish};
use crate::receipts::{Counts, Receipts};
use crate::router::Router;

/// The version of the link protocol that this replica speaks.
const VERSION: u32 = 1;
/// A node that dials says Hello at once.
const HELLO_TIMEOUT: Duration = Duration::from_secs(5);
/// The client protocol's "internal server error", temporary.
const INTERNAL_ERROR: u32 = 100;

/// The service; cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct LinkApi {
    pub(crate) me: MemberId,
    pub(crate) incarnation: Incarnation,
    pub(crate) links: Arc<Links>,
    pub(crate) owners: Owners,
    pub(crate) router: Arc<Router>,
    pub(crate) receipts: Arc<Receipts>,
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
            .serve_with_incoming_shutdown(TcpIncoming::from(listener), stopping.cancelled())
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
        let (link, outgoing) = self.links.open(&hello, &node);
        info!(node = %link.node(), "a node is linked");
        link.send(open_response::Message::Welcome(link::Welcome {
            replica: self.me.as_str().to_owned(),
            incarnation: self.incarnation.to_wire(),
            version: VERSION.min(hello.version),
            namespaces_hash: self.channels.hash(),
        }));
        let ended = Box::pin(link.ended().clone().cancelled_owned());
        self.tasks.spawn("link reader", self.clone().read(link, incoming));
        Ok(Response::new(Outbound { outgoing, ended, sequence: 0 }))
    }
}

impl LinkApi {
    /// Takes what the node says until the link ends, then tells everybody that it has.
    async fn read(self, link: Link, mut incoming: Streaming<OpenRequest>) {
        // Here and not where the call is answered: that may be given up in the middle, this never is.
        self.owners.session_up(&link).await;
        let stopping = self.tasks.stopping();
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
        self.receipts.session_down(link.session());
        info!(node = %link.node(), "a node is no longer linked");
    }

    async fn take(&self, link: &Link, message: open_request::Message) {
        use open_request::Message;
        match message {
            Message::Follow(link::Follow { channel }) => match ChannelName::parse(&channel) {
                Ok(name) if self.router.owns(&name) => self.owners.follow(link.session(), name).await,
                _ => refuse(link, channel, 0),
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
            Message::CaughtUp(_) => self.owners.caught_up(link.session()).await,
            Message::Hello(_) => debug!(node = %link.node(), "a second hello is ignored"),
            // The load and the node's placement are of use once there are several nodes and replicas.
            Message::Placement(_) | Message::Load(_) | Message::Inspected(_) => {}
        }
    }

    /// A client publishes. The answer goes back on the link when the publication has its place.
    async fn publish(&self, link: &Link, publish: link::Publish) {
        let link::Publish { ticket, channel, publication } = publish;
        let (name, publication) = match (ChannelName::parse(&channel), publication) {
            (Ok(name), Some(publication)) if self.router.owns(&name) => (name, publication),
            _ => return refuse(link, channel, ticket),
        };
        let (placed, placing) = oneshot::channel();
        let publish = Publish { channel: name, publication, exclude: Vec::new(), receipt: None, placed };
        self.router.count_unreachable();
        self.owners.publish_from_link(publish).await;
        let link = link.clone();
        self.tasks.spawn("client publish", async move {
            let error = if placing.await.is_ok() { 0 } else { INTERNAL_ERROR };
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
