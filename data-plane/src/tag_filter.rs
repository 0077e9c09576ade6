//! What a subscriber wants of a channel, by the tags of publications.

use std::collections::BTreeMap;

use fanfare_proto::client::FilterNode;

/// Nodes of a filter at most, and how deep they may be nested.
const MAX_NODES: usize = 64;
const MAX_DEPTH: usize = 8;
/// The longest key or value, in bytes: tags have no longer ones.
const MAX_TEXT: usize = 256;

/// A filter that can be used.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum TagFilter {
    And(Vec<Self>),
    Or(Vec<Self>),
    Not(Box<Self>),
    /// A comparison of the tag with this key.
    Tag(String, Comparison),
}

/// What a tag must be.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Comparison {
    Equal(String),
    NotEqual(String),
    In(Vec<String>),
    NotIn(Vec<String>),
    Exists,
    Missing,
    StartsWith(String),
    EndsWith(String),
    Contains(String),
    Less(f64),
    LessOrEqual(f64),
    Greater(f64),
    GreaterOrEqual(f64),
}

/// A filter cannot be used: it is malformed or too large.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct InvalidFilter;

impl TagFilter {
    /// Reads a filter as clients send it.
    pub(crate) fn new(node: &FilterNode) -> Result<Self, InvalidFilter> {
        Self::read(node, &mut 0, 1)
    }

    fn read(node: &FilterNode, count: &mut usize, depth: usize) -> Result<Self, InvalidFilter> {
        *count += 1 + node.vals.len();
        if *count > MAX_NODES || depth > MAX_DEPTH {
            return Err(InvalidFilter);
        }
        let mut inner = node.nodes.iter().map(|node| Self::read(node, count, depth + 1));
        match node.op.as_str() {
            "" if node.nodes.is_empty() && !node.key.is_empty() && node.key.len() <= MAX_TEXT => {
                Ok(Self::Tag(node.key.clone(), Comparison::new(node)?))
            }
            "and" if !node.nodes.is_empty() => Ok(Self::And(inner.collect::<Result<_, _>>()?)),
            "or" if !node.nodes.is_empty() => Ok(Self::Or(inner.collect::<Result<_, _>>()?)),
            "not" if node.nodes.len() == 1 => {
                inner.next().ok_or(InvalidFilter)?.map(|inner| Self::Not(Box::new(inner)))
            }
            _ => Err(InvalidFilter),
        }
    }

    /// Whether a publication with these tags is wanted.
    pub(crate) fn admits(&self, tags: &BTreeMap<String, String>) -> bool {
        match self {
            Self::And(all) => all.iter().all(|one| one.admits(tags)),
            Self::Or(some) => some.iter().any(|one| one.admits(tags)),
            Self::Not(one) => !one.admits(tags),
            Self::Tag(key, comparison) => comparison.admits(tags.get(key).map(String::as_str)),
        }
    }
}

impl Comparison {
    fn new(node: &FilterNode) -> Result<Self, InvalidFilter> {
        let FilterNode { cmp, val, vals, .. } = node;
        if val.len() > MAX_TEXT || vals.iter().any(|val| val.len() > MAX_TEXT) {
            return Err(InvalidFilter);
        }
        let number = || val.parse::<f64>().ok().filter(|number| number.is_finite()).ok_or(InvalidFilter);
        match (cmp.as_str(), val.is_empty(), vals.is_empty()) {
            ("ex", true, true) => Ok(Self::Exists),
            ("nex", true, true) => Ok(Self::Missing),
            ("in", true, false) => Ok(Self::In(vals.clone())),
            ("nin", true, false) => Ok(Self::NotIn(vals.clone())),
            ("eq", false, true) => Ok(Self::Equal(val.clone())),
            ("neq", false, true) => Ok(Self::NotEqual(val.clone())),
            ("sw", false, true) => Ok(Self::StartsWith(val.clone())),
            ("ew", false, true) => Ok(Self::EndsWith(val.clone())),
            ("ct", false, true) => Ok(Self::Contains(val.clone())),
            ("lt", false, true) => number().map(Self::Less),
            ("lte", false, true) => number().map(Self::LessOrEqual),
            ("gt", false, true) => number().map(Self::Greater),
            ("gte", false, true) => number().map(Self::GreaterOrEqual),
            _ => Err(InvalidFilter),
        }
    }

