//! A publication on a node: encoded once per encoding, by the first shard that needs it, and shared by all.

use std::sync::OnceLock;

use bytes::Bytes;
use fanfare_cluster::channel::ChannelName;
use fanfare_proto::client::{ClientInfo, Message, Publication as ClientPublication, Push, Reply};
use fanfare_proto::link;

use crate::encoding::Encoding;
use crate::frame::Framed;

/// A publication for a channel's subscribers.
#[derive(Debug)]
pub(crate) struct Publication {
    channel: ChannelName,
    wire: link::Publication,
    /// It reaches clients as a message without a channel.
    as_message: bool,
    json: OnceLock<Option<Framed>>,
    protobuf: OnceLock<Option<Framed>>,
}

impl Publication {
    pub(crate) fn new(channel: ChannelName, wire: link::Publication, as_message: bool) -> Self {
        Self { channel, wire, as_message, json: OnceLock::new(), protobuf: OnceLock::new() }
    }

    pub(crate) fn channel(&self) -> &ChannelName {
        &self.channel
    }

    /// About how many bytes it holds on to.
    pub(crate) fn weight(&self) -> usize {
        self.wire.weight()
    }

    /// The frame in an encoding; `None` if the data cannot be written in it.
    pub(crate) fn framed(&self, encoding: Encoding) -> Option<&Framed> {
        let cell = match encoding {
            Encoding::Json => &self.json,
            Encoding::Protobuf => &self.protobuf,
        };
        cell.get_or_init(|| match self.as_message {
            true => message_frame(encoding, self.wire.data.clone()),
            // What a token says of its bearer may be bytes: then JSON clients see the publication without it.
            false => frame(encoding, &self.to_reply(true)).or_else(|| frame(encoding, &self.to_reply(false))),
        })
        .as_ref()
    }

    fn to_reply(&self, with_infos: bool) -> Reply {
        let info_or_nothing = |info: &Bytes| if with_infos { info.clone() } else { Bytes::new() };
        let info = self.wire.publisher.as_ref().map(|publisher| ClientInfo {
            user: publisher.user.clone(),
            client: publisher.connection.clone(),
            conn_info: info_or_nothing(&publisher.info),
            chan_info: info_or_nothing(&publisher.channel_info),
        });
        let publication = ClientPublication {
            data: self.wire.data.clone(),
            tags: self.wire.tags.clone(),
            info,
            ..Default::default()
        };
        let push = Push {
            channel: self.channel.as_str().to_owned(),
            r#pub: Some(publication),
            ..Default::default()
        };
        Reply { push: Some(push), ..Default::default() }
    }
}

/// The frame of a message to one connection; `None` if the data cannot be written in the encoding.
pub(crate) fn message_frame(encoding: Encoding, data: Bytes) -> Option<Framed> {
    let push = Push { message: Some(Message { data }), ..Default::default() };
    frame(encoding, &Reply { push: Some(push), ..Default::default() })
}

fn frame(encoding: Encoding, reply: &Reply) -> Option<Framed> {
    let mut message = Vec::new();
    encoding.write(reply, &mut message).ok()?;
    Some(Framed::message(encoding.is_text(), &message))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_json_about_a_publisher_keeps_nobody_from_its_publication() {
        let channel = ChannelName::parse("news").unwrap();
        let info = Bytes::from_static(&[0xff]);
        let publisher = link::Publisher { user: "ann".into(), info, ..Default::default() };
        let data = Bytes::from_static(b"1");
        let wire = link::Publication { data, publisher: Some(publisher), ..Default::default() };
        let publication = Publication::new(channel, wire, false);
        let json = publication.framed(Encoding::Json).unwrap().bytes().clone();
        let expected = br#"{"push":{"channel":"news","pub":{"data":1,"info":{"user":"ann","client":""}}}}"#;
        assert_eq!(&json[2..], expected);
        assert!(publication.framed(Encoding::Protobuf).unwrap().bytes().contains(&0xff));
    }

    #[test]
    fn a_publication_is_encoded_once_and_shared() {
        let channel = ChannelName::parse("news").unwrap();
        let wire = link::Publication { data: Bytes::from_static(b"1"), ..Default::default() };
        let publication = Publication::new(channel, wire, false);
        let first = publication.framed(Encoding::Json).unwrap().bytes().clone();
        let second = publication.framed(Encoding::Json).unwrap().bytes().clone();
        assert_eq!(first.as_ptr(), second.as_ptr());
        assert_eq!(&first[2..], br#"{"push":{"channel":"news","pub":{"data":1}}}"#);
    }
}
