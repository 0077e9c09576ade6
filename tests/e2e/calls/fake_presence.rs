//! The fake API's answers to who is present.

use std::pin::Pin;

use fanfare_proto::v1::presence_change::What;
use fanfare_proto::v1::presence_service_server::PresenceService;
use fanfare_proto::v1::watch_presence_response::Event;
use fanfare_proto::v1::*;
use futures_util::{Stream, StreamExt as _, stream};
use tonic::{Request, Response, Status};

use super::fake_api::{Fake, THEN, lacking};

fn member(user: &str) -> Member {
    Member {
        connection: "abc".to_owned(),
        user: user.to_owned(),
        node: "node-1".to_owned(),
        info: "{\"name\":\"Ann\"}".into(),
        joined_at: Some(THEN),
        ..Default::default()
    }
}

fn told(cursor: &str, event: Event) -> Result<WatchPresenceResponse, Status> {
    Ok(WatchPresenceResponse { cursor: cursor.to_owned(), event: Some(event) })
}

fn change(at: Option<fanfare_proto::Timestamp>, what: What) -> Event {
    Event::Change(PresenceChange { at, channel: "news".to_owned(), what: Some(what) })
}

#[tonic::async_trait]
impl PresenceService for Fake {
    type WatchPresenceStream = Pin<Box<dyn Stream<Item = Result<WatchPresenceResponse, Status>> + Send>>;

    /// Two pages.
    async fn get_presence(
        &self,
        request: Request<GetPresenceRequest>,
    ) -> Result<Response<GetPresenceResponse>, Status> {
        let request = self.note(request, "read")?;
        if request.channel == "off" {
            return Err(Status::failed_precondition("no presence there"));
        }
        let (user, next) = if request.page_token.is_empty() { ("42", "second") } else { ("", "") };
        let members = vec![member(user)];
        let answer =
            GetPresenceResponse { members, next_page_token: next.to_owned(), coverage: Some(lacking()) };
        Ok(Response::new(answer))
    }

    async fn get_presence_stats(
        &self,
        request: Request<GetPresenceStatsRequest>,
    ) -> Result<Response<GetPresenceStatsResponse>, Status> {
        self.note(request, "read")?;
        let coverage = Some(Coverage::default());
        Ok(Response::new(GetPresenceStatsResponse { connections: 5, users: 3, coverage }))
    }

    /// The user "42" is online, others are not; "7" may be.
    async fn get_user_presence(
        &self,
        request: Request<GetUserPresenceRequest>,
    ) -> Result<Response<GetUserPresenceResponse>, Status> {
        let presence = |user: String| match user.as_str() {
            "42" => UserPresence {
                user,
                online: true,
                complete: true,
                connections: 2,
                nodes: vec!["node-1".to_owned(), "node-2".to_owned()],
                since: Some(THEN),
                last_seen: None,
            },
            _ => UserPresence { complete: user != "7", user, last_seen: Some(THEN), ..Default::default() },
        };
        let users = self.note(request, "read")?.users.into_iter().map(presence).collect();
        Ok(Response::new(GetUserPresenceResponse { users, coverage: Some(lacking()) }))
    }

    /// Breaks off after a change; who comes back with the cursor is told one more, and is then refused.
    async fn watch_presence(
        &self,
        request: Request<WatchPresenceRequest>,
    ) -> Result<Response<Self::WatchPresenceStream>, Status> {
        let request = self.note(request, "read")?;
        let start = |reason: SnapshotReason| {
            Event::SnapshotStart(SnapshotStart { subject: None, reason: reason.into() })
        };
        let events = match request.cursor.as_str() {
            "" => vec![
                told("", Event::Coverage(lacking())),
                told("", start(SnapshotReason::First)),
                told("", change(None, What::Joined(member("\u{1b}[31m")))),
                told("first", Event::SnapshotEnd(SnapshotEnd::default())),
                told("second", change(Some(THEN), What::Left(member("42")))),
                Err(Status::unavailable("the replica stops")),
            ],
            _ => vec![
                told("", start(SnapshotReason::Slow)),
                told("third", change(Some(THEN), What::Joined(member("7")))),
                Err(Status::permission_denied("the key is gone")),
            ],
        };
        Ok(Response::new(stream::iter(events).boxed()))
    }
}
