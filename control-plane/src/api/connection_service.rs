//! `fanfare.v1.ConnectionService`: what is known of connections, and what is done with them.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use fanfare_cluster::channel::{ChannelName, Namespaces};
use fanfare_cluster::member::MemberId;
use fanfare_proto::Timestamp;
use fanfare_proto::link::act::Action;
use fanfare_proto::link::{self, open_response};
use fanfare_proto::v1::connection_service_server::ConnectionService;
use fanfare_proto::v1::subject::Kind;
use fanfare_proto::v1::{
    self, Connection, DisconnectRequest, DisconnectResponse, GetConnectionRequest, GetConnectionResponse,
    ListConnectionsRequest, ListConnectionsResponse, Outcome, RefreshRequest, RefreshResponse,
    RevokeTokensRequest, RevokeTokensResponse, SubscribeRequest, SubscribeResponse, UnsubscribeRequest,
    UnsubscribeResponse,
};
use tonic::{Request, Response, Status};

use super::asked::Asked;
use super::connection_list::{self, Wanted};
use super::deadline::time_left;
use super::presence_answers::timestamp;
use super::receipt::gaps;
use crate::inspections::Inspections;
use crate::links::Links;
use crate::members::{Members, TooManySubscriptions};
use crate::operation::{Operation, Subject, parse_connection, parse_revocation, unix_seconds};
use crate::presence::Presence;
use crate::refusal::Refusal;
use crate::repeats::Repeats;
use crate::revocations::Revocations;
use crate::router::{Receipt, Router};

/// The service; cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct ConnectionApi {
    pub(crate) router: Arc<Router>,
    pub(crate) links: Arc<Links>,
    pub(crate) presence: Presence,
    pub(crate) inspections: Arc<Inspections>,
    pub(crate) revocations: Arc<Revocations>,
    pub(crate) repeats: Arc<Repeats>,
    pub(crate) channels: Arc<Namespaces>,
}

impl ConnectionApi {
    async fn carry_out(
        &self,
        asked: Asked,
        operation: Result<Operation, Refusal>,
    ) -> Result<Option<Outcome>, Status> {
        let operation = operation?;
        let act = async {
            self.keep(&operation).await?;
            self.router.act(operation, asked.patience).await.map(outcome)
        };
        Ok(Some(self.repeats.once(asked.key, act).await?))
    }

    /// Keeps a subscription for a user who is online, or keeps it no longer. Before nodes are told: whoever comes in
    /// between is told by one or the other.
    async fn keep(&self, operation: &Operation) -> Result<(), Refusal> {
        let Subject::User(user) = operation.subject.clone() else { return Ok(()) };
        let (channel, keeps) = match &operation.action {
            Action::Subscribe(subscribe) => (&subscribe.channel, true),
            Action::Unsubscribe(unsubscribe) => (&unsubscribe.channel, false),
            _ => return Ok(()),
        };
        let Ok(channel) = ChannelName::parse(channel) else { return Ok(()) };
        if !self.router.owns(&user) {
            return Err(Refusal::NoOwner);
        }
        let task = self.presence.index(&user);
        let change = move |members: &mut Members, _| match keeps {
            true => members.subscribe(&user, channel),
            false => {
                members.unsubscribe(&user, &channel);
                Ok(())
            }
        };
        self.presence.ask(task, change).await?.map_err(|TooManySubscriptions| Refusal::TooManySubscriptions)
    }

    async fn revoke(&self, request: RevokeTokensRequest, patience: Duration) -> Result<Outcome, Refusal> {
        let now = SystemTime::now();
        let (channel, revocation) = parse_revocation(&request, now)?;
        let kept = self.revocations.add_and_keep(revocation.clone(), unix_seconds(now)).await;
        // What cannot be kept for later is refused now all the same.
        let told = match &kept {
            Ok(revocation) => revocation.clone(),
            Err(Refusal::NotKept) => revocation,
            Err(_) => return kept.map(|_| Outcome::default()),
        };
        for link in self.links.all() {
            let revocations = vec![told.clone()];
            link.send(open_response::Message::Revocations(link::Revocations { revocations }));
        }
        kept?;
        // Nodes hear of it before they are told to close connections, so none comes back in between.
        if request.disconnect {
            return self.router.act(Operation::end_revoked(channel), patience).await.map(outcome);
        }
        Ok(Outcome { complete: true, ..Default::default() })
    }

    async fn inspect(&self, id: &str, left: Option<Duration>) -> Result<Connection, Refusal> {
        let connection = parse_connection("connection", id)?;
        let link = self.links.of_connection(connection.node_tag()).ok_or(Refusal::UnknownConnection)?;
        let state = self.inspections.ask(&link, connection, left).await?;
        Ok(describe(id, link.node(), state))
    }
}

