//! `fanfare.v1.PresenceService`: who is in channels, and which users are online.

use std::collections::{BTreeMap, HashSet};
use std::pin::Pin;
use std::sync::Arc;

use fanfare_cluster::channel::{ChannelName, Namespaces};
use fanfare_cluster::connection_id::ConnectionId;
use fanfare_proto::v1::presence_service_server::PresenceService;
use fanfare_proto::v1::presence_subject::Kind;
use fanfare_proto::v1::{
    GetPresenceRequest, GetPresenceResponse, GetPresenceStatsRequest, GetPresenceStatsResponse,
    GetUserPresenceRequest, GetUserPresenceResponse, PresenceSubject, UserPresence, WatchPresenceRequest,
    WatchPresenceResponse,
};
use futures_util::future::try_join_all;
use futures_util::{Stream, StreamExt as _};
use tonic::{Request, Response, Status};

use super::pages::{parse_size, parse_token, token_behind};
use super::presence_answers::{coverage, member, merged, user};
use super::presence_watch::{ShownCursor, watch};
use crate::members::Members;
use crate::presence::Presence;
use crate::refusal::Refusal;
use crate::router::Router;

/// Users that one call may ask for, and subjects that one may watch.
const MAX_SUBJECTS: usize = 1000;

/// The service; cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct PresenceApi {
    pub(crate) router: Arc<Router>,
    pub(crate) presence: Presence,
    pub(crate) channels: Arc<Namespaces>,
}

impl PresenceApi {
    /// A channel that has presence and is this replica's.
    fn channel(&self, field: &'static str, name: &str) -> Result<ChannelName, Refusal> {
        let channel = ChannelName::parse(name).map_err(|why| Refusal::invalid(field, why.to_string()))?;
        if channel.is_personal() {
            return Err(Refusal::invalid(
                field,
                "channels that begin with '#' belong to users: ask about the user",
            ));
        }
        let rules = self.channels.of(&channel).map_err(|why| Refusal::invalid(field, why.to_string()))?;
        match rules.options.presence {
            true => self.owned(channel),
            false => Err(Refusal::PresenceOff),
        }
    }

    /// The personal channel of a user, which is this replica's.
    fn user(&self, field: &'static str, user: &str) -> Result<ChannelName, Refusal> {
        let why = "a user id has 1 to 254 bytes and no control characters";
        self.owned(ChannelName::personal(user).map_err(|_| Refusal::invalid(field, why))?)
    }

    fn owned(&self, channel: ChannelName) -> Result<ChannelName, Refusal> {
        if self.router.owns(&channel) { Ok(channel) } else { Err(Refusal::NoOwner) }
    }

    async fn page(&self, request: GetPresenceRequest) -> Result<GetPresenceResponse, Refusal> {
        let channel = self.channel("channel", &request.channel)?;
        let size = parse_size(request.page_size)?;
        let after = parse_token(&request.page_token, |bytes| ConnectionId::try_from(&bytes[..]).ok())?;
        let task = self.presence.index(&channel);
        let read = move |members: &mut Members, _| (members.page(&channel, after, size), members.coverage());
        let (page, covered) = self.presence.ask(task, read).await?;
        let last = page.members.last().filter(|_| page.more);
        Ok(GetPresenceResponse {
            next_page_token: last.map_or_else(String::new, |(id, _)| token_behind(id.as_bytes())),
            members: page.members.into_iter().map(|(id, view)| member(id, view)).collect(),
            coverage: Some(coverage(covered)),
        })
    }

    async fn stats(&self, request: GetPresenceStatsRequest) -> Result<GetPresenceStatsResponse, Refusal> {
        let channel = self.channel("channel", &request.channel)?;
        let task = self.presence.index(&channel);
        let read = self.presence.ask(task, move |members, _| (members.counts(&channel), members.coverage()));
        let (counts, covered) = read.await?;
        Ok(GetPresenceStatsResponse {
            connections: counts.connections as u64,
            users: counts.users as u64,
            coverage: Some(coverage(covered)),
        })
    }

    async fn users(&self, request: GetUserPresenceRequest) -> Result<GetUserPresenceResponse, Refusal> {
        if request.users.is_empty() || request.users.len() > MAX_SUBJECTS {
            return Err(Refusal::invalid("users", format!("1 to {MAX_SUBJECTS} users")));
        }
        let mut shares = BTreeMap::<usize, Vec<(usize, ChannelName)>>::new();
        for (at, user) in request.users.iter().enumerate() {
            let channel = self.user("users", user)?;
            shares.entry(self.presence.index(&channel)).or_default().push((at, channel));
        }
        let ask = |(task, share): (usize, Vec<(usize, ChannelName)>)| {
            self.presence.ask(task, move |members, _| {
                let users = share.into_iter().map(|(at, channel)| (at, members.user(&channel)));
                (users.collect::<Vec<_>>(), members.coverage())
            })
        };
        let mut users = vec![UserPresence::default(); request.users.len()];
        let mut all = Vec::new();
        for (share, covered) in try_join_all(shares.into_iter().map(ask)).await? {
            for (at, view) in share {
                users[at] = user(view, covered.complete);
            }
            all.push(covered);
        }
        Ok(GetUserPresenceResponse { users, coverage: Some(coverage(merged(all))) })
    }

    fn subjects(&self, subjects: Vec<PresenceSubject>) -> Result<Vec<ChannelName>, Refusal> {
        if subjects.is_empty() || subjects.len() > MAX_SUBJECTS {
            return Err(Refusal::invalid("subjects", format!("1 to {MAX_SUBJECTS} channels and users")));
        }
        let mut seen = HashSet::new();
        let parse = |subject: PresenceSubject| {
            let channel = match subject.kind {
                Some(Kind::Channel(name)) => self.channel("subjects.channel", &name)?,
                Some(Kind::User(user)) => self.user("subjects.user", &user)?,
                None => return Err(Refusal::invalid("subjects", "a channel or a user is required in each")),
            };
            match seen.insert(channel.clone()) {
                true => Ok(channel),
                false => Err(Refusal::invalid("subjects", "each can be there only once")),
            }
        };
        subjects.into_iter().map(parse).collect()
    }
}

#[tonic::async_trait]
impl PresenceService for PresenceApi {
    type WatchPresenceStream = Pin<Box<dyn Stream<Item = Result<WatchPresenceResponse, Status>> + Send>>;

    async fn get_presence(
        &self,
        request: Request<GetPresenceRequest>,
    ) -> Result<Response<GetPresenceResponse>, Status> {
        Ok(Response::new(self.page(request.into_inner()).await?))
    }

    async fn get_presence_stats(
        &self,
        request: Request<GetPresenceStatsRequest>,
    ) -> Result<Response<GetPresenceStatsResponse>, Status> {
        Ok(Response::new(self.stats(request.into_inner()).await?))
    }

    async fn get_user_presence(
        &self,
        request: Request<GetUserPresenceRequest>,
    ) -> Result<Response<GetUserPresenceResponse>, Status> {
        Ok(Response::new(self.users(request.into_inner()).await?))
    }

    async fn watch_presence(
        &self,
        request: Request<WatchPresenceRequest>,
    ) -> Result<Response<Self::WatchPresenceStream>, Status> {
        let WatchPresenceRequest { subjects, cursor } = request.into_inner();
        let channels = self.subjects(subjects)?;
        let cursor = ShownCursor::parse(&cursor)?;
        let watching = self.presence.watch(channels, |task| cursor.as_ref().map(|all| all.of(task))).await;
        Ok(Response::new(Box::pin(watch(watching).map(|told| told.map_err(Status::from)))))
    }
}
