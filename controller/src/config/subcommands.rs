//! The subcommands, which work on a store and then end, and their options.

use std::path::PathBuf;

use scuttle_settings::ConfigFile;

use super::options::{ConfigError, Options, StoreKind};

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
    pub(super) fn data_dir(self) -> Result<PathBuf, ConfigError> {
        self.data_dir.ok_or(ConfigError::NoDataDir)
    }
}
