//! `fanfare.v1.HistoryService`: what channels remember.

use std::sync::Arc;
use std::time::Duration;

use fanfare_cluster::channel::{ChannelName, Epoch, Namespaces, StreamPosition};
use fanfare_proto::v1::history_service_server::HistoryService;
use fanfare_proto::v1::{
    ClientInfo, GetHistoryRequest, GetHistoryResponse, RemoveHistoryRequest, RemoveHistoryResponse,
    StoredPublication,
};
use fanfare_proto::{Timestamp, link};
use tonic::{Request, Response, Status};

use super::asked::Asked;
use super::receipt::position;
use crate::history::{Page, Stored};
use crate::owner::request::Question;
use crate::refusal::Refusal;
use crate::repeats::Repeats;
use crate::router::Router;

const DEFAULT_PAGE: usize = 100;

/// The service; cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct HistoryApi {
    router: Arc<Router>,
    channels: Arc<Namespaces>,
    repeats: Arc<Repeats<RemoveHistoryResponse>>,
}

impl HistoryApi {
    pub(crate) fn new(router: Arc<Router>, channels: Arc<Namespaces>) -> Self {
        Self { router, channels, repeats: Arc::default() }
    }

    /// A channel that has a history.
    fn channel(&self, name: &str) -> Result<ChannelName, Refusal> {
        let channel = ChannelName::parse(name).map_err(|why| Refusal::invalid("channel", why.to_string()))?;
        let rules = self.channels.of(&channel).map_err(|why| Refusal::invalid("channel", why.to_string()))?;
        match rules.options.has_history() {
            true => Ok(channel),
            false => Err(Refusal::NoHistory { field: "channel" }),
        }
    }
}

#[tonic::async_trait]
impl HistoryService for HistoryApi {
    async fn get_history(
        &self,
        request: Request<GetHistoryRequest>,
    ) -> Result<Response<GetHistoryResponse>, Status> {
        let request = request.into_inner();
        let (channel, question) = (self.channel(&request.channel)?, parse(&request)?);
        let page = self.router.read(channel, question).await?;
        let next_page_token = token_behind(&page, question.reverse);
        let top = Some(position(page.top));
        let publications = page.stored.into_iter().filter_map(describe).collect();
        Ok(Response::new(GetHistoryResponse { publications, top, next_page_token }))
    }

    async fn remove_history(
        &self,
        request: Request<RemoveHistoryRequest>,
    ) -> Result<Response<RemoveHistoryResponse>, Status> {
        let about = request.get_ref();
        let subject = format!("channel {:?}", about.channel);
        let asked = Asked::new(&request, "RemoveHistory", &about.request_id, subject)?;
        let channel = self.channel(&about.channel)?;
        let remove = async {
            let top = self.router.remove(channel).await?;
            Ok::<_, Refusal>(RemoveHistoryResponse { top: Some(position(top)) })
        };
        Ok(Response::new(self.repeats.once(asked.key, remove).await?))
    }
}

fn parse(request: &GetHistoryRequest) -> Result<Question, Refusal> {
    let limit = match usize::try_from(request.page_size) {
        Ok(0) => DEFAULT_PAGE,
        Ok(size) => size.min(Question::MAX_LIMIT),
        Err(_) => return Err(Refusal::invalid("page_size", "must not be negative")),
    };
    let since = match (request.page_token.as_str(), &request.since) {
        ("", None) => None,
        ("", Some(since)) => {
            let epoch = since.epoch.parse::<Epoch>();
            let epoch = epoch.map_err(|why| Refusal::invalid("since.epoch", why.to_string()))?;
            Some(StreamPosition { epoch, offset: since.offset })
        }
        (token, _) => Some(parse_token(token, request.reverse)?),
    };
    Ok(Question { since, limit, reverse: request.reverse, max_bytes: Question::MAX_BYTES })
}

