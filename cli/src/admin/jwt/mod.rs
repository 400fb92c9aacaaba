//! NATS JSON Web Tokens, version 2: the claims of operators, accounts and users, and how they are
//! signed and decoded. The values that Scuttle puts into the claims are in `admin::accounts` and
//! `admin::roles`.
//!
//! This module implements only the fields that Scuttle needs, because the published crates for NATS
//! tokens support neither operators nor scoped signing keys.

pub(crate) mod claims;
pub(crate) mod token;
