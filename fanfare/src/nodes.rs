//! `fanfare nodes`: the data-plane nodes, as the replica that answers sees them.

use fanfare_proto::v1::{ListNodesRequest, ListNodesResponse, Node, NodeState};

use crate::cli::{NodesArguments, Output};
use crate::client::{self, ApiClient};
use crate::endpoint::ApiEndpoint;
use crate::exit::Failure;
use crate::{pages, print};

pub(crate) fn run(arguments: &NodesArguments) -> Result<(), Failure> {
    let endpoint = ApiEndpoint::read(&arguments.call.endpoint)?;
    let nodes = client::block_on(async { all(&ApiClient::connect(&endpoint).await?).await })?;
    match arguments.call.output {
        Output::Table => print::text(&table(&nodes)),
        Output::Json => {
            print::json("ListNodesResponse", &ListNodesResponse { nodes, next_page_token: String::new() })
        }
    }
}

async fn all(client: &ApiClient) -> Result<Vec<Node>, Failure> {
    let mut nodes = Vec::new();
    pages::all(None, async |page_size, page_token| {
        let page = client.nodes(ListNodesRequest { page_size, page_token }).await?;
        let came = page.nodes.len();
        nodes.extend(page.nodes);
        Ok((came, page.next_page_token))
    })
    .await?;
    Ok(nodes)
}

fn table(nodes: &[Node]) -> String {
    let row = |node: &Node| {
        let state = match node.state() {
            NodeState::Linked => "linked",
            NodeState::Unlinked => "unlinked",
            NodeState::Unspecified => "unknown",
        };
        let version = if node.version.is_empty() { "-" } else { &node.version };
        [
            node.node.clone(),
            state.to_owned(),
            version.to_owned(),
            node.connections.to_string(),
            node.capacity.to_string(),
            print::time(node.reported_at.as_ref()),
        ]
    };
    let rows: Vec<_> = nodes.iter().map(row).collect();
    print::table(["NODE", "STATE", "VERSION", "CONNECTIONS", "CAPACITY", "REPORTED"], &rows)
}
