//! A push after the door: every part of it is known to be good.

mod keeping;

use std::collections::BTreeMap;
use std::str::FromStr as _;
use std::time::Duration;

use bytes::Bytes;
use fanfare_cluster::channel::{
    ChannelName, ChannelOptions, DataFormat, InvalidData, MAX_PUBLICATION_BYTES, Namespaces,
};
use fanfare_cluster::connection_id::ConnectionId;
use fanfare_proto::link;
use fanfare_proto::v1::{self, message::Payload, target::Kind};
use smallvec::SmallVec;

use crate::owner::request::Keep;
use crate::refusal::Refusal;
use keeping::Keeping;

/// What a push may be asked to wait for its receipt, at most.
const MAX_WAIT: Duration = Duration::from_secs(60);
const DEFAULT_WAIT: Duration = Duration::from_secs(5);
const MAX_TAGS: usize = 16;
const MAX_TAG_BYTES: usize = 256;
const MAX_EXCLUDED: usize = 64;

/// Who a push is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    /// The subscribers of a channel.
    Channel(ChannelName),
    /// The connections of a user: the members of its personal channel.
    User(ChannelName),
    /// One connection.
    Connection(ConnectionId),
}

impl Target {
    /// Checks a request's target.
    pub(crate) fn parse(target: Option<v1::Target>) -> Result<Self, Refusal> {
        match target.and_then(|target| target.kind) {
            None => Err(invalid("target", "a channel, a user or a connection is required")),
            Some(Kind::Channel(name)) => {
                let channel =
                    ChannelName::parse(&name).map_err(|why| invalid("target.channel", why.to_string()))?;
                if channel.is_personal() {
                    let why = fanfare_cluster::channel::InvalidChannelName::Personal;
                    return Err(invalid("target.channel", why.to_string()));
                }
                Ok(Self::Channel(channel))
            }
            Some(Kind::User(user)) => ChannelName::personal(&user).map(Self::User).map_err(|_| {
                invalid("target.user", "a user id has 1 to 254 bytes and no control characters")
            }),
            Some(Kind::Connection(id)) => {
                id.parse().map(Self::Connection).map_err(|why| invalid("target.connection", why.to_string()))
            }
        }
    }
}

/// A valid push.
#[derive(Clone, Debug)]
pub(crate) struct Push {
    pub(crate) target: Target,
    pub(crate) publication: link::Publication,
    pub(crate) exclude: Vec<Bytes>,
    /// Publications per second that the channel takes; 0 if as many as come.
    pub(crate) rate_limit: u32,
    /// What the channel's history makes of it.
    pub(crate) keep: Keep,
    /// `None` answers when the push is accepted.
    pub(crate) wait: Option<Wait>,
}

/// How long to wait until the bytes are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Wait {
    /// What sockets are given.
    pub(crate) sockets: Duration,
    /// What nodes are given to answer: a little more.
    pub(crate) nodes: Duration,
}

impl Wait {
    /// What nodes get beyond their sockets' time, for the tick of their clock and the way back.
    const RETURN_TRIP: Duration = Duration::from_millis(250);

    fn new(sockets: Duration) -> Self {
        Self { sockets, nodes: sockets + Self::RETURN_TRIP }
    }

    /// Fits into what is left of a call's time.
    pub(crate) fn within(self, left: Duration) -> Self {
        let nodes = self.nodes.min(left);
        Self { sockets: self.sockets.min(nodes.saturating_sub(Self::RETURN_TRIP)), nodes }
    }
}

impl Push {
    /// Checks a request.
    pub(crate) fn parse(request: v1::PublishRequest, channels: &Namespaces) -> Result<Self, Refusal> {
        let target = Target::parse(request.target)?;
        let mut content = Content::parse(request.message.unwrap_or_default(), request.idempotency_key)?;
        let wait = parse_wait(request.wait_for, request.wait_timeout)?;
        content.address(target, wait, channels)
    }
}

