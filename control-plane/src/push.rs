//! A push after the door: every part of it is known to be good.

use std::str::FromStr as _;
use std::time::Duration;

use bytes::Bytes;
use fanfare_cluster::channel::{ChannelName, ChannelOptions, Namespaces};
use fanfare_cluster::connection_id::ConnectionId;
use fanfare_proto::link;
use fanfare_proto::v1::{self, message::Payload, target::Kind};

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

/// A valid push.
#[derive(Clone, Debug)]
pub(crate) struct Push {
    pub(crate) target: Target,
    pub(crate) publication: link::Publication,
    pub(crate) exclude: Vec<Bytes>,
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

/// Why a push was not accepted, and so what its caller can do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum PushError {
    /// Mend the request.
    #[error("{field}: {why}")]
    Invalid { field: &'static str, why: String },
    /// Leave the option out.
    #[error("{field} is not available in this version: leave it out")]
    NotBuilt { field: &'static str },
    /// Forget the connection: it is gone, or never was.
    #[error("no node of this cluster holds the connection")]
    UnknownConnection,
    /// Try again a little later.
    #[error("the channel's owner has too much to do: try again")]
    Busy,
    /// Try again a little later.
    #[error("the channel is changing its owner: try again")]
    NoOwner,
}

impl Push {
    /// Checks a request.
    pub(crate) fn parse(request: v1::PublishRequest, channels: &Namespaces) -> Result<Self, PushError> {
        let message = request.message.unwrap_or_default();
        refuse_what_is_not_built(&request.idempotency_key, &message)?;
        let target = parse_target(request.target)?;
        let data = match message.payload {
            Some(Payload::Data(data)) => data,
            Some(Payload::Json(json)) => Bytes::from(json),
            None => return Err(invalid("message.payload", "data or json is required")),
        };
        let options = options(&target, channels)?;
        let field = "message.payload";
        let data = options.admit(data).map_err(|why| invalid(field, why.to_string()))?;
        let tag_fits = |(key, value): (&String, &String)| key.len().max(value.len()) <= MAX_TAG_BYTES;
        if message.tags.len() > MAX_TAGS || !message.tags.iter().all(tag_fits) {
            let why = format!("at most {MAX_TAGS} tags, their keys and values at most {MAX_TAG_BYTES} bytes");
            return Err(invalid("message.tags", why.to_string()));
        }
        let exclude = parse_excluded(&message.exclude_connections)?;
        let wait = parse_wait(request.wait_for, request.wait_timeout)?;
        if matches!(target, Target::Connection(_)) && !(exclude.is_empty() && message.tags.is_empty()) {
            let why = "a push to one connection has no tags and excludes nobody";
            return Err(invalid("message", why.to_string()));
        }
        let publication = link::Publication { data, tags: message.tags, publisher: None };
        Ok(Self { target, publication, exclude, wait })
    }
}

fn invalid(field: &'static str, why: impl Into<String>) -> PushError {
    PushError::Invalid { field, why: why.into() }
}

/// An option that does nothing yet is refused: silence would be a promise.
fn refuse_what_is_not_built(idempotency_key: &str, message: &v1::Message) -> Result<(), PushError> {
    let options = [
        ("idempotency_key", !idempotency_key.is_empty()),
        ("message.ttl", message.ttl.is_some()),
        (
            "message.storage",
            !matches!(
                v1::Storage::try_from(message.storage),
                Ok(v1::Storage::Unspecified | v1::Storage::Skip)
            ),
        ),
        ("message.version", message.version != 0),
        ("message.version_epoch", !message.version_epoch.is_empty()),
    ];
    match options.iter().find(|(_, is_set)| *is_set) {
        Some((field, _)) => Err(PushError::NotBuilt { field }),
        None => Ok(()),
    }
}

fn parse_target(target: Option<v1::Target>) -> Result<Target, PushError> {
    match target.and_then(|target| target.kind) {
        None => Err(invalid("target", "a channel, a user or a connection is required")),
        Some(Kind::Channel(name)) => {
            let channel =
                ChannelName::parse(&name).map_err(|why| invalid("target.channel", why.to_string()))?;
            if channel.is_personal() {
                let why = fanfare_cluster::channel::InvalidChannelName::Personal;
                return Err(invalid("target.channel", why.to_string()));
            }
            Ok(Target::Channel(channel))
        }
        Some(Kind::User(user)) => ChannelName::personal(&user)
            .map(Target::User)
            .map_err(|_| invalid("target.user", "a user id has 1 to 254 bytes and no control characters")),
        Some(Kind::Connection(id)) => {
            id.parse().map(Target::Connection).map_err(|why| invalid("target.connection", why.to_string()))
        }
    }
}

/// What holds for a target's data: a connection's messages have the form of its user's personal channel.
fn options<'a>(target: &Target, channels: &'a Namespaces) -> Result<&'a ChannelOptions, PushError> {
    let (Target::Channel(channel) | Target::User(channel)) = target else { return Ok(channels.personal()) };
    let rules = channels.of(channel).map_err(|why| invalid("target.channel", why.to_string()))?;
    if !rules.admits_name(channel) {
        return Err(invalid("target.channel", "the name does not match its namespace's channel_regex"));
    }
    Ok(&rules.options)
}

fn parse_excluded(ids: &[String]) -> Result<Vec<Bytes>, PushError> {
    let field = "message.exclude_connections";
    if ids.len() > MAX_EXCLUDED {
        return Err(invalid(field, format!("at most {MAX_EXCLUDED} connections")));
    }
    let parse = |id: &String| {
        let id = ConnectionId::from_str(id).map_err(|why| invalid(field, why.to_string()))?;
        Ok(Bytes::copy_from_slice(id.as_bytes()))
    };
    ids.iter().map(parse).collect()
}

fn parse_wait(wait_for: i32, timeout: Option<fanfare_proto::Duration>) -> Result<Option<Wait>, PushError> {
    let timeout = timeout.map(Duration::try_from).transpose();
    let timeout = match timeout {
        Ok(timeout) if timeout.is_none_or(|timeout| timeout <= MAX_WAIT) => timeout,
        _ => return Err(invalid("wait_timeout", "a duration from 0 to 60 s")),
    };
    match v1::WaitFor::try_from(wait_for) {
        Ok(v1::WaitFor::Unspecified | v1::WaitFor::Accepted) => Ok(None),
        Ok(v1::WaitFor::Written) => Ok(Some(Wait::new(timeout.unwrap_or(DEFAULT_WAIT)))),
        Err(_) => Err(PushError::NotBuilt { field: "wait_for" }),
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

    fn parse(request: v1::PublishRequest) -> Result<Push, PushError> {
        Push::parse(request, &Namespaces::default())
    }

    fn wrong_field(request: v1::PublishRequest) -> &'static str {
        match parse(request) {
            Err(PushError::Invalid { field, .. } | PushError::NotBuilt { field }) => field,
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
    fn options_that_come_later_are_refused() {
        let mut keyed = request(Kind::Channel("news".into()), "{}");
        keyed.idempotency_key = "k".into();
        assert_eq!(parse(keyed).unwrap_err(), PushError::NotBuilt { field: "idempotency_key" });
        let mut stored = request(Kind::Channel("news".into()), "{}");
        stored.message.as_mut().unwrap().storage = v1::Storage::Store as i32;
        assert_eq!(parse(stored.clone()).unwrap_err(), PushError::NotBuilt { field: "message.storage" });
        stored.message.as_mut().unwrap().storage = 7;
        assert_eq!(parse(stored).unwrap_err(), PushError::NotBuilt { field: "message.storage" });
    }
}
