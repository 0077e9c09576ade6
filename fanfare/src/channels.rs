//! `fanfare channels`: the channels that somebody subscribes to.

use fanfare_proto::v1::{Channel, ListChannelsRequest, ListChannelsResponse};

use crate::cli::{ChannelsArguments, Output};
use crate::client::{self, ApiClient};
use crate::endpoint::ApiEndpoint;
use crate::exit::Failure;
use crate::{pages, print};

pub(crate) fn run(arguments: &ChannelsArguments) -> Result<(), Failure> {
    let endpoint = ApiEndpoint::read(&arguments.call.endpoint)?;
    let all = client::block_on(async { list(&ApiClient::connect(&endpoint).await?, arguments).await })?;
    match arguments.call.output {
        Output::Table => {
            print::text(&table(&all.channels))?;
            print::incomplete(all.coverage.as_ref())
        }
        Output::Json => print::json("ListChannelsResponse", &all),
    }
}

async fn list(client: &ApiClient, arguments: &ChannelsArguments) -> Result<ListChannelsResponse, Failure> {
    let mut all = ListChannelsResponse::default();
    pages::all(arguments.limit, async |page_size, page_token| {
        let request = ListChannelsRequest { page_size, page_token, prefix: arguments.prefix.clone() };
        let page = client.channels(request).await?;
        let came = page.channels.len();
        all.channels.extend(page.channels);
        all.coverage = page.coverage;
        Ok((came, page.next_page_token))
    })
    .await?;
    Ok(all)
}

fn table(channels: &[Channel]) -> String {
    let row = |channel: &Channel| {
        let count = |count: u64| if channel.has_presence { count.to_string() } else { "-".to_owned() };
        let Channel { connections, users, .. } = *channel;
        [channel.channel.clone(), channel.nodes.to_string(), count(connections), count(users)]
    };
    let rows: Vec<_> = channels.iter().map(row).collect();
    print::table(["CHANNEL", "NODES", "CONNECTIONS", "USERS"], &rows)
}
