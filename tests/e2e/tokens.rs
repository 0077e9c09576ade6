//! Tokens as a backend would sign them for its users.

use std::time::{SystemTime, UNIX_EPOCH};

use fanfare_tests::sandbox::Sandbox;
use fanfare_tests::websocket::WebSocket;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use serde::Serialize;
use serde_json::{Value, json};

/// The secret of `serve --dev`.
const DEV_SECRET: &str = "fanfare-dev";
/// The secret of configurations, where that of `--dev` is refused.
pub(crate) const SECRET: &str = "for the tests alone, and of 32 bytes or more";

/// A token with these claims.
pub(crate) fn token(claims: &impl Serialize) -> String {
    signed_with(DEV_SECRET, claims)
}

/// A token of a user that lasts for ever.
pub(crate) fn token_of(user: &str) -> String {
    token(&json!({ "sub": user }))
}

/// A token with these claims and another secret.
pub(crate) fn signed_with(secret: &str, claims: &impl Serialize) -> String {
    signed(&Header::new(Algorithm::HS256), &EncodingKey::from_secret(secret.as_bytes()), claims)
}

/// A token with this header, signed with any key.
pub(crate) fn signed(header: &Header, key: &EncodingKey, claims: &impl Serialize) -> String {
    encode(header, claims, key).expect("claims are JSON")
}

/// A time that is so many seconds away, as tokens count it.
pub(crate) fn in_seconds(seconds: i64) -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("1970 is over");
    i64::try_from(now.as_secs()).expect("it is not that late") + seconds
}

/// What a connect with the token is answered with: 0, an error's code, or the one that the server closes with.
pub(crate) fn connect_outcome(server: &Sandbox, token: &str) -> u64 {
    WebSocket::open(server.clients).outcome("connect", &json!({ "token": token }))
}

/// A client that has connected with a token, and what it was told.
pub(crate) fn connected_with(server: &Sandbox, token: &str) -> (WebSocket, Value) {
    let mut client = WebSocket::open(server.clients);
    let mut reply = client.command("connect", &json!({ "token": token }));
    assert!(reply["connect"]["client"].is_string(), "{reply}");
    (client, reply["connect"].take())
}
