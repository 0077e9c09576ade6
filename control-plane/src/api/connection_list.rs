//! Lists connections: asks nodes, as many as a page needs.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use fanfare_cluster::channel::ChannelName;
use fanfare_cluster::connection_id::ConnectionId;
use fanfare_cluster::member::MemberId;
use fanfare_proto::link;
use fanfare_proto::v1::{Connection, GapReason, ListConnectionsRequest, ListConnectionsResponse};
use futures_util::future::join_all;

use super::connection_service::describe;
use super::pages::{parse_size, parse_token, token_behind};
use super::presence_answers::coverage;
use crate::inspections::Inspections;
use crate::links::{Link, Links};
use crate::members::Coverage;
use crate::refusal::Refusal;
use crate::router::Router;

/// Nodes that are asked at a time. Connections are in the order of their nodes' tags, so a page that is full needs no
/// further nodes.
const AT_ONCE: usize = 8;

/// Which connections are wanted.
pub(super) struct Wanted {
    size: usize,
    after: Option<ConnectionId>,
    node: Option<MemberId>,
    list: link::ListConnections,
}

impl Wanted {
    pub(super) fn parse(request: ListConnectionsRequest, now: SystemTime) -> Result<Self, Refusal> {
        let ListConnectionsRequest { user, channel, sdk_name, .. } = request;
        if !user.is_empty() && ChannelName::personal(&user).is_err() {
            return Err(Refusal::invalid("user", "a user id has 1 to 254 bytes and no control characters"));
        }
        if !channel.is_empty() {
            ChannelName::parse(&channel).map_err(|why| Refusal::invalid("channel", why.to_string()))?;
        }
        let node = match request.node.as_str() {
            "" => None,
            node => Some(node.parse().map_err(|why: fanfare_cluster::member::InvalidMemberId| {
                Refusal::invalid("node", why.to_string())
            })?),
        };
        let size = parse_size(request.page_size)?;
        let list = link::ListConnections {
            user,
            channel,
            sdk_name,
            connected_before_ms: before("min_age", request.min_age, now)?,
            connected_after_ms: before("max_age", request.max_age, now)?,
            limit: size as u32,
            ..Default::default()
        };
        let after = parse_token(&request.page_token, |bytes| ConnectionId::try_from(&bytes[..]).ok())?;
        Ok(Self { size, after, node, list })
    }
}

/// The time so long ago, in Unix milliseconds; 0 if no age is given.
fn before(
    field: &'static str,
    age: Option<fanfare_proto::Duration>,
    now: SystemTime,
) -> Result<u64, Refusal> {
    let Some(age) = age else { return Ok(0) };
    let age = Duration::try_from(age).map_err(|_| Refusal::invalid(field, "must not be negative"))?;
    let since = now.duration_since(UNIX_EPOCH).unwrap_or_default().saturating_sub(age);
    // 0 would mean any time.
    Ok(u64::try_from(since.as_millis()).unwrap_or(u64::MAX).max(1))
}

/// A page of what is wanted; nodes get no longer than `left` to answer.
pub(super) async fn list(
    wanted: Wanted,
    (router, links, inspections): (&Arc<Router>, &Arc<Links>, &Arc<Inspections>),
    left: Option<Duration>,
) -> ListConnectionsResponse {
    let Wanted { size, after, node, list } = wanted;
    let is_meant = |id: &MemberId| node.as_ref().is_none_or(|node| node == id);
    let members = router.members();
    let unlinked = links.unlinked(members.nodes.keys().filter(|id| is_meant(id)));
    let mut missing: Vec<_> = unlinked.into_iter().map(|id| (id, GapReason::Unreachable)).collect();
    let first_tag = after.map_or(0, ConnectionId::node_tag);
    let mut asked: Vec<Link> = links
        .all()
        .into_iter()
        .filter(|link| is_meant(link.node()) && link.incarnation().tag() >= first_tag)
        .collect();
    asked.sort_by_key(|link| link.incarnation().tag());
    let list = link::ListConnections { after: after.map(ConnectionId::to_bytes).unwrap_or_default(), ..list };
    let (mut found, mut more) = (Vec::new(), false);
    for some in asked.chunks(AT_ONCE) {
        let answers = some.iter().map(|link| inspections.list(link, list.clone(), left));
        for (link, answer) in some.iter().zip(join_all(answers).await) {
            match answer {
                // What a node has not said stands before all that later ones say.
                Ok(_) if more => {}
                Ok(listed) => more = take(&mut found, link, listed),
                Err(_) => missing.push((link.node().clone(), GapReason::Silent)),
            }
        }
        // One more than a page holds shows that there is another page.
        if more || found.len() > size {
            break;
        }
    }
    more |= found.len() > size;
    found.truncate(size);
    let last = found.last().filter(|_| more);
    missing.sort();
    ListConnectionsResponse {
        next_page_token: last.map_or_else(String::new, |(id, _)| token_behind(id.as_bytes())),
        connections: found.into_iter().map(|(_, connection)| connection).collect(),
        coverage: Some(coverage(Coverage { complete: missing.is_empty(), missing })),
    }
}

/// Takes what a node has listed; returns whether the page must end with it, because the node has more.
fn take(found: &mut Vec<(ConnectionId, Connection)>, link: &Link, listed: link::ConnectionsListed) -> bool {
    let has_more = listed.more && !listed.connections.is_empty();
    for listed in listed.connections {
        // Other ids than its own would break the order of pages.
        if let Ok(id) = ConnectionId::try_from(&*listed.connection)
            && id.node_tag() == link.incarnation().tag()
        {
            let state = listed.state.unwrap_or_default();
            found.push((id, describe(&id.to_string(), link.node(), state)));
        }
    }
    has_more
}
