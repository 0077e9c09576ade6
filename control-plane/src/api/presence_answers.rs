//! What is answered of who is there.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use fanfare_cluster::channel::ChannelName;
use fanfare_cluster::connection_id::ConnectionId;
use fanfare_cluster::member::MemberId;
use fanfare_proto::Timestamp;
use fanfare_proto::v1::presence_subject::Kind;
use fanfare_proto::v1::{self, GapReason, PresenceSubject, UserPresence};

use super::receipt::gaps;
use crate::members::{Coverage, MemberView, UserView};

/// How far an answer of now can be believed.
pub(super) fn coverage(Coverage { complete, missing }: Coverage) -> v1::Coverage {
    v1::Coverage { as_of: Some(SystemTime::now().into()), complete, missing: gaps(missing) }
}

/// How far an answer of several tasks can be believed.
pub(super) fn merged(all: impl IntoIterator<Item = Coverage>) -> Coverage {
    let (mut complete, mut missing) = (true, BTreeMap::<MemberId, GapReason>::new());
    for coverage in all {
        complete &= coverage.complete;
        missing.extend(coverage.missing);
    }
    Coverage { complete, missing: missing.into_iter().collect() }
}

pub(super) fn member(id: ConnectionId, view: MemberView) -> v1::Member {
    let infos = view.infos.as_ref();
    v1::Member {
        connection: id.to_string(),
        user: view.user.to_string(),
        node: view.node.map(String::from).unwrap_or_default(),
        info: infos.map(|infos| infos.connection.clone()).unwrap_or_default(),
        channel_info: infos.map(|infos| infos.subscription.clone()).unwrap_or_default(),
        joined_at: timestamp(view.joined_at_ms),
    }
}

pub(super) fn user(view: UserView, complete: bool) -> UserPresence {
    UserPresence {
        user: view.user,
        online: view.online,
        complete,
        connections: u32::try_from(view.connections).unwrap_or(u32::MAX),
        nodes: view.nodes.into_iter().map(String::from).collect(),
        since: timestamp(view.since_ms),
        last_seen: timestamp(view.last_seen_ms),
    }
}

/// A channel as it is asked for; a personal one stands for its user.
pub(super) fn subject(channel: &ChannelName) -> Option<PresenceSubject> {
    let name = channel.as_str();
    let kind = match name.strip_prefix('#') {
        Some(user) => Kind::User(user.to_owned()),
        None => Kind::Channel(name.to_owned()),
    };
    Some(PresenceSubject { kind: Some(kind) })
}

/// None for 0.
pub(super) fn timestamp(unix_ms: u64) -> Option<Timestamp> {
    let since = Duration::from_millis(unix_ms);
    let seconds = i64::try_from(since.as_secs()).unwrap_or(i64::MAX);
    (unix_ms != 0).then_some(Timestamp { seconds, nanos: since.subsec_nanos() as i32 })
}
