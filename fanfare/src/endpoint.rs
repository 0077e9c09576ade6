//! Where the API is, and what is shown to it: everything that can be checked before anybody is dialled.

use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use crate::cli::EndpointArguments;
use crate::exit::Failure;

/// The variable with the key itself. It is no option, because `ps` shows options.
const KEY_VARIABLE: &str = "FANFARE_CLI__API_KEY";

/// An endpoint that can be dialled.
#[derive(Debug)]
pub(crate) struct ApiEndpoint {
    /// As it was given.
    pub(crate) url: String,
    /// What TLS needs; none for plain HTTP/2.
    pub(crate) tls: Option<Tls>,
    /// What callers of the API show.
    pub(crate) key: Option<ApiKey>,
    /// How long connecting may take, and then each call.
    pub(crate) timeout: Duration,
}

/// What TLS needs.
#[derive(Debug, Default)]
pub(crate) struct Tls {
    /// Authorities in PEM; none means those of the system.
    pub(crate) authorities: Option<Vec<u8>>,
    /// A certificate and its private key, both in PEM.
    pub(crate) identity: Option<(Vec<u8>, Vec<u8>)>,
}

/// A key of the API, without anything around it.
#[derive(Clone)]
pub(crate) struct ApiKey(String);

impl std::fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ApiKey(hidden)")
    }
}

impl ApiKey {
    /// Takes the text of a file or a variable, which may end with a line break.
    fn parse(text: &str, source: &str) -> Result<Self, Failure> {
        let key = text.trim();
        if key.is_empty() || !key.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(Failure::Usage(format!(
                "{source} does not hold an API key: it is one word of ASCII letters, digits and signs"
            )));
        }
        Ok(Self(key.to_owned()))
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl ApiEndpoint {
    /// Reads the files and the variable that the arguments name, and refuses what would not be safe.
    pub(crate) fn read(arguments: &EndpointArguments) -> Result<Self, Failure> {
        let key = match &arguments.api_key_file {
            Some(path) => {
                let text = String::from_utf8(read(path, "--api-key-file")?).unwrap_or_default();
                Some(ApiKey::parse(&text, &path.display().to_string())?)
            }
            None => match std::env::var(KEY_VARIABLE).ok().filter(|text| !text.is_empty()) {
                Some(text) => Some(ApiKey::parse(&text, KEY_VARIABLE)?),
                None => None,
            },
        };
        Self::new(arguments, key)
    }

    fn new(arguments: &EndpointArguments, key: Option<ApiKey>) -> Result<Self, Failure> {
        let url = arguments.endpoint.as_str();
        let (scheme, host) = split(url).ok_or_else(|| {
            Failure::Usage(format!("--endpoint {url}: write http://HOST:PORT or https://HOST:PORT"))
        })?;
        let tls = if scheme == "https" {
            Some(Tls::read(arguments)?)
        } else if let Some(option) = tls_option(arguments) {
            return Err(Failure::Usage(format!("{option} needs an --endpoint that begins with https://")));
        } else {
            None
        };
        let exposed = key.is_some() && tls.is_none() && !is_loopback(host);
        if exposed && !arguments.allow_key_without_tls {
            return Err(Failure::Usage(format!(
                "the API key would travel to {host} without TLS, where everyone on the way can read it: \
                 use https, or --allow-key-without-tls if the way is safe"
            )));
        }
        Ok(Self { url: url.to_owned(), tls, key, timeout: arguments.timeout.0 })
    }

    /// A server without keys and TLS.
    pub(crate) fn plain(address: SocketAddr, timeout: Duration) -> Self {
        Self { url: format!("http://{address}"), tls: None, key: None, timeout }
    }

    /// Whether the server runs on this machine.
    pub(crate) fn is_loopback(&self) -> bool {
        split(&self.url).is_some_and(|(_, host)| is_loopback(host))
    }
}

impl Tls {
    fn read(arguments: &EndpointArguments) -> Result<Self, Failure> {
        let authorities = arguments.ca_file.as_deref().map(|path| read(path, "--ca-file")).transpose()?;
        let identity = match (&arguments.cert_file, &arguments.cert_key_file) {
            (Some(certificate), Some(key)) => {
                Some((read(certificate, "--cert-file")?, read(key, "--cert-key-file")?))
            }
            (None, None) => None,
            _ => {
                return Err(Failure::Usage(
                    "--cert-file and --cert-key-file are used together: give both or none".to_owned(),
                ));
            }
        };
        Ok(Self { authorities, identity })
    }
}

fn read(path: &Path, option: &str) -> Result<Vec<u8>, Failure> {
    std::fs::read(path)
        .map_err(|error| Failure::Usage(format!("{option}: cannot read {}: {error}", path.display())))
}

/// The first option that means TLS.
fn tls_option(arguments: &EndpointArguments) -> Option<&'static str> {
    let options = [
        (&arguments.ca_file, "--ca-file"),
        (&arguments.cert_file, "--cert-file"),
        (&arguments.cert_key_file, "--cert-key-file"),
    ];
    options.into_iter().find(|(file, _)| file.is_some()).map(|(_, option)| option)
}

