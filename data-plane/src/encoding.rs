//! The client protocol's two encodings: commands out of a message, replies into one.

use bytes::{Buf as _, Bytes};
use fanfare_proto::client::{Command, Reply};
use prost::Message as _;

/// How a client speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Encoding {
    /// JSON objects joined by line breaks, in text frames.
    Json,
    /// Protobuf messages behind their lengths, in binary frames.
    Protobuf,
}

/// How a connection wants to be spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Manner {
    pub(crate) encoding: Encoding,
    /// Pings are WebSocket frames and not empty messages.
    pub(crate) frame_pings: bool,
}

/// A message that does not follow the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Malformed;

/// A reply that cannot be written in the client's encoding: its payload is not JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Unwritable;

impl Encoding {
    /// Whether messages go into text frames.
    pub(crate) fn is_text(self) -> bool {
        self == Self::Json
    }

    /// The empty message: a ping from the server, a pong from the client.
    pub(crate) fn empty_message(self) -> &'static [u8] {
        match self {
            Self::Json => b"{}",
            Self::Protobuf => &[0],
        }
    }

    /// Reads all commands of a message, and calls `take` for each until it says no.
    ///
    /// A message without any command is malformed. Commands before a malformed one are taken.
    pub(crate) fn read(self, message: Bytes, mut take: impl FnMut(Command) -> bool) -> Result<(), Malformed> {
        if message.is_empty() {
            return Err(Malformed);
        }
        match self {
            Self::Json => {
                // A raw line break can only stand between objects: inside strings JSON escapes it.
                let lines = message.strip_suffix(b"\n").unwrap_or(&message);
                for line in lines.split(|byte| *byte == b'\n') {
                    // The library would take an array for the fields in their order.
                    let object = line.trim_ascii_start().starts_with(b"{");
                    let command = serde_json::from_slice(line).ok().filter(|_| object).ok_or(Malformed)?;
                    if !take(command) {
                        break;
                    }
                }
            }
            Self::Protobuf => {
                let mut rest = message;
                while rest.has_remaining() {
                    if !take(Command::decode_length_delimited(&mut rest).map_err(|_| Malformed)?) {
                        break;
                    }
                }
            }
        }
        Ok(())
    }

    /// Adds a reply to a message that may hold some already.
    pub(crate) fn write(self, reply: &Reply, message: &mut Vec<u8>) -> Result<(), Unwritable> {
        let before = message.len();
        let written = match self {
            Self::Json => {
                if before > 0 {
                    message.push(b'\n');
                }
                serde_json::to_writer(&mut *message, reply).map_err(drop)
            }
            Self::Protobuf => reply.encode_length_delimited(message).map_err(drop),
        };
        written.map_err(|()| {
            message.truncate(before);
            Unwritable
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use fanfare_proto::client::{
        ClientInfo, ConnectRequest, ConnectResult, Publication, PublishRequest, PublishResult, Push,
        ServerSubscription, SubscribeRequest, SubscribeResult,
    };
    use proptest::prelude::*;

    fn read(encoding: Encoding, message: &[u8]) -> Result<Vec<Command>, Malformed> {
        let mut commands = Vec::new();
        encoding.read(Bytes::copy_from_slice(message), |command| {
            commands.push(command);
            true
        })?;
        Ok(commands)
    }

    fn json(reply: &Reply) -> String {
        let mut message = Vec::new();
        Encoding::Json.write(reply, &mut message).unwrap();
        String::from_utf8(message).unwrap()
    }

    // What centrifuge-js sends with one optimistic subscription (client-protocol, section 2.5).
    #[test]
    fn the_first_message_of_the_js_sdk_is_understood() {
        let message = b"{\"connect\":{\"name\":\"js\"},\"id\":1}\n{\"subscribe\":{\"channel\":\"test\",\"flag\":1},\"id\":2}";
        let connect = ConnectRequest { name: "js".into(), ..Default::default() };
        let subscribe = SubscribeRequest { channel: "test".into(), flag: 1, ..Default::default() };
        let expected = vec![
            Command { id: 1, connect: Some(connect), ..Default::default() },
            Command { id: 2, subscribe: Some(subscribe), ..Default::default() },
        ];
        assert_eq!(read(Encoding::Json, message), Ok(expected));
    }

    #[test]
    fn json_replies_have_the_form_that_sdks_read() {
        let connected = ConnectResult {
            client: "c".into(),
            version: "v".into(),
            ping: 25,
            pong: true,
            ..Default::default()
        };
        let reply = Reply { id: 1, connect: Some(connected), ..Default::default() };
        assert_eq!(json(&reply), r#"{"id":1,"connect":{"client":"c","version":"v","ping":25,"pong":true}}"#);
        let reply = Reply { id: 2, subscribe: Some(SubscribeResult::default()), ..Default::default() };
        assert_eq!(json(&reply), r#"{"id":2,"subscribe":{}}"#);
        let reply = Reply { id: 3, publish: Some(PublishResult {}), ..Default::default() };
        assert_eq!(json(&reply), r#"{"id":3,"publish":{}}"#);
        assert_eq!(json(&Reply::default()).as_bytes(), Encoding::Json.empty_message());
    }

    // prost leaves an empty value of a map away; centrifuge-js then reads null and throws at connect.
    #[test]
    fn a_server_side_subscription_is_written_also_when_it_is_empty() {
        let subscription = ServerSubscription { key: "#42".into(), value: Some(SubscribeResult::default()) };
        let connect = ConnectResult { subs: vec![subscription], ..Default::default() };
        let reply = Reply { id: 1, connect: Some(connect), ..Default::default() };
        assert_eq!(json(&reply), r##"{"id":1,"connect":{"subs":{"#42":{}}}}"##);
        let mut message = Vec::new();
        Encoding::Protobuf.write(&reply, &mut message).unwrap();
        assert!(message.ends_with(b"\x32\x07\x0a\x03#42\x12\x00"), "{message:x?}");
    }

    #[test]
    fn data_is_embedded_json_and_info_always_names_user_and_client() {
        let publication = Publication {
            data: Bytes::from_static(br#"{"a":1}"#),
            info: Some(ClientInfo::default()),
            ..Default::default()
        };
        let push = Push { channel: "test".into(), r#pub: Some(publication), ..Default::default() };
        let reply = Reply { push: Some(push), ..Default::default() };
        let expected = r#"{"push":{"channel":"test","pub":{"data":{"a":1},"info":{"user":"","client":""}}}}"#;
        assert_eq!(json(&reply), expected);
    }

    #[test]
    fn a_payload_that_is_not_json_cannot_be_written_as_json_and_leaves_the_message_whole() {
        let publication = Publication { data: Bytes::from_static(b"\xff"), ..Default::default() };
        let push = Push { r#pub: Some(publication), ..Default::default() };
        let mut message = b"{}".to_vec();
        let reply = Reply { push: Some(push), ..Default::default() };
        assert_eq!(Encoding::Json.write(&reply, &mut message), Err(Unwritable));
        assert_eq!(message, b"{}");
    }

    #[test]
    fn empty_messages_and_empty_lines_are_malformed_but_one_trailing_break_is_not() {
        for bad in [&b""[..], b"\n", b"{}\n\n", b"{}\n\n{}", b"[]", b"{", b"nonsense"] {
            assert_eq!(read(Encoding::Json, bad), Err(Malformed), "{bad:?}");
        }
        assert_eq!(read(Encoding::Json, b"{}\n"), Ok(vec![Command::default()]));
        assert_eq!(read(Encoding::Protobuf, b""), Err(Malformed));
        assert_eq!(read(Encoding::Protobuf, &[0]), Ok(vec![Command::default()]));
        assert_eq!(read(Encoding::Protobuf, &[5, 1]), Err(Malformed));
    }

    #[test]
    fn unknown_fields_are_ignored() {
        assert_eq!(read(Encoding::Json, br#"{"later":{"x":[1]},"id":7}"#).unwrap()[0].id, 7);
    }

    proptest! {
        #[test]
        fn no_message_makes_the_reader_panic(message in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = read(Encoding::Json, &message);
            let _ = read(Encoding::Protobuf, &message);
        }

        #[test]
        fn commands_survive_both_encodings(id in any::<u32>(), channel in ".{0,40}", number in any::<i32>()) {
            let data = Bytes::from(format!("{{\"n\":{number}}}"));
            let publish = PublishRequest { channel, data, ..Default::default() };
            let command = Command { id, publish: Some(publish), ..Default::default() };
            let text = serde_json::to_vec(&command).unwrap();
            prop_assert_eq!(read(Encoding::Json, &text).unwrap(), vec![command.clone()]);
            let mut binary = command.encode_length_delimited_to_vec();
            binary.extend(command.encode_length_delimited_to_vec());
            prop_assert_eq!(read(Encoding::Protobuf, &binary).unwrap(), vec![command.clone(), command]);
        }
    }
}
