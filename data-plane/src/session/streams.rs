//! What a session may have of a channel's past and of those present: recovery, history, presence.

use std::collections::BTreeMap;
use std::sync::Arc;

use fanfare_cluster::channel::{ChannelName, ChannelOptions, Epoch, RecoveryMode, StreamPosition};
use fanfare_proto::client::{ConnectRequest, HistoryRequest, SubscribeRequest};

use super::{REJECT_UNRECOVERED, Session, Step, Surroundings, refuse};
use crate::authenticator::Permission;
use crate::codes::{Code, disconnect, error};
use crate::links::{Question, Reading};
use crate::publication::{MAX_GIVEN, MAX_GIVEN_BYTES};
use crate::shard::Wants;
use crate::tag_filter::TagFilter;

/// Who may ask something of a channel.
struct Access {
    permission: Permission,
    client: bool,
    anonymous: bool,
    subscriber: bool,
}

impl Access {
    fn history(options: &ChannelOptions) -> Self {
        Self {
            permission: Permission::History,
            client: options.allow_history_for_client,
            anonymous: options.allow_history_for_anonymous,
            subscriber: options.allow_history_for_subscriber,
        }
    }

    fn presence(options: &ChannelOptions) -> Self {
        Self {
            permission: Permission::Presence,
            client: options.allow_presence_for_client,
            anonymous: options.allow_presence_for_anonymous,
            subscriber: options.allow_presence_for_subscriber,
        }
    }
}

/// A place as clients name it. A text that is no epoch is none that ever was.
fn position(epoch: &str, offset: u64) -> StreamPosition {
    StreamPosition { epoch: epoch.parse().unwrap_or(Epoch::NONE_EVER), offset }
}

/// What a server-side subscription has without being asked for.
pub(crate) fn server_side_wants(
    options: &ChannelOptions,
    since: Option<StreamPosition>,
) -> Option<Box<Wants>> {
    let recoverable = options.force_recovery;
    let since = since.filter(|_| recoverable);
    let latest = options.force_recovery_mode == RecoveryMode::Cache;
    let auto = recoverable && options.auto_cache_recover;
    let since = since.or(auto.then(StreamPosition::default));
    let positioned = options.force_positioning || recoverable;
    let wants = Wants { since, latest, positioned, recoverable, ..Wants::default() };
    (wants != Wants::default()).then(|| Box::new(wants))
}

/// From where a client wants what it has missed in its server-side subscriptions.
pub(super) fn missed_since_connect(connect: &ConnectRequest) -> BTreeMap<String, StreamPosition> {
    let recovering = connect.subs.iter().filter(|(_, request)| request.recover);
    recovering.map(|(channel, request)| (channel.clone(), position(&request.epoch, request.offset))).collect()
}

impl Session {
    /// What a subscription shall have beyond publications from now on.
    pub(super) fn wants(
        &self,
        channel: &ChannelName,
        request: &SubscribeRequest,
        options: &ChannelOptions,
        around: &Surroundings<'_>,
    ) -> Result<Option<Box<Wants>>, Code> {
        let filter = match &request.tf {
            None => None,
            Some(_) if !options.allow_tags_filter => return Err(error::BAD_REQUEST),
            Some(node) => Some(Arc::new(TagFilter::new(node).map_err(|_| error::BAD_REQUEST)?)),
        };
        let has_history = options.has_history();
        let may_recover =
            options.allow_recovery || self.may_once_subscribed(channel, &Access::history(options), around);
        let recoverable = has_history
            && (options.force_recovery || (request.recoverable || request.recover) && may_recover);
        let positioned = has_history
            && (recoverable || options.force_positioning || options.allow_positioning && request.positioned);
        let latest = options.force_recovery_mode == RecoveryMode::Cache;
        let asked = request.recover.then(|| position(&request.epoch, request.offset));
        let auto = options.auto_cache_recover.then(StreamPosition::default);
        let since = asked.or(auto).filter(|_| recoverable);
        let all_or_nothing = request.flag & REJECT_UNRECOVERED != 0;
        if all_or_nothing && request.recover && since.is_none() {
            return Err(error::UNRECOVERABLE_POSITION);
        }
        let may_see = || self.may_once_subscribed(channel, &Access::presence(options), around);
        let joins = options.join_leave
            && !options.force_push_join_leave
            && request.join_leave
            && options.has_presence()
            && may_see();
        let wants = Wants { since, latest, all_or_nothing, positioned, recoverable, joins, filter };
        Ok((wants != Wants { all_or_nothing, ..Wants::default() }).then(|| Box::new(wants)))
    }

    pub(super) fn history(&self, id: u32, request: &HistoryRequest, around: &Surroundings<'_>) -> Step {
        let asked = |channel: &ChannelName, options: &ChannelOptions| {
            if !options.has_history() {
                return Err(error::NOT_AVAILABLE);
            }
            if !self.may(channel, &Access::history(options), around) {
                return Err(error::PERMISSION_DENIED);
            }
            let since = request.since.as_ref().map(|since| position(&since.epoch, since.offset));
            let limit = u32::try_from(request.limit).unwrap_or(MAX_GIVEN).min(MAX_GIVEN);
            let reverse = request.reverse;
            Ok(Question::History(Reading { since, limit, reverse, max_bytes: MAX_GIVEN_BYTES }))
        };
        question(id, &request.channel, around, asked)
    }

    pub(super) fn presence(
        &self,
        id: u32,
        channel: &str,
        counts_only: bool,
        around: &Surroundings<'_>,
    ) -> Step {
        let asked = |channel: &ChannelName, options: &ChannelOptions| {
            if !options.presence {
                return Err(error::NOT_AVAILABLE);
            }
            match self.may(channel, &Access::presence(options), around) {
                true => Ok(Question::Presence { counts_only }),
                false => Err(error::PERMISSION_DENIED),
            }
        };
        question(id, channel, around, asked)
    }

    /// What subscribers may, the subscription that is about to begin may as well.
    fn may_once_subscribed(&self, channel: &ChannelName, access: &Access, around: &Surroundings<'_>) -> bool {
        access.subscriber || self.may(channel, access, around)
    }

    fn may(&self, channel: &ChannelName, access: &Access, around: &Surroundings<'_>) -> bool {
        let subscription = (around.subscription)(channel.as_str());
        let by_token = subscription.is_some_and(|permissions| permissions.allow(access.permission))
            || self.has_capability(channel, access.permission);
        by_token
            || self.is_let_in(access.client, access.anonymous)
            || access.subscriber && subscription.is_some()
    }
}

/// A question to a channel's owner, if it may be asked.
fn question(
    id: u32,
    name: &str,
    around: &Surroundings<'_>,
    asked: impl FnOnce(&ChannelName, &ChannelOptions) -> Result<Question, Code>,
) -> Step {
    if name.is_empty() {
        return Step::Close(disconnect::BAD_REQUEST);
    }
    let Ok(channel) = ChannelName::parse(name) else { return refuse(id, error::BAD_REQUEST) };
    let Ok(rules) = around.rules.channels.of(&channel) else { return refuse(id, error::UNKNOWN_CHANNEL) };
    match asked(&channel, &rules.options) {
        Ok(question) => Step::Ask { id, channel, question },
        Err(code) => refuse(id, code),
    }
}
