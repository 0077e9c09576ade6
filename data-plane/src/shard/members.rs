//! Members of channels with presence, as the shard tells owners of them; and lists of connections.

use bytes::Bytes;
use fanfare_cluster::channel::ChannelName;
use fanfare_proto::link;
use prost::Message as _;

use super::SlotKey;
use super::connections::{Connection, NOT_LIVE};
use super::state::State;
use crate::authenticator::unix_seconds;
use crate::links::{Entering, FromShard, ListPiece, MAX_LISTED_BYTES};

/// Connections that are looked at in one step.
const STEP: u32 = 256;
/// Bytes of members after which a step ends, whatever it has looked at.
const MAX_ANNOUNCED: usize = 128 << 10;
/// The same for a list, which looks at each only briefly.
const LIST_STEP: u32 = 8_192;

impl State {
    /// A subscription is live: if the channel has presence, its owner learns of the member. Returns about how many
    /// bytes that takes.
    pub(super) fn enter(&mut self, key: SlotKey, number: u32, again: bool) -> usize {
        let Some(channel) = self.hub.name(number).cloned() else { return 0 };
        let has_presence = self.rules.channels.of(&channel).is_ok_and(|rules| rules.options.has_presence());
        let Some(connection) = self.connections.get(key).filter(|_| has_presence) else { return 0 };
        let Some(subscription) = connection.subscription(number) else { return 0 };
        if subscription.position == NOT_LIVE || subscription.member != again {
            return 0;
        }
        if !again {
            subscription.member = true;
            subscription.since =
                u32::try_from(unix_seconds(std::time::SystemTime::now())).unwrap_or(u32::MAX);
        }
        let since = subscription.since;
        let member = member(connection, number, since);
        let subscriptions = match channel.is_personal() {
            true => self.made_by_backends(key),
            false => Vec::new(),
        };
        let entering = Entering { channel, member, again, subscriptions };
        let enter = FromShard::Enter(Box::new(entering));
        let bytes = enter.weight();
        self.up.push(enter);
        bytes
    }

    /// A subscription has ended: the owner forgets the member.
    pub(super) fn exit(&mut self, key: SlotKey, channel: ChannelName) {
        if let Some(connection) = self.connections.get(key) {
            let connection = connection.id;
            self.up.push(FromShard::Exit { channel, connection });
        }
    }

    /// The channels that backends have subscribed a connection to.
    fn made_by_backends(&mut self, key: SlotKey) -> Vec<String> {
        let Some(connection) = self.connections.get(key) else { return Vec::new() };
        let made = connection.subscriptions.iter().filter(|subscription| subscription.by_backend);
        made.filter_map(|subscription| self.hub.name(subscription.channel)).map(ToString::to_string).collect()
    }

    /// Has the members of some connections enter again, and says where to go on.
    pub(crate) fn announce(&mut self, round: u64, from: u32) {
        let end = self.connections.slot_count();
        let to = end.min(from.saturating_add(STEP));
        let (mut next, mut bytes) = (from, 0);
        while next < to && bytes < MAX_ANNOUNCED {
            if let Some(key) = self.connections.key_of(next) {
                for number in self.memberships(key) {
                    bytes += self.enter(key, number, true);
                }
            }
            next += 1;
        }
        self.up.push(FromShard::Announced { round, next: (next < end).then_some(next) });
    }

    fn memberships(&mut self, key: SlotKey) -> Vec<u32> {
        let Some(connection) = self.connections.get(key) else { return Vec::new() };
        let members = connection.subscriptions.iter().filter(|subscription| subscription.member);
        members.map(|subscription| subscription.channel).collect()
    }

    /// Answers a piece of a list of connections.
    pub(crate) fn list(&mut self, piece: &ListPiece) {
        let filter = &piece.filter;
        let named = match (filter.channel.as_str(), filter.user.as_str()) {
            ("", "") => None,
            ("", user) => ChannelName::personal(user).ok().map(|name| name.as_str().to_owned()),
            (channel, _) => Some(channel.to_owned()),
        };
        let (slots, next): (Vec<u32>, Option<u32>) = match named {
            Some(channel) => {
                let number = self.hub.find(&channel);
                let mut slots = number.map_or(Vec::new(), |number| self.hub.slots(number));
                slots.retain(|slot| *slot >= piece.from);
                slots.sort_unstable();
                (slots, None)
            }
            None => {
                let end = self.connections.slot_count();
                let to = end.min(piece.from.saturating_add(LIST_STEP));
                ((piece.from..to).collect(), (to < end).then_some(to))
            }
        };
        let (mut connections, mut stopped, mut bytes) = (Vec::new(), None, 0);
        for slot in slots {
            if connections.len() == piece.limit || bytes > MAX_LISTED_BYTES {
                stopped = Some(slot);
                break;
            }
            let Some(key) = self.connections.key_of(slot) else { continue };
            let connection = self.connections.get(key).filter(|connection| is_meant(filter, connection));
            let Some(connection) = connection.map(|connection| connection.id.to_bytes()) else { continue };
            if let Some(state) = self.describe(key) {
                let listed = link::ListedConnection { connection, state: Some(state) };
                bytes += listed.encoded_len();
                connections.push(listed);
            }
        }
        self.up.push(FromShard::Listed { listing: piece.listing, connections, next: stopped.or(next) });
    }
}

fn member(connection: &Connection, number: u32, since: u32) -> link::Member {
    let identity = connection.session.identity();
    let grant = connection.grants.find(number);
    link::Member {
        connection: connection.id.to_bytes(),
        user: connection.session.user().to_owned(),
        info: identity.map_or(Bytes::new(), |identity| identity.info.clone()),
        channel_info: grant.map_or(Bytes::new(), |grant| grant.info.clone()),
        joined_at_ms: u64::from(since) * 1_000,
    }
}

/// Whether a list is to have the connection, whose channel was looked at already.
fn is_meant(filter: &link::ListConnections, connection: &Connection) -> bool {
    let connected_at = u64::from(connection.profile.connected_at) * 1_000;
    let after = |at: u64| at == 0 || connected_at > at;
    let before = |at: u64| at == 0 || connected_at < at;
    let sdk = connection.profile.sdk.as_ref().map_or("", |sdk| &sdk.name);
    (filter.user.is_empty() || filter.user == connection.session.user())
        && (filter.sdk_name.is_empty() || filter.sdk_name == sdk)
        && after(filter.connected_after_ms)
        && before(filter.connected_before_ms)
}
