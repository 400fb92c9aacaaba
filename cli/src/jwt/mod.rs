//! NATS JSON Web Tokens, version 2: how claims are signed with an nkey, and how a token is read again. What the claims
//! say is in `claims`; which claims Scuttle makes is in `accounts` and `roles`.
//!
//! The crates that do this make neither operators nor scoped signing keys; these are the few fields that Scuttle needs.

pub(crate) mod claims;

use data_encoding::{BASE32_NOPAD, BASE64URL_NOPAD};
use nkeys::KeyPair;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha512_256};

/// `{"typ":"JWT","alg":"ed25519-nkey"}`, the only header.
const HEADER: &str = r#"{"typ":"JWT","alg":"ed25519-nkey"}"#;

/// A token's claims; `T` is what is NATS's own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Claims<T> {
    /// A hash of all the rest: the server takes two tokens with the same one for the same.
    #[serde(default)]
    jti: String,
    /// When it was signed, in seconds since 1970.
    pub(crate) iat: i64,
    /// The public key of the signer.
    #[serde(default)]
    iss: String,
    /// A name for people; of a user, what requests are vouched for with.
    pub(crate) name: String,
    /// The public key that it is about.
    pub(crate) sub: String,
    /// The rest.
    pub(crate) nats: T,
}

/// A token that cannot be made or read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum JwtError {
    /// The key is a public one, or none.
    #[error("cannot sign a token: {0}; is the seed whole?")]
    Key(#[from] nkeys::error::Error),
    /// Not three parts in base64, or no such claims.
    #[error("not a NATS token: {0}")]
    Unreadable(String),
}

impl<T: Serialize> Claims<T> {
    /// Claims about `sub`, made at `iat`.
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

    /// The token.
    pub(crate) fn sign(mut self, key: &KeyPair) -> Result<String, JwtError> {
        self.iss = key.public_key();
        self.jti = String::new();
        self.jti = BASE32_NOPAD.encode(&Sha512_256::digest(json(&self)));
        let text = format!("{}.{}", encoded(HEADER.as_bytes()), encoded(&json(&self)));
        let signature = key.sign(text.as_bytes())?;
        Ok(format!("{text}.{}", encoded(&signature)))
    }
}

impl<T: DeserializeOwned> Claims<T> {
    /// What a token says. The signature is not checked: it is the project's own file, and the server checks.
    pub(crate) fn read(token: &str) -> Result<Self, JwtError> {
        let unreadable = |why: &dyn std::fmt::Display| JwtError::Unreadable(why.to_string());
        let claims =
            (token.trim().split('.').nth(1)).ok_or_else(|| unreadable(&"it has no dot"))?;
        let claims = BASE64URL_NOPAD.decode(claims.as_bytes());
        let claims = claims.map_err(|error| unreadable(&error))?;
        serde_json::from_slice(&claims).map_err(|error| unreadable(&error))
    }
}

fn json(claims: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(claims).expect("claims are plain data")
}

fn encoded(bytes: &[u8]) -> String {
    BASE64URL_NOPAD.encode(bytes)
}

#[cfg(test)]
mod tests {
    use nkeys::KeyPair;

    use super::Claims;
    use super::claims::{Kind, User};

    #[test]
    fn a_token_is_signed_by_its_issuer_and_read_again() {
        let (account, user) = (KeyPair::new_account(), KeyPair::new_user());
        let nats = User {
            issuer_account: account.public_key(),
            kind: Kind::user(),
        };
        let claims = Claims::new("alice", user.public_key(), 7, nats);
        let token = claims.clone().sign(&account).expect("signed");
        let (text, signature) = token.rsplit_once('.').expect("three parts");
        let signature = data_encoding::BASE64URL_NOPAD
            .decode(signature.as_bytes())
            .expect("base64");
        account
            .verify(text.as_bytes(), &signature)
            .expect("the issuer's signature");
        let read = Claims::<User>::read(&token).expect("read");
        assert_eq!((read.name.as_str(), read.iat), ("alice", 7));
        assert_eq!(read.iss, account.public_key());
        let other = Claims { iat: 8, ..claims }.sign(&account).expect("signed");
        assert_ne!(Claims::<User>::read(&other).expect("read").jti, read.jti);
        assert!(Claims::<User>::read("no token").is_err());
    }
}
