//! Signs claims with nkeys (the Ed25519 keys of NATS), and decodes tokens.

use data_encoding::{BASE32_NOPAD, BASE64URL_NOPAD};
use nkeys::KeyPair;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha512_256};

/// The JSON header of every token.
const HEADER: &str = r#"{"typ":"JWT","alg":"ed25519-nkey"}"#;

/// The claims of a token. `T` is the type of the claims that are specific to NATS.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Claims<T> {
    /// A hash of all other claims. The server treats two tokens with the same hash as the same
    /// token.
    #[serde(default)]
    jti: String,
    /// The time at which the token was signed, in seconds since 1970.
    pub(crate) iat: i64,
    /// The public key of the signer.
    #[serde(default)]
    iss: String,
    /// A human-readable name. For a user, also the name that the server attaches to requests as the
    /// identity of the requester.
    pub(crate) name: String,
    /// The public key of the subject: the operator, account or user.
    pub(crate) sub: String,
    pub(crate) nats: T,
}

/// The reason why a token cannot be signed or decoded.
#[derive(Debug, thiserror::Error)]
pub(crate) enum JwtError {
    /// The key has no seed, or is invalid.
    #[error("cannot sign a token: {0}; check that the seed is complete")]
    Key(#[from] nkeys::error::Error),
    /// The text is not a dot-separated token whose second part contains valid claims.
    #[error("not a NATS token: {0}")]
    Unreadable(String),
}

impl<T: Serialize> Claims<T> {
    /// Creates unsigned claims about the public key `sub`, issued at `iat` in seconds since 1970.
    pub(crate) fn new(name: &str, sub: String, iat: i64, nats: T) -> Self {
        Self {
            jti: String::new(),
            iat,
            iss: String::new(),
            name: name.to_owned(),
            sub,
            nats,
        }
    }

    /// Signs the claims with `key`, and returns the encoded token.
    pub(crate) fn sign(mut self, key: &KeyPair) -> Result<String, JwtError> {
        self.iss = key.public_key();
        self.jti = String::new();
        self.jti = BASE32_NOPAD.encode(&Sha512_256::digest(to_json(&self)));
        let header = encode(HEADER.as_bytes());
        let text = format!("{header}.{}", encode(&to_json(&self)));
        let signature = key.sign(text.as_bytes())?;
        Ok(format!("{text}.{}", encode(&signature)))
    }
}

impl<T: DeserializeOwned> Claims<T> {
    /// Decodes the claims of a token without verifying its signature. The server verifies
    /// signatures, and this program reads tokens only from local files.
    pub(crate) fn decode(token: &str) -> Result<Self, JwtError> {
        let unreadable = |reason: &dyn std::fmt::Display| JwtError::Unreadable(reason.to_string());
        let claims =
            (token.trim().split('.').nth(1)).ok_or_else(|| unreadable(&"it has no dot"))?;
        let claims = BASE64URL_NOPAD.decode(claims.as_bytes());
        let claims = claims.map_err(|error| unreadable(&error))?;
        serde_json::from_slice(&claims).map_err(|error| unreadable(&error))
    }
}

fn to_json(claims: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(claims).expect("claims serialize to JSON")
}

fn encode(bytes: &[u8]) -> String {
    BASE64URL_NOPAD.encode(bytes)
}

#[cfg(test)]
mod tests {
    use nkeys::KeyPair;

    use super::Claims;
    use crate::admin::jwt::claims::{Kind, User};

    #[test]
    fn a_token_is_signed_by_its_issuer_and_can_be_decoded() {
        let (account, user) = (KeyPair::new_account(), KeyPair::new_user());
        let nats = User {
            issuer_account: account.public_key(),
            tags: Vec::new(),
            kind: Kind::user(),
        };
        let claims = Claims::new("alice", user.public_key(), 7, nats);
        let token = claims.clone().sign(&account).expect("the key has a seed");
        let (text, signature) = token.rsplit_once('.').expect("three parts");
        let signature = data_encoding::BASE64URL_NOPAD
            .decode(signature.as_bytes())
            .expect("base64");
        account
            .verify(text.as_bytes(), &signature)
            .expect("the signature of the issuer");
        let decoded = Claims::<User>::decode(&token).expect("a valid token");
        assert_eq!((decoded.name.as_str(), decoded.iat), ("alice", 7));
        assert_eq!(decoded.iss, account.public_key());
        let later = Claims { iat: 8, ..claims };
        let later = later.sign(&account).expect("the key has a seed");
        let later = Claims::<User>::decode(&later).expect("a valid token");
        assert_ne!(later.jti, decoded.jti);
        assert!(Claims::<User>::decode("no token").is_err());
    }
}
