//! `fanfare connections`, `disconnect` and `revoke`: what people do with live connections.

use std::time::Duration;

use fanfare_proto::Timestamp;
use fanfare_proto::v1::subject::Kind;
use fanfare_proto::v1::{
    Connection, DisconnectRequest, Outcome, RefreshRequest, RevokeTokensRequest, Subject, SubscribeRequest,
    UnsubscribeRequest,
};

use crate::cli::{
    CallArguments, ConnectionsArguments, ConnectionsCommand, DisconnectArguments, GetArguments, Output,
    RefreshArguments, RevokeArguments, SubscriptionArguments,
};
use crate::client::{self, ApiClient};
use crate::endpoint::ApiEndpoint;
use crate::exit::Failure;
use crate::{connection_list, print};

pub(crate) fn run(arguments: &ConnectionsArguments) -> Result<(), Failure> {
    match &arguments.command {
        ConnectionsCommand::List(arguments) => connection_list::run(arguments),
        ConnectionsCommand::Get(arguments) => show(arguments),
        ConnectionsCommand::Subscribe(arguments) => subscribe(arguments),
        ConnectionsCommand::Unsubscribe(arguments) => unsubscribe(arguments),
        ConnectionsCommand::Refresh(arguments) => refresh(arguments),
    }
}

pub(crate) fn disconnect(arguments: &DisconnectArguments) -> Result<(), Failure> {
    let request = DisconnectRequest {
        subject: subject(arguments.user.as_ref(), arguments.connection.as_ref()),
        code: arguments.code.unwrap_or_default(),
        reason: arguments.reason.clone(),
        exclude_connections: arguments.exclude.clone(),
        request_id: request_id(),
    };
    let call = &arguments.call;
    let answer = call_api(call, async |client| client.disconnect(request).await)?;
    match call.output {
        Output::Table => print_outcome("disconnected", answer.outcome),
        Output::Json => print::json("DisconnectResponse", &answer),
    }
}

pub(crate) fn revoke(arguments: &RevokeArguments) -> Result<(), Failure> {
    let request = RevokeTokensRequest {
        user: arguments.user.clone(),
        issued_before: arguments.issued_before.as_deref().map(time).transpose()?,
        until: Some(from_now(arguments.lasting.0)?),
        disconnect: arguments.disconnect,
        request_id: request_id(),
    };
    let until = print::time(request.until.as_ref());
    let call = &arguments.call;
    let answer = call_api(call, async |client| client.revoke(request).await)?;
    match call.output {
        Output::Table => {
            print::pairs(&[("revoked", format!("until {until}"))])?;
            match arguments.disconnect {
                true => print_outcome("disconnected", answer.outcome),
                false => Ok(()),
            }
        }
        Output::Json => print::json("RevokeTokensResponse", &answer),
    }
}

fn show(arguments: &GetArguments) -> Result<(), Failure> {
    let call = &arguments.call;
    let answer = call_api(call, async |client| client.connection(&arguments.connection).await)?;
    match call.output {
        Output::Table => print_connection(&answer.connection.unwrap_or_default()),
        Output::Json => print::json("GetConnectionResponse", &answer),
    }
}

fn subscribe(arguments: &SubscriptionArguments) -> Result<(), Failure> {
    let (subject, channel) = subject_and_channel(arguments)?;
    let request = SubscribeRequest {
        subject,
        channel,
        exclude_connections: arguments.exclude.clone(),
        request_id: request_id(),
    };
    let call = &arguments.call;
    let answer = call_api(call, async |client| client.subscribe(request).await)?;
    match call.output {
        Output::Table => print_outcome("subscribed", answer.outcome),
        Output::Json => print::json("SubscribeResponse", &answer),
    }
}

fn unsubscribe(arguments: &SubscriptionArguments) -> Result<(), Failure> {
    let (subject, channel) = subject_and_channel(arguments)?;
    let request = UnsubscribeRequest {
        subject,
        channel,
        exclude_connections: arguments.exclude.clone(),
        request_id: request_id(),
    };
    let call = &arguments.call;
    let answer = call_api(call, async |client| client.unsubscribe(request).await)?;
    match call.output {
        Output::Table => print_outcome("unsubscribed", answer.outcome),
        Output::Json => print::json("UnsubscribeResponse", &answer),
    }
}

fn refresh(arguments: &RefreshArguments) -> Result<(), Failure> {
    let request = RefreshRequest {
        subject: subject(arguments.user.as_ref(), arguments.connection.as_ref()),
        expires_at: arguments.expires.map(|expires| from_now(expires.0)).transpose()?,
        request_id: request_id(),
    };
    let call = &arguments.call;
    let answer = call_api(call, async |client| client.refresh(request).await)?;
    match call.output {
        Output::Table => print_outcome("refreshed", answer.outcome),
        Output::Json => print::json("RefreshResponse", &answer),
    }
}

