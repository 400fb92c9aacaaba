//! The verbs, one file each, and what they share of the command line: where the bus directory is, and how the server is
//! reached.

pub(crate) mod decommission;
pub(crate) mod enroll;
pub(crate) mod init;
pub(crate) mod user;

use std::path::PathBuf;

use scuttle_bus::{Access, Login};

use crate::directory::{Directory, DirectoryError};

/// Where the keys are.
#[derive(Debug, clap::Args)]
pub(crate) struct Place {
    /// The bus directory, made by `scuttle init`.
    #[arg(
        long,
        env = "SCUTTLE_BUS_DIR",
        value_name = "DIR",
        default_value = "scuttle-bus"
    )]
    dir: PathBuf,
}

/// The bus: the keys and the server.
#[derive(Debug, clap::Args)]
pub(crate) struct Bus {
    #[command(flatten)]
    place: Place,
    #[command(flatten)]
    nats: scuttle_bus::Arguments,
}

impl Bus {
    /// Opens the bus directory.
    fn directory(&self) -> Result<Directory, DirectoryError> {
        Directory::open(&self.place.dir)
    }

    /// How the server is reached: as `admin` of the bus directory where no other login is given.
    fn access(&self, directory: &Directory) -> Access {
        let mut access = self.nats.access();
        if access.login == Login::Anonymous {
            access.login = Login::Creds(directory.creds(init::ADMIN));
        }
        access
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