#[tonic::async_trait]
impl ConnectionService for ConnectionApi {
    async fn get_connection(
        &self,
        request: Request<GetConnectionRequest>,
    ) -> Result<Response<GetConnectionResponse>, Status> {
        let left = time_left(request.metadata().as_ref());
        let connection = Some(self.inspect(&request.get_ref().connection, left).await?);
        Ok(Response::new(GetConnectionResponse { connection }))
    }

    async fn list_connections(
        &self,
        request: Request<ListConnectionsRequest>,
    ) -> Result<Response<ListConnectionsResponse>, Status> {
        let left = time_left(request.metadata().as_ref());
        let wanted = Wanted::parse(request.into_inner(), SystemTime::now())?;
        let of = (&self.router, &self.links, &self.inspections);
        Ok(Response::new(connection_list::list(wanted, of, left).await))
    }

    async fn disconnect(
        &self,
        request: Request<DisconnectRequest>,
    ) -> Result<Response<DisconnectResponse>, Status> {
        let about = request.get_ref();
        let asked = Asked::new(&request, "Disconnect", &about.request_id, named(about.subject.as_ref()))?;
        let outcome = self.carry_out(asked, Operation::disconnect(request.get_ref())).await?;
        Ok(Response::new(DisconnectResponse { outcome }))
    }

    async fn subscribe(
        &self,
        request: Request<SubscribeRequest>,
    ) -> Result<Response<SubscribeResponse>, Status> {
        let about = request.get_ref();
        let asked = Asked::new(&request, "Subscribe", &about.request_id, named(about.subject.as_ref()))?;
        let operation = Operation::subscribe(request.into_inner(), &self.channels);
        let outcome = self.carry_out(asked, operation).await?;
        Ok(Response::new(SubscribeResponse { outcome }))
    }

    async fn unsubscribe(
        &self,
        request: Request<UnsubscribeRequest>,
    ) -> Result<Response<UnsubscribeResponse>, Status> {
        let about = request.get_ref();
        let asked = Asked::new(&request, "Unsubscribe", &about.request_id, named(about.subject.as_ref()))?;
        let operation = Operation::unsubscribe(request.into_inner(), &self.channels);
        let outcome = self.carry_out(asked, operation).await?;
        Ok(Response::new(UnsubscribeResponse { outcome }))
    }

    async fn refresh(&self, request: Request<RefreshRequest>) -> Result<Response<RefreshResponse>, Status> {
        let about = request.get_ref();
        let asked = Asked::new(&request, "Refresh", &about.request_id, named(about.subject.as_ref()))?;
        let outcome = self.carry_out(asked, Operation::refresh(request.get_ref())).await?;
        Ok(Response::new(RefreshResponse { outcome }))
    }

    async fn revoke_tokens(
        &self,
        request: Request<RevokeTokensRequest>,
    ) -> Result<Response<RevokeTokensResponse>, Status> {
        let about = request.get_ref();
        let subject = format!("user {:?}", about.user);
        let asked = Asked::new(&request, "RevokeTokens", &about.request_id, subject)?;
        let revoke = self.revoke(request.into_inner(), asked.patience);
        let outcome = Some(self.repeats.once(asked.key, revoke).await?);
        Ok(Response::new(RevokeTokensResponse { outcome }))
    }
}

/// Whom a call concerns, for the audit line: also if it is not good.
fn named(subject: Option<&v1::Subject>) -> String {
    match subject.and_then(|subject| subject.kind.as_ref()) {
        None => String::new(),
        Some(Kind::User(user)) => format!("user {user:?}"),
        Some(Kind::Connection(connection)) => format!("connection {connection:?}"),
    }
}

fn outcome(receipt: Receipt) -> Outcome {
    Outcome {
        connections: receipt.counts.written,
        nodes_asked: receipt.nodes_asked as u32,
        complete: receipt.gaps.is_empty(),
        gaps: gaps(receipt.gaps),
    }
}

pub(super) fn describe(id: &str, node: &MemberId, state: link::ConnectionState) -> Connection {
    let seconds = |seconds: u64| i64::try_from(seconds).unwrap_or(i64::MAX);
    Connection {
        connection: id.to_ascii_lowercase(),
        user: state.user,
        node: node.as_str().to_owned(),
        remote_address: state.remote_address,
        encoding: if state.protobuf { "protobuf" } else { "json" }.to_owned(),
        tls: state.tls,
        sdk_name: state.sdk_name,
        sdk_version: state.sdk_version,
        connected_at: timestamp(state.connected_at_ms),
        expires_at: (state.expires_at != 0)
            .then(|| Timestamp { seconds: seconds(state.expires_at), nanos: 0 }),
        info: state.info,
        meta: state.meta,
        channels: state.channels,
        queued_bytes: state.queued_bytes,
    }
}
