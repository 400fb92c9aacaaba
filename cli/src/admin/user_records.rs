//! Creates users and keeps a record of each. A user without a record could not be revoked.
//! Revocation itself is in `client::revoke`.

use std::fs;
use std::path::{Path, PathBuf};

use nkeys::KeyPair;
use scuttle_schemas::{HostId, HostName, Timestamp, subjects};
use serde::{Deserialize, Serialize};

use crate::admin::accounts::AccountName;
use crate::admin::files::{self, FileError, Readers, ReservedFile};
use crate::admin::jwt::claims::{Kind, User};
use crate::admin::jwt::token::{Claims, JwtError};
use crate::admin::keystore::{KeyName, Keystore, KeystoreError};
use crate::admin::roles::Role;
use crate::clock::{now, to_unix_seconds};

/// The record of a created user, which contains what a revocation needs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct UserRecord {
    pub(crate) public_key: String,
    pub(crate) role: Role,
    /// The user's name, which operations record as `requested_by`. For an agent, the name is the
    /// `host_uuid`, which determines the agent's permissions.
    pub(crate) user: String,
    /// The name of an agent's host, for display. `None` for all other users.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) host_name: Option<HostName>,
    /// The hosts on which a `HostOperator` may tear down. Empty for all other users.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) hosts: Vec<UserHost>,
    /// The time at which the user was created.
    pub(crate) at: Timestamp,
}

/// A host of a user: its id, which determines the user's permissions, and its name when the user
/// was created, for display.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct UserHost {
    /// The id of the host.
    pub(crate) host_uuid: HostId,
    /// The name that the host had when the user was created.
    pub(crate) host_name: HostName,
}

/// The maximum number of hosts of one user. The NATS server reads at most 4 KiB of a login, and the
/// token of a user with more hosts could be longer.
pub(crate) const MAX_USER_HOSTS: usize = 24;

/// The hosts of a new user.
#[derive(Debug)]
pub(crate) enum NewUserHosts {
    /// The role alone determines the permissions.
    None,
    /// The user is the agent of the host with this name.
    Agent(HostName),
    /// The user may tear down only on these hosts, at most [`MAX_USER_HOSTS`].
    Limited(Vec<UserHost>),
}

/// Everything that a new user needs, checked and reserved before anything changes. Dropping this
/// value leaves nothing behind.
#[derive(Debug)]
pub(crate) struct PreparedUser<'a> {
    keystore: &'a Keystore,
    role: Role,
    signer: KeyPair,
    /// The public key of the user's account.
    account: String,
    credentials_file: ReservedFile,
}

