//! The name of a channel, checked once at the door.

use std::borrow::Borrow;
use std::fmt;
use std::sync::Arc;

/// The longest name, in bytes, as the client protocol's limit of 255 says.
pub const MAX_CHANNEL_BYTES: usize = 255;

/// The longest user id, in bytes: its personal channel has one character more.
pub const MAX_USER_BYTES: usize = MAX_CHANNEL_BYTES - 1;

/// A valid channel name: 1 to 255 bytes of printable ASCII or other UTF-8 without control characters.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ChannelName(Arc<str>);

/// Why a text is no [`ChannelName`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidChannelName {
    /// There is no text at all.
    #[error("a channel name must not be empty")]
    Empty,
    /// It has more than [`MAX_CHANNEL_BYTES`].
    #[error("a channel name has at most {MAX_CHANNEL_BYTES} bytes")]
    TooLong,
    /// It holds a control character.
    #[error("a channel name must not hold control characters")]
    ControlCharacter,
    /// It begins with `#`, but is not wanted as a user's channel.
    #[error("channels that begin with '#' belong to users: push to the user instead")]
    Personal,
}

impl ChannelName {
    /// Checks a name.
    ///
    /// # Errors
    /// Says what is wrong with it.
    pub fn parse(text: &str) -> Result<Self, InvalidChannelName> {
        if text.is_empty() {
            return Err(InvalidChannelName::Empty);
        }
        if text.len() > MAX_CHANNEL_BYTES {
            return Err(InvalidChannelName::TooLong);
        }
        if text.chars().any(char::is_control) {
            return Err(InvalidChannelName::ControlCharacter);
        }
        Ok(Self(text.into()))
    }

    /// The personal channel of a user: `#` and the user's id.
    ///
    /// # Errors
    /// If the id is empty, longer than [`MAX_USER_BYTES`], or holds control characters.
    pub fn personal(user: &str) -> Result<Self, InvalidChannelName> {
        if user.is_empty() {
            return Err(InvalidChannelName::Empty);
        }
        Self::parse(&format!("#{user}"))
    }

    /// Whether this is some user's personal channel.
    pub fn is_personal(&self) -> bool {
        self.0.starts_with('#')
    }

    /// Whether clients need a token of their own for it, whatever the options say.
    pub fn is_private(&self) -> bool {
        self.0.starts_with('$')
    }

    /// The namespace that the name begins with, and what follows it.
    ///
    /// `news:sport` and `$news:sport` are in `news`; a name without a colon and a personal channel are in
    /// none.
    pub fn split_namespace(&self) -> (Option<&str>, &str) {
        let open = self.0.strip_prefix('$').unwrap_or(&self.0);
        match open.split_once(':').filter(|_| !self.is_personal()) {
            Some((namespace, rest)) => (Some(namespace), rest),
            None => (None, open),
        }
    }

    /// The users that the name is limited to, where such limits are allowed: `chat#7,42` is for 7 and 42.
    pub fn users(&self) -> Option<impl Iterator<Item = &str>> {
        let (_, users) = self.0.rsplit_once('#').filter(|_| !self.is_personal())?;
        Some(users.split(','))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Borrow<str> for ChannelName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ChannelName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for ChannelName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.0, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_bounded_and_printable() {
        assert_eq!(ChannelName::parse(""), Err(InvalidChannelName::Empty));
        assert_eq!(ChannelName::parse(&"x".repeat(256)), Err(InvalidChannelName::TooLong));
        assert_eq!(ChannelName::parse("a\nb"), Err(InvalidChannelName::ControlCharacter));
        assert!(ChannelName::parse(&"x".repeat(255)).is_ok());
        assert!(ChannelName::parse("спорт:футбол").is_ok());
    }

    #[test]
    fn a_name_says_its_namespace_and_its_users() {
        let split = |name: &str| {
            let name = ChannelName::parse(name).unwrap();
            let (namespace, rest) = name.split_namespace();
            let users = name.users().map(|users| users.map(str::to_owned).collect::<Vec<_>>());
            (namespace.map(str::to_owned), rest.to_owned(), users)
        };
        let owned = |text: &str| Some(text.to_owned());
        assert_eq!(split("news"), (None, "news".into(), None));
        assert_eq!(split("news:a:b"), (owned("news"), "a:b".into(), None));
        assert_eq!(split("$news:a"), (owned("news"), "a".into(), None));
        assert_eq!(split(":a"), (owned(""), "a".into(), None));
        assert_eq!(split("#a:b"), (None, "#a:b".into(), None), "a user's id may hold a colon");
        assert_eq!(split("chat:x#7,42").2, Some(vec!["7".into(), "42".into()]));
    }

    #[test]
    fn a_user_has_a_personal_channel() {
        let channel = ChannelName::personal("42").unwrap();
        assert_eq!(channel.as_str(), "#42");
        assert!(channel.is_personal());
        assert_eq!(ChannelName::personal(""), Err(InvalidChannelName::Empty));
        assert!(ChannelName::personal(&"u".repeat(MAX_USER_BYTES)).is_ok());
        assert!(ChannelName::personal(&"u".repeat(MAX_USER_BYTES + 1)).is_err());
    }
}
