//! `fanfare nodes`: the data-plane nodes, as the replica that answers sees them.

use fanfare_proto::v1::{ListNodesRequest, ListNodesResponse, Node, NodeState};

use crate::cli::{NodesArguments, Output};
use crate::client::{self, ApiClient};
use crate::endpoint::ApiEndpoint;
use crate::exit::Failure;
use crate::print;

/// Nodes per page, as many as the server gives.
const PAGE: i32 = 1_000;

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

/// Asks for page after page.
async fn all(client: &ApiClient) -> Result<Vec<Node>, Failure> {
    let mut nodes = Vec::new();
    let mut page_token = String::new();
    loop {
        let request = ListNodesRequest { page_size: PAGE, page_token: page_token.clone() };
        let page = client.nodes(request).await?;
        nodes.extend(page.nodes);
        if page.next_page_token.is_empty() {
            return Ok(nodes);
        }
        if page.next_page_token == page_token {
            return Err(Failure::Failed("the server gives the same page again and again".to_owned()));
        }
        page_token = page.next_page_token;
    }
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
