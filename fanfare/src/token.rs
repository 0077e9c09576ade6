//! `fanfare token`: makes a token for a client, as a backend would.

use std::path::Path;

use fanfare_data_plane::TokenKey;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use serde_json::{Map, Value};

use crate::cli::{ClaimArguments, KeyArguments, LifetimeArguments, ServeArguments, TokenArguments};
use crate::config;
use crate::exit::Failure;
use crate::print;

/// The variable that names the configuration if nothing else names a key.
const CONFIG_VARIABLE: &str = "FANFARE_CONFIG";
const NO_SOURCE: &str = "there is no key to sign with: name one with --secret-file, --private-key-file or \
    --config, or use --dev for a server that was started with `fanfare serve --dev`";

pub(crate) fn run(arguments: &TokenArguments) -> Result<(), Failure> {
    let claims = claims(arguments, print::unix_now())?;
    let token = sign(&claims, &arguments.key)?;
    print::text(&format!("{token}\n"))
}

/// A token of a user that lasts for ever, signed with a shared secret: the same each time.
pub(crate) fn of_user(user: &str, secret: &str) -> Result<String, Failure> {
    let claims = serde_json::json!({ "sub": user });
    encode(&Header::new(Algorithm::HS256), &claims, &EncodingKey::from_secret(secret.as_bytes()))
        .map_err(|error| Failure::Failed(format!("cannot sign a token: {error}")))
}

/// What the token says. Times are seconds after the epoch.
fn claims(arguments: &TokenArguments, now: u64) -> Result<Map<String, Value>, Failure> {
    let mut claims = Map::new();
    let TokenArguments { user, lifetime: LifetimeArguments { expires, no_expiry }, claims: said, .. } =
        arguments;
    if !user.is_empty() {
        claims.insert("sub".to_owned(), user.as_str().into());
    }
    claims.insert("iat".to_owned(), now.into());
    if !no_expiry {
        claims.insert("exp".to_owned(), now.saturating_add(expires.0.as_secs()).into());
    }
    let ClaimArguments { info, meta, channel, channels, caps, audience, issuer, claims: others } = said;
    for (name, text) in [("info", info), ("meta", meta), ("caps", caps)] {
        if let Some(text) = text {
            claims.insert(name.to_owned(), json(&format!("--{name}"), text)?);
        }
    }
    for (name, text) in [("channel", channel), ("aud", audience), ("iss", issuer)] {
        if let Some(text) = text {
            claims.insert(name.to_owned(), text.as_str().into());
        }
    }
    if !channels.is_empty() {
        claims.insert("channels".to_owned(), channels.clone().into());
    }
    for other in others {
        let (key, value) = other
            .split_once('=')
            .ok_or_else(|| Failure::Usage(format!("--claim {other}: write KEY=JSON")))?;
        claims.insert(key.to_owned(), json(&format!("--claim {key}"), value)?);
    }
    Ok(claims)
}

fn json(option: &str, text: &str) -> Result<Value, Failure> {
    serde_json::from_str(text).map_err(|error| {
        let quoted = Value::String(text.to_owned());
        Failure::Usage(format!("{option}: {text} is not JSON ({error}); for text write '{quoted}'"))
    })
}

fn sign(claims: &Map<String, Value>, arguments: &KeyArguments) -> Result<String, Failure> {
    let asked = arguments.algorithm.as_deref().map(algorithm).transpose()?;
    if let Some(path) = &arguments.private_key_file {
        return sign_with_private_key(claims, arguments, asked, &read(path, "--private-key-file")?);
    }
    let secret = secret(arguments)?;
    sign_with(claims, arguments, asked.unwrap_or(Algorithm::HS256), &EncodingKey::from_secret(&secret))
        .map_err(|why| Failure::Usage(format!("cannot sign with a secret: {why}; use HS256, HS384 or HS512")))
}

