//! What a token allows in which channels.

use regex::{Regex, RegexBuilder};
use serde::Deserialize;

/// How many regular expressions a token may have, and how large each may be when compiled, in bytes.
const MAX_PATTERNS: usize = 16;
const MAX_PATTERN_SIZE: usize = 64 << 10;

/// Something that can be allowed in a channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub(crate) enum Permission {
    /// Subscribe.
    #[serde(rename = "sub")]
    Subscribe,
    /// Publish.
    #[serde(rename = "pub")]
    Publish,
    /// See who is present.
    #[serde(rename = "prs")]
    Presence,
    /// Read the history.
    #[serde(rename = "hst")]
    History,
}

/// Several of them, as bits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Permissions(u8);

impl Permissions {
    /// Whether one of them is among these.
    pub(crate) fn allow(self, permission: Permission) -> bool {
        self.0 & 1 << permission as u8 != 0
    }
}

impl FromIterator<Permission> for Permissions {
    fn from_iter<T: IntoIterator<Item = Permission>>(permissions: T) -> Self {
        Self(permissions.into_iter().fold(0, |bits, permission| bits | 1 << permission as u8))
    }
}

/// One entry of the claim `caps`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct CapabilityClaim {
    channels: Vec<String>,
    #[serde(default, rename = "match")]
    matching: Matching,
    allow: Vec<Permission>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Matching {
    /// The names themselves.
    #[default]
    Exact,
    /// `*` stands for any characters.
    Wildcard,
    /// Regular expressions, which match the whole name.
    Regex,
}

#[derive(Debug)]
enum Pattern {
    Exact(String),
    /// What must stand between stars.
    Wildcard(Vec<String>),
    Regex(Regex),
}

/// What a token allows.
#[derive(Debug, Default)]
pub(crate) struct Capabilities(Vec<(Pattern, Permissions)>);

/// A pattern cannot be used, or there are too many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct InvalidCapabilities;

impl Capabilities {
    /// Reads the claim.
    pub(crate) fn new(claims: Vec<CapabilityClaim>) -> Result<Self, InvalidCapabilities> {
        let mut capabilities = Vec::new();
        let mut compiled = 0;
        for CapabilityClaim { channels, matching, allow } in claims {
            let permissions: Permissions = allow.into_iter().collect();
            for channel in channels {
                let pattern = match matching {
                    Matching::Exact => Pattern::Exact(channel),
                    Matching::Wildcard => Pattern::Wildcard(channel.split('*').map(str::to_owned).collect()),
                    Matching::Regex => compile(&channel)?,
                };
                compiled += usize::from(matching == Matching::Regex);
                if compiled > MAX_PATTERNS {
                    return Err(InvalidCapabilities);
                }
                capabilities.push((pattern, permissions));
            }
        }
        Ok(Self(capabilities))
    }

    /// Whether any entry allows it in the channel.
    pub(crate) fn allow(&self, channel: &str, permission: Permission) -> bool {
        self.0.iter().any(|(pattern, permissions)| permissions.allow(permission) && pattern.matches(channel))
    }
}

impl Pattern {
    fn matches(&self, channel: &str) -> bool {
        match self {
            Self::Exact(name) => name == channel,
            Self::Wildcard(pieces) => matches_pieces(pieces, channel),
            Self::Regex(regex) => regex.is_match(channel),
        }
    }
}

/// Whether the pieces stand in the text in this order, the first at its beginning and the last at its end. Taking
/// each as early as it can be is right, because stars stand for anything.
fn matches_pieces(pieces: &[String], text: &str) -> bool {
    let Some((first, rest)) = pieces.split_first() else { return false };
    let Some(mut text) = text.strip_prefix(first.as_str()) else { return false };
    let Some((last, between)) = rest.split_last() else { return text.is_empty() };
    for piece in between {
        let Some(at) = text.find(piece.as_str()) else { return false };
        text = &text[at + piece.len()..];
    }
    text.ends_with(last.as_str())
}

/// The library's time for a match grows with the length of the text alone, whatever the pattern.
fn compile(pattern: &str) -> Result<Pattern, InvalidCapabilities> {
    let whole = format!("^(?:{pattern})$");
    let regex =
        RegexBuilder::new(&whole).size_limit(MAX_PATTERN_SIZE).dfa_size_limit(MAX_PATTERN_SIZE).build();
    regex.map(Pattern::Regex).map_err(|_| InvalidCapabilities)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn capabilities(json: &str) -> Result<Capabilities, InvalidCapabilities> {
        Capabilities::new(serde_json::from_str(json).map_err(|_| InvalidCapabilities)?)
    }

    #[test]
    fn names_wildcards_and_regular_expressions_match_whole_names() {
        let capabilities = capabilities(
            r#"[{"channels": ["news", "a.c"], "allow": ["sub"]},
                {"channels": ["user.*.inbox"], "match": "wildcard", "allow": ["sub", "pub"]},
                {"channels": ["room-[0-9]+"], "match": "regex", "allow": ["pub"]}]"#,
        )
        .unwrap();
        let subscribe = |channel| capabilities.allow(channel, Permission::Subscribe);
        let publish = |channel| capabilities.allow(channel, Permission::Publish);
        assert!(subscribe("news") && !subscribe("newspaper") && !subscribe("abc") && !publish("news"));
        assert!(subscribe("user.42.inbox") && publish("user..inbox") && !subscribe("userx42.inbox"));
        assert!(!subscribe("user.inbox"), "one dot is not two");
        assert!(publish("room-7") && !publish("room-7b") && !publish("broom-7") && !subscribe("room-7"));
        assert!(!capabilities.allow("news", Permission::History));
    }

    proptest! {
        // The regular expression that says the same is the oracle.
        #[test]
        fn a_wildcard_is_the_regular_expression_that_it_looks_like(pattern in "[ab*]{0,8}", text in "[ab]{0,10}") {
            let pieces: Vec<String> = pattern.split('*').map(str::to_owned).collect();
            let regex = Regex::new(&format!("^{}$", pattern.replace('*', ".*"))).unwrap();
            prop_assert_eq!(matches_pieces(&pieces, &text), regex.is_match(&text));
        }
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        for bad in [
            r#"[{"channels": ["a"], "allow": ["fly"]}]"#,
            r#"[{"channels": ["a"], "match": "fuzzy", "allow": ["sub"]}]"#,
            r#"[{"channels": ["("], "match": "regex", "allow": ["sub"]}]"#,
            r#"[{"channels": ["((a{100}){100}){100}"], "match": "regex", "allow": ["sub"]}]"#,
            r#"[{"channels": ["a"], "allow": ["sub"], "until": 1}]"#,
        ] {
            assert!(capabilities(bad).is_err(), "{bad}");
        }
        let many = vec!["x+"; MAX_PATTERNS + 1];
        let json = serde_json::json!([{"channels": many, "match": "regex", "allow": ["sub"]}]);
        assert!(capabilities(&json.to_string()).is_err());
    }
}