/// What is pushed, to whomever: checked once, however many targets it has.
#[derive(Debug)]
pub(crate) struct Content {
    payload: Bytes,
    /// The payload in the forms that targets have asked for so far.
    admitted: SmallVec<[(DataFormat, Bytes); 1]>,
    tags: BTreeMap<String, String>,
    exclude: Vec<Bytes>,
    keeping: Keeping,
}

impl Content {
    /// Checks all that holds for every target.
    pub(crate) fn parse(message: v1::Message, idempotency_key: String) -> Result<Self, Refusal> {
        let keeping = Keeping::parse(&message, idempotency_key)?;
        let payload = match message.payload {
            Some(Payload::Data(data)) => data,
            Some(Payload::Json(json)) => Bytes::from(json),
            None => return Err(invalid("message.payload", "data or json is required")),
        };
        check_length(&payload).map_err(|why| invalid("message.payload", why.to_string()))?;
        let tag_fits = |(key, value): (&String, &String)| key.len().max(value.len()) <= MAX_TAG_BYTES;
        if message.tags.len() > MAX_TAGS || !message.tags.iter().all(tag_fits) {
            let why = format!("at most {MAX_TAGS} tags, their keys and values at most {MAX_TAG_BYTES} bytes");
            return Err(invalid("message.tags", why));
        }
        let exclude = parse_excluded("message.exclude_connections", &message.exclude_connections)?;
        Ok(Self { payload, admitted: SmallVec::new(), tags: message.tags, exclude, keeping })
    }

    /// Makes a push to one target of it.
    pub(crate) fn address(
        &mut self,
        target: Target,
        wait: Option<Wait>,
        channels: &Namespaces,
    ) -> Result<Push, Refusal> {
        let options = options(&target, channels)?;
        let data = self.admit(options).map_err(|why| invalid("message.payload", why.to_string()))?;
        let mut rate_limit = options.publication_rate_limit;
        let is_connection = matches!(target, Target::Connection(_));
        let keep = self.keeping.at(options.has_history() && !is_connection, is_connection)?;
        if is_connection {
            rate_limit = 0;
            if !(self.exclude.is_empty() && self.tags.is_empty()) {
                return Err(invalid("message", "a push to one connection has no tags and excludes nobody"));
            }
        }
        let publication = link::Publication { data, tags: self.tags.clone(), ..Default::default() };
        Ok(Push { target, publication, exclude: self.exclude.clone(), rate_limit, keep, wait })
    }

    /// The payload's length in bytes.
    pub(crate) fn len(&self) -> usize {
        self.payload.len()
    }

    fn admit(&mut self, options: &ChannelOptions) -> Result<Bytes, InvalidData> {
        let format = options.publication_data_format;
        if let Some((_, data)) = self.admitted.iter().find(|(admitted, _)| *admitted == format) {
            return Ok(data.clone());
        }
        let data = options.admit(self.payload.clone())?;
        self.admitted.push((format, data.clone()));
        Ok(data)
    }
}

fn check_length(payload: &Bytes) -> Result<(), InvalidData> {
    match payload.len() {
        0 => Err(InvalidData::Empty),
        1..=MAX_PUBLICATION_BYTES => Ok(()),
        _ => Err(InvalidData::TooLong),
    }
}

fn invalid(field: &'static str, why: impl Into<String>) -> Refusal {
    Refusal::invalid(field, why)
}

/// What holds for a target's data: a connection's messages have the form of its user's personal channel.
fn options<'a>(target: &Target, channels: &'a Namespaces) -> Result<&'a ChannelOptions, Refusal> {
    let (Target::Channel(channel) | Target::User(channel)) = target else { return Ok(channels.personal()) };
    let rules = channels.of(channel).map_err(|why| invalid("target.channel", why.to_string()))?;
    if !rules.admits_name(channel) {
        return Err(invalid("target.channel", "the name does not match its namespace's channel_regex"));
    }
    Ok(&rules.options)
}

