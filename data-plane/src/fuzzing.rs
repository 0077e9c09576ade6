//! Doors for the fuzz targets into what strangers reach first; a build without `--cfg fuzzing` has none of them.

use std::time::{Duration, UNIX_EPOCH};

use bytes::Bytes;
use fanfare_proto::client::{Command, Publication, Push, Reply};
use prost::Message as _;
use serde_json::value::RawValue;

use crate::authenticator::{Authenticator as _, TokenAuthenticator};
use crate::codes::Code;
use crate::config::TokenConfig;
use crate::encoding::Encoding;
use crate::frame::{FrameReader, FrameSplitter, Framed, Incoming};

/// What messages may have here: small, so that the limit is met.
const LIMIT: usize = 1_000;
/// More commands of one message teach nothing.
const COMMANDS: usize = 64;
/// The secret of the tokens that [`token`] accepts.
pub const SECRET: &str = "fuzzing";

/// Reads a stream of frames in pieces of `chunk` bytes, and checks that the pieces make no difference.
///
/// # Panics
/// If they do, or if a message comes out that is over the limit.
pub fn frames(stream: &[u8], chunk: usize) {
    let read = read_frames(stream.chunks(chunk));
    assert_eq!(read, read_frames([stream].into_iter()), "in pieces of {chunk} bytes");
    for incoming in &read.0 {
        if let Incoming::Message(message) = incoming {
            assert!(message.len() <= LIMIT);
            Framed::message(true, message);
        } else if let Incoming::Ping(payload) = incoming {
            Framed::pong(payload);
        } else if let Incoming::Close(code) = incoming {
            Framed::close(*code);
        }
    }
}

/// As a connection's task does.
fn read_frames<'a>(chunks: impl Iterator<Item = &'a [u8]>) -> (Vec<Incoming>, Option<Code>) {
    let (mut splitter, mut reader) = (FrameSplitter::default(), FrameReader::default());
    let (mut rest, mut read) = (Vec::new(), Vec::new());
    for chunk in chunks {
        rest.extend_from_slice(chunk);
        loop {
            let header = match splitter.header(&rest, LIMIT) {
                Ok(Some(header)) if rest.len() >= header.frame_len => header,
                Ok(_) => break,
                Err(code) => return (read, Some(code)),
            };
            match splitter.take(&mut reader, header, &rest[..header.frame_len]) {
                Ok(incoming) => read.push(incoming),
                Err(code) => return (read, Some(code)),
            }
            rest.drain(..header.frame_len);
        }
    }
    (read, None)
}

/// Reads a message in both encodings, and checks that what was read can be written again.
///
/// # Panics
/// If it cannot, or if it is something else when it is read again.
pub fn messages(message: &[u8]) {
    for encoding in [Encoding::Json, Encoding::Protobuf] {
        let mut commands = Vec::new();
        // Commands before a malformed one are taken, too.
        let _ = encoding.read(Bytes::copy_from_slice(message), |command| {
            commands.push(command);
            commands.len() < COMMANDS
        });
        commands.iter().for_each(survives_both_encodings);
        answers_are_whole(commands.iter().map(echo).collect());
    }
}

fn survives_both_encodings(command: &Command) {
    assert_eq!(read_one(Encoding::Protobuf, command.encode_length_delimited_to_vec()), *command);
    // Protobuf may carry data that is not JSON; whitespace around JSON is lost the first time.
    if let Ok(text) = serde_json::to_vec(command) {
        let again = read_one(Encoding::Json, text.clone());
        assert_eq!(serde_json::to_vec(&again).expect("it was JSON"), text);
    }
}

fn read_one(encoding: Encoding, message: Vec<u8>) -> Command {
    let mut commands = Vec::new();
    let read = encoding.read(message.into(), |command| {
        commands.push(command);
        true
    });
    assert_eq!((read, commands.len()), (Ok(()), 1));
    commands.remove(0)
}

/// What others might get to see of a command.
fn echo(command: &Command) -> Reply {
    let publish = command.publish.clone().unwrap_or_default();
    let data = command.connect.as_ref().map_or(publish.data, |connect| connect.data.clone());
    let publication = Publication { data, channel: publish.key, ..Default::default() };
    let push = Push { channel: publish.channel, r#pub: Some(publication), ..Default::default() };
    Reply { id: command.id, push: Some(push), ..Default::default() }
}

fn answers_are_whole(replies: Vec<Reply>) {
    let (mut text, mut lines) = (Vec::new(), 0);
    let mut binary = Vec::new();
    for reply in &replies {
        lines += usize::from(Encoding::Json.write(reply, &mut text).is_ok());
        Encoding::Protobuf.write(reply, &mut binary).expect("bytes are always Protobuf");
    }
    let written: Vec<_> = text.split(|byte| *byte == b'\n').filter(|_| !text.is_empty()).collect();
    assert_eq!(written.len(), lines, "{:?}", String::from_utf8_lossy(&text));
    for line in written {
        let object: &RawValue = serde_json::from_slice(line).expect("each line is JSON");
        assert!(object.get().starts_with('{'));
    }
    let mut binary = Bytes::from(binary);
    for reply in replies {
        assert_eq!(Reply::decode_length_delimited(&mut binary), Ok(reply));
    }
}

/// Whether a token is accepted, for a connection or for a subscription.
///
/// # Panics
/// If it is, and names somebody or something that cannot be, or is accepted for both.
pub fn token(token: &str) -> bool {
    let now = UNIX_EPOCH + Duration::from_secs(1_000_000_000);
    let config = TokenConfig { hmac_secret_key: SECRET.to_owned(), ..Default::default() };
    let tokens = TokenAuthenticator::new(&config, None).expect("a secret is a key");
    let (connection, subscription) = (tokens.connection(token, now), tokens.subscription(token, now));
    assert!(connection.is_err() || subscription.is_err());
    if let Ok(identity) = &connection {
        assert!(!identity.user.chars().any(char::is_control));
        assert!(identity.subscriptions.iter().all(|granted| !granted.channel.is_personal()));
    }
    if let Ok(grant) = &subscription {
        assert!(!grant.user.chars().any(char::is_control) && !grant.channel.is_personal());
    }
    connection.is_ok() || subscription.is_ok()
}
