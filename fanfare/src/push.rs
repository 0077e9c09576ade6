//! `fanfare push`: one message from the command line, or one for each line of standard input.

mod lines;
mod stream;
mod tally;

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use fanfare_proto::v1::{
    Message, PublishRequest, PublishResponse, Receipt, Storage, Target, WaitFor, message::Payload,
    target::Kind,
};
use serde_json::value::RawValue;

use crate::cli::{Output, PushArguments, Wait};
use crate::client::{self, ApiClient};
use crate::endpoint::ApiEndpoint;
use crate::exit::Failure;
use crate::history::text_of;
use crate::print;
use lines::{Aim, Form};

/// Tags that a message may have.
const MAX_TAGS: usize = 16;
/// What stands for standard input in place of the data.
const STANDARD_INPUT: &str = "-";

pub(crate) fn run(arguments: &PushArguments) -> Result<(), Failure> {
    let (kind, data) = target_and_data(arguments)?;
    let endpoint = ApiEndpoint::read(&arguments.endpoint)?;
    let template = template(arguments)?;
    let Some(data) = data else {
        let aim = kind.map_or(Aim::EachLine, |kind| Aim::One(Target { kind: Some(kind) }));
        if arguments.message.binary && matches!(aim, Aim::EachLine) {
            return Err(Failure::Usage(
                "lines that name their targets are JSON: with --binary say one target".to_owned(),
            ));
        }
        if arguments.keep.idempotency_key.is_some() || arguments.keep.version.is_some() {
            return Err(Failure::Usage(
                "a key or a version is one message's: with - lines that name their targets can have an \
                 idempotency_key of their own"
                    .to_owned(),
            ));
        }
        return stream::run(arguments, &endpoint, Form { template, aim, binary: arguments.message.binary });
    };
    if arguments.fail_fast {
        return Err(Failure::Usage(
            "--fail-fast is for standard input: say - in place of the data".to_owned(),
        ));
    }
    let mut request = PublishRequest { target: Some(Target { kind }), ..template };
    let message = request.message.get_or_insert_default();
    message.payload = Some(payload(data, arguments.message.binary)?);
    let answer = client::block_on(async {
        let client = ApiClient::connect(&endpoint).await?;
        if endpoint.is_loopback() {
            stamp(&mut request);
        }
        client.publish(request).await
    })?;
    match arguments.output {
        Output::Table => print_table(&answer, arguments.message.wait),
        Output::Json => print::json("PublishResponse", &answer),
    }
}

/// A push that lacks its target and its data.
fn template(arguments: &PushArguments) -> Result<PublishRequest, Failure> {
    let (said, keep) = (&arguments.message, &arguments.keep);
    let storage = if keep.no_store { Storage::Skip } else { Storage::Unspecified };
    let message = Message {
        tags: tags(&said.tags)?,
        exclude_connections: said.exclude.clone(),
        ttl: keep.ttl.and_then(|ttl| to_proto(ttl.0)),
        storage: storage.into(),
        version: keep.version.unwrap_or_default(),
        version_epoch: keep.version_epoch.clone().unwrap_or_default(),
        ..Default::default()
    };
    let wait_for = match said.wait {
        Wait::Accepted => WaitFor::Accepted,
        Wait::Written => WaitFor::Written,
    };
    Ok(PublishRequest {
        message: Some(message),
        idempotency_key: keep.idempotency_key.clone().unwrap_or_default(),
        wait_for: wait_for.into(),
        wait_timeout: to_proto(said.wait_timeout.0),
        ..Default::default()
    })
}

fn payload(data: String, binary: bool) -> Result<Payload, Failure> {
    if binary {
        return Ok(Payload::Data(data.into_bytes().into()));
    }
    serde_json::from_str::<&RawValue>(&data).map_err(|error| {
        let quoted = serde_json::Value::String(data.clone());
        Failure::Usage(format!(
            "the data is not JSON ({error}); for text write '{quoted}', else add --binary"
        ))
    })?;
    Ok(Payload::Json(data))
}

/// For whom the push is, and its data: no data means standard input, no target that each line names its own.
fn target_and_data(arguments: &PushArguments) -> Result<(Option<Kind>, Option<String>), Failure> {
    let data = |data: &String| (data != STANDARD_INPUT).then(|| data.clone());
    let said = &arguments.message;
    match (&said.user, &said.connection, arguments.words.as_slice()) {
        (Some(user), _, [last]) => Ok((Some(Kind::User(user.clone())), data(last))),
        (None, Some(connection), [last]) => Ok((Some(Kind::Connection(connection.clone())), data(last))),
        (None, None, [channel, last]) => Ok((Some(Kind::Channel(channel.clone())), data(last))),
        (None, None, [only]) if only == STANDARD_INPUT => Ok((None, None)),
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

fn print_table(answer: &PublishResponse, wait: Wait) -> Result<(), Failure> {
    let position = answer.position.as_ref().map(|position| ("position", text_of(position)));
    let not_delivered = [
        (answer.duplicate, "duplicate", "its key was seen before: nothing was delivered"),
        (answer.superseded, "superseded", "a newer version was seen before: nothing was delivered"),
    ];
    if let Some((_, name, why)) = not_delivered.into_iter().find(|(is_so, ..)| *is_so) {
        let pairs: Vec<_> = [(name, why.to_owned())].into_iter().chain(position).collect();
        return print::pairs(&pairs);
    }
    let Receipt { nodes_asked, written, pending, cut, user_offline, gaps, .. } =
        answer.receipt.clone().unwrap_or_default();
    let mut pairs = vec![("accepted", format!("sent to {}", print::count(nodes_asked.into(), "node")))];
    pairs.extend(position);
    if wait == Wait::Written {
        let counts = [("written", written), ("pending", pending), ("cut", cut)];
        pairs.extend(counts.map(|(name, count)| (name, count.to_string())));
    }
    if user_offline {
        pairs.push(("user", "offline".to_owned()));
    }
    pairs.extend(print::gaps(&gaps));
    print::pairs(&pairs)
}
