//! A publication, a join or a leave on a node: encoded once per encoding, by the first shard that needs it, and shared by all.

use std::sync::OnceLock;

use bytes::Bytes;
use fanfare_cluster::channel::{ChannelName, Epoch, StreamPosition};
use fanfare_cluster::connection_id::ConnectionId;
use fanfare_proto::client::{
    ClientInfo, Join, Leave, Message, Publication as ClientPublication, Push, Reply,
};
use fanfare_proto::link;

use crate::encoding::Encoding;
use crate::frame::Framed;
use crate::tag_filter::TagFilter;

/// Publications that a client is given in one answer at most.
pub(crate) const MAX_GIVEN: u32 = 300;
/// Bytes of publications in one answer at most, but at least one publication: with what stands around them no message
/// is larger than 512 KiB.
pub(crate) const MAX_GIVEN_BYTES: u32 = 480 << 10;

/// Something for a channel's subscribers.
#[derive(Debug)]
pub(crate) struct Publication {
    channel: ChannelName,
    content: Content,
    epoch: Epoch,
    json: OnceLock<Option<Framed>>,
    protobuf: OnceLock<Option<Framed>>,
}

/// What it is.
#[derive(Debug)]
enum Content {
    /// A publication.
    Publication(link::Publication),
    /// A publication that reaches clients as a message without a channel.
    Message(link::Publication),
    /// Somebody came. Not all may want to know.
    Join(link::Member),
    /// Somebody left.
    Leave(link::Member),
}

impl Publication {
    pub(crate) fn new(channel: ChannelName, wire: link::Publication, epoch: Epoch) -> Self {
        Self::with(channel, Content::Publication(wire), epoch)
    }

    /// A publication that reaches clients as a message without a channel.
    pub(crate) fn message(channel: ChannelName, wire: link::Publication, epoch: Epoch) -> Self {
        Self::with(channel, Content::Message(wire), epoch)
    }

    /// Somebody has joined a channel.
    pub(crate) fn join(channel: ChannelName, member: link::Member) -> Self {
        Self::with(channel, Content::Join(member), Epoch::default())
    }

    /// Somebody has left a channel.
    pub(crate) fn leave(channel: ChannelName, member: link::Member) -> Self {
        Self::with(channel, Content::Leave(member), Epoch::default())
    }

    fn with(channel: ChannelName, content: Content, epoch: Epoch) -> Self {
        Self { channel, content, epoch, json: OnceLock::new(), protobuf: OnceLock::new() }
    }

    pub(crate) fn channel(&self) -> &ChannelName {
        &self.channel
    }

    /// Its place in its channel's stream, if it has one.
    pub(crate) fn position(&self) -> Option<StreamPosition> {
        let offset = self.wire().map_or(0, |wire| wire.offset);
        (offset > 0).then_some(StreamPosition { epoch: self.epoch, offset })
    }

    /// Whether a subscriber with this filter wants it.
    pub(crate) fn is_wanted(&self, filter: &TagFilter) -> bool {
        self.wire().is_none_or(|wire| filter.admits(&wire.tags))
    }

    /// As clients read it in answers, where it is one of several.
    pub(crate) fn to_client(&self, encoding: Encoding) -> Option<ClientPublication> {
        self.wire().map(|wire| client_publication(wire, encoding))
    }

    fn wire(&self) -> Option<&link::Publication> {
        match &self.content {
            Content::Publication(wire) | Content::Message(wire) => Some(wire),
            Content::Join(_) | Content::Leave(_) => None,
        }
    }

    /// About how many bytes it holds on to.
    pub(crate) fn weight(&self) -> usize {
        match &self.content {
            Content::Publication(wire) | Content::Message(wire) => wire.weight(),
            Content::Join(member) | Content::Leave(member) => member.weight(),
        }
    }

    /// The frame in an encoding; `None` if the data cannot be written in it.
    pub(crate) fn framed(&self, encoding: Encoding) -> Option<&Framed> {
        let cell = match encoding {
            Encoding::Json => &self.json,
            Encoding::Protobuf => &self.protobuf,
        };
        cell.get_or_init(|| self.encode(encoding)).as_ref()
    }

