//! Members as they travel on links.

use bytes::Bytes;
use fanfare_cluster::channel::ChannelName;
use fanfare_cluster::connection_id::ConnectionId;
use fanfare_proto::link;

use crate::members::{Entering, Infos, MemberView};

/// What a node says of a connection that enters, if it makes sense. It is copied out of the message: a member that
/// held on to a part of it would hold on to all.
pub(crate) fn entering(enter: link::Enter) -> Option<(ChannelName, Entering)> {
    let channel = ChannelName::parse(&enter.channel).ok()?;
    let member = enter.member?;
    let has_infos = !(member.info.is_empty() && member.channel_info.is_empty());
    let infos = has_infos.then(|| Infos {
        connection: Bytes::copy_from_slice(&member.info),
        subscription: Bytes::copy_from_slice(&member.channel_info),
    });
    let subscriptions = enter.subscriptions.iter().filter_map(|channel| ChannelName::parse(channel).ok());
    let entering = Entering {
        id: ConnectionId::try_from(&*member.connection).ok()?,
        user: member.user.into(),
        infos,
        joined_at_ms: member.joined_at_ms,
        again: enter.again,
        subscriptions: subscriptions.collect(),
    };
    Some((channel, entering))
}

/// What a node says of a connection that exits, if it makes sense.
pub(crate) fn exiting(exit: &link::Exit) -> Option<(ChannelName, ConnectionId)> {
    Some((ChannelName::parse(&exit.channel).ok()?, ConnectionId::try_from(&*exit.connection).ok()?))
}

/// A member as nodes are told of it.
pub(super) fn member(id: ConnectionId, member: &MemberView) -> link::Member {
    let infos = member.infos.as_ref();
    link::Member {
        connection: id.to_bytes(),
        user: member.user.to_string(),
        info: infos.map(|infos| infos.connection.clone()).unwrap_or_default(),
        channel_info: infos.map(|infos| infos.subscription.clone()).unwrap_or_default(),
        joined_at_ms: member.joined_at_ms,
    }
}
