//! The error for invalid settings, and how a program prints it.

use std::io;
use std::path::PathBuf;

/// The reason why the settings of a program are invalid. No message contains the value of a secret.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// The flags are invalid, or request the help or the version.
    #[error(transparent)]
    Arguments(#[from] clap::Error),
    #[error("the environment variable {name} is invalid: {cause}")]
    Environment { name: String, cause: String },
    #[error("cannot read the configuration file {}: {cause}; correct --config or SCUTTLE_CONFIG, or create the file", .path.display())]
    Unreadable { path: PathBuf, cause: io::Error },
    #[error("the configuration file {} is invalid in line {line}: {cause}", .path.display())]
    Invalid {
        path: PathBuf,
        /// The number of the line, counted from 1.
        line: usize,
        cause: String,
    },
}

impl SettingsError {
    /// Prints the error, or the requested help or version, and returns the exit code.
    pub fn print(&self, program: &str) -> u8 {
        const USAGE: u8 = 2;
        match self {
            Self::Arguments(error) => {
                let _ = error.print();
                u8::try_from(error.exit_code()).unwrap_or(USAGE)
            }
            error => {
                eprintln!("{program}: {error}");
                USAGE
            }
        }
    }
}
