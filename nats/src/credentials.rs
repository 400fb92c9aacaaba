//! The credentials with which a program authenticates to the NATS server.

use std::path::{Path, PathBuf};
use std::{fmt, fs, io};

use async_nats::ConnectOptions;
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

    pub(crate) fn apply(
        &self,
        options: ConnectOptions,
    ) -> Result<ConnectOptions, ConnectConfigError> {
        match self {
            Self::Anonymous => Ok(options),
            Self::Password { user, password } => {
                Ok(options.user_and_password(user.clone(), password.expose().to_owned()))
            }
            Self::File(path) => {
                let text = read("NATS credentials", path)?;
                options
                    .credentials(&text)
                    .map_err(|cause| no_credentials(path, cause))
            }
        }
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
    use super::Credentials;

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
