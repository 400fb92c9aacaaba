//! The bus directory: which file is where, and one command at a time in it. What is written into the files is elsewhere.
//!
//! ```text
//! keys/     seeds: root (the NATS operator's own), accounts (signs accounts), and one for each role (signs users)
//! creds/    controller, system and admin, as programs read them
//! issued/   for each user that was made, its public key and who it is: what can be revoked
//! accounts/ the accounts' tokens, as they were signed last
//! server/   what the NATS server needs: its configuration, which names the accounts; the server's own files
//! ```

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use nkeys::KeyPair;

use crate::accounts::AccountName;
use crate::files::{self, FileError, Readers};
use crate::jwt::claims::Account;
use crate::jwt::{Claims, JwtError};
use crate::roles::Role;

/// Where the bus directory is when nobody says so.
pub(crate) const DIRECTORY: &str = "scuttle-bus";

/// The operator that comes with the bus directory, and as which this command asks.
pub(crate) const ADMIN: &str = "admin";

/// A credentials file in the bus directory `root`.
pub(crate) fn creds_in(root: &Path, user: &str) -> PathBuf {
    root.join("creds").join(format!("{user}.creds"))
}

/// A key whose seed is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum KeyName {
    /// The NATS operator's identity. Nothing but a new signing key needs it: it can be kept elsewhere.
    Root,
    /// Signs accounts in the operator's name.
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

/// A bus directory that is not one, or is broken.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DirectoryError {
    /// No such directory.
    #[error("{} is no bus directory: give --dir, or make one with `scuttle init`", .0.display())]
    Missing(PathBuf),
    /// A file of it.
    #[error(transparent)]
    File(#[from] FileError),
    /// A seed that is none.
    #[error("{} holds no seed: {cause}", .path.display())]
    Seed {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        cause: nkeys::error::Error,
    },
    /// A token that is none, or that cannot be made.
    #[error("{}: {cause}", .path.display())]
    Token {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        cause: JwtError,
    },
}

/// A bus directory that no other command works in.
#[derive(Debug)]
pub(crate) struct Directory {
    root: PathBuf,
    _lock: File,
}

impl Directory {
    /// Makes the folders of a new one.
    pub(crate) fn create(root: &Path) -> Result<Self, DirectoryError> {
        files::make_folder(root, Readers::All)?;
        for folder in ["keys", "creds", "issued"] {
            files::make_folder(&root.join(folder), Readers::Owner)?;
        }
        for folder in ["accounts", "server"] {
            files::make_folder(&root.join(folder), Readers::All)?;
        }
        Self::open(root)
    }

    /// Opens one, when no other command has it open any more.
    pub(crate) fn open(root: &Path) -> Result<Self, DirectoryError> {
        if !root.join("keys").is_dir() {
            return Err(DirectoryError::Missing(root.to_owned()));
        }
        let root = files::absolute(root)?;
        let lock = files::lock(&root.join("lock"))?;
        Ok(Self { root, _lock: lock })
    }

    /// A credentials file of its own.
    pub(crate) fn creds(&self, user: &str) -> PathBuf {
        creds_in(&self.root, user)
    }

    /// Where a record of a user is.
    pub(crate) fn issued(&self) -> PathBuf {
        self.root.join("issued")
    }

    /// A file for the server.
    pub(crate) fn server(&self, name: &str) -> PathBuf {
        self.root.join("server").join(name)
    }

    /// Makes a key and keeps its seed.
    pub(crate) fn make_key(&self, name: KeyName) -> Result<KeyPair, DirectoryError> {
        let key = match name {
            KeyName::Root | KeyName::Accounts => KeyPair::new_operator(),
            KeyName::Role(_) => KeyPair::new_account(),
        };
        let path = self.seed(name);
        let seed = (key.seed()).map_err(|cause| DirectoryError::Seed {
            path: path.clone(),
            cause,
        })?;
        files::write_new(&path, Readers::Owner, &seed)?;
        Ok(key)
    }

    /// A key that was made.
    pub(crate) fn key(&self, name: KeyName) -> Result<KeyPair, DirectoryError> {
        let path = self.seed(name);
        let seed = files::read(&path)?;
        KeyPair::from_seed(seed.trim()).map_err(|cause| DirectoryError::Seed { path, cause })
    }

    /// An account as it was signed last.
    pub(crate) fn account(&self, name: AccountName) -> Result<Claims<Account>, DirectoryError> {
        let path = self.token_path(name);
        Claims::read(&files::read(&path)?).map_err(|cause| DirectoryError::Token { path, cause })
    }

    /// The same, as its token.
    pub(crate) fn token(&self, name: AccountName) -> Result<String, DirectoryError> {
        Ok(files::read(&self.token_path(name))?)
    }

    /// Signs an account, and keeps it for this command and for a server that starts.
    pub(crate) fn put_account(
        &self,
        name: AccountName,
        claims: Claims<Account>,
        key: &KeyPair,
    ) -> Result<(), DirectoryError> {
        let path = self.token_path(name);
        let token = claims.sign(key).map_err(|cause| DirectoryError::Token {
            path: path.clone(),
            cause,
        })?;
        files::replace(&path, &token)?;
        self.preload()
    }

    /// Tells a server that starts of all accounts that there are.
    fn preload(&self) -> Result<(), DirectoryError> {
        let mut lines = vec![
            "# Written by the scuttle command, which replaces it. A server without any accounts begins with these; it keeps"
                .to_owned(),
            "# those that it was told of later.".to_owned(),
            "resolver_preload: {".to_owned(),
        ];
        for name in AccountName::ALL {
            let token = match self.token(name) {
                Ok(token) => token,
                // Not made yet.
                Err(DirectoryError::File(FileError::Failed { cause, .. }))
                    if cause.kind() == io::ErrorKind::NotFound =>
                {
                    continue;
                }
                Err(error) => return Err(error),
            };
            let key = self.account(name)?.sub;
            lines.push(format!("  # {}\n  {key}: {token}", name.name()));
        }
        lines.push("}\n".to_owned());
        Ok(files::replace(
            &self.server("accounts.conf"),
            &lines.join("\n"),
        )?)
    }

    fn seed(&self, name: KeyName) -> PathBuf {
        self.root.join("keys").join(format!("{}.seed", name.name()))
    }

    fn token_path(&self, name: AccountName) -> PathBuf {
        self.root
            .join("accounts")
            .join(format!("{}.jwt", name.name()))
    }
}
