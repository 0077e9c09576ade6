//! The claims of tokens, with the names that Centrifugo's users know, and what they mean here.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use fanfare_cluster::channel::{ChannelName, MAX_USER_BYTES};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::capabilities::{Capabilities, CapabilityClaim, Permission};
use super::{Denied, Granted, Identity, SubscriptionGrant};

/// What all tokens may say of their time, issuer and audience.
#[derive(Debug, Deserialize)]
pub(super) struct Registered {
    exp: Option<NumericDate>,
    nbf: Option<NumericDate>,
    iat: Option<NumericDate>,
    aud: Option<Audience>,
    iss: Option<String>,
    expire_at: Option<NumericDate>,
}

/// Seconds since 1970. RFC 7519 lets them have fractions, which do not count here.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(try_from = "f64")]
struct NumericDate(u64);

impl TryFrom<f64> for NumericDate {
    type Error = &'static str;

    fn try_from(seconds: f64) -> Result<Self, Self::Error> {
        if (0.0..9e15).contains(&seconds) { Ok(Self(seconds as u64)) } else { Err("not a time") }
    }
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Audience {
    One(String),
    Many(Vec<String>),
}

/// What must hold for every token.
#[derive(Clone, Debug, Default)]
pub(super) struct Policy {
    pub(super) audience: String,
    pub(super) issuer: String,
    /// In seconds.
    pub(super) leeway: u64,
}

/// When a token was issued and when it ends, in Unix seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Times {
    pub(super) issued_at: u64,
    /// After this it cannot be used to connect or subscribe.
    pub(super) token_ends: Option<u64>,
    /// What it grants ends then: `expire_at` if it says so, where 0 means never.
    pub(super) grant_ends: Option<u64>,
}

impl Registered {
    /// Whether the token is for us, and its times.
    pub(super) fn check(&self, policy: &Policy, now: u64) -> Result<Times, Denied> {
        let for_us = |audience: &Audience| match audience {
            Audience::One(one) => *one == policy.audience,
            Audience::Many(many) => many.contains(&policy.audience),
        };
        if !policy.audience.is_empty() && !self.aud.as_ref().is_some_and(for_us) {
            return Err(Denied::Invalid);
        }
        if !policy.issuer.is_empty() && self.iss.as_ref() != Some(&policy.issuer) {
            return Err(Denied::Invalid);
        }
        if self.nbf.is_some_and(|NumericDate(begins)| begins > now.saturating_add(policy.leeway)) {
            return Err(Denied::Invalid);
        }
        let token_ends = self.exp.map(|NumericDate(ends)| ends.saturating_add(policy.leeway));
        if token_ends.is_some_and(|ends| ends <= now) {
            return Err(Denied::Expired);
        }
        let grant_ends = match self.expire_at {
            Some(NumericDate(0)) => None,
            Some(NumericDate(at)) => Some(at),
            None => token_ends,
        };
        let issued_at = self.iat.map_or(0, |NumericDate(at)| at);
        Ok(Times { issued_at, token_ends, grant_ends })
    }
}

/// The claims of a connection's token.
#[derive(Debug, Deserialize)]
pub(super) struct ConnectionClaims {
    #[serde(default)]
    sub: String,
    info: Option<Box<RawValue>>,
    b64info: Option<String>,
    meta: Option<Box<RawValue>>,
    channels: Option<Vec<String>>,
    subs: Option<BTreeMap<String, SubscriptionOptions>>,
    caps: Option<Vec<CapabilityClaim>>,
    /// Only subscription tokens have it.
    channel: Option<Box<RawValue>>,
}

/// What the claim `subs` says of one channel. Other options, such as `override`, come with later versions.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct SubscriptionOptions {
    info: Option<Box<RawValue>>,
    b64info: Option<String>,
    data: Option<Box<RawValue>>,
    b64data: Option<String>,
}

impl ConnectionClaims {
    pub(super) fn into_identity(self, times: Times) -> Result<Identity, Denied> {
        if self.channel.is_some() {
            return Err(Denied::Invalid);
        }
        let plain = |name: String| (name, SubscriptionOptions::default());
        let listed = self.channels.unwrap_or_default().into_iter().map(plain);
        let mut subscriptions: BTreeMap<String, SubscriptionOptions> = listed.collect();
        subscriptions.extend(self.subs.unwrap_or_default());
        let capabilities = Capabilities::new(self.caps.unwrap_or_default()).map_err(|_| Denied::Invalid)?;
        Ok(Identity {
            user: user(self.sub)?,
            info: json_or_bytes(self.info, self.b64info)?,
            meta: json_or_bytes(self.meta, None)?,
            issued_at: Some(times.issued_at),
            expires_at: times.grant_ends,
            subscriptions: subscriptions.into_iter().map(granted).collect::<Result<_, _>>()?,
            capabilities,
        })
    }
}

fn granted((name, options): (String, SubscriptionOptions)) -> Result<Granted, Denied> {
    Ok(Granted {
        channel: channel(&name)?,
        info: json_or_bytes(options.info, options.b64info)?,
        data: json_or_bytes(options.data, options.b64data)?,
    })
}

/// The claims of a subscription's token.
#[derive(Debug, Deserialize)]
pub(super) struct SubscriptionClaims {
    #[serde(default)]
    sub: String,
    channel: String,
    client: Option<String>,
    info: Option<Box<RawValue>>,
    b64info: Option<String>,
    #[serde(default)]
    allow: Vec<Permission>,
    /// Options of later versions.
    r#override: Option<Box<RawValue>>,
}

impl SubscriptionClaims {
    pub(super) fn into_grant(self, times: Times) -> Result<SubscriptionGrant, Denied> {
        if self.r#override.is_some() {
            return Err(Denied::Invalid);
        }
        Ok(SubscriptionGrant {
            user: user(self.sub)?,
            client: self.client.filter(|client| !client.is_empty()),
            channel: channel(&self.channel)?,
            info: json_or_bytes(self.info, self.b64info)?,
            issued_at: times.issued_at,
            expires_at: times.grant_ends,
            permissions: self.allow.into_iter().collect(),
        })
    }
}

fn user(user: String) -> Result<std::sync::Arc<str>, Denied> {
    if user.len() > MAX_USER_BYTES || user.chars().any(char::is_control) {
        return Err(Denied::Invalid);
    }
    Ok(user.into())
}

/// Personal channels come with their users, never with a claim.
fn channel(name: &str) -> Result<ChannelName, Denied> {
    ChannelName::parse(name).ok().filter(|name| !name.is_personal()).ok_or(Denied::Invalid)
}

fn json_or_bytes(json: Option<Box<RawValue>>, base64: Option<String>) -> Result<Bytes, Denied> {
    match (base64, json) {
        (Some(text), _) if !text.is_empty() => {
            BASE64_STANDARD.decode(text).map(Bytes::from).map_err(|_| Denied::Invalid)
        }
        (_, Some(json)) if json.get() != "null" => Ok(Bytes::from(json.get().to_owned())),
        _ => Ok(Bytes::new()),
    }
}
