//! The subcommands and their options. Each subcommand works on a store and then exits.

use std::path::PathBuf;

use scuttle_settings::ConfigFile;

use super::options::{ConfigError, Options, StoreKind};

#[derive(Debug, clap::Subcommand)]
pub(super) enum Subcommand {
    /// Create a backup of the store, while the controller is running or stopped
    ///
    /// FILE is a snapshot of the whole store: all hosts, shards, operations and idempotency keys. A
    /// running controller continues to work, and provides the snapshot through backup.sock in its
    /// data directory. Run this command on the controller's machine, as the controller's user or as
    /// root. FILE appears under its name only when it is complete, synced to disk and verified. If
    /// the command is killed, it leaves a file .FILE.….partial, which can be deleted.
    ///
    /// Exit codes: 0, the backup was created; 1, it was not created, standard error says why; 2,
    /// wrong usage.
    Backup {
        /// Path of the backup to create, readable by its owner only
        file: PathBuf,
        /// Replace FILE if it exists already
        #[arg(long)]
        force: bool,
        #[command(flatten)]
        store: StoreLocation,
    },
    /// Move the record of a stopped service into the other kind of store
    ///
    /// With --to jetstream, copies the store in the data directory into an object store on the NATS
    /// servers, and creates the stream for all later changes; with --partitions, one stream for
    /// each partition. With --to redb, copies the streams into the data directory, as the store of
    /// a single controller. Every row is read back and compared before anything is replaced. All
    /// controllers must be stopped. Create a backup first. `remove-leftovers` deletes what a
    /// migration to redb leaves behind on the servers.
    ///
    /// Exit codes: 0, the record was moved; 1, it was not moved and nothing changed, standard error
    /// says why; 2, wrong usage.
    Migrate {
        /// Kind of the new store
        #[arg(long, value_name = "KIND")]
        to: StoreKind,
        #[command(flatten)]
        options: Box<Options>,
    },
    /// Delete the streams and buckets that a migration to redb left behind on the NATS servers
    ///
    /// Run this command on the data directory to which the record was migrated. The file
    /// left-behind.json in that directory lists the streams and buckets. The controller on this
    /// data directory may be running. The command deletes nothing if a controller uses the streams
    /// or has used them since the migration. The controllers' login is not allowed to delete
    /// streams, so run this command with a login that is; docs/operations.md has an example.
    ///
    /// Exit codes: 0, the leftovers were removed; 1, they were not removed completely, standard
    /// error says why; 2, wrong usage.
    RemoveLeftovers {
        /// Do not ask for confirmation
        #[arg(long)]
        yes: bool,
        #[command(flatten)]
        store: StoreLocation,
        #[command(flatten)]
        nats: Box<scuttle_nats::Arguments>,
    },
    /// Change how many NATS servers keep a copy of the journals and buckets
    ///
    /// Give --replicas and, if there are several partitions, --partitions. The controllers may be
    /// running. Their login is not allowed to update streams, so run this command with a login that
    /// is; docs/operations.md has an example. The servers copy the data in the background.
    ///
    /// Exit codes: 0, the number was changed; 1, it was not changed for at least one stream,
    /// standard error says why; 2, wrong usage.
    SetReplicas {
        #[command(flatten)]
        options: Box<Options>,
    },
    /// Replace a journal on the NATS servers that lacks accepted changes
    ///
    /// The controllers halt when a stream was deleted, purged or replaced. This command replaces
    /// the journal with the newest rows that are left: those in the data directory, or the newest
    /// snapshot on the NATS servers. Requests that were accepted after these rows are lost. All
    /// controllers must be stopped. Run this command on the controller with the newest rows; the
    /// log and `scuttle doctor` show the last message in the rows of each controller. Then start
    /// the other controllers with empty data directories.
    ///
    /// Exit codes: 0, the journal was replaced; 1, it was not, standard error says why; 2, wrong
    /// usage.
    Recover {
        /// Do not ask for confirmation
        #[arg(long)]
        yes: bool,
        #[command(flatten)]
        options: Box<Options>,
    },
    /// Create the store of a stopped controller from a backup
    ///
    /// FILE is read and checked completely before anything is written. The data directory must not
    /// contain a store; move scuttle.redb away first. All revisions are raised above those
    /// published since the backup, so that subscribers list the swarm again. Requests that were
    /// accepted after the backup are lost. The next inventories of the agents report the deckies
    /// that are running. docs/operations.md describes the other consequences of a restore.
    ///
    /// Exit codes: 0, the store was created; 1, it was not created and nothing changed, standard
    /// error says why; 2, wrong usage.
    Restore {
        /// Path of a backup that `backup` created
        file: PathBuf,
        #[command(flatten)]
        store: StoreLocation,
    },
}

/// The options that locate the store for a subcommand.
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
