//! The credentials with which a program authenticates to the NATS server.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::{fmt, fs, io};

use async_nats::{Auth, AuthError, ConnectOptions};
use data_encoding::BASE64URL_NOPAD;
use nkeys::KeyPair;
use scuttle_schemas::subjects;
use serde::Deserialize;

use crate::error::ConnectConfigError;
use crate::file::read;
use crate::secret::Secret;

/// The credentials with which a program authenticates to the NATS server.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Credentials {
    #[default]
    Anonymous,
    Password {
        user: String,
        password: Secret,
    },
    /// A NATS credentials file.
    File(PathBuf),
}

/// A user's credentials, read from their file and ready to answer the server's challenge.
pub(crate) struct SignedUser {
    pub(crate) jwt: String,
    pub(crate) key: KeyPair,
}

impl Credentials {
    /// Returns the name of the user: the user name, or the name in the credentials file. `None` for
    /// an anonymous user, or if the file cannot be read or names no user.
    pub fn user(&self) -> Option<String> {
        match self {
            Self::Anonymous => None,
            Self::Password { user, .. } => Some(user.clone()),
            Self::File(path) => read_user_name(path),
        }
    }

    /// Returns the prefix of the inboxes that the user's permissions allow, or `None` if the user
    /// has no name that can be part of a subject.
    pub fn inbox_prefix(&self) -> Option<String> {
        let user = self.user()?;
        let is_token = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
        let is_valid = user
            .split('.')
            .all(|part| !part.is_empty() && part.chars().all(is_token));
        is_valid.then(|| subjects::inbox_prefix(&user))
    }

    /// Checks that the credentials file contains valid credentials. Returns its path, or `None` if
    /// the credentials do not come from a file.
    ///
    /// # Errors
    /// If the file cannot be read, or does not contain credentials.
    pub fn check_file(&self) -> Result<Option<&Path>, ConnectConfigError> {
        match self {
            Self::Anonymous | Self::Password { .. } => Ok(None),
            Self::File(path) => SignedUser::read(path).map(|_| Some(path.as_path())),
        }
    }

    /// Returns connection options with these credentials. A credentials file is read again at every
    /// connection, so that new credentials need no restart.
    pub(crate) fn connect_options(&self) -> Result<ConnectOptions, ConnectConfigError> {
        let options = ConnectOptions::new();
        match self {
            Self::Anonymous => Ok(options),
            Self::Password { user, password } => {
                Ok(options.user_and_password(user.clone(), password.expose().to_owned()))
            }
            Self::File(path) => {
                let file = CredentialsFile::open(path)?;
                Ok(ConnectOptions::with_auth_callback(move |nonce| {
                    std::future::ready(file.answer(&nonce))
                }))
            }
        }
    }
}

/// A credentials file, and its content when it was last valid.
struct CredentialsFile {
    path: PathBuf,
    last: Mutex<Arc<SignedUser>>,
}

impl CredentialsFile {
    fn open(path: &Path) -> Result<Self, ConnectConfigError> {
        Ok(Self {
            path: path.to_owned(),
            last: Mutex::new(Arc::new(SignedUser::read(path)?)),
        })
    }

    /// Answers the server's challenge with the credentials that the file contains now. Uses the
    /// last valid content while the file is invalid, for example because it is being replaced.
    fn answer(&self, nonce: &[u8]) -> Result<Auth, AuthError> {
        let user = {
            let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
            if let Ok(user) = SignedUser::read(&self.path) {
                *last = Arc::new(user);
            }
            Arc::clone(&last)
        };
        let mut auth = Auth::new();
        auth.signature = Some(user.key.sign(nonce).map_err(AuthError::new)?);
        auth.jwt = Some(user.jwt.clone());
        Ok(auth)
    }
}

