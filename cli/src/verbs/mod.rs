//! The verbs, one file each, and what they share of the command line: where the bus directory is, and how the server is
//! reached.

pub(crate) mod cancel;
pub(crate) mod completions;
pub(crate) mod decommission;
pub(crate) mod doctor;
pub(crate) mod enroll;
pub(crate) mod hosts;
pub(crate) mod init;
pub(crate) mod man;
pub(crate) mod op;
pub(crate) mod ops;
pub(crate) mod retry;
pub(crate) mod shards;
pub(crate) mod teardown;
pub(crate) mod user;
pub(crate) mod watch;

use std::path::{Path, PathBuf};

use scuttle_nats::Credentials;

use crate::connect::{Connect, Connection};
use crate::directory::{ADMIN, DIRECTORY, Directory, DirectoryError};
use crate::failure::Failure;

/// Where the keys are.
#[derive(Debug, clap::Args)]
pub(crate) struct Place {
    /// The bus directory, made by `scuttle init`. [default: scuttle-bus]
    #[arg(long, env = "SCUTTLE_BUS_DIR", value_name = "DIR", value_hint = clap::ValueHint::DirPath)]
    dir: Option<PathBuf>,
}

impl Place {
    fn path(&self) -> &Path {
        self.dir.as_deref().unwrap_or(Path::new(DIRECTORY))
    }
}

/// The bus: the keys and the server.
#[derive(Debug, clap::Args)]
pub(crate) struct Bus {
    #[command(flatten)]
    place: Place,
    #[command(flatten)]
    nats: Connect,
}

impl Bus {
    /// Opens the bus directory, and tells how the server is reached: as its `admin` where no other login is given.
    fn open(&self) -> Result<(Directory, Connection), Failure> {
        let directory = Directory::open(self.place.path())?;
        let admin = directory.creds(ADMIN);
        let mut connection = self.nats.connection_or(&admin)?;
        if connection.access.credentials == Credentials::Anonymous {
            // It was taken away: whoever connects is told which file is missing.
            connection.access.credentials = Credentials::File(admin);
        }
        Ok((directory, connection))
    }

    /// The same for a swarm that may have no bus directory, because its server has users and passwords of its own
    /// (nats.conf): where nobody names a directory, none is there, and a login is given.
    fn open_if_any(&self) -> Result<(Option<Directory>, Connection), Failure> {
        match self.open() {
            Ok((directory, connection)) => Ok((Some(directory), connection)),
            Err(Failure::Directory(DirectoryError::Missing(path))) if self.place.dir.is_none() => {
                let connection = self.nats.connection()?;
                if connection.access.credentials == Credentials::Anonymous {
                    return Err(DirectoryError::Missing(path).into());
                }
                Ok((None, connection))
            }
            Err(failure) => Err(failure),
        }
    }
}

/// A word for a shell.
fn shell(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=@".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::shell;

    #[test]
    fn a_shell_reads_one_word() {
        assert_eq!(shell("/a/b-c.creds"), "/a/b-c.creds");
        assert_eq!(shell("a b"), "'a b'");
        assert_eq!(shell("it's"), r"'it'\''s'");
    }
}
