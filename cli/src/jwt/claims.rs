//! The claims of operators, accounts and users, as the NATS server reads them. A limit that is absent is 0, which
//! means none; -1 means no limit.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// No limit.
pub(crate) const UNLIMITED: i64 = -1;

/// What kind of claims these are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Kind {
    #[serde(rename = "type")]
    kind: String,
    version: u8,
}

impl Kind {
    fn new(kind: &str) -> Self {
        Self {
            kind: kind.to_owned(),
            version: 2,
        }
    }

    pub(crate) fn operator() -> Self {
        Self::new("operator")
    }

    pub(crate) fn account() -> Self {
        Self::new("account")
    }

    pub(crate) fn user() -> Self {
        Self::new("user")
    }
}

/// Who signs accounts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Operator {
    /// The public keys that sign accounts in its name.
    pub(crate) signing_keys: Vec<String>,
    /// The account that accounts are pushed from.
    pub(crate) system_account: String,
    /// Accounts and users signed with an identity key, not with a signing key, are refused.
    pub(crate) strict_signing_key_usage: bool,
    #[serde(flatten)]
    pub(crate) kind: Kind,
}

/// An account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Account {
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) imports: Vec<Import>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) exports: Vec<Export>,
    pub(crate) limits: AccountLimits,
    /// Who may make users, and with which permissions.
    pub(crate) signing_keys: Vec<Scope>,
    /// Users' public keys: tokens of theirs that were signed up to that second are refused.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) revocations: BTreeMap<String, i64>,
    /// For users without permissions of their own.
    pub(crate) default_permissions: Permissions,
    #[serde(flatten)]
    pub(crate) kind: Kind,
}

/// What crosses from an account into another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Import {
    pub(crate) name: String,
    pub(crate) subject: String,
    /// What it is called in this account; as over there, if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) local_subject: Option<String>,
    pub(crate) account: String,
    #[serde(rename = "type")]
    pub(crate) crossing: Crossing,
    /// The exporter is told who asks.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) share: bool,
}

/// What other accounts may import.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Export {
    pub(crate) name: String,
    pub(crate) subject: String,
    #[serde(rename = "type")]
    pub(crate) crossing: Crossing,
    /// `Stream`: many answers to one request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) response_type: Option<String>,
}

/// A request that is answered, or messages that are told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Crossing {
    Service,
    Stream,
}

/// What a whole account may use.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct AccountLimits {
    /// Subscriptions of one connection.
    pub(crate) subs: i64,
    /// Not read by the server, but a whole account that has every limit at 0 counts as one without limits.
    pub(crate) data: i64,
    /// Bytes of one message.
    pub(crate) payload: i64,
    pub(crate) imports: i64,
    pub(crate) exports: i64,
    /// Whether an export may have a wildcard.
    pub(crate) wildcards: bool,
    /// Connections at a time.
    pub(crate) conn: i64,
    /// No user comes in without proving its key.
    pub(crate) disallow_bearer: bool,
    /// `JetStream`: bytes on disk, streams, consumers.
    #[serde(default)]
    pub(crate) disk_storage: i64,
    #[serde(default)]
    pub(crate) streams: i64,
    #[serde(default)]
    pub(crate) consumer: i64,
}

/// A key that may make users, and what all of them may do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Scope {
    /// Always `user_scope`.
    pub(crate) kind: String,
    /// Its public key.
    pub(crate) key: String,
    /// The role's name.
    pub(crate) role: String,
    pub(crate) template: Template,
}

/// What a user of a role may do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Template {
    #[serde(flatten)]
    pub(crate) permissions: Permissions,
    /// Subscriptions of one connection.
    pub(crate) subs: i64,
    pub(crate) data: i64,
    /// Bytes of one message.
    pub(crate) payload: i64,
    /// How it may connect; any way, if empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) allowed_connection_types: Vec<String>,
}

/// Where a user may publish, and what it may subscribe.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Permissions {
    #[serde(rename = "pub")]
    pub(crate) publish: Permission,
    #[serde(rename = "sub")]
    pub(crate) subscribe: Permission,
}

/// Subjects. Where `allow` has any, all others are denied.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Permission {
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) allow: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) deny: Vec<String>,
}

impl Permission {
    /// These subjects alone.
    pub(crate) fn only<S: Into<String>>(subjects: impl IntoIterator<Item = S>) -> Self {
        Self {
            allow: subjects.into_iter().map(Into::into).collect(),
            deny: Vec::new(),
        }
    }

    /// None at all.
    pub(crate) fn none() -> Self {
        Self {
            allow: Vec::new(),
            deny: vec![">".to_owned()],
        }
    }
}

/// A user of a scoped signing key: all that it may do is said there, and the server refuses one that says anything itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct User {
    /// The account.
    pub(crate) issuer_account: String,
    #[serde(flatten)]
    pub(crate) kind: Kind,
}
