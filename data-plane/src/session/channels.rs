//! What a session may do in channels: the order of the checks is the client protocol's (section 2.7).

use std::sync::Arc;

use fanfare_cluster::channel::{ChannelName, ChannelOptions, ChannelRules, DataFormat, MAX_CHANNEL_BYTES};
use fanfare_proto::client::{PublishRequest, SubscribeRequest};

use super::credentials::TokenRefused;
use super::{Rules, Session, Step, Surroundings, refuse};
use crate::authenticator::{Denied, Permission, SubscriptionGrant};
use crate::codes::{Code, disconnect, error};
use crate::encoding::Encoding;

impl Rules {
    /// What holds for a channel, if a client that speaks so could be in it at all.
    pub(crate) fn check_channel(
        &self,
        channel: &ChannelName,
        encoding: Encoding,
    ) -> Result<&ChannelRules, Code> {
        let rules = self.channels.of(channel).map_err(|_| error::UNKNOWN_CHANNEL)?;
        let json_of_binary =
            rules.options.publication_data_format == DataFormat::Binary && encoding == Encoding::Json;
        if json_of_binary || !rules.admits_name(channel) {
            return Err(error::BAD_REQUEST);
        }
        Ok(rules)
    }
}

impl Session {
    pub(super) fn subscribe(&self, id: u32, request: &SubscribeRequest, around: &Surroundings<'_>) -> Step {
        if request.channel.is_empty() || !matches!(request.delta.as_str(), "" | "fossil") {
            return Step::Close(disconnect::BAD_REQUEST);
        }
        if request.r#type == 4 {
            return refuse(id, error::NOT_AVAILABLE);
        }
        if request.channel.len() > around.rules.client.channel_max_length.min(MAX_CHANNEL_BYTES) {
            return refuse(id, error::BAD_REQUEST);
        }
        if around.is_subscribed(&request.channel) {
            return refuse(id, error::ALREADY_SUBSCRIBED);
        }
        if around.subscriptions >= around.rules.client.channel_limit {
            return refuse(id, error::LIMIT_EXCEEDED);
        }
        let Ok(channel) = ChannelName::parse(&request.channel) else {
            return refuse(id, error::BAD_REQUEST);
        };
        let rules = match around.rules.check_channel(&channel, around.encoding) {
            Ok(rules) => rules,
            Err(code) => return refuse(id, code),
        };
        if request.r#type != 0 {
            return refuse(id, error::PERMISSION_DENIED);
        }
        let grant = match self.admit_to(&channel, request, &rules.options, around) {
            Ok(grant) => grant,
            Err(refused) => return refused.step(id),
        };
        match self.wants(&channel, request, &rules.options, around) {
            Ok(wants) => Step::Subscribe { id, channel, grant, wants },
            Err(code) => refuse(id, code),
        }
    }

    /// Whether the client may subscribe: a `$` channel needs a token; a token says yes or no; else a user is
    /// one of those the name is limited to; else its connection's token or the options allow it.
    fn admit_to(
        &self,
        channel: &ChannelName,
        request: &SubscribeRequest,
        options: &ChannelOptions,
        around: &Surroundings<'_>,
    ) -> Result<Option<Arc<SubscriptionGrant>>, TokenRefused> {
        let no = Err(TokenRefused::Error(error::PERMISSION_DENIED));
        if channel.is_personal() {
            return no;
        }
        if !request.token.is_empty() {
            let denied = |denied| match denied {
                Denied::Expired => TokenRefused::Error(error::TOKEN_EXPIRED),
                Denied::KeyPending => TokenRefused::Error(error::INTERNAL),
                Denied::Invalid => TokenRefused::Error(error::PERMISSION_DENIED),
            };
            return self.grant(channel.as_str(), &request.token, denied, around).map(Some);
        }
        if channel.is_private() {
            return no;
        }
        let limited_to_others = self.is_limited_to_others(channel, options);
        let allowed = match limited_to_others {
            Some(others) => !others,
            None => self.is_let_in(options.allow_subscribe_for_client, options.allow_subscribe_for_anonymous),
        };
        if allowed || self.has_capability(channel, Permission::Subscribe) { Ok(None) } else { no }
    }

    pub(super) fn publish(&self, id: u32, request: PublishRequest, around: &Surroundings<'_>) -> Step {
        if request.channel.is_empty() {
            return Step::Close(disconnect::BAD_REQUEST);
        }
        if request.data.is_empty() {
            return refuse(id, error::BAD_REQUEST);
        }
        let Ok(channel) = ChannelName::parse(&request.channel) else {
            return refuse(id, error::BAD_REQUEST);
        };
        let Ok(rules) = around.rules.channels.of(&channel) else {
            return refuse(id, error::UNKNOWN_CHANNEL);
        };
        if !rules.admits_name(&channel) {
            return refuse(id, error::BAD_REQUEST);
        }
        if channel.is_personal() || request.r#type != 0 || !self.may_publish(&channel, &rules.options, around)
        {
            return refuse(id, error::PERMISSION_DENIED);
        }
        match rules.options.admit(request.data) {
            Ok(data) => Step::Publish { id, channel, data },
            Err(_) => refuse(id, error::BAD_REQUEST),
        }
    }

    fn may_publish(
        &self,
        channel: &ChannelName,
        options: &ChannelOptions,
        around: &Surroundings<'_>,
    ) -> bool {
        let subscription = (around.subscription)(channel.as_str());
        let by_token = subscription.is_some_and(|permissions| permissions.allow(Permission::Publish))
            || self.has_capability(channel, Permission::Publish);
        let by_options = self
            .is_let_in(options.allow_publish_for_client, options.allow_publish_for_anonymous)
            || options.allow_publish_for_subscriber && subscription.is_some();
        by_token || by_options && self.is_limited_to_others(channel, options) != Some(true)
    }

    /// Whether options that are for clients with a user, and perhaps without one, let this one in.
    pub(super) fn is_let_in(&self, clients: bool, anonymous: bool) -> bool {
        clients && (anonymous || !self.user().is_empty())
    }

    /// Whether the channel is for other users only; `None` if it is not limited to users at all.
    fn is_limited_to_others(&self, channel: &ChannelName, options: &ChannelOptions) -> Option<bool> {
        let mut users = channel.users().filter(|_| options.allow_user_limited_channels)?;
        Some(self.user().is_empty() || !users.any(|user| user == self.user()))
    }

    pub(super) fn has_capability(&self, channel: &ChannelName, permission: Permission) -> bool {
        self.identity().is_some_and(|identity| identity.capabilities.allow(channel.as_str(), permission))
    }
}