/// A page goes on behind the last publication that was read, in the same stream and direction: what is published in
/// between shifts nothing, and what is removed is told.
fn token_behind(page: &Page, reverse: bool) -> String {
    let Some(last) = page.stored.last() else { return String::new() };
    let more = if reverse { last.offset > 1 } else { last.offset < page.top.offset };
    if !more {
        return String::new();
    }
    format!("{:016x}{:016x}{}", page.top.epoch.0, last.offset, u8::from(reverse))
}

fn parse_token(token: &str, reverse: bool) -> Result<StreamPosition, Refusal> {
    let read = || {
        if token.len() != 33 || !token.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return None;
        }
        let number = |text: &str| u64::from_str_radix(text, 16).ok();
        let position =
            StreamPosition { epoch: Epoch(number(&token[..16])?), offset: number(&token[16..32])? };
        (number(&token[32..])? == u64::from(reverse)).then_some(position)
    };
    let why = "must be a next_page_token of this service, with the same channel and direction";
    read().ok_or_else(|| Refusal::invalid("page_token", why))
}

/// What callers see of a publication; nothing if its own time is over.
fn describe(stored: Stored) -> Option<StoredPublication> {
    let link::Publication { data, tags, publisher, time_ms, expires_at_ms, .. } = stored.publication?;
    let publisher = publisher.map(|link::Publisher { user, connection, info, channel_info }| ClientInfo {
        user,
        connection,
        info,
        channel_info,
    });
    Some(StoredPublication {
        offset: stored.offset,
        data,
        tags,
        published_at: time(time_ms),
        publisher,
        expires_at: time(expires_at_ms),
    })
}

fn time(milliseconds: u64) -> Option<Timestamp> {
    let since = Duration::from_millis(milliseconds);
    let seconds = i64::try_from(since.as_secs()).unwrap_or(i64::MAX);
    (milliseconds != 0).then_some(Timestamp { seconds, nanos: since.subsec_nanos() as i32 })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(offsets: &[u64], top: u64) -> Page {
        let stored = offsets.iter().map(|offset| Stored { offset: *offset, publication: None }).collect();
        Page { stored, top: StreamPosition { epoch: Epoch(0xabc), offset: top } }
    }

    #[test]
    fn a_page_goes_on_behind_the_last_one_in_its_stream_and_direction() {
        let token = token_behind(&page(&[3, 4], 9), false);
        assert_eq!(parse_token(&token, false), Ok(StreamPosition { epoch: Epoch(0xabc), offset: 4 }));
        assert!(parse_token(&token, true).is_err(), "the other way round it would be a surprise");
        let token = token_behind(&page(&[9, 8], 9), true);
        assert_eq!(parse_token(&token, true).unwrap().offset, 8);
        assert_eq!(token_behind(&page(&[8, 9], 9), false), "");
        assert_eq!(token_behind(&page(&[2, 1], 9), true), "");
        assert_eq!(token_behind(&page(&[], 9), false), "");
        for token in ["x", "0", "00000000000000010000000000000001", "0000000000000001000000000000000é0"] {
            assert!(parse_token(token, false).is_err(), "{token}");
        }
    }

    #[test]
    fn a_question_has_bounds_and_a_good_epoch() {
        let since =
            |epoch: &str| Some(fanfare_proto::v1::StreamPosition { offset: 7, epoch: epoch.to_owned() });
        let request = |page_size, since| GetHistoryRequest { page_size, since, ..Default::default() };
        assert_eq!(parse(&request(0, None)).unwrap().limit, 100);
        assert_eq!(parse(&request(i32::MAX, None)).unwrap().limit, 1_000);
        assert!(parse(&request(-1, None)).is_err());
        let question = parse(&request(1, since("abc"))).unwrap();
        assert_eq!(question.since, Some(StreamPosition { epoch: Epoch(0xabc), offset: 7 }));
        assert!(parse(&request(1, since("_"))).is_err());
    }
}
