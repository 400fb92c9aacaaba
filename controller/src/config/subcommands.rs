//! What a command line asks for: to run the controller, or a subcommand that works on a store and
//! ends.

use std::ffi::OsString;
use std::path::PathBuf;

use scuttle_settings::{ConfigFile, parse_from};

use super::{Arguments, Config, ConfigError, Journal, Options, StoreKind};
use crate::ops::migrate::Migration;

/// What this process is supposed to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Run the controller.
    Serve(Box<Config>),
    /// Create a backup.
    Backup {
        /// The data directory with the store.
        data_dir: PathBuf,
        /// The backup to write.
        file: PathBuf,
        /// Whether to replace an existing file.
        force: bool,
    },
    /// Move the record into a store of the other kind.
    Migrate(Migration),
    /// Create a store from a backup.
    Restore {
        /// The data directory, which must not contain a store.
        data_dir: PathBuf,
        /// The backup to read.
        file: PathBuf,
    },
}

#[derive(Debug, clap::Subcommand)]
pub(super) enum Subcommand {
    /// Create a backup of the store, while the controller is running or stopped
    ///
    /// FILE is a snapshot of the whole store: all hosts, shards, operations and idempotency keys. A
    /// running controller continues to work, and provides the snapshot through backup.sock in its
    /// data directory. Run this command on the controller's machine, as its user or as root. FILE
    /// appears under its name only when it is complete, synced to disk and verified. If the command
    /// is killed, it leaves a file .FILE.….partial, which can be deleted.
    ///
    /// Exit codes: 0, the backup was created; 1, it was not created, standard error says why; 2,
    /// wrong usage.
    Backup {
        /// The backup to create, readable by its owner only
        file: PathBuf,
        /// Replace FILE if it exists
        #[arg(long)]
        force: bool,
        #[command(flatten)]
        store: StoreLocation,
    },
    /// Move the record of a stopped service into a store of the other kind
    ///
    /// To jetstream: copies the data directory into an object store on the NATS servers, and
    /// creates the stream that continues from there; with --partitions, several of each. To redb:
    /// copies the streams into the data directory, as the store of a single controller. Every row
    /// is read back and compared before anything is replaced. All controllers must be stopped.
    /// Create a backup first.
    ///
    /// Exit codes: 0, the record was moved; 1, it was not moved and nothing changed, standard error
    /// says why; 2, wrong usage.
    Migrate {
        /// The kind of the new store
        #[arg(long, value_name = "KIND")]
        to: StoreKind,
        #[command(flatten)]
        options: Box<Options>,
    },
    /// Create the store of a stopped controller from a backup
    ///
    /// FILE is read and checked completely before anything is written. The data directory must not
    /// contain a store; move scuttle.redb away first. All revisions are raised above those
    /// published since the backup, so that subscribers list the swarm again. Requests that were
    /// accepted after the backup are lost; the next inventories of the agents report what is
    /// running. docs/operations.md describes the other consequences of a restore.
    ///
    /// Exit codes: 0, the store was created; 1, it was not created and nothing changed, standard
    /// error says why; 2, wrong usage.
    Restore {
        /// The backup, as `backup` created it
        file: PathBuf,
        #[command(flatten)]
        store: StoreLocation,
    },
}

/// The options that locate the store of a subcommand.
#[derive(Debug, clap::Args)]
#[group(skip)]
pub(super) struct StoreLocation {
    /// The controller's data directory
    #[arg(long, env = "SCUTTLE_DATA_DIR", value_name = "DIR")]
    data_dir: Option<PathBuf>,
    #[command(flatten)]
    file: ConfigFile,
}

impl StoreLocation {
    fn data_dir(self) -> Result<PathBuf, ConfigError> {
        self.data_dir.ok_or(ConfigError::NoDataDir)
    }
}

impl Command {
    /// Parses the command line of this process, which begins with the name of the program.
    ///
    /// # Errors
    /// If an option is invalid or missing. `--help` and `--version` are errors as well.
    pub fn load(args: impl Iterator<Item = OsString>) -> Result<Self, ConfigError> {
        Self::load_from(args, |name| std::env::var_os(name))
    }

    /// Parses a command line with the given environment.
    pub(super) fn load_from(
        args: impl Iterator<Item = OsString>,
        variable: impl Fn(&str) -> Option<OsString>,
    ) -> Result<Self, ConfigError> {
        let arguments: Arguments = parse_from(args, &variable)?;
        let text = |name: &'static str| variable(name)?.into_string().ok();
        Ok(match arguments.subcommand {
            None => Self::Serve(Box::new(arguments.options.into_config(text)?)),
            Some(Subcommand::Migrate { to, mut options }) => {
                // Either the source or the target of a migration is this kind of store.
                options.store = Some(StoreKind::JetStream);
                let config = options.into_config(text)?;
                let Journal::Shared {
                    replicas,
                    partitions,
                } = config.journal
                else {
                    return Err(ConfigError::RequiresJetStream { option: "migrate" });
                };
                Self::Migrate(Migration {
                    nats: config.nats,
                    data_dir: config.data_dir,
                    replicas,
                    partitions,
                    to,
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
