//! `fanfare.v1.ClusterService`: what operators want to know of the cluster.

use std::ops::Bound;
use std::sync::Arc;

use fanfare_cluster::member::MemberId;
use fanfare_cluster::registry::NodeRecord;
use fanfare_proto::Timestamp;
use fanfare_proto::v1::cluster_service_server::ClusterService;
use fanfare_proto::v1::{ListNodesRequest, ListNodesResponse, Node, NodeState};
use tonic::{Request, Response, Status};

use crate::links::Links;
use crate::refusal::Refusal;
use crate::router::Router;

const DEFAULT_PAGE: usize = 100;
const MAX_PAGE: usize = 1000;

/// The service; cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct ClusterApi {
    pub(crate) router: Arc<Router>,
    pub(crate) links: Arc<Links>,
}

impl ClusterApi {
    fn describe(&self, id: &MemberId, record: &NodeRecord) -> Node {
        let mut node = Node {
            node: id.as_str().to_owned(),
            state: NodeState::Unlinked.into(),
            capacity: record.capacity,
            ..Default::default()
        };
        if let Some(link) = self.links.of_node(id) {
            let report = link.report();
            node.state = NodeState::Linked.into();
            node.version = report.version;
            node.connections = report.connections;
            node.capacity = report.capacity;
            node.reported_at = report.at.map(Timestamp::from);
        }
        node
    }
}

#[tonic::async_trait]
impl ClusterService for ClusterApi {
    async fn list_nodes(
        &self,
        request: Request<ListNodesRequest>,
    ) -> Result<Response<ListNodesResponse>, Status> {
        let ListNodesRequest { page_size, page_token } = request.into_inner();
        let size = parse_size(page_size)?;
        let from = match parse_token(&page_token)? {
            None => Bound::Unbounded,
            Some(last) => Bound::Excluded(last),
        };
        let members = self.router.members();
        let mut rest = members.nodes.range((from, Bound::Unbounded));
        let nodes: Vec<Node> =
            rest.by_ref().take(size).map(|(id, record)| self.describe(id, record)).collect();
        let more = rest.next().and(nodes.last());
        let next_page_token = more.map_or_else(String::new, |last| token_behind(&last.node));
        Ok(Response::new(ListNodesResponse { nodes, next_page_token }))
    }
}

fn parse_size(size: i32) -> Result<usize, Refusal> {
    match usize::try_from(size) {
        Ok(0) => Ok(DEFAULT_PAGE),
        Ok(size) => Ok(size.min(MAX_PAGE)),
        Err(_) => Err(Refusal::invalid("page_size", "must not be negative")),
    }
}

/// A page goes on behind a node's id, so that nodes that come or go in between shift nothing. The token is the
/// id in hexadecimal, lest somebody takes it for something to write by hand.
fn token_behind(id: &str) -> String {
    id.bytes().map(|byte| format!("{byte:02x}")).collect()
}

fn parse_token(token: &str) -> Result<Option<MemberId>, Refusal> {
    if token.is_empty() {
        return Ok(None);
    }
    let digits = token.chars().map(|digit| digit.to_digit(16)).collect::<Option<Vec<_>>>();
    let digits = digits.filter(|digits| digits.len() % 2 == 0);
    let bytes = digits.map(|digits| digits.chunks(2).map(|pair| (pair[0] << 4 | pair[1]) as u8).collect());
    let id = bytes.and_then(|bytes| String::from_utf8(bytes).ok()).and_then(|id| id.parse().ok());
    id.map(Some).ok_or_else(|| Refusal::invalid("page_token", "must be a next_page_token of this service"))
}

#[cfg(test)]
mod tests {
    use fanfare_cluster::member::Incarnation;
    use fanfare_cluster::registry::{MemoryRegistry, Record, Registry as _};
    use fanfare_proto::link::{Hello, Load, Welcome};

    use super::*;
    use crate::metrics::Metrics;
    use crate::owners::{Owners, OwnersSetup};

    async fn api(ids: &[&str]) -> ClusterApi {
        let registry = MemoryRegistry::default();
        for id in ids {
            let record = NodeRecord { incarnation: Incarnation::random(), capacity: 7 };
            registry.register(&id.parse().unwrap(), Record::Node(record)).await.unwrap();
        }
        let metrics = Metrics::default();
        let links = Arc::new(Links::new(1 << 20, metrics.clone()));
        let owners = Owners::start(&OwnersSetup::in_memory(1 << 20, Default::default()), &Default::default());
        let me = "replica".parse().unwrap();
        let router = Router::new(me, owners, links.clone(), Arc::default(), registry.watch());
        ClusterApi { router: Arc::new(router), links }
    }

    async fn page(api: &ClusterApi, page_size: i32, page_token: &str) -> Result<(Vec<Node>, String), Status> {
        let request = ListNodesRequest { page_size, page_token: page_token.to_owned() };
        let answer = api.list_nodes(Request::new(request)).await?.into_inner();
        Ok((answer.nodes, answer.next_page_token))
    }

    #[tokio::test]
    async fn pages_go_on_where_the_last_one_ended() {
        let api = api(&["c", "a", "e", "b", "d"]).await;
        let (mut ids, mut token) = (Vec::new(), String::new());
        let mut pages = 0;
        while pages == 0 || !token.is_empty() {
            let (nodes, next) = page(&api, 2, &token).await.unwrap();
            ids.extend(nodes.into_iter().map(|node| node.node));
            token = next;
            pages += 1;
        }
        assert_eq!((ids.concat().as_str(), pages), ("abcde", 3));
        assert_eq!(page(&api, 5, "").await.unwrap().1, "", "there is no empty page at the end");
        assert_eq!(page(&api, i32::MAX, "").await.unwrap().0.len(), 5);
    }

    #[tokio::test]
    async fn tokens_and_sizes_that_are_not_ours_are_refused() {
        let api = api(&["a"]).await;
        for token in ["a", "zz", "41", "0", "ff"] {
            let status = page(&api, 0, token).await.unwrap_err();
            assert_eq!(status.code(), tonic::Code::InvalidArgument, "{token}");
        }
        assert_eq!(page(&api, -1, "").await.unwrap_err().code(), tonic::Code::InvalidArgument);
    }

    #[tokio::test]
    async fn a_linked_node_is_shown_with_what_it_says() {
        let api = api(&["a", "b"]).await;
        let hello = Hello {
            incarnation: 1 << 32,
            capacity: 5,
            fanfare_version: "1.2.3".into(),
            ..Default::default()
        };
        let (link, _queue) = api.links.open(&hello, &"a".parse().unwrap(), Welcome::default());
        let nodes = page(&api, 0, "").await.unwrap().0;
        assert_eq!((nodes[0].state(), nodes[0].version.as_str()), (NodeState::Linked, "1.2.3"));
        assert_eq!((nodes[0].capacity, nodes[0].reported_at.is_some()), (5, false));
        assert_eq!((nodes[1].state(), nodes[1].version.as_str()), (NodeState::Unlinked, ""));
        assert_eq!(nodes[1].capacity, 7);
        link.take_load(Load { connections: 3, capacity: 9 });
        let node = page(&api, 1, "").await.unwrap().0.remove(0);
        assert_eq!((node.connections, node.capacity, node.reported_at.is_some()), (3, 9, true));
    }
}