/// Scheme and host of an URL without user or path.
fn split(url: &str) -> Option<(&str, &str)> {
    let (scheme, rest) = url.split_once("://").filter(|(scheme, _)| ["http", "https"].contains(scheme))?;
    let authority = rest.strip_suffix('/').unwrap_or(rest);
    let host = match authority.strip_prefix('[') {
        Some(rest) => rest.split_once(']')?.0,
        None => authority.rsplit_once(':').map_or(authority, |(host, _)| host),
    };
    let is_plain = !host.is_empty() && !authority.contains(['/', '@', '?', '#']);
    is_plain.then_some((scheme, host))
}

fn is_loopback(host: &str) -> bool {
    host.eq_ignore_ascii_case("localhost")
        || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arguments(endpoint: &str) -> EndpointArguments {
        EndpointArguments {
            endpoint: endpoint.to_owned(),
            api_key_file: None,
            allow_key_without_tls: false,
            ca_file: None,
            cert_file: None,
            cert_key_file: None,
            timeout: "1s".parse().unwrap(),
        }
    }

    fn with_key(endpoint: &str) -> Result<ApiEndpoint, Failure> {
        ApiEndpoint::new(&arguments(endpoint), Some(ApiKey::parse("k1\n", "here").unwrap()))
    }

    #[test]
    fn a_key_goes_without_tls_to_this_machine_only() {
        for near in ["http://127.0.0.1:1", "http://127.8.8.8", "http://[::1]:1/", "http://LOCALHOST:1"] {
            assert!(with_key(near).is_ok(), "{near}");
        }
        for far in ["http://10.0.0.1:1", "http://127.0.0.1.example.com:1", "http://localhost.example.com"] {
            let error = with_key(far).unwrap_err().to_string();
            assert!(error.contains("--allow-key-without-tls") && !error.contains("k1"), "{far}: {error}");
        }
        assert!(with_key("https://api.example.com:10000").is_ok());
        assert!(ApiEndpoint::new(&arguments("http://10.0.0.1:1"), None).is_ok(), "there is no key to read");
        let allowed = EndpointArguments { allow_key_without_tls: true, ..arguments("http://10.0.0.1:1") };
        assert!(ApiEndpoint::new(&allowed, Some(ApiKey("k1".to_owned()))).is_ok());
    }

    #[test]
    fn a_host_cannot_hide_behind_a_user_or_a_path() {
        for strange in ["http://127.0.0.1:1@example.com", "http://", "http://:1", "http://a/b", "127.0.0.1:1"]
        {
            let error = ApiEndpoint::new(&arguments(strange), None).unwrap_err().to_string();
            assert!(error.contains("http://HOST:PORT"), "{strange}: {error}");
        }
    }

    #[test]
    fn a_key_is_one_word_and_never_printed() {
        assert_eq!(ApiKey::parse(" k1\r\n", "here").unwrap().as_str(), "k1");
        for bad in ["", "\n", "two words", "ключ"] {
            assert!(ApiKey::parse(bad, "here").unwrap_err().to_string().starts_with("here does not hold"));
        }
        assert!(!format!("{:?}", with_key("https://a").unwrap()).contains("k1"));
    }

    #[test]
    fn options_of_tls_without_tls_are_refused() {
        let ca_file = EndpointArguments { ca_file: Some("ca.pem".into()), ..arguments("http://127.0.0.1:1") };
        assert!(ApiEndpoint::new(&ca_file, None).unwrap_err().to_string().contains("https://"));
        let half = EndpointArguments { cert_file: Some("Cargo.toml".into()), ..arguments("https://a") };
        assert!(ApiEndpoint::new(&half, None).unwrap_err().to_string().contains("--cert-key-file"));
    }
}
