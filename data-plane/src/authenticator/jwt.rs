//! Tokens signed with a shared secret (JWT, HS256), with the claims that Centrifugo's users know.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{Authenticator, Denied, Identity};
use fanfare_cluster::channel::MAX_USER_BYTES;

/// A token is at most this long, in bytes: what is longer is not looked at.
const MAX_TOKEN: usize = 16 * 1024;

/// Verifies tokens of one secret.
pub(crate) struct JwtAuthenticator {
    key: DecodingKey,
    validation: Validation,
}

/// The claims that this version acts upon. Others that would grant something make the token invalid.
#[derive(Debug, Deserialize)]
struct Claims {
    #[serde(default)]
    sub: String,
    exp: Option<u64>,
    nbf: Option<u64>,
    info: Option<Box<RawValue>>,
    channels: Option<Box<RawValue>>,
    subs: Option<Box<RawValue>>,
    caps: Option<Box<RawValue>>,
    channel: Option<Box<RawValue>>,
    b64info: Option<Box<RawValue>>,
    expire_at: Option<Box<RawValue>>,
}

impl JwtAuthenticator {
    pub(crate) fn new(secret: &str) -> Self {
        let mut validation = Validation::new(Algorithm::HS256);
        validation.required_spec_claims.clear();
        // Times are checked below, because "expired" has another answer than "invalid".
        validation.validate_exp = false;
        validation.validate_nbf = false;
        validation.validate_aud = false;
        Self { key: DecodingKey::from_secret(secret.as_bytes()), validation }
    }
}

impl Authenticator for JwtAuthenticator {
    fn authenticate(&self, token: &str, now: SystemTime) -> Result<Option<Identity>, Denied> {
        if token.len() > MAX_TOKEN {
            return Err(Denied::Invalid);
        }
        let decoded = decode::<Claims>(token, &self.key, &self.validation).map_err(|_| Denied::Invalid)?;
        let claims = decoded.claims;
        let later = [
            &claims.channels,
            &claims.subs,
            &claims.caps,
            &claims.channel,
            &claims.b64info,
            &claims.expire_at,
        ];
        if later.iter().any(|claim| claim.is_some()) {
            return Err(Denied::Invalid);
        }
        let now = now.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).as_secs();
        if claims.exp.is_some_and(|exp| exp <= now) {
            return Err(Denied::Expired);
        }
        if claims.nbf.is_some_and(|nbf| nbf > now) {
            return Err(Denied::Invalid);
        }
        if claims.sub.is_empty() {
            return Ok(None);
        }
        if claims.sub.len() > MAX_USER_BYTES || claims.sub.chars().any(char::is_control) {
            return Err(Denied::Invalid);
        }
        let info = claims.info.map_or(Bytes::new(), |info| Bytes::from(info.get().to_owned()));
        Ok(Some(Identity { user: claims.sub.into(), info, expires_at: claims.exp }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use jsonwebtoken::{EncodingKey, Header, encode};
    use serde_json::json;

    fn token(claims: &serde_json::Value, secret: &str) -> String {
        encode(&Header::new(Algorithm::HS256), claims, &EncodingKey::from_secret(secret.as_bytes())).unwrap()
    }

    fn authenticate(claims: &serde_json::Value) -> Result<Option<Identity>, Denied> {
        let now = UNIX_EPOCH + Duration::from_secs(1_000);
        JwtAuthenticator::new("secret").authenticate(&token(claims, "secret"), now)
    }

    #[test]
    fn a_good_token_names_its_user() {
        let identity =
            authenticate(&json!({"sub": "42", "exp": 2_000, "info": {"name": "Ann"}})).unwrap().unwrap();
        assert_eq!((&*identity.user, identity.expires_at), ("42", Some(2_000)));
        assert_eq!(identity.info, r#"{"name":"Ann"}"#);
        assert_eq!(authenticate(&json!({})), Ok(None), "a token without a user is anonymous");
    }

    #[test]
    fn expired_is_another_answer_than_invalid() {
        assert_eq!(authenticate(&json!({"sub": "42", "exp": 1_000})), Err(Denied::Expired));
        assert_eq!(authenticate(&json!({"sub": "42", "nbf": 1_001})), Err(Denied::Invalid));
    }

    #[test]
    fn forged_and_unsigned_tokens_are_invalid() {
        let verifier = JwtAuthenticator::new("secret");
        let now = SystemTime::now();
        let unsigned = "eyJhbGciOiJub25lIiwidHlwIjoiSldUIn0.eyJzdWIiOiI0MiJ9.";
        for bad in
            ["", "x", "a.b.c", unsigned, &token(&json!({"sub": "42"}), "other"), &"x".repeat(MAX_TOKEN + 1)]
        {
            assert_eq!(verifier.authenticate(bad, now), Err(Denied::Invalid), "{bad:.20}");
        }
    }

    #[test]
    fn claims_that_ask_for_more_than_this_version_can_do_are_refused() {
        for claim in ["channels", "subs", "caps", "channel", "b64info", "expire_at"] {
            assert_eq!(authenticate(&json!({"sub": "42", claim: ["x"]})), Err(Denied::Invalid), "{claim}");
        }
    }
}