/// The reason why a user cannot be created or a record cannot be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum UserRecordError {
    #[error(transparent)]
    Keystore(#[from] KeystoreError),
    #[error(transparent)]
    File(#[from] FileError),
    #[error("cannot create the user {user}: {cause}")]
    Token { user: String, cause: JwtError },
    #[error("cannot read the user record {path}: {cause}", path = .path.display())]
    Record {
        path: PathBuf,
        cause: serde_json::Error,
    },
}

impl<'a> PreparedUser<'a> {
    /// Loads the keys that sign the user, and reserves the credentials file, which must not exist.
    pub(crate) fn new(
        keystore: &'a Keystore,
        role: Role,
        credentials_file: &Path,
    ) -> Result<Self, UserRecordError> {
        Ok(Self {
            keystore,
            role,
            signer: keystore.load_key(KeyName::Role(role))?,
            account: keystore.load_account(AccountName::from_role(role))?.sub,
            credentials_file: ReservedFile::create(credentials_file)?,
        })
    }

    /// Creates the user.
    ///
    /// Writes the user's record first and then the credentials file, because credentials without a
    /// durable record could never be revoked. If the file cannot be written, removes the record.
    pub(crate) fn create(
        self,
        user: &str,
        hosts: NewUserHosts,
    ) -> Result<UserRecord, UserRecordError> {
        let key = KeyPair::new_user();
        let (host_name, hosts) = match hosts {
            NewUserHosts::None => (None, Vec::new()),
            NewUserHosts::Agent(name) => (Some(name), Vec::new()),
            NewUserHosts::Limited(hosts) => (None, hosts),
        };
        let record = UserRecord {
            public_key: key.public_key(),
            role: self.role,
            user: user.to_owned(),
            host_name,
            hosts,
            at: now(),
        };
        let nats = User {
            issuer_account: self.account,
            tags: host_tags(&record.hosts),
            kind: Kind::user(),
        };
        let issued_at = to_unix_seconds(record.at);
        let claims = Claims::new(user, key.public_key(), issued_at, nats);
        let failed = |cause| UserRecordError::Token {
            user: user.to_owned(),
            cause,
        };
        let token = claims.sign(&self.signer).map_err(failed)?;
        let seed = key.seed().map_err(|cause| failed(cause.into()))?;
        let text = serde_json::to_string_pretty(&record).expect("a record serializes to JSON");
        let path = self
            .keystore
            .user_records()
            .join(format!("{}.json", record.public_key));
        files::write_new(&path, Readers::Owner, &text)?;
        let credentials = format_credentials(&token, &seed);
        if let Err(error) = self.credentials_file.write(&credentials) {
            // No one has the key of this user, so the record would only use up the name.
            let _ = fs::remove_file(&path);
            return Err(error.into());
        }
        Ok(record)
    }
}

/// Returns the tags of a token that name these hosts.
fn host_tags(hosts: &[UserHost]) -> Vec<String> {
    let tag = |host: &UserHost| format!("{}:{}", subjects::HOST_TAG, host.host_uuid);
    hosts.iter().map(tag).collect()
}

/// Returns the records of all users that are not revoked.
pub(crate) fn list_active(keystore: &Keystore) -> Result<Vec<UserRecord>, UserRecordError> {
    let mut active = list_all(keystore)?;
    for account in AccountName::ALL {
        let revoked = keystore.load_account(account)?.nats.revocations;
        active.retain(|user| {
            AccountName::from_role(user.role) != account || !revoked.contains_key(&user.public_key)
        });
    }
    Ok(active)
}

/// Returns the records of all users that were ever created.
pub(crate) fn list_all(keystore: &Keystore) -> Result<Vec<UserRecord>, UserRecordError> {
    let paths = files::list(&keystore.user_records())?;
    let read = |path: PathBuf| {
        let text = files::read(&path)?;
        serde_json::from_str(&text).map_err(|cause| UserRecordError::Record { path, cause })
    };
    paths.into_iter().map(read).collect()
}

/// Formats a credentials file for NATS clients.
fn format_credentials(token: &str, seed: &str) -> String {
    format!(
        "-----BEGIN NATS USER JWT-----\n{token}\n------END NATS USER JWT------\n\n\
         Anyone who has this file can log in as this user. Keep it secret.\n\n\
         -----BEGIN USER NKEY SEED-----\n{seed}\n------END USER NKEY SEED------\n"
    )
}

#[cfg(test)]
mod tests {
    use nkeys::KeyPair;

    use super::{MAX_USER_HOSTS, UserHost, host_tags};
    use crate::admin::jwt::claims::{Kind, User};
    use crate::admin::jwt::token::Claims;

    /// The other parts of the message `CONNECT` take less than 900 bytes of the server's 4096.
    #[test]
    fn the_longest_token_of_a_user_fits_into_a_login() {
        let long = "h".repeat(64);
        let host = UserHost {
            host_uuid: long.parse().expect("valid"),
            host_name: long.parse().expect("valid"),
        };
        let (account, key) = (KeyPair::new_account(), KeyPair::new_user());
        let user = User {
            issuer_account: account.public_key(),
            tags: host_tags(&vec![host; MAX_USER_HOSTS]),
            kind: Kind::user(),
        };
        let claims = Claims::new(&long, key.public_key(), 1_900_000_000, user);
        let token = claims.sign(&account).expect("the key has a seed");
        assert!(token.len() < 4096 - 900, "{} bytes", token.len());
    }
}
