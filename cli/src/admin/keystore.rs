//! The bus directory that `scuttle init` creates: the paths of its files, and a lock that admits
//! one command at a time. Other modules decide which keys, accounts and users exist.
//!
//! ```text
//! keys/     seeds: root (the NATS operator), accounts (signs accounts), one per role (signs users)
//! creds/    credentials files of the controller, the system user and the admin
//! issued/   a record of each user that was created; without it, the user could not be revoked
//! accounts/ the current tokens of the accounts
//! server/   the files of the NATS server: its configuration with the accounts, and its own data
//! ```

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use nkeys::KeyPair;

use crate::admin::accounts::AccountName;
use crate::admin::files::{self, FileError, Readers};
use crate::admin::jwt::claims::Account;
use crate::admin::jwt::token::{Claims, JwtError};
use crate::admin::roles::Role;

/// The path of the bus directory if none is given.
pub(crate) const DEFAULT_DIRECTORY: &str = "scuttle-bus";

/// The operator user that `scuttle init` creates. The `scuttle` command logs in as this user by
/// default.
pub(crate) const ADMIN_USER: &str = "admin";

/// Returns the path of a user's credentials file in the bus directory `root`.
pub(crate) fn credentials_path(root: &Path, user: &str) -> PathBuf {
    root.join("creds").join(format!("{user}.creds"))
}

/// A key whose seed is in the bus directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum KeyName {
    /// The identity key of the NATS operator. It is needed only to make a new signing key, so it
    /// can be kept in a safe place.
    Root,
    /// Signs accounts on behalf of the operator.
    Accounts,
    /// Signs users of this role.
    Role(Role),
}

impl KeyName {
    fn name(self) -> &'static str {
        match self {
            Self::Root => "root",
            Self::Accounts => "accounts",
            Self::Role(role) => role.name(),
        }
    }
}

/// The reason why the bus directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum KeystoreError {
    #[error("{} is not a bus directory: give --dir, or create one with `scuttle init`", .0.display())]
    Missing(PathBuf),
    #[error(transparent)]
    File(#[from] FileError),
    #[error("{} does not contain a valid seed: {cause}", .path.display())]
    Seed {
        path: PathBuf,
        cause: nkeys::error::Error,
    },
    /// A token is invalid, or cannot be signed.
    #[error("{}: {cause}", .path.display())]
    Token { path: PathBuf, cause: JwtError },
}

/// The bus directory, locked against other commands.
#[derive(Debug)]
pub(crate) struct Keystore {
    root: PathBuf,
    _lock: File,
}

impl Keystore {
    /// Creates the directories of a new bus directory, and locks it.
    pub(crate) fn create(root: &Path) -> Result<Self, KeystoreError> {
        files::create_directory(root, Readers::All)?;
        for directory in ["keys", "creds", "issued"] {
            files::create_directory(&root.join(directory), Readers::Owner)?;
        }
        for directory in ["accounts", "server"] {
            files::create_directory(&root.join(directory), Readers::All)?;
        }
        Self::open(root)
    }

    /// Opens a bus directory. Waits until no other command has it open.
    pub(crate) fn open(root: &Path) -> Result<Self, KeystoreError> {
        if !root.join("keys").is_dir() {
            return Err(KeystoreError::Missing(root.to_owned()));
        }
        let root = files::to_absolute(root)?;
        let lock = files::lock(&root.join("lock"))?;
        Ok(Self { root, _lock: lock })
    }

    /// Returns the path of a user's credentials file.
    pub(crate) fn credentials(&self, user: &str) -> PathBuf {
        credentials_path(&self.root, user)
    }

    /// Returns the directory of the user records.
    pub(crate) fn user_records(&self) -> PathBuf {
        self.root.join("issued")
    }

    /// Returns the path of a file of the NATS server.
    pub(crate) fn server_file(&self, name: &str) -> PathBuf {
        self.root.join("server").join(name)
    }

    /// Generates a key and stores its seed.
    pub(crate) fn create_key(&self, name: KeyName) -> Result<KeyPair, KeystoreError> {
        let key = match name {
            KeyName::Root | KeyName::Accounts => KeyPair::new_operator(),
            KeyName::Role(_) => KeyPair::new_account(),
        };
        let path = self.seed_path(name);
        let seed = (key.seed()).map_err(|cause| KeystoreError::Seed {
            path: path.clone(),
            cause,
        })?;
        files::write_new(&path, Readers::Owner, &seed)?;
        Ok(key)
    }

    pub(crate) fn load_key(&self, name: KeyName) -> Result<KeyPair, KeystoreError> {
        let path = self.seed_path(name);
        let seed = files::read(&path)?;
        KeyPair::from_seed(seed.trim()).map_err(|cause| KeystoreError::Seed { path, cause })
    }

    /// Returns the claims in the current token of an account.
    pub(crate) fn load_account(&self, name: AccountName) -> Result<Claims<Account>, KeystoreError> {
        let path = self.token_path(name);
        Claims::decode(&files::read(&path)?).map_err(|cause| KeystoreError::Token { path, cause })
    }

    /// Returns the current token of an account.
    pub(crate) fn load_token(&self, name: AccountName) -> Result<String, KeystoreError> {
        Ok(files::read(&self.token_path(name))?)
    }

    /// Signs an account, and stores the token for later commands and for the next start of a
    /// server.
    pub(crate) fn store_account(
        &self,
        name: AccountName,
        claims: Claims<Account>,
        key: &KeyPair,
    ) -> Result<(), KeystoreError> {
        let path = self.token_path(name);
        let token = claims.sign(key).map_err(|cause| KeystoreError::Token {
            path: path.clone(),
            cause,
        })?;
        files::replace(&path, &token)?;
        self.write_resolver_preload()
    }

    /// Writes the tokens of all accounts to the file that a starting server reads.
    fn write_resolver_preload(&self) -> Result<(), KeystoreError> {
        let mut lines = vec![
            "# Written by the scuttle command, which replaces this file. A server without any accounts starts with these.".to_owned(),
            "# A server that has received newer accounts since keeps those.".to_owned(),
            "resolver_preload: {".to_owned(),
        ];
        for name in AccountName::ALL {
            let token = match self.load_token(name) {
                Ok(token) => token,
                // `scuttle init` has not created this account yet.
                Err(KeystoreError::File(FileError::Failed { cause, .. }))
                    if cause.kind() == io::ErrorKind::NotFound =>
                {
                    continue;
                }
                Err(error) => return Err(error),
            };
            let key = self.load_account(name)?.sub;
            lines.push(format!("  # {}\n  {key}: {token}", name.name()));
        }
        lines.push("}\n".to_owned());
        Ok(files::replace(
            &self.server_file("accounts.conf"),
            &lines.join("\n"),
        )?)
    }

    fn seed_path(&self, name: KeyName) -> PathBuf {
        self.root.join("keys").join(format!("{}.seed", name.name()))
    }

    fn token_path(&self, name: AccountName) -> PathBuf {
        self.root
            .join("accounts")
            .join(format!("{}.jwt", name.name()))
    }
}