/// Connections that something does not concern.
pub(crate) fn parse_excluded(field: &'static str, ids: &[String]) -> Result<Vec<Bytes>, Refusal> {
    if ids.len() > MAX_EXCLUDED {
        return Err(invalid(field, format!("at most {MAX_EXCLUDED} connections")));
    }
    let parse = |id: &String| {
        let id = ConnectionId::from_str(id).map_err(|why| invalid(field, why.to_string()))?;
        Ok(id.to_bytes())
    };
    ids.iter().map(parse).collect()
}

pub(crate) fn parse_wait(
    wait_for: i32,
    timeout: Option<fanfare_proto::Duration>,
) -> Result<Option<Wait>, Refusal> {
    let timeout = timeout.map(Duration::try_from).transpose();
    let timeout = match timeout {
        Ok(timeout) if timeout.is_none_or(|timeout| timeout <= MAX_WAIT) => timeout,
        _ => return Err(invalid("wait_timeout", "a duration from 0 to 60 s")),
    };
    match v1::WaitFor::try_from(wait_for) {
        Ok(v1::WaitFor::Unspecified | v1::WaitFor::Accepted) => Ok(None),
        Ok(v1::WaitFor::Written) => Ok(Some(Wait::new(timeout.unwrap_or(DEFAULT_WAIT)))),
        Err(_) => Err(Refusal::NotBuilt { field: "wait_for" }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(kind: Kind, json: &str) -> v1::PublishRequest {
        v1::PublishRequest {
            target: Some(v1::Target { kind: Some(kind) }),
            message: Some(v1::Message { payload: Some(Payload::Json(json.into())), ..Default::default() }),
            ..Default::default()
        }
    }

    fn parse(request: v1::PublishRequest) -> Result<Push, Refusal> {
        Push::parse(request, &Namespaces::default())
    }

    fn wrong_field(request: v1::PublishRequest) -> &'static str {
        match parse(request) {
            Err(Refusal::Invalid { field, .. } | Refusal::NotBuilt { field }) => field,
            other => panic!("expected a wrong field, got {other:?}"),
        }
    }

    #[test]
    fn a_user_is_pushed_to_through_its_personal_channel() {
        let push = parse(request(Kind::User("42".into()), "{}")).unwrap();
        assert_eq!(push.target, Target::User(ChannelName::parse("#42").unwrap()));
        assert_eq!(wrong_field(request(Kind::Channel("#42".into()), "{}")), "target.channel");
    }

    #[test]
    fn the_field_that_is_wrong_is_named() {
        assert_eq!(wrong_field(v1::PublishRequest::default()), "target");
        assert_eq!(wrong_field(request(Kind::Channel(String::new()), "{}")), "target.channel");
        assert_eq!(wrong_field(request(Kind::Connection("x".into()), "{}")), "target.connection");
        assert_eq!(wrong_field(request(Kind::Channel("news".into()), "{")), "message.payload");
        let mut late = request(Kind::Channel("news".into()), "{}");
        late.wait_timeout = Some(fanfare_proto::Duration { seconds: 61, nanos: 0 });
        assert_eq!(wrong_field(late), "wait_timeout");
    }

    #[test]
    fn content_is_checked_once_for_all_targets_and_each_target_has_its_own_rules() {
        let json: ChannelOptions = Default::default();
        let binary = r#"{"name": "raw", "publication_data_format": "binary", "publication_rate_limit": 7}"#;
        let channels = Namespaces::new(json, &[serde_json::from_str(binary).unwrap()]).unwrap();
        let payload = Some(Payload::Data("no json".into()));
        let mut content =
            Content::parse(v1::Message { payload, ..Default::default() }, String::new()).unwrap();
        let mut to = |kind| {
            let target = Target::parse(Some(v1::Target { kind: Some(kind) }))?;
            content.address(target, None, &channels)
        };
        let refused = Refusal::invalid("message.payload", InvalidData::NotJson.to_string());
        assert_eq!(to(Kind::Channel("news".into())).unwrap_err(), refused);
        assert_eq!(to(Kind::Channel("raw:1".into())).unwrap().rate_limit, 7);
        assert!(to(Kind::Channel("other:1".into())).is_err());
        assert_eq!(content.admitted.len(), 1);
        assert!(Content::parse(v1::Message::default(), String::new()).is_err());
    }
}