/// Signs as the kind of the key wants it: which kind it is, is found out by trying.
fn sign_with_private_key(
    claims: &Map<String, Value>,
    arguments: &KeyArguments,
    asked: Option<Algorithm>,
    pem: &[u8],
) -> Result<String, Failure> {
    let (key, usual) = if let Ok(key) = EncodingKey::from_rsa_pem(pem) {
        (key, vec![Algorithm::RS256])
    } else if let Ok(key) = EncodingKey::from_ec_pem(pem) {
        (key, vec![Algorithm::ES256, Algorithm::ES384])
    } else if let Ok(key) = EncodingKey::from_ed_pem(pem) {
        (key, vec![Algorithm::EdDSA])
    } else {
        return Err(Failure::Usage(
            "--private-key-file: not a private key in PEM that can be used; RSA, P-256, P-384 and Ed25519 can. \
             One that begins with BEGIN EC PRIVATE KEY is converted by: openssl pkcs8 -topk8 -nocrypt -in FILE"
                .to_owned(),
        ));
    };
    let algorithms = asked.map_or(usual, |asked| vec![asked]);
    let mut why = String::new();
    for algorithm in algorithms {
        match sign_with(claims, arguments, algorithm, &key) {
            Ok(token) => return Ok(token),
            Err(error) => {
                why = format!("--private-key-file: the key cannot sign with {algorithm:?}: {error}");
            }
        }
    }
    Err(Failure::Usage(why))
}

fn sign_with(
    claims: &Map<String, Value>,
    arguments: &KeyArguments,
    algorithm: Algorithm,
    key: &EncodingKey,
) -> Result<String, jsonwebtoken::errors::Error> {
    let header = Header { kid: arguments.kid.clone(), ..Header::new(algorithm) };
    encode(&header, claims, key)
}

fn algorithm(name: &str) -> Result<Algorithm, Failure> {
    let name = if name.eq_ignore_ascii_case("EdDSA") { "EdDSA".to_owned() } else { name.to_uppercase() };
    name.parse().map_err(|_| Failure::Usage(format!("--algorithm {name} is not known")))
}

/// The secret that the arguments or the environment name.
fn secret(arguments: &KeyArguments) -> Result<Vec<u8>, Failure> {
    if let Some(path) = &arguments.secret_file {
        return read_secret(path, "--secret-file");
    }
    let variable = || std::env::var_os(CONFIG_VARIABLE).filter(|path| !path.is_empty());
    let config = match (&arguments.config, arguments.dev) {
        (None, true) => None,
        (None, false) => Some(variable().ok_or_else(|| Failure::Usage(NO_SOURCE.to_owned()))?.into()),
        (config, _) => config.clone(),
    };
    let source = ServeArguments { dev: arguments.dev, config, set: Vec::new() };
    let token = config::load(&source)?.client.token;
    // A key with the same id is the one that verifies the token.
    let named = token.keys.iter().find(|key| arguments.kid.as_ref() == Some(&key.kid) && !key.kid.is_empty());
    match named {
        Some(key) if !key.secret.is_empty() => Ok(key.secret.clone().into()),
        Some(key) if !key.secret_file.as_os_str().is_empty() => {
            read_secret(&key.secret_file, "client.token.keys")
        }
        Some(key) => Err(Failure::Usage(format!(
            "the configuration has only the public key of {:?}: sign with --private-key-file",
            key.kid
        ))),
        None if token.hmac_secret_key.is_empty() => Err(Failure::Usage(no_secret(&token.keys))),
        None => Ok(token.hmac_secret_key.into()),
    }
}

/// Why a configuration without a secret for all tokens does not do, and what does.
fn no_secret(keys: &[TokenKey]) -> String {
    let kids: Vec<_> = keys.iter().map(|key| key.kid.as_str()).filter(|kid| !kid.is_empty()).collect();
    let named = if kids.is_empty() {
        "name another key with".to_owned()
    } else {
        format!("name one of its keys with --kid ({}), or another with", kids.join(", "))
    };
    format!(
        "the configuration has no client.token.hmac_secret_key; {named} --private-key-file or --secret-file"
    )
}

fn read(path: &Path, option: &str) -> Result<Vec<u8>, Failure> {
    std::fs::read(path)
        .map_err(|error| Failure::Usage(format!("{option}: cannot read {}: {error}", path.display())))
}

/// A secret without the line break that editors put behind it.
fn read_secret(path: &Path, option: &str) -> Result<Vec<u8>, Failure> {
    let mut secret = read(path, option)?;
    while secret.last().is_some_and(|byte| matches!(byte, b'\n' | b'\r')) {
        secret.pop();
    }
    if secret.is_empty() {
        return Err(Failure::Usage(format!("{option}: {} is empty", path.display())));
    }
    Ok(secret)
}

#[cfg(test)]
#[path = "token_tests.rs"]
mod tests;
