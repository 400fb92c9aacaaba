//! NATS JSON Web Tokens, version 2: signing and decoding, and the claims of operators, accounts and
//! users. The claims that Scuttle issues are in `accounts` and `roles`.
//!
//! The published crates for NATS tokens support neither operators nor scoped signing keys. This
//! folder implements the few fields that Scuttle needs.

pub(crate) mod claims;
pub(crate) mod token;
