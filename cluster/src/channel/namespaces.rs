//! Namespaces: which options a channel has, by the beginning of its name.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use regex::{Regex, RegexBuilder};
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

use super::{ChannelName, ChannelOptions};
use crate::quantity::Span;

/// The longest name of a namespace, in bytes.
const MAX_NAME: usize = 64;
/// How large a compiled `channel_regex` may be, in bytes.
const MAX_REGEX: usize = 256 << 10;

/// A namespace as it is configured: its name beside its options.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "BTreeMap<String, serde_json::Value>")]
pub struct Namespace {
    /// What channels of it begin with, before a colon.
    pub name: String,
    /// The options of its channels. None is inherited.
    #[serde(flatten)]
    pub options: ChannelOptions,
}

/// Flattened fields cannot refuse unknown keys, so the name is taken out first.
impl TryFrom<BTreeMap<String, serde_json::Value>> for Namespace {
    type Error = String;

    fn try_from(mut fields: BTreeMap<String, serde_json::Value>) -> Result<Self, String> {
        let name = match fields.remove("name") {
            Some(serde_json::Value::String(name)) => name,
            _ => return Err("a namespace needs a name".to_owned()),
        };
        let options = serde_json::to_value(fields).and_then(serde_json::from_value);
        let options = options.map_err(|error| format!("namespace {name:?}: {error}"))?;
        Ok(Self { name, options })
    }
}

/// Why the namespaces of a configuration cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidNamespaces {
    /// A name has a form that no channel's name could begin with.
    #[error("the namespace {0:?} needs a name of 1 to {MAX_NAME} letters, digits, '-', '_' or '.'")]
    Name(String),
    /// Two have the same name.
    #[error("the namespace {0:?} is there twice")]
    Twice(String),
    /// Options do not go together.
    #[error("{place}: {why}")]
    Option {
        /// The namespace.
        place: String,
        /// What is wrong with it.
        why: super::InvalidOption,
    },
    /// A pattern cannot be read.
    #[error("channel_regex of {place}: {why}")]
    Regex {
        /// The namespace.
        place: String,
        /// What is wrong with it.
        why: String,
    },
}

/// A channel's namespace is not configured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the channel's namespace, the part before the first ':', is not in channel.namespaces")]
pub struct UnknownNamespace;

/// What holds for the channels of one namespace.
#[derive(Clone, Debug, Default)]
pub struct ChannelRules {
    /// The options.
    pub options: ChannelOptions,
    pattern: Option<Regex>,
}

/// What the history keeps of what is pushed to a user, so that a push to one who is just moving arrives.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PersonalHistory {
    /// Pushes at most; 0 if none.
    pub history_size: u32,
    /// For how long; 0 if none.
    pub history_ttl: Span,
}

impl Default for PersonalHistory {
    fn default() -> Self {
        Self { history_size: 100, history_ttl: Span(Duration::from_secs(60)) }
    }
}

impl PersonalHistory {
    /// Nothing is kept.
    pub const OFF: Self = Self { history_size: 0, history_ttl: Span(Duration::ZERO) };
}

/// All namespaces of a configuration.
#[derive(Clone, Debug, Default)]
pub struct Namespaces {
    without: ChannelRules,
    personal: ChannelRules,
    named: HashMap<String, ChannelRules>,
    hash: u64,
}

impl Namespaces {
    /// Checks a configuration's namespaces: the options of channels outside of any, and the named ones.
    ///
    /// # Errors
    /// Says which one cannot be used, and why.
    pub fn new(without: ChannelOptions, named: &[Namespace]) -> Result<Self, InvalidNamespaces> {
        Self::with_personal(without, named, &PersonalHistory::default())
    }

    /// As [`new`](Self::new), with another history of what is pushed to users.
    ///
    /// # Errors
    /// Says which one cannot be used, and why.
    pub fn with_personal(
        without: ChannelOptions,
        named: &[Namespace],
        personal: &PersonalHistory,
    ) -> Result<Self, InvalidNamespaces> {
        let hash = xxh3_64(format!("{without:?} {named:?} {personal:?}").as_bytes());
        let mut rules = HashMap::new();
        for Namespace { name, options } in named {
            let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
            if name.is_empty() || name.len() > MAX_NAME || !name.bytes().all(fits) {
                return Err(InvalidNamespaces::Name(name.clone()));
            }
            let place = format!("namespace {name:?}");
            if rules.insert(name.clone(), ChannelRules::new(options.clone(), &place)?).is_some() {
                return Err(InvalidNamespaces::Twice(name.clone()));
            }
        }
        let personal = ChannelOptions {
            publication_data_format: without.publication_data_format,
            publication_rate_limit: without.publication_rate_limit,
            history_size: personal.history_size,
            history_ttl: personal.history_ttl,
            force_positioning: personal.history_size > 0,
            force_recovery: personal.history_size > 0,
            presence: true,
            ..ChannelOptions::default()
        };
        let personal = ChannelRules::new(personal, "channel.personal")?;
        let without = ChannelRules::new(without, "channel.without_namespace")?;
        Ok(Self { without, personal, named: rules, hash })
    }

    /// What holds for a channel.
    ///
    /// # Errors
    /// If its namespace is not configured.
    pub fn of(&self, channel: &ChannelName) -> Result<&ChannelRules, UnknownNamespace> {
        if channel.is_personal() {
            return Ok(&self.personal);
        }
        match channel.split_namespace().0 {
            None => Ok(&self.without),
            Some(name) => self.named.get(name).ok_or(UnknownNamespace),
        }
    }

