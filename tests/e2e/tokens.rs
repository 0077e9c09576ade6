//! Tokens as a backend would sign them for its users.

use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use serde::Serialize;
use serde_json::json;

/// The secret of `serve --dev`.
const SECRET: &str = "fanfare-dev";

/// A token with these claims.
pub(crate) fn token(claims: &impl Serialize) -> String {
    signed_with(SECRET, claims)
}

/// A token of a user that lasts for ever.
pub(crate) fn token_of(user: &str) -> String {
    token(&json!({ "sub": user }))
}

/// A token with these claims and another secret.
pub(crate) fn signed_with(secret: &str, claims: &impl Serialize) -> String {
    let key = EncodingKey::from_secret(secret.as_bytes());
    encode(&Header::new(Algorithm::HS256), claims, &key).expect("claims are JSON")
}
