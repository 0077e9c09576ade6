//! An operation on live connections of which every part is known to be good.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use fanfare_cluster::channel::{ChannelName, InvalidChannelName, Namespaces};
use fanfare_cluster::connection_id::ConnectionId;
use fanfare_proto::Timestamp;
use fanfare_proto::link::{self, act::Action};
use fanfare_proto::v1::{self, subject::Kind};

use crate::push::parse_excluded;
use crate::refusal::Refusal;

/// The longest close reason: a close frame holds 125 bytes, and the code takes two of them.
const MAX_REASON: usize = 123;
/// The client protocol's "force disconnect", after which SDKs stay away.
const FORCE_DISCONNECT: (u32, &str) = (3503, "force disconnect");
/// The client protocol's "invalid token", after which SDKs stay away.
const INVALID_TOKEN: (u32, &str) = (3500, "invalid token");
/// A revocation lasts as long as tokens may, with some reserve beyond a year.
const MAX_REVOCATION: Duration = Duration::from_secs(400 * 24 * 3600);
/// How far the caller's clock may be ahead of ours.
const MAX_AHEAD: Duration = Duration::from_secs(60);
const EXCLUDED: &str = "exclude_connections";

/// Which connections are meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Subject {
    /// The members of a user's personal channel.
    User(ChannelName),
    /// One.
    Connection(ConnectionId),
}

/// A valid operation.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Operation {
    pub(crate) subject: Subject,
    pub(crate) exclude: Vec<Bytes>,
    pub(crate) action: Action,
}

impl Operation {
    pub(crate) fn disconnect(request: &v1::DisconnectRequest) -> Result<Self, Refusal> {
        let (subject, exclude) = parse_whom(request.subject.as_ref(), &request.exclude_connections)?;
        let (code, reason) = match (request.code, request.reason.as_str()) {
            (0, "") => FORCE_DISCONNECT,
            (0, reason) => (FORCE_DISCONNECT.0, reason),
            given => given,
        };
        if !matches!(code, 3001 | 3011 | 3500 | 3503..=3507 | 4000..=4999) {
            let why =
                "4000 to 4999 are yours; of the others only 3001, 3011, 3500 and 3503 to 3507 can be given";
            return Err(Refusal::invalid("code", why));
        }
        if reason.len() > MAX_REASON {
            return Err(Refusal::invalid("reason", format!("at most {MAX_REASON} bytes")));
        }
        let action = Action::Disconnect(link::Disconnect { code, reason: reason.to_owned() });
        Ok(Self { subject, exclude, action })
    }

    pub(crate) fn subscribe(request: v1::SubscribeRequest, channels: &Namespaces) -> Result<Self, Refusal> {
        let (subject, exclude) = parse_whom(request.subject.as_ref(), &request.exclude_connections)?;
        check_channel(&request.channel, channels)?;
        let action = Action::Subscribe(link::Subscribe { channel: request.channel });
        Ok(Self { subject, exclude, action })
    }

    pub(crate) fn unsubscribe(
        request: v1::UnsubscribeRequest,
        channels: &Namespaces,
    ) -> Result<Self, Refusal> {
        let (subject, exclude) = parse_whom(request.subject.as_ref(), &request.exclude_connections)?;
        check_channel(&request.channel, channels)?;
        let action = Action::Unsubscribe(link::Unsubscribe { channel: request.channel });
        Ok(Self { subject, exclude, action })
    }

    pub(crate) fn refresh(request: &v1::RefreshRequest) -> Result<Self, Refusal> {
        let (subject, exclude) = parse_whom(request.subject.as_ref(), &[])?;
        let expires_at = match request.expires_at {
            None => 0,
            Some(time) => match seconds_rounded_up(time) {
                Some(seconds @ 1..) => seconds,
                _ => return Err(Refusal::invalid("expires_at", "a time after 1970; leave it out for never")),
            },
        };
        Ok(Self { subject, exclude, action: Action::Refresh(link::Refresh { expires_at }) })
    }