    fn admits(&self, tag: Option<&str>) -> bool {
        let Some(tag) = tag else {
            return matches!(self, Self::NotEqual(_) | Self::NotIn(_) | Self::Missing);
        };
        let number = |compare: &dyn Fn(f64) -> bool| tag.parse().is_ok_and(compare);
        match self {
            Self::Equal(value) => tag == value,
            Self::NotEqual(value) => tag != value,
            Self::In(values) => values.iter().any(|value| value == tag),
            Self::NotIn(values) => values.iter().all(|value| value != tag),
            Self::Exists => true,
            Self::Missing => false,
            Self::StartsWith(value) => tag.starts_with(value),
            Self::EndsWith(value) => tag.ends_with(value),
            Self::Contains(value) => tag.contains(value),
            Self::Less(value) => number(&|tag| tag < *value),
            Self::LessOrEqual(value) => number(&|tag| tag <= *value),
            Self::Greater(value) => number(&|tag| tag > *value),
            Self::GreaterOrEqual(value) => number(&|tag| tag >= *value),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filter(json: &str) -> Result<TagFilter, InvalidFilter> {
        TagFilter::new(&serde_json::from_str(json).unwrap())
    }

    fn admits(json: &str) -> bool {
        let tags = [("ticker", "GOOG"), ("price", "12.5")];
        let tags = tags.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        filter(json).expect(json).admits(&tags)
    }

    #[test]
    fn each_comparison_says_yes_and_no() {
        for (yes, no) in [
            (r#""cmp":"eq","val":"GOOG""#, r#""cmp":"eq","val":"X""#),
            (r#""cmp":"neq","val":"X""#, r#""cmp":"neq","val":"GOOG""#),
            (r#""cmp":"in","vals":["X","GOOG"]"#, r#""cmp":"in","vals":["X"]"#),
            (r#""cmp":"nin","vals":["X"]"#, r#""cmp":"nin","vals":["X","GOOG"]"#),
            (r#""cmp":"ex""#, r#""cmp":"nex""#),
            (r#""cmp":"sw","val":"GO""#, r#""cmp":"sw","val":"OG""#),
            (r#""cmp":"ew","val":"OG""#, r#""cmp":"ew","val":"GO""#),
            (r#""cmp":"ct","val":"OO""#, r#""cmp":"ct","val":"X""#),
        ] {
            assert!(admits(&format!(r#"{{"key":"ticker",{yes}}}"#)), "{yes}");
            assert!(!admits(&format!(r#"{{"key":"ticker",{no}}}"#)), "{no}");
        }
        for (cmp, below, same, above) in [
            ("lt", false, false, true),
            ("lte", false, true, true),
            ("gt", true, false, false),
            ("gte", true, true, false),
        ] {
            for (value, expected) in [("3", below), ("12.50", same), ("100", above)] {
                let json = format!(r#"{{"key":"price","cmp":"{cmp}","val":"{value}"}}"#);
                assert_eq!(admits(&json), expected, "{json}");
            }
        }
    }

    #[test]
    fn a_tag_that_is_missing_equals_nothing() {
        for (json, expected) in [
            (r#"{"key":"x","cmp":"eq","val":"1"}"#, false),
            (r#"{"key":"x","cmp":"neq","val":"1"}"#, true),
            (r#"{"key":"x","cmp":"nin","vals":["1"]}"#, true),
            (r#"{"key":"x","cmp":"nex"}"#, true),
            (r#"{"key":"ticker","cmp":"gt","val":"1"}"#, false),
        ] {
            assert_eq!(admits(json), expected, "{json}");
        }
    }

    #[test]
    fn filters_are_joined_and_turned_round() {
        let (yes, no) = (r#"{"key":"ticker","cmp":"ex"}"#, r#"{"key":"x","cmp":"ex"}"#);
        assert!(admits(&format!(r#"{{"op":"or","nodes":[{no},{yes}]}}"#)));
        assert!(!admits(&format!(r#"{{"op":"and","nodes":[{yes},{no}]}}"#)));
        assert!(admits(&format!(r#"{{"op":"not","nodes":[{no}]}}"#)));
    }

    #[test]
    fn what_is_malformed_or_too_large_is_refused() {
        let leaf = r#"{"key":"x","cmp":"ex"}"#;
        let many = format!(r#"{{"op":"and","nodes":[{}]}}"#, [leaf; MAX_NODES].join(","));
        let deep =
            (0..MAX_DEPTH).fold(leaf.to_owned(), |inner, _| format!(r#"{{"op":"not","nodes":[{inner}]}}"#));
        for json in [
            "{}",
            r#"{"key":"x"}"#,
            r#"{"cmp":"ex"}"#,
            r#"{"key":"x","cmp":"eq"}"#,
            r#"{"key":"x","cmp":"in","val":"1"}"#,
            r#"{"key":"x","cmp":"gt","val":"many"}"#,
            r#"{"key":"x","cmp":"like","val":"1"}"#,
            r#"{"op":"not"}"#,
            r#"{"op":"xor","nodes":[{"key":"x","cmp":"ex"}]}"#,
            &many,
            &deep,
        ] {
            assert_eq!(filter(json), Err(InvalidFilter), "{json}");
        }
    }
}