impl SignedUser {
    /// Reads a credentials file, which contains the user's token and the seed of the user's key.
    pub(crate) fn read(path: &Path) -> Result<Self, ConnectConfigError> {
        let text = read("NATS credentials", path)?;
        let invalid =
            |what: &str| no_credentials(path, io::Error::new(io::ErrorKind::InvalidData, what));
        let jwt = find_section(&text, "USER JWT").ok_or_else(|| invalid("no user JWT"))?;
        let seed = find_section(&text, "USER NKEY SEED").ok_or_else(|| invalid("no nkey seed"))?;
        let key = KeyPair::from_seed(seed).map_err(|error| invalid(&error.to_string()))?;
        Ok(Self {
            jwt: jwt.to_owned(),
            key,
        })
    }
}

impl fmt::Debug for SignedUser {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SignedUser").finish_non_exhaustive()
    }
}

/// Returns the line of a credentials file that follows the line `-----BEGIN <label>-----`. The
/// label may have a prefix, such as `NATS`.
fn find_section<'t>(text: &'t str, label: &str) -> Option<&'t str> {
    let mut lines = text.lines().map(str::trim);
    lines.find(|line| line.starts_with("---") && line.contains("BEGIN") && line.contains(label))?;
    lines.find(|line| !line.is_empty())
}

/// Returns the name in the user's token, which is not verified.
fn read_user_name(path: &Path) -> Option<String> {
    #[derive(Deserialize)]
    struct Claims {
        name: String,
    }
    let text = fs::read_to_string(path).ok()?;
    let claims = find_section(&text, "USER JWT")?.split('.').nth(1)?;
    let claims = BASE64URL_NOPAD.decode(claims.as_bytes()).ok()?;
    serde_json::from_slice::<Claims>(&claims)
        .ok()
        .map(|claims| claims.name)
}

fn no_credentials(path: &Path, cause: io::Error) -> ConnectConfigError {
    ConnectConfigError::NoCreds {
        path: path.to_owned(),
        cause,
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use nkeys::KeyPair;

    use super::{Credentials, CredentialsFile};

    fn credentials(jwt: &str, key: &KeyPair) -> String {
        let seed = key.seed().expect("a new key has a seed");
        format!(
            "-----BEGIN NATS USER JWT-----\n{jwt}\n------END NATS USER JWT------\n\n\
             -----BEGIN USER NKEY SEED-----\n{seed}\n------END USER NKEY SEED------\n"
        )
    }

    #[test]
    fn a_replaced_credentials_file_is_used_at_the_next_connection_if_it_is_valid() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("worker.creds");
        let (old, new) = (KeyPair::new_user(), KeyPair::new_user());
        fs::write(&path, credentials("a.old.c", &old)).expect("written");
        let file = CredentialsFile::open(&path).expect("valid");
        for (text, jwt, key) in [
            (None, "a.old.c", &old),
            (Some("half of the new".to_owned()), "a.old.c", &old),
            (Some(credentials("a.new.c", &new)), "a.new.c", &new),
        ] {
            if let Some(text) = text {
                fs::write(&path, text).expect("written");
            }
            let auth = file.answer(b"nonce").expect("answered");
            assert_eq!(auth.jwt.as_deref(), Some(jwt));
            let signature = auth.signature.expect("signed");
            key.verify(b"nonce", &signature).expect("signed by the key");
        }
        fs::remove_file(&path).expect("removed");
        let auth = file.answer(b"nonce").expect("answered");
        assert_eq!(auth.jwt.as_deref(), Some("a.new.c"));
        let credentials = Credentials::File(path);
        credentials.check_file().expect_err("the file is missing");
        assert_eq!(Credentials::Anonymous.check_file().expect("no file"), None);
    }

    #[test]
    fn a_user_has_an_inbox_prefix_if_its_name_fits_into_a_subject() {
        let prefix = |user: &str| {
            let user = user.to_owned();
            let password = "p".into();
            Credentials::Password { user, password }.inbox_prefix()
        };
        assert_eq!(prefix("alice-1").as_deref(), Some("_INBOX.alice-1"));
        assert_eq!(prefix("alice.b").as_deref(), Some("_INBOX.alice.b"));
        for name in ["", "a b", "a.", "*", ">"] {
            assert_eq!(prefix(name), None, "{name}");
        }
        assert_eq!(Credentials::Anonymous.inbox_prefix(), None);
    }
}