    fn encode(&self, encoding: Encoding) -> Option<Framed> {
        let push = Push { channel: self.channel.as_str().to_owned(), ..Default::default() };
        let push = match &self.content {
            Content::Message(wire) => return message_frame(encoding, wire.data.clone()),
            Content::Publication(wire) => Push { r#pub: Some(client_publication(wire, encoding)), ..push },
            Content::Join(member) => {
                Push { join: Some(Join { info: Some(client_info(member, encoding)) }), ..push }
            }
            Content::Leave(member) => {
                Push { leave: Some(Leave { info: Some(client_info(member, encoding)) }), ..push }
            }
        };
        frame(encoding, &Reply { push: Some(push), ..Default::default() })
    }
}

/// A publication as clients read it.
pub(crate) fn client_publication(wire: &link::Publication, encoding: Encoding) -> ClientPublication {
    let info = wire.publisher.as_ref().map(|publisher| ClientInfo {
        user: publisher.user.clone(),
        client: publisher.connection.clone(),
        conn_info: writable(&publisher.info, encoding),
        chan_info: writable(&publisher.channel_info, encoding),
    });
    ClientPublication {
        data: wire.data.clone(),
        tags: wire.tags.clone(),
        offset: wire.offset,
        info,
        ..Default::default()
    }
}

/// Who is in a channel, as clients read it.
pub(crate) fn client_info(member: &link::Member, encoding: Encoding) -> ClientInfo {
    let id = ConnectionId::try_from(&member.connection[..]);
    ClientInfo {
        user: member.user.clone(),
        client: id.map_or(String::new(), |id| id.to_string()),
        conn_info: writable(&member.info, encoding),
        chan_info: writable(&member.channel_info, encoding),
    }
}

/// What a token says of its bearer may be bytes: then JSON clients see it without them.
pub(crate) fn writable(data: &Bytes, encoding: Encoding) -> Bytes {
    let is_json = || serde_json::from_slice::<&serde_json::value::RawValue>(data).is_ok();
    if data.is_empty() || encoding == Encoding::Protobuf || is_json() { data.clone() } else { Bytes::new() }
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
        let publication = Publication::new(channel, wire, Epoch::default());
        let json = publication.framed(Encoding::Json).unwrap().bytes().clone();
        let expected = br#"{"push":{"channel":"news","pub":{"data":1,"info":{"user":"ann","client":""}}}}"#;
        assert_eq!(&json[2..], expected);
        assert!(publication.framed(Encoding::Protobuf).unwrap().bytes().contains(&0xff));
    }

    #[test]
    fn a_publication_is_encoded_once_and_shared() {
        let channel = ChannelName::parse("news").unwrap();
        let wire = link::Publication { data: Bytes::from_static(b"1"), ..Default::default() };
        let publication = Publication::new(channel, wire, Epoch::default());
        let first = publication.framed(Encoding::Json).unwrap().bytes().clone();
        let second = publication.framed(Encoding::Json).unwrap().bytes().clone();
        assert_eq!(first.as_ptr(), second.as_ptr());
        assert_eq!(&first[2..], br#"{"push":{"channel":"news","pub":{"data":1}}}"#);
    }

    #[test]
    fn a_place_and_who_came_are_said_as_the_protocol_has_it() {
        let channel = ChannelName::parse("news").unwrap();
        let wire = link::Publication { data: Bytes::from_static(b"1"), offset: 7, ..Default::default() };
        let publication = Publication::new(channel.clone(), wire, Epoch(9));
        assert_eq!(publication.position(), Some(StreamPosition { epoch: Epoch(9), offset: 7 }));
        let text = |publication: &Publication| {
            String::from_utf8_lossy(&publication.framed(Encoding::Json).unwrap().bytes()[2..]).into_owned()
        };
        assert_eq!(text(&publication), r#"{"push":{"channel":"news","pub":{"data":1,"offset":7}}}"#);
        let member = link::Member { user: "ann".into(), ..Default::default() };
        let join = Publication::join(channel, member);
        assert!(join.position().is_none());
        let expected = r#"{"push":{"channel":"news","join":{"info":{"user":"ann","client":""}}}}"#;
        assert_eq!(text(&join), expected);
    }
}
