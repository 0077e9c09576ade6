//! What a trusted proxy in front of the node says of a client, in headers that the operator has named.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use fanfare_cluster::channel::MAX_USER_BYTES;
use hyper::HeaderMap;

/// The user that the proxy has named; `None` if it has named none, or no header is configured.
///
/// # Errors
/// If what it says is no user's id. To let the client in as somebody else, or as nobody, would be worse.
pub(super) fn user(headers: &HeaderMap, header: &str) -> Result<Option<Arc<str>>, &'static str> {
    const WRONG: &str = "the header that names the user must be there once, with 1 to 254 printable bytes\n";
    if header.is_empty() {
        return Ok(None);
    }
    let mut values = headers.get_all(header).iter();
    let (Some(value), None) = (values.next(), values.next()) else {
        return if headers.contains_key(header) { Err(WRONG) } else { Ok(None) };
    };
    match value.to_str() {
        Ok("") => Ok(None),
        Ok(user) if user.len() <= MAX_USER_BYTES && !user.chars().any(char::is_control) => {
            Ok(Some(user.into()))
        }
        _ => Err(WRONG),
    }
}

/// Where the proxy says that the client comes from: the last entry, which is the one that it has added itself.
pub(super) fn ip(headers: &HeaderMap, header: &str) -> Option<IpAddr> {
    if header.is_empty() {
        return None;
    }
    let value = headers.get_all(header).iter().next_back()?.to_str().ok()?;
    let last = value.rsplit(',').next()?.trim();
    last.parse().ok().or_else(|| last.parse().ok().map(|address: SocketAddr| address.ip()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(values: &[(&'static str, &str)]) -> HeaderMap {
        values.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect()
    }

    #[test]
    fn a_user_is_named_once_or_not_at_all() {
        let one = headers(&[("x-user-id", "42")]);
        assert_eq!(user(&one, "X-User-Id"), Ok(Some("42".into())));
        assert_eq!(user(&one, ""), Ok(None), "no header is trusted unless it is configured");
        assert_eq!(user(&headers(&[]), "X-User-Id"), Ok(None));
        assert_eq!(user(&headers(&[("x-user-id", "")]), "X-User-Id"), Ok(None));
        let long = "x".repeat(MAX_USER_BYTES + 1);
        assert!(user(&headers(&[("x-user-id", &long)]), "X-User-Id").is_err());
        let mut two = one;
        two.append("x-user-id", "43".parse().unwrap());
        assert!(user(&two, "X-User-Id").is_err());
    }

    #[test]
    fn of_several_addresses_the_last_was_added_by_the_proxy() {
        let of = |value: &str| ip(&headers(&[("x-forwarded-for", value)]), "X-Forwarded-For");
        assert_eq!(of("10.9.9.9, 192.0.2.7"), Some([192, 0, 2, 7].into()));
        assert_eq!(of("[2001:db8::1]:4711"), "2001:db8::1".parse().ok());
        assert_eq!(of("unknown"), None);
        assert_eq!(ip(&headers(&[]), "X-Forwarded-For"), None);
    }
}
