//! Which web pages may connect: a browser tells the origin of its page, and a page elsewhere must not ride on it.

use std::net::IpAddr;

use hyper::HeaderMap;
use hyper::header::{HOST, ORIGIN};

/// What is let in.
#[derive(Clone, Debug)]
pub(crate) enum OriginRule {
    /// Pages of the host itself and of these origins; `*` means all.
    Listed(Vec<String>),
    /// Pages on this machine, asked for by a name of this machine: the second keeps out pages that
    /// rebind their own name to a loopback address.
    LoopbackOnly,
}

impl OriginRule {
    /// Whether the request may come in. One without an origin comes from no page.
    pub(crate) fn admits(&self, headers: &HeaderMap) -> bool {
        let host = headers.get(HOST).and_then(|host| host.to_str().ok());
        let mut origins = headers.get_all(ORIGIN).iter();
        let origin = match (origins.next().map(|origin| origin.to_str()), origins.next()) {
            (None, None) => None,
            (Some(Ok(origin)), None) => Some(origin),
            _ => return false,
        };
        match self {
            Self::LoopbackOnly => {
                host.is_some_and(is_loopback)
                    && origin.is_none_or(|origin| authority(origin).is_some_and(is_loopback))
            }
            Self::Listed(origins) => origin.is_none_or(|origin| {
                let listed =
                    origins.iter().any(|listed| listed == "*" || listed.eq_ignore_ascii_case(origin));
                let own =
                    authority(origin).zip(host).is_some_and(|(page, host)| page.eq_ignore_ascii_case(host));
                listed || own
            }),
        }
    }
}

/// The host and port of an origin such as `https://example.com:8443`.
fn authority(origin: &str) -> Option<&str> {
    origin.split_once("://").map(|(_, authority)| authority).filter(|authority| !authority.contains('@'))
}

/// Whether a host, with or without a port, names this machine.
fn is_loopback(authority: &str) -> bool {
    let host = match authority.strip_prefix('[') {
        Some(v6) => v6.split(']').next().unwrap_or_default(),
        None => authority.split(':').next().unwrap_or_default(),
    };
    host.eq_ignore_ascii_case("localhost") || host.parse().is_ok_and(|ip: IpAddr| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admits(rule: &OriginRule, host: &str, origin: Option<&str>) -> bool {
        let mut headers = HeaderMap::new();
        headers.insert(HOST, host.parse().unwrap());
        if let Some(origin) = origin {
            headers.insert(ORIGIN, origin.parse().unwrap());
        }
        rule.admits(&headers)
    }

    #[test]
    fn by_default_only_pages_of_the_host_itself_may_connect() {
        let rule = OriginRule::Listed(vec!["https://app.example.com".into()]);
        assert!(admits(&rule, "example.com", None));
        assert!(admits(&rule, "example.com:8000", Some("http://example.com:8000")));
        assert!(admits(&rule, "example.com", Some("https://app.example.com")));
        assert!(!admits(&rule, "example.com", Some("https://evil.example")));
        assert!(!admits(&rule, "example.com", Some("null")));
        assert!(!admits(&rule, "example.com:8000", Some("http://example.com")));
        assert!(admits(&OriginRule::Listed(vec!["*".into()]), "example.com", Some("https://evil.example")));
    }

    #[test]
    fn on_a_developers_machine_only_loopback_names_count() {
        let rule = OriginRule::LoopbackOnly;
        for host in ["localhost:8000", "127.0.0.1:8000", "[::1]:8000", "127.0.0.9"] {
            assert!(admits(&rule, host, None), "{host}");
            assert!(admits(&rule, host, Some("http://localhost:3000")), "{host}");
        }
        assert!(!admits(&rule, "rebound.evil.example:8000", None));
        assert!(!admits(&rule, "localhost:8000", Some("https://evil.example")));
        assert!(!admits(&rule, "localhost.evil.example", None));
        assert!(!admits(&rule, "localhost:8000", Some("http://localhost:1@evil.example")));
    }
}