    /// What holds for personal channels: the data and the rate of channels outside of any namespace, and a
    /// history of their own.
    pub fn personal(&self) -> &ChannelOptions {
        &self.personal.options
    }

    /// A number that differs where the configurations differ, for processes to compare.
    pub fn hash(&self) -> u64 {
        self.hash
    }
}

impl ChannelRules {
    fn new(options: ChannelOptions, place: &str) -> Result<Self, InvalidNamespaces> {
        let misused = |why| InvalidNamespaces::Option { place: place.to_owned(), why };
        options.validate().map_err(misused)?;
        let pattern = match options.channel_regex.as_str() {
            "" => None,
            pattern => {
                let regex = RegexBuilder::new(pattern).size_limit(MAX_REGEX).build();
                let why = |error: regex::Error| error.to_string();
                let invalid = |why| InvalidNamespaces::Regex { place: place.to_owned(), why };
                Some(regex.map_err(why).map_err(invalid)?)
            }
        };
        Ok(Self { options, pattern })
    }

    /// Whether the part of the name behind the namespace is as `channel_regex` wants it. Personal channels
    /// are named by their users, not by this.
    pub fn admits_name(&self, channel: &ChannelName) -> bool {
        let (_, rest) = channel.split_namespace();
        channel.is_personal() || self.pattern.as_ref().is_none_or(|pattern| pattern.is_match(rest))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn namespace(json: &str) -> Result<Namespace, String> {
        serde_json::from_str(json).map_err(|error| error.to_string())
    }

    fn channel(name: &str) -> ChannelName {
        ChannelName::parse(name).unwrap()
    }

    #[test]
    fn a_channel_has_the_options_of_its_namespace_and_of_no_other() {
        let chat = namespace(r#"{"name": "chat", "allow_subscribe_for_client": true}"#).unwrap();
        let namespaces = Namespaces::new(ChannelOptions::default(), &[chat]).unwrap();
        let may_subscribe =
            |name: &str| namespaces.of(&channel(name)).map(|rules| rules.options.allow_subscribe_for_client);
        assert_eq!(may_subscribe("chat:1"), Ok(true));
        assert_eq!(may_subscribe("$chat:1"), Ok(true));
        assert_eq!(may_subscribe("chat"), Ok(false));
        assert_eq!(may_subscribe("#chat:1"), Ok(false));
        assert_eq!(may_subscribe("other:1"), Err(UnknownNamespace));
        assert_eq!(may_subscribe(":1"), Err(UnknownNamespace));
    }

    #[test]
    fn a_pattern_holds_for_what_follows_the_namespace() {
        let chat = namespace(r#"{"name": "chat", "channel_regex": "^[0-9]+$"}"#).unwrap();
        let namespaces = Namespaces::new(ChannelOptions::default(), &[chat]).unwrap();
        let admits = |name: &str| namespaces.of(&channel(name)).unwrap().admits_name(&channel(name));
        assert!(admits("chat:42") && admits("$chat:42"));
        assert!(!admits("chat:x") && !admits("chat:"));
    }

    #[test]
    fn what_cannot_be_used_is_named() {
        let namespaces = |json: &[&str]| {
            let named: Vec<_> = json.iter().map(|json| namespace(json).unwrap()).collect();
            Namespaces::new(ChannelOptions::default(), &named)
        };
        assert_eq!(namespaces(&[r#"{"name": "a:b"}"#]).unwrap_err(), InvalidNamespaces::Name("a:b".into()));
        let twice = namespaces(&[r#"{"name": "a"}"#, r#"{"name": "a"}"#]);
        assert_eq!(twice.unwrap_err(), InvalidNamespaces::Twice("a".into()));
        let error = namespaces(&[r#"{"name": "a", "channel_regex": "("}"#]).unwrap_err().to_string();
        assert!(error.contains("namespace \"a\""), "{error}");
        assert!(namespace(r#"{"name": "a", "histroy_size": 1}"#).unwrap_err().contains("histroy_size"));
        assert!(namespace("{}").unwrap_err().contains("name"));
    }

    #[test]
    fn options_that_do_not_go_together_are_named() {
        let refused = |json: &str| {
            let named = [namespace(json).unwrap()];
            Namespaces::new(ChannelOptions::default(), &named).unwrap_err().to_string()
        };
        let alone = refused(r#"{"name": "a", "force_recovery": true}"#);
        assert_eq!(alone, "namespace \"a\": force_recovery needs history_size and history_ttl");
        assert!(refused(r#"{"name": "a", "history_size": 10}"#).contains("history_ttl"));
        assert!(refused(r#"{"name": "a", "force_push_join_leave": true}"#).contains("join_leave"));
    }

    #[test]
    fn what_is_pushed_to_users_has_a_short_history_of_its_own() {
        let namespaces = Namespaces::new(ChannelOptions::default(), &[]).unwrap();
        let personal = &namespaces.of(&channel("#42")).unwrap().options;
        assert!(personal.has_history() && personal.force_recovery && personal.has_presence());
        assert!(!namespaces.of(&channel("42")).unwrap().options.has_history());
        let off = Namespaces::with_personal(ChannelOptions::default(), &[], &PersonalHistory::OFF).unwrap();
        assert!(!off.personal().has_history());
    }

    #[test]
    fn another_configuration_has_another_hash() {
        let one = Namespaces::new(ChannelOptions::default(), &[]).unwrap();
        let other = Namespaces::new(ChannelOptions::default(), &[namespace(r#"{"name": "a"}"#).unwrap()]);
        assert_ne!(one.hash(), other.unwrap().hash());
    }
}
