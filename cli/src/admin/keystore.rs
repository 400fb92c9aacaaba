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
use crate::admin::lock_file::{self, LOCK_TIMEOUT};
use crate::admin::roles::Role;

/// The default path of the bus directory, relative to the current directory.
pub(crate) const DEFAULT_DIRECTORY: &str = "scuttle-bus";

/// The name of the user that `scuttle init` creates with the operator role. The `scuttle` command
/// logs in as this user by default.
pub(crate) const ADMIN_USER: &str = "admin";

/// Returns the path of a user's credentials file in the bus directory `root`.
pub(crate) fn credentials_path(root: &Path, user: &str) -> PathBuf {
    root.join("creds").join(format!("{user}.creds"))
}

/// A key whose seed is stored in the bus directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum KeyName {
    /// The identity key of the NATS operator. Its seed can be moved to a safe place, because it is
    /// needed only to make a new signing key.
    Root,
    /// The key that signs accounts on behalf of the NATS operator.
    Accounts,
    /// The key that signs users of this role.
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

/// A bus directory. No other `scuttle` command can open it until this value is dropped.
#[derive(Debug)]
pub(crate) struct Keystore {
    root: PathBuf,
    _lock: File,
}

impl Keystore {
    /// Creates a bus directory with empty subdirectories, and locks it. Fails if `root` exists.
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

    /// Opens and locks a bus directory. Waits while another command has the directory open, for at
    /// most [`LOCK_TIMEOUT`].
    pub(crate) fn open(root: &Path) -> Result<Self, KeystoreError> {
        if !root.join("keys").is_dir() {
            return Err(KeystoreError::Missing(root.to_owned()));
        }
        let root = files::to_absolute(root)?;
        let lock = lock_file::acquire(&root.join("lock"), LOCK_TIMEOUT)?;
        Ok(Self { root, _lock: lock })
    }

    /// Returns the path of a user's credentials file in this bus directory.
    pub(crate) fn credentials(&self, user: &str) -> PathBuf {
        credentials_path(&self.root, user)
    }

    /// Returns the path of the directory that contains one record per created user.
    pub(crate) fn user_records(&self) -> PathBuf {
        self.root.join("issued")
    }

    /// Returns the path of the NATS server's file `name`.
    pub(crate) fn server_file(&self, name: &str) -> PathBuf {
        self.root.join("server").join(name)
    }

    /// Generates a key and stores its seed. Fails if this key already has a stored seed.
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

    /// Returns whether the directory contains this key. A directory that an earlier version created
    /// lacks the keys of newer roles.
    pub(crate) fn has_key(&self, name: KeyName) -> bool {
        self.seed_path(name).exists()
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

    /// Signs the claims of an account with `key`, and stores the token. Later commands read the
    /// stored token, and so does a NATS server that starts for the first time.
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

    /// Writes the current tokens of all accounts to `accounts.conf`. A NATS server that has no
    /// accounts loads them from there when it starts.
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