/// Connects and makes one call.
fn call_api<T>(
    arguments: &CallArguments,
    call: impl AsyncFnOnce(ApiClient) -> Result<T, Failure>,
) -> Result<T, Failure> {
    let endpoint = ApiEndpoint::read(&arguments.endpoint)?;
    client::block_on(async { call(ApiClient::connect(&endpoint).await?).await })
}

/// The arguments make sure that there is exactly one.
fn subject(user: Option<&String>, connection: Option<&String>) -> Option<Subject> {
    let user = user.cloned().map(Kind::User);
    let kind = user.or_else(|| connection.cloned().map(Kind::Connection));
    Some(Subject { kind })
}

fn subject_and_channel(arguments: &SubscriptionArguments) -> Result<(Option<Subject>, String), Failure> {
    match (&arguments.user, arguments.words.as_slice()) {
        (Some(user), [channel]) => Ok((subject(Some(user), None), channel.clone())),
        (None, [connection, channel]) => Ok((subject(None, Some(connection)), channel.clone())),
        (Some(_), _) => Err(Failure::Usage("with --user say CHANNEL only".to_owned())),
        (None, _) => Err(Failure::Usage("say ID and CHANNEL, or --user and CHANNEL".to_owned())),
    }
}

/// A random id of version 4, under which a request that the transport repeats is carried out once.
pub(crate) fn request_id() -> String {
    let random: u128 = rand::random();
    let version = (random & !(0xf << 76)) | (4 << 76);
    let id = (version & !(0b11 << 62)) | (0b10 << 62);
    let hex = format!("{id:032x}");
    format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
}

/// A time that a person has given: RFC 3339, or seconds since 1970.
fn time(text: &str) -> Result<Timestamp, Failure> {
    if let Ok(seconds) = text.parse() {
        return Ok(Timestamp { seconds, nanos: 0 });
    }
    text.parse().map_err(|_| {
        Failure::Usage(format!(
            "--issued-before {text}: write RFC 3339, such as 2026-03-01T12:00:00Z, or seconds since 1970"
        ))
    })
}

fn from_now(span: Duration) -> Result<Timestamp, Failure> {
    /// The last second that a timestamp may have: the end of the year 9999.
    const LAST: u64 = 253_402_300_799;
    let seconds = print::unix_now().checked_add(span.as_secs()).filter(|seconds| *seconds <= LAST);
    let seconds = seconds.and_then(|seconds| i64::try_from(seconds).ok());
    let seconds = seconds.ok_or_else(|| Failure::Usage("that is after the year 9999".to_owned()))?;
    Ok(Timestamp { seconds, nanos: 0 })
}

fn print_outcome(what: &'static str, outcome: Option<Outcome>) -> Result<(), Failure> {
    let Outcome { connections, nodes_asked, complete, gaps } = outcome.unwrap_or_default();
    let connections = print::count(connections, "connection");
    let mut pairs = vec![(what, connections), ("asked", print::count(nodes_asked.into(), "node"))];
    if !complete && gaps.is_empty() {
        pairs.push(("incomplete", "not every node was asked, and the server does not say which".to_owned()));
    }
    pairs.extend(print::gaps(&gaps));
    print::pairs(&pairs)
}

fn print_connection(connection: &Connection) -> Result<(), Failure> {
    let or_dash = |text: &str| if text.is_empty() { "-".to_owned() } else { text.to_owned() };
    let speaks = format!("{}{}", connection.encoding, if connection.tls { " over TLS" } else { "" });
    let sdk = format!("{} {}", connection.sdk_name, connection.sdk_version);
    let mut pairs = vec![
        ("connection", connection.connection.clone()),
        ("user", or_dash(&connection.user)),
        ("node", connection.node.clone()),
        ("from", or_dash(&connection.remote_address)),
        ("speaks", speaks),
        ("sdk", or_dash(sdk.trim())),
        ("connected", print::time(connection.connected_at.as_ref())),
        ("expires", print::time(connection.expires_at.as_ref())),
        ("info", or_dash(&String::from_utf8_lossy(&connection.info))),
        ("meta", or_dash(&String::from_utf8_lossy(&connection.meta))),
        ("queued", print::count(connection.queued_bytes, "byte")),
    ];
    pairs.extend(connection.channels.iter().map(|channel| ("channel", channel.clone())));
    print::pairs(&pairs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn request_ids_are_uuids_and_differ() {
        let id = request_id();
        let lengths: Vec<usize> = id.split('-').map(str::len).collect();
        assert_eq!(lengths, [8, 4, 4, 4, 12], "{id}");
        assert!(id[14..15] == *"4" && ["8", "9", "a", "b"].contains(&&id[19..20]), "{id}");
        assert_ne!(id, request_id());
    }

    #[test]
    fn times_are_read_as_rfc_3339_and_as_seconds() {
        assert_eq!(time("1772366400").unwrap(), time("2026-03-01T12:00:00Z").unwrap());
        assert_eq!(time("2026-03-01T13:00:00+01:00").unwrap().seconds, 1_772_366_400);
        assert!(time("yesterday").unwrap_err().to_string().contains("RFC 3339"));
        assert!(from_now(Duration::from_secs(u64::MAX)).is_err());
    }
}
