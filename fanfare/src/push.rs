//! `fanfare push`: one message from the command line.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use fanfare_proto::DESCRIPTORS;
use fanfare_proto::v1::{
    GapReason, Message, PublishRequest, PublishResponse, Receipt, Target, WaitFor, message::Payload,
    target::Kind,
};
use prost_reflect::prost::Message as _;
use prost_reflect::{DescriptorPool, DynamicMessage};

use crate::cli::{EndpointArguments, Output, PushArguments, Wait};
use crate::client::PushClient;
use crate::exit::Failure;

/// Tags that a message may have.
const MAX_TAGS: usize = 16;

pub(crate) fn run(arguments: &PushArguments) -> Result<(), Failure> {
    let mut request = request(arguments)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::Failed(error.to_string()))?;
    let answer = runtime.block_on(async {
        let EndpointArguments { endpoint, timeout } = &arguments.endpoint;
        let mut client = PushClient::connect(endpoint, timeout.0).await?;
        if is_loopback(endpoint) {
            stamp(&mut request);
        }
        client.publish(request).await
    })?;
    match arguments.output {
        Output::Table => print_table(&answer, arguments.wait),
        Output::Json => print_json(&answer)?,
    }
    Ok(())
}

fn request(arguments: &PushArguments) -> Result<PublishRequest, Failure> {
    let (kind, data) = target_and_data(arguments)?;
    let payload = if arguments.binary {
        Payload::Data(data.into_bytes().into())
    } else {
        serde_json::from_str::<&serde_json::value::RawValue>(&data).map_err(|error| {
            let quoted = serde_json::Value::String(data.clone());
            Failure::Usage(format!(
                "the data is not JSON ({error}); for text write '{quoted}', else add --binary"
            ))
        })?;
        Payload::Json(data)
    };
    let message = Message {
        payload: Some(payload),
        tags: tags(&arguments.tags)?,
        exclude_connections: arguments.exclude.clone(),
        ..Default::default()
    };
    let wait_for = match arguments.wait {
        Wait::Accepted => WaitFor::Accepted,
        Wait::Written => WaitFor::Written,
    };
    Ok(PublishRequest {
        target: Some(Target { kind: Some(kind) }),
        message: Some(message),
        wait_for: wait_for.into(),
        wait_timeout: to_proto(arguments.wait_timeout.0),
        ..Default::default()
    })
}

fn target_and_data(arguments: &PushArguments) -> Result<(Kind, String), Failure> {
    let words = arguments.words.as_slice();
    match (&arguments.user, &arguments.connection, words) {
        (Some(user), _, [data]) => Ok((Kind::User(user.clone()), data.clone())),
        (None, Some(connection), [data]) => Ok((Kind::Connection(connection.clone()), data.clone())),
        (None, None, [channel, data]) => Ok((Kind::Channel(channel.clone()), data.clone())),
        (None, None, _) => {
            Err(Failure::Usage("say CHANNEL and DATA, or --user or --connection and DATA".to_owned()))
        }
        _ => Err(Failure::Usage("with --user or --connection say DATA only".to_owned())),
    }
}

fn tags(words: &[String]) -> Result<BTreeMap<String, String>, Failure> {
    let pair = |word: &String| {
        let (key, value) =
            word.split_once('=').ok_or_else(|| Failure::Usage(format!("--tag {word}: write KEY=VALUE")))?;
        Ok((key.to_owned(), value.to_owned()))
    };
    words.iter().map(pair).collect()
}

fn is_loopback(endpoint: &str) -> bool {
    let authority = endpoint.split_once("://").map_or(endpoint, |(_, authority)| authority);
    ["127.", "localhost", "[::1]"].iter().any(|name| authority.starts_with(name))
}

/// Says when the message was sent: on one machine clocks agree, so that a page can show the delay. A push to
/// one connection has no tags.
fn stamp(request: &mut PublishRequest) {
    let to_connection =
        request.target.as_ref().is_some_and(|target| matches!(target.kind, Some(Kind::Connection(_))));
    let has_room = |message: &&mut Message| message.tags.len() < MAX_TAGS;
    if let Some(message) = request.message.as_mut().filter(|_| !to_connection).filter(has_room) {
        message.tags.entry("sent_at".to_owned()).or_insert_with(now_in_milliseconds);
    }
}

fn now_in_milliseconds() -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    format!("{:.3}", now.as_secs_f64() * 1e3)
}

fn to_proto(duration: Duration) -> Option<fanfare_proto::Duration> {
    duration.try_into().ok()
}

fn print_table(answer: &PublishResponse, wait: Wait) {
    let Receipt { nodes_asked, written, pending, cut, user_offline, gaps, .. } =
        answer.receipt.clone().unwrap_or_default();
    println!("accepted      sent to {nodes_asked} {}", if nodes_asked == 1 { "node" } else { "nodes" });
    if wait == Wait::Written {
        println!("written       {written}");
        println!("pending       {pending}");
        println!("cut           {cut}");
    }
    if user_offline {
        println!("user          offline");
    }
    for gap in gaps {
        let reason = match gap.reason() {
            GapReason::Unreachable => "is not linked",
            GapReason::CatchingUp => "is catching up",
            GapReason::Silent => "did not answer in time",
            GapReason::Unspecified => "is missing",
        };
        println!("incomplete    node {} {reason}", gap.node);
    }
}

/// Prints proto3 JSON, the same as a JSON gateway would answer.
fn print_json(answer: &PublishResponse) -> Result<(), Failure> {
    let failed = |error: &dyn std::fmt::Display| Failure::Failed(format!("cannot print the answer: {error}"));
    let pool = DescriptorPool::decode(DESCRIPTORS).map_err(|error| failed(&error))?;
    let descriptor = pool
        .get_message_by_name("fanfare.v1.PublishResponse")
        .ok_or_else(|| failed(&"its descriptor is missing"))?;
    let message = DynamicMessage::decode(descriptor, answer.encode_to_vec().as_slice());
    let message = message.map_err(|error| failed(&error))?;
    println!("{}", serde_json::to_string_pretty(&message).map_err(|error| failed(&error))?);
    Ok(())
}
