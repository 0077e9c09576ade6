//! What a session makes of tokens: connect, refresh and sub_refresh.

use std::sync::Arc;

use fanfare_proto::client::{ConnectRequest, RefreshRequest, SubRefreshRequest};

use super::streams::missed_since_connect;
use super::{Phase, Session, Step, Surroundings, refuse};
use crate::authenticator::{Denied, Granted, Identity, SubscriptionGrant, unix_seconds};
use crate::codes::{Code, disconnect, error};

/// A token does not grant what it was shown for.
pub(super) enum TokenRefused {
    /// Answer the command with an error.
    Error(Code),
    /// End the connection.
    Disconnect(Code),
}

impl TokenRefused {
    pub(super) fn step(self, id: u32) -> Step {
        match self {
            Self::Error(code) => refuse(id, code),
            Self::Disconnect(code) => Step::Close(code),
        }
    }
}

impl Session {
    pub(super) fn connect(&mut self, id: u32, connect: &ConnectRequest, around: &Surroundings<'_>) -> Step {
        match self.admit(&connect.token, around) {
            Ok(identity) => {
                self.expire_at(identity.as_ref().and_then(|identity| identity.expires_at));
                self.identity = identity;
                self.phase = Phase::Connecting;
                Step::Connect { id, since: missed_since_connect(connect) }
            }
            Err(refused) => {
                self.phase = Phase::Failed;
                refused.step(id)
            }
        }
    }

    /// Who the client is; `None` if anonymous without a token.
    fn admit(&self, token: &str, around: &Surroundings<'_>) -> Result<Option<Arc<Identity>>, TokenRefused> {
        if token.is_empty() {
            let known = self.identity.is_some() || around.rules.client.allow_anonymous_connect_without_token;
            let refused = TokenRefused::Disconnect(disconnect::BAD_REQUEST);
            return if known { Ok(self.identity.clone()) } else { Err(refused) };
        }
        let identity = identity(token, expired_at_connect, around)?;
        if identity.user.is_empty() && around.rules.client.disallow_anonymous_connection_tokens {
            return Err(TokenRefused::Disconnect(disconnect::PERMISSION_DENIED));
        }
        if identity.expires_at.is_some_and(|at| at <= unix_seconds(around.now)) {
            return Err(TokenRefused::Error(error::EXPIRED));
        }
        let personal = usize::from(!identity.user.is_empty());
        if identity.subscriptions.len() + personal > around.rules.client.channel_limit {
            return Err(TokenRefused::Disconnect(disconnect::CHANNEL_LIMIT));
        }
        for Granted { channel, .. } in &identity.subscriptions {
            around.rules.check_channel(channel, around.encoding).map_err(TokenRefused::Error)?;
        }
        Ok(Some(identity))
    }

    /// A new token must be the same user's and bring the same subscriptions.
    pub(super) fn refresh(&mut self, id: u32, request: &RefreshRequest, around: &Surroundings<'_>) -> Step {
        if request.token.is_empty() {
            return Step::Close(disconnect::BAD_REQUEST);
        }
        let new = match identity(&request.token, expired_at_refresh, around) {
            Ok(new) => new,
            Err(refused) => return refused.step(id),
        };
        let Some(old) = self.identity().filter(|old| old.user == new.user) else {
            return Step::Close(disconnect::INVALID_TOKEN);
        };
        if new.expires_at.is_some_and(|at| at <= unix_seconds(around.now)) {
            return Step::Close(disconnect::EXPIRED);
        }
        let channels = |identity: &Identity| -> Vec<_> {
            identity.subscriptions.iter().map(|granted| granted.channel.clone()).collect()
        };
        if channels(old) != channels(&new) {
            return Step::Close(disconnect::INSUFFICIENT_STATE);
        }
        self.expire_at(new.expires_at);
        self.identity = Some(new);
        Step::Refresh { id }
    }

    /// Some SDKs leave the channel out; the token says it all the same.
    pub(super) fn sub_refresh(
        &self,
        id: u32,
        request: &SubRefreshRequest,
        around: &Surroundings<'_>,
    ) -> Step {
        if request.token.is_empty() {
            return match request.channel.as_str() {
                "" => Step::Close(disconnect::BAD_REQUEST),
                channel if around.is_subscribed(channel) => refuse(id, error::BAD_REQUEST),
                _ => refuse(id, error::PERMISSION_DENIED),
            };
        }
        if !request.channel.is_empty() && !around.is_subscribed(&request.channel) {
            return refuse(id, error::PERMISSION_DENIED);
        }
        let expired = |denied| match denied {
            Denied::Expired => TokenRefused::Error(error::EXPIRED),
            Denied::KeyPending => TokenRefused::Error(error::INTERNAL),
            Denied::Invalid => TokenRefused::Disconnect(disconnect::INVALID_TOKEN),
        };
        match self.grant(&request.channel, &request.token, expired, around) {
            Ok(grant) if !around.is_subscribed(grant.channel.as_str()) => {
                refuse(id, error::PERMISSION_DENIED)
            }
            Ok(grant) => Step::SubRefresh { id, grant },
            Err(refused) => refused.step(id),
        }
    }

    /// What a subscription's token grants to this very client. An empty channel means the token's.
    pub(super) fn grant(
        &self,
        channel: &str,
        token: &str,
        denied: impl FnOnce(Denied) -> TokenRefused,
        around: &Surroundings<'_>,
    ) -> Result<Arc<SubscriptionGrant>, TokenRefused> {
        let grant = around.rules.authenticator.subscription(token, around.now).map_err(denied)?;
        let for_client =
            grant.client.as_ref().is_none_or(|client| around.id.to_string().eq_ignore_ascii_case(client));
        let for_channel = channel.is_empty() || grant.channel.as_str() == channel;
        let revoked = around.rules.revocations.refuse(&grant.user, grant.issued_at);
        if !for_client || !for_channel || *grant.user != *self.user() || revoked {
            return Err(TokenRefused::Disconnect(disconnect::INVALID_TOKEN));
        }
        if grant.expires_at.is_some_and(|at| at <= unix_seconds(around.now)) {
            return Err(TokenRefused::Error(error::EXPIRED));
        }
        Ok(grant)
    }
}

fn identity(
    token: &str,
    expired: fn() -> TokenRefused,
    around: &Surroundings<'_>,
) -> Result<Arc<Identity>, TokenRefused> {
    let identity =
        around.rules.authenticator.connection(token, around.now).map_err(|denied| match denied {
            Denied::Expired => expired(),
            Denied::KeyPending => TokenRefused::Error(error::INTERNAL),
            Denied::Invalid => TokenRefused::Disconnect(disconnect::INVALID_TOKEN),
        })?;
    if around.rules.revocations.refuse(&identity.user, identity.issued_at.unwrap_or(0)) {
        return Err(TokenRefused::Disconnect(disconnect::INVALID_TOKEN));
    }
    Ok(identity)
}

/// At connect an SDK asks for another token and comes back.
fn expired_at_connect() -> TokenRefused {
    TokenRefused::Error(error::TOKEN_EXPIRED)
}

/// At refresh the token is new, so that it should not have expired.
fn expired_at_refresh() -> TokenRefused {
    TokenRefused::Disconnect(disconnect::EXPIRED)
}
