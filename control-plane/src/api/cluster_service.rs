//! `fanfare.v1.ClusterService`: what operators want to know of the cluster.

use std::ops::Bound;
use std::sync::Arc;

use fanfare_cluster::channel::{ChannelName, Namespaces};
use fanfare_cluster::member::MemberId;
use fanfare_cluster::registry::NodeRecord;
use fanfare_proto::Timestamp;
use fanfare_proto::v1::cluster_service_server::ClusterService;
use fanfare_proto::v1::{
    Channel, ListChannelsRequest, ListChannelsResponse, ListNodesRequest, ListNodesResponse, Node, NodeState,
};
use futures_util::future::try_join_all;
use tokio::sync::Mutex;
use tonic::{Request, Response, Status};

use super::pages::{parse_size, parse_token, token_behind};
use super::presence_answers::{coverage, merged};
use crate::links::Links;
use crate::members::{Counts, Coverage};
use crate::owners::{ChannelsWanted, Owners};
use crate::presence::Presence;
use crate::refusal::Refusal;
use crate::router::Router;

/// The service; cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct ClusterApi {
    pub(crate) router: Arc<Router>,
    pub(crate) links: Arc<Links>,
    pub(crate) owners: Owners,
    pub(crate) presence: Presence,
    pub(crate) channels: Arc<Namespaces>,
    /// One list of channels at a time: each looks at all channels, which holds up their owners.
    pub(crate) listing: Arc<Mutex<()>>,
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

impl ClusterApi {
    async fn list_channels(&self, request: ListChannelsRequest) -> Result<ListChannelsResponse, Refusal> {
        let ListChannelsRequest { page_size, page_token, prefix } = request;
        let size = parse_size(page_size)?;
        let token = |bytes| ChannelName::parse(&String::from_utf8(bytes).ok()?).ok();
        let after = parse_token(&page_token, token)?;
        // One more than a page holds shows that there is another page.
        let turn = self.listing.lock().await;
        let mut listed = self.owners.list(ChannelsWanted { after, prefix, most: size + 1 }).await?;
        drop(turn);
        let more = listed.len() > size;
        listed.truncate(size);
        let last = listed.last().filter(|_| more);
        let next_page_token =
            last.map_or_else(String::new, |(last, _)| token_behind(last.as_str().as_bytes()));
        let (counts, covered) = self.count(&listed).await?;
        let channels = listed.into_iter().zip(counts).map(|((channel, nodes), counts)| Channel {
            channel: channel.as_str().to_owned(),
            nodes: u32::try_from(nodes).unwrap_or(u32::MAX),
            has_presence: counts.is_some(),
            connections: counts.map_or(0, |counts| counts.connections as u64),
            users: counts.map_or(0, |counts| counts.users as u64),
        });
        let channels = channels.collect();
        Ok(ListChannelsResponse { channels, next_page_token, coverage: Some(coverage(covered)) })
    }

    /// How many are in each channel, if its namespace has presence; and how far all this can be believed.
    async fn count(
        &self,
        listed: &[(ChannelName, usize)],
    ) -> Result<(Vec<Option<Counts>>, Coverage), Refusal> {
        let mut shares: Vec<Vec<(usize, ChannelName)>> = vec![Vec::new(); self.presence.count()];
        for (at, (channel, _)) in listed.iter().enumerate() {
            if self.channels.of(channel).is_ok_and(|rules| rules.options.presence) {
                shares[self.presence.index(channel)].push((at, channel.clone()));
            }
        }
        let ask = |(task, share): (usize, Vec<(usize, ChannelName)>)| {
            self.presence.ask(task, move |members, _| {
                let counts = share.into_iter().map(|(at, channel)| (at, members.counts(&channel)));
                (counts.collect::<Vec<_>>(), members.coverage())
            })
        };
        let (mut counts, mut all) = (vec![None; listed.len()], Vec::new());
        for (share, covered) in try_join_all(shares.into_iter().enumerate().map(ask)).await? {
            share.into_iter().for_each(|(at, count)| counts[at] = Some(count));
            all.push(covered);
        }
        Ok((counts, merged(all)))
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
        let token = |bytes| String::from_utf8(bytes).ok()?.parse().ok();
        let from = match parse_token(&page_token, token)? {
            None => Bound::Unbounded,
            Some(last) => Bound::<MemberId>::Excluded(last),
        };
        let members = self.router.members();
        let mut rest = members.nodes.range((from, Bound::Unbounded));
        let nodes: Vec<Node> =
            rest.by_ref().take(size).map(|(id, record)| self.describe(id, record)).collect();
        let more = rest.next().and(nodes.last());
        let next_page_token = more.map_or_else(String::new, |last| token_behind(last.node.as_bytes()));
        Ok(Response::new(ListNodesResponse { nodes, next_page_token }))
    }

    async fn list_channels(
        &self,
        request: Request<ListChannelsRequest>,
    ) -> Result<Response<ListChannelsResponse>, Status> {
        Ok(Response::new(self.list_channels(request.into_inner()).await?))
    }
}

#[cfg(test)]
mod tests {
    use fanfare_cluster::member::Incarnation;
    use fanfare_cluster::registry::{MemoryRegistry, Record, Registry as _};
    use fanfare_proto::link::{Hello, Load, Welcome};

    use super::*;
    use crate::metrics::Metrics;
    use crate::owners::OwnersSetup;
    use crate::presence::PresenceSetup;

    async fn api(ids: &[&str]) -> ClusterApi {
        let registry = MemoryRegistry::default();
        for id in ids {
            let record = NodeRecord { incarnation: Incarnation::random(), capacity: 7 };
            registry.register(&id.parse().unwrap(), Record::Node(record)).await.unwrap();
        }
        let metrics = Metrics::default();
        let links = Arc::new(Links::new(1 << 20, metrics.clone()));
        let owners = Owners::start(&OwnersSetup::in_memory(1 << 20, Default::default()), &Default::default());
        let me: MemberId = "replica".parse().unwrap();
        let setup = PresenceSetup {
            me: me.clone(),
            incarnation: Incarnation::random(),
            channels: Arc::default(),
            membership: registry.watch(),
            config: Default::default(),
            metrics,
        };
        let presence = Presence::start(1, &setup, &Default::default());
        let router = Router::new(me, owners.clone(), links.clone(), Arc::default(), registry.watch());
        ClusterApi {
            router: Arc::new(router),
            links,
            owners,
            presence,
            channels: Arc::default(),
            listing: Arc::default(),
        }
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
