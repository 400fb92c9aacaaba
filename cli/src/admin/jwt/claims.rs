//! The claims of operators, accounts and users, in the format of the NATS server. For each limit, 0
//! allows nothing, -1 means unlimited, and a missing value counts as 0.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// The value of a limit that allows any amount.
pub(crate) const UNLIMITED: i64 = -1;

/// The type of the claims (`operator`, `account` or `user`) and the version of their format.
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

/// The claims of the NATS operator, which signs accounts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Operator {
    /// The public keys that sign accounts on behalf of the operator.
    pub(crate) signing_keys: Vec<String>,
    /// The public key of the account whose users may update accounts at the server.
    pub(crate) system_account: String,
    /// Whether the server rejects tokens that are signed by an identity key instead of a signing
    /// key.
    pub(crate) strict_signing_key_usage: bool,
    #[serde(flatten)]
    pub(crate) kind: Kind,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Account {
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) imports: Vec<Import>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) exports: Vec<Export>,
    pub(crate) limits: AccountLimits,
    /// The keys that may sign users, each with the permissions that its users get.
    pub(crate) signing_keys: Vec<Scope>,
    /// The revoked users: a map from a user's public key to a time in seconds since 1970. The
    /// server rejects the user's tokens that were issued at or before this time.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) revocations: BTreeMap<String, i64>,
    /// The subjects to which the server changes the subjects of messages within this account.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) mappings: BTreeMap<String, Vec<Mapping>>,
    /// The permissions of users whose own tokens contain no permissions.
    pub(crate) default_permissions: Permissions,
    #[serde(flatten)]
    pub(crate) kind: Kind,
}

/// The target of a subject mapping. The server sends all messages of the mapped subject to this
/// subject.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Mapping {
    pub(crate) subject: String,
}

/// A subject of another account that this account uses.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Import {
    pub(crate) name: String,
    pub(crate) subject: String,
    /// The subject's name in the importing account. `None` keeps the name from the exporting
    /// account.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) local_subject: Option<String>,
    pub(crate) account: String,
    #[serde(rename = "type")]
    pub(crate) crossing: Crossing,
    /// Whether requests to the exporting account show which user sent them.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) share: bool,
}

/// A subject that other accounts may import.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Export {
    pub(crate) name: String,
    pub(crate) subject: String,
    #[serde(rename = "type")]
    pub(crate) crossing: Crossing,
    /// `Stream` if one request may have several replies. `None` if it has a single reply.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) response_type: Option<String>,
}

/// The kind of communication that an import or export allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Crossing {
    /// Requests and their replies.
    Service,
    /// Messages without a reply.
    Stream,
}

/// The limits that the server enforces on an account. [`UNLIMITED`] turns a limit off.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct AccountLimits {
    /// The maximum number of subscriptions of one connection.
    pub(crate) subs: i64,
    /// The maximum amount of data. The server ignores this limit. It is set because the server
    /// treats an account whose limits are all 0 as unlimited.
    pub(crate) data: i64,
    /// The maximum size of a message in bytes.
    pub(crate) payload: i64,
    pub(crate) imports: i64,
    pub(crate) exports: i64,
    /// Whether exports may contain wildcards.
    pub(crate) wildcards: bool,
    /// The maximum number of simultaneous connections.
    pub(crate) conn: i64,
    /// Whether bearer tokens are rejected. If so, users must prove possession of their private
    /// keys.
    pub(crate) disallow_bearer: bool,
    /// The maximum number of bytes that `JetStream` may store on disk.
    #[serde(default)]
    pub(crate) disk_storage: i64,
    #[serde(default)]
    pub(crate) streams: i64,
    #[serde(default)]
    pub(crate) consumer: i64,
}

/// A signing key for users, with the permissions of every user that the key signs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Scope {
    /// The type of the scope: always `user_scope`.
    pub(crate) kind: String,
    /// The public key that identifies the signing key.
    pub(crate) key: String,
    /// The name of the role of all users whose tokens the key signs.
    pub(crate) role: String,
    pub(crate) template: Template,
}

/// The permissions and limits of the users of a role.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Template {
    #[serde(flatten)]
    pub(crate) permissions: Permissions,
    /// The maximum number of subscriptions of one connection.
    pub(crate) subs: i64,
    pub(crate) data: i64,
    /// The maximum size of a message in bytes.
    pub(crate) payload: i64,
    /// The allowed kinds of connection, such as `STANDARD` for TCP without WebSocket. An empty list
    /// allows all kinds.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) allowed_connection_types: Vec<String>,
}

/// The subjects on which a user may publish, and those to which the user may subscribe.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Permissions {
    #[serde(rename = "pub")]
    pub(crate) publish: Permission,
    #[serde(rename = "sub")]
    pub(crate) subscribe: Permission,
}

/// The allowed and denied subjects. A non-empty `allow` denies all other subjects.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Permission {
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) allow: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) deny: Vec<String>,
}

impl Permission {
    /// Returns a permission for these subjects only.
    pub(crate) fn allow_only<S: Into<String>>(subjects: impl IntoIterator<Item = S>) -> Self {
        Self {
            allow: subjects.into_iter().map(Into::into).collect(),
            deny: Vec::new(),
        }
    }

    pub(crate) fn deny_all() -> Self {
        Self {
            allow: Vec::new(),
            deny: vec![">".to_owned()],
        }
    }
}

/// The claims of a user whose token is signed by a scoped signing key. The scope of that key
/// determines all permissions: the server rejects the user if the token itself contains
/// permissions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct User {
    /// The public key of the account to which the user belongs.
    pub(crate) issuer_account: String,
    /// Values for the placeholders in the permissions of the signing key's scope, such as
    /// `host:worker-a`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) tags: Vec<String>,
    #[serde(flatten)]
    pub(crate) kind: Kind,
}