    /// What a revocation does to connections that are there.
    pub(crate) fn end_revoked(user: ChannelName) -> Self {
        let (code, reason) = INVALID_TOKEN;
        let action = Action::Disconnect(link::Disconnect { code, reason: reason.to_owned() });
        Self { subject: Subject::User(user), exclude: Vec::new(), action }
    }
}

/// A valid revocation, with the personal channel of its user.
pub(crate) fn parse_revocation(
    request: &v1::RevokeTokensRequest,
    now: SystemTime,
) -> Result<(ChannelName, link::Revocation), Refusal> {
    let channel = parse_user("user", &request.user)?;
    // Tokens count seconds: rounded up, nothing that was issued before slips through.
    let issued_before = match request.issued_before {
        None => seconds_rounded_up(Timestamp::from(now)).unwrap_or_default(),
        Some(time) => match seconds_rounded_up(time) {
            Some(seconds) if seconds <= unix_seconds(now + MAX_AHEAD) => seconds,
            _ => {
                return Err(Refusal::invalid("issued_before", "a time after 1970 that is not in the future"));
            }
        },
    };
    let until = request.until.and_then(seconds_rounded_up).unwrap_or_default();
    if until <= unix_seconds(now) || until > unix_seconds(now + MAX_REVOCATION) {
        let why =
            "a time in the future is required, when the last token will have expired; at most 400 days ahead";
        return Err(Refusal::invalid("until", why));
    }
    Ok((channel, link::Revocation { user: request.user.clone(), issued_before, until }))
}

/// The seconds since 1970.
pub(crate) fn unix_seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

fn parse_whom(subject: Option<&v1::Subject>, exclude: &[String]) -> Result<(Subject, Vec<Bytes>), Refusal> {
    let exclude = parse_excluded(EXCLUDED, exclude)?;
    let subject = match subject.and_then(|subject| subject.kind.as_ref()) {
        None => return Err(Refusal::invalid("subject", "a user or a connection is required")),
        Some(Kind::User(user)) => Subject::User(parse_user("subject.user", user)?),
        Some(Kind::Connection(id)) => Subject::Connection(parse_connection("subject.connection", id)?),
    };
    if matches!(subject, Subject::Connection(_)) && !exclude.is_empty() {
        return Err(Refusal::invalid(EXCLUDED, "an operation on one connection excludes nobody"));
    }
    Ok((subject, exclude))
}

pub(crate) fn parse_connection(field: &'static str, id: &str) -> Result<ConnectionId, Refusal> {
    id.parse().map_err(|why: fanfare_cluster::connection_id::InvalidConnectionId| {
        Refusal::invalid(field, why.to_string())
    })
}

fn parse_user(field: &'static str, user: &str) -> Result<ChannelName, Refusal> {
    let why = "a user id has 1 to 254 bytes and no control characters";
    ChannelName::personal(user).map_err(|_| Refusal::invalid(field, why))
}

fn check_channel(name: &str, channels: &Namespaces) -> Result<(), Refusal> {
    let invalid = |why: &dyn ToString| Refusal::invalid("channel", why.to_string());
    let channel = ChannelName::parse(name).map_err(|why: InvalidChannelName| invalid(&why))?;
    if channel.is_personal() {
        return Err(invalid(
            &"channels that begin with '#' belong to users, who are subscribed by themselves",
        ));
    }
    let rules = channels.of(&channel).map_err(|why| invalid(&why))?;
    match rules.admits_name(&channel) {
        true => Ok(()),
        false => Err(invalid(&"the name does not match its namespace's channel_regex")),
    }
}

fn seconds_rounded_up(time: Timestamp) -> Option<u64> {
    let seconds = u64::try_from(time.seconds).ok()?;
    (0..1_000_000_000).contains(&time.nanos).then(|| seconds.saturating_add(u64::from(time.nanos > 0)))
}

#[cfg(test)]
#[path = "operation_tests.rs"]
mod tests;
