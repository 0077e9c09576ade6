//! `fanfare presence`: who is in a channel, and which users are online.

mod watch;

use fanfare_proto::v1::{
    GetPresenceRequest, GetPresenceResponse, GetPresenceStatsRequest, GetUserPresenceRequest, Member,
    UserPresence,
};

use crate::cli::{Output, PresenceArguments};
use crate::client::{self, ApiClient};
use crate::endpoint::ApiEndpoint;
use crate::exit::Failure;
use crate::{pages, print};

pub(crate) fn run(arguments: &PresenceArguments) -> Result<(), Failure> {
    let endpoint = ApiEndpoint::read(&arguments.call.endpoint)?;
    client::block_on(async {
        let client = ApiClient::connect(&endpoint).await?;
        match &arguments.channel {
            _ if arguments.watch => watch::run(&client, &endpoint, arguments).await,
            Some(channel) if arguments.stats => stats(&client, channel, arguments.call.output).await,
            Some(channel) => members(&client, channel, arguments.call.output).await,
            None => users(&client, arguments).await,
        }
    })
}

async fn stats(client: &ApiClient, channel: &str, output: Output) -> Result<(), Failure> {
    let request = GetPresenceStatsRequest { channel: channel.to_owned() };
    let answer = client.presence_stats(request).await?;
    match output {
        Output::Table => {
            let counts = [("connections", answer.connections), ("users", answer.users)];
            print::pairs(&counts.map(|(name, count)| (name, count.to_string())))?;
            print::incomplete(answer.coverage.as_ref())
        }
        Output::Json => print::json("GetPresenceStatsResponse", &answer),
    }
}

async fn members(client: &ApiClient, channel: &str, output: Output) -> Result<(), Failure> {
    let mut all = GetPresenceResponse::default();
    pages::all(None, async |page_size, page_token| {
        let request = GetPresenceRequest { channel: channel.to_owned(), page_size, page_token };
        let page = client.presence(request).await?;
        let came = page.members.len();
        all.members.extend(page.members);
        all.coverage = page.coverage;
        Ok((came, page.next_page_token))
    })
    .await?;
    match output {
        Output::Table => {
            print::text(&member_table(&all.members))?;
            print::incomplete(all.coverage.as_ref())
        }
        Output::Json => print::json("GetPresenceResponse", &all),
    }
}

async fn users(client: &ApiClient, arguments: &PresenceArguments) -> Result<(), Failure> {
    let request = GetUserPresenceRequest { users: arguments.users.clone() };
    let answer = client.user_presence(request).await?;
    match arguments.call.output {
        Output::Table => {
            print::text(&user_table(&answer.users))?;
            print::incomplete(answer.coverage.as_ref())
        }
        Output::Json => print::json("GetUserPresenceResponse", &answer),
    }
}

fn member_table(members: &[Member]) -> String {
    let row = |member: &Member| {
        [
            member.connection.clone(),
            or_dash(&member.user),
            or_dash(&member.node),
            print::time(member.joined_at.as_ref()),
            or_dash(&String::from_utf8_lossy(&member.info)),
        ]
    };
    let rows: Vec<_> = members.iter().map(row).collect();
    print::table(["CONNECTION", "USER", "NODE", "JOINED", "INFO"], &rows)
}

fn user_table(users: &[UserPresence]) -> String {
    let row = |user: &UserPresence| {
        [
            user.user.clone(),
            state(user).to_owned(),
            user.connections.to_string(),
            or_dash(&user.nodes.join(",")),
            print::time(user.since.as_ref()),
            print::time(user.last_seen.as_ref()),
        ]
    };
    let rows: Vec<_> = users.iter().map(row).collect();
    print::table(["USER", "STATE", "CONNECTIONS", "NODES", "SINCE", "LAST SEEN"], &rows)
}

/// Who is not known to be online may be all the same, if not every node has said what it knows.
fn state(user: &UserPresence) -> &'static str {
    match (user.online, user.complete) {
        (true, _) => "online",
        (false, true) => "offline",
        (false, false) => "unknown",
    }
}

fn or_dash(text: &str) -> String {
    if text.is_empty() { "-".to_owned() } else { text.to_owned() }
}
