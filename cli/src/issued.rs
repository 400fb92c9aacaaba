//! Users: how one is made, and the record of it, without which it could not be revoked. Who is told of a revocation, and how, is
//! in `revoke`.

use std::path::Path;

use nkeys::KeyPair;
use scuttle_schemas::{HostName, Timestamp};
use serde::{Deserialize, Serialize};

use crate::accounts::AccountName;
use crate::directory::{Directory, DirectoryError, KeyName};
use crate::files::{self, FileError, Readers};
use crate::jwt::claims::{Kind, User};
use crate::jwt::{Claims, JwtError};
use crate::roles::Role;

/// A user that was made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Issued {
    /// Its public key.
    pub(crate) public_key: String,
    /// What it may do.
    pub(crate) role: Role,
    /// Its name: what operations record; an agent's is its `host_uuid`, which its permissions are made from.
    pub(crate) user: String,
    /// An agent's host's name, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) host_name: Option<HostName>,
    /// When.
    pub(crate) at: Timestamp,
}

/// A user that cannot be made.
#[derive(Debug, thiserror::Error)]
pub(crate) enum IssueError {
    /// The bus directory.
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    /// A file.
    #[error(transparent)]
    File(#[from] FileError),
    /// The token.
    #[error("cannot make the user {user}: {cause}")]
    Token {
        /// Its name.
        user: String,
        /// Why not.
        cause: JwtError,
    },
    /// A record that cannot be read.
    #[error("the record of a user in {path} cannot be read: {cause}", path = .path.display())]
    Record {
        /// The file.
        path: std::path::PathBuf,
        /// Why not.
        cause: serde_json::Error,
    },
}

/// Makes a user and writes its credentials to `out`, which must not be there. The record is on disk first: credentials
/// without one could never be revoked.
pub(crate) fn issue(
    directory: &Directory,
    role: Role,
    user: &str,
    host_name: Option<HostName>,
    out: &Path,
) -> Result<Issued, IssueError> {
    refuse_existing(out)?;
    let signer = directory.key(KeyName::Role(role))?;
    let account = directory.account(AccountName::of(role))?.sub;
    let key = KeyPair::new_user();
    let issued = Issued {
        public_key: key.public_key(),
        role,
        user: user.to_owned(),
        host_name,
        at: now(),
    };
    let nats = User {
        issuer_account: account,
        kind: Kind::user(),
    };
    let claims = Claims::new(user, key.public_key(), seconds(issued.at), nats);
    let failed = |cause| IssueError::Token {
        user: user.to_owned(),
        cause,
    };
    let token = claims.sign(&signer).map_err(failed)?;
    let seed = key.seed().map_err(|cause| failed(cause.into()))?;
    let record = serde_json::to_string_pretty(&issued).expect("a record is plain data");
    let path = directory
        .issued()
        .join(format!("{}.json", issued.public_key));
    files::write_new(&path, Readers::Owner, &record)?;
    files::write_new(out, Readers::Owner, &credentials(&token, &seed))?;
    Ok(issued)
}

/// An error if this file is there, before anything is asked or made.
pub(crate) fn refuse_existing(out: &Path) -> Result<(), FileError> {
    match out.try_exists() {
        Ok(true) => Err(FileError::Exists(out.to_owned())),
        // What else may be wrong with it, writing tells.
        _ => Ok(()),
    }
}

/// Every user that was made and is not revoked.
pub(crate) fn living(directory: &Directory) -> Result<Vec<Issued>, IssueError> {
    let mut living = all(directory)?;
    for account in AccountName::ALL {
        let revoked = directory.account(account)?.nats.revocations;
        living.retain(|user| {
            AccountName::of(user.role) != account || !revoked.contains_key(&user.public_key)
        });
    }
    Ok(living)
}

/// Every user that was ever made.
pub(crate) fn all(directory: &Directory) -> Result<Vec<Issued>, IssueError> {
    let records = files::list(&directory.issued())?;
    let read = |path: std::path::PathBuf| {
        let text = files::read(&path)?;
        serde_json::from_str(&text).map_err(|cause| IssueError::Record { path, cause })
    };
    records.into_iter().map(read).collect()
}

/// The time now.
pub(crate) fn now() -> Timestamp {
    let since = std::time::UNIX_EPOCH.elapsed().unwrap_or_default();
    Timestamp::from_millis(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}

/// As tokens count: seconds since 1970.
pub(crate) fn seconds(time: Timestamp) -> i64 {
    time.as_millis().div_euclid(1000)
}

fn credentials(token: &str, seed: &str) -> String {
    format!(
        "-----BEGIN NATS USER JWT-----\n{token}\n------END NATS USER JWT------\n\n\
         Whoever has this file is this user. Keep it secret.\n\n\
         -----BEGIN USER NKEY SEED-----\n{seed}\n------END USER NKEY SEED------\n"
    )
}
