//! Signatures of JSON Web Tokens: HS, RS, PS and ES with 256, 384 and 512 bits, and EdDSA.

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, JwkSet, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey};
use p521::ecdsa::signature::Verifier as _;
use p521::pkcs8::DecodePublicKey as _;
use serde::Deserialize;

/// A token is at most this long, in bytes: what is longer is not looked at.
const MAX_TOKEN: usize = 16 << 10;

/// A token taken apart, before anything of it is believed.
#[derive(Debug)]
pub(super) struct Parts<'a> {
    header: Header,
    message: &'a str,
    signature: &'a str,
    /// The claims as JSON.
    pub(super) claims: Vec<u8>,
}

#[derive(Debug, Deserialize)]
struct Header {
    alg: String,
    kid: Option<String>,
    /// Extensions that must be understood. We understand none.
    crit: Option<serde::de::IgnoredAny>,
}

impl<'a> Parts<'a> {
    /// Takes a token apart; `None` if it is none, or too long.
    pub(super) fn of(token: &'a str) -> Option<Self> {
        if token.len() > MAX_TOKEN {
            return None;
        }
        let (message, signature) = token.rsplit_once('.')?;
        let (header, claims) = message.split_once('.')?;
        let header: Header = serde_json::from_slice(&BASE64_URL_SAFE_NO_PAD.decode(header).ok()?).ok()?;
        let claims = BASE64_URL_SAFE_NO_PAD.decode(claims).ok()?;
        header.crit.is_none().then_some(Self { header, message, signature, claims })
    }

    /// The name of the key it was signed with, if it says so.
    pub(super) fn kid(&self) -> Option<&str> {
        self.header.kid.as_deref()
    }

    /// Whether the key can have made the signature, and has.
    pub(super) fn is_signed_by(&self, key: &Key) -> bool {
        match (&key.0, self.header.alg.as_str()) {
            (Kind::P521(key), "ES512") => {
                let signature = BASE64_URL_SAFE_NO_PAD.decode(self.signature).ok();
                let signature = signature.and_then(|bytes| p521::ecdsa::Signature::from_slice(&bytes).ok());
                signature.is_some_and(|signature| key.verify(self.message.as_bytes(), &signature).is_ok())
            }
            // "none" is no algorithm here, and a public key never serves as a shared secret: the key's family decides.
            (Kind::Other { key, only }, algorithm) => algorithm.parse().is_ok_and(|algorithm: Algorithm| {
                let fits = algorithm.family() == key.family() && only.is_none_or(|only| only == algorithm);
                let message = self.message.as_bytes();
                fits && jsonwebtoken::crypto::verify(self.signature, message, key, algorithm).unwrap_or(false)
            }),
            (Kind::P521(_), _) => false,
        }
    }
}

/// A key that can verify signatures.
#[derive(Clone)]
pub(super) struct Key(Kind);

#[derive(Clone)]
enum Kind {
    /// The library does not know this curve.
    P521(p521::ecdsa::VerifyingKey),
    /// A key of a set may be for one algorithm only.
    Other { key: DecodingKey, only: Option<Algorithm> },
}

/// What a PEM text must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Expected {
    Rsa,
    Ecdsa,
    EdDsa,
    Any,
}

impl Key {
    /// A shared secret.
    pub(super) fn secret(secret: &[u8]) -> Self {
        DecodingKey::from_secret(secret).into()
    }

    /// A public key in PEM; `None` if it is not what is expected.
    pub(super) fn public(pem: &str, expected: Expected) -> Option<Self> {
        let any = expected == Expected::Any;
        let bytes = pem.as_bytes();
        let rsa = || DecodingKey::from_rsa_pem(bytes).ok().map(Self::from);
        let p521 = || {
            let key = p521::PublicKey::from_public_key_pem(pem).ok()?;
            p521::ecdsa::VerifyingKey::from_affine(*key.as_affine()).ok().map(|key| Self(Kind::P521(key)))
        };
        let ecdsa = || p521().or_else(|| DecodingKey::from_ec_pem(bytes).ok().map(Self::from));
        let eddsa = || DecodingKey::from_ed_pem(bytes).ok().map(Self::from);
        let try_if = |wanted: bool, read: &dyn Fn() -> Option<Self>| if wanted { read() } else { None };
        try_if(any || expected == Expected::EdDsa, &eddsa)
            .or_else(|| try_if(any || expected == Expected::Ecdsa, &ecdsa))
            .or_else(|| try_if(any || expected == Expected::Rsa, &rsa))
    }

    /// The public keys of a published set, by their names. Those that are not for signatures or of kinds that
    /// are not known are left out; so are shared secrets, which nobody may publish.
    pub(super) fn read_set(json: &[u8]) -> Option<Vec<(Option<String>, Self)>> {
        let set: JwkSet = serde_json::from_slice(json).ok()?;
        let keys = set.keys.iter().filter_map(|jwk| Some((jwk.common.key_id.clone(), Self::of_set(jwk)?)));
        Some(keys.collect())
    }

    fn of_set(jwk: &Jwk) -> Option<Self> {
        if jwk.common.public_key_use.as_ref().is_some_and(|usage| *usage != PublicKeyUse::Signature) {
            return None;
        }
        match &jwk.algorithm {
            AlgorithmParameters::EllipticCurve(point) if point.curve == EllipticCurve::P521 => {
                let coordinate = |text: &str| BASE64_URL_SAFE_NO_PAD.decode(text).ok();
                let uncompressed = [vec![4], coordinate(&point.x)?, coordinate(&point.y)?].concat();
                p521::ecdsa::VerifyingKey::from_sec1_bytes(&uncompressed)
                    .ok()
                    .map(|key| Self(Kind::P521(key)))
            }
            AlgorithmParameters::OctetKey(_) | AlgorithmParameters::Other(_) => None,
            _ => {
                let only = match &jwk.common.key_algorithm {
                    Some(name) => Some(name.to_string().parse().ok()?),
                    None => None,
                };
                DecodingKey::from_jwk(jwk).ok().map(|key| Self(Kind::Other { key, only }))
            }
        }
    }
}

impl From<DecodingKey> for Key {
    fn from(key: DecodingKey) -> Self {
        Self(Kind::Other { key, only: None })
    }
}

#[cfg(test)]
#[path = "jwt_tests.rs"]
mod tests;
