//! The flags that the administrative commands share: the bus directory and the connection to the
//! server.

use std::path::{Path, PathBuf};

use scuttle_nats::Credentials;

use crate::admin::files::FileError;
use crate::admin::keystore::{DEFAULT_DIRECTORY, Keystore, KeystoreError};
use crate::admin::user_records::UserRecordError;
use crate::client::connection::{Connection, ConnectionArgs};
use crate::failure::Failure;

/// The `--dir` flag.
#[derive(Debug, clap::Args)]
pub(super) struct DirectoryOption {
    /// Bus directory, created by `scuttle init`. [default: scuttle-bus]
    #[arg(long, env = "SCUTTLE_BUS_DIR", value_name = "DIR", value_hint = clap::ValueHint::DirPath)]
    dir: Option<PathBuf>,
}

impl DirectoryOption {
    pub(super) fn path(&self) -> &Path {
        self.dir.as_deref().unwrap_or(Path::new(DEFAULT_DIRECTORY))
    }
}

/// The `--dir` flag, and the flags that select the NATS server and the login.
#[derive(Debug, clap::Args)]
pub(super) struct BusOptions {
    #[command(flatten)]
    directory: DirectoryOption,
    #[command(flatten)]
    nats: ConnectionArgs,
}

impl BusOptions {
    /// Opens the bus directory, and returns it with the NATS connection settings. The default login
    /// is the directory's admin user.
    pub(super) fn open(&self) -> Result<(Keystore, Connection), Failure> {
        Ok((self.open_directory()?, self.connection()?))
    }

    /// Opens the bus directory alone, for a command that may not need a connection.
    pub(super) fn open_directory(&self) -> Result<Keystore, Failure> {
        Ok(Keystore::open(self.root())?)
    }

    /// Returns the path of the bus directory.
    pub(super) fn root(&self) -> &Path {
        self.directory.path()
    }

    /// Returns the NATS connection settings. The default login is the directory's admin user.
    pub(super) fn connection(&self) -> Result<Connection, Failure> {
        Ok(self.nats.resolve_in(self.root(), true)?)
    }

    /// Opens the bus directory. Returns `None` in its place if the swarm has no bus directory.
    ///
    /// A swarm has no bus directory if its users and passwords are in the configuration of the NATS
    /// server, as in `nats.conf`. A missing directory is therefore accepted if no directory is
    /// named and a login is given.
    pub(super) fn open_if_present(&self) -> Result<(Option<Keystore>, Connection), Failure> {
        match self.open() {
            Ok((keystore, connection)) => Ok((Some(keystore), connection)),
            Err(Failure::Keystore(KeystoreError::Missing(path)))
                if self.directory.dir.is_none() =>
            {
                let connection = self.nats.resolve()?;
                if connection.config.credentials == Credentials::Anonymous {
                    return Err(KeystoreError::Missing(path).into());
                }
                Ok((None, connection))
            }
            Err(failure) => Err(failure),
        }
    }
}

/// Converts the error of a user that could not be created. If the credentials file exists, the
/// error names the flag that chooses another file.
pub(super) fn explain_existing_file(error: UserRecordError) -> Failure {
    match error {
        UserRecordError::File(FileError::Exists(path)) => Failure::Conflict(format!(
            "{} exists and is not replaced; give another file for the credentials with --out FILE",
            path.display()
        )),
        error => error.into(),
    }
}

/// Quotes a word for a POSIX shell, if necessary.
pub(super) fn quote_for_shell(word: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=@".contains(c);
    if !word.is_empty() && word.chars().all(is_plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::quote_for_shell;

    #[test]
    fn a_shell_reads_quoted_text_as_one_word() {
        assert_eq!(quote_for_shell("/a/b-c.creds"), "/a/b-c.creds");
        assert_eq!(quote_for_shell("a b"), "'a b'");
        assert_eq!(quote_for_shell("it's"), r"'it'\''s'");
    }
}
