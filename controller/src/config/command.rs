//! Parses the command line into a [`Command`]: run the controller, or execute a subcommand.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::Parser;
use scuttle_settings::layers::parse_from;

use super::options::{Config, ConfigError, Options};
use super::subcommands::Subcommand;
use crate::ops::leftovers::RemoveLeftovers;
use crate::ops::migrate::Migration;
use crate::ops::recover::Recovery;
use crate::ops::set_replicas::SetReplicas;

/// What the command line asks the program to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Run the controller until it is stopped.
    Serve(Box<Config>),
    /// Create a backup of the store.
    Backup {
        /// The data directory with the store.
        data_dir: PathBuf,
        /// The path of the backup to create.
        file: PathBuf,
        /// Whether to replace `file` if it exists.
        force: bool,
    },
    /// Move the record into the other kind of store.
    Migrate(Migration),
    /// Delete what a migration left behind on the NATS servers.
    RemoveLeftovers(RemoveLeftovers),
    /// Change the number of replicas of the journals and buckets.
    SetReplicas(SetReplicas),
    /// Replace a journal that lacks accepted changes.
    Recover(Recovery),
    /// Create a store from a backup.
    Restore {
        /// The data directory, which must not contain a store.
        data_dir: PathBuf,
        /// The path of the backup to read.
        file: PathBuf,
    },
}

/// Keeps the record of a swarm of hosts and tears down deckies on them.
///
/// Each option can also be set by its environment variable or in the configuration file. A flag
/// takes precedence over the environment variable, and the variable over the file. Without a
/// subcommand, the controller runs until it is stopped.
#[derive(Debug, Parser)]
#[command(name = "scuttle-controller", version)]
#[command(args_conflicts_with_subcommands = true, disable_help_subcommand = true)]
struct Arguments {
    #[command(subcommand)]
    subcommand: Option<Subcommand>,
    #[command(flatten)]
    options: Options,
}

impl Command {
    /// Parses the command line, the environment of this process and the configuration file. The
    /// first argument is the name of the program.
    ///
    /// # Errors
    /// If an option is invalid, is missing, or conflicts with another option, or if the
    /// configuration file cannot be read. `--help` and `--version` are also returned as errors,
    /// which [`ConfigError::print`] prints.
    pub fn load(args: impl Iterator<Item = OsString>) -> Result<Self, ConfigError> {
        Self::load_from(args, |name| std::env::var_os(name))
    }

    /// Parses a command line. `variable` looks up an environment variable.
    pub(super) fn load_from(
        args: impl Iterator<Item = OsString>,
        variable: impl Fn(&str) -> Option<OsString>,
    ) -> Result<Self, ConfigError> {
        let arguments: Arguments = parse_from(args, &variable)?;
        let text = |name: &'static str| variable(name)?.into_string().ok();
        Ok(match arguments.subcommand {
            None => Self::Serve(Box::new(arguments.options.into_config(text)?)),
            Some(Subcommand::SetReplicas { options }) => {
                let nats = options.nats_config();
                let (replicas, partitions) = options.required_replicas()?;
                Self::SetReplicas(SetReplicas {
                    nats,
                    replicas,
                    partitions,
                })
            }
            Some(Subcommand::Recover { yes, options }) => {
                let config = options.into_config_with_jetstream(text)?;
                let (replicas, partitions) = config.shared_journal("recover")?;
                Self::Recover(Recovery {
                    nats: config.nats,
                    data_dir: config.data_dir,
                    replicas,
                    partitions,
                    yes,
                })
            }
            Some(Subcommand::Migrate { to, options }) => {
                // Either the source or the target of a migration is this kind of store.
                let config = options.into_config_with_jetstream(text)?;
                let (replicas, partitions) = config.shared_journal("migrate")?;
                Self::Migrate(Migration {
                    nats: config.nats,
                    data_dir: config.data_dir,
                    replicas,
                    partitions,
                    to,
                })
            }
            Some(Subcommand::RemoveLeftovers { yes, store, nats }) => {
                Self::RemoveLeftovers(RemoveLeftovers {
                    nats: nats.connect_config(),
                    data_dir: store.data_dir()?,
                    yes,
                })
            }
            Some(Subcommand::Backup { file, force, store }) => Self::Backup {
                data_dir: store.data_dir()?,
                file,
                force,
            },
            Some(Subcommand::Restore { file, store }) => Self::Restore {
                data_dir: store.data_dir()?,
                file,
            },
        })
    }
}
