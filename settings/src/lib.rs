//! The settings of Scuttle's programs. A program declares its options once, as a clap parser, and
//! this crate fills each option from the first source that sets it: the flag, the environment
//! variable, the TOML configuration file, the default.
//!
//! An option can be set in the environment and in the file if its declaration names a variable
//! (clap's `env`). The key of an option in the file is its name with `_` in place of `-`. A program
//! that reads a file flattens [`ConfigFile`] into its options.
//!
//! clap treats a value from the environment or the file as a default, so rules such as `requires`
//! see flags only. A program checks such combinations of options after parsing. An option overrides
//! conflicting options (clap's `conflicts_with`) from sources of lower precedence: a flag for one
//! of two conflicting options makes the variable for the other option ineffective.

pub mod error;
mod file;
pub mod layers;
mod value;

use std::path::PathBuf;

use clap::Parser;

use error::SettingsError;
use layers::parse_from;

/// The option that names the configuration file.
#[derive(Debug, Clone, clap::Args)]
#[group(skip)]
pub struct ConfigFile {
    /// A TOML file that sets these options, with keys such as data_dir for --data-dir
    #[arg(long = file::OPTION, env = file::VARIABLE, value_name = "FILE")]
    config: Option<PathBuf>,
}

/// Parses the options of this process.
///
/// # Errors
/// If the command line, a variable or the file is invalid. `--help` and `--version` are errors as
/// well, as usual in clap.
pub fn parse<P: Parser>() -> Result<P, SettingsError> {
    parse_from(std::env::args_os(), |name| std::env::var_os(name))
}

/// Parses the options of this process. If the options are invalid, prints the error and exits. If
/// the help or the version is requested, prints it and exits.
#[expect(
    clippy::disallowed_methods,
    reason = "it is called first in main, before anything that a destructor must end"
)]
pub fn parse_or_exit<P: Parser>() -> P {
    parse().unwrap_or_else(|error: SettingsError| {
        let name = P::command().get_name().to_owned();
        std::process::exit(error.print(&name).into())
    })
}
