//! `fanfare connections list`: the live connections of all nodes.

use std::collections::BTreeMap;

use fanfare_proto::Duration;
use fanfare_proto::v1::{Connection, Coverage, ListConnectionsRequest, ListConnectionsResponse, NodeGap};

use crate::cli::{ListArguments, Output};
use crate::client::{self, ApiClient};
use crate::endpoint::ApiEndpoint;
use crate::exit::Failure;
use crate::{pages, print};

pub(crate) fn run(arguments: &ListArguments) -> Result<(), Failure> {
    let endpoint = ApiEndpoint::read(&arguments.call.endpoint)?;
    let all = client::block_on(async { list(&ApiClient::connect(&endpoint).await?, arguments).await })?;
    match arguments.call.output {
        Output::Table => {
            print::text(&table(&all.connections))?;
            print::incomplete(all.coverage.as_ref())
        }
        Output::Json => print::json("ListConnectionsResponse", &all),
    }
}

async fn list(client: &ApiClient, arguments: &ListArguments) -> Result<ListConnectionsResponse, Failure> {
    let mut all = ListConnectionsResponse::default();
    let mut missing = BTreeMap::<String, NodeGap>::new();
    let age = |age: Option<fanfare_cluster::quantity::Span>| {
        age.map(|age| Duration { seconds: age.0.as_secs() as i64, nanos: age.0.subsec_nanos() as i32 })
    };
    pages::all(arguments.limit, async |page_size, page_token| {
        let request = ListConnectionsRequest {
            page_size,
            page_token,
            user: arguments.user.clone(),
            channel: arguments.channel.clone(),
            node: arguments.node.clone(),
            sdk_name: arguments.sdk.clone(),
            min_age: age(arguments.older_than),
            max_age: age(arguments.younger_than),
        };
        let page = client.list_connections(request).await?;
        let came = page.connections.len();
        all.connections.extend(page.connections);
        let coverage = page.coverage.unwrap_or_default();
        missing.extend(coverage.missing.into_iter().map(|gap| (gap.node.clone(), gap)));
        all.coverage = Some(Coverage { missing: Vec::new(), ..coverage });
        Ok((came, page.next_page_token))
    })
    .await?;
    if let Some(coverage) = &mut all.coverage {
        // A node that was missing from one page is missing from the whole.
        coverage.complete &= missing.is_empty();
        coverage.missing = missing.into_values().collect();
    }
    Ok(all)
}

fn table(connections: &[Connection]) -> String {
    let or_dash = |text: &str| if text.is_empty() { "-".to_owned() } else { text.to_owned() };
    let row = |connection: &Connection| {
        let sdk = format!("{} {}", connection.sdk_name, connection.sdk_version);
        [
            connection.connection.clone(),
            or_dash(&connection.user),
            connection.node.clone(),
            or_dash(&connection.remote_address),
            or_dash(sdk.trim()),
            print::time(connection.connected_at.as_ref()),
            connection.channels.len().to_string(),
        ]
    };
    let rows: Vec<_> = connections.iter().map(row).collect();
    print::table(["CONNECTION", "USER", "NODE", "FROM", "SDK", "CONNECTED", "CHANNELS"], &rows)
}
