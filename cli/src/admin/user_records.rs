//! Creates users and keeps a record of each. A user without a record could not be revoked.
//! Revocation itself is in `client::revoke`.

use std::fs;
use std::path::{Path, PathBuf};

use nkeys::KeyPair;
use scuttle_schemas::{HostName, Timestamp};
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
    /// The time at which the user was created.
    pub(crate) at: Timestamp,
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

    /// Creates the user. `host_name` is the name of an agent's host.
    ///
    /// Writes the user's record first and then the credentials file, because credentials without a
    /// durable record could never be revoked. If the file cannot be written, removes the record.
    pub(crate) fn create(
        self,
        user: &str,
        host_name: Option<HostName>,
    ) -> Result<UserRecord, UserRecordError> {
        let key = KeyPair::new_user();
        let record = UserRecord {
            public_key: key.public_key(),
            role: self.role,
            user: user.to_owned(),
            host_name,
            at: now(),
        };
        let nats = User {
            issuer_account: self.account,
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
