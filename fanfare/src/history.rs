//! `fanfare history`: what a channel remembers.

use fanfare_proto::v1::{
    GetHistoryRequest, GetHistoryResponse, RemoveHistoryRequest, RemoveHistoryResponse, StoredPublication,
    StreamPosition,
};

use crate::cli::{HistoryArguments, HistoryCommand, Output, RemoveArguments};
use crate::client::{self, ApiClient};
use crate::connections::request_id;
use crate::endpoint::ApiEndpoint;
use crate::exit::Failure;
use crate::print;

/// Publications per page, as many as the server gives.
const PAGE: u64 = 1_000;

pub(crate) fn run(arguments: &HistoryArguments) -> Result<(), Failure> {
    if let Some(HistoryCommand::Remove(arguments)) = &arguments.command {
        return remove(arguments);
    }
    let request = GetHistoryRequest {
        channel: arguments.channel.clone().unwrap_or_default(),
        since: arguments.since.as_deref().map(position).transpose()?,
        reverse: arguments.reverse,
        ..Default::default()
    };
    let endpoint = ApiEndpoint::read(&arguments.call.endpoint)?;
    let read = async { read(&ApiClient::connect(&endpoint).await?, request, arguments.limit).await };
    let answer = client::block_on(read)?;
    match arguments.call.output {
        Output::Table => print::text(&table(&answer)),
        Output::Json => print::json("GetHistoryResponse", &answer),
    }
}

fn remove(arguments: &RemoveArguments) -> Result<(), Failure> {
    let endpoint = ApiEndpoint::read(&arguments.call.endpoint)?;
    let request = RemoveHistoryRequest { channel: arguments.channel.clone(), request_id: request_id() };
    let remove = async { ApiClient::connect(&endpoint).await?.remove_history(request).await };
    let answer: RemoveHistoryResponse = client::block_on(remove)?;
    match arguments.call.output {
        Output::Table => {
            let top = answer.top.unwrap_or_default();
            print::pairs(&[("removed", format!("until {}", text_of(&top)))])
        }
        Output::Json => print::json("RemoveHistoryResponse", &answer),
    }
}

/// Asks for page after page, until there are enough.
async fn read(
    client: &ApiClient,
    mut request: GetHistoryRequest,
    limit: u64,
) -> Result<GetHistoryResponse, Failure> {
    let mut all = GetHistoryResponse::default();
    loop {
        let missing = limit - all.publications.len() as u64;
        request.page_size = i32::try_from(missing.min(PAGE)).unwrap_or(i32::MAX);
        let page = client.history(request.clone()).await?;
        all.publications.extend(page.publications);
        all.top = page.top;
        all.next_page_token.clone_from(&page.next_page_token);
        if page.next_page_token.is_empty() || all.publications.len() as u64 >= limit {
            return Ok(all);
        }
        if page.next_page_token == request.page_token {
            return Err(Failure::Failed("the server gives the same page again and again".to_owned()));
        }
        request.page_token = page.next_page_token;
    }
}

/// A position as people write it.
fn position(text: &str) -> Result<StreamPosition, Failure> {
    let parts = text.rsplit_once(':');
    let parsed = parts.and_then(|(epoch, offset)| Some((epoch.to_owned(), offset.parse().ok()?)));
    let (epoch, offset) = parsed.ok_or_else(|| {
        Failure::Usage(format!("--since {text}: write EPOCH:OFFSET, or :OFFSET for whatever stream there is"))
    })?;
    Ok(StreamPosition { offset, epoch })
}

/// As a position is shown, and can be written with `--since`.
pub(crate) fn text_of(position: &StreamPosition) -> String {
    format!("{}:{}", position.epoch, position.offset)
}

fn table(answer: &GetHistoryResponse) -> String {
    let row = |publication: &StoredPublication| {
        let publisher = publication.publisher.as_ref();
        let by = match publisher {
            None => "backend",
            Some(client) if client.user.is_empty() => &client.connection,
            Some(client) => &client.user,
        };
        [
            publication.offset.to_string(),
            print::time(publication.published_at.as_ref()),
            by.to_owned(),
            String::from_utf8_lossy(&publication.data).into_owned(),
        ]
    };
    let rows: Vec<_> = answer.publications.iter().map(row).collect();
    let top = text_of(&answer.top.clone().unwrap_or_default());
    format!("{}top {top}\n", print::table(["OFFSET", "PUBLISHED", "BY", "DATA"], &rows))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_is_written_as_it_is_shown() {
        let shown = StreamPosition { offset: 41, epoch: "9c1de2f0".to_owned() };
        assert_eq!(position(&text_of(&shown)).unwrap(), shown);
        assert_eq!(position(":7").unwrap(), StreamPosition { offset: 7, ..Default::default() });
        for bad in ["7", "a:", "a:b", ""] {
            assert!(position(bad).unwrap_err().to_string().contains("EPOCH:OFFSET"), "{bad}");
        }
    }
}
