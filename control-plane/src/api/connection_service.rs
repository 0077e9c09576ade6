//! `fanfare.v1.ConnectionService`: what is known of connections, and what is done with them.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use fanfare_cluster::channel::Namespaces;
use fanfare_cluster::member::MemberId;
use fanfare_proto::Timestamp;
use fanfare_proto::link::{self, open_response};
use fanfare_proto::v1::connection_service_server::ConnectionService;
use fanfare_proto::v1::subject::Kind;
use fanfare_proto::v1::{
    Connection, DisconnectRequest, DisconnectResponse, GetConnectionRequest, GetConnectionResponse, Outcome,
    RefreshRequest, RefreshResponse, RevokeTokensRequest, RevokeTokensResponse, Subject, SubscribeRequest,
    SubscribeResponse, UnsubscribeRequest, UnsubscribeResponse,
};
use tonic::{Request, Response, Status};

use super::asked::Asked;
use super::deadline::time_left;
use super::receipt::gaps;
use crate::inspections::Inspections;
use crate::links::Links;
use crate::operation::{Operation, parse_connection, parse_revocation, unix_seconds};
use crate::refusal::Refusal;
use crate::repeats::Repeats;
use crate::revocations::Revocations;
use crate::router::{Receipt, Router};

/// The service; cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct ConnectionApi {
    pub(crate) router: Arc<Router>,
    pub(crate) links: Arc<Links>,
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
        let act = async { self.router.act(operation, asked.patience).await.map(outcome) };
        Ok(Some(self.repeats.once(asked.key, act).await?))
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
fn named(subject: Option<&Subject>) -> String {
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

fn describe(id: &str, node: &MemberId, state: link::ConnectionState) -> Connection {
    let milliseconds = Duration::from_millis(state.connected_at_ms);
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
        connected_at: Some(Timestamp {
            seconds: seconds(milliseconds.as_secs()),
            nanos: milliseconds.subsec_nanos() as i32,
        }),
        expires_at: (state.expires_at != 0)
            .then(|| Timestamp { seconds: seconds(state.expires_at), nanos: 0 }),
        info: state.info,
        meta: state.meta,
        channels: state.channels,
        queued_bytes: state.queued_bytes,
    }
}
